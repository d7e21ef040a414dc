package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestACredentialOfOtherPartsIsRefused replaces credentials by some that agents would read in vain:
// the shared one of a tool, and one of an agent's own.
func TestACredentialOfOtherPartsIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	whole := object{"api_key": "k1", "application_key": "k2"}
	shared := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Datadog", "auth_type": "api_key", "credential_mode": "shared", "credential": whole,
	})
	each := admin.must(
		201, "POST", "/api/admin/tools", object{"name": "Jira", "auth_type": "other", "credential_mode": "per_agent"},
	)
	assigned, assignedKey := admin.mustAgent("Assigned")
	admin.mustAssign(assigned, shared.Text("id"))
	admin.must(
		201, "POST", "/api/admin/agents/"+assigned+"/grants",
		object{"tool_id": each.Text("id"), "credential": whole},
	)
	approved, approvedKey := admin.mustAgent("Approved")
	request := p.with(approvedKey).mustRequest(each.Text("id"))
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", object{"credential": whole})

	for _, tt := range []struct{ what, path, key, tool string }{
		{"the shared one", "/api/admin/tools/" + shared.Text("id"), assignedKey, shared.Text("id")},
		{
			"one that was assigned", "/api/admin/agents/" + assigned + "/grants/" + each.Text("id"), assignedKey,
			each.Text("id"),
		},
		{
			"one that was approved", "/api/admin/agents/" + approved + "/grants/" + each.Text("id"), approvedKey,
			each.Text("id"),
		},
	} {
		path := tt.path + "/credential"
		for _, other := range []any{
			"one string",
			object{"api_key": "k1"},
			object{"api_key": "k1", "application_key": "k2", "site": "eu"},
			object{"api_key": "k1", "Application_Key": "k2"},
			object{"api_key": "k1", "{wait}": "k2"},
		} {
			for _, body := range []object{{"credential": other}, {"credential": other, "replace_shape": false}} {
				a := admin.refused(409, "credential_shape_differs", "PUT", path, body)
				if !strings.Contains(a.Text("detail"), "an object of api_key, application_key") ||
					!strings.Contains(a.Text("hint"), "call PUT /api/admin/") ||
					!strings.Contains(a.Text("hint"), "/"+tt.tool+"/credential again") ||
					!strings.Contains(a.Text("hint"), `"replace_shape": true`) ||
					strings.Contains(string(a.Body), "one string") != (other == any("one string")) {
					t.Errorf("%s: %s", tt.what, a.Body)
				}
			}
			if diff := cmp.Diff(whole, p.with(tt.key).fetch(tt.tool).At("credential")); diff != "" {
				t.Errorf("%s after a refusal: %s", tt.what, diff)
			}
		}
		next := object{"application_key": "k4", "api_key": "k3"}
		admin.must(200, "PUT", path, object{"credential": next})
		if diff := cmp.Diff(next, p.with(tt.key).fetch(tt.tool).At("credential")); diff != "" {
			t.Errorf("%s with the same parts: %s", tt.what, diff)
		}
		admin.must(200, "PUT", path, object{"credential": "now a string", "replace_shape": true})
		if got := p.with(tt.key).fetch(tt.tool).Text("credential"); got != "now a string" {
			t.Errorf("%s in another form on purpose: %q", tt.what, got)
		}
		a := admin.refused(409, "credential_shape_differs", "PUT", path, object{"credential": whole})
		if !strings.Contains(a.Text("detail"), "The credential is one string") {
			t.Errorf("%s: %s", tt.what, a.Body)
		}
		admin.must(200, "PUT", path, object{"credential": whole, "replace_shape": true})
	}
}

// TestAToolSaysWhichPartsItsCredentialHas shows the parts and the template of tools, wherever they
// are shown, and nothing of what the parts hold.
func TestAToolSaysWhichPartsItsCredentialHas(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	of := func(what string, tool object, template string, fields ...any) {
		t.Helper()
		got, _ := tool["credential_fields"].([]any)
		if diff := cmp.Diff(fields, got); diff != "" {
			t.Errorf("the parts of %s: %s", what, diff)
		}
		if id, _ := tool["template_id"].(string); id != template {
			t.Errorf("the template of %s: %q", what, id)
		}
	}
	add := func(tool object) object { return admin.must(201, "POST", "/api/admin/tools", tool).JSON }
	datadog := add(object{
		"name": "Metrics", "url": "https://app.datadoghq.com", "auth_type": "api_key", "credential_mode": "shared",
		"credential": object{"b": "secret 1", "A": "secret 2", "ü": "secret 3"},
	})
	path := "/api/admin/tools/" + datadog["id"].(string)
	of("an added one", datadog, "datadog", "A", "b", "ü")
	of("one alone", admin.must(200, "GET", path, nil).JSON, "datadog", "A", "b", "ü")
	of("one in the list", admin.must(200, "GET", "/api/admin/tools", nil).Items()[0], "datadog", "A", "b", "ü")
	of("a renamed one", admin.must(200, "PATCH", path, object{"url": nil}).JSON, "", "A", "b", "ü")
	rotated := admin.must(200, "PUT", path+"/credential", object{"credential": "x", "replace_shape": true})
	of("a rotated one", rotated.JSON, "")
	of("a rotated one alone", admin.must(200, "GET", path, nil).JSON, "")
	of("one with a string", add(object{
		"name": "GitHub", "auth_type": "api_key", "credential_mode": "shared", "credential": "ghp_secret",
	}), "github")
	of("one with a credential for each agent", add(object{
		"name": "Wiki", "auth_type": "api_key", "credential_mode": "per_agent",
	}), "")

	_, key := admin.mustAgent("Onboarding")
	made := p.with(key).must(
		201, "POST", "/api/tools/suggest", object{"name": "Search", "reason": "to search the docs"},
	).Text("suggestion_id")
	seen := admin.must(200, "GET", "/api/admin/suggestions/"+made, nil).Header.Get("ETag")
	accepted := admin.must(201, "POST", "/api/admin/suggestions/"+made+"/accept", object{"tool": object{
		"name": "Search", "auth_type": "api_key", "credential_mode": "shared",
		"credential": object{"id": "1", "key": "secret 4"},
	}}, "If-Match", seen)
	of("an accepted one", accepted.JSON["tool"].(object), "", "id", "key")
	if audit := admin.must(200, "GET", "/api/admin/audit", nil); strings.Contains(string(audit.Body), "secret ") {
		t.Error("the audit shows what a part holds")
	}
}
