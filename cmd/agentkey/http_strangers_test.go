package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"agentkey/integrations/oidc/oidctest"
)

const (
	strangers = "203.0.113.9" // the address of those who make things up
	memberAt  = "198.51.100.7"
)

// strangersAt is a process behind a proxy, at which people sign in with a provider of ours.
func strangersAt(t *testing.T, more ...string) (*program, *oidctest.Provider) {
	provider := oidctest.New(t, "http://localhost/auth/callback")
	p := start(t, append([]string{
		"AGENTKEY_OIDC_ISSUER=" + provider.URL, "AGENTKEY_OIDC_AUDIENCE=agentkey", "AGENTKEY_OIDC_INTROSPECT=true",
		"AGENTKEY_OIDC_CLIENT_ID=" + oidctest.ClientID, "AGENTKEY_OIDC_CLIENT_SECRET=" + oidctest.ClientSecret,
		"AGENTKEY_TRUSTED_PROXIES=127.0.0.0/8",
	}, more...)...)
	return p, provider
}

// begin begins a sign-in at an address, and returns where the browser is sent.
func (b *page) begin(address string) *url.URL {
	b.host = "localhost"
	on, err := url.Parse(b.must(302, "GET", "/auth/login", nil, "X-Forwarded-For", address).Header.Get("Location"))
	if err != nil {
		b.t.Fatal(err)
	}
	return on
}

// TestAStrangerStopsNobodysSignIn has one address repeat a sign-in, and begin many.
func TestAStrangerStopsNobodysSignIn(t *testing.T) {
	t.Parallel()
	for limit, most := range map[string]int{
		"AGENTKEY_LIMIT_PREAUTH=5/24h":    5,
		"AGENTKEY_LIMIT_PREAUTH=10000/1m": 60, // the address's part of the questions
	} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			p, provider := strangersAt(t, limit)
			p.admin().must(201, "POST", "/api/admin/invitations", object{"email": oidctest.Email, "role": "owner"})
			asked := func() int { return provider.Requests()["/oauth/token"] }

			b := p.page()
			state := b.begin(strangers).Query().Get("state")
			for n := range 3 { // the cookie stays until somebody is signed in
				a := b.refused(401, "credentials_unknown", "GET", "/auth/callback?code=x&state="+state, nil,
					"X-Forwarded-For", strangers)
				if used := strings.Contains(string(a.Body), "it has been used"); used != (n > 0) {
					t.Errorf("use %d is answered with %s", n+1, a.Body)
				}
			}
			if n := asked(); n != 1 {
				t.Errorf("a sign-in that is repeated asks the provider %d times", n)
			}
			var last answer
			for n := 0; n < 2*most+60 && last.Status != 429; n++ {
				state = b.begin(strangers).Query().Get("state")
				last = b.call("GET", "/auth/callback?code=x&state="+state, nil, "X-Forwarded-For", strangers)
			}
			before := asked()
			if last.Status != 429 || last.Code() != "rate_limited" || before > 2*most {
				t.Fatalf("after %d codes the stranger is answered %d: %s", before, last.Status, last.Body)
			}
			if b.cookies["agentkey-login-"+state[:8]] == "" {
				t.Error("a sign-in that was only put off is taken away")
			}
			if n := len(b.cookies); n > 5 {
				t.Errorf("the browser keeps %d sign-ins", n)
			}

			member := p.page()
			back := provider.SignIn(member.begin(memberAt).String()).RequestURI()
			member.must(302, "GET", back, nil, "X-Forwarded-For", memberAt)
			member.must(200, "GET", "/api/admin/me", nil)
		})
	}
}

// TestAStrangerHasTheProviderAskedAboutFewTokens sends made-up tokens from one address, and then
// from so many that the provider isn't asked any more.
func TestAStrangerHasTheProviderAskedAboutFewTokens(t *testing.T) {
	t.Parallel()
	p, provider := strangersAt(t, "AGENTKEY_LIMIT_PREAUTH=5/24h")
	p.admin().must(201, "POST", "/api/admin/invitations", object{"email": oidctest.Email, "role": "owner"})
	itself := provider.Itself()
	provider.Answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth/introspect" {
			itself.ServeHTTP(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(object{
			"active": strings.HasPrefix(r.FormValue("token"), "issued"), "sub": "ada", "aud": "agentkey",
			"email": oidctest.Email, "email_verified": true,
		})
	}))
	asked := func() int { return provider.Requests()["/oauth/introspect"] }
	try := func(token, address string) answer {
		return p.with(token).call("GET", "/api/admin/me", nil, "X-Forwarded-For", address)
	}
	if a := try("issued-issued-issued-1", strangers); a.Status != 200 {
		t.Fatalf("a member is answered %d: %s", a.Status, a.Body)
	}
	for n := range 20 {
		a := try("made-up-made-up-"+strconv.Itoa(n), strangers)
		if want := map[bool]int{true: 401, false: 429}[n < 5]; a.Status != want {
			t.Errorf("made-up token %d is answered %d: %s", n+1, a.Status, a.Body)
		}
	}
	if n := asked(); n != 6 {
		t.Errorf("the provider was asked %d times", n)
	}
	for token, want := range map[string]int{"issued-issued-issued-1": 200, "issued-issued-issued-2": 429} {
		if a := try(token, strangers); a.Status != want {
			t.Errorf("%s is answered %d beside the stranger: %s", token, a.Status, a.Body)
		}
	}
	if a := try("issued-issued-issued-3", memberAt); a.Status != 200 {
		t.Errorf("a member elsewhere is answered %d: %s", a.Status, a.Body)
	}

	// What isn't asked about any more counts against its address as what is.
	unasked := 0
	for address := 1; address < 250 && unasked < 3; address++ {
		for n := range 6 {
			a := try("made-up-"+strconv.Itoa(address)+"-made-up-"+strconv.Itoa(n), "192.0.2."+strconv.Itoa(address))
			if (a.Status == 429) != (n == 5) {
				t.Fatalf("failure %d of an address is answered %d: %s", n+1, a.Status, a.Body)
			}
			if a.Status == 503 {
				unasked++
			}
		}
	}
	if unasked == 0 {
		t.Errorf("all was asked about: %d times", asked())
	}
}
