package projections_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/agent"
	"agentkey/eventstore/eventstoretest"
	"agentkey/readmodels"
)

// While the tables are refilled, events keep coming and each reader sees a whole model: nothing
// that it saw before is ever gone again.
func TestRebuildingUnderTrafficEqualsLive(t *testing.T) {
	test := func(t *testing.T, w *world) {
		agents, tools := w.story()
		before := w.model
		traffic, quiet := context.WithCancel(t.Context())
		defer quiet()
		var writers, askers sync.WaitGroup
		var fetched sync.Map
		for i, id := range agents {
			writers.Go(func() {
				for n := 1; traffic.Err() == nil; n++ {
					vend := vendOf(tools[1], 2)
					position, err := w.append(
						"agent-"+id, self(id), vend, agent.Updated{Name: new(fmt.Sprintf("agent %d.%d", i, n))}, vend,
					)
					if err == nil {
						err = w.model.WaitFor(t.Context(), position)
					}
					if err != nil {
						t.Error(err)
						return
					}
					fetched.Store(id, 2*n)
				}
			})
		}
		for range 4 {
			askers.Go(func() { askOn(traffic, t, w, agents[0], tools[1]) })
		}
		for range eventstoretest.Rounds(5) {
			if err := w.model.Rebuild(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.reached(w.head())
		}
		quiet()
		writers.Wait()
		askers.Wait()
		w.reached(w.head())
		live := w.dump()
		for _, id := range agents {
			n, _ := fetched.Load(id)
			if got := live["grants "+id+"/"+tools[1]]["fetch_count"]; got != fmt.Sprint(n) {
				t.Errorf("%s fetched %s times, not %v", id, got, n)
			}
		}
		if diff := cmp.Diff(w.afresh().rows(), live.rows()); diff != "" {
			t.Errorf("the tables (-afresh +live):\n%s", diff)
		}
		if w.model != before {
			t.Error("another projection runs")
		}
		if failures := w.said.of("projection stopped"); len(failures) > 0 {
			t.Errorf("the projection failed: %v", failures)
		}
	}
	everywhere(t, test)
	t.Run("through a pooler", func(t *testing.T) { test(t, newWorld(t, pooled)) })
}

// askOn asks for everything again and again, and compares with what it saw before.
func askOn(ctx context.Context, t *testing.T, w *world, agentID, toolID string) {
	var newest uint64
	var fetches int64
	revision, asked := 0, 0
	for ; ctx.Err() == nil; asked++ {
		a, err := w.db.Agents(t.Context(), org, readmodels.AgentFilter{}, start, readmodels.Page{Limit: 50})
		if err != nil || len(a.Items) != 3 {
			t.Errorf("%d agents: %v", len(a.Items), err)
			return
		}
		if r := a.Items[2].Revision; r < revision {
			t.Errorf("the agent went from revision %d to %d", revision, r)
		} else {
			revision = r
		}
		me, err := w.db.Me(t.Context(), org, agentID, start)
		if err != nil || len(me.ToolsApproved) != 1 || len(me.ToolsPending) != 1 || me.ToolsAvailable != 2 {
			t.Errorf("me: %+v %v", me, err)
		}
		g, err := w.db.Grant(t.Context(), org, agentID, toolID, start)
		if err != nil || g.FetchCount < fetches {
			t.Errorf("%d fetches, then %d: %v", fetches, g.FetchCount, err)
		}
		fetches = g.FetchCount
		e, err := w.db.Audit(t.Context(), org, readmodels.AuditFilter{}, readmodels.Page{Limit: 1})
		if err != nil || len(e.Items) != 1 || e.Items[0].Position < newest {
			t.Errorf("the newest audited event was at %d, is %+v: %v", newest, e.Items, err)
			return
		}
		newest = e.Items[0].Position
	}
	if asked == 0 {
		t.Error("nobody asked")
	}
}

func TestARebuildThatFailsLeavesTheLiveTables(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		agents, tools := w.story()
		before := w.dump()

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.model.Rebuild(ctx); err == nil {
			t.Error("a rebuild that was cancelled has no error")
		}
		if diff := cmp.Diff(before.rows(), w.dump().rows()); diff != "" {
			t.Errorf("after a rebuild that was cancelled (-before +after):\n%s", diff)
		}

		w.stop()
		w.raw("agent-x", poison)
		err := w.model.Rebuild(t.Context())
		if err == nil || !strings.Contains(err.Error(), "agent-x@0") {
			t.Errorf("a rebuild over an event that can't be applied: %v", err)
		}
		if diff := cmp.Diff(before.rows(), w.dump().rows()); diff != "" {
			t.Errorf("after a rebuild that failed (-before +after):\n%s", diff)
		}
		if o, err := w.db.CatalogTool(t.Context(), org, agents[0], tools[0], start); err != nil ||
			o.Access != "approved" {
			t.Errorf("the live tables answer %+v: %v", o, err)
		}
	})
}

// Without a projection that runs, as a command of the operator does it.
func TestRebuildingWhileNothingRuns(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		agents, tools := w.story()
		w.stop()
		w.happened("agent-"+agents[0], self(agents[0]), vendOf(tools[0], 2))
		w.sql("UPDATE grants SET fetch_count = 77")
		model := w.newModel(w.db)
		if err := model.Rebuild(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w.afresh().rows(), w.dump().rows()); diff != "" {
			t.Errorf("the tables (-afresh +rebuilt):\n%s", diff)
		}
		if s := model.Status(t.Context()); s.Distance != 0 {
			t.Errorf("rebuilt: %+v", s)
		}
	})
}
