package readmodels_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/readmodels"
)

func auditNames(list readmodels.List[readmodels.AuditEntry]) []string {
	return names(list.Items, func(e readmodels.AuditEntry) string { return e.ID })
}

func testAudit(t *testing.T, s *shelf) {
	s.agent(acme, "a1", "One")
	s.tool(acme, "t1", "GitHub")
	entry := readmodels.AuditEntry{
		Organization: acme, ID: "e1", Position: 1 << 40, Stream: "agent-a1", Revision: 1 << 33,
		Action: "credential.vended", Actor: domain.Actor{Type: domain.ActorAgent, ID: "a1"},
		Target: readmodels.Target{Type: "tool", ID: "t1"}, AgentID: "a1", ToolID: "t1", RequestID: "call",
		OccurredAt: noon.Add(time.Microsecond), Data: json.RawMessage(`{"b": 1.50, "a":"\u0000é"}`),
		Private: "v1.sealed",
	}
	s.audit(entry)
	got := must[readmodels.List[readmodels.AuditEntry]](t)(s.db.Audit(t.Context(), acme, readmodels.AuditFilter{}, all))
	entry.Actor.Label, entry.AgentName, entry.Target.Label, entry.ToolName = "One", "One", "GitHub", "GitHub"
	if diff := cmp.Diff([]readmodels.AuditEntry{entry}, got.Items); diff != "" {
		t.Errorf("one entry (-want +got):\n%s", diff)
	}
	// What is gone keeps its name.
	s.status("a1", "retired")
	s.remove("t1")
	s.audit(
		readmodels.AuditEntry{
			ID: "e2", Position: 1<<40 + 1, Actor: human, Target: readmodels.Target{Type: "agent", ID: "a1"},
		},
		readmodels.AuditEntry{ID: "e3", Position: 1<<40 + 2, Target: readmodels.Target{Type: "service_token", ID: "t1"}},
	)
	got = must[readmodels.List[readmodels.AuditEntry]](t)(s.db.Audit(t.Context(), acme, readmodels.AuditFilter{}, all))
	label := func(e readmodels.AuditEntry) string { return e.ID + " " + e.Actor.Label + " " + e.Target.Label }
	if diff := cmp.Diff([]string{"e3  ", "e2  One", "e1 One GitHub"}, names(got.Items, label)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	// As many as a rebuild writes at once, and some more.
	many := make([]readmodels.AuditEntry, 100)
	for i := range many {
		many[i] = readmodels.AuditEntry{ID: fmt.Sprint("m", i), Position: 1<<41 + uint64(i), Action: "many"}
	}
	s.audit(many...)
	got = must[readmodels.List[readmodels.AuditEntry]](t)(
		s.db.Audit(t.Context(), acme, readmodels.AuditFilter{Actions: []string{"many"}}, readmodels.Page{Limit: 200}),
	)
	for i, e := range got.Items {
		if e.ID != fmt.Sprint("m", 99-i) {
			t.Fatalf("entry %d is %s", i, e.ID)
		}
	}
	if len(got.Items) != 100 {
		t.Errorf("%d of 100", len(got.Items))
	}
	// An export is read the other way round, between two positions.
	only := readmodels.AuditFilter{Actions: []string{"many"}}
	extent := must[readmodels.Extent](t)(s.db.AuditExtent(t.Context(), acme, only, 1<<41, 0))
	if want := (readmodels.Extent{Entries: 99, First: 1<<41 + 1, Last: 1<<41 + 99}); extent != want {
		t.Errorf("the extent is %+v, want %+v", extent, want)
	}
	part := must[[]readmodels.AuditEntry](t)(s.db.AuditAfter(t.Context(), acme, only, 1<<41+4, 1<<41+7, 10, true))
	if got := names(part, func(e readmodels.AuditEntry) string { return e.ID }); !cmp.Equal(
		got, []string{"m5", "m6", "m7"},
	) {
		t.Errorf("the part is %v", got)
	}
	empty := must[readmodels.Extent](t)(s.db.AuditExtent(t.Context(), acme, only, 1<<41+99, 0))
	if empty != (readmodels.Extent{}) {
		t.Errorf("after the newest there are %+v", empty)
	}
}

// testLabels has one of everything that has a name in two organizations.
func testLabels(t *testing.T, s *shelf) {
	for _, org := range []string{acme, globex} {
		s.agent(org, "agent "+org, "bot of "+org)
		s.tool(org, "tool "+org, "GitHub of "+org)
		s.write(func(tx *readmodels.Tx) error {
			ctx := t.Context()
			return errors.Join(
				tx.InsertOrganization(ctx, readmodels.InsertOrganizationParams{ID: org, Name: "all of " + org}),
				tx.InsertSuggestion(
					ctx, readmodels.InsertSuggestionParams{ID: "wish " + org, OrganizationID: org, Name: "Linear of " + org},
				),
				tx.InsertNote(ctx, readmodels.InsertNoteParams{
					ID: "note " + org, OrganizationID: org, Position: s.next(), ToolID: "tool " + org,
					Learned: strings.Repeat("é", 119) + org + "\nand more",
				}),
				tx.InsertRule(ctx, readmodels.InsertRuleParams{
					ID: "rule " + org, OrganizationID: org, Name: "Git for a day of " + org,
				}),
				tx.InsertChannel(ctx, readmodels.InsertChannelParams{
					ID: "channel " + org, OrganizationID: org, Position: s.next(), Name: "#ops of " + org,
				}),
				tx.RemoveChannel(ctx, readmodels.RemoveChannelParams{ID: "channel " + org, RemovedAt: 1}),
				tx.InsertDelivery(ctx, readmodels.InsertDeliveryParams{
					ID: "delivery " + org, OrganizationID: org, Position: s.next(), ChannelID: "channel " + org,
					Topic: "access_requested", AgentID: "agent " + org, ToolID: "tool " + org,
				}),
			)
		})
	}
	kinds := []struct{ kind, id, label string }{
		{"agent", "agent ", "bot of "},
		{"tool", "tool ", "GitHub of "},
		{"suggestion", "wish ", "Linear of "},
		{"notification_channel", "channel ", "#ops of "},
		{"rule", "rule ", "Git for a day of "},
		{"organization", "", "all of "},
	}
	want := map[readmodels.Target]string{
		{Type: "instruction_suggestion", ID: "note " + acme}:   strings.Repeat("é", 119) + "…",
		{Type: "installation", ID: "store"}:                    "Installation",
		{Type: "event_log"}:                                    "Event log",
		{Type: "catalog", ID: "c"}:                             "Catalog",
		{Type: "master_key", ID: "m1"}:                         "Master key m1",
		{Type: "signing_key", ID: "k1"}:                        "Signing key k1",
		{Type: "person", ID: "p1"}:                             "Person",
		{Type: "service_token", ID: "t1"}:                      "", // opened for those who may see it
		{Type: "rule", ID: "r1"}:                               "",
		{Type: "agent", ID: "tool " + acme}:                    "",
		{Type: "instruction_suggestion", ID: "note " + globex}: "", {Type: "delivery", ID: "delivery " + globex}: "",
	}
	sent := readmodels.Target{Type: "delivery", ID: "delivery " + acme}
	want[sent] = fmt.Sprintf("#ops of %s: access requested, bot of %[1]s, GitHub of %[1]s", acme)
	for _, k := range kinds {
		want[readmodels.Target{Type: k.kind, ID: k.id + acme}] = k.label + acme
		want[readmodels.Target{Type: k.kind, ID: k.id + globex}] = "" // theirs
	}
	for target := range want {
		s.audit(readmodels.AuditEntry{ID: target.Type + target.ID, Target: target})
	}
	s.audit(
		readmodels.AuditEntry{ID: "ours", AgentID: "agent " + acme, ToolID: "tool " + acme, Actor: domain.Actor{
			Type: domain.ActorService, ID: "token " + acme,
		}},
		readmodels.AuditEntry{ID: "theirs", AgentID: "agent " + globex, ToolID: "tool " + globex, Actor: domain.Actor{
			Type: domain.ActorAgent, ID: "agent " + globex,
		}},
	)
	got := map[readmodels.Target]string{}
	for _, e := range must[readmodels.List[readmodels.AuditEntry]](t)(
		s.db.Audit(t.Context(), acme, readmodels.AuditFilter{}, readmodels.Page{Limit: 200}),
	).Items {
		if e.Target.Type != "" {
			got[readmodels.Target{Type: e.Target.Type, ID: e.Target.ID}] = e.Target.Label
			continue
		}
		names := [...]string{"bot of " + acme, "GitHub of " + acme, ""}
		if e.ID == "theirs" {
			names = [...]string{"", "", ""}
		}
		if diff := cmp.Diff(names, [...]string{e.AgentName, e.ToolName, e.Actor.Label}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", e.ID, diff)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

func testAuditFilters(t *testing.T, s *shelf) {
	for i, e := range []readmodels.AuditEntry{
		{Action: "agent.registered", Actor: human, AgentID: "a1"},
		{
			Action: "grant.requested", Actor: domain.Actor{Type: domain.ActorAgent, ID: "a1"}, AgentID: "a1",
			ToolID: "t1",
		},
		{
			Action: "grant.requested", Actor: domain.Actor{Type: domain.ActorAgent, ID: "a2"}, AgentID: "a2",
			ToolID: "t1",
		},
		{Action: "tool.added", Actor: human, ToolID: "t2"},
		{Action: "installation.begun", Actor: domain.Actor{Type: domain.ActorSystem, ID: "agentkey"}},
	} {
		e.ID, e.OccurredAt = fmt.Sprint("e", i), noon.Add(time.Duration(i)*time.Minute)
		s.audit(e)
	}
	for _, c := range []struct {
		filter readmodels.AuditFilter
		want   []string
	}{
		{readmodels.AuditFilter{}, []string{"e4", "e3", "e2", "e1", "e0"}},
		{readmodels.AuditFilter{ActorType: "agent"}, []string{"e2", "e1"}},
		{readmodels.AuditFilter{ActorID: "ann"}, []string{"e3", "e0"}},
		{readmodels.AuditFilter{ActorType: "agent", ActorID: "a2"}, []string{"e2"}},
		{readmodels.AuditFilter{AgentID: "a1"}, []string{"e1", "e0"}},
		{readmodels.AuditFilter{ToolID: "t1"}, []string{"e2", "e1"}},
		{readmodels.AuditFilter{AgentID: "a1", ToolID: "t1"}, []string{"e1"}},
		{readmodels.AuditFilter{Actions: []string{"grant.requested"}}, []string{"e2", "e1"}},
		{readmodels.AuditFilter{Actions: []string{"grant.requested"}, ActorType: "human"}, []string{}},
		{readmodels.AuditFilter{From: noon.Add(2 * time.Minute)}, []string{"e4", "e3", "e2"}},
		{readmodels.AuditFilter{To: noon.Add(2 * time.Minute)}, []string{"e1", "e0"}},
		{readmodels.AuditFilter{From: noon.Add(time.Minute), To: noon.Add(3 * time.Minute)}, []string{"e2", "e1"}},
		{readmodels.AuditFilter{From: noon, To: noon}, []string{}},
	} {
		list := must[readmodels.List[readmodels.AuditEntry]](t)(s.db.Audit(t.Context(), acme, c.filter, all))
		if diff := cmp.Diff(c.want, auditNames(list)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.filter, diff)
		}
	}
}
