package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/keys"
)

// left is what X-RateLimit-Remaining says; -1 when the header is absent.
func left(a answer) int {
	n, err := strconv.Atoi(a.Header.Get("X-RateLimit-Remaining"))
	if err != nil {
		return -1
	}
	return n
}

// TestTheThirtyFirstRequestInAnHourIsRefused uses the limits that come with the program.
func TestTheThirtyFirstRequestInAnHourIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_ADMIN=off")
	admin := p.admin()
	tools := make([]string, 31)
	for i := range tools {
		tools[i] = admin.mustTool(fmt.Sprint("Tool ", i), "x")
	}
	_, key := admin.mustAgent("Onboarding")
	_, otherKey := admin.mustAgent("Another")
	agent := p.with(key)
	for i, tool := range tools[:30] {
		a := agent.must(201, "POST", "/api/tools/"+tool+"/request", object{"reason": "to open pull requests"})
		if left(a) != 29-i || a.Header.Get("X-RateLimit-Limit") != "30" ||
			a.Header.Get("X-RateLimit-Policy") != "30;w=3600" || a.Header.Get("Retry-After") != "" {
			t.Errorf("request %d: %v", i+1, a.Header)
		}
	}
	a := agent.refused(
		429, "rate_limited", "POST", "/api/tools/"+tools[30]+"/request", object{"reason": "to open pull requests"},
	)
	wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if err != nil || wait < 60 || wait > 120 { // one each two minutes
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	reset, err := strconv.ParseInt(a.Header.Get("X-RateLimit-Reset"), 10, 64)
	if in := time.Until(time.UnixMilli(reset)); err != nil || in < 55*time.Minute || in > 61*time.Minute {
		t.Errorf("X-RateLimit-Reset is in %s", in)
	}
	if left(a) != 0 || a.Header.Get("X-RateLimit-Limit") != "30" || a.Header.Get("X-RateLimit-Policy") != "30;w=3600" ||
		a.Header.Get("X-Event-Position") != "" {
		t.Errorf("refused: %v", a.Header)
	}
	agent.refused(429, "rate_limited", "DELETE", "/api/tools/"+tools[0]+"/request", nil)
	// another tier
	agent.must(200, "GET", "/api/tools", nil)
	// another agent
	p.with(otherKey).must(201, "POST", "/api/tools/"+tools[30]+"/request", object{"reason": "to open pull requests"})
	if n := len(admin.must(200, "GET", "/api/admin/requests?limit=200", nil).Items()); n != 31 {
		t.Errorf("%d requests are in the queue", n)
	}
}

// TestTheFirstMistakeInTheOrderOfTheChecksIsTold sends calls with several things wrong at once.
// From one row to the next the first of them is put right.
func TestTheFirstMistakeInTheOrderOfTheChecksIsTold(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_REQUESTS=1/24h", "AGENTKEY_LIMIT_READS=1000/1m")
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	suspendedID, suspended := admin.mustAgent("Suspended")
	admin.must(200, "POST", "/api/admin/agents/"+suspendedID+"/suspend", nil)
	organization := admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	auditor := p.shell("token", "create", "--organization", organization, "--name", "an auditor", "--role", "auditor")
	path, nowhere := "/api/tools/"+tool+"/request", "/api/tools/"+newID().String()+"/request"
	p.with(key).must(201, "POST", path, object{"reason": "to open pull requests"}) // the only one that the limit has
	nobody := "/api/admin/agents/" + newID().String() + "/grants"
	large, long := strings.Repeat("x", 1<<20), strings.Repeat("x", 9<<10)
	const reason = `{"reason":"to open pull requests"}`
	for _, tt := range []struct {
		name, method, path, key, body, mediaType string
		status                                   int
		code                                     string
	}{
		{"no route", "POST", "/api/tools/" + tool + "/requests", "", large, "text/plain", 404, "not_found"},
		{"no method", "PATCH", path, "", large, "text/plain", 405, "method_not_allowed"},
		{"no id", "POST", "/api/tools/x/request", "", large, "text/plain", 404, "not_found"},
		{"no key", "POST", path, "", large, "text/plain", 401, "credentials_missing"},
		{
			"a suspended agent on an admin route", "POST", "/api/admin/agents", suspended, large, "text/plain", 403,
			"agent_suspended",
		},
		{"the wrong caller", "POST", path, p.Token, large, "text/plain", 403, "wrong_caller"},
		{"the wrong role", "POST", "/api/admin/agents", auditor, large, "text/plain", 403, "role_insufficient"},
		{"the media type", "POST", path + "?x=1", key, long, "text/plain", 415, "unsupported_media_type"},
		{"the size", "POST", path + "?x=1", key, long, "application/json", 413, "body_too_large"},
		{"the JSON", "POST", path, key, `{"reason":`, "application/json", 400, "malformed_json"},
		{"the fields", "POST", path, key, `{"reason":1}`, "application/json", 400, "validation_failed"},
		{"the query", "POST", path + "?x=1", key, reason, "application/json", 400, "validation_failed"},
		{"the limit", "POST", nowhere, key, reason, "application/json", 429, "rate_limited"},
		{"an admin's media type", "POST", nobody, p.Token, large, "text/plain", 415, "unsupported_media_type"},
		{"an admin's size", "POST", nobody, p.Token, large, "application/json", 413, "body_too_large"},
		{"an admin's fields", "POST", nobody, p.Token, `{}`, "application/json", 400, "validation_failed"},
		{
			"a tool that does not exist", "POST", nobody, p.Token, `{"tool_id":"` + tool + `"}`, "application/json",
			404,
			"not_found",
		},
		{
			"all is right", "POST", "/api/admin/agents/" + id + "/grants", p.Token, `{"tool_id":"` + tool + `"}`,
			"application/json", 201, "",
		},
	} {
		a := p.with(tt.key).call(tt.method, tt.path, tt.body, "Content-Type", tt.mediaType)
		if a.Status != tt.status || a.Code() != tt.code || a.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: %d %s", tt.name, a.Status, a.Body)
		}
		if tt.status >= 400 && (a.Header.Get("Content-Type") != "application/problem+json" ||
			a.Text("type") != "urn:agentkey:error:"+tt.code ||
			a.Text("error") != a.Text("detail") ||
			a.Text("hint") == "" || a.Text("instance") != a.Header.Get("X-Request-Id") ||
			a.At("status") != float64(tt.status)) {
			t.Errorf("%s is not a problem document: %v %s", tt.name, a.Header, a.Body)
		}
	}
}

// TestARefusalBeforeTheTierCountsAsARead counts mistakes in a request: the request's own tier is
// untouched.
func TestARefusalBeforeTheTierCountsAsARead(t *testing.T) {
	t.Parallel()
	p := start(
		t, "AGENTKEY_LIMIT_READS=10/24h", "AGENTKEY_LIMIT_REQUESTS=5/24h", "AGENTKEY_LIMIT_CREDENTIALS=off",
		"AGENTKEY_LIMIT_ADMIN=20/24h",
	)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	_, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	path := "/api/tools/" + tool + "/request"
	reads := left(agent.must(200, "GET", "/api/me", nil))
	if reads != 9 {
		t.Fatalf("%d reads are left after the first", reads)
	}
	for _, wrong := range []struct {
		status        int
		body          any
		header, value string
	}{
		{415, `{}`, "Content-Type", "text/plain"},
		{413, strings.Repeat(" ", 9000), "", ""},
		{400, `{`, "", ""},
		{400, `{"reason":"x"}`, "", ""},
		{400, `{"reason":"to open pull requests"}`, "Idempotency-Key", "not visible"},
	} {
		a := agent.must(wrong.status, "POST", path, wrong.body, wrong.header, wrong.value)
		if left(a) != 5 || a.Header.Get("X-RateLimit-Limit") != "5" {
			t.Errorf("a %d reports %d of %s", wrong.status, left(a), a.Header.Get("X-RateLimit-Limit"))
		}
	}
	if now := left(agent.must(200, "GET", "/api/me", nil)); now != reads-6 {
		t.Errorf("%d reads are left, not %d", now, reads-6)
	}
	// What the domain refuses counts in the request's own tier.
	agent.must(201, "POST", path, object{"reason": "to open pull requests"})
	if a := agent.refused(
		409, "already_pending", "POST", path, object{"reason": "to open pull requests"},
	); left(a) != 3 {
		t.Errorf("%d requests are left after two", left(a))
	}
}

func TestEachAnswerTellsTheLimitOfItsTier(t *testing.T) {
	t.Parallel()
	p := start(
		t, "AGENTKEY_LIMIT_READS=1000/1m", "AGENTKEY_LIMIT_REQUESTS=200/1h", "AGENTKEY_LIMIT_CREDENTIALS=300/2m",
		"AGENTKEY_LIMIT_ADMIN=400/1m", "AGENTKEY_LIMIT_ADMIN_READS=500/1m",
	)
	organization := p.admin().must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	_, key := p.admin().mustAgent("Onboarding")
	suspendedID, suspended := p.admin().mustAgent("Suspended")
	p.admin().must(200, "POST", "/api/admin/agents/"+suspendedID+"/suspend", nil)
	auditor := p.shell("token", "create", "--organization", organization, "--name", "an auditor", "--role", "auditor")
	policies := map[string]string{
		"reads": "1000;w=60", "requests": "200;w=3600", "credentials": "300;w=120", "admin": "400;w=60",
		"admin_reads": "500;w=60",
	}
	for _, r := range p.routes() {
		for who, key := range map[string]string{
			"an agent": key, "an admin": p.Token, "an auditor": auditor, "a suspended agent": suspended,
		} {
			for _, body := range []any{nil, object{"reason": "to open pull requests"}, "{"} {
				if body != nil && (r.method == "GET" || r.method == "DELETE") {
					continue
				}
				a := p.with(key).call(r.method, r.at(tool, tool), body)
				if r.caller == "anyone" {
					if left(a) != -1 {
						t.Errorf("%s for everybody tells a limit: %v", r, a.Header)
					}
					continue
				}
				limit, _, _ := strings.Cut(policies[r.tier], ";")
				reset, err := strconv.ParseInt(a.Header.Get("X-RateLimit-Reset"), 10, 64)
				if a.Header.Get("X-RateLimit-Policy") != policies[r.tier] ||
					a.Header.Get("X-RateLimit-Limit") != limit || left(a) < 0 || err != nil || reset < 1e12 {
					t.Errorf("%s by %s: %d with %v", r, who, a.Status, a.Header)
				}
			}
		}
	}
	p.with("").refused(401, "credentials_missing", "GET", "/api/me", nil)
}

func TestLimitsThatAreOffSendNoHeaders(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	_, key := admin.mustAgent("Onboarding")
	for _, a := range []answer{
		admin.call("GET", "/api/admin/me", nil), p.with(key).call("GET", "/api/me", nil), p.with(key).fetch(tool),
		p.with(key).call("POST", "/api/tools/"+tool+"/request", "{"),
	} {
		for name := range a.Header {
			if strings.HasPrefix(strings.ToLower(name), "x-ratelimit") {
				t.Errorf("%d has %s", a.Status, name)
			}
		}
	}
}

// TestFailedAuthenticationsAreCountedByAddress tries to be other addresses, without and behind a
// proxy that is believed.
func TestFailedAuthenticationsAreCountedByAddress(t *testing.T) {
	t.Parallel()
	const wrong = "Bearer sk_agent_x"
	forge := []string{"X-Forwarded-For", "CF-Connecting-IP", "X-Real-IP", "True-Client-IP", "Forwarded", "X-Client-IP"}
	fail := func(c client, headers ...string) answer {
		return c.call("GET", "/api/me", nil, append([]string{"Authorization", wrong}, headers...)...)
	}
	t.Run("without a proxy", func(t *testing.T) {
		p := start(t, "AGENTKEY_LIMIT_PREAUTH=5/24h")
		admin := p.admin()
		_, key := admin.mustAgent("Onboarding")
		for range 20 {
			p.with(key).must(200, "GET", "/api/me", nil) // what succeeds does not count
		}
		for i := range 5 {
			if a := fail(p.anyone(), forge[i], "203.0.113."+strconv.Itoa(i)); a.Status != 401 {
				t.Errorf("failure %d: %d %s", i+1, a.Status, a.Body)
			}
		}
		for i, header := range forge {
			a := fail(p.anyone(), header, "198.51.100."+strconv.Itoa(i))
			if a.Status != 429 || a.Code() != "rate_limited" || a.Header.Get("Retry-After") == "" {
				t.Errorf("a sixth failure with %s: %d %s", header, a.Status, a.Body)
			}
		}
		p.with(key).must(200, "GET", "/api/me", nil) // a valid key never waits for the failures of others
		admin.must(200, "GET", "/api/admin/me", nil)
		p.anyone().must(200, "GET", "/healthz", nil)
	})
	t.Run("behind a proxy", func(t *testing.T) {
		p := start(t, "AGENTKEY_LIMIT_PREAUTH=5/24h", "AGENTKEY_TRUSTED_PROXIES=127.0.0.0/8,10.0.0.0/8")
		_, key := p.admin().mustAgent("Onboarding")
		for i := range 5 {
			// What the client claims stands to the left of what the proxies saw.
			if a := fail(
				p.anyone(), "X-Forwarded-For", fmt.Sprintf("198.51.100.%d, 203.0.113.7, 10.0.0.1", i),
			); a.Status != 401 {
				t.Errorf("failure %d: %d %s", i+1, a.Status, a.Body)
			}
		}
		if a := fail(p.anyone(), "X-Forwarded-For", "198.51.100.99, 203.0.113.7"); a.Status != 429 {
			t.Errorf("a sixth failure: %d %s", a.Status, a.Body)
		}
		if a := fail(p.anyone(), "X-Forwarded-For", "203.0.113.7, 203.0.113.8"); a.Status != 401 {
			t.Errorf("a first failure of another address: %d %s", a.Status, a.Body)
		}
		p.with(key).must(200, "GET", "/api/me", nil)
		for i := range 5 {
			// one network of IPv6 is one address
			fail(p.anyone(), "X-Forwarded-For", fmt.Sprintf("2001:db8:1:2::%d", i))
		}
		if a := fail(p.anyone(), "X-Forwarded-For", "2001:db8:1:2:ffff::1"); a.Status != 429 {
			t.Errorf("a sixth failure of a network: %d %s", a.Status, a.Body)
		}
		if a := fail(p.anyone(), "X-Forwarded-For", "2001:db8:1:3::1"); a.Status != 401 {
			t.Errorf("a first failure of another network: %d %s", a.Status, a.Body)
		}
	})
}

// TestTheAddressInTheAuditIsTheOneThatWasSeen forges every header that some proxy sets.
func TestTheAddressInTheAuditIsTheOneThatWasSeen(t *testing.T) {
	t.Parallel()
	forged := []string{
		"CF-Connecting-IP", "203.0.113.66", "X-Real-IP", "203.0.113.66", "Forwarded", "for=203.0.113.66",
		"True-Client-IP", "203.0.113.66",
	}
	for _, tt := range []struct{ name, proxies, forwarded, want string }{
		{"no proxy is believed", "", "203.0.113.66", "127.0.0.1"},
		{"another proxy is believed", "10.0.0.0/8", "203.0.113.66", "127.0.0.1"},
		{"the peer is believed", "127.0.0.0/8", "203.0.113.66, 198.51.100.1", "198.51.100.1"},
		{"two proxies are believed", "127.0.0.0/8,10.0.0.0/8", "203.0.113.66, 198.51.100.2, 10.1.1.1", "198.51.100.2"},
		{"the peer is believed and says nothing", "127.0.0.0/8", "", "127.0.0.1"},
		{"the peer is believed and says nonsense", "127.0.0.0/8", "203.0.113.66, nonsense", "127.0.0.1"},
		{"an address with a port", "127.0.0.0/8", "203.0.113.66, 198.51.100.1:51234", "198.51.100.1"},
		{"an address of version 6 with a port", "127.0.0.0/8", "[2001:db8::1]:443", "2001:db8::1"},
		{"an address of version 6", "127.0.0.0/8", "2001:DB8::0:1", "2001:db8::1"},
		{"an address of version 4 in one of version 6", "127.0.0.0/8", "::ffff:198.51.100.3", "198.51.100.3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := append([]string{}, unlimited...)
			if tt.proxies != "" {
				env = append(env, "AGENTKEY_TRUSTED_PROXIES="+tt.proxies)
			}
			p := start(t, env...)
			a := p.admin().must(
				201, "POST", "/api/admin/agents", object{"name": "Onboarding"},
				append(forged, "X-Forwarded-For", tt.forwarded)...,
			)
			entry := p.admin().must(
				200, "GET", "/api/admin/audit?action=agent.registered&agent_id="+a.Text("agent.id"), nil,
			).Items()[0]
			seen, _ := entry["request"].(map[string]any)["ip"].(string)
			if seen != tt.want || net.ParseIP(seen) == nil ||
				entry["request"].(object)["id"] != a.Header.Get("X-Request-Id") {
				t.Errorf("the audit has %v, not %s", entry["request"], tt.want)
			}
		})
	}
}

// TestFailuresWithKeysOfKnownOwnersLockNoOneOut keeps calling with keys that ended or are wrong,
// from the address of others.
func TestFailuresWithKeysOfKnownOwnersLockNoOneOut(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_PREAUTH=5/24h", "AGENTKEY_LIMIT_ADMIN=1000/1s")
	admin := p.admin()
	id, former := admin.mustAgent("Onboarding")
	_, other := admin.mustAgent("Another")
	now := admin.must(200, "POST", "/api/admin/agents/"+id+"/rotate-key", nil).Text("api_key")
	parsed, err := keys.Parse(now)
	if err != nil {
		t.Fatal(err)
	}
	guessed, _, err := keys.New(keys.Agent, parsed.ID, parsed.Number)
	if err != nil {
		t.Fatal(err)
	}
	wrongToken, _, err := keys.New(keys.Service, uuid.Nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		want := 401
		if i >= 5 {
			want = 429
		}
		for _, key := range []string{former, guessed}[i%2 : i%2+1] { // both are keys of one owner
			if a := p.with(key).call("GET", "/api/me", nil); a.Status != want ||
				want == 429 && a.Header.Get("Retry-After") == "" {
				t.Errorf("failure %d: %d %s", i+1, a.Status, a.Body)
			}
		}
		if a := p.with(wrongToken).call("GET", "/api/admin/me", nil); a.Status != want {
			t.Errorf("failure %d with a service token: %d %s", i+1, a.Status, a.Body)
		}
		for _, key := range []string{now, other} {
			p.with(key).must(200, "GET", "/api/me", nil)
		}
		admin.must(200, "GET", "/api/admin/me", nil)
	}
	p.with("sk_agent_x").refused(401, "credentials_malformed", "GET", "/api/me", nil) // those were not the address's
}

// TestARefusedCallerCountsAsARead lets callers that are known be refused over and over.
func TestARefusedCallerCountsAsARead(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_READS=5/24h", "AGENTKEY_LIMIT_ADMIN=20/24h", "AGENTKEY_LIMIT_CREDENTIALS=100/1m")
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, suspended := admin.mustAgent("Suspended")
	_, astray := admin.mustAgent("Astray")
	admin.must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
	organization := admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	auditor := p.shell("token", "create", "--organization", organization, "--name", "an auditor", "--role", "auditor")
	for _, tt := range []struct {
		name, key, method, path, code string
		times                         int
	}{
		{"a suspended agent's fetches", suspended, "GET", "/api/tools/" + tool + "/credentials", "agent_suspended", 5},
		{"an agent on an admin's path", astray, "GET", "/api/admin/tools", "wrong_caller", 5},
		{"an auditor who would manage", auditor, "POST", "/api/admin/agents", "role_insufficient", 20},
	} {
		c := p.with(tt.key)
		for range tt.times {
			c.refused(403, tt.code, tt.method, tt.path, nil)
		}
		if a := c.refused(429, "rate_limited", tt.method, tt.path, nil); a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %v", tt.name, a.Header)
		}
	}
}
