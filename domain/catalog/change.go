package catalog

import (
	"slices"
	"time"

	"agentkey/domain"
)

// The events around a change of the catalog that takes several appends. From the first to the last
// of them the stream holds that change alone, so what was planned stays true until it is done.
type (
	// ChangePlanned begins a change. The events that it consists of are sealed, in the order in which
	// they will be appended.
	ChangePlanned struct {
		ChangeID string       `json:"change_id"`
		Parts    []ChangePart `json:"parts"`
	}
	// ChangePart is one append of a change.
	ChangePart struct {
		SecretID string `json:"secret_id"` // that holds its events
		Events   int    `json:"events"`
	}
	// ChangeCompleted ends it: all of its events precede this one.
	ChangeCompleted struct {
		ChangeID string `json:"change_id"`
	}
)

func (ChangePlanned) catalogEvent()   {}
func (ChangeCompleted) catalogEvent() {}

// The commands of a change that takes several appends.
type (
	// PlanChange begins a change whose events were decided on this very state.
	PlanChange struct {
		ChangeID string
		Parts    []ChangePart
	}
	// ContinueChange appends one part of a change; the last one completes it.
	ContinueChange struct {
		ChangeID string
		Part     int
		Events   []Event
	}
)

func (PlanChange) catalogCommand()     {}
func (ContinueChange) catalogCommand() {}

// Underway is a change that was planned and isn't completed.
type Underway struct {
	ChangeID string       `json:"change_id"`
	Parts    []ChangePart `json:"parts"`
	Events   int          `json:"events,omitempty"` // that were appended so far
}

// Next is the part that follows what was appended so far.
func (u Underway) Next() int {
	events := 0
	for i, p := range u.Parts {
		if events >= u.Events {
			return i
		}
		events += p.Events
	}
	return len(u.Parts)
}

// Settled refuses what can't be answered or decided while a change is under way.
func (s State) Settled() error {
	if s.Underway == nil {
		return nil
	}
	return &domain.Error{
		Kind: domain.KindUnavailable, Code: "busy",
		Detail: "A large change of the catalog is being carried out.",
		Hint:   "Send the same request again after {wait}.", RetryAfter: time.Second,
	}
}

func continueChange(s State, c ContinueChange) []Event {
	u := s.Underway
	if u == nil || u.ChangeID != c.ChangeID || u.Next() != c.Part {
		return nil // another process did it
	}
	if c.Part == len(u.Parts)-1 {
		return append(slices.Clip(c.Events), ChangeCompleted{ChangeID: c.ChangeID})
	}
	return c.Events
}

// underway counts an event of the change that is being carried out.
func (s *folding) underway(e Event) {
	switch e := e.(type) {
	case ChangePlanned:
		s.Underway = &Underway{ChangeID: e.ChangeID, Parts: e.Parts}
	case ChangeCompleted:
		s.Underway = nil
	default:
		if s.Underway != nil {
			u := *s.Underway
			u.Events++
			s.Underway = &u
		}
	}
}
