package main

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
	"agentkey/integrations/oidc/oidctest"
)

const samePage = "same-origin"

// page is a client that holds a cookie, as a page of the service's own origin.
type page struct {
	client

	cookies map[string]string
	host    string // that it asks for; empty: where the program listens
}

func (p *program) page() *page {
	c := p.anyone()
	b := &page{client: c, cookies: map[string]string{}}
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	next := b.http.Transport
	b.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if b.host != "" {
			r.Host = b.host
		}
		for name, value := range b.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		answer, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		for _, c := range answer.Cookies() {
			b.cookies[c.Name] = c.Value
			if c.MaxAge < 0 {
				delete(b.cookies, c.Name)
			}
		}
		return answer, nil
	})
	return b
}

// TestASessionStandsForAToken exchanges a service token for a cookie at one replica and uses it at
// another.
func TestASessionStandsForAToken(t *testing.T) {
	t.Parallel()
	server := ownLog(t, "two processes share a log of their own")
	master, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	shared := append([]string{"AGENTKEY_EVENTSTORE_URL=" + server.url(), "AGENTKEY_MASTER_KEYS=" + master}, unlimited...)
	p, other := start(t, shared...), start(t, shared...)
	owner := p.admin()
	id, secret := owner.newToken("Dashboard", "admin")

	b := p.page()
	b.refused(401, "credentials_malformed", "POST", "/auth/session", object{"token": secret + "x"})
	b.refused(400, "validation_failed", "POST", "/auth/session", object{"tokens": secret})
	b.refused(415, "unsupported_media_type", "POST", "/auth/session", "token", "Content-Type", "text/plain")
	_, key := owner.mustAgent("Builder")
	b.refused(403, "wrong_caller", "POST", "/auth/session", object{"token": key})
	begun := b.must(204, "POST", "/auth/session", object{"token": secret})
	set := begun.Header.Get("Set-Cookie")
	for _, part := range []string{"agentkey=sk_session_", "HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(set, part) {
			t.Errorf("the cookie %q lacks %s", set, part)
		}
	}
	if strings.Contains(set, "Secure") || strings.Contains(set, "Domain") {
		t.Errorf("over plain HTTP the cookie is %q", set)
	}
	there := other.page()
	there.cookies = maps.Clone(b.cookies)
	me := there.must(200, "GET", "/api/admin/me", nil)
	if me.Text("actor.id") != id || me.Text("actor.type") != "service" {
		t.Errorf("the session is %s", me.Body)
	}

	// A command of another page has no effect.
	tool := object{"name": "GitHub", "auth_type": "api_key", "credential_mode": "per_agent"}
	for name, headers := range map[string][]string{
		"of nobody knows whom": nil,
		"of another site":      {"Sec-Fetch-Site", "cross-site", "Origin", p.URL},
		"of a neighbour":       {"Sec-Fetch-Site", "same-site"},
		"typed by a person":    {"Sec-Fetch-Site", "none"},
		"of another origin":    {"Origin", "https://evil.example"},
		"of no origin":         {"Origin", "null"},
		"of another port":      {"Origin", "http://127.0.0.1:1"},
	} {
		if a := b.call("POST", "/api/admin/tools", tool, headers...); a.Status != 403 || a.Code() != "origin_not_allowed" {
			t.Errorf("a command %s is answered %d: %s", name, a.Status, a.Body)
		}
	}
	b.must(201, "POST", "/api/admin/tools", tool, "Sec-Fetch-Site", samePage)
	tool["name"] = "Linear"
	b.must(201, "POST", "/api/admin/tools", tool, "Origin", p.URL)
	b.refused(401, "credentials_malformed", "GET", "/api/admin/me", nil, "Authorization", "Bearer "+b.cookies["agentkey"])
	b.refused(403, "wrong_caller", "GET", "/api/me", nil)

	sessions := owner.must(200, "GET", "/api/admin/sessions", nil).Items()
	if len(sessions) != 1 || sessions[0]["current"] != false {
		t.Fatalf("the sessions are %v", sessions)
	}
	mine := b.must(200, "GET", "/api/admin/sessions", nil).Items()
	if mine[0]["current"] != true {
		t.Errorf("a browser doesn't know its own session: %v", mine)
	}

	b.refused(403, "origin_not_allowed", "POST", "/auth/logout", nil, "Sec-Fetch-Site", "cross-site")
	p.page().refused(403, "origin_not_allowed", "POST", "/auth/logout", nil, "Origin", "https://evil.example")
	b.must(204, "POST", "/auth/logout", nil, "Sec-Fetch-Site", samePage)
	if len(b.cookies) != 0 {
		t.Errorf("after logging out the browser has %v", b.cookies)
	}
	there.refused(401, "credentials_expired", "GET", "/api/admin/me", nil) // with the cookie that somebody kept
	b.must(204, "POST", "/auth/logout", nil, "Sec-Fetch-Site", samePage)

	// It ends one by one, or with the token.
	for _, end := range []func(session string){
		func(session string) { owner.must(204, "DELETE", "/api/admin/sessions/"+session, nil) },
		func(string) { owner.must(204, "DELETE", "/api/admin/sessions?owner_id="+id, nil) },
		func(string) { owner.must(204, "DELETE", "/api/admin/sessions", nil) },
		func(string) { owner.must(204, "DELETE", serviceTokens+"/"+id, nil) },
	} {
		b.must(204, "POST", "/auth/session", object{"token": secret})
		there.cookies = maps.Clone(b.cookies)
		there.must(200, "GET", "/api/admin/me", nil)
		session := b.must(200, "GET", "/api/admin/sessions", nil).Items()[0]["id"].(string) //nolint:forcetypeassert // an id
		end(session)
		there.refused(401, "credentials_expired", "GET", "/api/admin/me", nil)
	}
	b.refused(401, "credentials_unknown", "POST", "/auth/session", object{"token": secret})
}

// TestAPersonSignsInWithABrowser goes through the code flow of a real provider.
func TestAPersonSignsInWithABrowser(t *testing.T) {
	t.Parallel()
	const host = "localhost"
	provider := oidctest.New(t, "http://"+host+"/auth/callback")
	p := start(t, append([]string{
		"AGENTKEY_OIDC_ISSUER=" + provider.URL, "AGENTKEY_OIDC_AUDIENCE=agentkey",
		"AGENTKEY_OIDC_CLIENT_ID=" + oidctest.ClientID, "AGENTKEY_OIDC_CLIENT_SECRET=" + oidctest.ClientSecret,
	}, unlimited...)...)
	p.admin().must(201, "POST", "/api/admin/invitations", object{"email": oidctest.Email, "role": "owner"})

	b := p.page()
	b.host = host
	for _, to := range []string{
		"https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "requests",
		"/%0d%0aSet-Cookie:a=b\r\n",
	} {
		b.refused(400, "validation_failed", "GET", "/auth/login?return_to="+url.QueryEscape(to), nil)
	}
	on := b.must(302, "GET", "/auth/login?return_to=/requests%3Fstatus%3Dpending", nil).Header.Get("Location")
	if !strings.HasPrefix(on, provider.URL) || !strings.Contains(on, "code_challenge_method=S256") {
		t.Fatalf("the browser is sent to %s", on)
	}
	redirects, err := url.Parse(on)
	if err != nil || redirects.Query().Get("redirect_uri") != "http://"+host+"/auth/callback" {
		t.Fatalf("the provider sends the browser back to %s (%v)", redirects.Query().Get("redirect_uri"), err)
	}
	// Another tab signs in meanwhile, and its person goes away.
	second := provider.SignIn(b.must(302, "GET", "/auth/login", nil).Header.Get("Location")).RequestURI()
	b.must(302, "GET", "/auth/login", nil)
	back := provider.SignIn(on).RequestURI()
	p.page().refused(401, "credentials_unknown", "GET", back, nil) // another browser
	if to := b.must(302, "GET", second, nil).Header.Get("Location"); to != "/" {
		t.Errorf("the second tab goes to %s", to)
	}
	done := b.must(302, "GET", back, nil)
	if len(b.cookies) != 2 {
		t.Errorf("besides the session and one sign-in the browser has %v", b.cookies)
	}
	if to := done.Header.Get("Location"); to != "/requests?status=pending" {
		t.Errorf("in the end the browser goes to %s", to)
	}
	me := b.must(200, "GET", "/api/admin/me", nil)
	if me.Text("actor.type") != "human" || me.Text("role") != "owner" || me.Text("actor.label") == "" {
		t.Errorf("the person is %s", me.Body)
	}
	b.refused(401, "credentials_unknown", "GET", back, nil) // once
	b.refused(401, "credentials_unknown", "GET", "/auth/callback?error=access_denied", nil)

	// The session ends with the membership. Another owner is there to end it.
	p.admin().must(201, "POST", "/api/admin/invitations", object{"email": "ada@example.com", "role": "owner"})
	ada := p.with(someone(provider, "ada", "ada@example.com"))
	ada.must(204, "DELETE", "/api/admin/members/"+me.Text("actor.id"), nil)
	b.refused(401, "credentials_expired", "GET", "/api/admin/me", nil)

	other := b.refused(400, "validation_failed", "GET", "/auth/login?issuer=https%3A%2F%2Fother.example", nil)
	if !strings.Contains(string(other.Body), "people sign in here at "+provider.URL) {
		t.Errorf("an unknown issuer is answered with %s", other.Body)
	}
	for path, want := range map[string][]string{
		"/auth/callback?state=%3Cb%3E": {"was not begun in this browser", `href="/auth/login"`},
		"/auth/login?issuer=%3Cb%3E":   {"people sign in here at " + provider.URL},
		"/auth/link?code=%3Cb%3E":      {"credentials_"},
	} {
		a := b.call("GET", path, nil, "Accept", html)
		for _, text := range append(want, "<h1>You aren't signed in</h1>", a.Header.Get("X-Request-Id")) {
			if !strings.Contains(string(a.Body), text) {
				t.Errorf("the page of %s lacks %q: %s", path, text, a.Body)
			}
		}
		if a.Status < 400 || a.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
			!strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "default-src 'none'") ||
			a.Header.Get("Vary") == "" || strings.Contains(string(a.Body), "<b>") {
			t.Errorf("the page of %s is answered %d with %v: %s", path, a.Status, a.Header, a.Body)
		}
	}
}

// TestASignInLinkWorksOnce prints a link on the server.
func TestASignInLinkWorksOnce(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	p.anyone().refused(404, "not_found", "GET", "/auth/login", nil)
	link, err := url.Parse(strings.TrimSpace(p.shell("admin", "login")))
	if err != nil {
		t.Fatal(err)
	}
	b := p.page()
	b.refused(401, "credentials_unknown", "GET", "/auth/link?code="+link.Query().Get("code")+"x", nil)
	b.refused(400, "validation_failed", "GET", "/auth/link", nil)
	for _, early := range [][]string{
		{"Sec-Purpose", "prefetch;prerender"}, {"Purpose", "prefetch"}, {"X-Purpose", "preview"}, {"X-Moz", "prefetch"},
	} {
		b.refused(503, "busy", "GET", link.RequestURI(), nil, early...)
	}
	b.call("HEAD", link.RequestURI(), nil)
	if len(b.cookies) != 0 {
		t.Errorf("before it was opened the browser has %v", b.cookies)
	}
	if to := b.must(302, "GET", link.RequestURI(), nil).Header.Get("Location"); to != "/" {
		t.Errorf("the link leads to %s", to)
	}
	me := b.must(200, "GET", "/api/admin/me", nil)
	if me.Text("role") != "owner" || me.Text("actor.label") != "sign-in link" {
		t.Errorf("who follows the link is %s", me.Body)
	}
	p.page().refused(401, "credentials_unknown", "GET", link.RequestURI(), nil)
	b.must(200, "GET", "/api/admin/me", nil)
}

// TestADashboardIsServed has static files on the origin of the API.
func TestADashboardIsServed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"index.html": "<!doctype html><title>Dashboard</title>", "app.js": "let a = 1", ".env": "secret",
		"assets/style.css": "p {}",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, append([]string{"AGENTKEY_DASHBOARD_DIR=" + dir}, unlimited...)...)
	b := p.page()
	for path, want := range map[string]string{
		"/": "Dashboard", "/requests/123": "Dashboard", "/app.js": "let a", "/assets/style.css": "p {}",
		"/assets": "Dashboard",
	} {
		a := b.must(200, "GET", path, nil)
		policy := a.Header.Get("Content-Security-Policy")
		if !strings.Contains(string(a.Body), want) || !strings.Contains(policy, "default-src 'self'") {
			t.Errorf("%s is %q with the policy %q", path, a.Body, policy)
		}
	}
	if kind := b.must(200, "GET", "/app.js", nil).Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/javascript") {
		t.Errorf("a script is %s", kind)
	}
	for _, path := range []string{
		"/.env", "/app.css", "/../settings.go.x", "/api/admin/agent", "/api/nothing", "/auth/nothing", "/.well-known/nothing",
	} {
		b.refused(404, "not_found", "GET", path, nil)
	}
	b.refused(405, "method_not_allowed", "POST", "/", nil)
	b.refused(404, "not_found", "POST", "/requests", nil)
	code, _, stderr := runCommand(t, []string{"AGENTKEY_DASHBOARD_DIR=" + filepath.Join(dir, "assets")}, "serve")
	if code != 2 || !strings.Contains(stderr, "index.html") {
		t.Errorf("without an index.html it ends with %d: %s", code, stderr)
	}
}

// TestStrangersAreCounted has the limits of those who sign in.
func TestStrangersAreCounted(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), "AGENTKEY_LIMIT_PREAUTH=3/1h", "AGENTKEY_LIMIT_ADMIN=4/1h")...)
	_, secret := p.admin().newToken("CI", "viewer")
	id, ended := p.admin().newToken("Old", "viewer")
	p.admin().must(204, "DELETE", serviceTokens+"/"+id, nil)
	for range 4 {
		p.page().must(204, "POST", "/auth/session", object{"token": secret})
	}
	p.page().refused(429, "rate_limited", "POST", "/auth/session", object{"token": secret})
	p.page().refused(401, "credentials_unknown", "POST", "/auth/session", object{"token": ended})
	wait.Until(t, "recorded", func() bool {
		return len(p.admin().must(200, "GET", "/api/admin/audit?action=service_token.refused", nil).Items()) == 1
	})
	stranger := p.with(someone(provider, "eve", "eve@example.com"))
	for range 3 {
		stranger.refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	}
	stranger.refused(429, "rate_limited", "GET", "/api/admin/me", nil)
}

// TestNoLinkLeadsOutOfTheDashboard has a symbolic link among the files.
func TestNoLinkLeadsOutOfTheDashboard(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret.txt")
	for path, text := range map[string]string{filepath.Join(dir, "index.html"): "page", outside: "secret"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "leak.txt")); err != nil {
		t.Fatal(err)
	}
	p := start(t, append([]string{"AGENTKEY_DASHBOARD_DIR=" + dir}, unlimited...)...)
	p.page().refused(404, "not_found", "GET", "/leak.txt", nil)
	p.page().must(200, "GET", "/", nil)
}
