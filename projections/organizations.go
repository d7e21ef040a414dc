package projections

import (
	"context"

	"agentkey/domain/organization"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// organization applies what happens to an organization and its channels. Its service tokens,
// members and sessions are read from its stream alone.
func (r *rows) organization(ctx context.Context, e codec.Verified, body organization.Event) error {
	switch b := body.(type) {
	case organization.Created:
		return r.tx.InsertOrganization(
			ctx, readmodels.InsertOrganizationParams{ID: e.Signed.Organization, Name: b.Name},
		)
	case organization.Updated:
		if b.Name == nil {
			return nil
		}
		if err := r.tx.KeepFormerOrganizationName(ctx, readmodels.KeepFormerOrganizationNameParams{
			ID: e.Signed.Organization, Position: int64(e.Position), //nolint:gosec // positions fit
		}); err != nil {
			return err
		}
		return r.tx.RenameOrganization(
			ctx, readmodels.RenameOrganizationParams{ID: e.Signed.Organization, Name: *b.Name},
		)
	case organization.TokenCreated, organization.TokenRevoked, organization.MonthErased,
		organization.MemberInvited, organization.InvitationRevoked, organization.MemberJoined, organization.MemberUpdated,
		organization.MemberRemoved, organization.SessionOffered, organization.SessionBegan, organization.SessionEnded,
		organization.SessionsEnded:
	case organization.ChannelAdded, organization.ChannelUpdated, organization.ChannelRemoved:
		return r.channel(ctx, e, body)
	}
	return nil
}
