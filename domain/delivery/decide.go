package delivery

import (
	"fmt"
	"time"

	"agentkey/domain"
)

// How long a notification is tried, and how.
const (
	KeepTrying = 24 * time.Hour   // since it was queued, or queued again
	FirstPause = 2 * time.Second  // after the first attempt; twice as long after each further one
	MaxPause   = time.Hour        // however often it was tried, and however long the receiver asks for
	Turn       = 20 * time.Second // that a process has for a test
)

// Command is something to decide on a notification's stream. At is the time of the decision.
//
//sumtype:decl
type Command interface{ deliveryCommand() }

// The commands of a notification.
type (
	// Queue begins a notification.
	Queue Queued
	// Try begins a notification and takes the first turn at once.
	Try struct {
		What Queued
		At   time.Time
	}
	// Claim asks for the turn, which the channel's queue gives until a time. Of two concurrent claims,
	// one gets a Claimed event.
	Claim struct{ At, Until time.Time }
	// Succeed says that the receiver took what was sent on an attempt.
	Succeed struct {
		Attempt int
		Digest  string // that it was part of
	}
	// Fail says that an attempt failed.
	Fail struct {
		At      time.Time
		Attempt int
		Problem string
		Never   bool      // trying again is of no use
		NextAt  time.Time // when the channel's queue continues; zero: it is not held
		Alone   bool      // the receiver refuses the text: it waits by itself, and holds up nothing
		Jitter  float64   // from 0 to 1, drawn, of the pause when it waits by itself
	}
	// Requeue wants what failed, or was given up, sent again.
	Requeue struct{}
)

func (Queue) deliveryCommand()   {}
func (Try) deliveryCommand()     {}
func (Claim) deliveryCommand()   {}
func (Succeed) deliveryCommand() {}
func (Fail) deliveryCommand()    {}
func (Requeue) deliveryCommand() {}

// Decide answers a command on a state: events to append, none when it is already so, or a refusal.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Queue:
		if s.Status != "" {
			return nil, nil
		}
		return []Event{Queued(c)}, nil
	case Try:
		if s.Status != "" {
			return nil, nil
		}
		return []Event{c.What, Claimed{Attempt: 1, Until: c.At.Add(Turn)}}, nil
	case Claim, Succeed, Fail, Requeue:
	}
	if s.Status == "" {
		return nil, domain.NotFound("notification")
	}
	switch c := c.(type) {
	case Queue, Try:
		return nil, nil // answered above
	case Claim:
		if s.DueAt.IsZero() || c.At.Before(s.DueAt) {
			return nil, nil
		}
		return []Event{Claimed{Attempt: s.Attempts + 1, Until: c.Until}}, nil
	case Succeed:
		// Also when another process has the turn meanwhile, or it was given up: the receiver has it.
		if s.Status == Delivered || c.Attempt > s.Attempts {
			return nil, nil
		}
		return []Event{Succeeded(c)}, nil
	case Fail:
		return fail(s, c), nil
	case Requeue:
		if s.Status != Dead && s.Status != Failing {
			return nil, nil
		}
		return []Event{Requeued{}}, nil
	}
	return nil, fmt.Errorf("delivery: no decision for %T", c)
}

// fail ends the attempt whose turn it is. What another attempt has overtaken does not count.
func fail(s State, c Fail) []Event {
	if !s.Claimed || c.Attempt != s.Attempts {
		return nil
	}
	next := c.NextAt
	switch {
	case c.Alone:
		next = c.At.Add(Pause(s.Tries, 0, c.Jitter))
	case next.IsZero():
		next = c.At
	}
	if c.Never || next.After(s.Since.Add(KeepTrying)) {
		return []Event{Abandoned{Attempt: c.Attempt, Problem: c.Problem}}
	}
	return []Event{Failed{Attempt: c.Attempt, Problem: c.Problem, NextAt: next, Alone: c.Alone}}
}

// Pause is how long to wait after so many failures: it doubles, and of the second half of it the
// jitter takes a part. What the receiver asks for counts when it is more.
func Pause(failures int, wait time.Duration, jitter float64) time.Duration {
	p := MaxPause
	if failures <= 12 {
		p = min(MaxPause, FirstPause<<(failures-1))
	}
	p -= time.Duration(float64(p/2) * min(max(jitter, 0), 1))
	return max(p, min(wait, MaxPause))
}
