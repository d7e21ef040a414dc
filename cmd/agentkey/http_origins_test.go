package main

import (
	"strings"
	"testing"
)

const (
	dashboard = "https://dashboard.example"
	assistant = "https://assistant.example:8443"
)

// TestAnAllowedPageCanUseWhatItIsAnswered reads, as a page of an allowed origin may, every kind of
// answer.
func TestAnAllowedPageCanUseWhatItIsAnswered(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_ADMIN_CORS_ORIGINS="+dashboard, "AGENTKEY_AGENT_CORS_ORIGINS="+assistant)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	agent := p.with(key)

	for _, tt := range []struct {
		name, origin, path string
		headers            []string
	}{
		{"the dashboard", dashboard, "/api/admin/agents", []string{
			"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "X-Organization",
			"X-Wait-For-Position",
		}},
		{
			"an agent in a page", assistant, "/api/tools/" + tool + "/credentials",
			[]string{"Authorization", "Content-Type"},
		},
		{"a path that there is not", dashboard, "/api/admin/nothing", []string{"Authorization"}},
	} {
		a := p.anyone().must(204, "OPTIONS", tt.path, nil, "Origin", tt.origin, "Access-Control-Request-Method", "PUT",
			"Access-Control-Request-Headers", strings.ToLower(strings.Join(tt.headers, ",")))
		if len(a.Body) > 0 || a.Header.Get("Access-Control-Allow-Origin") != tt.origin ||
			a.Header.Get("Access-Control-Max-Age") == "" || a.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v %q", tt.name, a.Header, a.Body)
		}
		for _, header := range tt.headers {
			if !lists(a.Header.Get("Access-Control-Allow-Headers"), header) {
				t.Errorf("%s may not send %s: %v", tt.name, header, a.Header)
			}
		}
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if !lists(a.Header.Get("Access-Control-Allow-Methods"), method) {
				t.Errorf("%s may not %s: %v", tt.name, method, a.Header)
			}
		}
	}

	exposed := []string{
		"ETag", "Idempotency-Replayed", "Retry-After", "X-Event-Position", "X-RateLimit-Limit", "X-RateLimit-Remaining",
		"X-RateLimit-Reset", "X-RateLimit-Policy", "X-Request-Id",
	}
	for _, tt := range []struct {
		by                   client
		status               int
		method, path, origin string
		body                 any
	}{
		{admin, 200, "GET", "/api/admin/tools/" + tool, dashboard, nil},
		{admin, 201, "POST", "/api/admin/agents", dashboard, object{"name": "Another"}},
		{admin, 400, "POST", "/api/admin/agents", dashboard, object{"name": "x"}},
		{admin, 400, "POST", "/api/admin/agents", dashboard, "{"},
		{admin, 404, "GET", "/api/admin/tools/x", dashboard, nil},
		{admin, 404, "GET", "/api/admin/tools/" + newID().String(), dashboard, nil},
		{admin, 404, "GET", "/api/admin/nothing", dashboard, nil},
		{admin, 405, "PUT", "/api/admin/tools", dashboard, object{}},
		{admin, 412, "PATCH", "/api/admin/tools/" + tool, dashboard, nil},
		{admin, 204, "DELETE", "/api/admin/agents/" + id + "/grants/" + newID().String(), dashboard, nil},
		{p.with(""), 401, "GET", "/api/admin/tools", dashboard, nil},
		{agent, 403, "GET", "/api/admin/tools", dashboard, nil},
		{agent, 200, "GET", "/api/tools/" + tool + "/credentials", assistant, nil},
		{p.anyone(), 200, "GET", "/healthz", dashboard, nil},
		{p.anyone(), 200, "GET", "/readyz", dashboard, nil},
		{p.anyone(), 200, "GET", "/openapi.json", dashboard, nil},
		{p.anyone(), 200, "GET", "/healthz", assistant, nil},
		{p.anyone(), 200, "GET", "/openapi.json", assistant, nil},
		{agent, 404, "GET", "/api/tools/" + newID().String() + "/credentials", assistant, nil},
	} {
		headers := []string{"Origin", tt.origin}
		if tt.status == 412 {
			headers = append(headers, "If-Match", `"0"`)
		}
		a := tt.by.must(tt.status, tt.method, tt.path, tt.body, headers...)
		if a.Header.Get("Access-Control-Allow-Origin") != tt.origin || !lists(a.Header.Get("Vary"), "Origin") ||
			a.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s %s: %d %v", tt.method, tt.path, a.Status, a.Header)
		}
		for _, name := range exposed {
			if !lists(a.Header.Get("Access-Control-Expose-Headers"), name) {
				t.Errorf("%s %s does not expose %s: %v", tt.method, tt.path, name, a.Header)
			}
		}
	}
}

func lists(header, item string) bool {
	for part := range strings.SplitSeq(header, ",") {
		if strings.EqualFold(strings.TrimSpace(part), item) {
			return true
		}
	}
	return false
}

// TestNoPageIsAllowedUnlessItIsNamed runs with the lists that come with the program.
func TestNoPageIsAllowedUnlessItIsNamed(t *testing.T) {
	t.Parallel()
	p := start(t)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	agent, credentials := p.with(key), "/api/tools/"+tool+"/credentials"
	for _, origin := range []string{dashboard, "null", p.URL, "*"} {
		for _, path := range []string{
			credentials, "/api/me", "/api/admin/me", "/healthz", "/openapi.json", "/nothing",
		} {
			p.anyone().refused(
				403, "origin_not_allowed", "OPTIONS", path, nil, "Origin", origin, "Access-Control-Request-Method",
				"GET",
			)
		}
		a := agent.refused(403, "origin_not_allowed", "GET", credentials, nil, "Origin", origin)
		if a.Header.Get("X-Event-Position") != "" || strings.Contains(string(a.Body), "ghp_secret") {
			t.Errorf("from %s: %v %s", origin, a.Header, a.Body)
		}
		// before anyone is authenticated
		p.anyone().refused(403, "origin_not_allowed", "GET", credentials, nil, "Origin", origin)
		for _, a := range []answer{
			agent.must(200, "GET", "/api/me", nil, "Origin", origin),
			admin.must(200, "GET", "/api/admin/me", nil, "Origin", origin),
		} {
			if a.Header.Get("Access-Control-Allow-Origin") != "" || !lists(a.Header.Get("Vary"), "Origin") {
				t.Errorf("from %s: %v", origin, a.Header)
			}
		}
	}
	// OPTIONS that isn't a preflight is a method like any other that a path does not take.
	if a := p.anyone().refused(405, "method_not_allowed", "OPTIONS", credentials, nil); a.Header.Get("Allow") != "GET" {
		t.Errorf("OPTIONS: %v", a.Header)
	}
	p.anyone().refused(405, "method_not_allowed", "OPTIONS", credentials, nil, "Origin", dashboard)
	if a := agent.fetch(tool); a.At("receipt.revision") != 2.0 {
		t.Errorf("the first fetch: %s", a.Body)
	}
}
