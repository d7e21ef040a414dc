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

func testDecisions(t *testing.T, s *shelf) {
	s.agent(acme, "a1", "One") // that ann registered
	s.tool(acme, "t1", "GitHub")
	s.grant(acme, "a1", "t1", "approved", time.Time{})
	bob := domain.Actor{Type: domain.ActorHuman, ID: "bob"}
	reaction := domain.Actor{Type: domain.ActorSystem, ID: "accept"}
	for i, e := range []readmodels.AuditEntry{
		{Action: "grant.approved", Actor: human, Data: json.RawMessage(`{"request_id":"a1 t1"}`)},
		{Action: "grant.revoked", Actor: human, Data: json.RawMessage(`{"request_id":"a1 t1"}`)},
		{Action: "grant.denied", Actor: bob, Data: json.RawMessage(`{"request_id":"a1 t1","reason":"no"}`)},
		{Action: "credential.vended", Actor: bob},
		{
			Action: "grant.assigned", Actor: reaction, OnBehalfOf: human,
			Data: json.RawMessage(`{"suggestion_id":"g","reason":"to plan"}`),
		},
		{Action: "grant.approved", Actor: bob, Organization: globex, Data: json.RawMessage(`{"request_id":"a1 t1"}`)},
	} {
		e.ID, e.AgentID, e.ToolID, e.OccurredAt = fmt.Sprint("e", i), "a1", "t1", noon.Add(time.Duration(i)*time.Minute)
		s.audit(e)
	}
	told := func(d readmodels.Decision) string {
		return fmt.Sprint(
			d.ID, " ", d.AgentName, " ", d.By.ID, " ", d.RequestID, "|", d.SuggestionID, "|", d.Reason, "|", d.DenialReason, "|",
			d.RequestedAt.Equal(noon), " ", d.OwnRegistration,
		)
	}
	approved, denied := "e0 One ann a1 t1||why||true true", "e2 One bob a1 t1||why|no|true false"
	assigned := "e4 One ann |g|to plan||false true"
	for _, c := range []struct {
		organization string
		filter       readmodels.AuditFilter
		want         []string
	}{
		{acme, readmodels.AuditFilter{}, []string{assigned, denied, approved}},
		{acme, readmodels.AuditFilter{ActorID: "bob"}, []string{denied}},
		{acme, readmodels.AuditFilter{From: noon.Add(time.Minute), To: noon.Add(4 * time.Minute)}, []string{denied}},
		{acme, readmodels.AuditFilter{ToolID: "t2"}, nil},
		{globex, readmodels.AuditFilter{}, []string{"e5  bob a1 t1||||false false"}}, // knows neither agent nor request
	} {
		var got []string
		for p := (readmodels.Page{Limit: 1}); ; {
			list := must[readmodels.List[readmodels.Decision]](t)(s.db.Decisions(t.Context(), c.organization, c.filter, 0, p))
			got = append(got, names(list.Items, told)...)
			if p.Before = list.Next; p.Before == 0 {
				break
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %+v (-want +got):\n%s", c.organization, c.filter, diff)
		}
	}
}
