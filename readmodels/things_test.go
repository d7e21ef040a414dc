package readmodels_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

func testAgents(t *testing.T, s *shelf) {
	s.agent(acme, "a1", "One")
	s.agent(acme, "a2", "Two")
	s.tool(acme, "t1", "GitHub")
	s.tool(acme, "t2", "Linear")
	s.grant(acme, "a1", "t1", "approved", time.Time{})
	s.grant(acme, "a1", "t2", "pending", time.Time{})
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(
			tx.EndKey(
				t.Context(),
				readmodels.EndKeyParams{AgentID: "a1", Number: 1, ExpiresAt: readmodels.Micros(noon.Add(time.Minute))},
			),
			tx.InsertKey(
				t.Context(),
				readmodels.InsertKeyParams{AgentID: "a1", Number: 2, ID: "newer", CreatedAt: readmodels.Micros(noon)},
			),
			tx.SeeAgent(
				t.Context(), readmodels.SeeAgentParams{ID: "a1", LastSeenAt: readmodels.Micros(noon.Add(time.Hour))},
			),
			tx.UseKey(
				t.Context(),
				readmodels.UseKeyParams{AgentID: "a1", Number: 2, LastUsedAt: readmodels.Micros(noon.Add(time.Hour))},
			),
			tx.TouchAgent(t.Context(), "a1"),
			tx.UpdateAgent(
				t.Context(), readmodels.UpdateAgentParams{ID: "a1", OwnerID: readmodels.Optional(new("p1"))},
			),
		)
	})
	one := readmodels.Agent{
		ID: "a1", Name: "One", Description: "d", OwnerID: "p1", Status: "active", CreatedAt: noon, CreatedBy: human,
		LastSeenAt: noon.Add(time.Hour),
		Keys: []readmodels.Key{
			{ID: "key of a1", Number: 1, CreatedAt: noon, ExpiresAt: noon.Add(time.Minute)},
			{ID: "newer", Number: 2, CreatedAt: noon, LastUsedAt: noon.Add(time.Hour)},
		},
		Approved: 1, Pending: 1, Revision: 3, Position: 1,
	}
	two := readmodels.Agent{
		ID: "a2", Name: "Two", Description: "d", Status: "active", CreatedAt: noon, CreatedBy: human,
		Keys: []readmodels.Key{{ID: "key of a2", Number: 1, CreatedAt: noon}}, Revision: 1, Position: 2,
	}
	list := must[readmodels.List[readmodels.Agent]](t)(
		s.db.Agents(t.Context(), acme, readmodels.AgentFilter{}, noon, all),
	)
	if diff := cmp.Diff(readmodels.List[readmodels.Agent]{Items: []readmodels.Agent{two, one}}, list); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(one, must[readmodels.Agent](t)(s.db.Agent(t.Context(), acme, "a1", noon))); diff != "" {
		t.Errorf("one (-want +got):\n%s", diff)
	}
	s.status("a2", "retired")
	two.Status, two.RetiredAt, two.Revision = "retired", noon, 2
	if diff := cmp.Diff(two, must[readmodels.Agent](t)(s.db.Agent(t.Context(), acme, "a2", noon))); diff != "" {
		t.Errorf("a retired one (-want +got):\n%s", diff)
	}
	if me, err := s.db.Me(t.Context(), acme, "a2", noon); !errors.Is(err, readmodels.ErrNotFound) {
		t.Errorf("a retired one itself: %+v %v", me, err)
	}
	for _, id := range []string{"a3", "", "' OR 1=1 --"} {
		if _, err := s.db.Agent(t.Context(), acme, id, noon); !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("agent %q: %v", id, err)
		}
	}
	if list := must[readmodels.List[readmodels.Agent]](t)(
		s.db.Agents(t.Context(), acme, readmodels.AgentFilter{}, noon, all),
	); len(list.Items) != 1 {
		t.Errorf("a retired agent is listed: %+v", list)
	}
}

func testAgentFilters(t *testing.T, s *shelf) {
	for i, name := range []string{
		"Build Bot", "BUILD  helper", "Straße", "ﬁnance", "100% of_it", `back\slash`, "o'hara", "日本語ボット",
	} {
		s.agent(acme, fmt.Sprint("a", i), name)
	}
	s.status("a1", "suspended")
	s.status("a4", "retired")
	for _, c := range []struct {
		filter readmodels.AgentFilter
		want   []string
	}{
		{readmodels.AgentFilter{Query: "build"}, []string{"BUILD  helper", "Build Bot"}},
		{readmodels.AgentFilter{Query: " Build b"}, []string{"Build Bot"}},
		{readmodels.AgentFilter{Query: "build   HELP"}, []string{"BUILD  helper"}},
		{readmodels.AgentFilter{Query: "STRASSE"}, []string{"Straße"}},
		{readmodels.AgentFilter{Query: "FIN"}, []string{"ﬁnance"}},
		{readmodels.AgentFilter{Query: "ボット"}, []string{"日本語ボット"}},
		{readmodels.AgentFilter{Query: "%"}, []string{}},
		{readmodels.AgentFilter{Query: "_"}, []string{}},
		{readmodels.AgentFilter{Query: `k\s`}, []string{`back\slash`}},
		{readmodels.AgentFilter{Query: "'"}, []string{"o'hara"}},
		{readmodels.AgentFilter{Query: "nobody"}, []string{}},
		{
			readmodels.AgentFilter{Query: "  "},
			[]string{"日本語ボット", "o'hara", `back\slash`, "ﬁnance", "Straße", "BUILD  helper", "Build Bot"},
		},
		{readmodels.AgentFilter{Status: "suspended"}, []string{"BUILD  helper"}},
		{readmodels.AgentFilter{Status: "active", Query: "build"}, []string{"Build Bot"}},
		{readmodels.AgentFilter{Status: "retired"}, []string{"100% of_it"}},
		{readmodels.AgentFilter{Status: "suspended,retired"}, []string{"100% of_it", "BUILD  helper"}},
		{readmodels.AgentFilter{Status: "asleep"}, []string{}},
	} {
		list := must[readmodels.List[readmodels.Agent]](t)(s.db.Agents(t.Context(), acme, c.filter, noon, all))
		if diff := cmp.Diff(c.want, names(list.Items, func(a readmodels.Agent) string { return a.Name })); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.filter, diff)
		}
	}
}

func testTools(t *testing.T, s *shelf) {
	s.tool(acme, "t1", "GitHub")
	s.tool(acme, "t2", "Linear")
	s.agent(acme, "a1", "One")
	s.agent(acme, "a2", "Two")
	s.grant(acme, "a1", "t1", "approved", noon.Add(time.Hour))
	s.grant(acme, "a2", "t1", "pending", time.Time{})
	s.write(func(tx *readmodels.Tx) error {
		at := readmodels.Micros(noon.Add(time.Hour))
		return errors.Join(
			tx.UpdateTool(
				t.Context(),
				readmodels.UpdateToolParams{
					ID: "t1", Description: readmodels.Optional(new("code")),
					MaxGrantSeconds: readmodels.OptionalInt(new(int64(60))), At: at,
				},
			),
			tx.RotateToolCredential(
				t.Context(),
				readmodels.RotateToolCredentialParams{
					ID: "t1", CredentialVersion: 2, CredentialExpiresAt: at,
					ByType: "human", ByID: "ann", At: at,
				},
			),
			tx.ReviseTool(
				t.Context(),
				readmodels.ReviseToolParams{ID: "t1", Instructions: "be kind", InstructionsVersion: 1, At: at},
			),
		)
	})
	github := readmodels.Tool{
		ID: "t1", Name: "GitHub", Description: "code", AuthType: "api_key", CredentialMode: "shared",
		CredentialVersion: 2, CredentialExpiresAt: noon.Add(time.Hour), CredentialSince: noon.Add(time.Hour),
		CredentialBy: human, Instructions: "be kind", InstructionsVersion: 1,
		MaxGrantSeconds: 60, Approved: 1, Pending: 1, CreatedAt: noon, UpdatedAt: noon.Add(time.Hour), Revision: 4,
		Position: 1,
	}
	linear := readmodels.Tool{
		ID: "t2", Name: "Linear", AuthType: "api_key", CredentialMode: "shared", CredentialVersion: 1, CreatedAt: noon,
		UpdatedAt: noon, Revision: 1, Position: 2,
	}
	for _, c := range []struct {
		q    string
		want []readmodels.Tool
	}{
		{"", []readmodels.Tool{linear, github}},
		{"HUB", []readmodels.Tool{github}},
		{"jira", []readmodels.Tool{}},
	} {
		if diff := cmp.Diff(
			c.want,
			must[readmodels.List[readmodels.Tool]](t)(
				s.db.Tools(t.Context(), acme, readmodels.ToolFilter{Query: c.q}, noon, all),
			).Items,
		); diff != "" {
			t.Errorf("tools %q (-want +got):\n%s", c.q, diff)
		}
	}
	if diff := cmp.Diff(github, must[readmodels.Tool](t)(s.db.Tool(t.Context(), acme, "t1", noon))); diff != "" {
		t.Errorf("one (-want +got):\n%s", diff)
	}
	s.remove("t1")
	github.RemovedAt, github.Revision, github.Approved, github.Pending = noon, 5, 0, 0
	if diff := cmp.Diff(github, must[readmodels.Tool](t)(s.db.Tool(t.Context(), acme, "t1", noon))); diff != "" {
		t.Errorf("a removed one (-want +got):\n%s", diff)
	}
	for _, id := range []string{"t3", ""} {
		if _, err := s.db.Tool(t.Context(), acme, id, noon); !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("tool %q: %v", id, err)
		}
	}
	if diff := cmp.Diff(
		[]readmodels.Tool{linear},
		must[readmodels.List[readmodels.Tool]](t)(s.db.Tools(t.Context(), acme, readmodels.ToolFilter{}, noon, all)).Items,
	); diff != "" {
		t.Errorf("without the removed one (-want +got):\n%s", diff)
	}
}

func testInstructions(t *testing.T, s *shelf) {
	s.tool(acme, "t1", "GitHub")
	s.tool(acme, "t2", "Linear")
	for v := range int64(5) {
		s.guide(acme, "t1", v+1, fmt.Sprint("version ", v+1))
	}
	list := must[readmodels.List[readmodels.Instructions]](t)
	text := func(i readmodels.Instructions) string { return i.Text }
	first := list(s.db.Instructions(t.Context(), acme, "t1", readmodels.Page{Limit: 2}))
	s.guide(acme, "t1", 6, "version 6")
	second := list(s.db.Instructions(t.Context(), acme, "t1", readmodels.Page{Limit: 2, Before: first.Next}))
	last := list(s.db.Instructions(t.Context(), acme, "t1", readmodels.Page{Limit: 2, Before: second.Next}))
	got := [][]string{names(first.Items, text), names(second.Items, text), names(last.Items, text)}
	if diff := cmp.Diff(
		[][]string{{"version 5", "version 4"}, {"version 3", "version 2"}, {"version 1"}}, got,
	); diff != "" || last.Next != 0 {
		t.Errorf("pages, then %d (-want +got):\n%s", last.Next, diff)
	}
	want := readmodels.Instructions{Version: 3, Text: "version 3", CreatedAt: noon, CreatedBy: human}
	if diff := cmp.Diff(
		want, must[readmodels.Instructions](t)(s.db.InstructionsVersion(t.Context(), acme, "t1", 3)),
	); diff != "" {
		t.Errorf("one version (-want +got):\n%s", diff)
	}
	if got := list(s.db.Instructions(t.Context(), acme, "t2", all)); len(got.Items) != 0 {
		t.Errorf("a tool without any has %v", got)
	}
	for _, version := range []int{-1, 0, 7, 1 << 31, 1<<63 - 1} {
		if _, err := s.db.InstructionsVersion(
			t.Context(), acme, "t1", version,
		); !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	s.remove("t1")
	if _, err := s.db.Instructions(t.Context(), acme, "t1", all); !errors.Is(err, readmodels.ErrNotFound) {
		t.Errorf("of a removed tool: %v", err)
	}
	if _, err := s.db.InstructionsVersion(t.Context(), acme, "t1", 3); !errors.Is(err, readmodels.ErrNotFound) {
		t.Errorf("version 3 of a removed tool: %v", err)
	}
}
