package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"agentkey/integrations/oidc/oidctest"
)

// runner is what GitHub Actions says of a job, as far as it matters here.
func runner(more ...any) map[string]any {
	claims := map[string]any{
		"sub": "repo:acme/site:environment:production", "aud": "agentkey-acme", "repository_id": "74",
		"environment": "production", "repository": "acme/site", "jti": newID().String(),
	}
	for i := 0; i < len(more); i += 2 {
		claims[more[i].(string)] = more[i+1] //nolint:forcetypeassert // the tests name them
	}
	return claims
}

func identityOf(agent string) string { return "/api/admin/agents/" + agent + "/identity" }

// binding is the identity of that job.
func binding(p *oidctest.Provider, more ...any) object {
	body := object{
		"issuer": p.URL, "audience": "agentkey-acme",
		"claims": object{"repository_id": "74", "environment": "production"},
	}
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1] //nolint:forcetypeassert // the tests name them
	}
	return body
}

// published is the key set that a provider publishes.
func published(t *testing.T, p *oidctest.Provider) string {
	t.Helper()
	answer, err := http.Get(p.URL + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	set, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(set)
}

// TestAWorkloadCallsWithItsOwnToken binds an agent, which fetches a credential without a key, at
// two times of the same program.
func TestAWorkloadCallsWithItsOwnToken(t *testing.T) {
	t.Parallel()
	issuer := oidctest.New(t)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	agent, key := admin.mustAgent("Deployer")
	tool := admin.mustTool("GitHub", "ghp_1")
	admin.mustAssign(agent, tool)
	job := func() client { return p.with(issuer.Token(runner())) }
	job().refused(401, "credentials_unknown", "GET", "/api/me", nil)
	if n := len(issuer.Requests()); n != 0 {
		t.Errorf("an issuer that nobody is bound to was called: %v", issuer.Requests())
	}
	before := admin.must(200, "GET", "/api/admin/agents/"+agent, nil)
	tag := before.Header.Get("ETag")
	bound := admin.must(200, "PUT", identityOf(agent), binding(issuer), "If-Match", tag)
	if bound.Text("identity.issuer") != issuer.URL || bound.Text("identity.claims.repository_id") != "74" ||
		bound.At("identity.keys_pasted") != false || bound.Header.Get("ETag") == tag {
		t.Errorf("it is bound to %s", bound.Body)
	}
	admin.refused(412, "revision_stale", "PUT", identityOf(agent), binding(issuer, "audience", "x"), "If-Match", tag)
	again := admin.must(200, "PUT", identityOf(agent), binding(issuer))
	shown := admin.must(200, "GET", "/api/admin/agents/"+agent, nil)
	if again.Text("identity.bound_at") != bound.Text("identity.bound_at") ||
		shown.Text("identity.claims.environment") != "production" || shown.At("revision") != bound.At("revision") {
		t.Errorf("bound again: %s\nshown: %s", again.Body, shown.Body)
	}
	if me := job().must(200, "GET", "/api/me", nil); me.Text("agent_id") != agent {
		t.Errorf("the job is %s", me.Body)
	}
	fetch := func() {
		t.Helper()
		if got := job().fetch(tool); got.Text("credential") != "ghp_1" {
			t.Errorf("the job got %s", got.Body)
		}
	}
	fetch()
	p.restart()
	admin = p.admin()
	fetch()
	p.with(key).fetch(tool) // the key still works

	entries := admin.must(200, "GET", "/api/admin/audit?action=credential.vended&agent_id="+agent, nil).Items()
	if len(entries) != 3 {
		t.Fatalf("%d fetches are in the audit", len(entries))
	}
	data, _ := json.Marshal(entries[1]["data"])
	for _, said := range []string{
		`"issuer":"` + issuer.URL, `"repository_id":"74"`, `"subject":"repo:acme/site:environment:production"`,
		`"token_id"`, `"binding":1`,
	} {
		if !strings.Contains(string(data), said) {
			t.Errorf("the audit doesn't say %s: %s", said, data)
		}
	}
	if data, _ := json.Marshal(entries[0]["data"]); strings.Contains(string(data), "identity") {
		t.Errorf("a fetch with the key: %s", data)
	}

	other := admin.mustTool("Linear", "lin_1")
	job().refused(403, "access_not_approved", "GET", "/api/tools/"+other+"/credentials", nil)
	admin.mustAgent("Later") // so that the refusal before it is seen
	refusals := admin.must(200, "GET", "/api/admin/audit?action=credential.refused&agent_id="+agent, nil)
	if data, _ := json.Marshal(refusals.Items()); !strings.Contains(string(data), `"repository_id":"74"`) {
		t.Errorf("a refused fetch: %s", data)
	}

	admin.must(200, "POST", "/api/admin/agents/"+agent+"/suspend", nil)
	job().refused(403, "agent_suspended", "GET", "/api/me", nil)
	admin.must(200, "POST", "/api/admin/agents/"+agent+"/reactivate", nil)
	job().must(200, "GET", "/api/me", nil)
	job().refused(401, "credentials_malformed", "GET", "/api/admin/agents", nil)

	admin.must(204, "DELETE", identityOf(agent), nil)
	admin.must(204, "DELETE", identityOf(agent), nil)
	job().refused(401, "credentials_unknown", "GET", "/api/tools/"+tool+"/credentials", nil)
	if gone := admin.must(200, "GET", "/api/admin/agents/"+agent, nil); gone.At("identity") != nil {
		t.Errorf("it is still bound: %s", gone.Body)
	}
	if was := admin.must(200, "GET", "/api/admin/agents/"+agent+"?as_of="+bound.Header.Get("X-Event-Position"), nil); was.
		Text("identity.issuer") != issuer.URL {
		t.Errorf("then it was bound to %s", was.Body)
	}
}

// TestATokenThatIsNotTheWorkloadsIsRefused changes one thing at a time.
func TestATokenThatIsNotTheWorkloadsIsRefused(t *testing.T) {
	t.Parallel()
	issuer, forger := oidctest.New(t), oidctest.New(t)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	agent, _ := admin.mustAgent("Deployer")
	admin.must(200, "PUT", identityOf(agent), binding(issuer))
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		token, code, said string
	}{
		"another repository":        {issuer.Token(runner("repository_id", "75")), "credentials_unknown", "No agent"},
		"a number is its text":      {issuer.Token(runner("repository_id", 74)), "", ""},
		"another environment":       {issuer.Token(runner("environment", "Production")), "credentials_unknown", "No agent"},
		"a list":                    {issuer.Token(runner("environment", []string{"x"})), "credentials_unknown", "No agent"},
		"a claim is missing":        {issuer.Token(runner("environment", nil)), "credentials_unknown", "No agent is bound"},
		"a star":                    {issuer.Token(runner("environment", "*")), "credentials_unknown", "No agent is bound"},
		"another audience":          {issuer.Token(runner("aud", "agentkey")), "credentials_unknown", "No agent is bound"},
		"one of two audiences":      {issuer.Token(runner("aud", []string{"x", "agentkey-acme"})), "", ""},
		"no audience":               {issuer.Token(runner("aud", nil)), "credentials_unknown", "1 to 10 audiences"},
		"the claims of a forger":    {forger.Token(runner()), "credentials_unknown", "No agent is bound"},
		"the signature of a forger": {forger.Token(runner("iss", issuer.URL)), "credentials_unknown", "isn't accepted"},
		"more than an hour": {
			issuer.Token(runner("iat", now, "exp", now+3601)), "credentials_unknown", "lives longer than an hour",
		},
		"an hour":        {issuer.Token(runner("iat", now, "exp", now+3600)), "", ""},
		"no iat":         {issuer.Token(runner("iat", nil)), "credentials_unknown", "it lacks the claim iat"},
		"no exp":         {issuer.Token(runner("exp", nil)), "credentials_unknown", "lacks a claim that is required"},
		"expired":        {issuer.Token(runner("iat", now-900, "exp", now-600)), "credentials_expired", "has expired"},
		"from to come":   {issuer.Token(runner("iat", now+600, "exp", now+900)), "credentials_unknown", "isn't valid yet"},
		"bound to a key": {issuer.Token(runner("cnf", object{"jkt": "x"})), "credentials_unknown", "bound to a key"},
		"symmetric": {
			issuer.TokenWith(jwt.SigningMethodHS256, "k", []byte("secret"), runner()), "credentials_unknown", "HS256",
		},
		"unsigned": {
			issuer.TokenWith(jwt.SigningMethodNone, "k", jwt.UnsafeAllowNoneSignatureType, runner()), "credentials_unknown",
			"none",
		},
		"not a token": {"eyJhbGciOiJSUzI1NiJ9.e30.AAAA", "credentials_unknown", "doesn't name its issuer"},
		"no JWT":      {"opaque-opaque-opaque", "credentials_malformed", "not an AgentKey key"},
	} {
		caller := p.with(c.token)
		if c.code == "" {
			caller.must(200, "GET", "/api/me", nil, "X-Case", name)
			continue
		}
		a := caller.refused(401, c.code, "GET", "/api/me", nil, "X-Case", name)
		if !strings.Contains(a.Text("detail"), c.said) || strings.Contains(string(a.Body), c.token) {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	if len(forger.Requests()) != 0 {
		t.Errorf("the forger was called: %v", forger.Requests())
	}
}

// TestPastedKeysNeedNoIssuer is a cluster that nobody can reach.
func TestPastedKeysNeedNoIssuer(t *testing.T) {
	t.Parallel()
	cluster := oidctest.New(t)
	p := start(t, unlimited...) // nothing on this machine may be called
	admin := p.admin()
	agent, _ := admin.mustAgent("Worker")
	claims := object{"kubernetes.io.namespace": "payments", "kubernetes.io.serviceaccount.name": "worker"}
	pod := func(namespace string) client {
		return p.with(cluster.Token(map[string]any{
			"sub": "system:serviceaccount:payments:worker", "aud": []string{"agentkey-acme"},
			"kubernetes.io": object{"namespace": namespace, "serviceaccount": object{"name": "worker", "uid": "u"}},
		}))
	}
	keys := published(t, cluster)
	a := admin.refused(400, "validation_failed", "PUT", identityOf(agent), binding(cluster, "claims", claims))
	if !namesField(a, "issuer") {
		t.Errorf("a private issuer: %s", a.Body)
	}
	before := cluster.Requests()["/.well-known/openid-configuration"]
	bound := admin.must(200, "PUT", identityOf(agent), binding(cluster, "claims", claims, "keys", keys))
	if bound.At("identity.keys_pasted") != true || strings.Contains(string(bound.Body), `"n"`) {
		t.Errorf("it is bound to %s", bound.Body)
	}
	cluster.Down(true)
	if me := pod("payments").must(200, "GET", "/api/me", nil); me.Text("agent_id") != agent {
		t.Errorf("the pod is %s", me.Body)
	}
	pod("payments-2").refused(401, "credentials_unknown", "GET", "/api/me", nil)
	if now := cluster.Requests()["/.well-known/openid-configuration"]; now != before {
		t.Errorf("the cluster was called %d times", now-before)
	}
	cluster.Down(false)
	cluster.Rotate()
	pod("payments").refused(401, "credentials_unknown", "GET", "/api/me", nil)
}

// TestAnIssuerThatIsDown is asked again once it answers.
func TestAnIssuerThatIsDown(t *testing.T) {
	t.Parallel()
	issuer := oidctest.New(t)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	agent, _ := admin.mustAgent("Deployer")
	admin.must(200, "PUT", identityOf(agent), binding(issuer))
	issuer.Down(true)
	p.with(issuer.Token(runner())).must(200, "GET", "/api/me", nil) // the keys are known
	p.restart()
	a := p.with(issuer.Token(runner())).refused(503, "issuer_unavailable", "GET", "/api/me", nil)
	if a.Header.Get("Retry-After") == "" {
		t.Errorf("it doesn't say when to come back: %s", a.Body)
	}
	p.admin().must(200, "PUT", identityOf(agent), binding(issuer)) // it is so already, so nothing is fetched
}

// TestNothingIsFetchedAfterAnUnbind has jobs fetch while the agent is unbound. What was
// acknowledged before the unbind began may come late, but no fetch that begins after its answer
// succeeds.
func TestNothingIsFetchedAfterAnUnbind(t *testing.T) {
	t.Parallel()
	issuer := oidctest.New(t)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	agent, _ := admin.mustAgent("Deployer")
	tool := admin.mustTool("GitHub", "ghp_1")
	admin.mustAssign(agent, tool)
	for range 3 {
		admin.must(200, "PUT", identityOf(agent), binding(issuer))
		var unbound atomic.Bool
		fetched := make(chan struct{}, 1000)
		var wg sync.WaitGroup
		for range 4 {
			job := p.with(issuer.Token(runner()))
			wg.Go(func() {
				for {
					over := unbound.Load()
					a := job.call("GET", "/api/tools/"+tool+"/credentials", nil)
					switch {
					case a.Status == http.StatusOK && over:
						t.Errorf("a fetch that began after the unbind got %s", a.Body)
						return
					case a.Status == http.StatusOK:
						select {
						case fetched <- struct{}{}:
						default:
						}
					case a.Code() == "credentials_unknown" && over:
						return
					case a.Code() != "credentials_unknown" && a.Code() != "busy":
						t.Errorf("a fetch ends with %s", a.Body)
						return
					}
				}
			})
		}
		for range 8 {
			<-fetched
		}
		admin.must(204, "DELETE", identityOf(agent), nil)
		unbound.Store(true)
		wg.Wait()
	}
}
