// Package lane decides about the queue of one notification channel: which process may send, what
// goes out together, and how long the channel is left alone. It knows neither what is said nor
// where it goes, and sends nothing.
package lane

import (
	"time"

	"agentkey/domain"
)

// Event is what happened to a channel's queue. The structs are the wire format of the stored
// events.
//
//sumtype:decl
type Event interface{ laneEvent() }

// The events of a channel's queue.
type (
	// Claimed gives one process the turn to send some notifications together, until a time.
	Claimed struct {
		OrganizationID string    `json:"organization_id"`
		Turn           int       `json:"turn"`
		Deliveries     []string  `json:"deliveries"` // oldest first
		Until          time.Time `json:"until"`
	}
	// Released ends a turn. The next one may begin at once.
	Released struct {
		Turn int `json:"turn"`
	}
	// Held leaves the channel alone until a time. It ends a turn, unless that is 0.
	Held struct {
		Turn  int       `json:"turn,omitempty"`
		Until time.Time `json:"until"`
		Asked bool      `json:"asked,omitempty"` // the receiver asked for it
	}
	// Resumed is a human who doesn't want to wait.
	Resumed struct{}
)

func (Claimed) laneEvent()  {}
func (Released) laneEvent() {}
func (Held) laneEvent()     {}
func (Resumed) laneEvent()  {}

// State is what decisions about a channel's queue read.
type State struct {
	Turn       int       // the last one
	Claimed    bool      // its outcome is not known
	Deliveries []string  // that it sends
	Until      time.Time // when another process takes it over
	HeldUntil  time.Time // nothing is sent before
	Asked      bool      // the receiver asked for that, and has taken nothing since
	Failures   int       // since the receiver last took something
}

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case Claimed:
		s.Turn, s.Claimed, s.Deliveries, s.Until = e.Turn, true, e.Deliveries, e.Until
	case Released:
		s.Claimed, s.Deliveries, s.Asked, s.Failures = false, nil, false, 0
	case Held:
		s.HeldUntil, s.Asked = e.Until, e.Asked
		if e.Turn != 0 {
			s.Claimed, s.Deliveries, s.Failures = false, nil, s.Failures+1
		}
	case Resumed:
		s.HeldUntil = time.Time{}
	}
	return s
}
