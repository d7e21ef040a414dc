package oidc_test

import (
	"errors"
	"log/slog"
	"sync"
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
	if who.ExpiresAt.Before(time.Now()) {
		t.Errorf("it expires at %s", who.ExpiresAt)
	}
	who.ExpiresAt = time.Time{}
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
	const back = "http://127.0.0.1:8080/auth/callback"
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
	if _, err := v.Exchange(t.Context(), p.URL, back, returned.Get("code"), oidc.NewFlow()); !refused(err) {
		t.Errorf("another browser's sign-in ends with %v", err)
	}
	at, _ = v.LoginURL(t.Context(), p.URL, back, flow)
	code := p.SignIn(at).Query().Get("code")
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

func refused(err error) bool { return errors.As(err, new(*oidc.Refused)) }
