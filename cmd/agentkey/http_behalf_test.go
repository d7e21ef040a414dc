package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest/wait"
)

// TestAccessNamesWhoApprovedAndWhoEndedIt lets Alice give access and Bob end it in every way that
// there is, and looks for both in grants, requests and the audit. What a reaction did, it did for
// Bob.
func TestAccessNamesWhoApprovedAndWhoEndedIt(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	here := admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	person := func(name string) client {
		return p.with(p.shell("token", "create", "--organization", here, "--name", name, "--role", "admin"))
	}
	alice, bob := person("Alice"), person("Bob")
	removed, kept := admin.mustTool("Removed", "x"), admin.mustTool("Kept", "x")
	ids, keys := map[string]string{}, map[string]string{}
	for _, name := range []string{"asked", "waiting", "suspended", "retired", "revoked", "expired", "backer"} {
		ids[name], keys[name] = admin.mustAgent(name)
	}
	approved := p.with(keys["asked"]).mustRequest(removed)
	waiting := p.with(keys["waiting"]).mustRequest(removed)
	alice.must(200, "POST", "/api/admin/requests/"+approved+"/approve", nil)
	for _, name := range []string{"suspended", "retired", "revoked"} {
		alice.mustAssign(ids[name], kept)
	}
	end := time.Now().Add(time.Second)
	given := alice.must(
		201, "POST", "/api/admin/agents/"+ids["expired"]+"/grants", object{"tool_id": kept, "expires_at": end},
	)
	if given.Text("approved_by.label") != "Alice" || given.At("approved_at") != given.At("decided_at") {
		t.Errorf("access that was just given: %s", given.Body)
	}
	bob.must(200, "POST", "/api/admin/agents/"+ids["suspended"]+"/suspend", nil)
	bob.must(204, "DELETE", "/api/admin/agents/"+ids["retired"], nil)
	bob.must(204, "DELETE", "/api/admin/agents/"+ids["revoked"]+"/grants/"+kept, nil)
	bob.must(204, "DELETE", "/api/admin/tools/"+removed, nil)

	label := func(v any) string {
		of, _ := v.(object)
		text, _ := of["label"].(string)
		return text
	}
	look := func(when string) { // the same before and after the reaction to the removal
		for name, want := range map[string][]string{ // status, and by whom it was decided, approved and ended
			"asked": {"revoked", "Bob", "Alice", "Bob"}, "waiting": {"revoked", "Bob", "", "Bob"},
			"suspended": {"revoked", "Bob", "Alice", "Bob"}, "retired": {"revoked", "Bob", "Alice", "Bob"},
			"revoked": {"revoked", "Bob", "Alice", "Bob"},
		} {
			g := admin.must(200, "GET", "/api/admin/grants?agent_id="+ids[name], nil).Items()[0]
			got := []string{g["status"].(string), label(g["decided_by"]), label(g["approved_by"]), label(g["ended_by"])}
			if diff := cmp.Diff(want, got); diff != "" || g["ended_at"] == nil || (g["approved_at"] == nil) != (want[2] == "") {
				t.Errorf("%s, %s (-want +got):\n%s%v", when, name, diff, g)
			}
		}
		for id, want := range map[string][]string{approved: {"approved", "Alice"}, waiting: {"withdrawn", "Bob"}} {
			r := admin.must(200, "GET", "/api/admin/requests/"+id, nil)
			if diff := cmp.Diff(want, []string{r.Text("status"), r.Text("decided_by.label")}); diff != "" {
				t.Errorf("%s (-want +got):\n%s%s", when, diff, r.Body)
			}
		}
	}
	look("at once")

	// what each event says about who acted, and for whom
	acted := func(query string, events int) map[string]string {
		out := map[string]string{}
		wait.Until(t, query, func() bool {
			items := admin.must(200, "GET", "/api/admin/audit?"+query, nil).Items()
			for _, e := range items {
				out[answer{JSON: e}.Text("agent.name")] = label(e["actor"]) + " for " + label(e["on_behalf_of"])
			}
			return len(items) == events
		})
		return out
	}
	const reaction = "AgentKey: removed tools for Bob"
	if diff := cmp.Diff(map[string]string{
		"asked": reaction, "waiting": reaction, "suspended": "Bob for ", "retired": "Bob for ", "revoked": "Bob for ",
	}, acted("action=grant.revoked", 5)); diff != "" {
		t.Errorf("who revoked (-want +got):\n%s", diff)
	}
	look("after the reaction")

	// A tool that gets the name of a suggestion answers it; the backer's request follows from that.
	p.with(keys["backer"]).suggest("Linear", "", "to file issues")
	bob.must(200, "PATCH", "/api/admin/tools/"+kept, object{"name": "Linear"})
	if diff := cmp.Diff(
		map[string]string{"backer": "AgentKey: answered suggestions for Bob"},
		acted("action=grant.requested&agent_id="+ids["backer"], 1),
	); diff != "" {
		t.Errorf("who asked for the backer (-want +got):\n%s", diff)
	}

	wait.Until(t, "expired", func() bool {
		g := admin.must(200, "GET", "/api/admin/grants?agent_id="+ids["expired"], nil).Items()[0]
		if g["status"] != "expired" {
			return false
		}
		if label(g["approved_by"]) != "Alice" || g["ended_by"] != nil || g["ended_at"] != g["expires_at"] ||
			label(g["decided_by"]) != "Alice" {
			t.Errorf("access that ended by its time: %v", g)
		}
		return true
	})
}
