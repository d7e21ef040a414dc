package loop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// known returns where the stream ended for those who keep that outside of the log.
func (s *stream[S, C, E]) known(ctx context.Context) []codec.End {
	if s.loop.Env.Ends == nil || !s.guarded() {
		return nil
	}
	return s.loop.Env.Ends(ctx, s.name)
}

// guarded is false of the installation's own stream: the fence looks after that one.
func (s *stream[S, C, E]) guarded() bool {
	return s.loop.Category.Guarded() && s.loop.Category != codec.Installation
}

// lacks compares a stream that was read to its end with what is known of it.
func (s *stream[S, C, E]) lacks(ctx context.Context, known []codec.End, head Head[S]) error {
	for _, end := range known {
		if end.Revision == head.Revision && end.Link == head.link {
			continue
		}
		lost, err := s.loop.Env.Log.Lacks(ctx, s.name, end)
		if err != nil {
			return fmt.Errorf("read %s: %w", s.name, err)
		}
		if lost != nil {
			if err := s.lost(ctx, lost, time.Time{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// refused says why a stream wasn't read to its end, which began after a head.
func (s *stream[S, C, E]) refused(ctx context.Context, from Head[S], known []codec.End, err error) error {
	lost, isLost := errors.AsType[*codec.LostError](err)
	_, isForged := errors.AsType[*codec.ForgedError](err)
	switch {
	case isLost && s.guarded():
		if err := s.lost(ctx, lost, from.At); err != nil {
			return err
		}
		s.mu.Lock()
		s.loaded, s.head = false, Head[S]{Revision: -1}
		s.mu.Unlock()
		return s.read(ctx) // as it is
	case errors.Is(err, eventstore.ErrStreamDeleted):
		if err := s.lacks(ctx, known, from); err != nil {
			return err
		}
		return &codec.LostError{Stream: s.name, Fault: codec.Truncated}
	case isForged:
		// What may be ours, altered, certainly is where others have seen another event.
		if err := s.lacks(ctx, known, from); err != nil {
			return err
		}
	}
	return fmt.Errorf("read %s: %w", s.name, err)
}

func (s *stream[S, C, E]) lost(ctx context.Context, lost *codec.LostError, at time.Time) error {
	if s.loop.Env.OnLost == nil {
		return lost
	}
	return s.loop.Env.OnLost(ctx, lost, at)
}
