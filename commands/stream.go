package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

const (
	maxWaiting     = 4096      // commands in one queue; the next one is told that we are busy
	maxBatchEvents = 512       // in one append
	maxBatchBytes  = 256 << 10 // in one append of several commands
	maxCallBytes   = 900 << 10 // in one command
	seenCommands   = 1024      // whose ids are remembered from reads
	pageSize       = 512       // events in one read
)

// call is one command that waits for its turn.
type call[S, C, E any] struct {
	meta   Meta
	signed codec.Signed
	build  Build[S, C]

	result Result[S, E]
	err    error
	done   chan struct{}
}

// seen is where a command was found in the log.
type seen struct {
	revision int64
	position uint64
	eventID  uuid.UUID
}

// stream is the queue and the folded state of one stream in this process.
type stream[S, C, E any] struct {
	loop *Loop[S, C, E]
	name string

	mu       sync.Mutex
	head     Head[S]
	loaded   bool
	waiting  []*call[S, C, E]
	running  bool
	reading  *flight // the read that is under way
	next     *flight // the read that whoever comes now will share
	commands map[string]seen
	order    []string // of commands, oldest first

	snapshotting bool
	trimmed      bool // the snapshot stream keeps one event
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
	if len(s.waiting) >= maxWaiting {
		return &domain.Error{
			Kind: domain.KindUnavailable, Code: "busy", Detail: "Too many commands wait for this stream.",
			Hint: "Send the same request again after Retry-After.", RetryAfter: time.Second,
		}
	}
	s.waiting = append(s.waiting, c)
	if !s.running {
		s.running = true
		go s.run()
	}
	return nil
}

// run takes all waiting commands at a time until none is left. One run exists for each stream in a process.
func (s *stream[S, C, E]) run() {
	for {
		s.mu.Lock()
		calls := s.waiting
		s.waiting = nil
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

// batch decides commands one after another on the state and appends their events in one write. It answers the
// first n calls, as many as fit, and returns n, at least 1.
func (s *stream[S, C, E]) batch(calls []*call[S, C, E]) int {
	ctx, cancel := context.WithTimeout(context.Background(), batchDeadline)
	defer cancel()
	n, err := s.attempt(ctx, calls)
	if err != nil {
		n = len(calls)
		for _, c := range calls {
			c.err = err
		}
	}
	for _, c := range calls[:n] {
		close(c.done)
	}
	return n
}

func (s *stream[S, C, E]) attempt(ctx context.Context, calls []*call[S, C, E]) (int, error) {
	head, fresh := s.peek()
	if !fresh {
		if err := s.refresh(ctx); err != nil {
			return 0, err
		}
		head, fresh = s.peek()
	} else {
		fresh = false
	}
	for _, c := range calls {
		if c.meta.Since != 0 {
			if err := s.searchBack(ctx, c); err != nil {
				return 0, err
			}
		}
	}
	for {
		d := s.decide(head, calls, fresh)
		if !d.needsRead && len(d.entries) == 0 {
			return d.answered, nil
		}
		if !d.needsRead {
			appended, err := s.loop.env.Log.Append(ctx, s.name, head.Revision, d.entries...)
			if err == nil {
				s.applied(head, d, appended)
				return d.answered, nil
			}
			if !errors.Is(err, eventstore.ErrWrongRevision) {
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
	entries   []codec.Entry
	head      Head[S] // as it will be
	finish    []func(eventstore.Appended)
}

// decide goes through the calls in order. A refusal, and an "already so", count only on fresh state.
func (s *stream[S, C, E]) decide(head Head[S], calls []*call[S, C, E], fresh bool) decision[S] {
	d := decision[S]{head: head}
	at := later(s.loop.env.Clock(), head.At)
	size := 0
	for _, c := range calls {
		if found, ok := s.find(c.meta.CommandID); ok {
			c.err = nil
			c.result = Result[S, E]{State: d.head.State, Revision: found.revision, Position: found.position, EventID: found.eventID, Changed: true}
			d.answered++
			continue
		}
		cmd, err := c.build(d.head.State, at)
		var events []E
		if err == nil {
			events, err = s.loop.Decide(d.head.State, cmd)
		}
		if (err != nil || len(events) == 0) && !fresh {
			d.needsRead = true
			return d
		}
		entries, bytes, tooLarge := s.entries(c, events, at)
		if err == nil {
			err = tooLarge
		}
		if len(d.entries) > 0 && (len(d.entries)+len(entries) > maxBatchEvents || size+bytes > maxBatchBytes) {
			return d // the rest goes into the next batch
		}
		d.answered++
		c.err = err
		if err != nil || len(events) == 0 {
			c.result = Result[S, E]{State: d.head.State, Revision: d.head.Revision, Position: d.head.Position, EventID: d.head.eventID}
			if len(d.entries) > 0 {
				// It relied on events of this batch, whose position is known only after the append.
				d.finish = append(d.finish, func(a eventstore.Appended) { c.result.Position = a.Position })
			}
			continue
		}
		size += bytes
		for i, e := range events {
			d.head.State = s.loop.Evolve(d.head.State, domain.Fact[E]{Event: e, At: at, By: c.meta.Actor})
			d.head.Revision++
			d.head.eventID = codec.EventID(entries[i].Signed.CommandID, s.name, i)
		}
		d.head.At = at
		d.entries = append(d.entries, entries...)
		c.result = Result[S, E]{State: d.head.State, Events: events, Revision: d.head.Revision, EventID: d.head.eventID, Changed: true}
		// One append has one position, that of its last event: whoever waits for it sees his own events too.
		d.finish = append(d.finish, func(a eventstore.Appended) { c.result.Position = a.Position })
	}
	return d
}

func (s *stream[S, C, E]) entries(c *call[S, C, E], events []E, at time.Time) ([]codec.Entry, int, error) {
	entries := make([]codec.Entry, len(events))
	size := 0
	signed := c.signed
	signed.Time = at
	for i, e := range events {
		entry, err := codec.NewEntry(e, signed, i)
		if err != nil {
			return nil, 0, err
		}
		entries[i] = entry
		size += entry.Size()
	}
	if len(events) > maxBatchEvents || size > maxCallBytes {
		return nil, 0, domain.Invalid("body", fmt.Sprintf("one command may cause at most %d events and %d bytes", maxBatchEvents, maxCallBytes))
	}
	return entries, size, nil
}

// applied moves the state to what was appended, unless a read has brought it further already.
func (s *stream[S, C, E]) applied(base Head[S], d decision[S], a eventstore.Appended) {
	for _, f := range d.finish {
		f(a)
	}
	d.head.Position, d.head.readAt = a.Position, s.loop.env.Clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head.Revision == base.Revision {
		s.head = d.head
	}
	s.snapshotLocked(base.Revision)
}

func (s *stream[S, C, E]) find(command uuid.UUID) (seen, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.commands[command.String()]
	return found, ok
}

// searchBack looks for the events of a command that may have been carried out before.
func (s *stream[S, C, E]) searchBack(ctx context.Context, c *call[S, C, E]) error {
	if _, ok := s.find(c.meta.CommandID); ok {
		return nil
	}
	if err := s.refresh(ctx); err != nil {
		return err
	}
	head, _ := s.peek()
	for from := head.Revision; from >= 0; {
		events, err := s.loop.env.Log.Client.ReadBackwardFrom(ctx, s.name, uint64(from), pageSize) //nolint:gosec // not negative here
		if err != nil {
			return err
		}
		verified, err := s.loop.env.Log.Verify(events)
		if err != nil {
			return err
		}
		for _, e := range verified {
			if e.Position < c.meta.Since {
				return nil
			}
			if e.Signed.CommandID == c.meta.CommandID.String() {
				s.mu.Lock()
				s.rememberLocked(e)
				s.mu.Unlock()
				return nil
			}
		}
		from -= int64(len(events))
		if len(events) == 0 {
			return nil
		}
	}
	return nil
}

// rememberLocked keeps the id of a command that was read from the log, so that a command which finds itself
// there is done instead of decided twice.
func (s *stream[S, C, E]) rememberLocked(e codec.Verified) {
	if s.commands == nil {
		s.commands = map[string]seen{}
	}
	if _, known := s.commands[e.Signed.CommandID]; !known {
		s.order = append(s.order, e.Signed.CommandID)
	}
	s.commands[e.Signed.CommandID] = seen{revision: int64(e.Revision), position: e.Position, eventID: e.ID} //nolint:gosec // revisions fit
	if len(s.order) > seenCommands {
		delete(s.commands, s.order[0])
		s.order = s.order[1:]
	}
}
