package readmodels_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"agentkey/readmodels"
)

// access lets every agent ask for every tool, and has it approved at once, with the past of it all.
// It returns a moment when half of the agents were there.
func (s *shelf) access(agents, tools int) (middle readmodels.Moment) {
	s.t.Helper()
	ctx := s.t.Context()
	for j := range tools {
		s.tool(acme, fmt.Sprint("t", j), fmt.Sprint("t", j))
		s.write(func(tx *readmodels.Tx) error {
			return tx.KeepPastTool(ctx, readmodels.KeepPastToolParams{ID: fmt.Sprint("t", j), Since: s.position})
		})
	}
	for i := range agents {
		if i == agents/2 {
			middle.Position = uint64(s.position)
		}
		id := fmt.Sprint("a", i)
		s.agent(acme, id, id)
		s.write(func(tx *readmodels.Tx) error {
			err := tx.KeepPastAgent(ctx, readmodels.KeepPastAgentParams{ID: id, Since: s.position})
			for j := range tools {
				err = errors.Join(err, s.given(tx, id, fmt.Sprint("t", j)))
			}
			return err
		})
	}
	if err := s.db.Analyze(ctx); err != nil {
		s.t.Fatal(err)
	}
	return middle
}

// given writes what an agent's request does that is approved, with the past of it.
func (s *shelf) given(tx *readmodels.Tx, agentID, toolID string) error {
	ctx, request, asked, approved := s.t.Context(), agentID+" "+toolID, s.next(), s.next()
	keep := func(since int64) error {
		return errors.Join(
			tx.ClosePastGrant(ctx, readmodels.ClosePastGrantParams{AgentID: agentID, ToolID: toolID, Since: since}),
			tx.KeepPastGrant(ctx, readmodels.KeepPastGrantParams{AgentID: agentID, ToolID: toolID, Since: since}),
			tx.ClosePastRequest(ctx, readmodels.ClosePastRequestParams{ID: request, Since: since}),
			tx.KeepPastRequest(ctx, readmodels.KeepPastRequestParams{ID: request, Since: since}),
		)
	}
	return errors.Join(
		tx.InsertRequest(ctx, readmodels.InsertRequestParams{
			ID: request, OrganizationID: acme, Position: asked, AgentID: agentID, ToolID: toolID,
		}),
		tx.AskGrant(ctx, readmodels.AskGrantParams{
			AgentID: agentID, ToolID: toolID, OrganizationID: acme, Position: asked, RequestID: request, Origin: "request",
		}),
		keep(asked),
		tx.DecideRequest(ctx, readmodels.DecideRequestParams{ID: request, Status: "approved", DecidedPosition: approved}),
		tx.ApproveGrant(
			ctx, readmodels.ApproveGrantParams{AgentID: agentID, ToolID: toolID, DecidedPosition: approved},
		),
		keep(approved),
	)
}

// testListPlans has pages of grants and requests explained, of now and of the past. SQLite goes
// along the index of what is asked for, and sorts at most the grants of one agent. Postgres says
// how many rows it read: an agent's and a tool's are a few times as many as a page, and all others
// are many more.
func testListPlans(t *testing.T, s *shelf) {
	const agents, tools, most = 50, 12, 40
	middle := s.access(agents, tools)
	for _, m := range []readmodels.Moment{{}, middle} {
		for _, f := range []readmodels.GrantFilter{
			{},
			{Status: "approved"},
			{AgentID: "a7"},
			{ToolID: "t3"},
			{AgentID: "a7", ToolID: "t3"},
			{Status: "approved", AgentID: "a7"},
			{Status: "approved", ToolID: "t3"},
			{Status: "denied"},
			{Status: "approved", AgentID: "a7", ToolID: "t3"},
		} {
			for _, p := range []readmodels.Page{{Limit: 5}, {Limit: 5, Before: uint64(s.position) / 3}} {
				about := fmt.Sprintf("of %+v at %d before %d", f, m.Position, p.Before)
				index := "newest"
				switch {
				case f.AgentID != "":
					index = "by_agent (agent_id=?"
				case f.ToolID != "":
					index = "by_tool (tool_id=?"
				case f.Status != "":
					index = "by_status (organization_id=? AND status=?"
				}
				db := s.db.At(m)
				plan := must[string](t)(db.ExplainRequests(t.Context(), acme, readmodels.RequestFilter{
					Status: f.Status, AgentID: f.AgentID, ToolID: f.ToolID,
				}, p))
				checkPlan(t, "requests "+about, plan, "requests", "requests_"+index, most, false)
				plan = must[string](t)(db.ExplainGrants(t.Context(), acme, f, p))
				sorted := f.AgentID != ""
				if sorted {
					index = "1 (agent_id=?"
				}
				checkPlan(t, "grants "+about, plan, "grants", "grants_"+index, most, sorted)
			}
		}
	}
}

// testTaggedPlans has pages of agents with labels explained, of now and of the past. What everybody
// has is found among the first rows, in the order of the list; what nobody has takes one look at
// each row of the organization, and none at those of others.
func testTaggedPlans(t *testing.T, s *shelf) {
	const agents, most = 2000, 80
	ctx := t.Context()
	s.write(func(tx *readmodels.Tx) (err error) {
		for i := range agents {
			id, organization := fmt.Sprint("a", i), acme
			if i%2 == 1 {
				organization = "globex"
			}
			err = errors.Join(err, tx.InsertAgent(ctx, readmodels.InsertAgentParams{
				ID: id, OrganizationID: organization, Position: s.next(), Name: id, NameFolded: id, Labels: `{"team":"x"}`,
			}), tx.KeepPastAgent(ctx, readmodels.KeepPastAgentParams{ID: id, Since: s.position}))
		}
		return err
	})
	if err := s.db.Analyze(ctx); err != nil {
		t.Fatal(err)
	}
	for tag, rows := range map[string]float64{"team": most, "team:x": most, "team:y": agents/2 + most} {
		for _, m := range []readmodels.Moment{{}, {Position: uint64(s.position) - 10}} {
			f := readmodels.AgentFilter{Tags: []string{tag}}
			plan := must[string](t)(s.db.At(m).ExplainAgents(ctx, acme, f, readmodels.Page{Limit: 5}))
			checkPlan(t, fmt.Sprint(tag, " at ", m.Position), plan, "agents", "agents_newest (organization_id=?", rows, true)
		}
	}
}

func checkPlan(t *testing.T, about, plan, table, index string, most float64, sorted bool) {
	t.Helper()
	if !strings.HasPrefix(plan, "[") {
		if !strings.Contains(plan, index) || !sorted && strings.Contains(plan, "USE TEMP B-TREE") {
			t.Errorf("%s:\n%s", about, plan)
		}
		return
	}
	var explained []struct{ Plan planned }
	if err := json.Unmarshal([]byte(plan), &explained); err != nil {
		t.Fatal(err)
	}
	for _, n := range append(explained[0].Plan.reads(table), explained[0].Plan.reads("past_"+table)...) {
		if n.Rows+n.Removed > most || n.Type == "Seq Scan" {
			t.Errorf("%s reads %.0f rows and drops %.0f: %+v", about, n.Rows, n.Removed, n)
		}
	}
}
