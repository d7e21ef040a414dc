package main

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	actiontable "agentkey/audit/actions"
	"agentkey/eventstore/eventstoretest/wait"
)

// unspoken finds what no summary may have: ids, marks of formatting, and the secrets of the story.
var unspoken = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-|%!|[{}]|<nil>|ghp_secret|sk_agent_|sk_admin_|@example\.com`)

// TestTheAuditReadsItself makes a story of many kinds of event, with a receiver that fails at
// first, and reads it by its summaries and by every filter.
func TestTheAuditReadsItself(t *testing.T) {
	t.Parallel()
	hook := startHook(t, func(n int, w http.ResponseWriter) {
		if n <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	p := start(t, append(unlimited, toLoopback)...)
	admin := p.admin()
	admin.mustChannel("webhook", hook.URL)
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Deploy bot")
	bot := p.with(key)
	request := bot.mustRequest(tool)
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", object{"expires_at": "2099-12-01T09:00:00Z"})
	bot.fetch(tool)
	jira := admin.mustTool("Jira", "x")
	denied := bot.must(201, "POST", "/api/tools/"+jira+"/request", object{"reason": "Für Überweisungen ins Archiv"})
	admin.must(
		200, "POST", "/api/admin/requests/"+denied.Text("request_id")+"/deny", object{"reason": "Not this quarter."},
	)
	bot.suggest("Linear", "", "to file issues")
	admin.must(201, "POST", "/api/admin/invitations", object{"email": "ada@example.com", "role": "approver"})
	nightly, secret := admin.newToken("nightly", "admin")
	p.with(secret).mustAgent("Second")
	admin.must(204, "DELETE", "/api/admin/people/"+nightly, nil)
	admin.must(200, "PATCH", "/api/admin/agents/"+id, object{"name": "Release bot"})
	admin.must(204, "DELETE", "/api/admin/tools/"+tool, nil)
	wait.Until(t, "delivered", func() bool { return len(admin.deliveries("status=delivered")) == 2 })
	admin.must(204, "DELETE", "/api/admin/agents/"+id, nil)
	wait.Until(t, "what follows is written", func() bool {
		return len(admin.must(200, "GET", "/api/admin/audit?action=grant.revoked", nil).Items()) == 1
	})

	all := audited(admin, "retries=true")
	said := map[string]string{} // the first of each action
	for _, e := range all {
		action, summary := e.Text("action"), e.Text("summary")
		if unspoken.MatchString(summary) || !strings.HasSuffix(summary, ".") || e.Text("actor.label") == "" ||
			e.Text("target.label") == "" || e.Text("category") != string(actiontable.Of(action)) {
			t.Errorf("%s: %s", action, e.JSON)
		}
		if said[action] == "" {
			said[action] = summary
		}
		one := admin.must(200, "GET", "/api/admin/audit/"+entryID(e), nil)
		if diff := cmp.Diff(e.JSON, one.JSON); diff != "" {
			t.Errorf("alone it is another one (-list +alone):\n%s", diff)
		}
	}
	for action, want := range map[string]string{
		"grant.requested": "Deploy bot requested access to GitHub.",
		"grant.approved":  "first admin token approved Deploy bot's request for GitHub until 2099-12-01 09:00 UTC.",
		"grant.denied":    "first admin token denied Deploy bot's request for Jira.",
		"grant.revoked": "AgentKey revoked Release bot's access to GitHub because the tool was removed, " +
			"on behalf of first admin token.",
		"credential.vended": "Deploy bot fetched the credential of GitHub (version 1).",
		"suggestion.made":   "Deploy bot suggested the tool Linear.",
		"member.invited":    "first admin token invited somebody to be an approver.",
		"agent.updated":     "first admin token changed the name of the agent Release bot.",
		"agent.retired":     "first admin token retired the agent Release bot.",
	} {
		if said[action] != want {
			t.Errorf("%s: %q, not %q", action, said[action], want)
		}
	}
	if !strings.Contains(said["delivery.failed"], "AgentKey couldn't deliver the notification “access requested, ") ||
		!strings.HasSuffix(said["delivery.failed"], ": the receiver answered 503.") {
		t.Errorf("a delivery failed: %q", said["delivery.failed"])
	}
	erased := all[slices.IndexFunc(all, func(e answer) bool { return e.Text("agent.name") == "Second" })]
	const nameless = "A service token whose name was erased"
	if erased.Text("summary") != nameless+" registered the agent Second." || erased.Text("actor.label") != nameless {
		t.Errorf("somebody was erased: %v", erased.JSON)
	}
	vended := all[slices.IndexFunc(all, func(e answer) bool { return e.Text("action") == "credential.vended" })]
	if diff := cmp.Diff(object{
		"agent": object{"id": id, "name": "Deploy bot", "current_name": "Release bot", "retired": true},
		"tool":  object{"id": tool, "name": "GitHub", "removed": true},
	}, object{"agent": vended.At("agent"), "tool": vended.At("tool")}); diff != "" {
		t.Errorf("what a fetch names (-want +got):\n%s", diff)
	}
	t.Run("filters", func(t *testing.T) { auditFilters(t, admin, all) })
	t.Run("orders", func(t *testing.T) { auditOrders(t, admin) })
	t.Run("what there isn't", func(t *testing.T) { auditRefusals(t, admin) })
	t.Run("actions", func(t *testing.T) {
		listed := admin.must(200, "GET", "/api/admin/audit/actions", nil).Items()
		if len(listed) != len(actiontable.Names()) {
			t.Errorf("%d of %d actions", len(listed), len(actiontable.Names()))
		}
		for _, a := range listed {
			a := answer{JSON: a}
			if a.Text("description") == "" || a.Text("example") == "" ||
				a.Text("category") != string(actiontable.Of(a.Text("action"))) {
				t.Errorf("an action: %v", a.JSON)
			}
		}
	})
	stranger := p.organization("Another", "owner")
	stranger.refused(404, "not_found", "GET", "/api/admin/audit/"+entryID(vended), nil)
}

func entryID(e answer) string { return e.Text("id") }

// auditFilters compares what each filter lists, and exports, with a plain search of the whole.
func auditFilters(t *testing.T, admin client, all []answer) {
	text := func(e answer) string { return strings.ToLower(fmt.Sprint(e.JSON)) }
	in := func(categories ...string) func(answer) bool {
		return func(e answer) bool { return slices.Contains(categories, e.Text("category")) }
	}
	retry := func(e answer) bool {
		return e.Text("action") == "delivery.claimed" ||
			e.Text("action") == "delivery.failed" && fmt.Sprint(e.At("data.attempt")) != "1"
	}
	for _, c := range []struct {
		query string
		want  func(answer) bool
		least int
	}{
		{"", func(e answer) bool { return !retry(e) }, 20},
		{"retries=true", func(answer) bool { return true }, 20},
		{"action=delivery.failed&retries=false", func(e answer) bool {
			return e.Text("action") == "delivery.failed" && !retry(e)
		}, 1},
		{"action=delivery.failed", func(e answer) bool { return e.Text("action") == "delivery.failed" }, 2},
		{"action=grant.*,agent.retired", func(e answer) bool {
			return strings.HasPrefix(e.Text("action"), "grant.") || e.Text("action") == "agent.retired"
		}, 5},
		{"category=decision,fetch", in("decision", "fetch"), 3},
		{"not_category=notification,system", func(e answer) bool { return !in("notification", "system")(e) }, 10},
		{"category=access,decision&not_category=access", in("decision"), 2},
		{"category=fetch&action=grant.*", func(answer) bool { return false }, 0},
		{"q=RELEASE", func(e answer) bool { return strings.Contains(text(e), "release bot") }, 5},
		{"q=deploy%20b", func(e answer) bool { return strings.Contains(text(e), "release bot") }, 5},
		{"q=uberweisungen%20fur", func(e answer) bool { return strings.Contains(text(e), "überweisungen") }, 1},
		{"q=quarter&category=decision", func(e answer) bool { return strings.Contains(text(e), "quarter") }, 1},
		{"q=linear", func(e answer) bool { return e.Text("action") == "suggestion.made" }, 1},
		{"q=nightly", func(answer) bool { return false }, 0},
		{"q=github&category=fetch", in("fetch"), 1},
	} {
		var want, got, exported []string
		for _, e := range all {
			if c.want(e) && (c.query != "q=RELEASE" && c.query != "q=deploy%20b" || e.At("agent_id") != nil) {
				want = append(want, entryID(e))
			}
		}
		for _, e := range audited(admin, c.query) {
			got = append(got, entryID(e))
		}
		query := c.query
		if query == "" {
			query = "retries=false"
		}
		for _, l := range exportedLines(t, admin.must(200, "GET", auditExport+"jsonl&"+query, nil)) {
			exported = append(exported, l.ID.String())
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) < c.least {
			t.Errorf("%s: at least %d (-want +got):\n%s", c.query, c.least, diff)
		}
		if diff := cmp.Diff(want, exported); diff != "" {
			t.Errorf("the export of %s (-want +got):\n%s", c.query, diff)
		}
	}
}

// auditOrders pages through both orders.
func auditOrders(t *testing.T, admin client) {
	pages := func(order string) (out []string, cursor string) {
		for next := ""; ; {
			a := admin.must(200, "GET", "/api/admin/audit?not_category=system&limit=3&order="+order+next, nil)
			for _, e := range a.Items() {
				out = append(out, id(e))
			}
			if a.Text("next_cursor") == "" {
				return out, cursor
			}
			cursor = a.Text("next_cursor")
			next = "&cursor=" + cursor
		}
	}
	newest, down := pages("desc")
	oldest, up := pages("asc")
	slices.Reverse(oldest)
	if diff := cmp.Diff(newest, oldest); diff != "" || len(newest) < 10 {
		t.Errorf("the orders differ (-desc +asc):\n%s", diff)
	}
	for order, cursor := range map[string]string{"asc": down, "desc": up} {
		a := admin.refused(400, "validation_failed", "GET", "/api/admin/audit?order="+order+"&cursor="+cursor, nil)
		if !strings.Contains(string(a.Body), "other order") {
			t.Errorf("a cursor of the other order: %s", a.Body)
		}
	}
}

// auditRefusals names what doesn't exist, and is told what exists.
func auditRefusals(t *testing.T, admin client) {
	for query, there := range map[string]string{
		"action=grant.given":               "grant.approved",
		"action=agent.retired,nothing.*":   "credential",
		"action=*":                         "credential",
		"category=secrets":                 "decision, access, fetch, catalog, notification, system, organization",
		"category=fetch&not_category=fetc": "decision, access, fetch",
		"order=random":                     "asc",
		"retries=often":                    "",
	} {
		a := admin.refused(400, "validation_failed", "GET", "/api/admin/audit?"+query, nil)
		if !strings.Contains(string(a.Body), there) {
			t.Errorf("%s: %s", query, a.Body)
		}
	}
	for _, other := range []string{newID().String(), "x", "01A21F6E-037F-761B-943B-E66A33129E58"} {
		admin.refused(404, "not_found", "GET", "/api/admin/audit/"+other, nil)
	}
}
