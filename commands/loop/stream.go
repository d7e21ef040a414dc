package loop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/spans"
)

const (
	maxWaiting     = 4096       // commands in one queue; the next one is told that we are busy
	maxShare       = 1024       // of one actor among them
	maxBatchEvents = 512        // in one append of several commands
	maxBatchBytes  = 256 << 10  // in one append of several commands
	maxCallEvents  = 2000       // of one command
	maxCallBytes   = 1000 << 10 // of one command; the log takes 1 MiB in one append
	pageSize       = 512        // events in one read
)

// call is one command that waits for its turn.
type call[S, C, E any] struct {
	meta   Meta
	signed codec.Signed
	build  Build[S, C]
	span   trace.Span

	result Result[S, E]
	err    error
	done   chan struct{}
}

// stream is the queue and the folded state of one stream in this process.
type stream[S, C, E any] struct {
	loop *Loop[S, C, E]
	name string

	mu       sync.Mutex
	head     Head[S]
	loaded   bool
	waiting  []*call[S, C, E]
	by       map[string]int // how many of them an actor has given
	running  bool
	reading  *flight                 // the read that is under way
	next     *flight                 // the read that callers arriving now share
	commands map[string]*underway[E] // by command id

	snapshotting bool
	keeps        int // events that the snapshot stream keeps; 0: not known
}

func (s *stream[S, C, E]) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.running && s.reading == nil && s.next == nil && !s.snapshotting
}

func (s *stream[S, C, E]) peek() (Head[S], bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head, s.loaded
}

func (s *stream[S, C, E]) enqueue(c *call[S, C, E]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) >= maxWaiting || s.by[c.meta.Actor.ID] >= maxShare {
		return &domain.Error{
			Kind: domain.KindUnavailable, Code: "busy", Detail: "Too many commands wait for this stream.",
			Hint: "Send the same request again after {wait}.", RetryAfter: time.Second,
		}
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.waiting = append(s.waiting, c)
	s.by[c.meta.Actor.ID]++
	id := c.meta.CommandID.String()
	if s.commands[id] == nil {
		if s.commands == nil {
			s.commands = map[string]*underway[E]{}
		}
		s.commands[id] = &underway[E]{}
	}
	s.commands[id].calls++
	if !s.running {
		s.running = true
		go s.run()
	}
	return nil
}

// run takes all waiting commands at a time until none is left. One run exists for each stream in a
// process.
func (s *stream[S, C, E]) run() {
	for {
		s.mu.Lock()
		calls := s.waiting
		s.waiting, s.by = nil, nil
		if len(calls) == 0 {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for len(calls) > 0 {
			calls = calls[s.batch(calls):]
		}
	}
}

// batch decides commands one after another on the state and appends their events in one write. It
// answers the first n calls, as many as fit, and returns n, at least 1.
func (s *stream[S, C, E]) batch(calls []*call[S, C, E]) int {
	ctx, cancel := context.WithTimeout(context.Background(), s.loop.deadline)
	defer cancel()
	first := calls[0].span
	n, err := s.attempt(spans.Within(ctx, first), calls)
	if err != nil {
		n = len(calls)
		for _, c := range calls {
			c.err = err
		}
	}
	for i, c := range calls[:n] {
		if i > 0 && c.span.IsRecording() { // its own steps are below the first span
			c.span.AddLink(trace.Link{SpanContext: first.SpanContext()})
		}
		s.finish(c)
		close(c.done)
	}
	return n
}

// finish forgets a command that no caller waits for, and lets another call of the same command find
// it.
func (s *stream[S, C, E]) finish(c *call[S, C, E]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := c.meta.CommandID.String()
	u := s.commands[id]
	u.calls--
	switch {
	case u.calls == 0:
		delete(s.commands, id)
	case c.err == nil && c.result.Changed && u.found == nil:
		u.found = &stored[E]{
			events: c.result.Events, revision: c.result.Revision, position: c.result.Position,
			eventID: c.result.EventID,
		}
	}
}

func (s *stream[S, C, E]) attempt(ctx context.Context, calls []*call[S, C, E]) (int, error) {
	head, loaded := s.peek()
	fresh := !loaded
	if fresh {
		if err := s.refresh(ctx); err != nil {
			return 0, err
		}
		head, _ = s.peek()
	}
	searched := false
	for _, c := range calls {
		if c.meta.Since != 0 {
			if err := s.searchBack(ctx, c); err != nil {
				return 0, err
			}
			searched = true
		}
	}
	if searched { // what was found may be newer than what this process has seen
		if err := s.refresh(ctx); err != nil {
			return 0, err
		}
		head, _ = s.peek()
		fresh = true
	}
	for {
		d := s.decide(head, calls, fresh)
		if !d.needsRead && len(d.entries) == 0 {
			return d.answered, nil
		}
		if !d.needsRead {
			appended, err := s.loop.append(ctx, s.name, head.End(), d.answered, d.entries, d.head.eventID)
			switch {
			case err == nil && d.alone:
				return d.answered, s.settle(ctx, calls[d.answered-1], appended)
			case err == nil:
				s.applied(head, d, appended)
				return d.answered, nil
			case !errors.Is(err, eventstore.ErrWrongRevision) && !errors.Is(err, eventstore.ErrStreamDeleted):
				return 0, fmt.Errorf("append to %s: %w", s.name, err)
			}
		}
		if err := s.refresh(ctx); err != nil {
			return 0, err
		}
		head, _ = s.peek()
		fresh = true
	}
}

// decision is one round over a batch.
type decision[S any] struct {
	answered  int // calls that this round answers
	needsRead bool
	alone     bool // the entries are those of one call that may have been appended before
	entries   []codec.Entry
	head      Head[S] // as it will be
	finish    []func(codec.Appended)
}

// decide goes through the calls in order. A refusal, and an "already so", count only on fresh
// state.
func (s *stream[S, C, E]) decide(head Head[S], calls []*call[S, C, E], fresh bool) decision[S] {
	now := s.loop.Env.Clock()
	d := decision[S]{head: head}
	d.head.readAt = now // an append at this head will say that it was the end
	at := Later(now, head.At)
	size := 0
	for _, c := range calls {
		found, again := s.find(c, now)
		if found != nil {
			c.err = nil
			c.result = Result[S, E]{
				State: d.head.State, Events: found.events, Revision: found.revision, Position: found.position,
				EventID: found.eventID, Changed: true, Repeated: true,
			}
			d.answered++
			continue
		}
		if len(d.entries) > 0 && (d.alone || again) {
			return d
		}
		cmd, err := c.build(d.head.State, at)
		var events []E
		if err == nil {
			events, err = s.loop.Decide(d.head.State, cmd)
		}
		var entries []codec.Entry
		more := 0 // bytes
		if err == nil {
			entries, more, err = appendable(c.signed, events, at)
		}
		if (err != nil || len(events) == 0) && !fresh {
			d.needsRead = true
			return d
		}
		if len(d.entries) > 0 && (len(d.entries)+len(entries) > maxBatchEvents || size+more > maxBatchBytes) {
			return d // the rest goes into the next batch
		}
		d.answered++
		c.err = err
		if err != nil || len(events) == 0 {
			c.result = Result[S, E]{
				State: d.head.State, Revision: d.head.Revision, Position: d.head.Position, EventID: d.head.eventID,
			}
			if len(d.entries) > 0 {
				// It relied on events of this batch, whose position is known only after the append.
				d.finish = append(d.finish, func(a codec.Appended) { c.result.Position = a.Position })
			}
			continue
		}
		size += more
		d.alone = again
		before := d.head.State
		facts := make([]domain.Fact[E], len(events))
		for i, e := range events {
			by := c.signed.By()
			by.Label = "" // as it is read again
			facts[i] = domain.Fact[E]{Event: e, At: at, By: by}
		}
		d.head.State = s.loop.Evolve(d.head.State, facts...)
		d.head.Revision += d.head.foreign + int64(len(events))
		d.head.foreign = 0
		d.head.eventID = codec.EventID(entries[len(events)-1].Signed.CommandID, s.name, len(events)-1)
		d.head.At = at
		d.entries = append(d.entries, entries...)
		c.result = Result[S, E]{
			State: d.head.State, Events: events, Revision: d.head.Revision, EventID: d.head.eventID, Changed: true,
			before: &before,
		}
		// One append has one position, that of its last event: a caller that waits for it sees its own
		// events too.
		d.finish = append(
			d.finish, func(a codec.Appended) { c.result.Position, c.result.Connection = a.Position, a.Connection },
		)
		if d.alone {
			return d
		}
	}
	return d
}

// appendable encodes what a call decided. The caller's private data isn't repeated in each of its
// events: where that would be too much, the first alone has it.
func appendable[E any](signed codec.Signed, events []E, at time.Time) ([]codec.Entry, int, error) {
	signed.Time = at
	entries, size, err := encode(events, signed)
	if err == nil && size > maxCallBytes && len(events) > 1 {
		signed.Private = ""
		var bare []codec.Entry
		if bare, size, err = encode(events, signed); err == nil {
			size += entries[0].Size() - bare[0].Size()
			bare[0] = entries[0]
			entries = bare
		}
	}
	if err == nil && (len(events) > maxCallEvents || size > maxCallBytes) {
		err = fmt.Errorf("%w: %w", ErrTooLarge, domain.Invalid("body", fmt.Sprintf(
			"it causes %d events of %d bytes, and one call may cause %d events of %d bytes; send it in smaller parts",
			len(events), size, maxCallEvents, maxCallBytes,
		)))
	}
	return entries, size, err
}

func encode[E any](events []E, signed codec.Signed) ([]codec.Entry, int, error) {
	entries := make([]codec.Entry, len(events))
	size := 0
	for i, e := range events {
		entry, err := codec.NewEntry(e, signed, i)
		if err != nil {
			return nil, 0, err
		}
		entries[i] = entry
		size += entry.Size()
	}
	return entries, size, nil
}

// applied moves the state to what was appended, unless a read has brought it further already.
func (s *stream[S, C, E]) applied(base Head[S], d decision[S], a codec.Appended) {
	for _, f := range d.finish {
		f(a)
	}
	d.head.Position, d.head.link = a.Position, a.Link
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head.Revision == base.Revision {
		s.head = d.head
	}
	if (base.Revision+1)/SnapshotEvery != (s.head.Revision+1)/SnapshotEvery {
		s.snapshotLocked()
	}
}
