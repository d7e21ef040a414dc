package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestAnAgentIsOneShapeEverywhere registers, edits, lists and reads an agent: every answer shows
// the same.
func TestAnAgentIsOneShapeEverywhere(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	made := admin.must(
		201, "POST", "/api/admin/agents",
		object{"name": "Onboarding", "description": "Opens pull requests", "owner": "ada@example.com"},
	)
	agentID, key := made.Text("agent.id"), made.Text("api_key")
	path := "/api/admin/agents/" + agentID
	if made.Header.Get("Location") != path || made.Header.Get("ETag") != `"1"` || len(made.JSON) != 3 ||
		!strings.HasPrefix(key, "sk_agent_") {
		t.Errorf("registered: %v %s", made.Header, made.Body)
	}
	block := made.Text("instructions")
	for _, part := range []string{
		"Onboarding", "GET $AGENTKEY_URL/api/tools", "/request", "/credentials", "AGENTKEY_API_KEY",
	} {
		if !strings.Contains(block, part) {
			t.Errorf("the block does not say %q: %s", part, block)
		}
	}
	if strings.Contains(block, key) || strings.Contains(block, "ada@example.com") {
		t.Errorf("the block shows too much: %s", block)
	}
	if made.Text("agent.owner.type") != "human" || made.Text("agent.owner.label") != "ada@example.com" {
		t.Errorf("the owner of %s", made.Body)
	}
	agent, _ := made.JSON["agent"].(object)
	same := func(what string, got any) {
		t.Helper()
		if diff := cmp.Diff(any(agent), got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	same("alone", any(admin.must(200, "GET", path, nil).JSON))
	same("in the list", any(admin.must(200, "GET", "/api/admin/agents", nil).Items()[0]))
	same(
		"changed to what it is",
		any(admin.must(200, "PATCH", path, object{"name": "Onboarding", "description": "Opens pull requests"}).JSON),
	)
	same("told nothing", any(admin.must(200, "PATCH", path, nil).JSON))

	changed := admin.must(200, "PATCH", path, object{"name": "Offboarding"})
	agent["name"], agent["revision"] = "Offboarding", 2.0
	same("renamed", any(changed.JSON))
	same("read after it was renamed", any(admin.must(200, "GET", path, nil).JSON))
	if changed.Header.Get("ETag") != `"2"` {
		t.Errorf("the ETag is %s", changed.Header.Get("ETag"))
	}
	if owned := admin.must(200, "PATCH", path, object{"owner": "grace@example.com"}); owned.Text("owner.label") !=
		"grace@example.com" {
		t.Errorf("the new owner of %s", owned.Body)
	}
	rotated := admin.must(200, "POST", path+"/rotate-key", object{"overlap_seconds": 60})
	keys, _ := rotated.At("agent.keys").([]any)
	if len(keys) != 2 || rotated.Text("api_key") == key || len(rotated.JSON) != 3 ||
		!strings.Contains(rotated.Text("instructions"), "Offboarding") {
		t.Errorf("rotated: %s", rotated.Body)
	}
	first, _ := keys[0].(object)
	second, _ := keys[1].(object)
	if first["expires_at"] == nil || second["expires_at"] != nil || first["id"] == second["id"] {
		t.Errorf("the keys: %v", keys)
	}
	agent, _ = rotated.JSON["agent"].(object)
	same("read after its key was rotated", any(admin.must(200, "GET", path, nil).JSON))
	for _, body := range []any{nil, object{}, object{"overlap_seconds": 86400}, object{"force": false}} {
		a := admin.refused(409, "overlap_running", "POST", path+"/rotate-key", body)
		until, _ := first["expires_at"].(string)
		if !strings.Contains(a.Text("detail"), until[:len("2026-03-04T05:06")]) ||
			!strings.Contains(a.Text("hint"), "POST /api/admin/agents/{id}/rotate-key") ||
			!strings.Contains(a.Text("hint"), `"force": true`) {
			t.Errorf("it says %s", a.Body)
		}
	}
	same("read after a rotation was refused", any(admin.must(200, "GET", path, nil).JSON))
	p.with(key).must(200, "GET", "/api/me", nil)
	alone := admin.must(200, "POST", path+"/rotate-key", object{"force": true})
	texts := map[any]string{1.0: key, 2.0: rotated.Text("api_key"), 3.0: alone.Text("api_key")}
	var said []string
	keys, _ = alone.At("agent.keys").([]any)
	for _, k := range keys {
		k, _ := k.(object)
		prefix, _ := k["prefix"].(string)
		named := len(prefix) > len("sk_agent_") && strings.HasPrefix(texts[k["number"]], prefix)
		said = append(said, fmt.Sprint(k["number"], " ended ", k["ended_at"] != nil, ", named ", named))
	}
	if want := []string{
		"3 ended false, named true", "1 ended true, named true", "2 ended true, named true",
	}; !slices.Equal(said, want) {
		t.Errorf("without overlap it has the keys %v", keys)
	}
	if a, _ := admin.mustAgent("Offboarding"); a == agentID { // names need not be unique
		t.Error("two agents are one")
	}
}

// TestAnAgentIsActiveSuspendedOrGone goes through the life of an agent.
func TestAnAgentIsActiveSuspendedOrGone(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool, other := admin.mustTool("GitHub", "x"), admin.mustTool("GitLab", "x")
	agentID, key := admin.mustAgent("Onboarding")
	witness, _ := admin.mustAgent("Witness")
	agent, path := p.with(key), "/api/admin/agents/"+agentID
	in := func(status string) bool {
		for _, a := range admin.must(200, "GET", "/api/admin/agents?status="+status, nil).Items() {
			if a["id"] == agentID {
				return a["status"] == status
			}
		}
		return false
	}
	listed := func(want ...string) {
		t.Helper()
		for _, status := range []string{"active", "suspended"} {
			if in(status) != (len(want) > 0 && want[0] == status) {
				t.Errorf("among the %s: %t", status, in(status))
			}
		}
	}
	listed("active")
	admin.mustAssign(agentID, tool)
	request := agent.mustRequest(other)

	suspended := admin.must(200, "POST", path+"/suspend", nil)
	if suspended.Text("status") != "suspended" || suspended.At("grants.approved") != 0.0 ||
		suspended.At("grants.pending") != 0.0 {
		t.Errorf("suspended: %s", suspended.Body)
	}
	again := admin.must(200, "POST", path+"/suspend", nil)
	if again.At("revision") != suspended.At("revision") || again.Header.Get("ETag") != suspended.Header.Get("ETag") {
		t.Errorf("suspended again: %s", again.Body)
	}
	listed("suspended")
	agent.refused(403, "agent_suspended", "GET", "/api/me", nil)
	if a := admin.must(200, "GET", "/api/admin/requests/"+request, nil); a.Text("status") != "withdrawn" {
		t.Errorf("its request: %s", a.Body)
	}
	if queue := admin.must(200, "GET", "/api/admin/requests?status=pending", nil).Items(); len(queue) != 0 {
		t.Errorf("the queue: %v", queue)
	}
	if held := admin.must(
		200, "GET", "/api/admin/grants?status=revoked&agent_id="+agentID, nil,
	).Items(); len(held) != 2 {
		t.Errorf("revoked: %v", held)
	}
	admin.must(200, "PATCH", path, object{"description": "On leave"}) // a suspended agent is still edited
	admin.must(200, "POST", path+"/rotate-key", object{"overlap_seconds": 60})

	reactivated := admin.must(200, "POST", path+"/reactivate", nil)
	admin.must(200, "POST", path+"/reactivate", nil)
	if reactivated.Text("status") != "active" {
		t.Errorf("reactivated: %s", reactivated.Body)
	}
	listed("active")
	for _, item := range agent.must(200, "GET", "/api/tools", nil).Items() {
		if item["your_access"] != "revoked" {
			t.Errorf("after the reactivation: %v", item)
		}
	}
	admin.mustAssign(agentID, tool)
	agent.mustRequest(other)

	last := admin.must(200, "GET", path, nil)
	admin.must(204, "DELETE", path, nil)
	listed()
	agent.must(401, "GET", "/api/me", nil)
	retired := admin.must(200, "GET", path, nil)
	at := retired.Text("retired_at")
	if _, err := time.Parse(time.RFC3339Nano, at); err != nil || retired.Header.Get("ETag") == last.Header.Get("ETag") {
		t.Errorf("retired at %q with the ETag %s", at, retired.Header.Get("ETag"))
	}
	last.JSON["retired_at"], last.JSON["status"], last.JSON["keys"] = at, "retired", []any{}
	last.JSON["grants"] = object{"approved": 0.0, "pending": 0.0}
	last.JSON["revision"] = last.At("revision").(float64) + 1
	if diff := cmp.Diff(last.JSON, retired.JSON); diff != "" {
		t.Errorf("as it is shown when it is retired (-want +got):\n%s", diff)
	}
	for _, call := range []string{
		"PATCH", "DELETE", "POST /rotate-key", "POST /suspend", "POST /reactivate", "POST /grants",
		"PUT /grants/" + tool + "/credential",
	} {
		method, rest, _ := strings.Cut(call, " ")
		body := map[string]any{
			"POST /grants": object{"tool_id": tool}, "PUT /grants/" + tool + "/credential": object{"credential": "x"},
		}[call]
		admin.refused(404, "not_found", method, path+rest, body)
	}
	for _, item := range admin.must(200, "GET", "/api/admin/agents", nil).Items() {
		if item["id"] != witness {
			t.Errorf("a retired agent is listed: %v", item)
		}
	}
	if queue := admin.must(200, "GET", "/api/admin/requests?status=pending", nil).Items(); len(queue) != 0 {
		t.Errorf("the queue: %v", queue)
	}
	if a := admin.must(200, "GET", "/api/admin/tools/"+tool, nil); a.At("grants.approved") != 0.0 {
		t.Errorf("the tool counts %v", a.At("grants"))
	}
	var story []string
	for _, e := range admin.must(200, "GET", "/api/admin/audit?limit=200&agent_id="+agentID, nil).Items() {
		story = append(story, fmt.Sprint(e["action"]))
	}
	if story[len(story)-1] != "agent.registered" || !strings.Contains(fmt.Sprint(story), "agent.retired") {
		t.Errorf("the audit of a retired agent: %v", story)
	}
}
