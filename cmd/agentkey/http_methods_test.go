package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHeadIsGetWithoutABody asks every query twice. What has an effect takes no HEAD, see
// TestAPathIsExactlyARoute.
func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_READS=1000/24h", "AGENTKEY_LIMIT_ADMIN=1000/24h",
		"AGENTKEY_LIMIT_ADMIN_READS=1000/24h", "AGENTKEY_SECURITY_CONTACT=security@example.com")
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	request := p.with(key).mustRequest(tool)
	own, ownKey := admin.mustAgent("With access")
	admin.mustAssign(own, tool)
	suggestion, note := p.with(key).suggest("Linear", "", "to file issues"), p.with(ownKey).noteOn(
		tool, "It answers in JSON.", "I expected XML.",
	)
	channel := admin.mustChannel("webhook", "https://127.0.0.1").Text("id")
	rule := admin.must(201, "POST", rulesPath, unused).Text("id")
	fetched := p.with(ownKey).fetch(tool).Text("receipt.event_id")
	invited := admin.must(
		201, "POST", "/api/admin/invitations", object{"email": "ada@example.com", "role": "viewer"},
	).Text("id")
	covered := admin.now()
	admin.mustBeCovered("A tool")
	before := p.seen.Load()
	for _, r := range p.routes() {
		if r.method != "GET" || r.path == "/api/tools/{id}/credentials" || strings.HasPrefix(r.path, "/auth/") {
			continue
		}
		path, c := r.at(tool, tool), admin
		switch {
		case strings.HasSuffix(r.path, "/proof"), strings.HasSuffix(r.path, "/audit/{id}"):
			path = r.at(fetched, tool)
		case strings.HasSuffix(r.path, "/consistency"):
			path += "?from=1&to=2"
		case strings.HasSuffix(r.path, "/audit/diff"):
			path += "?from=0&to=" + time.Now().UTC().Format(time.RFC3339Nano)
		case strings.HasSuffix(r.path, "/audit/evidence"):
			path += "?from=2020-01-01T00:00:00Z&to=" + covered
		case strings.HasSuffix(r.path, "/{path}"):
			path = strings.Replace(path, "{path}", "checkpoint", 1)
		case strings.Contains(r.path, "/receipts/"):
			path, c = r.at(fetched, tool), p.with(ownKey)
		case strings.Contains(r.path, "/members/"):
			path = r.at(invited, tool)
		case strings.Contains(r.path, "/agents/"):
			path = r.at(id, tool)
		case strings.Contains(r.path, "/requests/"):
			path = r.at(request, tool)
		case strings.Contains(r.path, "/suggestions/"):
			path = r.at(suggestion, tool)
		case strings.Contains(r.path, "/instruction-suggestions/"):
			path = r.at(note, tool)
		case strings.Contains(r.path, "/rules/"):
			path = r.at(rule, tool)
		case strings.Contains(r.path, "/notification-channels/"):
			path = r.at(channel, tool)
		case r.caller == "agent":
			c = p.with(key)
		}
		get, head := c.must(200, "GET", path, nil), c.must(200, "HEAD", path, nil)
		if len(head.Body) > 0 || len(get.Body) == 0 {
			t.Errorf("HEAD %s answers %q", path, head.Body)
		}
		for _, name := range []string{"Content-Type", "ETag", "Cache-Control", "X-RateLimit-Policy"} {
			if head.Header.Get(name) != get.Header.Get(name) {
				t.Errorf("HEAD %s: %s is %q, with GET %q", path, name, head.Header.Get(name), get.Header.Get(name))
			}
		}
		if r.caller != "anyone" && left(head) != left(get)-1 {
			t.Errorf("HEAD %s is not counted: %d after %d", path, left(head), left(get))
		}
	}
	admin.must(404, "HEAD", "/api/admin/tools/"+newID().String(), nil)
	admin.must(400, "HEAD", "/api/admin/tools?limit=0", nil)
	admin.must(200, "HEAD", "/api/admin/tools?limit=1", nil)
	p.with("").must(401, "HEAD", "/api/me", nil)
	p.with(key).must(403, "HEAD", "/api/admin/tools", nil)
	if after := p.seen.Load(); after != before {
		t.Errorf("the log went from %d to %d", before, after)
	}
}

// TestABodyIsAcceptedOnlyWhereTheDocumentHasOne sends what clients send that have nothing to say.
func TestABodyIsAcceptedOnlyWhereTheDocumentHasOne(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"instructions": "Send it."})
	id, _ := admin.mustAgent("Onboarding")
	one := "/api/admin/agents/" + id
	optional := func() []string { // calls whose fields are all optional, or that have none
		return []string{
			"PATCH " + one, "PATCH /api/admin/tools/" + tool, "POST " + one + "/rotate-key", "POST " + one + "/suspend",
			"POST " + one + "/reactivate",
			"POST /api/admin/tools/" + tool + "/instructions/1/restore",
		}
	}
	for _, call := range optional() {
		method, path, _ := strings.Cut(call, " ")
		for _, tt := range []struct {
			body      any
			mediaType string
			status    int
			code      string
		}{
			{nil, "", 200, ""},
			{"", "application/json", 200, ""},
			{"{}", "application/json", 200, ""},
			{" { } ", "application/json", 200, ""},
			{"{}", "", 415, "unsupported_media_type"},
			{"{}", "text/plain", 415, "unsupported_media_type"},
			{"null", "application/json", 400, "malformed_json"},
			{"[]", "application/json", 400, "malformed_json"},
			{`{"hurry":true}`, "application/json", 400, "validation_failed"},
			{strings.Repeat(" ", 1<<20), "application/json", 413, "body_too_large"},
		} {
			a := admin.call(method, path, tt.body, "Content-Type", tt.mediaType)
			if a.Status != tt.status || a.Code() != tt.code {
				t.Errorf("%s with %.20q as %q: %d %.300s", call, tt.body, tt.mediaType, a.Status, a.Body)
			}
		}
	}
	key := admin.must(200, "POST", one+"/rotate-key", nil).Text("api_key")
	agent := p.with(key)
	deny := agent.mustRequest(tool)
	admin.must(200, "POST", "/api/admin/requests/"+deny+"/deny", nil)
	approve := agent.mustRequest(tool)
	admin.must(200, "POST", "/api/admin/requests/"+approve+"/approve", "")

	// DELETE takes no body: what a client sends with it all the same changes nothing.
	for _, body := range []any{nil, "", "{}", `{"hurry":true}`, "{", strings.Repeat("x", 1<<20)} {
		for _, mediaType := range []string{"", "application/json", "text/plain"} {
			admin.must(204, "DELETE", one+"/grants/"+tool, body, "Content-Type", mediaType)
			agent.must(204, "DELETE", "/api/tools/"+tool+"/request", body, "Content-Type", mediaType)
		}
	}
	// A query takes none either.
	admin.must(200, "GET", "/api/admin/tools", `{"limit":1}`)
	agent.must(200, "GET", "/api/me", "{", "Content-Type", "text/plain")
}

// TestAPathHasNoSecondSpelling sends paths as they are, which clients would put right. Either there
// does not exist, or it is the route with all its checks.
func TestAPathHasNoSecondSpelling(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	_, key := admin.mustAgent("Onboarding")
	plain := "/api/tools/" + tool + "/credentials"
	for _, tt := range []struct{ target, key string }{
		{"/api/tools/" + tool + "/credentials;x=1", key},
		{"/api/tools/" + tool + ";x/credentials", key},
		{"/api/tools/" + tool + "//credentials", key},
		{"//api/tools/" + tool + "/credentials", key},
		{"/api/./tools/" + tool + "/credentials", key},
		{"/api/admin/../tools/" + tool + "/credentials", key},
		{"/api/tools/" + tool + "/credentials%00", key},
		{"/api/tools/" + tool + "/credentials%20", key},
		{"/api/tools/" + tool + "/credentials.json", key},
		{"/api/tools/" + tool + "/Credentials", key},
		{"/API/tools/" + tool + "/credentials", key},
		{"/api\\tools\\" + tool + "\\credentials", key},
		{"/api/tools/" + tool + "/%63redentials", key},
		{"/api/tools/" + tool + "%2Fcredentials", key},
		{"/api%2Ftools%2F" + tool + "%2Fcredentials", key},
		{"http://elsewhere.example" + plain, key},
		{"/api/admin/agents;x", key},
		{"/api/%61dmin/agents", key},
		{"/api/admin%2Fagents", key},
		{"/api/tools/..%2Fadmin%2Fagents", key},
		{"/%2e%2e/api/admin/agents", key},
		{"/api/tools/%2e%2e/admin/agents", key},
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			got := p.raw(
				1,
				fmt.Sprintf(
					"%s %s HTTP/1.1\r\nHost: agentkey\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\n\r\n", method,
					tt.target, tt.key,
				),
				false,
			)
			if len(got) != 1 || got[0].Status < 400 || got[0].Status >= 500 {
				t.Errorf("%s %s: %+v", method, tt.target, got)
				continue
			}
			switch a := got[0]; a.Code() {
			case "not_found", "method_not_allowed", "wrong_caller", "access_not_approved", "unsupported_media_type":
			default:
				t.Errorf("%s %s: %d %s", method, tt.target, a.Status, a.Body)
			}
		}
	}
	// One spelling decodes to the same path, as everywhere on the web; it is the same call.
	admin.must(200, "GET", "/api/admin/tools/"+tool, nil) // waits for the read model, which a bare call does not
	for _, target := range []string{
		"/api/admin/%74ools/" + tool, "/api/admin/%74ools?limit=1", "/%61pi/admin/tools?q=%67it",
	} {
		if got := p.raw(1, head("GET", target, p.Token)+"\r\n", false); len(got) != 1 || got[0].Status != 200 {
			t.Errorf("%s: %+v", target, got)
		}
	}

	// A method is what the request line says.
	for _, header := range []string{"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "_method"} {
		admin.must(200, "GET", "/api/admin/tools/"+tool, nil, header, "DELETE")
	}
	admin.refused(400, "validation_failed", "POST", "/api/admin/tools?_method=DELETE", object{
		"name": "GitLab", "auth_type": "api_key", "credential_mode": "shared", "credential": "x",
	})
	admin.must(200, "GET", "/api/admin/tools/"+tool, nil)
	// Headers larger than any client's end the call before it reaches us.
	if got := p.raw(
		1, "GET /api/me HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n", false,
	); len(got) != 1 || got[0].Status != 431 {
		t.Errorf("large headers: %+v", got)
	}
}
