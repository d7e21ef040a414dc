package loop

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"agentkey/eventstore/codec"
)

// underway is one command that waits or is being carried out here, and what the log has of it once
// it is known.
type underway[E any] struct {
	calls int        // more than one when a call was taken over while it still runs
	found *stored[E] // nil until it was found
}

// stored is a command in the log: all its events, and where the last one is.
type stored[E any] struct {
	events   []E
	revision int64
	position uint64
	eventID  uuid.UUID
}

// settle answers a call whose command may have been appended before, with the same ids: the log
// takes that for a repetition and keeps the first. What counts is what is stored.
func (s *stream[S, C, E]) settle(ctx context.Context, c *call[S, C, E], a codec.Appended) error {
	if err := s.refresh(ctx); err != nil {
		return err
	}
	found, _ := s.find(c, time.Time{})
	if found == nil {
		return fmt.Errorf("command %s was appended to %s and is not there", c.meta.CommandID, s.name)
	}
	head, _ := s.peek()
	c.result.State, c.result.Events, c.result.before = head.State, found.events, nil
	c.result.Revision, c.result.Position, c.result.EventID = found.revision, found.position, found.eventID
	c.result.Connection = a.Connection
	return nil
}

// find returns what the log has of the command of a call, if that is known, and whether there may
// be, or have been, another call of the same command: one that this call took over, or one that has
// taken over this call.
func (s *stream[S, C, E]) find(c *call[S, C, E], now time.Time) (found *stored[E], again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := c.meta.CommandID
	u := s.commands[id.String()]
	return u.found, u.calls > 1 || c.meta.Since != 0 || c.meta.Shared || isConclusion(id) ||
		now.Sub(MadeAt(id)) > Takeover/2
}

// searchBack looks for the events of a command that may have been carried out before.
func (s *stream[S, C, E]) searchBack(ctx context.Context, c *call[S, C, E]) error {
	if found, _ := s.find(c, time.Time{}); found != nil {
		return nil
	}
	if err := s.refresh(ctx); err != nil {
		return err
	}
	head, _ := s.peek()
	var own []codec.Verified // newest first; they were appended together
	for from := head.End(); from.Revision >= 0; {
		events, before, err := s.loop.Env.Log.ReadBack(ctx, s.name, from, pageSize)
		if err != nil {
			return err
		}
		for _, e := range events {
			switch mine := e.Signed.CommandID == c.meta.CommandID.String(); {
			case mine:
				own = append(own, e)
			case len(own) > 0 || e.Position < c.meta.Since:
				return s.remember(own)
			}
		}
		from = before
	}
	return s.remember(own)
}

// remember notes what was found of a command, newest first.
func (s *stream[S, C, E]) remember(own []codec.Verified) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range slices.Backward(own) {
		event, err := s.event(e)
		if err != nil {
			return err
		}
		s.rememberLocked(e, event)
	}
	return nil
}
