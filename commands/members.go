package commands

import (
	"context"
	"errors"
	"net/mail"
	"slices"
	"strings"
	"time"

	"agentkey/commands/loop"
	"agentkey/commands/words"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// InvitationTime is how long an invitation can be accepted.
const InvitationTime = 14 * 24 * time.Hour

// Invite invites anyone who signs in with an e-mail address that their issuer has verified. An
// invitation that the address has is replaced.
func (p *People) Invite(
	ctx context.Context, m loop.Meta, address string, role domain.Role, tools []string, by organization.Giver,
) (OrganizationResult, organization.Invitation, error) {
	address, err := emailAddress(address)
	if err != nil {
		return OrganizationResult{}, organization.Invitation{}, err
	}
	at := p.Directory.emailAt(address)
	id := loop.DerivedID(m.CommandID, "invitation").String()
	invite := func(sealed string) loop.Build[organization.State, organization.Command] {
		return func(_ organization.State, now time.Time) (organization.Command, error) {
			return organization.Invite{
				InvitationID: id, Sealed: sealed, EmailHash: string(at), Role: role, Tools: tools,
				ExpiresAt: now.Add(InvitationTime).Truncate(time.Second), By: by, At: now,
			}, nil
		}
	}
	if m.Since == 0 {
		if err := p.Organizations.Check(ctx, m.Organization, invite("")); err != nil {
			return OrganizationResult{}, organization.Invitation{}, err
		}
	}
	head, err := p.Organizations.Cached(ctx, m.Organization)
	if err != nil {
		return OrganizationResult{}, organization.Invitation{}, err
	}
	none := func([]codec.DirectoryEntered) (codec.DirectoryEntered, bool) { return codec.DirectoryEntered{}, false }
	if _, err := p.Directory.enter(
		ctx, m, at, codec.DirectoryEntered{OrganizationID: m.Organization}, none,
	); err != nil {
		return OrganizationResult{}, organization.Invitation{}, err
	}
	_, sealed, err := p.Privacy.SealName(ctx, m.Organization, id, seal.Named{Email: address})
	if err != nil {
		return OrganizationResult{}, organization.Invitation{}, loop.Refusal(err)
	}
	done, err := p.Organizations.Do(ctx, m.Organization, m, invite(sealed))
	if isRefusal(err) {
		return done, organization.Invitation{}, errors.Join(err, p.Privacy.ErasePerson(ctx, m.Organization, id))
	}
	for former := range head.State.Invitations { // that this one replaces, or whose time was over
		if _, left := done.State.Invitations[former]; !left && err == nil {
			err = loop.Refusal(p.Privacy.ErasePerson(ctx, m.Organization, former))
		}
	}
	return done, done.State.Invitations[id], err
}

// emailAddress checks an address that somebody typed.
func emailAddress(typed string) (string, error) {
	address := strings.TrimSpace(typed)
	a, err := mail.ParseAddress(address)
	if err != nil || a.Address != address || len(address) > 254 || words.Line(address) != nil {
		return "", domain.Invalid("email", "it must be an e-mail address such as ada@example.com")
	}
	return address, nil
}

// RevokeInvitation takes an invitation of the organization of m back, and erases its address.
func (p *People) RevokeInvitation(
	ctx context.Context, m loop.Meta, id string, by organization.Giver,
) (OrganizationResult, error) {
	done, err := p.Organizations.Do(ctx, m.Organization, m,
		func(_ organization.State, at time.Time) (organization.Command, error) {
			return organization.RevokeInvitation{InvitationID: id, By: by, At: at}, nil
		})
	if err != nil {
		return done, err
	}
	return done, loop.Refusal(p.Privacy.ErasePerson(ctx, m.Organization, id))
}

// Update sets the role of a member of the organization of m, and the tools that an approver decides
// about; nil leaves them.
func (p *People) Update(
	ctx context.Context, m loop.Meta, id string, role domain.Role, tools *[]string, by organization.Giver,
) (OrganizationResult, error) {
	return p.Organizations.Do(ctx, m.Organization, m,
		func(_ organization.State, at time.Time) (organization.Command, error) {
			return organization.UpdateMember{MemberID: id, Role: role, Tools: tools, By: by, At: at}, nil
		})
}

// Remove ends a membership in the organization of m at once, on every process.
func (p *People) Remove(
	ctx context.Context, m loop.Meta, id string, by organization.Giver,
) (OrganizationResult, error) {
	return p.Organizations.Do(ctx, m.Organization, m,
		func(_ organization.State, at time.Time) (organization.Command, error) {
			return organization.RemoveMember{MemberID: id, By: by, At: at}, nil
		})
}

// OrganizationChange is what shall be changed of an organization: nil leaves each as it is. Without
// a Issuer, ExternalID is what the only one that names organizations calls it.
type OrganizationChange struct{ Name, ExternalID, Issuer *string }

// external returns what the organization shall be called by an identity provider, nil for no
// change.
func (p *People) external(c OrganizationChange) (*organization.External, error) {
	switch {
	case c.ExternalID == nil && c.Issuer == nil:
		return nil, nil
	case c.ExternalID == nil:
		return nil, domain.Invalid("external_id", "it is required with external_issuer")
	case *c.ExternalID == "":
		return &organization.External{}, nil
	case len(p.Issuers) == 0:
		return nil, domain.Invalid("external_id", "no identity provider is configured whose tokens name organizations")
	case c.Issuer != nil && !slices.Contains(p.Issuers, *c.Issuer), c.Issuer == nil && len(p.Issuers) > 1:
		return nil, domain.Invalid("external_issuer", "it must be one of "+strings.Join(p.Issuers, ", "))
	case c.Issuer != nil:
		return &organization.External{Issuer: *c.Issuer, ID: *c.ExternalID}, nil
	}
	return &organization.External{Issuer: p.Issuers[0], ID: *c.ExternalID}, nil
}

// UpdateOrganization changes the organization of m. What an identity provider calls it is found in
// the directory before anybody signs in by it; what another organization is called is refused.
func (p *People) UpdateOrganization(
	ctx context.Context, m loop.Meta, change OrganizationChange, by organization.Giver,
) (OrganizationResult, error) {
	external, err := p.external(change)
	if err != nil {
		return OrganizationResult{}, err
	}
	update := func(_ organization.State, at time.Time) (organization.Command, error) {
		return organization.Update{Name: change.Name, External: external, By: by, At: at}, nil
	}
	if err := p.Organizations.Check(ctx, m.Organization, update); err != nil {
		return OrganizationResult{}, err
	}
	if external != nil && *external != (organization.External{}) {
		if err := p.claim(ctx, m, *external); err != nil {
			return OrganizationResult{}, err
		}
	}
	return p.Organizations.Do(ctx, m.Organization, m, update)
}

// CreateOrganization makes an organization. A member who makes one becomes its owner.
func (p *People) CreateOrganization(
	ctx context.Context, m loop.Meta, by Caller, typed string,
) (id string, done OrganizationResult, err error) {
	name, err := operatorName(typed)
	if err != nil {
		return "", OrganizationResult{}, err
	}
	m.Organization = loop.DerivedID(m.CommandID, "organization").String()
	create := organization.Create{Name: name}
	if by.person != "" {
		create.OwnerID = loop.DerivedID(m.CommandID, "member").String()
		if err := p.introduce(ctx, m, by, create.OwnerID); err != nil {
			return "", OrganizationResult{}, err
		}
	}
	done, err = p.Organizations.Do(
		ctx, m.Organization, m, func(organization.State, time.Time) (organization.Command, error) { return create, nil },
	)
	return m.Organization, done, err
}

// introduce makes a member of one organization known in that of m, under an id that is theirs
// there.
func (p *People) introduce(ctx context.Context, m loop.Meta, by Caller, id string) error {
	none := func([]codec.DirectoryEntered) (codec.DirectoryEntered, bool) { return codec.DirectoryEntered{}, false }
	entry := codec.DirectoryEntered{OrganizationID: m.Organization, MemberID: id}
	if _, err := p.Directory.enter(ctx, m, by.person, entry, none); err != nil {
		return err
	}
	known, err := p.Known(ctx, by.Organization, by.Actor.ID)
	if err == nil {
		_, err = p.record(ctx, m, id, said{Known: known})
	}
	return err
}

// Memberships lists the organizations of a caller: those that a person is a member of, and the one
// of a service token.
func (p *People) Memberships(ctx context.Context, by Caller) (ids []string, states []organization.State, err error) {
	entries := []codec.DirectoryEntered{{OrganizationID: by.Organization, MemberID: by.Actor.ID}}
	if by.person != "" {
		if entries, err = p.Directory.find(ctx, by.person); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range entries {
		head, err := p.Organizations.Recent(ctx, e.OrganizationID)
		if err != nil {
			return nil, nil, err
		}
		if by.person == "" || idIn(entries, e.OrganizationID) == e.MemberID && head.State.Members[e.MemberID].Active() {
			ids, states = append(ids, e.OrganizationID), append(states, head.State)
		}
	}
	return ids, states, nil
}

// claim enters an organization under what an identity provider calls it.
func (p *People) claim(ctx context.Context, m loop.Meta, external organization.External) error {
	var failed error
	_, err := p.Directory.enter(
		ctx, m, p.Directory.externalAt(external), codec.DirectoryEntered{OrganizationID: m.Organization},
		func(there []codec.DirectoryEntered) (codec.DirectoryEntered, bool) {
			for _, e := range there {
				head, err := p.Organizations.Fresh(ctx, e.OrganizationID)
				if err == nil && e.OrganizationID != m.Organization && head.State.External == external {
					err = domain.Invalid("external_id", "another organization here has it; each organization needs its own")
				}
				if err != nil {
					failed = err
					return e, true
				}
			}
			return codec.DirectoryEntered{}, false
		},
	)
	return errors.Join(failed, err)
}
