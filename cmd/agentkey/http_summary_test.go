package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/integrations/oidc/oidctest"
	"agentkey/readmodels/readmodelstest"
)

// onEachDatabase runs a test with a program on each engine of the read model.
func onEachDatabase(t *testing.T, env []string, test func(*testing.T, *program)) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) { test(t, start(t, env...)) })
	t.Run("postgres", func(t *testing.T) {
		test(t, start(t, append(slices.Clone(env), "AGENTKEY_DATABASE_URL="+readmodelstest.Postgres(t))...))
	})
}

// summary is what a caller learns, number by number but for those that are zero, and what the lists
// name.
func (c client) summary(query string) string {
	c.t.Helper()
	a := c.must(200, "GET", "/api/admin/summary"+query, nil)
	var parts []string
	for group, v := range a.JSON {
		switch v := v.(type) {
		case map[string]any:
			for name, n := range v {
				if n != 0.0 && name != "oldest_at" {
					parts = append(parts, fmt.Sprint(group, ".", name, "=", n))
				}
			}
		case []any:
			for i, item := range v {
				m := item.(map[string]any)
				parts = append(parts, fmt.Sprint(group, "[", i, "]=", strings.Join(slices.Sorted(maps.Values(texts(m))), " ")))
			}
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}

// texts are the names and numbers of an item, without its ids and times.
func texts(item object) map[string]string {
	out := map[string]string{}
	for name, v := range item {
		if name != "id" && !strings.HasSuffix(name, "_id") && !strings.HasSuffix(name, "_at") {
			out[name] = fmt.Sprint(v)
		}
	}
	return out
}

// TestTheSummaryFollowsAStory reads it after each step.
func TestTheSummaryFollowsAStory(t *testing.T) {
	provider := oidctest.New(t)
	onEachDatabase(t, append(signsInAt(provider), unlimited...), func(t *testing.T, p *program) {
		admin := p.admin()
		viewer, other := p.mustToken(admin, "Wall", "viewer"), p.organization("Another", "owner")
		is := func(step string, c client, query string, want ...string) {
			t.Helper()
			slices.Sort(want)
			if diff := cmp.Diff(strings.Join(want, "\n"), c.summary(query)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step, diff)
			}
		}
		is("at first", admin, "")
		github, linear := admin.mustTool("GitHub", "ghp_1"), admin.mustTool("Linear", "lin_1")
		id, key := admin.mustAgent("Builder")
		second, secondKey := admin.mustAgent("Second")
		agent := p.with(key)
		counts := func(more ...string) []string {
			return append([]string{"agents.total=2", "agents.active=2", "tools.total=2"}, more...)
		}
		is("with agents and tools", admin, "", counts()...)
		first := agent.mustRequest(github)
		oldest := admin.must(200, "GET", "/api/admin/requests/"+first, nil).Text("created_at")
		agent.mustRequest(linear)
		p.with(secondKey).mustRequest(github)
		waiting := admin.must(200, "GET", "/api/admin/summary", nil)
		if got := waiting.Text("pending.oldest_at"); got != oldest {
			t.Errorf("the oldest request is of %s, not of %s", got, oldest)
		}
		asked := counts("pending.requests=3", "demanded[0]=2 GitHub tool", "demanded[1]=1 Linear tool")
		is("with requests", admin, "", asked...)

		// Of an approver who decides about Linear only Linear waits.
		limited := object{"email": "ada@example.com", "role": "approver", "tools": []string{linear}}
		admin.must(201, "POST", "/api/admin/invitations", limited)
		ada := p.with(someone(provider, "ada", "ada@example.com"))
		is("for an approver of Linear", ada, "", counts("pending.requests=1", "demanded[0]=1 Linear tool")...)

		admin.must(200, "POST", "/api/admin/requests/"+first+"/approve", nil)
		agent.fetch(github)
		agent.fetch(github)
		agent.refused(403, "access_not_approved", "GET", "/api/tools/"+linear+"/credentials", nil)
		agent.suggest("Sentry", "", "to read the errors")
		waits := []string{
			"pending.requests=2", "pending.suggestions=1", "grants.approved=1", "fetches.last_24h=2",
			"demanded[0]=1 GitHub tool", "demanded[1]=1 Linear tool", "demanded[2]=1 Sentry suggestion",
		}
		is("after fetches", admin, "", counts(append(waits, "fetches.refused_24h=1")...)...)
		is("for a viewer", viewer, "", counts(waits...)...)
		if a := viewer.must(200, "GET", "/api/admin/summary", nil); a.At("fetches.refused_24h") != nil {
			t.Errorf("a viewer learns about refusals: %s", a.Body)
		}

		// What has passed its time counts as expired at once.
		ends := time.Now().Add(3 * time.Second).UTC().Format(time.RFC3339Nano)
		admin.must(201, "POST", "/api/admin/agents/"+second+"/grants", object{"tool_id": linear, "expires_at": ends})
		later := time.Now().Add(30 * 24 * time.Hour).UTC().Format(time.RFC3339)
		admin.must(201, "POST", "/api/admin/agents/"+second+"/grants", object{"tool_id": github, "expires_at": later})
		soon := counts(
			"pending.requests=1", "pending.suggestions=1", "grants.approved=3", "grants.expiring=1", "fetches.last_24h=2",
			"fetches.refused_24h=1", "demanded[0]=1 Linear tool", "demanded[1]=1 Sentry suggestion", "expiring[0]=Linear Second",
		)
		is("with an end", admin, "", soon...)
		soon[slices.Index(soon, "grants.expiring=1")] = "grants.expiring=2"
		is("within 31 days", admin, "?expiring_within=31d", append(soon, "expiring[1]=GitHub Second")...)
		wait.Until(t, "expired", func() bool { return strings.Contains(admin.summary(""), "grants.approved=2") })

		admin.must(204, "DELETE", "/api/admin/tools/"+linear, nil)
		admin.must(200, "POST", "/api/admin/agents/"+second+"/suspend", nil)
		admin.must(204, "DELETE", "/api/admin/agents/"+id, nil)
		is("without Linear and Builder", admin, "", "agents.total=1", "agents.suspended=1", "tools.total=1",
			"pending.suggestions=1", "fetches.last_24h=2", "fetches.refused_24h=1", "demanded[0]=1 Sentry suggestion")
		is("of another organization", other, "")

		for _, wrong := range []string{"0", "-1d", "1y", "7", "d", "07d", "1.5d", "1000d", "99999h", "7D", "P7D"} {
			a := admin.refused(400, "validation_failed", "GET", "/api/admin/summary?expiring_within="+wrong, nil)
			if !namesField(a, "expiring_within") || !strings.Contains(string(a.Body), "such as 36h or 7d") {
				t.Errorf("expiring_within=%s: %s", wrong, a.Body)
			}
		}
		admin.refused(
			503, "read_model_behind", "GET", "/api/admin/summary", nil, "X-Wait-For-Position", "9000000000000000000",
		)
	})
}
