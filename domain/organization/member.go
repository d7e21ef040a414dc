package organization

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"agentkey/domain"
)

// MaxMembers and MaxInvitations are how many of each an organization has at a time.
const (
	MaxMembers     = 10_000
	MaxInvitations = 1_000
)

// The events of members. A member is a person in this one organization, under an id that nothing
// else has; who they are is sealed on the stream of that person.
type (
	// MemberInvited lets the person who has proven an e-mail address become a member. The invitation
	// that the address had before ends.
	MemberInvited struct {
		InvitationID string      `json:"invitation_id"`
		Sealed       string      `json:"sealed"`     // the address, with a key of its own that can be removed
		EmailHash    string      `json:"email_hash"` // HMAC of the folded address
		Role         domain.Role `json:"role"`
		ExpiresAt    time.Time   `json:"expires_at"`
		Tools        []string    `json:"tools,omitempty"` // an approver decides about these alone; none: about all
	}
	// InvitationRevoked ends an invitation that nobody accepted.
	InvitationRevoked struct {
		InvitationID string `json:"invitation_id"`
	}
	// MemberJoined begins a membership, or begins it again.
	MemberJoined struct {
		MemberID     string      `json:"member_id"`
		Role         domain.Role `json:"role"`
		InvitationID string      `json:"invitation_id,omitempty"` // that was accepted
		Provisioned  bool        `json:"provisioned,omitempty"`   // the identity provider vouched for it, and sets the role
		RoleAsOf     *time.Time  `json:"role_as_of,omitempty"`    // when the provider said so
		Tools        []string    `json:"tools,omitempty"`         // as in MemberInvited
	}
	// MemberUpdated changes what a member may do.
	MemberUpdated struct {
		MemberID    string      `json:"member_id"`
		Role        domain.Role `json:"role"`
		Provisioned bool        `json:"provisioned,omitempty"` // as in MemberJoined
		RoleAsOf    *time.Time  `json:"role_as_of,omitempty"`
		Tools       []string    `json:"tools,omitempty"`
	}
	// MemberRemoved ends a membership, whether the member left or was removed.
	MemberRemoved struct {
		MemberID string `json:"member_id"`
	}
)

func (MemberInvited) organizationEvent()     {}
func (InvitationRevoked) organizationEvent() {}
func (MemberJoined) organizationEvent()      {}
func (MemberUpdated) organizationEvent()     {}
func (MemberRemoved) organizationEvent()     {}

// The commands of members. By is who gives them: nobody gives a role that may do more than they
// may, and nobody changes a member who may do more.
type (
	// Invite invites anyone who proves an e-mail address.
	Invite struct {
		InvitationID, Sealed, EmailHash string
		Role                            domain.Role
		Tools                           []string
		ExpiresAt                       time.Time
		By                              Giver
		At                              time.Time
	}
	// RevokeInvitation takes an invitation back.
	RevokeInvitation struct {
		InvitationID string
		By           Giver
		At           time.Time
	}
	// Join makes a member of somebody whose identity was verified: by an invitation to an address that
	// they have proven, or because their identity provider is trusted to name members.
	Join struct {
		MemberID     string
		EmailHash    string // proven; "" for none
		InvitationID string // "": provisioned
		Role         domain.Role
		RoleAsOf     time.Time
		At           time.Time
	}
	// FollowRole gives a provisioned member the role that their identity provider names since AsOf.
	FollowRole struct {
		MemberID string
		Role     domain.Role
		AsOf, At time.Time
	}
	// UpdateMember sets a member's role by hand, and the tools that an approver decides about; nil
	// leaves them. From then on it follows no identity provider.
	UpdateMember struct {
		MemberID string
		Role     domain.Role
		Tools    *[]string
		By       Giver
		At       time.Time
	}
	// RemoveMember ends a membership. A member may end their own.
	RemoveMember struct {
		MemberID string
		By       Giver
		At       time.Time
	}
)

// When returns the command with the time at which it is decided.
func (c Join) When(at time.Time) Join {
	c.At = at
	return c
}

func (Invite) organizationCommand()           {}
func (RevokeInvitation) organizationCommand() {}
func (Join) organizationCommand()             {}
func (FollowRole) organizationCommand()       {}
func (UpdateMember) organizationCommand()     {}
func (RemoveMember) organizationCommand()     {}

// Member is a person in the organization, as they are or were.
type Member struct {
	ID          string       `json:"id"`
	Role        domain.Role  `json:"role"`
	Provisioned bool         `json:"provisioned,omitempty"` // their identity provider sets the role
	RoleAsOf    time.Time    `json:"role_as_of,omitzero"`   // when it said so last
	JoinedAt    time.Time    `json:"joined_at"`
	InvitedBy   domain.Actor `json:"invited_by,omitzero"`
	Tools       []string     `json:"tools,omitempty"`     // that an approver decides about; none: all
	RemovedAt   time.Time    `json:"removed_at,omitzero"` // zero: is a member
	Since       int          `json:"since,omitempty"`     // number of the first invitation after that
}

// Active reports whether the person is a member now.
func (m Member) Active() bool { return m.ID != "" && m.RemovedAt.IsZero() }

// AllMembers returns those who are members now, in the order in which they joined.
func (s State) AllMembers() []Member {
	active := slices.DeleteFunc(slices.Collect(maps.Values(s.Members)), func(m Member) bool { return !m.Active() })
	slices.SortFunc(active, func(a, b Member) int {
		if c := a.JoinedAt.Compare(b.JoinedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return active
}

// with returns a map with a value put in; older states keep what they hold.
func with[V any](m map[string]V, id string, v V) map[string]V {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]V{}
	}
	m[id] = v
	return m
}

// without returns a map without what a test finds; older states keep what they hold.
func without[V any](m map[string]V, gone func(string, V) bool) map[string]V {
	m = maps.Clone(m)
	maps.DeleteFunc(m, gone)
	return m
}

func evolveMember(s State, f domain.Fact[Event]) State {
	by := domain.Actor{Type: f.By.Type, ID: f.By.ID}
	switch e := f.Event.(type) {
	case MemberInvited:
		s.Invitations = with(s.withoutInvitations(e.EmailHash, f.At), e.InvitationID, Invitation{
			ID: e.InvitationID, Number: s.NextInvitation, Sealed: e.Sealed, EmailHash: e.EmailHash, Role: e.Role,
			CreatedAt: f.At, CreatedBy: by, ExpiresAt: e.ExpiresAt, Tools: e.Tools,
		})
		s.NextInvitation++
	case InvitationRevoked:
		s.Invitations = without(s.Invitations, func(id string, _ Invitation) bool { return id == e.InvitationID })
	case MemberJoined:
		m := Member{
			ID: e.MemberID, Role: e.Role, Provisioned: e.Provisioned, JoinedAt: f.At,
			InvitedBy: s.Invitations[e.InvitationID].CreatedBy, Tools: e.Tools,
		}
		if e.RoleAsOf != nil {
			m.RoleAsOf = *e.RoleAsOf
		}
		s.Members = with(s.Members, e.MemberID, m)
		s.Invitations = without(s.Invitations, func(id string, _ Invitation) bool { return id == e.InvitationID })
	case MemberUpdated:
		m := s.Members[e.MemberID]
		m.Role, m.Provisioned, m.RoleAsOf, m.Tools = e.Role, e.Provisioned, time.Time{}, e.Tools
		if e.RoleAsOf != nil {
			m.RoleAsOf = *e.RoleAsOf
		}
		s.Members = with(s.Members, e.MemberID, m)
	case MemberRemoved:
		m := s.Members[e.MemberID]
		m.RemovedAt, m.Since = f.At, s.NextInvitation
		s.Members = with(s.Members, e.MemberID, m)
		s.Sessions = without(s.Sessions, func(_ string, n Session) bool { return n.MemberID == e.MemberID })
	default: // happens to another part of the state
	}
	return s
}

// decideMember answers the commands of members of an organization that exists.
func decideMember(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Invite:
		return invite(s, c)
	case RevokeInvitation:
		i, found := s.Invitations[c.InvitationID]
		if !found {
			return nil, domain.NotFound("invitation")
		}
		if err := s.mayGive(c.By, i.Role, c.At); err != nil {
			return nil, err
		}
		return []Event{InvitationRevoked{InvitationID: c.InvitationID}}, nil
	case Join:
		return join(s, c)
	case FollowRole:
		m := s.Members[c.MemberID]
		if !m.Active() || !m.Provisioned || m.Role == c.Role || !c.AsOf.After(m.RoleAsOf) || s.lastOwnerIs(m) {
			return nil, nil
		}
		return append(
			[]Event{MemberUpdated{MemberID: m.ID, Role: c.Role, Provisioned: true, RoleAsOf: &c.AsOf}},
			s.overreaching(m, c.Role, c.At)...,
		), nil
	case UpdateMember:
		m := s.Members[c.MemberID]
		if err := s.mayChange(c.By, m, c.Role, c.At); err != nil {
			return nil, err
		}
		if c.Role != domain.RoleOwner && s.lastOwnerIs(m) {
			return nil, lastOwner("They are the last member who is an owner.")
		}
		tools := m.Tools
		if c.Tools != nil {
			tools = *c.Tools
		} else if c.Role != domain.RoleApprover {
			tools = nil
		}
		if err := limitable(c.Role, tools); err != nil {
			return nil, err
		}
		if m.Role == c.Role && !m.Provisioned && slices.Equal(m.Tools, tools) {
			return nil, nil
		}
		return append(
			[]Event{MemberUpdated{MemberID: m.ID, Role: c.Role, Tools: tools}}, s.overreaching(m, c.Role, c.At)...,
		), nil
	case RemoveMember:
		return removeMember(s, c)
	default:
		return nil, fmt.Errorf("organization: no decision for %T", c)
	}
}

// limitable refuses tools for a role that they limit nothing of: who manages could widen it.
func limitable(role domain.Role, tools []string) error {
	if len(tools) > 0 && role != domain.RoleApprover {
		return domain.Invalid("tools", "only an approver is limited to tools")
	}
	return nil
}

func join(s State, c Join) ([]Event, error) {
	m := s.Members[c.MemberID]
	if m.Active() {
		return nil, nil
	}
	e := MemberJoined{MemberID: c.MemberID, Role: c.Role, InvitationID: c.InvitationID}
	switch i := s.Invitations[c.InvitationID]; {
	case c.InvitationID != "" && (!i.Open(c.At) || i.EmailHash != c.EmailHash),
		c.InvitationID == "" && m.ID != "",                       // who was removed comes back by an invitation only,
		c.InvitationID != "" && m.ID != "" && i.Number < m.Since: // and by one made since
		return nil, NotAMember()
	case c.InvitationID != "":
		e.Role, e.Tools = i.Role, i.Tools
	default:
		e.Provisioned, e.RoleAsOf = true, &c.RoleAsOf
	}
	if len(s.AllMembers()) >= MaxMembers {
		return nil, &domain.Error{
			Kind: domain.KindForbidden, Code: "not_a_member",
			Detail: fmt.Sprintf("This organization has %d members, and there can't be more.", MaxMembers),
			Hint:   "Ask an admin of the organization to remove members who have left.",
		}
	}
	return []Event{e}, nil
}

func removeMember(s State, c RemoveMember) ([]Event, error) {
	m, found := s.Members[c.MemberID]
	switch {
	case !found:
		return nil, domain.NotFound("member")
	case !m.Active():
		return nil, nil
	case s.lastOwnerIs(m):
		return nil, lastOwner("They are the last member who is an owner.")
	}
	if c.By.MemberID != m.ID { // anyone may leave
		if err := s.mayChange(c.By, m, m.Role, c.At); err != nil {
			return nil, err
		}
	}
	return append([]Event{MemberRemoved{MemberID: m.ID}}, s.overreaching(m, "", c.At)...), nil
}

// mayChange refuses a change of a member to a role by somebody who may do less than either.
func (s State) mayChange(by Giver, m Member, role domain.Role, at time.Time) error {
	switch {
	case !m.Active():
		return domain.NotFound("member")
	case !role.Valid():
		return domain.Invalid("role", domain.RolesText)
	}
	if err := s.mayGive(by, m.Role, at); err != nil {
		return err
	}
	return s.mayGive(by, role, at)
}

// lastOwnerIs reports whether no other member is an owner. Service tokens don't count: somebody has
// to answer for the organization.
func (s State) lastOwnerIs(m Member) bool {
	return m.Role == domain.RoleOwner && m.Active() && !slices.ContainsFunc(s.AllMembers(), func(o Member) bool {
		return o.ID != m.ID && o.Role == domain.RoleOwner
	})
}

func lastOwner(detail string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindConflict, Code: "last_owner", Detail: detail,
		Hint: "Make another member an owner first, with {updateMember} or {createInvitation}.",
		Next: []domain.Next{{Op: "updateMember"}, {Op: "createInvitation"}},
	}
}

// NotAMember refuses a person whose identity was verified and who isn't a member. Whether there is
// such an organization is not for them to know.
func NotAMember() *domain.Error {
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "not_a_member",
		Detail: "You are signed in, but you aren't a member of this organization.",
		Hint:   "Ask an admin of the organization to invite the e-mail address that you sign in with.",
	}
}
