package readmodels_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

// testSorts pages through each list by each sort, forwards and backwards, and narrows the lists.
func testSorts(t *testing.T, s *shelf) {
	ctx := t.Context()
	for _, id := range []string{"a1", "a2", "a3"} {
		s.agent(acme, id, map[string]string{"a1": "Cleo", "a2": "ann", "a3": "Bob"}[id])
	}
	for _, id := range []string{"t1", "t2", "t3"} {
		s.tool(acme, id, map[string]string{"t1": "Zoom", "t2": "Asana", "t3": "miro"}[id])
	}
	s.grant(acme, "a1", "t1", "approved", noon.Add(3*time.Hour))
	s.grant(acme, "a2", "t2", "approved", time.Time{})
	s.grant(acme, "a3", "t3", "approved", noon.Add(time.Hour))
	s.grant(acme, "a1", "t3", "denied", time.Time{})
	s.agent(globex, "other", "Ann")
	late := readmodels.Micros(noon.Add(2 * time.Hour))
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(
			tx.SeeAgent(ctx, readmodels.SeeAgentParams{ID: "a2", LastSeenAt: late, Fetches: 2, LastFetchedAt: late}),
			tx.SeeAgent(ctx, readmodels.SeeAgentParams{ID: "a2", LastSeenAt: late + 1}),
			tx.SeeAgent(ctx, readmodels.SeeAgentParams{ID: "a3", LastSeenAt: late - 1}),
			tx.UseTool(ctx, readmodels.UseToolParams{ID: "t3", Fetches: 3, LastFetchedAt: late}),
			tx.UpdateAgent(ctx, readmodels.UpdateAgentParams{
				ID: "a3", Description: readmodels.Optional(new("100% ÜBER_all")),
				DescriptionFolded: readmodels.Optional(new(readmodels.Fold("100% ÜBER_all"))),
			}),
			tx.UpdateTool(ctx, readmodels.UpdateToolParams{
				ID: "t2", Url: readmodels.Optional(new("https://asana.com/Path")), At: late,
			}),
			tx.RotateToolCredential(ctx, readmodels.RotateToolCredentialParams{
				ID: "t1", CredentialVersion: 2, CredentialExpiresAt: late, At: readmodels.Micros(noon),
			}),
			tx.RotateToolCredential(ctx, readmodels.RotateToolCredentialParams{
				ID: "t3", CredentialVersion: 0, At: readmodels.Micros(noon),
			}),
			tx.CountFetches(ctx, readmodels.CountFetchesParams{AgentID: "a3", ToolID: "t3", Fetches: 5, LastFetchedAt: late}),
		)
	})
	agents := func(f readmodels.AgentFilter) func(readmodels.Page) ([]string, readmodels.Page, *int) {
		return pager(t, func(p readmodels.Page) (readmodels.List[readmodels.Agent], error) {
			return s.db.Agents(ctx, acme, f, noon, p)
		}, func(a readmodels.Agent) string { return a.ID })
	}
	tools := func(f readmodels.ToolFilter) func(readmodels.Page) ([]string, readmodels.Page, *int) {
		return pager(t, func(p readmodels.Page) (readmodels.List[readmodels.Tool], error) {
			return s.db.Tools(ctx, acme, f, noon, p)
		}, func(x readmodels.Tool) string { return x.ID })
	}
	grants := func(f readmodels.GrantFilter) func(readmodels.Page) ([]string, readmodels.Page, *int) {
		return pager(t, func(p readmodels.Page) (readmodels.List[readmodels.Grant], error) {
			return s.db.Grants(ctx, acme, f, noon, p)
		}, func(g readmodels.Grant) string { return g.AgentID + g.ToolID })
	}
	requests := func(f readmodels.RequestFilter) func(readmodels.Page) ([]string, readmodels.Page, *int) {
		return pager(t, func(p readmodels.Page) (readmodels.List[readmodels.Request], error) {
			return s.db.Requests(ctx, acme, f, p)
		}, func(r readmodels.Request) string { return r.ID })
	}
	yes, no := true, false
	for _, c := range []struct {
		name string
		page func(readmodels.Page) ([]string, readmodels.Page, *int)
		sort string
		want []string
	}{
		{"agents", agents(readmodels.AgentFilter{}), "created_at", []string{"a1", "a2", "a3"}},
		{"agents", agents(readmodels.AgentFilter{}), "name", []string{"a2", "a3", "a1"}},
		{"agents", agents(readmodels.AgentFilter{}), "last_seen_at", []string{"a1", "a3", "a2"}},
		{"agents", agents(readmodels.AgentFilter{}), "fetch_count", []string{"a1", "a3", "a2"}},
		{"agents", agents(readmodels.AgentFilter{}), "last_fetched_at", []string{"a1", "a3", "a2"}},
		{"described agents", agents(readmodels.AgentFilter{Query: "uber"}), "name", []string{"a3"}},
		{"a percent sign", agents(readmodels.AgentFilter{Query: "0% "}), "name", []string{"a3"}},
		{"a wildcard", agents(readmodels.AgentFilter{Query: "1%0"}), "name", nil},
		{"an underscore", agents(readmodels.AgentFilter{Query: "r_a"}), "name", []string{"a3"}},
		{
			"quiet agents", agents(readmodels.AgentFilter{LastSeenBefore: noon.Add(2 * time.Hour)}), "name",
			[]string{"a3", "a1"},
		},
		{"agents then", agents(readmodels.AgentFilter{LastSeenBefore: noon}), "name", nil},
		{"idle agents", agents(readmodels.AgentFilter{UnusedSince: noon.Add(time.Hour)}), "name", []string{"a3", "a1"}},
		{"tools", tools(readmodels.ToolFilter{}), "name", []string{"t2", "t3", "t1"}},
		{"tools", tools(readmodels.ToolFilter{}), "updated_at", []string{"t1", "t3", "t2"}},
		{"tools", tools(readmodels.ToolFilter{}), "credential_expires_at", []string{"t1", "t2", "t3"}},
		{"tools", tools(readmodels.ToolFilter{}), "fetch_count", []string{"t1", "t2", "t3"}},
		{"tools by URL", tools(readmodels.ToolFilter{Query: "COM/path"}), "name", []string{"t2"}},
		{"tools with", tools(readmodels.ToolFilter{HasCredential: &yes}), "name", []string{"t2", "t1"}},
		{"tools without", tools(readmodels.ToolFilter{HasCredential: &no}), "name", []string{"t3"}},
		{"tools of agents", tools(readmodels.ToolFilter{CredentialMode: "per_agent"}), "name", nil},
		{"ending tools", tools(readmodels.ToolFilter{ExpiresBefore: noon.Add(3 * time.Hour)}), "name", []string{"t1"}},
		{"idle tools", tools(readmodels.ToolFilter{UnusedSince: noon.Add(time.Hour)}), "name", []string{"t2", "t1"}},
		{"grants", grants(readmodels.GrantFilter{}), "created_at", []string{"a1t1", "a2t2", "a3t3", "a1t3"}},
		{"grants", grants(readmodels.GrantFilter{}), "expires_at", []string{"a3t3", "a1t1", "a2t2", "a1t3"}},
		{"grants", grants(readmodels.GrantFilter{}), "agent_name", []string{"a2t2", "a3t3", "a1t1", "a1t3"}},
		{"grants", grants(readmodels.GrantFilter{}), "fetch_count", []string{"a1t1", "a2t2", "a1t3", "a3t3"}},
		{
			"two kinds of grants", grants(readmodels.GrantFilter{Status: "denied,approved", AgentID: "a1"}), "created_at",
			[]string{"a1t1", "a1t3"},
		},
		{
			"ending grants", grants(readmodels.GrantFilter{ExpiresBefore: noon.Add(2 * time.Hour)}), "created_at",
			[]string{"a3t3"},
		},
		{
			"unused grants", grants(readmodels.GrantFilter{UnusedSince: noon.Add(2 * time.Hour), Status: "approved"}),
			"created_at",
			[]string{"a1t1", "a2t2"},
		},
		{"grants by tool", grants(readmodels.GrantFilter{Query: "MIRO"}), "created_at", []string{"a3t3", "a1t3"}},
		{"requests", requests(readmodels.RequestFilter{}), "tool_name", []string{"a2 t2", "a3 t3", "a1 t3", "a1 t1"}},
		{
			"two kinds of requests", requests(readmodels.RequestFilter{Status: "denied,pending"}), "decided_at",
			[]string{"a1 t3"},
		},
		{"requests by agent", requests(readmodels.RequestFilter{Query: "cle"}), "created_at", []string{"a1 t1", "a1 t3"}},
	} {
		for _, descending := range []bool{false, true} {
			for limit := 1; limit <= len(c.want)+1; limit++ {
				p := readmodels.Page{Limit: limit, Sort: c.sort, Count: true}
				want := slices.Clone(c.want)
				if descending {
					p.Sort = "-" + p.Sort
					slices.Reverse(want)
				}
				var got []string
				for more := true; more; more = p.Before != 0 {
					var items []string
					var total *int
					items, p, total = c.page(p)
					got = append(got, items...)
					if total == nil || *total != len(want) {
						t.Fatalf("%s by %s are counted wrongly: %v", c.name, p.Sort, total)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s by %s, %d a page (-want +got):\n%s", c.name, p.Sort, limit, diff)
				}
			}
		}
	}
}

// pager reads one page of a list, and says which is the next and how many items all pages have.
func pager[T any](
	t *testing.T, list func(readmodels.Page) (readmodels.List[T], error), name func(T) string,
) func(readmodels.Page) ([]string, readmodels.Page, *int) {
	return func(p readmodels.Page) ([]string, readmodels.Page, *int) {
		t.Helper()
		found := must[readmodels.List[T]](t)(list(p))
		p.Before, p.Value = found.Next, found.Value
		return names(found.Items, name), p, found.Total
	}
}
