package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"agentkey/domain"
	"agentkey/integrations/oidc"
	"agentkey/integrations/oidc/oidctest"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

const (
	introspection = "/oauth/introspect"
	userInfo      = "/userinfo"
	tokens        = "/oauth/token"
	back          = "http://127.0.0.1:8080/auth/callback"
)

// asking is the configuration of an issuer that is asked about opaque tokens.
func asking(t *testing.T, p *oidctest.Provider, preset string) oidc.Issuer {
	t.Helper()
	i := issuer(t, p, preset)
	i.ClientID, i.ClientSecret = oidctest.ClientID, domain.NewSecret([]byte(oidctest.ClientSecret))
	i.Audiences, i.AuthorizedParties, i.Introspect = nil, []string{oidctest.ClientID}, true
	return i
}

// opaque returns an access token that the provider really issued.
func opaque(t *testing.T, p *oidctest.Provider, v *oidc.Verifier) string {
	t.Helper()
	flow, issued := oidc.NewFlow(), make(chan string, 1)
	at, err := v.LoginURL(t.Context(), "", back, flow)
	if err != nil {
		t.Fatal(err)
	}
	itself := p.Itself()
	replace(p, tokens, func(w http.ResponseWriter, r *http.Request) {
		copied := &copied{ResponseWriter: w}
		itself.ServeHTTP(copied, r)
		var answer struct {
			Access string `json:"access_token"`
		}
		_ = json.Unmarshal(copied.body, &answer)
		issued <- answer.Access
	})
	defer p.Answer(nil)
	if _, err := v.Exchange(t.Context(), "", back, p.SignIn(at).Query(), flow); err != nil {
		t.Fatal(err)
	}
	return <-issued
}

// copied keeps what a handler answers.
type copied struct {
	http.ResponseWriter
	body []byte
}

func (c *copied) Write(b []byte) (int, error) {
	c.body = append(c.body, b...)
	return c.ResponseWriter.Write(b)
}

func TestAnOpaqueTokenIsAskedAboutAndRemembered(t *testing.T) {
	t.Parallel()
	p, now := oidctest.New(t, back), new(clock)
	v := verifier(now, asking(t, p, ""))
	token := opaque(t, p, v)
	if strings.Count(token, ".") == 2 {
		t.Fatalf("%q isn't opaque", token)
	}
	for range 20 {
		who, err := v.Verify(t.Context(), token)
		if err != nil || who.Subject != oidctest.Subject || who.Email != oidctest.Email || !who.EmailVerified {
			t.Fatalf("%+v, %v", who, err)
		}
	}
	if n := p.Requests()[introspection]; n != 1 {
		t.Errorf("it was asked about %d times", n)
	}
	for range 20 {
		if _, err := v.Verify(t.Context(), "made-up-made-up-made-up"); !refused(err) {
			t.Errorf("a made-up token: %v", err)
		}
	}
	if n := p.Requests()[introspection]; n != 2 {
		t.Errorf("it was asked %d times", n)
	}
	// A provider that forgets the token is believed when the minute is over.
	p.Rotate()
	now.Move(61 * time.Second)
	if _, err := v.Verify(t.Context(), token); !refused(err) {
		t.Errorf("a token that was revoked: %v", err)
	}
}

// TestGarbageKeepsNoOpaqueTokenOut sends so much of it that nothing new is asked about.
func TestGarbageKeepsNoOpaqueTokenOut(t *testing.T) {
	t.Parallel()
	p, now := oidctest.New(t, back), new(clock)
	v := verifier(now, asking(t, p, ""))
	token := opaque(t, p, v)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	now.Move(61 * time.Second)
	unavailable, begun := 0, time.Now()
	for n := range 10_000 {
		_, err := v.Verify(t.Context(), fmt.Sprintf("made-up-made-up-%d", n))
		switch {
		case errors.Is(err, oidc.ErrTooMany) && errors.Is(err, oidc.ErrUnavailable):
			unavailable++
		case !refused(err):
			t.Fatal(err)
		}
	}
	most := 303 + int(5*time.Since(begun).Seconds()) // 300 a minute
	if n := p.Requests()[introspection]; n > most || n+unavailable < 10_000 {
		t.Errorf("asked %d times, and %d times not", n, unavailable)
	}
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("a token that was good before: %v", err)
	}
}

func TestWhatAProviderSaysAboutATokenIsJudgedToo(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	good := func(more claims) claims {
		all := claims{"active": true, "sub": "ada", "aud": "agentkey", "exp": at(time.Hour)}
		maps.Copy(all, more)
		return all
	}
	for name, c := range map[string]struct {
		answer claims
		status int
		taken  bool
		why    string
	}{
		"good":             {good(nil), 200, true, ""},
		"no end":           {good(claims{"exp": nil}), 200, true, ""},
		"not active":       {claims{"active": false}, 200, false, "doesn't know it"},
		"active in words":  {good(claims{"active": "true"}), 200, false, "doesn't know it"},
		"another audience": {good(claims{"aud": "other"}), 200, false, "another audience"},
		"no audience":      {good(claims{"aud": nil}), 200, false, "lacks a claim"},
		"another issuer":   {good(claims{"iss": "https://x.example"}), 200, false, "issuer"},
		"ended":            {good(claims{"exp": at(-2 * time.Minute)}), 200, false, "has expired"},
		"lives for a year": {good(claims{"exp": at(365 * 24 * time.Hour)}), 200, false, "lives longer"},
		"nobody's":         {good(claims{"sub": nil}), 200, false, "claim sub"},
		"bound to a key":   {good(claims{"cnf": claims{"jkt": "x"}}), 200, false, "bound"},
		"a wrong secret":   {claims{"error": "invalid_client"}, 401, false, "status 401"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := oidctest.New(t)
			replace(p, introspection, func(w http.ResponseWriter, r *http.Request) {
				id, secret, _ := r.BasicAuth()
				if id != oidctest.ClientID || secret != oidctest.ClientSecret || r.PostFormValue("token") == "" {
					t.Errorf("it is asked by %q with %q", id, secret)
				}
				w.WriteHeader(c.status)
				_ = json.NewEncoder(w).Encode(c.answer)
			})
			i := asking(t, p, "")
			i.Audiences, i.AuthorizedParties = []string{"agentkey"}, nil
			who, err := verifier(new(clock), i).Verify(t.Context(), "opaque-opaque-opaque")
			if c.taken {
				if err != nil || who.Subject != "ada" || who.ExpiresAt.Before(time.Now()) {
					t.Errorf("%+v, %v", who, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.why) || refused(err) == (c.status != 200) {
				t.Errorf("%v, and not %q", err, c.why)
			}
		})
	}
}

func TestNameAndEMailThatATokenLacksComeFromUserInfo(t *testing.T) {
	t.Parallel()
	p, now := oidctest.New(t), new(clock)
	i := issuer(t, p, "")
	i.Claims.Organization, i.Claims.Role = "org", "family_name"
	i.Roles = map[string]domain.Role{"User": domain.RoleOwner}
	v := verifier(now, i)
	token := func(jti string, more claims) string {
		all := claims{
			"sub": oidctest.Subject, "aud": api, "jti": jti, "org": "acme", "exp": now.Now().Add(time.Minute).Unix(),
		}
		maps.Copy(all, more)
		return p.Token(all)
	}
	jti := p.Issued("openid", "profile", "email")
	for n := range 5 {
		who, err := v.Verify(t.Context(), token(jti, claims{"n": n}))
		if err != nil || who.Email != oidctest.Email || !who.EmailVerified || who.Name != "Test User" {
			t.Fatalf("%+v, %v", who, err)
		}
		if who.Role != "" {
			t.Errorf("userinfo gave the role %s", who.Role)
		}
	}
	if n := p.Requests()[userInfo]; n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	// What the token says itself wins, and its e-mail isn't verified by another's claim.
	who, err := v.Verify(t.Context(), token(jti, claims{"email": "own@example.com", "n": 9}))
	if err != nil || who.Email != "own@example.com" || who.EmailVerified || who.Name != "Test User" {
		t.Errorf("%+v, %v", who, err)
	}
	// An organization that the token lacks comes from nowhere.
	if _, err := v.Verify(t.Context(), token(jti, claims{"org": nil})); !refused(err) {
		t.Errorf("without an organization: %v", err)
	}
	// While userinfo fails, its last answer counts; about somebody else it says nothing.
	replace(p, userInfo, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"sub":"eve","email":"eve@example.com","email_verified":true,"name":"Eve"}`))
	})
	who, err = v.Verify(t.Context(), token(jti, claims{"sub": "bob"}))
	if err != nil || who.Email != "" || who.Name != "" {
		t.Errorf("with somebody else's: %+v, %v", who, err)
	}
	p.Answer(nil)
	replace(p, userInfo, http.NotFound)
	now.Move(6 * time.Minute)
	if who, err = v.Verify(t.Context(), token(jti, claims{"n": 10})); err != nil || who.Email != oidctest.Email {
		t.Errorf("while it fails: %+v, %v", who, err)
	}
}
