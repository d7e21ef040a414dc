package oidc_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/integrations/oidc"
	"agentkey/integrations/oidc/oidctest"
)

const api = "https://agentkey.example/api"

// clock is one that a test moves.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) Move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += by
}

// issuer is the plain configuration of a provider.
func issuer(t *testing.T, p *oidctest.Provider, preset string) oidc.Issuer {
	t.Helper()
	i, err := oidc.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	i.URL, i.Audiences, i.Introspect = p.URL, []string{api}, false
	return i
}

func verifier(c *clock, issuers ...oidc.Issuer) *oidc.Verifier {
	return oidc.New(oidc.Config{Issuers: issuers, Logger: slog.New(slog.DiscardHandler), Clock: c.Now})
}

func TestAVerifiedTokenSaysWhoseItIs(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	i := issuer(t, p, "")
	i.Claims.Organization, i.Claims.Role = "org", "roles"
	i.Roles = map[string]domain.Role{"reader": domain.RoleAuditor, "boss": domain.RoleAdmin}
	i.Provision, i.DefaultRole = true, domain.RoleAuditor
	who, err := verifier(new(clock), i).Verify(t.Context(), p.Token(map[string]any{
		"sub": "Subject", "aud": api, "email": "Ada@Example.com", "email_verified": true, "name": "Ada", "org": "acme",
		"roles": []string{"reader", "boss", "other"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if who.ExpiresAt.Before(time.Now()) || who.IssuedAt.Before(time.Now().Add(-time.Minute)) {
		t.Errorf("it is issued at %s and expires at %s", who.IssuedAt, who.ExpiresAt)
	}
	who.ExpiresAt, who.IssuedAt = time.Time{}, time.Time{}
	if diff := cmp.Diff(oidc.Identity{
		Issuer: p.URL, Subject: "Subject", Email: "Ada@Example.com", EmailVerified: true, Name: "Ada",
		Organization: "acme", NamesOrganization: true, Role: domain.RoleAdmin, Provision: true,
		DefaultRole: domain.RoleAuditor,
	}, who); diff != "" {
		t.Error(diff)
	}
}

func TestSomebodySignsInWithACode(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t, back)
	i := issuer(t, p, "")
	i.ClientID, i.ClientSecret = oidctest.ClientID, domain.NewSecret([]byte(oidctest.ClientSecret))
	v, flow := verifier(new(clock), i), oidc.NewFlow()
	at, err := v.LoginURL(t.Context(), "", back, flow)
	if err != nil {
		t.Fatal(err)
	}
	returned := p.SignIn(at).Query()
	if returned.Get("state") != flow.State {
		t.Fatalf("it came back with %v", returned)
	}
	if _, err := v.Exchange(t.Context(), p.URL, back, returned, oidc.NewFlow()); !refused(err) {
		t.Errorf("another browser's sign-in ends with %v", err)
	}
	at, _ = v.LoginURL(t.Context(), p.URL, back, flow)
	code := p.SignIn(at).Query()
	who, err := v.Exchange(t.Context(), p.URL, back, code, flow)
	if err != nil {
		t.Fatal(err)
	}
	if who.Subject != oidctest.Subject || who.Email != oidctest.Email || !who.EmailVerified || who.Name != "Test User" {
		t.Errorf("%+v signed in", who)
	}
	if _, err := v.Exchange(t.Context(), p.URL, back, code, flow); !refused(err) {
		t.Errorf("a code is taken twice: %v", err)
	}
}

// TestTheWayToProveWhoWeAreIsTheProvidersChoice has one that takes the secret only in the form, and
// one that is broken there.
func TestTheWayToProveWhoWeAreIsTheProvidersChoice(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t, back)
	v, flow := verifier(new(clock), asking(t, p, "")), oidc.NewFlow()
	d, itself := said(t, p.Itself(), p.URL+discovery), p.Itself()
	for _, of := range []string{"token", "introspection"} {
		d[of+"_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
	}
	var inForm, broken atomic.Int32
	p.Answer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _, basic := r.BasicAuth()
		switch {
		case r.URL.Path == discovery:
			_ = json.NewEncoder(w).Encode(d)
		case r.URL.Path == tokens && broken.Load() > 0:
			http.Error(w, "canary", http.StatusBadGateway)
		case r.Method == http.MethodPost && !basic && r.FormValue("client_secret") == oidctest.ClientSecret:
			inForm.Add(1)
			fallthrough
		default:
			itself.ServeHTTP(w, r)
		}
	}))
	signIn := func() (oidc.Identity, error) {
		at, err := v.LoginURL(t.Context(), "", back, flow)
		if err != nil {
			t.Fatal(err)
		}
		return v.Exchange(t.Context(), "", back, p.SignIn(at).Query(), flow)
	}
	if _, err := signIn(); err != nil || inForm.Load() != 1 {
		t.Errorf("%d secrets in a form: %v", inForm.Load(), err)
	}
	// zitadel's library wants the header here, whatever is said: what counts is what it got.
	if _, err := v.Verify(t.Context(), "opaque-opaque-opaque"); err == nil || inForm.Load() != 2 {
		t.Errorf("%d secrets in a form: %v", inForm.Load(), err)
	}
	broken.Store(1)
	if _, err := signIn(); !errors.Is(err, oidc.ErrUnavailable) || strings.Contains(err.Error(), "canary") {
		t.Errorf("a broken provider: %v", err)
	}
}

func TestNobodySignsInWhereItIsNotSetUp(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t, back)
	v := verifier(new(clock), issuer(t, p, ""))
	if urls := v.SignInIssuers(); len(urls) != 0 {
		t.Errorf("people sign in at %v", urls)
	}
	if _, err := v.LoginURL(t.Context(), "", back, oidc.NewFlow()); !refused(err) {
		t.Errorf("without a client id: %v", err)
	}
	v = verifier(new(clock), issuer(t, p, ""), asking(t, oidctest.New(t), ""))
	if _, err := v.LoginURL(t.Context(), p.URL, back, oidc.NewFlow()); !refused(err) {
		t.Errorf("at an issuer without a client id: %v", err)
	}
	for _, f := range []oidc.Flow{{}, {Nonce: "n"}, {Verifier: "v"}} {
		if _, err := v.Exchange(t.Context(), "", back, url.Values{"code": {"code"}}, f); !refused(err) {
			t.Errorf("with the flow %+v: %v", f, err)
		}
	}
	codes, begun := 0, time.Now()
	for range 400 {
		if _, err := v.Exchange(t.Context(), "", back, url.Values{"code": {"made-up"}}, oidc.NewFlow()); refused(err) {
			codes++
		}
	}
	if codes > 301+int(5*time.Since(begun).Seconds()) { // 300 a minute
		t.Errorf("%d codes were exchanged", codes)
	}
}

func refused(err error) bool { return errors.As(err, new(*oidc.Refused)) }
