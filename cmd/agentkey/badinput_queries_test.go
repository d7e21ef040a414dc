package main

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestAQueryParameterIsKnownAndWellFormed(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAgent("Another")
	p.with(key).mustRequest(tool)
	for _, tt := range []struct{ path, query, field string }{
		{"agents", "x=1", "x"},
		{"agents", "Limit=1", "Limit"},
		{"agents", "limit=0", "limit"},
		{"agents", "limit=201", "limit"},
		{"agents", "limit=-1", "limit"},
		{"agents", "limit=x", "limit"},
		{"agents", "limit=1.5", "limit"},
		{"agents", "limit=99999999999999999999", "limit"},
		{"agents", "limit=1&limit=2", "limit"},
		{"agents", "status=active,asleep", "status"},
		{"agents", "status=active,", "status"},
		{"agents", "status=active&status=retired", "status"},
		{"agents", "sort=", "sort"},
		{"agents", "sort=position", "sort"},
		{"agents", "sort=--name", "sort"},
		{"agents", "sort=name,created_at", "sort"},
		{"agents", "sort=name&sort=-name", "sort"},
		{"agents", "count=yes", "count"},
		{"agents", "last_seen_before=yesterday", "last_seen_before"},
		{"agents", "q=" + strings.Repeat("x", 121), "q"},
		{"agents", "as_of=1&sort=-fetch_count", "sort"},
		{"agents", "as_of=1&last_seen_before=2030-01-01T00:00:00Z", "last_seen_before"},
		{"tools", "credential_mode=mine", "credential_mode"},
		{"tools", "has_credential=2", "has_credential"},
		{"tools", "expires_before=2030-01-01", "expires_before"},
		{"suggestions", "sort=demand", "sort"},
		{"instruction-suggestions", "status=pending,redirected", "status"},
		{"agents", "status=Active", "status"},
		{"agents", "cursor=x", "cursor"},
		{"agents", "cursor=%00", "cursor"},
		{"agents", "cursor=../..", "cursor"},
		{"agents/" + id, "limit=1", "limit"},
		{"tools", "status=active", "status"},
		{"tools", "cursor=eyJ4IjoxfQ", "cursor"},
		{"tools/" + tool + "/instructions", "limit=0", "limit"},
		{"requests", "status=open", "status"},
		{"requests", "agent_id=x", "agent_id"},
		{"requests", "tool_id=" + url.QueryEscape("urn:uuid:"+tool), "tool_id"},
		{"grants", "status=none", "status"},
		{"grants", "agent_id=1&agent_id=2", "agent_id"},
		{"audit", "from=yesterday", "from"},
		{"audit", "to=2024-01-01", "to"},
		{"audit", "from=2024-01-01t00%3A00%3A00z", "from"},
		{"audit", "to=2024-12-31T23%3A59%3A60Z", "to"},
		{"audit", "from=1700000000", "from"},
		{"audit", "actor_type=robot", "actor_type"},
		{"audit", "from=2024-01-01T00:00:00+01:00", "from"},
		{"audit", "to=2024-01-01T00:00:00.5+00:00", "to"},
		{"audit", "from=2024-01-02T00%3A00%3A00Z&to=2024-01-01T00%3A00%3A00Z", "from"},
		{"audit", "from=2024-01-01T00%3A00%3A00Z&to=2024-01-01T00%3A30%3A00%2B01%3A00", "from"},
		{"audit", "action=no.such", "action"},
		{"audit", "action=credential", "action"},
		{"audit", "action=credential.vended.v1", "action"},
		{"audit", "action=Credential.Vended", "action"},
		{"audit", "action=credential.vended%20", "action"},
		{"audit", "action=secret.sealed", "action"},
		{"audit", "action=once.reserved", "action"},
		{"audit", "limit=200&cursor=x&z=1", "z"},
		{"audit", "agent_id=x", "agent_id"},
		{"audit", "%zz=1", "query"},
		{"audit", "a;b=1", "query"},
	} {
		a := admin.call("GET", "/api/admin/"+tt.path+"?"+tt.query, nil)
		if a.Status != 400 || a.Code() != "validation_failed" || !namesField(a, tt.field) {
			t.Errorf("%s?%s: %d %s", tt.path, tt.query, a.Status, a.Body)
		}
	}
	for _, path := range []string{
		"/api/me?x=1", "/api/tools?x=1", "/api/tools/" + tool + "?x=1", "/api/tools/" + tool + "/credentials?x=1",
	} {
		p.with(key).refused(400, "validation_failed", "GET", path, nil)
	}
	admin.refused(400, "validation_failed", "DELETE", "/api/admin/agents/"+id+"?force=true", nil)
	admin.refused(400, "validation_failed", "POST", "/api/admin/agents?dry_run=true", object{"name": "Onboarding"})

	// A cursor is of one list, and text finds itself and nothing else.
	page := admin.must(200, "GET", "/api/admin/agents?limit=1", nil)
	next := page.Text("next_cursor")
	if next == "" || url.QueryEscape(next) != next {
		t.Errorf("next_cursor is %q", next)
	}
	if a := admin.must(200, "GET", "/api/admin/agents?limit=1&cursor="+next, nil); len(a.Items()) != 1 ||
		a.Items()[0]["id"] == page.Items()[0]["id"] {
		t.Errorf("the second page: %s", a.Body)
	}
	for _, path := range []string{
		"tools?", "audit?", "requests?", "grants?", "suggestions?", "instruction-suggestions?", "agents?q=o&",
		"agents?sort=name&", "agents?sort=-created_at&", "agents?status=active&",
	} {
		a := admin.call("GET", "/api/admin/"+path+"cursor="+next, nil)
		if a.Status != 400 || !namesField(a, "cursor") {
			t.Errorf("another list's cursor on %s: %d %s", path, a.Status, a.Body)
		}
	}
	for _, q := range []string{"%", "_", `\`, "'", `"`, "%00", "' or 1=1 --", "git_ub", "g%b", "*", "😀"} {
		if a := admin.must(200, "GET", "/api/admin/tools?q="+url.QueryEscape(q), nil); len(a.Items()) != 0 {
			t.Errorf("%q finds %s", q, a.Body)
		}
	}
	if a := admin.must(200, "GET", "/api/admin/tools?q=IT%20HUB", nil); len(a.Items()) != 0 {
		t.Errorf("with a space: %s", a.Body)
	}
	if a := admin.must(200, "GET", "/api/admin/tools?q=ITHUB", nil); len(a.Items()) != 1 {
		t.Errorf("in another case: %s", a.Body)
	}
	admin.must(
		200, "GET",
		"/api/admin/audit?from=0001-01-01T00%3A00%3A00Z&to=9999-12-31T23%3A59%3A59Z&action=credential.vended", nil,
	)
	admin.must(200, "GET", "/api/admin/audit?from=2024-01-01T00%3A00%3A00Z&to=2024-01-01T01%3A00%3A00%2B01%3A00", nil)
	if a := admin.must(200, "GET", "/api/admin/audit?to=0001-01-01T00:00:00Z", nil); len(a.Items()) != 0 {
		t.Errorf("before the first moment there were %d events", len(a.Items()))
	}
	admin.must(200, "GET", "/api/admin/audit?action=", nil)
	if a := admin.call(
		"GET", "/api/admin/audit?from=2024-01-01T00:00:00+01:00", nil,
	); !strings.Contains(string(a.Body), "%2B") {
		t.Errorf("a + that became a blank: %s", a.Body)
	}
	if a := admin.call(
		"GET", "/api/admin/audit?action=credential.fetched", nil,
	); !strings.Contains(string(a.Body), "credential.vended") {
		t.Errorf("an action that there isn't: %s", a.Body)
	}
	for _, e := range admin.must(200, "GET", "/api/admin/audit?limit=200", nil).Items() {
		action := url.QueryEscape(fmt.Sprint(e["action"]))
		if found := admin.must(200, "GET", "/api/admin/audit?action="+action, nil).Items(); len(found) == 0 {
			t.Errorf("%s finds nothing", action)
		}
	}
	admin.must(200, "GET", "/api/admin/agents?q=", nil)
}

func TestAPageOfAnotherOriginIsTurnedAway(t *testing.T) {
	t.Parallel()
	p := start(
		t,
		append(
			[]string{
				"AGENTKEY_AGENT_CORS_ORIGINS=https://agents.example",
				"AGENTKEY_ADMIN_CORS_ORIGINS=https://admin.example",
			},
			unlimited...,
		)...,
	)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	credentials := "/api/tools/" + tool + "/credentials"
	for _, tt := range []struct {
		path, origin string
		allowed      bool
	}{
		{credentials, "https://agents.example", true},
		{credentials, "https://admin.example", false},
		{credentials, "https://evil.example", false},
		{credentials, "https://agents.example.evil.example", false},
		{credentials, "http://agents.example", false},
		{credentials, "https://AGENTS.example", false},
		{credentials, "null", false},
		{"/api/admin/me", "https://admin.example", true},
		{"/api/admin/me", "https://agents.example", false},
	} {
		before := p.anyone().call("OPTIONS", tt.path, nil, "Origin", tt.origin, "Access-Control-Request-Method", "GET")
		if tt.allowed && (before.Status != 204 || before.Header.Get("Access-Control-Allow-Origin") != tt.origin) ||
			!tt.allowed &&
				(before.Status != 403 || before.Code() != "origin_not_allowed" ||
					before.Header.Get("Access-Control-Allow-Origin") != "") {
			t.Errorf("preflight of %s from %s: %d %v", tt.path, tt.origin, before.Status, before.Header)
		}
		c := p.with(key)
		if tt.path != credentials {
			c = admin
		}
		a := c.call("GET", tt.path, nil, "Origin", tt.origin)
		switch readable := a.Header.Get("Access-Control-Allow-Origin") != ""; {
		case readable != tt.allowed || a.Header.Get("Access-Control-Allow-Credentials") != "":
			t.Errorf("%s from %s: %v", tt.path, tt.origin, a.Header)
		case tt.path == credentials && !tt.allowed && (a.Status != 403 || a.Code() != "origin_not_allowed"):
			t.Errorf("%s from %s: %d %s", tt.path, tt.origin, a.Status, a.Body)
		}
	}
}
