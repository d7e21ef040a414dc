package organization

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

// Invitation is an invitation that nobody has accepted or revoked.
type Invitation struct {
	ID        string       `json:"id"`
	Number    int          `json:"number"` // in the order in which they were made
	Sealed    string       `json:"sealed"` // the address
	EmailHash string       `json:"email_hash"`
	Role      domain.Role  `json:"role"`
	CreatedAt time.Time    `json:"created_at"`
	CreatedBy domain.Actor `json:"created_by"`
	ExpiresAt time.Time    `json:"expires_at"`
	Tools     []string     `json:"tools,omitempty"`
}

// Open reports whether the invitation can be accepted.
func (i Invitation) Open(at time.Time) bool { return i.ID != "" && at.Before(i.ExpiresAt) }

// InvitationFor returns the open invitation of an address.
func (s State) InvitationFor(emailHash string, at time.Time) (Invitation, bool) {
	for _, i := range s.Invitations {
		if i.EmailHash == emailHash && i.Open(at) {
			return i, true
		}
	}
	return Invitation{}, false
}

// AllInvitations returns the open invitations in the order in which they were made.
func (s State) AllInvitations(at time.Time) []Invitation {
	open := slices.DeleteFunc(slices.Collect(maps.Values(s.Invitations)), func(i Invitation) bool { return !i.Open(at) })
	slices.SortFunc(open, func(a, b Invitation) int { return a.Number - b.Number })
	return open
}

// withoutInvitations returns the invitations but those of an address and those whose time is over.
func (s State) withoutInvitations(emailHash string, at time.Time) map[string]Invitation {
	return without(s.Invitations, func(_ string, i Invitation) bool {
		return i.EmailHash == emailHash || !i.Open(at)
	})
}

func invite(s State, c Invite) ([]Event, error) {
	if s.Invitations[c.InvitationID].ID != "" {
		return nil, nil
	}
	if err := s.mayGive(c.By, c.Role, c.At); err != nil {
		return nil, err
	}
	if is, found := s.InvitationFor(c.EmailHash, c.At); found { // which ends
		if err := s.mayGive(c.By, is.Role, c.At); err != nil {
			return nil, err
		}
	}
	switch {
	case !c.Role.Valid():
		return nil, domain.Invalid("role", domain.RolesText)
	case len(s.AllInvitations(c.At)) >= MaxInvitations:
		return nil, domain.Invalid("body", fmt.Sprintf(
			"an organization has at most %d open invitations; revoke one with {revokeInvitation}", MaxInvitations,
		), domain.Next{Op: "revokeInvitation"})
	}
	if err := limitable(c.Role, c.Tools); err != nil {
		return nil, err
	}
	return []Event{MemberInvited{
		InvitationID: c.InvitationID, Sealed: c.Sealed, EmailHash: c.EmailHash, Role: c.Role, ExpiresAt: c.ExpiresAt,
		Tools: c.Tools,
	}}, nil
}

// overreaching revokes the invitations that a member has made and couldn't make any more with a
// role, "" for none.
func (s State) overreaching(m Member, role domain.Role, at time.Time) (events []Event) {
	for _, i := range s.AllInvitations(at) {
		if i.CreatedBy.ID == m.ID && !role.Covers(i.Role) {
			events = append(events, InvitationRevoked{InvitationID: i.ID})
		}
	}
	return events
}
