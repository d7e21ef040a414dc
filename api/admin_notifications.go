package api

import (
	"context"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/delivery"
	"agentkey/domain/organization"
	"agentkey/integrations/notify"
	"agentkey/readmodels"
)

// ListChannels answers GET /api/admin/notification-channels.
func (s *Server) ListChannels(ctx context.Context, r ListChannelsRequestObject) (ListChannelsResponseObject, error) {
	call := callOf(ctx)
	p, err := page(r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := s.Models.Channels(call.ctx, call.Caller.Organization, p)
	if err != nil {
		return nil, asked(err, "notification channel")
	}
	return ListChannels200JSONResponse{Items: views(found.Items, channelView), NextCursor: cursor(found.Next)}, nil
}

// GetChannel answers GET /api/admin/notification-channels/{id}.
func (s *Server) GetChannel(ctx context.Context, r GetChannelRequestObject) (GetChannelResponseObject, error) {
	call := callOf(ctx)
	found, err := s.Models.Channel(call.ctx, call.Caller.Organization, r.ID)
	if err != nil {
		return nil, asked(err, "notification channel")
	}
	call.tag(found.Revision)
	return GetChannel200JSONResponse(channelView(found)), nil
}

// AddChannel answers POST /api/admin/notification-channels.
func (s *Server) AddChannel(ctx context.Context, r AddChannelRequestObject) (AddChannelResponseObject, error) {
	call := callOf(ctx)
	b := r.Body
	added, err := s.Channels.Add(call.ctx, call.meta(), organization.AddChannel{
		Kind: organization.ChannelKind(b.Kind), Name: b.Name, Topics: topics(&b.Topics),
	}, notify.Target{URL: value(b.URL), SigningSecret: value(b.SigningSecret), Recipients: value(b.Recipients)})
	if err != nil {
		return nil, err
	}
	call.header.Set("Location", "/api/admin/notification-channels/"+added.ID)
	view := changedChannel(call, added.ID, added.OrganizationResult)
	view.SigningSecret = optional(added.SigningSecret)
	return AddChannel201JSONResponse(view), nil
}

// UpdateChannel answers PATCH /api/admin/notification-channels/{id}.
func (s *Server) UpdateChannel(ctx context.Context, r UpdateChannelRequestObject) (UpdateChannelResponseObject, error) {
	call := callOf(ctx)
	var change commands.ChannelChange
	if b := r.Body; b != nil {
		change = commands.ChannelChange{
			Name: b.Name, Topics: topics(b.Topics), URL: b.URL, SigningSecret: b.SigningSecret,
			Recipients: value(b.Recipients),
		}
	}
	done, err := s.Channels.Update(call.ctx, call.edit(), r.ID, change)
	if err != nil {
		return nil, err
	}
	return UpdateChannel200JSONResponse(changedChannel(call, r.ID, done)), nil
}

// RemoveChannel answers DELETE /api/admin/notification-channels/{id}.
func (s *Server) RemoveChannel(ctx context.Context, r RemoveChannelRequestObject) (RemoveChannelResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Channels.Remove(call.ctx, call.edit(), r.ID)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return RemoveChannel204Response{}, nil
}

// TestChannel answers POST /api/admin/notification-channels/{id}/test.
func (s *Server) TestChannel(ctx context.Context, r TestChannelRequestObject) (TestChannelResponseObject, error) {
	call := callOf(ctx)
	id, done, err := s.Deliveries.Test(call.ctx, call.meta(), r.ID)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return TestChannel200JSONResponse{
		Delivered: done.State.Status == delivery.Delivered, DeliveryID: id, Problem: optional(done.State.Problem),
	}, nil
}

// ListDeliveries answers GET /api/admin/notification-deliveries.
func (s *Server) ListDeliveries(
	ctx context.Context, r ListDeliveriesRequestObject,
) (ListDeliveriesResponseObject, error) {
	call := callOf(ctx)
	p, err := page(r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	filter := readmodels.DeliveryFilter{ChannelID: value(r.Params.ChannelID), Status: string(value(r.Params.Status))}
	found, err := s.Models.Deliveries(call.ctx, call.Caller.Organization, filter, p)
	if err != nil {
		return nil, asked(err, "notification")
	}
	return ListDeliveries200JSONResponse{Items: views(found.Items, deliveryView), NextCursor: cursor(found.Next)}, nil
}

// ResendDelivery answers POST /api/admin/notification-deliveries/{id}/resend.
func (s *Server) ResendDelivery(
	ctx context.Context, r ResendDeliveryRequestObject,
) (ResendDeliveryResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Deliveries.Resend(call.ctx, call.meta(), r.ID)
	if err != nil {
		return nil, err
	}
	head, err := s.Door.Callers.Organizations.Cached(call.ctx, call.Caller.Organization)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	channel := head.State.Channels[done.State.ChannelID].Name
	return ResendDelivery200JSONResponse(deliveryView(deliveryLeft(r.ID, done.State, channel, done.HeldUntil))), nil
}

// topics reads the topics of a channel.
func topics(names *NotificationTopics) []domain.Topic {
	if names == nil {
		return nil
	}
	return views(*names, func(t NotificationTopic) domain.Topic { return domain.Topic(t) })
}

// changedChannel is a channel as a command of this call left it.
func changedChannel(call *call, id string, done commands.OrganizationResult) NotificationChannel {
	c := done.State.Channels[id]
	call.done(done.Position)
	call.tag(c.Revision)
	return channelView(channelLeft(id, c))
}

func channelView(c readmodels.Channel) NotificationChannel {
	return NotificationChannel{
		ID: c.ID, Kind: ChannelKind(c.Kind), Name: c.Name,
		Topics: views(c.Topics, func(t string) NotificationTopic { return NotificationTopic(t) }),
		Host:   optional(c.Host), RecipientCount: optional(c.Recipients), CreatedAt: c.CreatedAt.UTC(),
		UpdatedAt: c.UpdatedAt.UTC(), Revision: c.Revision,
	}
}

func deliveryView(d readmodels.Delivery) NotificationDelivery {
	return NotificationDelivery{
		ID: d.ID, ChannelID: d.ChannelID, ChannelName: d.ChannelName, Topic: d.Topic, Status: DeliveryStatus(d.Status),
		Attempts: d.Attempts, Problem: optional(d.Problem), AgentID: optional(d.AgentID), ToolID: optional(d.ToolID),
		RequestID: optional(d.RequestID), SuggestionID: optional(d.SuggestionID), EndsAt: optionalTime(d.EndsAt),
		CreatedAt: d.QueuedAt.UTC(), NextAttemptAt: optionalTime(d.DueAt),
		EndedAt: optionalTime(d.EndedAt), DigestID: optional(d.Digest),
	}
}
