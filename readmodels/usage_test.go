package readmodels_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

// use is some fetches of one tool by one agent; refused ones have a negative count.
type use struct {
	agentID, toolID string
	at              time.Time
	count           int64
}

// testUsage draws fetches over a hundred days and compares each answer with a sum over all of them.
func testUsage(t *testing.T, s *shelf) {
	draw := rand.New(rand.NewPCG(1, 2))
	agents, tools := []string{}, []string{"", "made up"}
	for i := range 25 {
		agents = append(agents, fmt.Sprintf("a%02d", i))
		s.agent(acme, agents[i], "Agent "+agents[i])
	}
	for i := range 4 {
		tools = append(tools, fmt.Sprint("t", i))
		s.tool(acme, fmt.Sprint("t", i), fmt.Sprint("Tool t", i))
	}
	s.agent(globex, "b", "Other")
	s.tool(globex, "u", "Other")
	counts, uses := readmodels.FetchCounts{}, []use{}
	for range 3000 {
		u := use{
			agents[draw.IntN(draw.IntN(len(agents))+1)], tools[1+draw.IntN(len(tools)-1)],
			noon.Add(time.Duration(draw.IntN(100*24*60)) * time.Minute), 1,
		}
		if u.toolID == "made up" || draw.IntN(10) == 0 {
			u.count = -int64(draw.IntN(9)) - 1
			counts.Refused(acme, u.agentID, u.toolID, u.at, int(-u.count))
		} else {
			counts.Vended(acme, u.agentID, u.toolID, u.at)
		}
		uses = append(uses, u)
	}
	counts.Vended(globex, "b", "u", noon)
	counts.Refused(globex, "b", "t1", noon, 1) // a tool that isn't theirs
	s.write(func(tx *readmodels.Tx) error { return tx.AddFetches(t.Context(), counts) })
	s.status("a00", "retired")
	s.remove("t1")
	for _, rename := range []struct{ kind, id string }{{"agent", "a01"}, {"tool", "t2"}} {
		s.rename(rename.kind, rename.id, "Renamed")
	}
	named := map[string]string{"a01": "Renamed", "t2": "Renamed"}

	ask := func(organization string, terms readmodels.UsageTerms) readmodels.Usage {
		t.Helper()
		return must[readmodels.Usage](t)(s.db.Usage(t.Context(), organization, terms))
	}
	times := func(begin time.Time, step time.Duration, n int) (out []time.Time) {
		for i := range n + 1 {
			out = append(out, begin.Add(time.Duration(i)*step))
		}
		return out
	}
	for _, times := range [][]time.Time{
		times(noon, time.Hour, 1),
		times(noon.Add(45*time.Minute), time.Hour, 1),
		times(noon.Add(2*24*time.Hour+15*time.Minute), time.Hour, 48),
		times(noon.Add(-24*time.Hour), 24*time.Hour, 120),
		times(noon.Add(6*time.Hour+30*time.Minute), 24*time.Hour, 97),
		times(noon.Add(-400*24*time.Hour), 24*time.Hour, 400),
		{noon, noon.Add(23 * time.Hour), noon.Add(47*time.Hour + 45*time.Minute), noon.Add(90 * 24 * time.Hour)},
	} {
		for _, f := range []readmodels.UsageFilter{
			{}, {AgentID: "a00"}, {ToolID: "t1"}, {AgentID: "a01", ToolID: "t0"}, {AgentID: "nobody"}, {ToolID: "u"},
		} {
			for _, by := range []string{"", "agent", "tool"} {
				for _, refused := range []bool{true, false} {
					terms := readmodels.UsageTerms{UsageFilter: f, Times: times, GroupBy: by, Refused: refused}
					want := added(uses, terms, named)
					if diff := gocmp.Diff(want, ask(acme, terms)); diff != "" {
						t.Fatalf("%+v by %q from %s, %d times (-want +got):\n%s", f, by, times[0], len(times), diff)
					}
				}
			}
		}
	}
	other := ask(globex, readmodels.UsageTerms{Times: times(noon, time.Hour, 1), GroupBy: "tool", Refused: true})
	want := readmodels.Usage{Between: []readmodels.Fetches{{Vended: 1, Refused: 1}}, Groups: []readmodels.UsageGroup{
		{ID: "u", Name: "Other", Fetches: readmodels.Fetches{Vended: 1}, LastAt: noon},
	}}
	if diff := gocmp.Diff(want, other); diff != "" {
		t.Errorf("of another organization (-want +got):\n%s", diff)
	}
}

// added is the usage as a sum over each use.
func added(uses []use, terms readmodels.UsageTerms, named map[string]string) readmodels.Usage {
	u := readmodels.Usage{Between: make([]readmodels.Fetches, len(terms.Times)-1)}
	groups := map[string]*readmodels.UsageGroup{}
	for _, x := range uses {
		if terms.AgentID != "" && x.agentID != terms.AgentID || terms.ToolID != "" && x.toolID != terms.ToolID {
			continue
		}
		id, name := x.agentID, "Agent "+x.agentID
		if terms.GroupBy == "tool" {
			id, name = x.toolID, "Tool "+x.toolID
		}
		if groups[id] == nil {
			groups[id] = &readmodels.UsageGroup{ID: id, Name: cmp.Or(named[id], name)}
		}
		g := groups[id]
		if x.count > 0 && x.at.After(g.LastAt) {
			g.LastAt = x.at
		}
		for i := range u.Between {
			if !x.at.Before(terms.Times[i]) && x.at.Before(terms.Times[i+1]) {
				for _, n := range []*readmodels.Fetches{&u.Between[i], &g.Fetches} {
					n.Vended, n.Refused = n.Vended+max(x.count, 0), n.Refused+max(-x.count, 0)
				}
			}
		}
	}
	if terms.GroupBy == "" {
		return u
	}
	u.Groups = []readmodels.UsageGroup{}
	for id, g := range groups {
		if id != "made up" && (g.Vended > 0 || terms.Refused && g.Refused > 0) {
			u.Groups = append(u.Groups, *g)
		}
	}
	slices.SortFunc(u.Groups, func(a, b readmodels.UsageGroup) int {
		return cmp.Or(cmp.Compare(b.Vended, a.Vended), cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.ID, b.ID))
	})
	u.Groups = u.Groups[:min(len(u.Groups), 20)]
	return u
}
