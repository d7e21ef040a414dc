package loop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/spans"
)

// flight is one read of a stream's end that several callers wait for.
type flight struct {
	done chan struct{}
	err  error
	span trace.Span // of the first caller
}

// refresh reads what is new in the stream. The read begins after refresh was called, so whatever
// was appended, or heard of an append, before the call sees it afterwards. Callers share the read
// that has not begun yet.
func (s *stream[S, C, E]) refresh(ctx context.Context) error {
	ctx, span := spans.Step(ctx, "refresh", s.loop.Category.String())
	defer span.End()
	s.mu.Lock()
	f := s.next
	if f == nil {
		f = &flight{done: make(chan struct{}), span: span}
		s.next = f
		if s.reading == nil {
			s.reading, s.next = f, nil
			go s.readAll() //nolint:contextcheck // it is shared, so no one caller may end it
		}
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stream[S, C, E]) readAll() {
	for {
		s.mu.Lock()
		f := s.reading
		s.mu.Unlock()

		// Each page has the log's own deadline. Together they have none: a long history that is folded
		// from its beginning, as after a change of the fold, is read to its end although no caller waits
		// that long.
		f.err = s.read(spans.Within(context.Background(), f.span))
		close(f.done)

		s.mu.Lock()
		s.reading, s.next = s.next, nil
		again := s.reading != nil
		s.mu.Unlock()
		if !again {
			return
		}
	}
}

// read brings the state to the stream's end: from a snapshot when nothing was read before.
func (s *stream[S, C, E]) read(ctx context.Context) error {
	head, loaded := s.peek()
	var known []codec.End
	if !loaded {
		known = s.known(ctx) // before the log: it has what they have
		head = s.fromSnapshot(ctx)
	}
	began, from := s.loop.Env.Clock(), head
	var own []codec.Verified // of commands that are under way here
	reader := s.loop.Env.Log.Reader(s.name, head.End())
	for more := true; more; {
		var events []codec.Verified
		var err error
		if events, more, err = reader.Next(ctx, pageSize); err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
			return s.refused(ctx, from, known, err)
		}
		if head, err = s.fold(head, events); err != nil {
			return err
		}
		own = append(own, s.underway(events)...)
	}
	if err := s.lacks(ctx, known, head); err != nil {
		return err
	}
	head.foreign = reader.End().Foreign
	head.readAt = began
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range own {
		s.rememberLocked(e, e.Event.(E)) //nolint:forcetypeassert // it was folded
	}
	// The queue may have appended meanwhile and be further than what was read.
	if !s.loaded || head.Revision >= s.head.Revision {
		s.head = head
	} else {
		s.head.readAt = began
	}
	s.loaded = true
	if s.head.Revision-from.Revision >= SnapshotEvery {
		s.snapshotLocked() // the next reader need not read all that again
	}
	return nil
}

func (s *stream[S, C, E]) fold(head Head[S], events []codec.Verified) (Head[S], error) {
	facts := make([]domain.Fact[E], len(events))
	for i, e := range events {
		event, err := s.event(e)
		if err != nil {
			return head, err
		}
		facts[i] = domain.Fact[E]{Event: event, At: e.Signed.Time, By: e.Signed.By()}
		head.Revision, head.Position, head.eventID, head.link = int64(e.Revision), e.Position, e.ID, e.Link //nolint:gosec // revisions fit
		head.At = laterOf(head.At, e.Signed.Time)
	}
	head.State = s.loop.Evolve(head.State, facts...)
	return head, nil
}

func (s *stream[S, C, E]) event(e codec.Verified) (E, error) {
	event, ok := e.Event.(E)
	if !ok {
		return event, fmt.Errorf("%w: %s has no place in %s", codec.ErrUnknownEvent, e.Type, s.name)
	}
	return event, nil
}

// underway returns the events of commands that are under way here.
func (s *stream[S, C, E]) underway(events []codec.Verified) (own []codec.Verified) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if s.commands[e.Signed.CommandID] != nil {
			own = append(own, e)
		}
	}
	return own
}

// rememberLocked notes an event of a command that is under way here, so that the command is done
// instead of decided twice. Events come in the order of the log, each perhaps more than once.
func (s *stream[S, C, E]) rememberLocked(e codec.Verified, event E) {
	u, revision := s.commands[e.Signed.CommandID], int64(e.Revision) //nolint:gosec // revisions fit
	if u == nil || u.found != nil && revision <= u.found.revision {
		return
	}
	found := stored[E]{revision: revision, position: e.Position, eventID: e.ID}
	if u.found != nil {
		found.events = slices.Clone(u.found.events) // which a caller may have by now
	}
	found.events = append(found.events, event)
	u.found = &found
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Replay reads a stream from its beginning up to a position of the log and shows each event, with
// the state before it if that is wanted. It returns the state at the position. It keeps nothing,
// and nobody waits for it; an end of the context ends it.
func (l *Loop[S, C, E]) Replay(
	ctx context.Context, id string, position uint64, show func(e codec.Verified, before func() (S, error)) error,
) (S, error) {
	s, head := l.stream(id), Head[S]{Revision: eventstore.NoStream}
	reader := l.Env.Log.Reader(s.name, codec.Begin)
	for more := true; more; {
		var events []codec.Verified
		err := ctx.Err()
		if err == nil {
			events, more, err = reader.Next(ctx, pageSize)
		}
		if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
			return head.State, fmt.Errorf("replay %s: %w", s.name, err)
		}
		folded := 0 // of the page
		for i, e := range events {
			if e.Position > position {
				events, more = events[:i], false
				break
			}
			err := show(e, func() (S, error) {
				var err error
				head, err = s.fold(head, events[folded:i])
				folded = i
				return head.State, err
			})
			if err != nil {
				return head.State, err
			}
		}
		if head, err = s.fold(head, events[folded:]); err != nil {
			return head.State, err
		}
	}
	return head.State, nil
}
