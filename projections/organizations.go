package projections

import (
	"context"

	"agentkey/domain/organization"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// organization applies what happens to an organization and its channels. What it decides about its
// service tokens is read from its stream alone.
func (r *rows) organization(ctx context.Context, e codec.Verified, body organization.Event) error {
	switch b := body.(type) {
	case organization.Created:
		return r.tx.InsertOrganization(
			ctx, readmodels.InsertOrganizationParams{ID: e.Signed.Organization, Name: b.Name},
		)
	case organization.TokenCreated, organization.TokenRevoked, organization.MonthErased:
	case organization.ChannelAdded, organization.ChannelUpdated, organization.ChannelRemoved:
		return r.channel(ctx, e, body)
	}
	return nil
}
