package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest/wait"
)

// TestAToolIsOneShapeEverywhere adds, edits, lists and reads a tool: every answer shows the same,
// and no credential.
func TestAToolIsOneShapeEverywhere(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	whole := object{
		"name": "GitHub", "description": "Code", "url": "https://github.com",
		"docs_url": "https://docs.github.com/rest", "auth_type": "api_key", "credential_mode": "shared",
		"credential": "ghp_secret", "instructions": "Send it.", "max_grant_seconds": 3600,
	}
	made := admin.must(201, "POST", "/api/admin/tools", whole)
	path := "/api/admin/tools/" + made.Text("id")
	if made.Header.Get("Location") != path || made.Header.Get("ETag") != fmt.Sprintf(`"%v"`, made.At("revision")) ||
		strings.Contains(string(made.Body), "ghp_secret") {
		t.Errorf("added: %v %s", made.Header, made.Body)
	}
	for field, want := range whole {
		if got := made.JSON[field]; field != "credential" && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("added with %s %v, not %v", field, got, want)
		}
	}
	if made.At("has_credential") != true || made.At("credential_version") != 1.0 ||
		made.At("instructions_version") != 1.0 {
		t.Errorf("added: %s", made.Body)
	}
	tool := made.JSON
	same := func(what string, got object) {
		t.Helper()
		if diff := cmp.Diff(tool, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	same("alone", admin.must(200, "GET", path, nil).JSON)
	same("in the list", admin.must(200, "GET", "/api/admin/tools", nil).Items()[0])
	same("told nothing", admin.must(200, "PATCH", path, object{}).JSON)
	unchanged := object{}
	for field, v := range whole {
		if field != "credential" && field != "credential_mode" {
			unchanged[field] = v
		}
	}
	same("changed to what it is", admin.must(200, "PATCH", path, unchanged).JSON)

	for _, change := range []object{
		{"name": "GitHub Enterprise"},
		{"description": "Code and issues", "url": "https://github.example.com/login"},
		{"docs_url": "https://docs.example.com"},
		{"auth_type": "bot_token"},
		{"max_grant_seconds": 60},
		{"instructions": "Send it as a bearer token."},
	} {
		now := admin.must(200, "PATCH", path, change)
		for field, v := range change {
			tool[field] = v
			if n, is := v.(int); is {
				tool[field] = float64(n)
			}
		}
		if change["instructions"] != nil {
			tool["instructions_version"] = 2.0
		}
		if change["url"] != nil {
			delete(tool, "template_id") // no template is of that site
		}
		if at := now.Text("updated_at"); at <= fmt.Sprint(tool["updated_at"]) {
			t.Errorf("updated at %s after %s", at, tool["updated_at"])
		}
		if revision, _ := tool["revision"].(float64); now.At("revision") != revision+1 ||
			now.Header.Get("ETag") != fmt.Sprintf(`"%v"`, revision+1) {
			t.Errorf("revision %v with the ETag %s after %v", now.At("revision"), now.Header.Get("ETag"), revision)
		}
		tool["updated_at"], tool["revision"] = now.Text("updated_at"), now.At("revision")
		same("changed", now.JSON)
		same("read after it was changed", admin.must(200, "GET", path, nil).JSON)
	}
	agentID, key := admin.mustAgent("Onboarding")
	admin.mustAssign(agentID, made.Text("id"))
	offer := p.with(key).must(200, "GET", "/api/tools/"+made.Text("id"), nil).JSON
	for _, field := range []string{"id", "name", "description", "url", "auth_type"} {
		if offer[field] != tool[field] {
			t.Errorf("an agent sees the %s %v, not %v", field, offer[field], tool[field])
		}
	}
	if len(offer) != 7 { // those, its access and its end
		t.Errorf("an agent sees %v", offer)
	}
	until, err := time.Parse(time.RFC3339Nano, fmt.Sprint(offer["expires_at"]))
	if in := time.Until(until); err != nil || in > time.Minute || in < 30*time.Second {
		t.Errorf("access that is given for at most a minute ends in %s", in)
	}
}

// TestACredentialIsRotatedWhereItIs rotates a shared one and one of an agent's own. The next fetch
// gets the new one.
func TestACredentialIsRotatedWhereItIs(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	shared := admin.mustTool("GitHub", "shared 1")
	own := admin.must(
		201, "POST", "/api/admin/tools", object{"name": "Jira", "auth_type": "other", "credential_mode": "per_agent"},
	)
	if own.At("has_credential") != false || own.At("credential_version") != 0.0 ||
		own.At("instructions_version") != 0.0 || own.Text("instructions") != "" {
		t.Errorf("a tool without a credential: %s", own.Body)
	}
	each := own.Text("id")
	one, oneKey := admin.mustAgent("One")
	two, twoKey := admin.mustAgent("Two")
	for agentID, credential := range map[string]string{one: "own 1", two: "other"} {
		admin.mustAssign(agentID, shared)
		g := admin.must(
			201, "POST", "/api/admin/agents/"+agentID+"/grants", object{"tool_id": each, "credential": credential},
		)
		if g.Text("origin") != "assignment" || g.Text("status") != "approved" || g.At("fetch_count") != 0.0 ||
			strings.Contains(string(g.Body), credential) {
			t.Errorf("assigned: %s", g.Body)
		}
	}
	until := time.Now().UTC().Add(time.Hour).Truncate(time.Second).Format(time.RFC3339)
	fetch := func(key, tool, credential string, version float64, expires string) {
		t.Helper()
		a := p.with(key).fetch(tool)
		if a.Text("credential") != credential || a.At("credential_version") != version ||
			a.Text("credential_expires_at") != expires || a.Text("tool_id") != tool ||
			a.At("instructions_version") != 0.0 ||
			a.Text("suggest_instructions_endpoint") != "/api/tools/"+tool+"/instructions/suggest" {
			t.Errorf("the fetch: %s", a.Body)
		}
	}
	fetch(oneKey, shared, "shared 1", 1, "")
	fetch(oneKey, each, "own 1", 1, "")
	now := admin.must(
		200, "PUT", "/api/admin/tools/"+shared+"/credential", object{"credential": "shared 2", "expires_at": until},
	)
	if now.At("credential_version") != 2.0 || now.Text("credential_expires_at") != until || now.At("revision") != 2.0 ||
		strings.Contains(string(now.Body), "shared 2") {
		t.Errorf("rotated: %s", now.Body)
	}
	g := admin.must(
		200, "PUT", "/api/admin/agents/"+one+"/grants/"+each+"/credential",
		object{"credential": "own 2", "expires_at": until},
	)
	if g.Text("agent_id") != one || g.Text("tool_id") != each || g.At("fetch_count") != 1.0 ||
		g.Text("last_fetched_at") == "" || strings.Contains(string(g.Body), "own 2") {
		t.Errorf("replaced: %s", g.Body)
	}
	fetch(oneKey, shared, "shared 2", 2, until)
	fetch(twoKey, shared, "shared 2", 2, until)
	fetch(oneKey, each, "own 2", 2, until)
	fetch(twoKey, each, "other", 1, "")
	held := admin.must(200, "GET", "/api/admin/grants?agent_id="+one+"&tool_id="+each, nil).Items()
	if len(held) != 1 || held[0]["fetch_count"] != 2.0 || held[0]["agent_name"] != "One" ||
		held[0]["tool_name"] != "Jira" {
		t.Errorf("the grant: %v", held)
	}
	// Asked for and approved with a credential of its own, it is a grant with a reason and a request.
	third, thirdKey := admin.mustAgent("Three")
	request := p.with(thirdKey).mustRequest(each)
	admin.must(
		200, "POST", "/api/admin/requests/"+request+"/approve",
		object{"credential": object{"user": "three", "password": " p "}},
	)
	if diff := cmp.Diff(
		object{"user": "three", "password": " p "}, p.with(thirdKey).fetch(each).At("credential").(object),
	); diff != "" {
		t.Error(diff)
	}
	held = admin.must(200, "GET", "/api/admin/grants?agent_id="+third, nil).Items()
	if held[0]["origin"] != "request" || held[0]["request_id"] != request ||
		held[0]["reason"] != "to open pull requests" || held[0]["decided_by"].(object)["type"] != "service" {
		t.Errorf("the grant: %v", held)
	}
}

// TestAUsageGuideIsNeverOverwritten revises and restores it. Every version stays, and a fetch has
// the newest.
func TestAUsageGuideIsNeverOverwritten(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	agentID, key := admin.mustAgent("Onboarding")
	admin.mustAssign(agentID, tool)
	path := "/api/admin/tools/" + tool
	if a := admin.must(200, "GET", path+"/instructions", nil); len(a.Items()) != 0 {
		t.Errorf("there is none yet: %s", a.Body)
	}
	restore := func(version int) answer {
		return admin.must(200, "POST", fmt.Sprintf("%s/instructions/%d/restore", path, version), nil)
	}
	admin.must(200, "PATCH", path, object{"instructions": "First"})
	admin.must(200, "PATCH", path, object{"instructions": "Second\nwith *two* lines"})
	if a := restore(1); a.Text("instructions") != "First" || a.At("instructions_version") != 3.0 {
		t.Errorf("restored: %s", a.Body)
	}
	if a := restore(3); a.At("instructions_version") != 3.0 { // the newest: it is so already
		t.Errorf("restored the newest: %s", a.Body)
	}
	restore(2)
	admin.must(200, "PATCH", path, object{"instructions": "Second\nwith *two* lines"}) // what it says already
	admin.refused(404, "not_found", "POST", path+"/instructions/5/restore", nil)
	var got []object
	for _, v := range admin.must(200, "GET", path+"/instructions", nil).Items() {
		by, _ := v["created_by"].(object)
		if by["type"] != "service" || v["created_at"] == nil {
			t.Errorf("a version: %v", v)
		}
		delete(v, "created_by")
		delete(v, "created_at")
		got = append(got, v)
	}
	want := []object{
		{"version": 4.0, "instructions": "Second\nwith *two* lines", "restored_from": 2.0},
		{"version": 3.0, "instructions": "First", "restored_from": 1.0},
		{"version": 2.0, "instructions": "Second\nwith *two* lines"},
		{"version": 1.0, "instructions": "First"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the versions: %s", diff)
	}
	if a := p.with(key).fetch(tool); a.Text("instructions") != "Second\nwith *two* lines" ||
		a.At("instructions_version") != 4.0 {
		t.Errorf("the fetch: %s", a.Body)
	}
	admin.must(204, "DELETE", path, nil)
	admin.refused(404, "not_found", "GET", path+"/instructions", nil)
	admin.refused(404, "not_found", "POST", path+"/instructions/1/restore", nil)
}

// TestARemovedToolIsStillShownByItsID removes a tool that one agent uses, another waits for, and a
// retired one had.
func TestARemovedToolIsStillShownByItsID(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool, stays := admin.mustTool("GitHub", "ghp_secret"), admin.mustTool("GitLab", "x")
	user, userKey := admin.mustAgent("User")
	_, waiterKey := admin.mustAgent("Waiter")
	admin.mustAssign(user, tool)
	request := p.with(waiterKey).mustRequest(tool)
	retired, _ := admin.mustAgent("Retired")
	admin.mustAssign(retired, tool)
	admin.must(204, "DELETE", "/api/admin/agents/"+retired, nil)
	last := admin.must(200, "GET", "/api/admin/tools/"+tool, nil)
	admin.must(204, "DELETE", "/api/admin/tools/"+tool, nil)
	removed := admin.must(200, "GET", "/api/admin/tools/"+tool, nil)
	at := removed.Text("removed_at")
	if _, err := time.Parse(time.RFC3339Nano, at); err != nil || removed.Header.Get("ETag") == last.Header.Get("ETag") {
		t.Errorf("removed at %q with the ETag %s", at, removed.Header.Get("ETag"))
	}
	last.JSON["removed_at"], last.JSON["has_credential"] = at, false
	last.JSON["grants"] = object{"approved": 0.0, "pending": 0.0}
	last.JSON["revision"] = last.At("revision").(float64) + 1
	if diff := cmp.Diff(last.JSON, removed.JSON); diff != "" {
		t.Errorf("as it is shown when it is removed (-want +got):\n%s", diff)
	}
	for _, key := range []string{userKey, waiterKey} {
		agent := p.with(key)
		for _, call := range []string{"GET", "GET /credentials", "DELETE /request"} {
			method, rest, _ := strings.Cut(call, " ")
			agent.refused(404, "not_found", method, "/api/tools/"+tool+rest, nil)
		}
		agent.refused(404, "not_found", "POST", "/api/tools/"+tool+"/request", object{"reason": "once more"})
		if items := agent.must(200, "GET", "/api/tools", nil).Items(); len(items) != 1 || items[0]["id"] != stays {
			t.Errorf("the catalog: %v", items)
		}
		if a := agent.must(200, "GET", "/api/me", nil); a.At("tools_available") != 1.0 ||
			len(a.JSON["tools_approved"].([]any)) != 0 || len(a.JSON["tools_pending"].([]any)) != 0 {
			t.Errorf("me: %s", a.Body)
		}
	}
	for _, call := range []string{"PATCH", "DELETE", "GET /instructions"} {
		call, rest, _ := strings.Cut(call, " ")
		admin.refused(404, "not_found", call, "/api/admin/tools/"+tool+rest, nil)
	}
	admin.refused(404, "not_found", "PUT", "/api/admin/tools/"+tool+"/credential", object{"credential": "x"})
	// or written down
	if a := admin.call("POST", "/api/admin/requests/"+request+"/deny", nil); a.Code() != "not_found" &&
		a.Code() != "already_decided" {
		t.Errorf("its request: %d %s", a.Status, a.Body)
	}
	if items := admin.must(200, "GET", "/api/admin/tools", nil).Items(); len(items) != 1 {
		t.Errorf("the tools: %v", items)
	}
	for _, list := range []string{"grants?status=approved", "grants?status=pending", "requests?status=pending"} {
		wait.Until(
			t, "empty: "+list, func() bool { return len(admin.must(200, "GET", "/api/admin/"+list, nil).Items()) == 0 },
		)
	}
	var story []string
	wait.Until(t, "written down", func() bool {
		story = nil
		for _, e := range admin.must(200, "GET", "/api/admin/audit?tool_id="+tool, nil).Items() {
			story = append(story, fmt.Sprint(e["action"]))
			if label := e["target"].(object)["label"]; label != "GitHub" {
				t.Errorf("the audit calls it %v", label)
			}
		}
		return strings.Count(fmt.Sprint(story), "grant.revoked") == 3
	})
	if story[len(story)-1] != "tool.added" || !strings.Contains(fmt.Sprint(story), "tool.removed") {
		t.Errorf("the audit: %v", story)
	}
}
