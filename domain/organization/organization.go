// Package organization decides about one organization: that it exists, its name, the service tokens
// that may act for it, the channels that its notifications go to, and which months of personal data
// were erased. Members and their roles will join it here. It never sees a token, only hashes, never
// a token's name, which is sealed, and never an address of a channel, only the id of the secret
// that has it.
package organization

import (
	"fmt"
	"maps"

	"agentkey/domain"
)

// Event is what happened to an organization. The structs are the wire format of the stored events.
//
//sumtype:decl
type Event interface{ organizationEvent() }

// The events of an organization's stream.
type (
	// Created begins the stream.
	Created struct {
		Name string `json:"name"`
	}
	// MonthErased says that the keys of a month's personal data are removed, or will be at once.
	MonthErased struct {
		Month   string `json:"month"`        // such as 2026-03
		Through string `json:"through"`      // its last day that was over
		Days    int    `json:"days_removed"` // that had a key until now
		Reason  string `json:"reason"`
	}
)

func (Created) organizationEvent()     {}
func (MonthErased) organizationEvent() {}

// Command is something to decide on an organization's stream.
//
//sumtype:decl
type Command interface{ organizationCommand() }

// The commands of an organization.
type (
	// Create begins the organization, with its first token when Token is not nil.
	Create struct {
		Name  string
		Token *CreateToken
	}
	// EraseMonth erases the days of a month up to one.
	EraseMonth struct {
		Month, Through string
		Days           int
		Reason         string
	}
)

func (Create) organizationCommand()     {}
func (EraseMonth) organizationCommand() {}

// State is what decisions about an organization, and the answers to them, read.
type State struct {
	Exists    bool             `json:"exists,omitempty"`
	Name      string           `json:"name,omitempty"`
	Tokens    map[string]Token `json:"tokens,omitempty"` // by their ids, ended ones too
	NextToken int              `json:"next_token,omitempty"`

	Channels map[string]Channel `json:"channels,omitempty"`
	Erased   map[string]string  `json:"erased,omitempty"` // by month, through which day
}

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case Created:
		s.Exists, s.Name, s.NextToken = true, e.Name, ConfiguredToken+1
	case TokenCreated, TokenRevoked:
		return evolveToken(s, f)
	case MonthErased:
		s.Erased = maps.Clone(s.Erased)
		if s.Erased == nil {
			s.Erased = map[string]string{}
		}
		s.Erased[e.Month] = max(s.Erased[e.Month], e.Through)
	case ChannelAdded, ChannelUpdated, ChannelRemoved:
		return evolveChannel(s, f)
	}
	return s
}

// Decide answers a command on a state: events to append, none when it is already so, or a refusal.
func Decide(s State, c Command) ([]Event, error) {
	if c, ok := c.(Create); ok {
		if s.Exists {
			return nil, nil
		}
		events := []Event{Created{Name: c.Name}}
		if c.Token != nil {
			events = append(events, c.Token.event())
		}
		return events, nil
	}
	if !s.Exists {
		return nil, domain.NotFound("organization")
	}
	switch c := c.(type) {
	case Create:
		return nil, nil // answered above
	case CreateToken, RevokeToken:
		return decideToken(s, c)
	case EraseMonth:
		if s.Erased[c.Month] >= c.Through {
			return nil, nil
		}
		return []Event{MonthErased(c)}, nil
	case AddChannel, UpdateChannel, RemoveChannel:
		return decideChannel(s, c)
	}
	return nil, fmt.Errorf("organization: no decision for %T", c)
}
