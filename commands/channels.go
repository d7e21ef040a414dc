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

// Channels carries out what admins do to notification channels. Where a channel leads to is sealed like a credential.
type Channels struct {
	Organizations *OrganizationLoop
	Secrets       *seal.Secrets
	Sender        *notify.Sender // which checks where a channel leads to
	Clock         func() time.Time
}

func channelOwner(id string) string { return "channel/" + id }

// Added is a new channel. SigningSecret is shown once: it is empty unless it was drawn here.
type Added struct {
	OrganizationResult
	ID            string
	SigningSecret string
}

// Add makes a channel. Its ids and what is shown of the target are filled in here; a webhook without a signing secret
// gets one.
func (c *Channels) Add(ctx context.Context, m loop.Meta, channel organization.AddChannel, t notify.Target) (Added, error) {
	a := Added{ID: loop.DerivedID(m.CommandID, "channel").String()}
	drawn := notify.Signed(channel.Kind) && t.SigningSecret == ""
	if drawn {
		t.SigningSecret = notify.NewSigningSecret()
	}
	if notify.Mailed(channel.Kind) && c.Sender.Mail == nil {
		return a, domain.Invalid("kind", "no e-mail can be sent here; an operator sets AGENTKEY_SMTP_URL and AGENTKEY_SMTP_FROM")
	}
	if err := t.Check(channel.Kind, c.Sender.Allow); err != nil {
		return a, err
	}
	channel.ChannelID, channel.Host, channel.Recipients = a.ID, t.Host(), len(t.Recipients)
	var err error
	a.OrganizationResult, err = c.withSecret(ctx, m, a.ID, &t, func(secretID string) organization.Command {
		channel.SecretID = secretID
		return channel
	})
	if err != nil || !drawn {
		return a, err
	}
	// The secret that was written first stays: of a command that was begun before it is not the one drawn here.
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
func (c *Channels) Update(ctx context.Context, m loop.Meta, id string, change ChannelChange) (OrganizationResult, error) {
	command := organization.UpdateChannel{ChannelID: id, Name: change.Name, Topics: change.Topics, IfRevision: m.IfRevision}
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
	return c.withSecret(ctx, m, id, target, func(secretID string) organization.Command {
		command.SecretID = secretID
		return command
	})
}

// Remove ends a channel and removes where it led to. What was still to be sent to it is given up.
func (c *Channels) Remove(ctx context.Context, m loop.Meta, id string) (OrganizationResult, error) {
	secretID := ""
	done, err := c.Organizations.Do(ctx, m.Organization, m, func(s organization.State, _ time.Time) (organization.Command, error) {
		secretID = s.Channels[id].SecretID
		return organization.RemoveChannel{ChannelID: id, IfRevision: m.IfRevision}, nil
	})
	if err == nil && secretID != "" {
		err = loop.Refusal(c.Secrets.Remove(ctx, secretID))
	}
	return done, err
}

// withSecret carries out a command that may bring a target, nil for none.
func (c *Channels) withSecret(ctx context.Context, m loop.Meta, id string, t *notify.Target, command func(secretID string) organization.Command) (done OrganizationResult, err error) {
	var secret domain.Secret
	if t != nil {
		text, err := json.Marshal(t)
		if err != nil {
			return OrganizationResult{}, errors.New("encode where a channel leads to")
		}
		secret = domain.NewSecret(text)
	}
	build := func(secretID string) loop.Build[organization.State, organization.Command] {
		return func(organization.State, time.Time) (organization.Command, error) { return command(secretID), nil }
	}
	check := func(secretID string) error { return c.Organizations.Check(ctx, m.Organization, build(secretID)) }
	do := func(secretID string) error {
		done, err = c.Organizations.Do(ctx, m.Organization, m, build(secretID))
		return err
	}
	err = vault{secrets: c.Secrets, clock: c.Clock}.between(ctx, m, channelOwner(id), secret, check, do)
	return done, err
}

// open unseals where a channel leads to.
func (c *Channels) open(ctx context.Context, organizationID, id string, channel organization.Channel) (notify.Target, error) {
	var t notify.Target
	text, err := c.Secrets.Open(ctx, credentialBinding(organizationID, channelOwner(id), channel.SecretID))
	if err != nil {
		return t, secretRefusal(err)
	}
	if err := json.Unmarshal(text.Reveal(), &t); err != nil {
		return t, fmt.Errorf("read where channel %s leads to: it is no target", id)
	}
	return t, nil
}
