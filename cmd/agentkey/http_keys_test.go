package main

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestAKeyThatEndedIsNoticed: somebody still has it. A key that never was one of the agent's says
// nothing about the agent.
func TestAKeyThatEndedIsNoticed(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	id, first := admin.mustAgent("Onboarding")
	path := "/api/admin/agents/" + id
	keyID := func(a answer, i int) any { return a.At("agent.keys").([]any)[i].(object)["id"] }
	overlapping := admin.must(200, "POST", path+"/rotate-key", object{"overlap_seconds": 60})
	firstID, second := keyID(overlapping, 0), overlapping.Text("api_key")
	secondID := keyID(overlapping, 1)

	p.with(first).must(200, "GET", "/api/me", nil) // it has not ended
	draft, err := keys.Draw()
	if err != nil {
		t.Fatal(err)
	}
	forged, _, err := draft.Key(keys.Agent, uuid.MustParse(id), 1)
	if err != nil {
		t.Fatal(err)
	}
	p.with(forged).refused(401, "credentials_unknown", "GET", "/api/me", nil)

	recorded := func(n int) []object {
		t.Helper()
		var items []object
		wait.Until(t, "recorded", func() bool {
			items = admin.must(200, "GET", "/api/admin/audit?action=agent.key_refused&agent_id="+id, nil).Items()
			return len(items) >= n
		})
		if len(items) != n {
			t.Fatalf("%d entries, not %d: %v", len(items), n, items)
		}
		return items
	}
	admin.must(200, "POST", path+"/rotate-key", object{"force": true})
	for range 3 {
		p.with(first).refused(401, "credentials_expired", "GET", "/api/me", nil)
	}
	p.with(second).refused(401, "credentials_expired", "GET", "/api/admin/agents", nil)
	admin.must(204, "DELETE", path, nil)
	p.with(second).refused(401, "credentials_unknown", "GET", "/api/me", nil)

	for i, want := range []struct {
		key    any
		reason string
	}{{secondID, "agent_retired"}, {secondID, "rotated"}, {firstID, "rotated"}} {
		entry := recorded(3)[i]
		data, _ := entry["data"].(object)
		target, _ := entry["target"].(object)
		request, _ := entry["request"].(object)
		if len(data) != 5 || data["key_id"] != want.key || data["reason"] != want.reason || data["count"] != 1.0 {
			t.Errorf("entry %d: %v, want %v", i, data, want)
		}
		if target["type"] != "agent" || target["id"] != id || target["label"] != "Onboarding" {
			t.Errorf("entry %d is about %v", i, target)
		}
		if request["ip"] != "127.0.0.1" || entry["agent_id"] != id {
			t.Errorf("entry %d: %v", i, entry)
		}
	}
}

// TestAKeySaysWhenItWasLastUsed: each of two keys has its own time, the same in every answer.
func TestAKeySaysWhenItWasLastUsed(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, first := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	path := "/api/admin/agents/" + id
	used := func(agent any, i int) time.Time {
		t.Helper()
		text, found := agent.(object)["keys"].([]any)[i].(object)["last_used_at"].(string)
		if !found {
			return time.Time{}
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Error(err)
		}
		return at
	}
	if at := used(any(admin.must(200, "GET", path, nil).JSON), 0); !at.IsZero() {
		t.Errorf("a key that fetched nothing was used at %s", at)
	}
	if a := p.with(first).fetch(tool); a.Status != 200 {
		t.Fatalf("fetch: %d %s", a.Status, a.Body)
	}
	rotated := admin.must(200, "POST", path+"/rotate-key", object{"overlap_seconds": 60})
	before, second := used(rotated.At("agent"), 0), p.with(rotated.Text("api_key"))
	if before.IsZero() || !used(rotated.At("agent"), 1).IsZero() {
		t.Errorf("after one fetch: %s", rotated.Body)
	}
	if a := second.fetch(tool); a.Status != 200 {
		t.Fatalf("fetch: %d %s", a.Status, a.Body)
	}
	left := admin.must(200, "PATCH", path, object{"name": "Offboarding"})
	now := any(admin.must(200, "GET", path, nil).JSON)
	if used(now, 0) != before || !used(now, 1).After(before) {
		t.Errorf("after the fetch with the second: %v", now)
	}
	if used(any(left.JSON), 0) != used(now, 0) || used(any(left.JSON), 1) != used(now, 1) {
		t.Errorf("the command says %s, GET %v", left.Body, now)
	}
}
