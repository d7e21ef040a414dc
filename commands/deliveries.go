package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/delivery"
	"agentkey/domain/guide"
	"agentkey/domain/lane"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
	"agentkey/integrations/notify"
)

// DeliveryResult is a command on a notification carried out.
type DeliveryResult = loop.Result[delivery.State, delivery.Event]

// LaneResult is a command on a channel's queue carried out.
type LaneResult = loop.Result[lane.State, lane.Event]

// Deliveries queues notifications and sends them. The stream of a channel says who sends to it and
// when; each notification is claimed on its own stream before it is sent, and what came of it is
// written there. So any number of processes may try: it is sent at least once, under one id.
type Deliveries struct {
	Loop     *DeliveryLoop
	Lanes    *LaneLoop
	Agents   *AgentLoop
	Catalogs *CatalogLoop
	Channels *Channels
	Log      *codec.Log
	NewID    func() uuid.UUID
}

var notifier = domain.Actor{Type: domain.ActorSystem, ID: "notifications"}

// Queue queues one delivery to each channel of an organization that wants a topic and was there at
// a time, that of the cause. It does so once for a cause however often it is called: the ids of
// what is sent are made of the cause's and the channel's. It reports whether there was anything to
// do.
func (d *Deliveries) Queue(
	ctx context.Context, organizationID string, cause uuid.UUID, at time.Time, topic domain.Topic, about delivery.About,
) (acted bool, err error) {
	head, err := d.Channels.Organizations.Fresh(ctx, organizationID)
	if err != nil {
		return false, err
	}
	for id, channel := range head.State.Channels {
		if !channel.Wants(topic) || channel.CreatedAt.After(at) {
			continue
		}
		deliveryID := uuid.NewSHA1(cause, []byte("notify/"+id))
		m := loop.Meta{
			Organization: organizationID, Actor: notifier,
			CommandID: uuid.NewSHA1(deliveryID, []byte("queue")), Causation: cause.String(),
		}
		done, err := d.Loop.Do(ctx, deliveryID.String(), m, func(delivery.State, time.Time) (delivery.Command, error) {
			return delivery.Queue{OrganizationID: organizationID, ChannelID: id, Topic: topic, About: about}, nil
		})
		if err != nil {
			return acted, err
		}
		acted = acted || done.Changed
	}
	return acted, nil
}

// Test sends a test to a channel and returns what came of it. Whatever that is, it is not tried
// again.
func (d *Deliveries) Test(ctx context.Context, m loop.Meta, channelID string) (string, DeliveryResult, error) {
	head, err := d.Channels.Organizations.Fresh(ctx, m.Organization)
	if err != nil {
		return "", DeliveryResult{}, err
	}
	if _, found := head.State.Channels[channelID]; !found {
		return "", DeliveryResult{}, domain.NotFound("notification channel")
	}
	id := loop.DerivedID(m.CommandID, "delivery").String()
	begun, err := d.Loop.Do(ctx, id, m, func(_ delivery.State, at time.Time) (delivery.Command, error) {
		what := delivery.Queued{OrganizationID: m.Organization, ChannelID: channelID, Topic: domain.Test}
		return delivery.Try{What: what, At: at}, nil
	})
	if err != nil || begun.Repeated {
		return id, begun, err
	}
	done, err := d.try(ctx, id, begun.State)
	return id, done, err
}

// ResentDelivery is a notification that will be sent again. Nothing is sent to its channel before a
// time.
type ResentDelivery struct {
	DeliveryResult
	HeldUntil time.Time
}

// Resend wants what failed, or was given up, sent again, and its channel tried at once unless the
// receiver asked to wait. A notification of another organization looks like none.
func (d *Deliveries) Resend(ctx context.Context, m loop.Meta, id string) (ResentDelivery, error) {
	done, err := d.Loop.Do(ctx, id, m, func(s delivery.State, _ time.Time) (delivery.Command, error) {
		if s.OrganizationID != m.Organization {
			return nil, domain.NotFound("notification")
		}
		return delivery.Requeue{}, nil
	})
	if err != nil {
		return ResentDelivery{}, err
	}
	resume := m
	resume.CommandID = loop.DerivedID(m.CommandID, "resume")
	resumed, err := d.Lanes.Do(ctx, done.State.ChannelID, resume, func(_ lane.State, at time.Time) (lane.Command, error) {
		return lane.Resume{At: at}, nil
	})
	return ResentDelivery{DeliveryResult: done, HeldUntil: resumed.State.HeldUntil}, err
}

func (d *Deliveries) do(
	ctx context.Context, organizationID, id string, build loop.Build[delivery.State, delivery.Command],
) (DeliveryResult, error) {
	return d.Loop.Do(ctx, id, loop.Meta{Organization: organizationID, Actor: notifier, CommandID: d.NewID()}, build)
}

// try sends a test, by the state that its beginning left. A receiver that asks to wait is left
// alone by everything that is sent to it.
func (d *Deliveries) try(ctx context.Context, id string, s delivery.State) (DeliveryResult, error) {
	message, err := d.message(ctx, id, s)
	if err != nil {
		return DeliveryResult{}, err
	}
	post := notify.Post{ID: id, Organization: s.OrganizationID, Messages: []notify.Message{message}}
	problem, err := d.send(ctx, s.OrganizationID, s.ChannelID, post)
	if err != nil {
		return DeliveryResult{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if problem != nil && problem.Wait > 0 {
		_, err := d.lane(ctx, s.OrganizationID, s.ChannelID, func(_ lane.State, at time.Time) (lane.Command, error) {
			return lane.Hold{At: at, Wait: problem.Wait}, nil
		})
		if err != nil {
			return DeliveryResult{}, err
		}
	}
	return d.do(ctx, s.OrganizationID, id, func(_ delivery.State, at time.Time) (delivery.Command, error) {
		if problem == nil {
			return delivery.Succeed{Attempt: s.Attempts}, nil
		}
		return delivery.Fail{At: at, Attempt: s.Attempts, Problem: problem.Text, Never: true}, nil
	})
}

// send brings a post to where its channel leads now.
func (d *Deliveries) send(
	ctx context.Context, organizationID, channelID string, post notify.Post,
) (*notify.Problem, error) {
	head, err := d.Channels.Organizations.Fresh(ctx, organizationID)
	if err != nil {
		return nil, err
	}
	channel, found := head.State.Channels[channelID]
	if !found {
		return &notify.Problem{Text: "the channel was removed", Never: true}, nil
	}
	target, err := d.Channels.open(ctx, organizationID, channelID, channel)
	if errors.Is(err, seal.ErrGone) {
		return &notify.Problem{Text: "the channel was changed meanwhile", Now: true}, nil
	}
	if err != nil {
		return nil, err
	}
	return d.Channels.Sender.Send(ctx, channel.Kind, target, post), nil
}

// message finds the words: names as they are now, reasons as the cause has them.
func (d *Deliveries) message(ctx context.Context, id string, s delivery.State) (notify.Message, error) {
	a := s.About
	m := notify.Message{
		ID: id, Topic: s.Topic, At: s.QueuedAt,
		AgentID: a.AgentID, ToolID: a.ToolID, RequestID: a.RequestID, SuggestionID: a.SuggestionID,
	}
	if a.EndsAt != nil {
		m.EndsAt = *a.EndsAt
	}
	if s.Topic == domain.Test {
		head, err := d.Channels.Organizations.Fresh(ctx, s.OrganizationID)
		m.Channel = head.State.Channels[s.ChannelID].Name
		return m, err
	}
	if a.AgentID != "" {
		head, err := d.Agents.Fresh(ctx, a.AgentID)
		if err != nil {
			return m, err
		}
		m.Agent = head.State.Name
	}
	if a.ToolID != "" {
		head, err := d.Catalogs.Fresh(ctx, s.OrganizationID)
		if err != nil {
			return m, err
		}
		if m.Tool = head.State.Tools[a.ToolID].Name; m.Tool == "" {
			m.Tool = "a tool that was removed"
		}
	}
	if a.Stream == "" {
		return m, nil
	}
	causes, err := d.Log.ReadForward(ctx, a.Stream, a.Revision, 1)
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		return m, loop.Refusal(err)
	}
	if len(causes) != 1 || causes[0].Revision != a.Revision {
		return m, fmt.Errorf("the log does not reach %d@%s, which notification %s reports", a.Revision, a.Stream, id)
	}
	m.At = causes[0].Signed.Time
	switch e := causes[0].Event.(type) {
	case agent.GrantRequested:
		m.Reason = e.Reason
	case catalog.SuggestionMade:
		m.Tool, m.Reason = e.Name, e.Reason
	case catalog.SuggestionBacked: // of what was dismissed and is missed again
		head, err := d.Catalogs.Fresh(ctx, s.OrganizationID)
		if err != nil {
			return m, err
		}
		if m.Tool, m.Reason = head.State.Suggestions[e.SuggestionID].Name, e.Reason; m.Tool == "" {
			m.Tool = "a tool that was decided about since"
		}
	case guide.NoteMade:
		m.Reason = e.Learned
	default:
		m.Act = breakGlass(causes[0].Event)
	}
	return m, nil
}
