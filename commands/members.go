package commands

import (
	"context"
	"errors"
	"net/mail"
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
	ctx context.Context, m loop.Meta, address string, role domain.Role, by organization.Giver,
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
				InvitationID: id, Sealed: sealed, EmailHash: string(at), Role: role,
				ExpiresAt: now.Add(InvitationTime).Truncate(time.Second), By: by, At: now,
			}, nil
		}
	}
	if m.Since == 0 {
		if err := p.Organizations.Check(ctx, m.Organization, invite("")); err != nil {
			return OrganizationResult{}, organization.Invitation{}, err
		}
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
		err = errors.Join(err, p.Privacy.ErasePerson(ctx, m.Organization, id))
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

// Update sets the role of a member of the organization of m.
func (p *People) Update(
	ctx context.Context, m loop.Meta, id string, role domain.Role, by organization.Giver,
) (OrganizationResult, error) {
	return p.Organizations.Do(ctx, m.Organization, m,
		func(_ organization.State, at time.Time) (organization.Command, error) {
			return organization.UpdateMember{MemberID: id, Role: role, By: by, At: at}, nil
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

// OrganizationChange is what shall be changed of an organization: nil leaves each as it is.
type OrganizationChange struct{ Name, ExternalID *string }

// UpdateOrganization changes the organization of m. What identity providers call it is found in the
// directory before anybody signs in by it; what another organization is called is refused.
func (p *People) UpdateOrganization(
	ctx context.Context, m loop.Meta, change OrganizationChange, by organization.Giver,
) (OrganizationResult, error) {
	update := func(_ organization.State, at time.Time) (organization.Command, error) {
		return organization.Update{Name: change.Name, ExternalID: change.ExternalID, By: by, At: at}, nil
	}
	if err := p.Organizations.Check(ctx, m.Organization, update); err != nil {
		return OrganizationResult{}, err
	}
	if change.ExternalID != nil && *change.ExternalID != "" {
		if err := p.claim(ctx, m, *change.ExternalID); err != nil {
			return OrganizationResult{}, err
		}
	}
	return p.Organizations.Do(ctx, m.Organization, m, update)
}

// claim enters an organization under what identity providers call it.
func (p *People) claim(ctx context.Context, m loop.Meta, external string) error {
	var failed error
	_, err := p.Directory.enter(
		ctx, m, p.Directory.externalAt(external), codec.DirectoryEntered{OrganizationID: m.Organization},
		func(there []codec.DirectoryEntered) (codec.DirectoryEntered, bool) {
			for _, e := range there {
				head, err := p.Organizations.Fresh(ctx, e.OrganizationID)
				if err == nil && e.OrganizationID != m.Organization && head.State.ExternalID == external {
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
