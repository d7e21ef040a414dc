package lane

import (
	"fmt"
	"time"

	"agentkey/domain/delivery"
)

// What goes out together, and how long a turn is.
const (
	DigestAfter = time.Minute      // what has waited longer goes out together
	Few         = 5                // that a receiver asked to wait for still go out one by one
	MaxDigest   = 100              // notifications in one digest
	Turn        = 20 * time.Second // that a process has for one notification
	perDelivery = time.Second / 5  // that a digest has besides, to write down what became of each
)

// Command is something to decide on a channel's queue. At is the time of the decision.
//
//sumtype:decl
type Command interface{ laneCommand() }

// The commands of a channel's queue.
type (
	// Claim asks for the turn. Of two concurrent claims, one gets a Claimed event.
	Claim struct {
		OrganizationID string
		At             time.Time
		Waiting        []Waiting // oldest first
	}
	// Release ends a turn.
	Release struct{ Turn int }
	// Hold ends a turn after a failure. Outside of a turn, which is 0, only a wish of the receiver
	// counts.
	Hold struct {
		At     time.Time
		Turn   int
		Wait   time.Duration // that the receiver asks for
		Jitter float64       // from 0 to 1, drawn, so that what failed together does not come back together
	}
	// Resume wants the next turn at once. What the receiver asked for still counts.
	Resume struct{ At time.Time }
)

func (Claim) laneCommand()   {}
func (Release) laneCommand() {}
func (Hold) laneCommand()    {}
func (Resume) laneCommand()  {}

// Waiting is a notification in the queue.
type Waiting struct {
	ID    string
	Since time.Time
	Alone bool // it never goes out together with others
}

// Decide answers a command on a state: events to append, or none when it is already so.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Claim:
		return claim(s, c), nil
	case Release:
		if !s.Claimed || c.Turn != s.Turn {
			return nil, nil
		}
		return []Event{Released(c)}, nil
	case Hold:
		return hold(s, c), nil
	case Resume:
		if s.Asked || !c.At.Before(s.HeldUntil) {
			return nil, nil
		}
		return []Event{Resumed{}}, nil
	}
	return nil, fmt.Errorf("lane: no decision for %T", c)
}

// claim gives a turn. What a process left in the middle of its turn is sent as it was put together
// then, so that the receiver gets it under the same id.
func claim(s State, c Claim) []Event {
	if c.At.Before(s.HeldUntil) || s.Claimed && c.At.Before(s.Until) {
		return nil
	}
	deliveries := s.Deliveries
	if !s.Claimed {
		deliveries = together(s, c)
	}
	if len(deliveries) == 0 {
		return nil
	}
	until := c.At.Add(Turn + time.Duration(len(deliveries)-1)*perDelivery)
	return []Event{Claimed{OrganizationID: c.OrganizationID, Turn: s.Turn + 1, Deliveries: deliveries, Until: until}}
}

// together is the oldest notification, or a digest of all that wait when that one is late, or when
// a receiver with a long queue has asked for less.
func together(s State, c Claim) []string {
	if len(c.Waiting) == 0 {
		return nil
	}
	first := c.Waiting[0]
	late := c.At.Sub(first.Since) > DigestAfter
	crowded := s.Asked && len(c.Waiting) > Few
	if first.Alone || !late && !crowded {
		return []string{first.ID}
	}
	var ids []string
	for _, w := range c.Waiting {
		if !w.Alone && len(ids) < MaxDigest {
			ids = append(ids, w.ID)
		}
	}
	return ids
}

func hold(s State, c Hold) []Event {
	until := c.At.Add(delivery.Pause(s.Failures+1, c.Wait, c.Jitter))
	if c.Turn == 0 {
		if until = c.At.Add(min(c.Wait, delivery.MaxPause)); !until.After(s.HeldUntil) || c.Wait <= 0 {
			return nil
		}
	} else if !s.Claimed || c.Turn != s.Turn {
		return nil
	}
	return []Event{Held{Turn: c.Turn, Until: until, Asked: c.Wait > 0}}
}
