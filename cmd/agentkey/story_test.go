package main

import "testing"

func TestTheStory(t *testing.T) {
	t.Parallel()
	p := startShared(t)
	admin := p.admin()
	tool := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "GitHub", "url": "https://github.com", "auth_type": "api_key", "credential_mode": "shared",
		"credential":   "ghp_secret",
		"instructions": "Send it as a bearer token.",
	}).Text("id")
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)

	tools := agent.must(200, "GET", "/api/tools", nil).Items()
	if len(tools) != 1 || tools[0]["your_access"] != "none" {
		t.Fatalf("the catalog of an agent with nothing: %v", tools)
	}
	if a := agent.fetch(tool); a.Status != 403 || a.Code() != "access_not_approved" || a.Text("your_access") != "none" {
		t.Fatalf("a fetch without access: %s", a.Body)
	}
	request := agent.mustRequest(tool)
	queue := admin.must(200, "GET", "/api/admin/requests?status=pending", nil).Items()
	if len(queue) != 1 || queue[0]["id"] != request || queue[0]["agent_name"] != "Onboarding" {
		t.Fatalf("the queue: %v", queue)
	}
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	fetched := agent.fetch(tool)
	if fetched.Status != 200 || fetched.Text("credential") != "ghp_secret" ||
		fetched.Text("instructions") != "Send it as a bearer token." {
		t.Fatalf("the fetch: %s", fetched.Body)
	}
	admin.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
	if a := agent.fetch(tool); a.Status != 403 || a.Text("your_access") != "revoked" {
		t.Fatalf("a fetch after the revocation: %s", a.Body)
	}
	// The second refusal for the same reason within a minute is counted and written later.
	var actions []any
	for _, e := range admin.must(200, "GET", "/api/admin/audit?agent_id="+id, nil).Items() {
		actions = append(actions, e["action"])
	}
	want := []any{
		"grant.revoked", "credential.vended", "grant.approved", "grant.requested", "credential.refused",
		"agent.registered",
	}
	if len(actions) != len(want) {
		t.Fatalf("the audit has %v", actions)
	}
	for i := range want {
		if actions[i] != want[i] {
			t.Errorf("the audit has %v at %d, not %v", actions[i], i, want[i])
		}
	}
}
