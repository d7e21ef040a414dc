package main

import (
	"testing"

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
