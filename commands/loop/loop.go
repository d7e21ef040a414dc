// Package loop carries commands out: read, fold, decide, append at the revision read, and on a
// conflict decide again. It is the only place that appends what was decided. It knows no HTTP, no
// use case and no read model.
package loop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/words"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/spans"
)

// Meta is who gives a command and how the call came in.
type Meta struct {
	Organization string
	Actor        domain.Actor
	OnBehalfOf   domain.Actor // for whom a part of the system acts
	CommandID    uuid.UUID
	RequestID    string
	Address      string // of the client; stored sealed
	UserAgent    string // stored sealed

	IfRevision domain.Revisions // of the resource that an edit may be based on
	Seen       domain.Seen      // what the human who decides was shown
	Tools      []string         // that they decide about; none: all

	Causation string // the id of the event that this follows from; empty: a call

	// Shared says that another process may carry the same command out at this moment. A command whose
	// id isn't a UUIDv7 always is.
	Shared bool

	// Since is not 0 when the command may have been carried out before, by a process that died: the
	// position in the log after which its events would be.
	Since uint64
}

// Aggregate is one kind of stream: how it is named, decided and folded.
type Aggregate[S, C, E any] struct {
	Category codec.Category
	Fold     int // version of Evolve and of the state's JSON; snapshots of another version are not used
	Decide   func(S, C) ([]E, error)
	Evolve   func(S, ...domain.Fact[E]) S
}

// OneByOne makes the fold of several facts of the fold of one. It is for states that are cheap to
// copy.
func OneByOne[S, E any](evolve func(S, domain.Fact[E]) S) func(S, ...domain.Fact[E]) S {
	return func(s S, facts ...domain.Fact[E]) S {
		for _, f := range facts {
			s = evolve(s, f)
		}
		return s
	}
}

// Head is a stream folded up to a revision.
type Head[S any] struct {
	State    S
	Revision int64     // of the last event, -1 before the first
	Position uint64    // of the last event in the whole log
	At       time.Time // of the last event
	eventID  uuid.UUID // of the last event
	link     codec.Link
	foreign  int64     // see codec.End
	readAt   time.Time // when the log last said that this is the end
}

// End is what the next event of the stream names.
func (h Head[S]) End() codec.End {
	return codec.End{Revision: h.Revision, Link: h.link, Foreign: h.foreign}
}

// Result is a command carried out. Everything in it is durable.
type Result[S, E any] struct {
	State    S         // after the command's own events; of one that was found done, as it is now
	Events   []E       // that the log has for the command, whether this call or an earlier one carried it out
	Revision int64     // of the command's last event, or the stream's when nothing changed
	Position uint64    // of the same event in the whole log
	EventID  uuid.UUID // of the same event
	Changed  bool      // false when it was so already
	Repeated bool      // an earlier call carried the command out

	Connection uint64 // of the client, over which the append was acknowledged

	before *S // what it was decided on, if that is known here
}

// Loop carries out the commands of one kind of stream. All methods are safe for concurrent use.
type Loop[S, C, E any] struct {
	Aggregate[S, C, E]
	Env *Env

	mu      sync.Mutex
	streams map[string]*stream[S, C, E]
	most    int // kept folded in memory

	deadline time.Duration // of a batch, and of writing a snapshot
}

// Env is what all loops share.
type Env struct {
	Log     *codec.Log
	Sealer  Sealer
	Clock   func() time.Time
	OnFault func(msg string, err error) // receives faults for which no caller waits

	// OnAppend receives every append that a loop tried. It must not block, and may be nil.
	OnAppend func(Appending)

	// Ends returns where a guarded stream ended for those who keep that outside of the log; nil:
	// nobody does.
	Ends func(ctx context.Context, stream string) []codec.End

	// OnLost writes down that a guarded stream lacks an event of ours, whose time is zero where it
	// isn't known. It returns nil if that was written before: then the stream is used as it is. nil:
	// a stream that lacks something is refused.
	OnLost func(ctx context.Context, lost *codec.LostError, at time.Time) error
}

// Appending is an append that a loop tried.
type Appending struct {
	Category string // of the stream
	Stream   string
	Commands int // that it was to answer
	Took     time.Duration
	Err      error

	// Without an error:
	Last eventstore.Mark // its last event
	At   time.Time       // when the answer came, by the clock of this process
}

// Sealer seals what an event holds about the person or machine that made a call.
type Sealer func(ctx context.Context, m Meta) (string, error)

// New returns the loop of one kind of stream.
func New[S, C, E any](env *Env, a Aggregate[S, C, E]) *Loop[S, C, E] {
	return &Loop[S, C, E]{
		Aggregate: a, Env: env, streams: map[string]*stream[S, C, E]{}, most: maxStreams, deadline: Deadline,
	}
}

// ErrTooLarge marks the refusal of a command whose events don't fit into one append.
var ErrTooLarge = errors.New("the events don't fit into one append")

// Deadline bounds one batch: its reads and its append, under no caller's context.
const Deadline = 5 * time.Second

const (
	maxStreams   = 20_000 // kept folded in memory
	recentState  = time.Minute
	maxUserAgent = 512 // bytes that are kept
)

// Build makes the command when it is decided: on the state that it is decided on, at the time that
// its events will carry. It runs once for each round, so it must have no effect.
type Build[S, C any] func(state S, at time.Time) (C, error)

// Do decides a command on the newest state, appends what it decided and returns when that is
// durable. A refusal is decided only after a fresh read. The caller's context bounds the wait, not
// the command: a command that was begun is finished. Errors: *domain.Error for refusals, 503
// event_log_unavailable among them.
func (l *Loop[S, C, E]) Do(ctx context.Context, id string, m Meta, build Build[S, C]) (Result[S, E], error) {
	m.UserAgent = words.CleanLine(m.UserAgent[:min(len(m.UserAgent), maxUserAgent)])
	private, err := l.Env.Sealer(ctx, m)
	if err != nil {
		return Result[S, E]{}, Refusal(err)
	}
	ctx, span := spans.Step(ctx, "command", l.Category.String())
	defer span.End()
	c := &call[S, C, E]{meta: m, build: build, span: span, done: make(chan struct{}), signed: m.signed(private)}
	s := l.stream(id)
	if err := s.enqueue(c); err != nil {
		return Result[S, E]{}, err
	}
	select {
	case <-c.done:
		return c.result, Refusal(c.err)
	case <-ctx.Done():
		return Result[S, E]{}, Refusal(ctx.Err())
	}
}

// ReadEvents returns the n events of a stream that follow a revision.
func (l *Loop[S, C, E]) ReadEvents(ctx context.Context, id string, after int64, n int) ([]E, error) {
	s, events := l.stream(id), make([]E, 0, n)
	for len(events) < n {
		page, err := l.Env.Log.ReadForward(
			ctx, s.name, uint64(after+1)+uint64(len(events)), uint64(min(n-len(events), pageSize)), //nolint:gosec // neither is below 0
		)
		if err == nil && len(page) == 0 {
			err = eventstore.ErrStreamNotFound
		}
		if err != nil {
			return nil, Refusal(fmt.Errorf("read %s after %d: %w", s.name, after, err))
		}
		for _, e := range page {
			event, err := s.event(e)
			if err != nil {
				return nil, Refusal(err)
			}
			events = append(events, event)
		}
	}
	return events, nil
}

// Before returns the state that a command was decided on. Of one that was found done it is folded
// from the log.
func (l *Loop[S, C, E]) Before(ctx context.Context, id string, r Result[S, E]) (S, error) {
	switch {
	case r.before != nil:
		return *r.before, nil
	case !r.Changed:
		return r.State, nil
	}
	s, head := l.stream(id), Head[S]{Revision: eventstore.NoStream}
	reader := l.Env.Log.Reader(s.name, codec.Begin)
	for end, more := r.Revision-int64(len(r.Events)), true; more && head.Revision < end; {
		var events []codec.Verified
		var err error
		if events, more, err = reader.Next(ctx, uint64(min(end-head.Revision, pageSize))); err != nil { //nolint:gosec // it isn't below 0
			return head.State, Refusal(fmt.Errorf("read %s up to %d: %w", s.name, end, err))
		}
		for len(events) > 0 && int64(events[len(events)-1].Revision) > end { //nolint:gosec // revisions fit
			events = events[:len(events)-1]
		}
		if head, err = s.fold(head, events); err != nil {
			return head.State, Refusal(err)
		}
	}
	return head.State, nil
}

// AsOf returns the state that a stream had at a position of the log, folded from its beginning.
func (l *Loop[S, C, E]) AsOf(ctx context.Context, id string, position uint64) (S, error) {
	s, head := l.stream(id), Head[S]{Revision: eventstore.NoStream}
	reader := l.Env.Log.Reader(s.name, codec.Begin)
	for more := true; more; {
		var events []codec.Verified
		var err error
		if events, more, err = reader.Next(ctx, pageSize); err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
			return head.State, Refusal(fmt.Errorf("read %s up to position %d: %w", s.name, position, err))
		}
		for i, e := range events {
			if e.Position > position {
				events, more = events[:i], false
				break
			}
		}
		if head, err = s.fold(head, events); err != nil {
			return head.State, Refusal(err)
		}
	}
	return head.State, nil
}

// Check decides a command on the newest state and appends nothing.
func (l *Loop[S, C, E]) Check(ctx context.Context, id string, build Build[S, C]) error {
	_, _, err := l.Rehearse(ctx, id, build)
	return err
}

// Rehearse decides a command on the newest state and appends nothing. It returns both, and refuses
// what Do would refuse but for ErrTooLarge.
func (l *Loop[S, C, E]) Rehearse(ctx context.Context, id string, build Build[S, C]) (Head[S], []E, error) {
	head, err := l.Fresh(ctx, id)
	if err != nil {
		return head, nil, err
	}
	cmd, err := build(head.State, Later(l.Env.Clock(), head.At))
	if err != nil {
		return head, nil, Refusal(err)
	}
	events, err := l.Decide(head.State, cmd)
	return head, events, Refusal(err)
}

// signed is what every event of the command says of it.
func (m Meta) signed(private string) codec.Signed {
	return codec.Signed{
		Organization: m.Organization, Actor: m.Actor, OnBehalfOf: m.OnBehalfOf, CommandID: m.CommandID.String(),
		RequestID: m.RequestID, Causation: m.Causation, Private: private,
	}
}

// Cached returns the state as this process last saw it, reading the stream only when it never did.
func (l *Loop[S, C, E]) Cached(ctx context.Context, id string) (Head[S], error) {
	s := l.stream(id)
	if head, loaded := s.peek(); loaded {
		return head, nil
	}
	return l.Fresh(ctx, id)
}

// Fresh returns the state after a read that began after the call. Calls at the same time share
// reads.
func (l *Loop[S, C, E]) Fresh(ctx context.Context, id string) (Head[S], error) {
	s := l.stream(id)
	if err := s.refresh(ctx); err != nil {
		return Head[S]{}, Refusal(err)
	}
	head, _ := s.peek()
	return head, nil
}

// Recent is Fresh, but while the log can't be reached it returns a state at most a minute old.
func (l *Loop[S, C, E]) Recent(ctx context.Context, id string) (Head[S], error) {
	s := l.stream(id)
	err := s.refresh(ctx)
	head, loaded := s.peek()
	if err != nil && errors.Is(err, eventstore.ErrUnavailable) && loaded &&
		l.Env.Clock().Sub(head.readAt) <= recentState {
		return head, nil
	}
	return head, Refusal(err)
}

// Forget drops what the loop knows of the log.
func (l *Loop[S, C, E]) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.streams) // dropping one that is in use is harmless; see stream
}

func (l *Loop[S, C, E]) stream(id string) *stream[S, C, E] {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, found := l.streams[id]
	if !found {
		// Dropping a stream that is still in use is harmless: appends name the revision they were decided
		// on.
		looked := 0
		for old, other := range l.streams {
			if len(l.streams) < l.most || looked == 8 {
				break
			}
			if looked++; other.idle() {
				delete(l.streams, old)
			}
		}
		s = &stream[S, C, E]{loop: l, name: l.Category.Stream(id), head: Head[S]{Revision: eventstore.NoStream}}
		l.streams[id] = s
	}
	return s
}

// append writes the events that some commands caused at the end of a stream. last is the id of the
// last one.
func (l *Loop[S, C, E]) append(
	ctx context.Context, stream string, after codec.End, commands int, entries []codec.Entry, last uuid.UUID,
) (codec.Appended, error) {
	if l.Env.OnAppend == nil {
		return l.Env.Log.Append(ctx, stream, after, entries...)
	}
	began := l.Env.Clock()
	appended, err := l.Env.Log.Append(ctx, stream, after, entries...)
	ended := l.Env.Clock()
	a := Appending{
		Category: l.Category.String(), Stream: stream, Commands: commands, Took: ended.Sub(began), Err: err, At: ended,
	}
	if err == nil {
		at := entries[len(entries)-1].Signed.Time
		a.Last = eventstore.Mark{
			Stream: stream, Revision: appended.Revision, Position: appended.Position, ID: last, At: at,
		}
	}
	l.Env.OnAppend(a)
	return appended, err
}

func Later(a, b time.Time) time.Time {
	a = a.UTC().Truncate(time.Microsecond)
	if b.After(a) {
		return b
	}
	return a
}
