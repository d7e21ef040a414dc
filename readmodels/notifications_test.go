package readmodels_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

func (s *shelf) channel(organization, id, name string) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		return tx.InsertChannel(s.t.Context(), readmodels.InsertChannelParams{
			ID: id, OrganizationID: organization, Position: s.next(), Kind: "slack", Name: name,
			Topics: "access_requested,grant_expiring", Host: "hooks.slack.com",
			At: readmodels.Micros(noon),
		})
	})
}

// delivery queues a notification at noon.
func (s *shelf) delivery(organization, channelID, id string) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		return tx.InsertDelivery(s.t.Context(), readmodels.InsertDeliveryParams{
			ID: id, OrganizationID: organization, Position: s.next(), ChannelID: channelID, Topic: "access_requested",
			AgentID: "a1", ToolID: "t1", RequestID: "r1",
			At: readmodels.Micros(noon),
		})
	})
}

func (s *shelf) fails(id string, next time.Time) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(
			tx.ClaimDelivery(
				s.t.Context(),
				readmodels.ClaimDeliveryParams{ID: id, Attempts: 1, DueAt: readmodels.Micros(noon.Add(time.Minute))},
			),
			tx.FailDelivery(
				s.t.Context(), readmodels.FailDeliveryParams{ID: id, Problem: "p", DueAt: readmodels.Micros(next)},
			),
		)
	})
}

func (s *shelf) ends(id, status string) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		return tx.EndDelivery(
			s.t.Context(),
			readmodels.EndDeliveryParams{
				ID: id, Status: status, Problem: "p", EndedAt: readmodels.Micros(noon.Add(time.Hour)),
			},
		)
	})
}

func testChannels(t *testing.T, s *shelf) {
	s.channel(acme, "c1", "#ops")
	s.channel(acme, "c2", "#sec")
	s.channel(globex, "c3", "theirs")
	s.write(func(tx *readmodels.Tx) error {
		return tx.UpdateChannel(t.Context(), readmodels.UpdateChannelParams{
			ID: "c1", Name: readmodels.Optional(new("Ops")), Topics: readmodels.Optional(new("tool_suggested")),
			Host: readmodels.Optional(new("")), Recipients: readmodels.OptionalInt(new(int64(2))),
			At: readmodels.Micros(noon.Add(time.Hour)),
		})
	})
	one := readmodels.Channel{
		ID: "c1", Kind: "slack", Name: "Ops", Topics: []string{"tool_suggested"}, Recipients: 2, CreatedAt: noon,
		UpdatedAt: noon.Add(time.Hour), Revision: 2, Position: 1,
	}
	two := readmodels.Channel{
		ID: "c2", Kind: "slack", Name: "#sec", Topics: []string{"access_requested", "grant_expiring"},
		Host: "hooks.slack.com", CreatedAt: noon, UpdatedAt: noon, Revision: 1, Position: 2,
	}
	list := must[readmodels.List[readmodels.Channel]](t)
	if diff := cmp.Diff([]readmodels.Channel{two, one}, list(s.db.Channels(t.Context(), acme, all)).Items); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(one, must[readmodels.Channel](t)(s.db.Channel(t.Context(), acme, "c1"))); diff != "" {
		t.Errorf("one (-want +got):\n%s", diff)
	}
	if first := list(s.db.Channels(t.Context(), acme, readmodels.Page{Limit: 1})); len(first.Items) != 1 ||
		first.Next != 2 {
		t.Errorf("the first page: %+v", first)
	}
	s.write(func(tx *readmodels.Tx) error {
		return tx.RemoveChannel(
			t.Context(), readmodels.RemoveChannelParams{ID: "c2", RemovedAt: readmodels.Micros(noon)},
		)
	})
	for _, id := range []string{"c2", "c3", "c4", ""} {
		if _, err := s.db.Channel(t.Context(), acme, id); !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("channel %q: %v", id, err)
		}
	}
	if left := list(s.db.Channels(t.Context(), acme, all)); len(left.Items) != 1 {
		t.Errorf("a removed channel is listed: %+v", left)
	}
}

func testDeliveries(t *testing.T, s *shelf) {
	s.channel(acme, "c1", "#ops")
	s.channel(acme, "c2", "#sec")
	s.channel(globex, "c3", "theirs")
	for i, channel := range []string{"c1", "c1", "c2", "c1", "c2"} {
		s.delivery(acme, channel, fmt.Sprint("d", i))
	}
	s.delivery(globex, "c3", "theirs")
	s.fails("d1", noon.Add(time.Hour))
	s.ends("d2", "dead")
	s.ends("d3", "delivered")
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(
			tx.EndDelivery(
				t.Context(),
				readmodels.EndDeliveryParams{ID: "d4", Status: "dead", Problem: "p", EndedAt: readmodels.Micros(noon)},
			),
			tx.RequeueDelivery(
				t.Context(),
				readmodels.RequeueDeliveryParams{ID: "d4", DueAt: readmodels.Micros(noon.Add(2 * time.Hour))},
			),
		)
	})
	id := func(d readmodels.Delivery) string { return d.ID }
	list := must[readmodels.List[readmodels.Delivery]](t)
	for _, c := range []struct {
		filter readmodels.DeliveryFilter
		want   []string
	}{
		{readmodels.DeliveryFilter{}, []string{"d4", "d3", "d2", "d1", "d0"}},
		{readmodels.DeliveryFilter{ChannelID: "c1"}, []string{"d3", "d1", "d0"}},
		{readmodels.DeliveryFilter{Status: "pending"}, []string{"d4", "d0"}},
		{readmodels.DeliveryFilter{Status: "failed"}, []string{"d1"}},
		{readmodels.DeliveryFilter{Status: "dead", ChannelID: "c2"}, []string{"d2"}},
		{readmodels.DeliveryFilter{Status: "delivered", ChannelID: "c2"}, []string{}},
		{readmodels.DeliveryFilter{ChannelID: "c3"}, []string{}},
	} {
		if diff := cmp.Diff(
			c.want, names(list(s.db.Deliveries(t.Context(), acme, c.filter, all)).Items, id),
		); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.filter, diff)
		}
	}
	want := readmodels.Delivery{
		ID: "d1", ChannelID: "c1", ChannelName: "#ops", Topic: "access_requested", AgentID: "a1", ToolID: "t1",
		RequestID: "r1", Status: "failed", Attempts: 1, Problem: "p", QueuedAt: noon, DueAt: noon.Add(time.Hour),
		Position: 5,
	}
	if got := list(
		s.db.Deliveries(t.Context(), acme, readmodels.DeliveryFilter{Status: "failed"}, all),
	).Items; len(got) != 1 || cmp.Diff(want, got[0]) != "" {
		t.Errorf("one (-want +got):\n%s", cmp.Diff(want, got[0]))
	}
	first := list(s.db.Deliveries(t.Context(), acme, readmodels.DeliveryFilter{}, readmodels.Page{Limit: 3}))
	rest := list(
		s.db.Deliveries(t.Context(), acme, readmodels.DeliveryFilter{}, readmodels.Page{Limit: 3, Before: first.Next}),
	)
	if len(first.Items) != 3 || len(rest.Items) != 2 || rest.Next != 0 {
		t.Errorf("pages of %d and %d, then %d", len(first.Items), len(rest.Items), rest.Next)
	}
}

func testDueDeliveries(t *testing.T, s *shelf) {
	s.channel(acme, "c1", "#ops")
	s.channel(globex, "c2", "theirs")
	for i := range 4 {
		s.delivery(acme, "c1", fmt.Sprint("d", i))
	}
	s.delivery(globex, "c2", "theirs")
	s.fails("d0", noon.Add(-time.Hour))
	s.fails("d1", noon.Add(time.Hour))
	s.ends("d2", "delivered")
	s.fails("theirs", noon.Add(2*time.Hour))
	due := func(after time.Duration, channel string, limit int) []string {
		found := must[[]readmodels.DueDelivery](t)(s.db.DueDeliveries(t.Context(), channel, noon.Add(after), limit))
		return names(
			found, func(d readmodels.DueDelivery) string { return d.Organization[len(d.Organization)-1:] + " " + d.ID },
		)
	}
	channels := func(after time.Duration, limit int) []string {
		found := must[[]readmodels.DueChannel](t)(s.db.DueChannels(t.Context(), noon.Add(after), limit))
		return names(found, func(c readmodels.DueChannel) string { return c.ID })
	}
	for _, c := range []struct{ got, want []string }{
		{due(-2*time.Hour, "c1", 9), []string{}},
		{due(0, "c1", 9), []string{"1 d0", "1 d3"}},
		{due(0, "c1", 1), []string{"1 d0"}},
		{due(time.Hour, "c1", 9), []string{"1 d0", "1 d1", "1 d3"}},
		{due(2*time.Hour, "c2", 9), []string{"2 theirs"}},
		{channels(-2*time.Hour, 9), []string{}},
		{channels(0, 9), []string{"c1"}},
		{channels(2*time.Hour, 9), []string{"c1", "c2"}},
		{channels(2*time.Hour, 1), []string{"c1"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("what is due (-want +got):\n%s", diff)
		}
	}
	// Whatever one organization has due, the next is that of another.
	for _, id := range []string{"c3", "c4"} {
		s.channel(acme, id, id)
		s.delivery(acme, id, "of "+id)
		s.fails("of "+id, noon.Add(-time.Minute))
	}
	if diff := cmp.Diff([]string{"c1", "c2", "c3"}, channels(2*time.Hour, 3)); diff != "" {
		t.Errorf("of two organizations (-want +got):\n%s", diff)
	}
	s.ends("of c3", "delivered")
	s.ends("of c4", "delivered")
	// What is queued again goes behind what is there, and a channel that is held has to wait.
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(
			tx.RequeueDelivery(
				t.Context(),
				readmodels.RequeueDeliveryParams{ID: "d0", DueAt: readmodels.Micros(noon), Place: s.next()},
			),
			tx.HoldChannel(
				t.Context(),
				readmodels.HoldChannelParams{ID: "c1", HeldUntil: readmodels.Micros(noon.Add(90 * time.Minute))},
			),
		)
	})
	for _, c := range []struct{ got, want []string }{
		{due(time.Hour, "c1", 9), []string{"1 d1", "1 d3", "1 d0"}},
		{channels(89*time.Minute, 9), []string{}},
		{channels(90*time.Minute, 9), []string{"c1"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("what is due (-want +got):\n%s", diff)
		}
	}
	waits := must[readmodels.List[readmodels.Delivery]](
		t,
	)(
		s.db.Deliveries(t.Context(), acme, readmodels.DeliveryFilter{ChannelID: "c1"}, all),
	).Items
	for _, d := range waits {
		if held := d.DueAt.Equal(noon.Add(90 * time.Minute)); held != (d.Status != "delivered") {
			t.Errorf("%s is %s and due at %v", d.ID, d.Status, d.DueAt)
		}
	}
}

func testEndings(t *testing.T, s *shelf) {
	day := 24 * time.Hour
	s.agent(acme, "a1", "One")
	s.agent(globex, "b1", "Theirs")
	for i, id := range []string{"t1", "t2", "t3", "t4"} {
		s.tool(acme, id, id)
		s.rotated(id, noon.Add(time.Duration(i)*day)) // the first has expired
	}
	s.remove("t3")
	s.tool(globex, "u1", "Theirs")
	s.grant(acme, "a1", "t1", "approved", noon.Add(2*day))
	s.grant(acme, "a1", "t2", "approved", time.Time{})
	s.grant(acme, "a1", "t3", "approved", noon.Add(day)) // of a removed tool
	s.grant(acme, "a1", "t4", "denied", noon.Add(day))
	s.grant(globex, "b1", "u1", "approved", noon.Add(day))
	for tool, ends := range map[string]time.Time{
		"t1": noon.Add(4 * day), "t2": noon.Add(day / 2), "t4": noon.Add(day),
	} {
		s.write(func(tx *readmodels.Tx) error {
			return tx.ReplaceGrantCredential(
				t.Context(),
				readmodels.ReplaceGrantCredentialParams{
					AgentID: "a1", ToolID: tool, CredentialExpiresAt: readmodels.Micros(ends),
				},
			)
		})
	}
	told := func(found []readmodels.Ending, err error) []string {
		return names(must[[]readmodels.Ending](t)(found, err), func(e readmodels.Ending) string {
			return fmt.Sprintf(
				"%s %s/%s %v", e.Organization[len(e.Organization)-1:], e.AgentID, e.ToolID, e.At.Sub(noon),
			)
		})
	}
	look := readmodels.Endings{Now: noon, Until: noon.Add(7 * day), Limit: 9}
	for _, c := range []struct {
		name      string
		got, want []string
	}{
		{"grants", told(s.db.EndingGrants(t.Context(), look)), []string{"2 b1/u1 24h0m0s", "1 a1/t1 48h0m0s"}},
		{
			"the second page",
			told(
				s.db.EndingGrants(
					t.Context(), readmodels.Endings{Now: noon, Until: noon.Add(7 * day), Limit: 1, Skip: 1},
				),
			),
			[]string{"1 a1/t1 48h0m0s"},
		},
		{
			"grants of a day",
			told(s.db.EndingGrants(t.Context(), readmodels.Endings{Now: noon, Until: noon.Add(day), Limit: 9})),
			[]string{"2 b1/u1 24h0m0s"},
		},
		{
			"grants of later",
			told(
				s.db.EndingGrants(
					t.Context(), readmodels.Endings{Now: noon.Add(day), Until: noon.Add(7 * day), Limit: 9},
				),
			),
			[]string{"1 a1/t1 48h0m0s"},
		},
		{
			"credentials", told(s.db.EndingCredentials(t.Context(), look)),
			[]string{"1 a1/t2 12h0m0s", "1 /t2 24h0m0s", "1 /t4 72h0m0s", "1 a1/t1 96h0m0s"},
		},
		{
			"credentials of access that lasts",
			told(
				s.db.EndingCredentials(
					t.Context(), readmodels.Endings{Now: noon.Add(2 * day), Until: noon.Add(7 * day), Limit: 9},
				),
			),
			[]string{"1 /t4 72h0m0s"},
		},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	s.write(func(tx *readmodels.Tx) error {
		return tx.AssignGrant(
			t.Context(),
			readmodels.AssignGrantParams{AgentID: "a1", ToolID: "t2", OrganizationID: acme, Position: s.next()},
		)
	})
	if got := told(
		s.db.EndingCredentials(t.Context(), readmodels.Endings{Now: noon, Until: noon.Add(day / 2), Limit: 9}),
	); len(got) != 0 {
		t.Errorf("of access that was given again: %v", got)
	}
}

func (s *shelf) rotated(toolID string, expires time.Time) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		return tx.RotateToolCredential(
			s.t.Context(),
			readmodels.RotateToolCredentialParams{
				ID: toolID, CredentialVersion: 2, CredentialExpiresAt: readmodels.Micros(expires),
				At: readmodels.Micros(noon),
			},
		)
	})
}
