package organization_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/organization"
)

func added(id string) organization.ChannelAdded {
	return organization.ChannelAdded{
		ChannelID: id, Kind: organization.Slack, Name: "#approvals", Topics: []domain.Topic{domain.AccessRequested},
		SecretID: "secret of " + id, Host: "hooks.slack.com",
	}
}

func channelCommand(t *rapid.T) organization.Command {
	id := rapid.SampledFrom([]string{"c1", "c2"}).Draw(t, "channel")
	topics := rapid.SampledFrom(
		[][]domain.Topic{nil, {domain.GrantExpiring, domain.AccessRequested}, {"nonsense"}},
	).Draw(t, "topics")
	switch rapid.IntRange(0, 3).Draw(t, "of a channel") {
	case 0:
		return organization.RemoveChannel{ChannelID: id}
	case 1:
		return organization.UpdateChannel{
			ChannelID: id, Topics: topics, Name: rapid.SampledFrom([]*string{nil, new("a"), new("b")}).Draw(t, "name"),
		}
	case 2:
		return organization.UpdateChannel{
			ChannelID: id, Topics: topics, SecretID: rapid.SampledFrom([]string{"s1", "s2"}).Draw(t, "secret"),
			Host: "h",
		}
	}
	c := organization.AddChannel(added(id))
	c.Topics = topics
	return c
}

func TestChannels(t *testing.T) {
	is := []organization.Event{created(), added("c1")}
	two := []domain.Topic{domain.AccessRequested, domain.GrantExpiring}
	add := organization.AddChannel(added("c1"))
	with := func(topics ...domain.Topic) organization.AddChannel {
		c := add
		c.Topics = topics
		return c
	}
	full := []organization.Event{created()}
	for i := range organization.MaxChannels {
		full = append(full, added(fmt.Sprint("other ", i)))
	}
	tests := []struct {
		name  string
		given []organization.Event
		when  organization.Command
		then  organization.Event
		code  string
	}{
		{"a channel is added", []organization.Event{created()}, add, added("c1"), ""},
		{"it is added once", is, add, nil, ""},
		{"an unknown organization has no channels", nil, add, nil, "not_found"},
		{"a topic that does not exist", []organization.Event{created()}, with(), nil, "validation_failed"},
		{"that there is", []organization.Event{created()}, with("nonsense"), nil, "validation_failed"},
		{"tests are not a topic", []organization.Event{created()}, with(domain.Test), nil, "validation_failed"},
		{"there may be many", full[:organization.MaxChannels], add, added("c1"), ""},
		{"but not too many", full, add, nil, "validation_failed"},
		{
			"it gets another name", is,
			organization.UpdateChannel{ChannelID: "c1", Name: new("n")},
			organization.ChannelUpdated{ChannelID: "c1", Name: new("n")},
			"",
		},
		{"the same name is none", is, organization.UpdateChannel{ChannelID: "c1", Name: new("#approvals")}, nil, ""},
		{
			"it gets other topics, in order and once", is,
			organization.UpdateChannel{
				ChannelID: "c1",
				Topics:    []domain.Topic{domain.GrantExpiring, domain.AccessRequested, domain.GrantExpiring},
			},
			organization.ChannelUpdated{ChannelID: "c1", Topics: two},
			"",
		},
		{"the same topics are none", is, organization.UpdateChannel{ChannelID: "c1", Topics: two[:1]}, nil, ""},
		{
			"topics that there are not", is,
			organization.UpdateChannel{ChannelID: "c1", Topics: []domain.Topic{"x"}},
			nil, "validation_failed",
		},
		{
			"it goes elsewhere", is,
			organization.UpdateChannel{ChannelID: "c1", SecretID: "s2", Host: "other.example"},
			organization.ChannelUpdated{
				ChannelID: "c1", SecretID: "s2", Replaces: "secret of c1", Host: "other.example",
			},
			"",
		},
		{
			"the same edit again is none", is,
			organization.UpdateChannel{ChannelID: "c1", SecretID: "secret of c1", Host: "hooks.slack.com"},
			nil, "",
		},
		{
			"an edit of what it is", is,
			organization.UpdateChannel{ChannelID: "c1", Name: new("n"), IfRevision: domain.Revisions{1}},
			organization.ChannelUpdated{ChannelID: "c1", Name: new("n")},
			"",
		},
		{
			"an edit of what it was", is,
			organization.UpdateChannel{ChannelID: "c1", Name: new("n"), IfRevision: domain.Revisions{2}},
			nil, "revision_stale",
		},
		{"an edit of none", is, organization.UpdateChannel{ChannelID: "c2", Name: new("n")}, nil, "not_found"},
		{
			"it is removed with its secret", is,
			organization.RemoveChannel{ChannelID: "c1"},
			organization.ChannelRemoved{ChannelID: "c1", SecretID: "secret of c1"},
			"",
		},
		{
			"a removal of what it was", is,
			organization.RemoveChannel{ChannelID: "c1", IfRevision: domain.Revisions{7}},
			nil,
			"revision_stale",
		},
		{
			"it is gone then", append(is, organization.ChannelRemoved{ChannelID: "c1"}),
			organization.RemoveChannel{ChannelID: "c1"},
			nil, "not_found",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := organization.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			var want []organization.Event
			if tt.then != nil {
				want = append(want, tt.then)
			}
			if diff := cmp.Diff(want, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAChannelIsWhatItsEventsSay(t *testing.T) {
	s := fold(created(), added("c1"), added("c2"), organization.ChannelUpdated{
		ChannelID: "c1", Name: new("n"),
		Topics: []domain.Topic{domain.ToolSuggested},
	},
		organization.ChannelUpdated{ChannelID: "c1", SecretID: "s2", Recipients: 3},
		organization.ChannelRemoved{ChannelID: "c2"})
	want := map[string]organization.Channel{"c1": {
		Kind: organization.Slack, Name: "n", Topics: []domain.Topic{domain.ToolSuggested}, SecretID: "s2",
		Recipients: 3, CreatedAt: start, UpdatedAt: start, Revision: 3,
	}}
	if diff := cmp.Diff(want, s.Channels); diff != "" {
		t.Errorf("the channels (-want +got):\n%s", diff)
	}
}
