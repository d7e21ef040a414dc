package main

import (
	"fmt"
	"maps"
	"testing"
)

// TestAChangeClearsWhatItNamesAsEmpty clears each optional field of a tool and an agent, with null,
// an empty text and blanks, and reads what is left.
func TestAChangeClearsWhatItNamesAsEmpty(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	full := object{
		"description": "Code", "url": "https://github.com", "docs_url": "https://docs.github.com",
		"instructions": "Send it.", "max_grant_seconds": 3600.0,
	}
	whole := object{"name": "GitHub", "auth_type": "api_key", "credential_mode": "shared", "credential": "ghp_secret"}
	maps.Copy(whole, full)
	path := "/api/admin/tools/" + admin.must(201, "POST", "/api/admin/tools", whole).Text("id")
	for field := range full {
		for _, empty := range []any{nil, "", " \t"} {
			admin.must(200, "PATCH", path, full)
			cleared := admin.must(200, "PATCH", path, object{field: empty})
			for _, a := range []answer{cleared, admin.must(200, "GET", path, nil)} {
				left, there := a.JSON[field]
				if required := field == "description" || field == "instructions"; there != required ||
					required && left != "" {
					t.Errorf("%s after %#v: %v", field, empty, left)
				}
				for other, want := range full {
					if other != field && a.JSON[other] != want {
						t.Errorf("clearing %s made %s %v", field, other, a.JSON[other])
					}
				}
			}
			if again := admin.must(200, "PATCH", path, object{field: empty}); again.At("revision") !=
				cleared.At("revision") {
				t.Errorf("clearing %s twice is two changes", field)
			}
		}
	}

	id, key := admin.mustAgent("Onboarding")
	path = "/api/admin/agents/" + id
	for _, empty := range []any{nil, "", "\n"} {
		full := admin.must(200, "PATCH", path, object{"description": "Helps", "owner": "Ada"})
		cleared := admin.must(200, "PATCH", path, object{"description": empty, "owner": empty})
		if full.Text("owner.label") != "Ada" || cleared.At("owner") != nil {
			t.Errorf("the owner, and what is left after %#v: %s %s", empty, full.Body, cleared.Body)
		}
		if left := p.with(key).must(200, "GET", "/api/me", nil).Text("description"); left != "" {
			t.Errorf("a description after %#v: %q", empty, left)
		}
	}
}

// TestAGrantOfAToolWhoseLimitWasClearedDoesNotEnd unsets max_grant_seconds and assigns the tool.
func TestAGrantOfAToolWhoseLimitWasClearedDoesNotEnd(t *testing.T) {
	t.Parallel()
	admin := start(t, unlimited...).admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	path := "/api/admin/tools/" + tool
	admin.must(200, "PATCH", path, object{"max_grant_seconds": 60})
	admin.must(200, "PATCH", path, object{"max_grant_seconds": nil})
	agentID, _ := admin.mustAgent("Onboarding")
	a := admin.must(201, "POST", "/api/admin/agents/"+agentID+"/grants", object{"tool_id": tool})
	if _, ends := a.JSON["expires_at"]; ends {
		t.Errorf("the grant ends: %s", a.Body)
	}
}

// TestAChangeNeverIgnoresWhatItCannotClear sends empty values for what a resource can't be without.
func TestAChangeNeverIgnoresWhatItCannotClear(t *testing.T) {
	t.Parallel()
	admin := start(t, unlimited...).admin()
	agentID, _ := admin.mustAgent("Onboarding")
	channel := admin.must(201, "POST", "/api/admin/notification-channels", object{
		"kind": "webhook", "name": "Ops", "topics": []string{"access_requested"}, "url": "https://hooks.example.com/x",
	})
	for path, fields := range map[string][]string{
		"/api/admin/tools/" + admin.mustTool("GitHub", "ghp_secret"): {"name", "auth_type"},
		"/api/admin/agents/" + agentID:                               {"name"},
		rulesPath + "/" + admin.must(201, "POST", rulesPath, unused).Text("id"): {
			"name", "when", "effect", "reason", "max_seconds", "enabled", "simulation",
		},
		"/api/admin/notification-channels/" + channel.Text("id"): {
			"name", "topics", "url", "signing_secret", "recipients",
		},
	} {
		for _, field := range fields {
			for _, empty := range []any{nil, "", "  "} {
				a := admin.refused(400, "validation_failed", "PATCH", path, object{field: empty})
				if !namesField(a, field) {
					t.Errorf("%s of %s as %s: %s", field, path, fmt.Sprintf("%#v", empty), a.Body)
				}
			}
		}
	}
	a := admin.refused(400, "validation_failed", "PATCH", "/api/admin/tools/"+
		admin.mustTool("Jira", "secret"), object{"max_grant_seconds": 0})
	if want := "it must be a whole number from 1 to 315360000, or null to clear it"; a.At(
		"details",
	).([]any)[0].(object)["message"] != want {
		t.Errorf("the limit 0: %s", a.Body)
	}
}
