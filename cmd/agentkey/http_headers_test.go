package main

import (
	"strconv"
	"testing"

	"github.com/google/uuid"
)

// TestEveryAnswerIsForItsCallerAlone looks at what must be on every answer, errors and paths that
// there are not included.
func TestEveryAnswerIsForItsCallerAlone(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	credentials := "/api/tools/" + tool + "/credentials"
	seen := map[string]bool{}
	check := func(a answer, kept string) {
		t.Helper()
		request := a.Header.Get("X-Request-Id")
		if !isUUID(request) || seen[request] {
			t.Errorf("%d has the request id %q: %s", a.Status, request, a.Body)
		}
		seen[request] = true
		if a.Header.Get("Cache-Control") != kept || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%d may be kept or guessed at: %v", a.Status, a.Header)
		}
		if www := a.Header.Get("WWW-Authenticate"); (www == "Bearer") != (a.Status == 401) {
			t.Errorf("%d has WWW-Authenticate %q", a.Status, www)
		}
		if a.Status >= 400 &&
			(a.Header.Get("Content-Type") != "application/problem+json" || a.Text("type") != "urn:agentkey:error:"+a.Code() ||
				a.At("status") != float64(a.Status)) {
			t.Errorf("%d is not a problem document: %v %s", a.Status, a.Header, a.Body)
		}
	}
	const secret, plain = "no-store, private", "no-store"
	check(agent.must(403, "GET", credentials, nil), secret)
	check(p.with("").must(401, "GET", credentials, nil), secret)
	check(agent.must(403, "GET", credentials, nil, "Origin", dashboard), secret)
	check(agent.must(404, "GET", "/api/tools/x/credentials", nil), secret)
	check(agent.must(400, "GET", credentials+"?x=1", nil), secret)
	check(p.admin().must(403, "GET", credentials, nil), secret)
	admin.mustAssign(id, tool)
	check(agent.must(200, "GET", credentials, nil), secret)
	check(admin.must(201, "POST", "/api/admin/agents", object{"name": "Another"}), secret)
	check(admin.must(200, "POST", "/api/admin/agents/"+id+"/rotate-key", object{"overlap_seconds": 60}), secret)
	for _, a := range []answer{
		p.anyone().must(200, "GET", "/healthz", nil), p.anyone().must(200, "GET", "/readyz", nil),
		p.anyone().must(200, "GET", "/openapi.json", nil), agent.must(200, "GET", "/api/me", nil),
		admin.must(200, "GET", "/api/admin/tools", nil), admin.must(404, "GET", "/nothing", nil),
		admin.must(405, "PUT", "/api/me", nil), admin.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil),
		admin.must(400, "POST", "/api/admin/agents", "{"), p.with("sk_admin_x").must(401, "GET", "/api/admin/me", nil),
	} {
		check(a, plain)
	}
	// What a client sends as the id of the call is not believed.
	if a := agent.must(200, "GET", "/api/me", nil, "X-Request-Id", id); a.Header.Get("X-Request-Id") == id {
		t.Error("a client chose the id of its request")
	}
}

func isUUID(text string) bool {
	id, err := uuid.Parse(text)
	return err == nil && id.String() == text
}

// TestWhateverAppendsTellsItsPosition gives every command twice: the second changes nothing and
// answers a position that isn't older than the first. A query reports none.
func TestWhateverAppendsTellsItsPosition(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	one, it := "/api/admin/agents/"+id, "/api/admin/tools/"+tool
	last := p.seen.Load()
	at := func(a answer) uint64 {
		t.Helper()
		position, err := strconv.ParseUint(a.Header.Get("X-Event-Position"), 10, 63)
		if err != nil || len(a.Header.Values("X-Event-Position")) != 1 {
			t.Fatalf("%d has the position %q: %s", a.Status, a.Header.Get("X-Event-Position"), a.Body)
		}
		return position
	}
	for _, tt := range []struct {
		name, method, path string
		by                 client
		body               any
		repeats            bool // without an effect
	}{
		{"ask", "POST", "/api/tools/" + tool + "/request", agent, object{"reason": "to open pull requests"}, false},
		{"take back", "DELETE", "/api/tools/" + tool + "/request", agent, nil, true},
		{"assign", "POST", one + "/grants", admin, object{"tool_id": tool}, false},
		{"fetch", "GET", "/api/tools/" + tool + "/credentials", agent, nil, false},
		{"revoke", "DELETE", one + "/grants/" + tool, admin, nil, true},
		{"rename", "PATCH", one, admin, object{"name": "Renamed"}, true},
		{"say nothing", "PATCH", one, admin, nil, true},
		{"suspend", "POST", one + "/suspend", admin, nil, true},
		{"reactivate", "POST", one + "/reactivate", admin, nil, true},
		{"change the tool", "PATCH", it, admin, object{"instructions": "Send it."}, true},
		{"change the guide", "PATCH", it, admin, object{"instructions": "Send it as a bearer token."}, true},
		{"restore the guide", "POST", it + "/instructions/1/restore", admin, nil, true},
		{"rotate the credential", "PUT", it + "/credential", admin, object{"credential": "new"}, false},
		{"rotate the key", "POST", one + "/rotate-key", admin, nil, false},
		{"remove the tool", "DELETE", it, admin, nil, false},
		{"retire", "DELETE", one, admin, nil, false},
	} {
		first := at(tt.by.call(tt.method, tt.path, tt.body))
		if tt.name != "say nothing" && first <= last {
			t.Errorf("%s: position %d after %d", tt.name, first, last)
		}
		if tt.repeats {
			if again := at(tt.by.call(tt.method, tt.path, tt.body)); again < first {
				t.Errorf("%s once more: position %d after %d", tt.name, again, first)
			}
		}
		last = max(first, last)
	}
	for _, path := range []string{"/api/admin/tools", "/api/admin/audit", "/api/admin/me", "/healthz", "/readyz"} {
		if a := admin.must(200, "GET", path, nil); a.Header.Get("X-Event-Position") != "" {
			t.Errorf("%s tells a position: %v", path, a.Header)
		}
	}
}

// TestADashboardReadsItsOwnWrites asks, at once after each of many commands, for what it did.
func TestADashboardReadsItsOwnWrites(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	for i := range 50 {
		name := "Agent " + strconv.Itoa(i)
		made := admin.must(201, "POST", "/api/admin/agents", object{"name": name})
		path, position := "/api/admin/agents/"+made.Text("agent.id"), made.Header.Get("X-Event-Position")
		if a := admin.must(200, "GET", path, nil, "X-Wait-For-Position", position); a.Text("name") != name {
			t.Errorf("%s: %s", name, a.Body)
		}
		position = admin.must(204, "DELETE", path, nil).Header.Get("X-Event-Position")
		if a := admin.must(200, "GET", path, nil, "X-Wait-For-Position", position); a.Text("status") != "retired" {
			t.Errorf("%s is still %s", name, a.Body)
		}
	}
	admin.must(200, "GET", "/api/admin/agents", nil, "X-Wait-For-Position", "0")
	admin.must(200, "GET", "/api/admin/agents", nil, "X-Wait-For-Position", "1")
	p.anyone().must(200, "GET", "/healthz", nil, "X-Wait-For-Position", "x") // which asks no read model
}
