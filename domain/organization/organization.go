// Package organization decides about one organization: that it exists, its name, its members, the
// service tokens that may act for it, the sessions of both, the channels that its notifications go
// to, and which months of personal data were erased. It never sees a token or a cookie, only
// hashes, never a name or an address of a person, which are sealed, and never an address of a
// channel, only the id of the secret that has it.
package organization

import (
	"fmt"
	"maps"
	"time"

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
	// Updated changes what is known of the organization itself.
	Updated struct {
		Name *string `json:"name,omitempty"`
		// External is what an identity provider calls it; the zero one for nothing.
		External *External `json:"external,omitempty"`
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
func (Updated) organizationEvent()     {}
func (MonthErased) organizationEvent() {}

// External is what an identity provider calls an organization.
type External struct {
	Issuer string `json:"issuer"` // its URL: another one may call another organization so
	ID     string `json:"id"`     // the value of the organization claim
}

// Command is something to decide on an organization's stream.
//
//sumtype:decl
type Command interface{ organizationCommand() }

// The commands of an organization.
type (
	// Create begins the organization, with its first token when Token is not nil, and with a first
	// member, who is its owner, when OwnerID isn't empty.
	Create struct {
		Name    string
		Token   *CreateToken
		OwnerID string
	}
	// Update changes what is named: nil leaves each as it is.
	Update struct {
		Name     *string
		External *External
		By       Giver
		At       time.Time
	}
	// EraseMonth erases the days of a month up to one.
	EraseMonth struct {
		Month, Through string
		Days           int
		Reason         string
	}
)

func (Create) organizationCommand()     {}
func (Update) organizationCommand()     {}
func (EraseMonth) organizationCommand() {}

// State is what decisions about an organization, and the answers to them, read.
type State struct {
	Exists    bool             `json:"exists,omitempty"`
	Name      string           `json:"name,omitempty"`
	External  External         `json:"external,omitzero"`
	CreatedAt time.Time        `json:"created_at,omitzero"`
	Tokens    map[string]Token `json:"tokens,omitempty"` // by their ids, ended ones too
	NextToken int              `json:"next_token,omitempty"`

	Members        map[string]Member     `json:"members,omitempty"`     // by their ids, former ones too
	Invitations    map[string]Invitation `json:"invitations,omitempty"` // by their ids, that can be or could be accepted
	NextInvitation int                   `json:"next_invitation,omitempty"`
	Sessions       map[string]Session    `json:"sessions,omitempty"` // by their ids, that have not ended
	NextSession    int                   `json:"next_session,omitempty"`

	Channels map[string]Channel `json:"channels,omitempty"`
	Erased   map[string]string  `json:"erased,omitempty"` // by month, through which day
}

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case Created:
		s.Exists, s.Name, s.CreatedAt, s.NextToken = true, e.Name, f.At, ConfiguredToken+1
	case Updated:
		if e.Name != nil {
			s.Name = *e.Name
		}
		if e.External != nil {
			s.External = *e.External
		}
	case TokenCreated, TokenRevoked:
		return evolveToken(s, f)
	case MemberInvited, InvitationRevoked, MemberJoined, MemberUpdated, MemberRemoved:
		return evolveMember(s, f)
	case SessionOffered, SessionBegan, SessionEnded, SessionsEnded:
		return evolveSession(s, f)
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
		if c.OwnerID != "" {
			events = append(events, MemberJoined{MemberID: c.OwnerID, Role: domain.RoleOwner})
		}
		return events, nil
	}
	if !s.Exists {
		return nil, domain.NotFound("organization")
	}
	switch c := c.(type) {
	case Create:
		return nil, nil // answered above
	case Update:
		return update(s, c)
	case CreateToken, RevokeToken:
		return decideToken(s, c)
	case Invite, RevokeInvitation, Join, FollowRole, UpdateMember, RemoveMember:
		return decideMember(s, c)
	case OfferSession, BeginSession, EndSession, EndSessions:
		return decideSession(s, c)
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

func update(s State, c Update) ([]Event, error) {
	if err := s.mayGive(c.By, domain.RoleAdmin, c.At); err != nil {
		return nil, err
	}
	if c.External != nil && *c.External != s.External && !c.By.covers(domain.RoleOwner) {
		return nil, roleInsufficient("Only an owner may change what an identity provider calls the organization.")
	}
	e := Updated{Name: changed(s.Name, c.Name), External: changed(s.External, c.External)}
	if e == (Updated{}) {
		return nil, nil
	}
	return []Event{e}, nil
}

func changed[T comparable](now T, wanted *T) *T {
	if wanted == nil || *wanted == now {
		return nil
	}
	return wanted
}

// mayGive refuses what needs a role, where the giver has less or is not admitted any more.
func (s State) mayGive(by Giver, role domain.Role, at time.Time) error {
	if err := by.admitted(s, at); err != nil {
		return err
	}
	if role.Valid() && !by.covers(role) {
		return roleInsufficient("The role " + string(role) + " may do more than you may.")
	}
	return nil
}
