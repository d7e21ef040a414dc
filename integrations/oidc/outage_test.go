package oidc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"agentkey/integrations/oidc"
	"agentkey/integrations/oidc/oidctest"
)

const (
	discovery = "/.well-known/openid-configuration"
	keySet    = "/keys"
)

// said returns what a provider's handler answers to a GET.
func said(t *testing.T, handler http.Handler, path string) map[string]any {
	t.Helper()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	all := map[string]any{}
	if err := json.Unmarshal(answer.Body.Bytes(), &all); err != nil {
		t.Fatalf("%s: %v in %s", path, err, answer.Body)
	}
	return all
}

// replace lets something else answer at a path of the provider.
func replace(p *oidctest.Provider, path string, instead http.HandlerFunc) {
	itself := p.Itself()
	p.Answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			instead(w, r)
			return
		}
		itself.ServeHTTP(w, r)
	}))
}

func TestKeysThatAreRememberedOutliveAnOutage(t *testing.T) {
	t.Parallel()
	p, now := oidctest.New(t), new(clock)
	v := verifier(now, issuer(t, p, "entra"))
	token := func() string {
		return p.Token(claims{
			"oid": "ada", "aud": api, "iat": now.Now().Unix(), "exp": now.Now().Add(time.Minute).Unix(),
		})
	}
	if _, err := v.Verify(t.Context(), token()); err != nil {
		t.Fatal(err)
	}
	p.Down(true)
	for range 23 {
		now.Move(time.Hour)
		if _, err := v.Verify(t.Context(), token()); err != nil {
			t.Fatalf("at %s: %v", now.Now(), err)
		}
	}
	now.Move(2 * time.Hour)
	if _, err := v.Verify(t.Context(), token()); !errors.Is(err, oidc.ErrUnavailable) || refused(err) {
		t.Errorf("with keys of yesterday: %v", err)
	}
	p.Down(false)
	now.Move(10 * time.Second)
	if _, err := v.Verify(t.Context(), token()); err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

func TestARotatedKeyIsFoundAndTheFormerOneIsGone(t *testing.T) {
	t.Parallel()
	p, now := oidctest.New(t), new(clock)
	v := verifier(now, issuer(t, p, "entra"))
	before, again := p.Token(claims{"oid": "ada", "aud": api}), p.Token(claims{"oid": "bob", "aud": api})
	if _, err := v.Verify(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	p.Rotate()
	if _, err := v.Verify(t.Context(), p.Token(claims{"oid": "ada", "aud": api})); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	if _, err := v.Verify(t.Context(), again); !refused(err) {
		t.Errorf("with the former key: %v", err)
	}
	// Another rotation at once waits for its minute, and then is found.
	p.Rotate()
	next := p.Token(claims{"oid": "ada", "aud": api})
	if _, err := v.Verify(t.Context(), next); !refused(err) {
		t.Errorf("a second rotation within a minute: %v", err)
	}
	now.Move(time.Minute)
	if _, err := v.Verify(t.Context(), next); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

// TestGarbageCausesAHandfulOfFetches sends 10,000 tokens, by many at once, that claim to be the
// issuer's with made-up keys and signatures, or to be nobody's.
func TestGarbageCausesAHandfulOfFetches(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	v := verifier(new(clock), issuer(t, p, "entra"))
	id, _ := p.Key()
	parts := strings.Split(p.Token(claims{"oid": "ada", "aud": api}), ".")
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for n := range 1250 {
				header := fmt.Sprintf(`{"alg":"RS256","kid":"%d-%d"}`, worker, n)
				token := encode(header) + "." + parts[1] + "." + parts[2]
				switch n % 5 {
				case 1:
					token = parts[0] + "." + encode(fmt.Sprintf(`{"iss":%q,"n":%d}`, p.URL, n)) + "." + parts[2]
				case 2:
					token = encode(header) + "." + encode(fmt.Sprintf(`{"iss":"https://%d.example"}`, n)) + "." + parts[2]
				case 3:
					token = fmt.Sprintf("opaque-%d-%d-opaque", worker, n)
				case 4:
					token = encode(fmt.Sprintf(`{"alg":"RS256","kid":%q}`, id)) + "." + parts[1] + "." + encode(header)
				}
				if who, err := v.Verify(t.Context(), token); !refused(err) {
					t.Errorf("%s is taken for %+v: %v", token, who, err)
				}
			}
		})
	}
	group.Wait()
	if asked := p.Requests(); asked[discovery] > 2 || asked[keySet] > 2 || len(asked) != 2 {
		t.Errorf("the provider was asked for %v", asked)
	}
	if _, err := v.Verify(t.Context(), strings.Join(parts, ".")); err != nil {
		t.Errorf("and a good token after that: %v", err)
	}
}

// TestAProviderThatCanNotBeReadIsUnavailableAndNotATrap has a provider answer each wrong thing.
func TestAProviderThatCanNotBeReadIsUnavailableAndNotATrap(t *testing.T) {
	t.Parallel()
	elsewhere := oidctest.New(t)
	// says is discovery with another value, in which ~ is the issuer; "" is none.
	says := func(key, value string) func(*testing.T, *oidctest.Provider) {
		return func(t *testing.T, p *oidctest.Provider) {
			d := said(t, p.Itself(), p.URL+discovery)
			if d[key] = strings.Replace(value, "~", p.URL, 1); value == "" {
				delete(d, key)
			}
			replace(p, discovery, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(d) })
		}
	}
	answers := func(path string, handler http.HandlerFunc) func(*testing.T, *oidctest.Provider) {
		return func(_ *testing.T, p *oidctest.Provider) { replace(p, path, handler) }
	}
	set := func(text string) func(*testing.T, *oidctest.Provider) {
		return answers(keySet, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html>"))
	}
	away := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
	}
	for name, c := range map[string]struct {
		spoil func(*testing.T, *oidctest.Provider)
		why   string
	}{
		"a page at discovery":     {answers(discovery, page), "isn't the JSON that is expected, but text/html"},
		"a page instead of keys":  {answers(keySet, page), "isn't the JSON that is expected, but text/html"},
		"discovery elsewhere":     {answers(discovery, away), "which isn't followed"},
		"keys elsewhere":          {answers(keySet, away), "which isn't followed"},
		"not found":               {answers(discovery, http.NotFound), "status 404"},
		"discovery hangs":         {answers(discovery, hang), "doesn't answer in time"},
		"keys hang":               {answers(keySet, hang), "doesn't answer in time"},
		"another issuer":          {says("issuer", "https://other.example"), "names the issuer"},
		"the issuer with a slash": {says("issuer", "~/"), "names the issuer"},
		"no issuer":               {says("issuer", ""), "names the issuer"},
		"no key set":              {says("jwks_uri", ""), "names no key set"},
		"keys over plain HTTP":    {says("jwks_uri", "http://id.example/keys"), "isn't https"},
		"keys in a file":          {says("jwks_uri", "file:///etc/passwd"), "isn't https"},
		"people over plain HTTP":  {says("userinfo_endpoint", "http://id.example/"), "isn't https"},
		"keys that are a list":    {set(`[]`), "isn't the JSON that is expected"},
		"no keys":                 {set(`{"keys":[]}`), "no key that can be used"},
		"only symmetric keys": {
			set(`{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQ"}]}`),
			"no key that can be used",
		},
		"only keys that are short": {
			set(`{"keys":[{"kty":"RSA","kid":"a","n":"` + strings.Repeat("A", 171) + `","e":"AQAB"}]}`),
			"no key that can be used",
		},
		"keys of 10 MB": {
			set(`{"keys":[` + strings.Repeat(`{"kty":"RSA"},`, 10<<20/14) + `{}]}`),
			"larger than 1024 KiB",
		},
		"a thousand keys": {
			set(`{"keys":[` + strings.Repeat(`{"kty":"RSA"},`, 1000) + `{}]}`),
			"more keys than are taken",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, now := oidctest.New(t), new(clock)
			token := p.Token(claims{"oid": "ada", "aud": api})
			c.spoil(t, p)
			v := oidc.New(oidc.Config{
				Issuers: []oidc.Issuer{issuer(t, p, "entra")}, Clock: now.Now, Timeout: time.Second,
			})
			_, err := v.Verify(t.Context(), token)
			if !errors.Is(err, oidc.ErrUnavailable) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v, and not %q", err, c.why)
			}
			// Nobody else waits for it, and the provider isn't asked again at once.
			before := p.Requests()[discovery]
			if _, err := v.Verify(t.Context(), token); !errors.Is(err, oidc.ErrUnavailable) {
				t.Errorf("and again: %v", err)
			}
			if after := p.Requests()[discovery]; after != before {
				t.Errorf("it was asked %d times more", after-before)
			}
			p.Answer(nil)
			now.Move(10 * time.Second)
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Errorf("repaired: %v", err)
			}
		})
	}
	if asked := elsewhere.Requests(); len(asked) > 0 {
		t.Errorf("a redirect was followed: %v", asked)
	}
}

// TestAKeyThatCanNotBeUsedHidesNoOther has keys beside the good one that make no sense.
func TestAKeyThatCanNotBeUsedHidesNoOther(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	keys := said(t, p.Itself(), p.URL+keySet)["keys"].([]any)
	keys = append([]any{
		"text",
		claims{"kty": "RSA", "kid": "a", "n": "!", "e": "AQAB"},
		claims{"kty": "EC", "kid": "b", "crv": "P-1", "x": "AA"},
		claims{"kty": "OKP", "kid": "c", "crv": "Ed448", "x": "AA"},
		claims{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
		claims{"kty": "RSA", "use": "enc", "kid": "d"},
		claims{"kty": "RSA", "x5u": p.URL + "/certificate"},
	}, keys...)
	replace(p, keySet, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	})
	if _, err := verifier(new(clock), issuer(t, p, "entra")).Verify(
		t.Context(), p.Token(claims{"oid": "ada", "aud": api}),
	); err != nil {
		t.Error(err)
	}
	if n := p.Requests()["/certificate"]; n > 0 {
		t.Errorf("a certificate was fetched %d times", n)
	}
}

// TestServingBeginsWhileTheProviderIsDown lets the background find it when it is back.
func TestServingBeginsWhileTheProviderIsDown(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	down, up := make(chan struct{}, 100), make(chan struct{}, 100)
	p.Answer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		down <- struct{}{}
	}))
	v := verifier(new(clock), issuer(t, p, "entra"))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { v.Run(ctx); close(ended) }()
	<-down
	token := p.Token(claims{"oid": "ada", "aud": api})
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, oidc.ErrUnavailable) {
		t.Errorf("while it is down: %v", err)
	}
	itself := p.Itself()
	p.Answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		itself.ServeHTTP(w, r)
		if r.URL.Path == keySet {
			up <- struct{}{}
		}
	}))
	<-up
	stop()
	<-ended
	// Nothing is fetched for it: the background did, or is about to end.
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

// TestACallerWhoLeavesDoesNotWait has a provider that never answers.
func TestACallerWhoLeavesDoesNotWait(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	asked := make(chan struct{}, 10)
	replace(p, discovery, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	v := oidc.New(oidc.Config{
		Issuers: []oidc.Issuer{issuer(t, p, "entra")}, Logger: slog.New(slog.DiscardHandler), Clock: time.Now,
		Timeout: 2 * time.Second,
	})
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-asked; leave() }()
	if _, err := v.Verify(ctx, p.Token(claims{"oid": "ada", "aud": api})); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

func TestSeveralIssuersAreKeptApart(t *testing.T) {
	t.Parallel()
	one, two := oidctest.New(t), oidctest.New(t)
	v := verifier(new(clock), issuer(t, one, "entra"), issuer(t, two, "keycloak"))
	for _, c := range []struct {
		token  string
		issuer string // "" when it is refused
	}{
		{one.Token(claims{"oid": "ada", "aud": api}), one.URL},
		{two.Token(claims{"sub": "ada", "aud": api}), two.URL},
		{one.Token(claims{"iss": two.URL, "sub": "ada", "aud": api}), ""},
		{two.Token(claims{"iss": one.URL, "oid": "ada", "aud": api}), ""},
	} {
		who, err := v.Verify(t.Context(), c.token)
		if who.Issuer != c.issuer || (c.issuer == "") != refused(err) {
			t.Errorf("%+v, %v, and not %q", who, err, c.issuer)
		}
	}
	one.Down(true)
	if _, err := v.Verify(t.Context(), two.Token(claims{"sub": "bob", "aud": api})); err != nil {
		t.Errorf("while another provider is down: %v", err)
	}
}
