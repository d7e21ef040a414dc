package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest/wait"
)

// TestAccessReadsTheSameEverywhere brings an agent into every state that access can be in and looks
// at it from every side: the agent's catalog, the agent itself, a fetch, and the admin's lists and
// counts.
func TestAccessReadsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	me, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	grants := "/api/admin/agents/" + me + "/grants"
	ask := func(tool string) string { return agent.mustRequest(tool) }
	decide := func(request, how string, body any) {
		admin.must(200, "POST", "/api/admin/requests/"+request+"/"+how, body)
	}
	soon := func() string { return time.Now().UTC().Add(1100 * time.Millisecond).Format(time.RFC3339Nano) }
	hour := time.Now().UTC().Add(time.Hour).Truncate(time.Second).Format(time.RFC3339)
	requests := map[string]string{}
	states := []struct {
		name, access string
		reach        func(tool string)
		status       string // of the grant in the admin's list; "" where there is none
		request      string // status of the request; "" where there was none
	}{
		{"never asked", "none", func(string) {}, "", ""},
		{"asked", "pending", func(tool string) { requests[tool] = ask(tool) }, "pending", "pending"},
		{"took it back", "none", func(tool string) {
			requests[tool] = ask(tool)
			agent.must(204, "DELETE", "/api/tools/"+tool+"/request", nil)
		}, "", "withdrawn"},
		{"approved", "approved", func(tool string) {
			requests[tool] = ask(tool)
			decide(requests[tool], "approve", nil)
		}, "approved", "approved"},
		{"approved for an hour", "approved", func(tool string) {
			requests[tool] = ask(tool)
			decide(requests[tool], "approve", object{"expires_at": hour})
		}, "approved", "approved"},
		{"assigned", "approved", func(tool string) { admin.mustAssign(me, tool) }, "approved", ""},
		{"denied", "denied", func(tool string) {
			requests[tool] = ask(tool)
			decide(requests[tool], "deny", nil)
		}, "denied", "denied"},
		{"denied with a reason", "denied", func(tool string) {
			requests[tool] = ask(tool)
			decide(requests[tool], "deny", object{"reason": "Use the staging account."})
		}, "denied", "denied"},
		{"revoked", "revoked", func(tool string) {
			requests[tool] = ask(tool)
			decide(requests[tool], "approve", nil)
			admin.must(204, "DELETE", grants+"/"+tool, nil)
		}, "revoked", "approved"},
		{"expired", "expired", func(tool string) {
			requests[tool] = ask(tool)
			decide(requests[tool], "approve", object{"expires_at": soon()})
		}, "expired", "approved"},
		{"assigned and expired", "expired", func(tool string) {
			admin.must(201, "POST", grants, object{"tool_id": tool, "expires_at": soon()})
		}, "expired", ""},
	}
	tools := map[string]string{}
	for _, s := range states {
		tools[s.name] = admin.mustTool(s.name, "secret of "+s.name)
		s.reach(tools[s.name])
	}
	for _, s := range states {
		if s.access == "expired" {
			wait.Until(t, "expired", func() bool { return agent.fetch(tools[s.name]).Text("your_access") == "expired" })
		}
	}

	catalog := map[string]object{}
	var order []string
	for _, item := range agent.must(200, "GET", "/api/tools", nil).Items() {
		catalog[fmt.Sprint(item["id"])] = item
		order = append(order, fmt.Sprint(item["name"]))
	}
	slices.Reverse(order)
	held := map[string]object{}
	for _, g := range admin.must(200, "GET", "/api/admin/grants?limit=200&agent_id="+me, nil).Items() {
		held[fmt.Sprint(g["tool_id"])] = g
	}
	counts := map[string]int{}
	for i, s := range states {
		tool := tools[s.name]
		counts[s.access]++
		one := agent.must(200, "GET", "/api/tools/"+tool, nil)
		if diff := cmp.Diff(catalog[tool], one.JSON); diff != "" || order[i] != s.name {
			t.Errorf("%s: in the list at %s, alone: %s", s.name, order[i], diff)
		}
		if one.Text("your_access") != s.access ||
			(one.Text("denial_reason") != "") != (s.name == "denied with a reason") ||
			(one.Text("expires_at") != "") != strings.Contains(s.name, "expired") && s.name != "approved for an hour" {
			t.Errorf("%s: the catalog says %s", s.name, one.Body)
		}
		if pending := s.access == "pending"; pending && one.Text("request_id") != requests[tool] {
			t.Errorf("%s: the catalog says %s, the request is %s", s.name, one.Body, requests[tool])
		}
		fetched := agent.fetch(tool)
		if ok := s.access == "approved"; ok != (fetched.Status == 200) ||
			!ok && (fetched.Code() != "access_not_approved" || fetched.Text("your_access") != s.access) {
			t.Errorf("%s: a fetch: %d %s", s.name, fetched.Status, fetched.Body)
		}
		if fetched.Text("denial_reason") != one.Text("denial_reason") ||
			s.access == "pending" && fetched.Text("request_id") != requests[tool] {
			t.Errorf("%s: a fetch says %s", s.name, fetched.Body)
		}
		if status, _ := held[tool]["status"].(string); status != s.status {
			t.Errorf("%s: the admin's list has %v", s.name, held[tool])
		}
		if s.request != "" {
			r := admin.must(200, "GET", "/api/admin/requests/"+requests[tool], nil)
			if r.Text("status") != s.request || r.Text("tool_name") != s.name || r.Text("agent_id") != me ||
				(r.Text("decided_at") != "") != (s.request != "pending") ||
				r.Text("denial_reason") != one.Text("denial_reason") {
				t.Errorf("%s: the request is %s", s.name, r.Body)
			}
		}
		of := admin.must(200, "GET", "/api/admin/tools/"+tool, nil)
		if of.At("grants.approved") != float64(btoi(s.access == "approved")) ||
			of.At("grants.pending") != float64(btoi(s.access == "pending")) {
			t.Errorf("%s: the tool counts %v", s.name, of.At("grants"))
		}
	}
	about := admin.must(200, "GET", "/api/admin/agents/"+me, nil)
	if about.At("grants.approved") != float64(counts["approved"]) ||
		about.At("grants.pending") != float64(counts["pending"]) || about.Text("last_seen_at") == "" {
		t.Errorf("the agent: %s", about.Body)
	}
	for _, status := range []string{"pending", "approved", "denied", "revoked", "expired"} {
		n := 0
		for _, s := range states {
			n += btoi(s.status == status)
		}
		if got := admin.must(
			200, "GET", "/api/admin/grants?status="+status+"&agent_id="+me, nil,
		).Items(); len(got) != n {
			t.Errorf("%d grants are %s, not %d", len(got), status, n)
		}
	}
	mine := agent.must(200, "GET", "/api/me", nil)
	denied, _ := mine.JSON["tools_denied"].([]any)
	if len(denied) != 2 || fmt.Sprint(mine.At("tools_available")) != fmt.Sprint(len(states)) ||
		mine.Text("agent_id") != me || mine.Text("agent_name") != "Onboarding" {
		t.Errorf("me: %s", mine.Body)
	}
	reasons := map[any]any{}
	for _, d := range denied {
		d, _ := d.(object)
		reasons[d["name"]] = d["reason"]
	}
	if diff := cmp.Diff(
		map[any]any{"denied": nil, "denied with a reason": "Use the staging account."}, reasons,
	); diff != "" {
		t.Errorf("tools_denied: %s", diff)
	}
	for member, want := range map[string][]any{
		"tools_approved": {"approved", "approved for an hour", "assigned"}, "tools_pending": {"asked"},
	} {
		got, _ := mine.JSON[member].([]any)
		slices.SortFunc(got, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", member, diff)
		}
	}
	// Whatever ended can be asked for again; every request is its own.
	for _, s := range states {
		if s.access == "none" || s.access == "denied" || s.access == "revoked" || s.access == "expired" {
			if again := ask(tools[s.name]); again == requests[tools[s.name]] {
				t.Errorf("%s: it asked again and has the same request", s.name)
			}
			if a := agent.must(200, "GET", "/api/tools/"+tools[s.name], nil); a.Text("your_access") != "pending" ||
				a.Text("denial_reason") != "" || a.Text("expires_at") != "" {
				t.Errorf("%s: it asked again: %s", s.name, a.Body)
			}
		}
	}
}

func btoi(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// TestAnAgentWithNothingIsToldWhatToDo follows the hints of an agent that knows only its key.
func TestAnAgentWithNothingIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	me := agent.must(200, "GET", "/api/me", nil)
	for _, list := range []string{"tools_approved", "tools_pending", "tools_denied"} {
		if items, is := me.JSON[list].([]any); !is || len(items) != 0 {
			t.Errorf("%s is %v", list, me.JSON[list])
		}
	}
	if !strings.Contains(me.Text("hint"), "GET /api/tools") {
		t.Errorf("the hint is %q", me.Text("hint"))
	}
	if a := agent.must(200, "GET", "/api/tools", nil); string(a.Body) != `{"tools":[]}`+"\n" &&
		string(a.Body) != `{"tools":[]}` {
		t.Errorf("an empty catalog is %q", a.Body)
	}
	tool := admin.mustTool("GitHub", "ghp_secret")
	a := agent.fetch(tool)
	if !strings.Contains(a.Text("hint"), "POST /api/tools/"+tool+"/request") {
		t.Errorf("the hint is %q", a.Text("hint"))
	}
	asked := agent.must(201, "POST", "/api/tools/"+tool+"/request", object{"reason": "to open pull requests"})
	if asked.Text("status") != "pending" || !isUUID(asked.Text("request_id")) || asked.Text("message") == "" ||
		len(asked.JSON) != 3 {
		t.Errorf("asked: %s", asked.Body)
	}
	admin.must(200, "POST", "/api/admin/requests/"+asked.Text("request_id")+"/approve", nil)
	if a := agent.must(200, "GET", "/api/me", nil); a.Text("hint") != "" {
		t.Errorf("an agent with access: %s", a.Body)
	}
}
