package readmodels_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/readmodels"
)

// denied writes an agent's request that was denied, with the past of it.
func (s *shelf) denied(tx *readmodels.Tx, id, agentID, toolID string) error {
	ctx, asked, denied := s.t.Context(), s.next(), s.next()
	keep := func(since int64) error {
		return errors.Join(
			tx.ClosePastGrant(ctx, readmodels.ClosePastGrantParams{AgentID: agentID, ToolID: toolID, Since: since}),
			tx.KeepPastGrant(ctx, readmodels.KeepPastGrantParams{AgentID: agentID, ToolID: toolID, Since: since}),
		)
	}
	return errors.Join(
		tx.InsertRequest(ctx, readmodels.InsertRequestParams{
			ID: id, OrganizationID: acme, Position: asked, AgentID: agentID, ToolID: toolID, Reason: "why " + id,
			CreatedAt: readmodels.Micros(noon),
		}),
		tx.AskGrant(ctx, readmodels.AskGrantParams{
			AgentID: agentID, ToolID: toolID, OrganizationID: acme, Position: asked, RequestID: id, Origin: "request",
			Reason: "why " + id,
		}),
		keep(asked),
		tx.DenyGrant(ctx, readmodels.DenyGrantParams{
			AgentID: agentID, ToolID: toolID, DenialReason: "not " + id, DecidedAt: readmodels.Micros(noon.Add(time.Hour)),
			DecidedPosition: denied, DecidedByType: "human", DecidedByID: "ann",
		}),
		keep(denied),
	)
}

// testContexts looks at the first, the second and the last of many requests of one agent for one
// tool.
func testContexts(t *testing.T, s *shelf) {
	const many = 400
	s.access(20, 3)
	s.write(func(tx *readmodels.Tx) (err error) {
		for i := range many {
			err = errors.Join(err, s.denied(tx, fmt.Sprint("r", i), "a1", "t1"))
		}
		return err
	})
	if err := s.db.Analyze(t.Context()); err != nil {
		t.Fatal(err)
	}
	var asked []readmodels.Request
	for _, id := range []string{"r0", "r1", fmt.Sprint("r", many-1), "unknown"} {
		asked = append(asked, readmodels.Request{ID: id, AgentID: "a1", ToolID: "t1"})
	}
	var found map[string]readmodels.RequestContext
	if err := s.db.Instant(t.Context(), func(db *readmodels.DB) (err error) {
		found, err = db.Contexts(t.Context(), acme, asked, noon)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	first := found["r0"]
	if first.Agent.Name != "a1" || first.Agent.Approved != 2 || first.Tool.Name != "t1" || first.Tool.Approved != 19 {
		t.Errorf("it is %+v", first)
	}
	agent := domain.Actor{Type: domain.ActorAgent, ID: "a1"}
	want := []readmodels.Past{
		{Status: "denied", At: noon.Add(time.Hour), By: human, RequestID: "r0", Reason: "why r0", DenialReason: "not r0"},
		{Status: "pending", At: noon, By: agent, RequestID: "r0", Reason: "why r0"},
	}
	if diff := cmp.Diff(want, found["r1"].History[:2]); diff != "" || len(found["r1"].History) != 4 || found["r1"].More {
		t.Errorf("before the second: %s %+v", diff, found["r1"])
	}
	last := found[asked[2].ID]
	if len(last.History) != 10 || !last.More || last.History[0].RequestID != fmt.Sprint("r", many-2) {
		t.Errorf("before the last: %+v", last.History)
	}
	if len(found) != 3 {
		t.Errorf("contexts of %d", len(found))
	}
	if elsewhere := must[map[string]readmodels.RequestContext](t)(
		s.db.Contexts(t.Context(), globex, asked, noon),
	); len(elsewhere) != 0 {
		t.Errorf("another organization gets %v", elsewhere)
	}
	// It reads no other agent's and no other tool's.
	plan := must[string](t)(s.db.ExplainBefore(t.Context(), acme, []string{asked[2].ID}))
	checkPlan(t, "what was before a request", plan, "past_grants", "sqlite_autoindex_past_grants_1", 2*many+40, true)
}
