package main

import (
	"fmt"
	"strings"
	"testing"
)

// declared are the names of the headers that a client may send with an operation.
func declared(doc answer, o object) map[string]bool {
	out := map[string]bool{}
	parameters, _ := o["parameters"].([]any)
	for _, v := range parameters {
		if p := resolve(doc, v); p["in"] == "header" {
			out[fmt.Sprint(p["name"])] = true
		}
	}
	return out
}

// TestEveryOperationDeclaresTheHeadersThatItHonours sends each header that a client can send, with
// a value that no call takes, to every operation of the document. An operation refuses it exactly
// if it declares the header. What answers carry, every test compares with the document.
func TestEveryOperationDeclaresTheHeadersThatItHonours(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	agentID, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	granted := admin.mustTool("GitLab", "glpat_secret")
	admin.mustAssign(agentID, granted)
	tool := admin.mustTool("GitHub", "ghp_secret")
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"instructions": "Send it."})
	ids := map[string]string{ // by the path before {id}
		"/api/tools/": tool, "/api/admin/tools/": tool, "/api/admin/agents/": agentID,
		"/api/admin/requests/":                agent.mustRequest(tool),
		"/api/admin/suggestions/":             agent.suggest("Linear", "https://linear.app", "to file issues"),
		"/api/admin/instruction-suggestions/": agent.noteOn(granted, learned, "It failed."),
		"/api/admin/rules/":                   admin.must(201, "POST", rulesPath, unused).Text("id"),
		"/api/admin/notification-channels/": admin.must(201, "POST", "/api/admin/notification-channels", object{
			"kind": "webhook", "name": "Desk", "topics": []string{"access_requested"}, "url": "https://hooks.example/a",
		}).Text("id"),
	}
	bodies := map[string]object{
		"PUT /api/admin/tools/{id}/credential":    {"credential": "new"},
		"POST /api/admin/suggestions/{id}/accept": {"tool": linear},
		"PUT /api/admin/catalog/import":           {"agentkey_catalog": 1, "tools": []object{}},
		"PATCH /api/admin/agents/{id}":            {"name": "Renamed"},
		"PUT /api/admin/agents/{id}/identity": {
			"issuer": "https://issuer.example", "audience": "agentkey", "claims": object{"sub": "a"},
		},
		"PATCH /api/admin/tools/{id}":                          {"name": "Renamed"},
		"PATCH /api/admin/rules/{id}":                          {"name": "Renamed"},
		"PATCH /api/admin/notification-channels/{id}":          {"name": "Renamed"},
		"POST /api/admin/instruction-suggestions/{id}/accept":  {"instructions": "Use it."},
		"POST /api/admin/instruction-suggestions/{id}/dismiss": {"reason": "It is known."},
	}
	doc, honoured := p.apiDocument(), map[string]int{}
	for _, r := range p.routes() {
		o := inside(doc.JSON, "paths", r.path, strings.ToLower(r.method))
		takes, before := declared(doc, o), strings.Split(r.path, "{id}")[0]
		var body any
		if inside(o, "requestBody") != nil {
			body = object{}
			if known, is := bodies[r.String()]; is {
				body = known
			}
		}
		caller := map[string]client{"agent": agent, "admin": admin, "anyone": p.anyone()}[r.caller]
		for header, value := range map[string]string{"Idempotency-Key": "a b", "X-Wait-For-Position": "x"} {
			a := caller.call(r.method, r.at(newID().String(), tool), body, header, value)
			refused := a.Status == 400 && strings.Contains(string(a.Body), `"field":"`+header+`"`)
			if refused != takes[header] {
				t.Errorf("%s declares %v, and with %s: %s the answer is %s", r, takes, header, value, a.Body)
			}
		}
		if takes["If-Match"] {
			caller.refused(412, "revision_stale", r.method, r.at(ids[before], tool), body, "If-Match", `"other"`)
		}
		if takes["If-None-Match"] {
			caller.must(304, r.method, r.at(ids[before], tool), nil, "If-None-Match", "*")
		}
		for header := range takes {
			honoured[header]++
		}
	}
	for _, header := range []string{"Idempotency-Key", "If-Match", "X-Wait-For-Position"} {
		if honoured[header] < 15 {
			t.Errorf("only %d operations take %s", honoured[header], header)
		}
	}
}
