package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"agentkey/integrations/oidc/oidctest"
)

// TestOneIdentityIsOneAgent has two agents want it, one after the other, at once, and in parts.
func TestOneIdentityIsOneAgent(t *testing.T) {
	t.Parallel()
	issuer := oidctest.New(t)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	one, _ := admin.mustAgent("One")
	two, _ := admin.mustAgent("Two")
	admin.must(200, "PUT", identityOf(one), binding(issuer))
	admin.refused(409, "identity_taken", "PUT", identityOf(two), binding(issuer))
	admin.refused(409, "identity_taken", "PUT", identityOf(two), binding(issuer, "keys", published(t, issuer)))

	// Both fit: nobody guesses.
	admin.must(200, "PUT", identityOf(two), binding(issuer, "claims", object{"repository_id": "74"}))
	a := p.with(issuer.Token(runner())).refused(401, "credentials_unknown", "GET", "/api/me", nil)
	if !strings.Contains(a.Text("detail"), "More than one agent") {
		t.Errorf("it is ambiguous: %s", a.Body)
	}
	staging := p.with(issuer.Token(runner("environment", "staging")))
	if me := staging.must(200, "GET", "/api/me", nil); me.Text("agent_id") != two {
		t.Errorf("staging is %s", me.Body)
	}

	// A retired agent's identity is free, and so is one that was given up.
	admin.must(204, "DELETE", "/api/admin/agents/"+one, nil)
	admin.must(200, "PUT", identityOf(two), binding(issuer))
	if me := p.with(issuer.Token(runner())).must(200, "GET", "/api/me", nil); me.Text("agent_id") != two {
		t.Errorf("the job is %s", me.Body)
	}
	staging.refused(401, "credentials_unknown", "GET", "/api/me", nil)
	admin.must(204, "DELETE", identityOf(two), nil)

	agents := make([]string, 6)
	for i := range agents {
		agents[i], _ = admin.mustAgent(fmt.Sprint("Racer ", i))
		had := object{"repository_id": fmt.Sprint(100 + i)}
		admin.must(200, "PUT", identityOf(agents[i]), binding(issuer, "claims", had))
	}
	var got atomic.Int32
	var wg sync.WaitGroup
	for _, agent := range agents {
		wg.Go(func() {
			switch a := admin.call("PUT", identityOf(agent), binding(issuer)); {
			case a.Status == http.StatusOK:
				got.Add(1)
			case a.Code() != "identity_taken":
				t.Errorf("a race ends with %s", a.Body)
			}
		})
	}
	wg.Wait()
	admin.mustAgent("Last") // so that what was taken back is seen below
	bound := 0
	for i, agent := range agents {
		switch is := admin.must(200, "GET", "/api/admin/agents/"+agent, nil).Text("identity.claims.repository_id"); is {
		case "74":
			bound++
		case fmt.Sprint(100 + i): // that it had
		default:
			t.Errorf("who lost the race has the identity %q", is)
		}
	}
	if bound > 1 || bound != int(got.Load()) {
		t.Errorf("%d agents have it, and %d were told so", bound, got.Load())
	}
}

// TestOrganizationsBindWithoutEachOther has two organizations bind the same identity. A token of it
// is somebody's as long as it is clear whose.
func TestOrganizationsBindWithoutEachOther(t *testing.T) {
	t.Parallel()
	issuer := oidctest.New(t)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	acme := admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	globex := admin.must(201, "POST", "/api/admin/organizations", object{"name": "Globex"}).Text("id")
	theirs := p.with(p.shell("token", "create", "--organization", globex, "--name", "office", "--role", "owner"))
	first, _ := theirs.mustAgent("Came first")
	second, _ := admin.mustAgent("Deployer")
	job := p.with(issuer.Token(runner()))
	is := func(agent string, headers ...string) {
		t.Helper()
		if me := job.must(200, "GET", "/api/me", nil, headers...); me.Text("agent_id") != agent {
			t.Errorf("the job is %s", me.Body)
		}
	}
	unclear := func() {
		t.Helper()
		again := p.with(issuer.Token(runner())) // a verified token is remembered
		a := again.refused(401, "credentials_unknown", "GET", "/api/me", nil)
		if !strings.Contains(a.Text("detail"), "more than one organization") ||
			!strings.Contains(a.Text("hint"), "X-Organization") {
			t.Errorf("it is unclear: %s", a.Body)
		}
	}
	chosen := func(organization string) []string { return []string{"X-Organization", organization} }
	theirs.must(200, "PUT", identityOf(first), binding(issuer))
	job.refused(401, "credentials_unknown", "GET", "/api/me", nil, chosen(acme)...)
	admin.must(200, "PUT", identityOf(second), binding(issuer))
	unclear()
	is(second, chosen(acme)...)
	is(first, chosen(globex)...)
	job.refused(401, "credentials_unknown", "GET", "/api/me", nil, chosen(newID().String())...)
	admin.must(200, "PUT", identityOf(second), binding(issuer, "claims", object{"repository_id": "74"}))
	unclear()
	is(second, chosen(acme)...)

	// What they verify with keys of their own isn't the issuer's.
	theirs.must(200, "PUT", identityOf(first), binding(issuer, "keys", published(t, oidctest.New(t))))
	job = p.with(issuer.Token(runner()))
	is(second)
	theirs.must(204, "DELETE", identityOf(first), nil)
	is(second)
}

// TestWhoStillPresentsAnIdentityIsRecorded has jobs call whose agent was unbound, and retired.
func TestWhoStillPresentsAnIdentityIsRecorded(t *testing.T) {
	t.Parallel()
	issuer := oidctest.New(t)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	agent, _ := admin.mustAgent("Deployer")
	refused := func(reason string, count int) {
		t.Helper()
		for range 2 {
			p.with(issuer.Token(runner())).refused(401, "credentials_unknown", "GET", "/api/me", nil)
		}
		p.with(oidctest.New(t).Token(runner("iss", issuer.URL))).refused(401, "credentials_unknown", "GET", "/api/me", nil)
		admin.mustTool(reason, "x") // so that the refusals before it are seen
		items := admin.must(200, "GET", "/api/admin/audit?action=agent.key_refused&agent_id="+agent, nil).Items()
		if len(items) != count {
			t.Fatalf("%d refusals are in the audit: %v", len(items), items)
		}
		data, _ := json.Marshal(items[0]["data"])
		for _, said := range []string{
			`"reason":"` + reason, `"repository_id":"74"`, `"token_id"`, `"binding":1`, `"count":1`,
		} {
			if !strings.Contains(string(data), said) {
				t.Errorf("the audit doesn't say %s: %s", said, data)
			}
		}
	}
	admin.must(200, "PUT", identityOf(agent), binding(issuer))
	p.with(issuer.Token(runner())).must(200, "GET", "/api/me", nil)
	admin.must(204, "DELETE", identityOf(agent), nil)
	refused("unbound", 1)
	admin.must(204, "DELETE", "/api/admin/agents/"+agent, nil)
	refused("agent_retired", 2)
}

// TestAnOrganizationBindsToSoManyIssuersAndClaims tries one more than it may.
func TestAnOrganizationBindsToSoManyIssuersAndClaims(t *testing.T) {
	t.Parallel()
	cluster := oidctest.New(t)
	p := start(t, unlimited...)
	admin := p.admin()
	globex := admin.must(201, "POST", "/api/admin/organizations", object{"name": "Globex"}).Text("id")
	theirs := p.with(p.shell("token", "create", "--organization", globex, "--name", "office", "--role", "owner"))
	other, _ := theirs.mustAgent("Their agent")
	keys := published(t, cluster)
	body := func(issuer int, claims object) object {
		return object{
			"issuer": fmt.Sprintf("https://ci-%d.example", issuer), "audience": "agentkey-acme", "claims": claims, "keys": keys,
		}
	}
	last := ""
	for i := range 21 {
		agent, _ := admin.mustAgent(fmt.Sprint("Agent ", i))
		if i < 20 {
			last = agent
			admin.must(200, "PUT", identityOf(agent), body(i, object{"sub": "a"}))
			continue
		}
		a := admin.refused(400, "validation_failed", "PUT", identityOf(agent), body(i, object{"sub": "a"}))
		if !namesField(a, "issuer") || !strings.Contains(string(a.Body), "at most 20") {
			t.Errorf("one issuer more: %s", a.Body)
		}
		admin.must(200, "PUT", identityOf(agent), body(0, object{"sub": "b"})) // one that it has
		theirs.must(200, "PUT", identityOf(other), body(i, object{"sub": "a"}))
		admin.must(204, "DELETE", identityOf(last), nil)
		admin.must(200, "PUT", identityOf(agent), body(i, object{"sub": "a"}))
		last = agent
	}
	named := func(n int) object { return object{"sub": "a", fmt.Sprint("claim_", n): "x"} }
	for n := range 31 { // sub alone is one
		admin.must(200, "PUT", identityOf(last), body(0, named(n)))
	}
	a := admin.refused(400, "validation_failed", "PUT", identityOf(last), body(0, named(31)))
	if !namesField(a, "audience") {
		t.Errorf("one set of claims more: %s", a.Body)
	}
	admin.must(200, "PUT", identityOf(last), body(0, named(7)))
	theirs.must(200, "PUT", identityOf(other), body(0, named(31)))
}

// TestABadIdentityOpensNothing sends what can't be one, and issuers that answer badly.
func TestABadIdentityOpensNothing(t *testing.T) {
	t.Parallel()
	issuer := oidctest.New(t)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	agent, _ := admin.mustAgent("Deployer")
	answering := func(kind, text string) *oidctest.Provider {
		bad := oidctest.New(t)
		bad.Answer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(text))
		}))
		return bad
	}
	large := oidctest.New(t)
	itself := large.Itself()
	large.Answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known") {
			itself.ServeHTTP(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"keys":["` + strings.Repeat("a", 10<<20) + `"]}`))
	}))
	away := oidctest.New(t)
	away.Answer(http.RedirectHandler(issuer.URL, http.StatusFound))
	named := func(claims object) object { return binding(issuer, "claims", claims) }
	many := object{"sub": "a"}
	for i := range 8 {
		many[fmt.Sprint("c", i)] = "x"
	}
	for name, c := range map[string]struct {
		body  any
		field string
		said  string
	}{
		"HTML":               {binding(answering("text/html", "<!doctype html>")), "issuer", "but text/html"},
		"another issuer":     {binding(answering("application/json", `{"issuer":"https://x"}`)), "issuer", "the issuer"},
		"10 MB of keys":      {binding(large), "issuer", "larger than 1024 KiB"},
		"a redirect":         {binding(away), "issuer", "redirects"},
		"nothing there":      {binding(issuer, "issuer", "http://127.0.0.1:1"), "issuer", ""},
		"plain HTTP":         {binding(issuer, "issuer", "http://ci.example.com"), "issuer", "must begin with https://"},
		"no URL":             {binding(issuer, "issuer", "ci"), "issuer", "must be a URL"},
		"no issuer":          {object{"audience": "a", "claims": object{"sub": "a"}}, "issuer", ""},
		"no audience":        {binding(issuer, "audience", ""), "audience", ""},
		"no claims":          {named(object{}), "claims", ""},
		"too many claims":    {named(many), "claims", ""},
		"a list":             {named(object{"sub": []string{"a"}}), "claims.sub", ""},
		"a number":           {named(object{"repository_id": 74}), "claims.repository_id", ""},
		"an environment":     {named(object{"environment": "production"}), "claims", "which workload it is"},
		"a namespace":        {named(object{"kubernetes.io.namespace": "a"}), "claims", "which workload it is"},
		"a name":             {named(object{"sub": "a", "repository": "acme/site"}), "claims.repository", "repository_id"},
		"a claim of its own": {named(object{"sub": "a", "aud": "x"}), "claims.aud", "checked by itself"},
		"a bad name":         {named(object{"sub": "a", "a,b": "x"}), "claims", "letters, digits"},
		"an empty value":     {named(object{"sub": ""}), "claims.sub", ""},
		"GitHub by sub": {
			binding(issuer, "issuer", "https://token.actions.githubusercontent.com", "claims", object{"sub": "repo:a/b"}),
			"claims", "repository_id",
		},
		"names of a project":    {named(object{"sub": "project_path:acme/site:ref_type:branch"}), "claims", "project_id"},
		"names of a repository": {named(object{"sub": "repo:acme/site:environment:production"}), "claims", "repository_id"},
		"keys that are none":    {binding(issuer, "keys", `{"keys":[{"kty":"RSA"}]}`), "keys", "no key that can be used"},
		"keys as HTML":          {binding(issuer, "keys", "<!doctype html>"), "keys", "isn't a JWK set"},
		"keys as an object":     {binding(issuer, "keys", object{"keys": []string{}}), "keys", ""},
		"keys of 40 KB":         {binding(issuer, "keys", strings.Repeat("a", 40_000)), "keys", "32"},
		"a private key":         {binding(issuer, "keys", `{"keys":[{"kty":"RSA","d":"canary"}]}`), "keys", "private key"},
		"a member too many":     {binding(issuer, "subject", "x"), "subject", ""},
		"a control character":   {named(object{"sub": "a\u0007"}), "claims.sub", ""},
	} {
		a := admin.refused(400, "validation_failed", "PUT", identityOf(agent), c.body, "X-Case", name)
		if !namesField(a, c.field) || !strings.Contains(a.Text("detail")+string(a.Body), c.said) ||
			strings.Contains(string(a.Body), "canary") {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	admin.refused(404, "not_found", "PUT", identityOf(newID().String()), binding(issuer))
	admin.refused(404, "not_found", "DELETE", identityOf(newID().String()), nil)
	admin.refused(413, "body_too_large", "PUT", identityOf(agent), binding(issuer, "keys", strings.Repeat("a", 10<<20)))
	if got := admin.must(200, "GET", "/api/admin/agents/"+agent, nil); got.At("identity") != nil {
		t.Errorf("it is bound: %s", got.Body)
	}
	p.with(issuer.Token(runner())).refused(401, "credentials_unknown", "GET", "/api/me", nil)
	if len(issuer.Requests()) != 0 {
		t.Errorf("the issuer was called for what is wrong without it: %v", issuer.Requests())
	}
}
