package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"agentkey/commands/loop"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// maxClockOff is how far the clock of this process may be off the log's. Access ends by it.
const maxClockOff = 2 * time.Second

// clockCheck compares the clock of this process with the log's: by the last event that the process
// wrote. The log stamped it after it was decided and before the answer came, whatever the network
// did in between.
type clockCheck struct {
	log   *codec.Log
	clock func() time.Time
	last  atomic.Pointer[loop.Appending]
}

// appended takes note of an append; see loop.Env.
func (c *clockCheck) appended(a loop.Appending) {
	if a.Err == nil {
		c.last.Store(&a)
	}
}

// Off returns how far the clock is ahead of the log's at least, below zero when it is behind; 0 as
// long as nothing shows that it is off. What was found before the clock was set, or the machine
// slept, does not count any more.
func (c *clockCheck) Off(ctx context.Context) (time.Duration, error) {
	a := c.last.Load()
	if a == nil {
		return 0, nil
	}
	events, err := c.log.ReadForward(ctx, a.Stream, max(1, a.Last.Revision)-1, 2)
	if errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrStreamDeleted) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the last event that was written: %w", err)
	}
	if len(events) == 0 || events[len(events)-1].Revision != a.Last.Revision {
		return 0, nil
	}
	event := events[len(events)-1]
	now := c.clock()
	// against the monotonic clock
	if set := now.Round(0).Sub(a.At.Round(0)) - now.Sub(a.At); set.Abs() > maxClockOff/4 {
		return 0, nil
	}
	if behind := event.Created.Sub(a.At.Round(0)); behind > 0 {
		return -behind, nil
	}
	// A command's time is not before the event's that it follows: then it comes from another process's
	// clock.
	if own := len(events) == 1 || event.Signed.Time.After(events[0].Signed.Time); own {
		if ahead := event.Signed.Time.Sub(event.Created); ahead > 0 {
			return ahead, nil
		}
	}
	return 0, nil
}

// describeClock says what a clock that is off is, and what to do.
func describeClock(off time.Duration) string {
	direction := "ahead of"
	if off < 0 {
		direction = "behind"
	}
	return fmt.Sprintf(
		"the clock here is %s %s the log's, more than %s; let both follow one time server",
		off.Abs().Round(100*time.Millisecond), direction, maxClockOff,
	)
}
