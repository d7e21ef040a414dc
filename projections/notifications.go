package projections

import (
	"context"
	"database/sql"
	"strings"

	"agentkey/domain"
	"agentkey/domain/delivery"
	"agentkey/domain/lane"
	"agentkey/domain/organization"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// channel applies what happens to notification channels.
func (r *rows) channel(ctx context.Context, e codec.Verified, body organization.Event) error {
	at := readmodels.Micros(e.Signed.Time)
	switch b := body.(type) {
	case organization.ChannelAdded:
		return r.tx.InsertChannel(ctx, readmodels.InsertChannelParams{
			ID: b.ChannelID, OrganizationID: e.Signed.Organization, Position: int64(e.Position), //nolint:gosec // positions fit
			Kind: string(b.Kind), Name: b.Name, Topics: topics(b.Topics), Host: b.Host, Recipients: int64(b.Recipients),
			At: at,
		})
	case organization.ChannelUpdated:
		if b.Name != nil {
			if err := r.tx.KeepFormerChannelName(ctx, readmodels.KeepFormerChannelNameParams{
				ID: b.ChannelID, Position: int64(e.Position), Name: *b.Name, //nolint:gosec // positions fit
			}); err != nil {
				return err
			}
		}
		change := readmodels.UpdateChannelParams{ID: b.ChannelID, Name: readmodels.Optional(b.Name), At: at}
		if len(b.Topics) > 0 {
			change.Topics = sql.NullString{String: topics(b.Topics), Valid: true}
		}
		if b.SecretID != "" {
			recipients := int64(b.Recipients)
			change.Host, change.Recipients = readmodels.Optional(&b.Host), readmodels.OptionalInt(&recipients)
		}
		return r.tx.UpdateChannel(ctx, change)
	case organization.ChannelRemoved:
		return r.tx.RemoveChannel(ctx, readmodels.RemoveChannelParams{ID: b.ChannelID, RemovedAt: at})
	default: // another part of the organization
	}
	return nil
}

func topics(chosen []domain.Topic) string {
	names := make([]string, len(chosen))
	for i, t := range chosen {
		names[i] = string(t)
	}
	return strings.Join(names, ",")
}

// delivery applies what happens to a notification.
func (r *rows) delivery(ctx context.Context, id string, e codec.Verified, body delivery.Event) error {
	at := readmodels.Micros(e.Signed.Time)
	end := func(status delivery.Status, problem, digest string) error {
		return r.tx.EndDelivery(
			ctx,
			readmodels.EndDeliveryParams{
				ID: id, Status: string(status), Problem: problem, DigestID: digest, EndedAt: at,
			},
		)
	}
	switch b := body.(type) {
	case delivery.Queued:
		return r.tx.InsertDelivery(ctx, readmodels.InsertDeliveryParams{
			ID: id, OrganizationID: b.OrganizationID, Position: int64(e.Position), //nolint:gosec // positions fit
			ChannelID: b.ChannelID, Topic: string(b.Topic), AgentID: b.About.AgentID, ToolID: b.About.ToolID,
			RequestID: b.About.RequestID, SuggestionID: b.About.SuggestionID,
			EndsAt: readmodels.MicrosOf(b.About.EndsAt), At: at,
		})
	case delivery.Claimed:
		return r.tx.ClaimDelivery(
			ctx, readmodels.ClaimDeliveryParams{ID: id, Attempts: int64(b.Attempt), DueAt: readmodels.Micros(b.Until)},
		)
	case delivery.Succeeded:
		return end(delivery.Delivered, "", b.Digest)
	case delivery.Failed:
		return r.tx.FailDelivery(
			ctx, readmodels.FailDeliveryParams{ID: id, Problem: b.Problem, DueAt: readmodels.Micros(b.NextAt)},
		)
	case delivery.Abandoned:
		return end(delivery.Dead, b.Problem, "")
	case delivery.Requeued:
		return r.tx.RequeueDelivery(ctx, readmodels.RequeueDeliveryParams{
			ID: id, DueAt: at, Place: int64(e.Position), //nolint:gosec // positions fit
		})
	}
	return nil
}

// lane applies what holds up a channel's queue.
func (r *rows) lane(ctx context.Context, channelID string, body lane.Event) error {
	switch b := body.(type) {
	case lane.Held:
		return r.tx.HoldChannel(ctx, readmodels.HoldChannelParams{ID: channelID, HeldUntil: readmodels.Micros(b.Until)})
	case lane.Resumed:
		return r.tx.HoldChannel(ctx, readmodels.HoldChannelParams{ID: channelID})
	case lane.Claimed, lane.Released:
	}
	return nil
}
