package readmodels_test

import (
	"encoding/json"
	"fmt"
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
	entry.Actor.Label, entry.Target.Label = "One", "GitHub"
	if diff := cmp.Diff([]readmodels.AuditEntry{entry}, got.Items); diff != "" {
		t.Errorf("one entry (-want +got):\n%s", diff)
	}
	// Names are those of now, also of what is gone.
	s.write(func(tx *readmodels.Tx) error {
		return tx.UpdateAgent(
			t.Context(), readmodels.UpdateAgentParams{ID: "a1", Name: readmodels.Optional(new("Uno"))},
		)
	})
	s.status("a1", "retired")
	s.remove("t1")
	s.audit(
		readmodels.AuditEntry{
			ID: "e2", Position: 1<<40 + 1, Actor: human, Target: readmodels.Target{Type: "agent", ID: "a1"},
		},
		readmodels.AuditEntry{ID: "e3", Position: 1<<40 + 2, Target: readmodels.Target{Type: "organization", ID: "t1"}},
	)
	got = must[readmodels.List[readmodels.AuditEntry]](t)(s.db.Audit(t.Context(), acme, readmodels.AuditFilter{}, all))
	label := func(e readmodels.AuditEntry) string { return e.ID + " " + e.Actor.Label + " " + e.Target.Label }
	if diff := cmp.Diff([]string{"e3  ", "e2  Uno", "e1 Uno GitHub"}, names(got.Items, label)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	// As many as a rebuild writes at once, and some more.
	many := make([]readmodels.AuditEntry, 100)
	for i := range many {
		many[i] = readmodels.AuditEntry{ID: fmt.Sprint("m", i), Position: 1<<41 + uint64(i), Action: "many"}
	}
	s.audit(many...)
	got = must[readmodels.List[readmodels.AuditEntry]](t)(
		s.db.Audit(t.Context(), acme, readmodels.AuditFilter{Action: "many"}, readmodels.Page{Limit: 200}),
	)
	for i, e := range got.Items {
		if e.ID != fmt.Sprint("m", 99-i) {
			t.Fatalf("entry %d is %s", i, e.ID)
		}
	}
	if len(got.Items) != 100 {
		t.Errorf("%d of 100", len(got.Items))
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
		{readmodels.AuditFilter{Action: "grant.requested"}, []string{"e2", "e1"}},
		{readmodels.AuditFilter{Action: "grant.requested", ActorType: "human"}, []string{}},
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
