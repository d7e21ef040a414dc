// Package person decides about what is known of one person, or of the holder of a service token: it
// is recorded, sealed, and it may be erased for good. It never sees a name.
package person

import (
	"fmt"

	"agentkey/domain"
)

// Event is what happened to what is known of a person. The structs are the wire format of the
// stored events.
//
//sumtype:decl
type Event interface{ personEvent() }

// The events of a person's stream. That of a service token begins when its name is erased: until
// then the organization's stream has all of it.
type (
	// Recorded is a person's name or address, sealed with a key that can be removed.
	Recorded struct {
		OrganizationID string `json:"organization_id"`
		KeyID          string `json:"key_id"`
		Sealed         string `json:"sealed"`
	}
	// Erased says that the key is removed, or will be at once: the name is unknown for good.
	Erased struct {
		OrganizationID string `json:"organization_id"`
	}
)

func (Recorded) personEvent() {}
func (Erased) personEvent()   {}

// Command is something to decide on a person's stream.
//
//sumtype:decl
type Command interface{ personCommand() }

// The commands of a person.
type (
	// Record keeps a person's name and address, in place of those before.
	Record Recorded
	// Erase removes what is known of a person. Token says that the id is a service token's.
	Erase struct {
		OrganizationID string
		Token          bool
	}
)

func (Record) personCommand() {}
func (Erase) personCommand()  {}

// State is what decisions about a person read.
type State struct {
	OrganizationID string // "" before the first event
	Sealed         string // as it was recorded last
	Erased         bool
}

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case Recorded:
		s.OrganizationID, s.Sealed = e.OrganizationID, e.Sealed
	case Erased:
		s = State{OrganizationID: e.OrganizationID, Erased: true}
	}
	return s
}

// Decide answers a command on a state: events to append, none when it is already so, or a refusal.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Record:
		if s.Erased || s.Sealed == c.Sealed {
			return nil, nil
		}
		return []Event{Recorded(c)}, nil
	case Erase:
		switch {
		case s.OrganizationID != c.OrganizationID && (s.OrganizationID != "" || !c.Token):
			return nil, domain.NotFound("person")
		case s.Erased:
			return nil, nil
		}
		return []Event{Erased{OrganizationID: c.OrganizationID}}, nil
	}
	return nil, fmt.Errorf("person: no decision for %T", c)
}
