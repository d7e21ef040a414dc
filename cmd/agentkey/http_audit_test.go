package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestTheAuditIsFiltered makes a story with two agents and two tools, and asks for its parts.
func TestTheAuditIsFiltered(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	one, two := admin.mustTool("GitHub", "ghp_secret"), admin.mustTool("GitLab", "glp_secret")
	first, firstKey := admin.mustAgent("First")
	second, secondKey := admin.mustAgent("Second")
	request := p.with(firstKey).mustRequest(one)
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	p.with(firstKey).fetch(one)
	middle := time.Now().UTC()
	wait.Until(t, "another microsecond", func() bool { return time.Since(middle) > 2*time.Microsecond })
	p.with(secondKey).fetch(two) // is refused
	admin.mustAssign(second, two)
	p.with(secondKey).fetch(two)
	admin.must(200, "PATCH", "/api/admin/tools/"+two, object{"instructions": "Send it."})
	admin.must(204, "DELETE", "/api/admin/tools/"+two, nil)
	me := admin.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	list := func(query url.Values) []object {
		return admin.must(200, "GET", "/api/admin/audit?limit=200&"+query.Encode(), nil).Items()
	}
	// by the reaction
	wait.Until(t, "written down", func() bool { return len(list(url.Values{"action": {"grant.revoked"}})) == 1 })

	whole := list(nil)
	for i, e := range whole {
		if i > 0 && !(e["position"].(float64) < whole[i-1]["position"].(float64)) {
			t.Errorf("%v is not older than %v", e, whole[i-1])
		}
		_, hasRequest := e["request"]
		if byCall := e["actor"].(object)["type"] != "system"; byCall && !hasRequest || !isUUID(id(e)) ||
			e["stream"] == "" {
			t.Errorf("an entry: %v", e)
		}
	}
	after := func(e object) bool {
		at, err := time.Parse(time.RFC3339Nano, e["occurred_at"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return !at.Before(middle)
	}
	by := func(member, value string) func(object) bool {
		return func(e object) bool {
			var v any = e
			for step := range strings.SplitSeq(member, ".") {
				o, _ := v.(object)
				v = o[step]
			}
			return fmt.Sprint(v) == value
		}
	}
	now := middle.Format(time.RFC3339Nano)
	for _, tt := range []struct {
		query string
		want  func(object) bool
		least int
	}{
		{"action=credential.vended", by("action", "credential.vended"), 2},
		{"action=credential.refused", by("action", "credential.refused"), 1},
		{"action=agent.registered", by("action", "agent.registered"), 2},
		{"action=agent.retired", by("action", "agent.retired"), 0},
		{"actor_type=agent", by("actor.type", "agent"), 4},
		{"actor_type=service", by("actor.type", "service"), 6},
		{"actor_type=system", by("actor.type", "system"), 1},
		{"actor_type=human", by("actor.type", "human"), 0},
		{"actor_id=" + first, by("actor.id", first), 2},
		{"actor_id=" + me, by("actor.id", me), 6},
		{"agent_id=" + first, by("agent_id", first), 4},
		{"agent_id=" + second, by("agent_id", second), 5},
		{"tool_id=" + one, by("tool_id", one), 4},
		{"tool_id=" + two, by("tool_id", two), 7},
		{"agent_id=" + second + "&tool_id=" + two + "&action=credential.vended&actor_type=agent", func(e object) bool {
			return e["agent_id"] == second && e["tool_id"] == two && e["action"] == "credential.vended"
		}, 1},
		{"agent_id=" + first + "&tool_id=" + two, func(object) bool { return false }, 0},
		{"from=" + url.QueryEscape(now), after, 6},
		{"to=" + url.QueryEscape(now), func(e object) bool { return !after(e) }, 7},
		{"from=" + url.QueryEscape(now) + "&to=" + url.QueryEscape(now), func(object) bool { return false }, 0},
		{"from=" + url.QueryEscape(middle.In(time.FixedZone("", 5*3600)).Format(time.RFC3339Nano)), after, 6},
	} {
		var want, got []string
		for _, e := range whole {
			if tt.want(e) {
				want = append(want, id(e))
			}
		}
		for _, e := range admin.must(200, "GET", "/api/admin/audit?limit=200&"+tt.query, nil).Items() {
			got = append(got, id(e))
		}
		if !slices.Equal(got, want) || len(want) < tt.least {
			t.Errorf("%s: %d entries, not %d, at least %d", tt.query, len(got), len(want), tt.least)
		}
	}
}

// TestEachEntryOfTheAuditSaysWhoDidWhatToWhom looks at the members of one entry of each kind.
func TestEachEntryOfTheAuditSaysWhoDidWhatToWhom(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	admin.http.Transport = userAgent("terraform/1.9", admin.http.Transport)
	tool := admin.mustTool("GitHub", "ghp_secret")
	agentID, key := admin.mustAgent("Onboarding")
	asked := p.with(key).must(201, "POST", "/api/tools/"+tool+"/request", object{"reason": "to open pull requests"})
	approved := admin.must(200, "POST", "/api/admin/requests/"+asked.Text("request_id")+"/approve", nil)
	fetched := p.with(key).fetch(tool)
	admin.must(200, "GET", "/api/admin/audit", nil)
	me := admin.must(200, "GET", "/api/admin/me", nil)
	entry := func(action string) answer {
		t.Helper()
		items := admin.must(200, "GET", "/api/admin/audit?limit=1&action="+action, nil).Items()
		if len(items) != 1 {
			t.Fatalf("the audit has no %s", action)
		}
		return answer{JSON: items[0]}
	}
	for _, tt := range []struct {
		action string
		want   map[string]string
	}{
		{"organization.created", map[string]string{"target.type": "organization", "actor.type": "system"}},
		{"installation.begun", map[string]string{"target.type": "installation", "actor.type": "system"}},
		{"tool.added", map[string]string{
			"target.type": "tool", "target.id": tool, "target.label": "GitHub", "tool_id": tool, "agent_id": "",
			"actor.type": "service", "actor.id": me.Text("actor.id"), "actor.label": me.Text("actor.label"),
			"request.user_agent": "terraform/1.9", "request.ip": "127.0.0.1",
			"data.name": "GitHub",
		}},
		{"agent.registered", map[string]string{
			"target.type": "agent", "target.id": agentID, "target.label": "Onboarding", "agent_id": agentID,
			"tool_id": "", "stream": "agent-" + agentID, "data.name": "Onboarding",
		}},
		{"grant.requested", map[string]string{
			"target.type": "tool", "target.id": tool, "agent_id": agentID, "tool_id": tool, "actor.type": "agent",
			"actor.id": agentID, "actor.label": "Onboarding", "data.reason": "to open pull requests",
			"data.request_id": asked.Text("request_id"), "request.id": asked.Header.Get("X-Request-Id"),
		}},
		{"grant.approved", map[string]string{
			"agent_id": agentID, "tool_id": tool, "actor.type": "service",
			"request.id": approved.Header.Get("X-Request-Id"), "position": approved.Header.Get("X-Event-Position"),
		}},
		{"credential.vended", map[string]string{
			"agent_id": agentID, "tool_id": tool, "actor.id": agentID, "id": fetched.Text("receipt.event_id"),
			"stream": fetched.Text("receipt.stream"), "revision": fmt.Sprint(fetched.At("receipt.revision")),
			"position": fetched.Header.Get("X-Event-Position"), "request.id": fetched.Header.Get("X-Request-Id"),
		}},
	} {
		e := entry(tt.action)
		for path, want := range tt.want {
			got := ""
			if v := e.At(path); v != nil {
				got = fmt.Sprint(v)
			}
			if got != want {
				t.Errorf("%s: %s is %q, not %q", tt.action, path, got, want)
			}
		}
		at, err := time.Parse(time.RFC3339Nano, e.Text("occurred_at"))
		if err != nil || !strings.HasSuffix(e.Text("occurred_at"), "Z") || time.Since(at) > time.Hour ||
			e.At("data") == nil {
			t.Errorf("%s: %v", tt.action, e.JSON)
		}
		for _, hidden := range []string{"hash", "check", "sealed", "private"} {
			if text := fmt.Sprint(e.JSON); strings.Contains(text, hidden+":") {
				t.Errorf("%s shows %s: %v", tt.action, hidden, e.JSON)
			}
		}
	}
}

// TestEveryEntryOfTheAuditNamesEverything makes one of everything that has a name, ends all of it,
// and reads only the audit.
func TestEveryEntryOfTheAuditNamesEverything(t *testing.T) {
	t.Parallel()
	hook := startHook(t, nil)
	p := start(t, append(unlimited, toLoopback)...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	agentID, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	request := agent.mustRequest(tool)
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	agent.fetch(tool)
	withdrawn := admin.mustTool("Jira", "x")
	agent.mustRequest(withdrawn)
	agent.must(204, "DELETE", "/api/tools/"+withdrawn+"/request", nil)
	admin.must(200, "PATCH", "/api/admin/tools/"+withdrawn, object{"instructions": "Send it."})
	note := agent.noteOn(tool, "Page by cursor.\nOffsets are ignored.", "I expected an offset.")
	admin.must(200, "POST", "/api/admin/instruction-suggestions/"+note+"/dismiss", object{"reason": "We know."})
	wish := agent.suggest("Linear", "", "to file issues")
	admin.accept(wish, object{"tool": linear})
	channel := admin.mustChannel("webhook", hook.URL).Text("id")
	admin.must(200, "POST", "/api/admin/notification-channels/"+channel+"/test", nil)
	other := p.organization("Another", "owner")
	_, theirs := other.mustAgent("Theirs")
	p.with(theirs).refused(404, "not_found", "GET", "/api/tools/"+tool+"/credentials", nil)
	// An id of another organization names nothing.
	var refused []object
	wait.Until(t, "their refusal is in the audit", func() bool {
		refused = other.must(200, "GET", "/api/admin/audit?action=credential.refused", nil).Items()
		return len(refused) == 1
	})
	if e := (answer{JSON: refused[0]}); e.Text("tool_id") != tool || e.Text("tool.name") != "Unknown tool" ||
		e.Text("target.label") != "Unknown tool" || e.Text("agent.name") != "Theirs" ||
		e.Text("summary") != "Theirs was refused the credential of an unknown tool because there is no such tool, "+
			"or it has no credential." {
		t.Errorf("theirs: %v", e.JSON)
	}
	exportedEvents(t, other.must(200, "GET", auditExport+"ocsf", nil))

	admin.must(204, "DELETE", "/api/admin/notification-channels/"+channel, nil)
	admin.must(204, "DELETE", "/api/admin/tools/"+tool, nil)
	admin.must(204, "DELETE", "/api/admin/agents/"+agentID, nil)
	token, _, err := keys.New(keys.Service, uuid.Nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, "AGENTKEY_ADMIN_TOKEN="+token)
	p.restart()
	admin = p.with(token)

	wait.Until(t, "it knows of the new token", func() bool {
		return len(admin.must(200, "GET", "/api/admin/audit?action=service_token.created", nil).Items()) == 2
	})
	for path, actors := range map[string]int{
		"agents/" + agentID: 1, "grants": 2, "requests": 2, "suggestions": 1,
		"tools/" + withdrawn + "/instructions": 1,
	} {
		text := string(admin.must(200, "GET", "/api/admin/"+path, nil).Body)
		if all := strings.Count(text, `_by":{`); all < actors || strings.Count(text, `"label":"`) != all {
			t.Errorf("of %s not everybody is named: %s", path, text)
		}
	}
	kinds := map[any]bool{}
	for _, event := range exportedEvents(t, admin.must(200, "GET", auditExport+"ocsf", nil)) {
		kinds[event.At("type_uid")] = true
	}
	if len(kinds) < 8 {
		t.Errorf("the events of OCSF are only of the types %v", kinds)
	}
	newest := map[string]string{}
	for _, e := range admin.must(200, "GET", "/api/admin/audit?limit=200", nil).Items() {
		e := answer{JSON: e}
		label := e.Text("target.label")
		if label == "" || strings.HasPrefix(label, "Unknown") || e.Text("actor.label") == "" ||
			(e.At("agent_id") == nil) != (e.At("agent") == nil) || e.At("agent_id") != e.At("agent.id") ||
			(e.At("tool_id") == nil) != (e.At("tool") == nil) || e.At("tool_id") != e.At("tool.id") {
			t.Errorf("something has no name: %v", e.JSON)
		}
		if action := e.Text("action"); newest[action] == "" {
			newest[action] = strings.Join(
				[]string{e.Text("actor.label"), e.Text("target.type"), label, e.Text("agent.name"), e.Text("tool.name")}, " | ",
			)
		}
	}
	for action, want := range map[string]string{
		"agent.retired":                    "first admin token | agent | Onboarding | Onboarding | ",
		"grant.approved":                   "first admin token | tool | GitHub | Onboarding | GitHub",
		"credential.vended":                "Onboarding | tool | GitHub | Onboarding | GitHub",
		"suggestion.made":                  "Onboarding | suggestion | Linear | Onboarding | ",
		"suggestion.accepted":              "first admin token | suggestion | Linear |  | Linear",
		"instruction_suggestion.dismissed": "first admin token | instruction_suggestion | Page by cursor.… |  | GitHub",
		"notification_channel.removed":     "first admin token | notification_channel | To webhook |  | ",
		"delivery.queued":                  "first admin token | delivery | To webhook: test |  | ",
		"organization.created":             "AgentKey: installation | organization | Default |  | ",
		"service_token.created":            "AgentKey: installation | service_token | configured admin token |  | ",
		"installation.begun":               "AgentKey: installation | installation | Installation |  | ",
	} {
		if newest[action] != want {
			t.Errorf("%s: %s, not %s", action, newest[action], want)
		}
	}
}
