// Package organization decides about one organization: that it exists, its name, the service tokens
// that may act for it, the channels that its notifications go to, and which months of personal data
// were erased. Members and their roles will join it here. It never sees a token, only hashes, never
// a token's name, which is sealed, and never an address of a channel, only the id of the secret
// that has it.
package organization

import (
	"fmt"
	"maps"
	"time"

	"agentkey/domain"
)

// ConfiguredToken is the number of the one token that configuration may replace at every start.
const ConfiguredToken = 0

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
	// TokenCreated lets a service token act. One of the same number that came before stops working.
	TokenCreated struct {
		Number  int         `json:"number"`
		TokenID string      `json:"token_id"`
		Sealed  string      `json:"sealed"` // the name, with a key of the token's own that can be removed
		Role    domain.Role `json:"role"`
		Hash    string      `json:"hash"` // SHA-256 of the whole token, hex
	}
	// TokenRevoked ends a service token.
	TokenRevoked struct {
		Number  int    `json:"number"`
		TokenID string `json:"token_id"`
	}
	// MonthErased says that the keys of a month's personal data are removed, or will be at once.
	MonthErased struct {
		Month   string `json:"month"`        // such as 2026-03
		Through string `json:"through"`      // its last day that was over
		Days    int    `json:"days_removed"` // that had a key until now
		Reason  string `json:"reason"`
	}
)

func (Created) organizationEvent()      {}
func (TokenCreated) organizationEvent() {}
func (TokenRevoked) organizationEvent() {}
func (MonthErased) organizationEvent()  {}

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
	// CreateToken adds a service token under the number that its text carries: the state's NextToken,
	// or ConfiguredToken.
	CreateToken struct {
		Number  int
		TokenID string
		Sealed  string
		Role    domain.Role
		Hash    string
	}
	// RevokeToken ends a service token.
	RevokeToken struct{ Number int }
	// EraseMonth erases the days of a month up to one.
	EraseMonth struct {
		Month, Through string
		Days           int
		Reason         string
	}
)

func (Create) organizationCommand()      {}
func (CreateToken) organizationCommand() {}
func (RevokeToken) organizationCommand() {}
func (EraseMonth) organizationCommand()  {}

// Token is a service token that works.
type Token struct {
	ID        string      `json:"id"`
	Sealed    string      `json:"sealed"` // its name
	Role      domain.Role `json:"role"`
	Hash      string      `json:"hash"`
	CreatedAt time.Time   `json:"created_at"`
}

// FormerToken is a service token that was revoked, or replaced by one of the same number.
type FormerToken struct {
	Number int    `json:"number"`
	Sealed string `json:"sealed"` // its name
	Hash   string `json:"hash"`
}

// State is what decisions about an organization, and the answers to them, read.
type State struct {
	Exists    bool                   `json:"exists,omitempty"`
	Name      string                 `json:"name,omitempty"`
	Tokens    map[int]Token          `json:"tokens,omitempty"`
	Former    map[string]FormerToken `json:"former,omitempty"` // by their ids
	NextToken int                    `json:"next_token,omitempty"`

	Channels map[string]Channel `json:"channels,omitempty"`
	Erased   map[string]string  `json:"erased,omitempty"` // by month, through which day
}

// SealedName is the sealed name of a service token, also of one that was revoked or replaced. It
// reports false when there never was one of that id.
func (s State) SealedName(id string) (string, bool) {
	for _, t := range s.Tokens {
		if t.ID == id {
			return t.Sealed, true
		}
	}
	former, found := s.Former[id]
	return former.Sealed, found
}

// withoutToken returns the state after the token of a number has ended; older states keep what they
// hold.
func (s State) withoutToken(number int) State {
	t, found := s.Tokens[number]
	if !found {
		return s
	}
	s.Tokens, s.Former = maps.Clone(s.Tokens), maps.Clone(s.Former)
	delete(s.Tokens, number)
	if s.Former == nil {
		s.Former = map[string]FormerToken{}
	}
	s.Former[t.ID] = FormerToken{Number: number, Sealed: t.Sealed, Hash: t.Hash}
	return s
}

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case Created:
		s.Exists, s.Name, s.NextToken = true, e.Name, ConfiguredToken+1
	case TokenCreated:
		s = s.withoutToken(e.Number)
		s.Tokens = maps.Clone(s.Tokens)
		if s.Tokens == nil {
			s.Tokens = map[int]Token{}
		}
		s.Tokens[e.Number] = Token{ID: e.TokenID, Sealed: e.Sealed, Role: e.Role, Hash: e.Hash, CreatedAt: f.At}
		s.NextToken = max(s.NextToken, e.Number+1)
	case TokenRevoked:
		return s.withoutToken(e.Number)
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
			events = append(events, TokenCreated(*c.Token))
		}
		return events, nil
	}
	if !s.Exists {
		return nil, domain.NotFound("organization")
	}
	switch c := c.(type) {
	case Create:
		return nil, nil // answered above
	case CreateToken:
		if s.Tokens[c.Number].Hash == c.Hash {
			return nil, nil
		}
		if !c.Role.Valid() {
			return nil, domain.Invalid("role", "it must be owner, admin, approver or auditor")
		}
		return []Event{TokenCreated(c)}, nil
	case RevokeToken:
		t, found := s.Tokens[c.Number]
		if !found {
			return nil, nil
		}
		return []Event{TokenRevoked{Number: c.Number, TokenID: t.ID}}, nil
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
