package projections

import (
	"context"

	"agentkey/domain/organization"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// organization applies what happens to an organization, its service tokens and its channels.
func (r *rows) organization(ctx context.Context, e codec.Verified, body organization.Event) error {
	switch b := body.(type) {
	case organization.Created:
		return r.tx.InsertOrganization(
			ctx, readmodels.InsertOrganizationParams{ID: e.Signed.Organization, Name: b.Name},
		)
	case organization.TokenCreated:
		return r.tx.InsertServiceToken(ctx, readmodels.InsertServiceTokenParams{
			ID: b.TokenID, OrganizationID: e.Signed.Organization, Name: b.Name,
		})
	case organization.TokenRevoked: // its row keeps the name
	case organization.ChannelAdded, organization.ChannelUpdated, organization.ChannelRemoved:
		return r.channel(ctx, e, body)
	}
	return nil
}
