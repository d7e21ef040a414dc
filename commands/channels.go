package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/eventstore/seal"
	"agentkey/integrations/notify"
)

// OrganizationResult is a command on an organization carried out.
type OrganizationResult = loop.Result[organization.State, organization.Event]

// Channels carries out what admins do to notification channels. Where a channel leads to is sealed
// like a credential.
type Channels struct {
	Organizations *OrganizationLoop
	Secrets       *seal.Secrets
	Sender        *notify.Sender // which checks where a channel leads to
	Clock         func() time.Time
}

func channelOwner(id string) string { return "channel/" + id }

// AddedChannel is a new channel. SigningSecret is shown once: it is empty unless it was drawn here.
type AddedChannel struct {
	OrganizationResult
	ID            string
	SigningSecret string
}

// Add makes a channel. Its ids and what is shown of the target are filled in here; a webhook
// without a signing secret gets one.
func (c *Channels) Add(
	ctx context.Context, m loop.Meta, channel organization.AddChannel, t notify.Target,
) (AddedChannel, error) {
	a := AddedChannel{ID: loop.DerivedID(m.CommandID, "channel").String()}
	drawn := notify.Signed(channel.Kind) && t.SigningSecret == ""
	if drawn {
		t.SigningSecret = notify.NewSigningSecret()
	}
	if notify.Mailed(channel.Kind) && c.Sender.Mail == nil {
		return a, domain.Invalid(
			"kind", "no e-mail can be sent here; an operator sets AGENTKEY_SMTP_URL and AGENTKEY_SMTP_FROM",
		)
	}
	if err := t.Check(channel.Kind, c.Sender.Allow); err != nil {
		return a, err
	}
	channel.ChannelID, channel.Host, channel.Recipients = a.ID, t.Host(), len(t.Recipients)
	var err error
	a.OrganizationResult, err = c.propose(ctx, m, a.ID, &t,
		func(_ organization.State, secretID string, _ time.Time) (organization.Command, error) {
			add := channel
			add.SecretID = secretID
			return add, nil
		})
	if err != nil || !drawn {
		return a, err
	}
	// The secret that was written first stays: of a command that was begun before it is not the one
	// drawn here.
	sealed, err := c.open(ctx, m.Organization, a.ID, a.State.Channels[a.ID])
	a.SigningSecret = sealed.SigningSecret
	return a, err
}

// ChannelChange is what an admin wants to be otherwise; nil and none leave each as it is.
type ChannelChange struct {
	Name          *string
	Topics        []domain.Topic
	URL           *string
	SigningSecret *string
	Recipients    []string
}

// Update changes a channel. What is not named of the target stays.
func (c *Channels) Update(
	ctx context.Context, m loop.Meta, id string, change ChannelChange,
) (OrganizationResult, error) {
	command := organization.UpdateChannel{
		ChannelID: id, Name: change.Name, Topics: change.Topics, IfRevision: m.IfRevision,
	}
	var target *notify.Target
	if change.URL != nil || change.SigningSecret != nil || len(change.Recipients) > 0 {
		head, err := c.Organizations.Fresh(ctx, m.Organization)
		if err != nil {
			return OrganizationResult{}, err
		}
		is, found := head.State.Channels[id]
		if !found {
			return OrganizationResult{}, domain.NotFound("notification channel")
		}
		was, err := c.open(ctx, m.Organization, id, is)
		if err != nil {
			return OrganizationResult{}, err
		}
		t := was
		if change.URL != nil {
			t.URL = *change.URL
		}
		if change.SigningSecret != nil {
			t.SigningSecret = *change.SigningSecret
		}
		if len(change.Recipients) > 0 {
			t.Recipients = change.Recipients
		}
		if err := t.Check(is.Kind, c.Sender.Allow); err != nil {
			return OrganizationResult{}, err
		}
		if !t.Equal(was) {
			target, command.Host, command.Recipients = &t, t.Host(), len(t.Recipients)
		}
	}
	return c.propose(ctx, m, id, target, func(_ organization.State, secretID string, _ time.Time) (organization.Command,
		error,
	) {
		update := command
		update.SecretID = secretID
		return update, nil
	})
}

// Remove ends a channel and removes where it led to. What was still to be sent to it is given up.
func (c *Channels) Remove(ctx context.Context, m loop.Meta, id string) (OrganizationResult, error) {
	done, err := c.Organizations.Do(ctx, m.Organization, m, func(organization.State, time.Time) (organization.Command,
		error,
	) {
		return organization.RemoveChannel{ChannelID: id, IfRevision: m.IfRevision}, nil
	})
	if err != nil {
		return done, err
	}
	for _, e := range done.Events {
		if removed, ok := e.(organization.ChannelRemoved); ok {
			err = errors.Join(err, c.Secrets.Remove(ctx, removed.SecretID))
		}
	}
	return done, loop.Refusal(err)
}

// propose carries out a command that may bring a target, nil for none.
func (c *Channels) propose(
	ctx context.Context, m loop.Meta, id string, t *notify.Target,
	command making[organization.State, organization.Command],
) (OrganizationResult, error) {
	p := proposal[organization.State, organization.Command, organization.Event]{
		loop: c.Organizations, stream: m.Organization, owner: channelOwner(id),
		do: func(
			ctx context.Context, m loop.Meta, b loop.Build[organization.State, organization.Command],
		) (OrganizationResult, error) {
			return c.Organizations.Do(ctx, m.Organization, m, b)
		},
		gather: func(_ context.Context, try func(making[organization.State, organization.Command]) error) error {
			return try(command)
		},
	}
	if t != nil {
		text, err := json.Marshal(t)
		if err != nil {
			return OrganizationResult{}, errors.New("encode where a channel leads to")
		}
		p.secret = domain.NewSecret(text)
	}
	return carryOut(ctx, vault{secrets: c.Secrets, clock: c.Clock}, m, p)
}

// open unseals where a channel leads to.
func (c *Channels) open(
	ctx context.Context, organizationID, id string, channel organization.Channel,
) (notify.Target, error) {
	var t notify.Target
	text, err := c.Secrets.Open(ctx, credentialBinding(organizationID, channelOwner(id), channel.SecretID))
	if err != nil {
		return t, secretRefusal(err)
	}
	if err := json.Unmarshal(text.Reveal(), &t); err != nil {
		return t, fmt.Errorf("read the target of channel %s: it is not valid", id)
	}
	return t, nil
}
