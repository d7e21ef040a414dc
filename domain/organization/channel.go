package organization

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

// ChannelKind says what a notification channel speaks.
type ChannelKind string

// The kinds of channel.
const (
	Slack   ChannelKind = "slack"
	Discord ChannelKind = "discord"
	Webhook ChannelKind = "webhook"
	Email   ChannelKind = "email"
)

// MaxChannels is how many channels an organization may have: each event that is told is told to all
// of them.
const MaxChannels = 50

// The events of notification channels. Addresses, URLs and signing secrets stand in the secret
// alone: Host and Recipients are what may be shown of them.
type (
	// ChannelAdded is a place that notifications go to.
	ChannelAdded struct {
		ChannelID  string         `json:"channel_id"`
		Kind       ChannelKind    `json:"kind"`
		Name       string         `json:"name"`
		Topics     []domain.Topic `json:"topics"`
		SecretID   string         `json:"secret_id"`
		Host       string         `json:"host,omitempty"`       // of the URL
		Recipients int            `json:"recipients,omitempty"` // of e-mail, how many
	}
	// ChannelUpdated holds what changed. A change of the secret names the one before it.
	ChannelUpdated struct {
		ChannelID  string         `json:"channel_id"`
		Name       *string        `json:"name,omitempty"`
		Topics     []domain.Topic `json:"topics,omitempty"`
		SecretID   string         `json:"secret_id,omitempty"`
		Replaces   string         `json:"replaces,omitempty"`
		Host       string         `json:"host,omitempty"`       // with a secret
		Recipients int            `json:"recipients,omitempty"` // with a secret
	}
	// ChannelRemoved ends a channel and its secret.
	ChannelRemoved struct {
		ChannelID string `json:"channel_id"`
		SecretID  string `json:"secret_id"`
	}
)

func (ChannelAdded) organizationEvent()   {}
func (ChannelUpdated) organizationEvent() {}
func (ChannelRemoved) organizationEvent() {}

// The commands of notification channels. IfRevision are the revisions that an edit may be based on.
type (
	// AddChannel makes a channel.
	AddChannel ChannelAdded
	// UpdateChannel changes what is named: nil, no topics and no secret leave each as it is.
	UpdateChannel struct {
		ChannelID  string
		Name       *string
		Topics     []domain.Topic
		SecretID   string
		Host       string
		Recipients int
		IfRevision domain.Revisions
	}
	// RemoveChannel ends a channel.
	RemoveChannel struct {
		ChannelID  string
		IfRevision domain.Revisions
	}
)

func (AddChannel) organizationCommand()    {}
func (UpdateChannel) organizationCommand() {}
func (RemoveChannel) organizationCommand() {}

// Channel is a notification channel as it is now.
type Channel struct {
	Kind       ChannelKind    `json:"kind"`
	Name       string         `json:"name"`
	Topics     []domain.Topic `json:"topics"`
	SecretID   string         `json:"secret_id"`
	Host       string         `json:"host,omitempty"`
	Recipients int            `json:"recipients,omitempty"`
	CreatedAt  time.Time      `json:"created_at"`
	UpdatedAt  time.Time      `json:"updated_at"`
	Revision   int            `json:"revision"` // of the resource: one more with each edit
}

// Wants reports whether the channel subscribes to a topic, or has to.
func (c Channel) Wants(t domain.Topic) bool {
	return t == domain.BreakGlass || slices.Contains(c.Topics, t)
}

// withChannel returns the state after a change of one channel; older states keep what they hold.
func (s State) withChannel(id string, at time.Time, change func(*Channel)) State {
	s.Channels = maps.Clone(s.Channels)
	if s.Channels == nil {
		s.Channels = map[string]Channel{}
	}
	c := s.Channels[id]
	change(&c)
	c.UpdatedAt = at
	c.Revision++
	s.Channels[id] = c
	return s
}

func evolveChannel(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case ChannelAdded:
		return s.withChannel(e.ChannelID, f.At, func(c *Channel) {
			*c = Channel{
				Kind: e.Kind, Name: e.Name, Topics: e.Topics, SecretID: e.SecretID, Host: e.Host,
				Recipients: e.Recipients, CreatedAt: f.At,
			}
		})
	case ChannelUpdated:
		return s.withChannel(e.ChannelID, f.At, func(c *Channel) {
			if e.Name != nil {
				c.Name = *e.Name
			}
			if len(e.Topics) > 0 {
				c.Topics = e.Topics
			}
			if e.SecretID != "" {
				c.SecretID, c.Host, c.Recipients = e.SecretID, e.Host, e.Recipients
			}
		})
	case ChannelRemoved:
		s.Channels = maps.Clone(s.Channels)
		delete(s.Channels, e.ChannelID)
	default: // happens to another part of the state
	}
	return s
}

// decideChannel answers the commands of channels of an organization that exists.
func decideChannel(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case AddChannel:
		if _, found := s.Channels[c.ChannelID]; found {
			return nil, nil
		}
		if len(s.Channels) >= MaxChannels {
			return nil, domain.Invalid(
				"body",
				fmt.Sprintf("an organization has at most %d channels; remove one with {removeChannel}", MaxChannels),
				domain.Next{Op: "removeChannel"},
			)
		}
		var err error
		if c.Topics, err = chosen(c.Topics); err != nil {
			return nil, err
		}
		return []Event{ChannelAdded(c)}, nil
	case UpdateChannel:
		return updateChannel(s, c)
	case RemoveChannel:
		is, err := s.editable(c.ChannelID, c.IfRevision)
		if err != nil {
			return nil, err
		}
		return []Event{ChannelRemoved{ChannelID: c.ChannelID, SecretID: is.SecretID}}, nil
	default:
		return nil, fmt.Errorf("organization: no decision for %T", c)
	}
}

func updateChannel(s State, c UpdateChannel) ([]Event, error) {
	is, err := s.editable(c.ChannelID, c.IfRevision)
	if err != nil {
		return nil, err
	}
	changed := ChannelUpdated{ChannelID: c.ChannelID}
	if c.Name != nil && *c.Name != is.Name {
		changed.Name = c.Name
	}
	if len(c.Topics) > 0 {
		topics, err := chosen(c.Topics)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(topics, is.Topics) {
			changed.Topics = topics
		}
	}
	if c.SecretID != "" && c.SecretID != is.SecretID {
		changed.SecretID, changed.Replaces, changed.Host, changed.Recipients = c.SecretID, is.SecretID, c.Host, c.Recipients
	}
	if changed.Name == nil && changed.Topics == nil && changed.SecretID == "" {
		return nil, nil
	}
	return []Event{changed}, nil
}

// editable returns a channel that may be edited on the basis of a revision.
func (s State) editable(id string, based domain.Revisions) (Channel, error) {
	c, found := s.Channels[id]
	if !found {
		return Channel{}, domain.NotFound("notification channel")
	}
	if err := based.Covers(c.Revision); err != nil {
		return Channel{}, err
	}
	return c, nil
}

// chosen returns topics in one order, each once.
func chosen(topics []domain.Topic) ([]domain.Topic, error) {
	topics = slices.Compact(slices.Sorted(slices.Values(topics)))
	for _, t := range topics {
		if !t.Valid() {
			return nil, domain.Invalid("topics", "there is no topic "+domain.Verbatim(string(t)))
		}
	}
	if len(topics) == 0 {
		return nil, domain.Invalid("topics", "name at least one topic")
	}
	return topics, nil
}
