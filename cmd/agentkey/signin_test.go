package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/integrations/oidc"
	"agentkey/integrations/oidc/oidctest"
)

// signInAt is the environment of a process that takes tokens of a provider.
func signInAt(url string, more ...string) []string {
	return append(issuerAt(url, more...), "AGENTKEY_OIDC_AUDIENCE=agentkey")
}

// issuerAt leaves it open whom the tokens must be for.
func issuerAt(url string, more ...string) []string {
	return append([]string{"AGENTKEY_DATA_DIR=" + os.TempDir(), "AGENTKEY_OIDC_ISSUER=" + url}, more...)
}

func TestAnIssuerIsConfiguredByVariablesAndOthersByTheFile(t *testing.T) {
	t.Parallel()
	file := write(t, "agentkey.yaml", `oidc:
  - preset: google
    issuer: https://accounts.google.com
    client_id: 1234.apps.googleusercontent.com
    client_secret_file: `+write(t, "secret", "canary\n")+`
  - issuer: https://id.example.com/realms/acme
    preset: keycloak
    audience: [agentkey, other]
    claim_organization: organization
    claim_email: upn
    roles: {"agentkey=admin": admin, reader: auditor}
    provision: true
`)
	c, err := LoadConfig(issuerAt(
		"https://clerk.example.com", "AGENTKEY_CONFIG="+file, "AGENTKEY_OIDC_PRESET=clerk",
		"AGENTKEY_OIDC_AUTHORIZED_PARTIES=https://a.example, https://b.example", "AGENTKEY_OIDC_CLAIM_ORGANIZATION=none",
		"AGENTKEY_OIDC_ROLES=org:admin=admin,org:member=approver",
	))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Issuers) != 3 {
		t.Fatalf("%d issuers", len(c.Issuers))
	}
	clerk, google, keycloak := c.Issuers[0], c.Issuers[1], c.Issuers[2]
	if clerk.URL != "https://clerk.example.com" || clerk.Claims.Organization != "" || clerk.Claims.Role == "" ||
		!cmp.Equal(clerk.AuthorizedParties, []string{"https://a.example", "https://b.example"}) ||
		!cmp.Equal(clerk.Roles, map[string]domain.Role{"org:admin": domain.RoleAdmin, "org:member": domain.RoleApprover}) {
		t.Errorf("Clerk is %+v", clerk)
	}
	if google.ClientID == "" || string(google.ClientSecret.Reveal()) != "canary" || !google.IDTokens ||
		google.Claims.Organization != "hd" {
		t.Errorf("Google is %+v", google)
	}
	if !cmp.Equal(keycloak.Audiences, []string{"agentkey", "other"}) || !keycloak.Provision ||
		keycloak.Claims.Organization != "organization" || keycloak.Claims.Email != "upn" ||
		keycloak.Claims.EmailVerified != "" ||
		!cmp.Equal(keycloak.Roles, map[string]domain.Role{"agentkey=admin": domain.RoleAdmin, "reader": domain.RoleAuditor}) {
		t.Errorf("Keycloak is %+v", keycloak)
	}
	c, err = LoadConfig(signInAt("http://127.0.0.1:9998", "AGENTKEY_OIDC_CLAIM_EMAIL=upn",
		"AGENTKEY_OIDC_CLAIM_EMAIL_VERIFIED=always", "AGENTKEY_OIDC_PRESET=zitadel"))
	if err != nil || c.Issuers[0].Claims.EmailVerified != oidc.Always || c.Issuers[0].Introspect {
		t.Errorf("%+v: %v", c.Issuers, err)
	}
	if c, err = LoadConfig([]string{"AGENTKEY_DATA_DIR=/data"}); err != nil || len(c.Issuers) != 0 {
		t.Errorf("without any: %+v, %v", c.Issuers, err)
	}
}

// TestEachRoleCanBeGivenByAClaim has the settings take every role and name it.
func TestEachRoleCanBeGivenByAClaim(t *testing.T) {
	t.Parallel()
	_, refusal := LoadConfig(signInAt("https://id.example.com", "AGENTKEY_OIDC_ROLES=a=boss"))
	for _, role := range domain.Roles {
		c, err := LoadConfig(signInAt(
			"https://id.example.com", "AGENTKEY_OIDC_CLAIM_ROLE=roles", "AGENTKEY_OIDC_ROLES=a="+string(role),
		))
		if err != nil || c.Issuers[0].Roles["a"] != role {
			t.Errorf("the role %s: %v", role, err)
		}
		if refusal == nil || !strings.Contains(refusal.Error(), string(role)) {
			t.Errorf("the mistake doesn't name the role %s: %v", role, refusal)
		}
		for _, s := range oidcSettings {
			if s.name == "AGENTKEY_OIDC_ROLES" && !strings.Contains(s.meaning, "`"+string(role)+"`") {
				t.Errorf("%s doesn't name %s: %s", s.name, role, s.meaning)
			}
		}
	}
}

func TestMistakesAboutIssuersAreAllListedAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, "agentkey.yaml", `oidc:
  - issuer: https://id.example.com
  - issuer: https://ID.example.com/
    audience: x
    client_secret: canary
    nonsense: 1
    audience: y
  - issuer: http://id.example.com
    audience: x
  - just text
  - issuer: https://other.example.com
    audience: x
    provision: perhaps
    roles: {a: [b]}
    client_secret_file: /nowhere/secret
  - audience: x
`)
	for _, c := range []struct {
		environ []string
		said    []string
	}{
		{[]string{"AGENTKEY_OIDC_AUDIENCE=x"}, []string{"AGENTKEY_OIDC_ISSUER: it is required"}},
		{[]string{"AGENTKEY_OIDC_ISSUER=https://id.example.com"}, []string{"AGENTKEY_OIDC_AUDIENCE: set an audience or"}},
		{signInAt("id.example.com"), []string{"AGENTKEY_OIDC_ISSUER: it must be a URL"}},
		{
			signInAt("https://u:p@id.example.com", "AGENTKEY_OIDC_PRESET=okta", "AGENTKEY_OIDC_PROVISION=true",
				"AGENTKEY_OIDC_ROLES=a=boss,b,c=admin,c=owner", "AGENTKEY_OIDC_CLAIM_SUBJECT=none",
				"AGENTKEY_OIDC_CLIENT_SECRET=canary", "AGENTKEY_OIDC_INTROSPECT=true"),
			[]string{
				"AGENTKEY_OIDC_ISSUER: it must be a URL",
				"AGENTKEY_OIDC_PRESET: it must be one of auth0, clerk, entra, google, keycloak, zitadel",
				"AGENTKEY_OIDC_PROVISION: it needs a claim that names the organization",
				`AGENTKEY_OIDC_ROLES: there is no role "boss"`, `AGENTKEY_OIDC_ROLES: "b" must be`,
				`AGENTKEY_OIDC_ROLES: "c" is there twice`, "AGENTKEY_OIDC_CLAIM_SUBJECT: a token must say",
				"AGENTKEY_OIDC_CLIENT_SECRET: it has no effect", "AGENTKEY_OIDC_INTROSPECT: it needs",
			},
		},
		{
			signInAt("http://id.example.com", "AGENTKEY_OIDC_DEFAULT_ROLE=king", "AGENTKEY_OIDC_ROLES=a=admin"),
			[]string{
				"AGENTKEY_OIDC_ISSUER: it must begin with https://", `AGENTKEY_OIDC_DEFAULT_ROLE: there is no role "king"`,
				"AGENTKEY_OIDC_DEFAULT_ROLE: it has no effect without provision", "AGENTKEY_OIDC_ROLES: they have no effect",
			},
		},
		{
			issuerAt("https://accounts.google.com", "AGENTKEY_OIDC_PRESET=google"),
			[]string{"AGENTKEY_OIDC_CLIENT_ID: it is required with ID tokens"},
		},
		{
			signInAt("https://id.example.com", "AGENTKEY_OIDC_CLAIM_ORGANIZATION=org", "AGENTKEY_OIDC_PROVISION=true",
				"AGENTKEY_OIDC_CLIENT_ID=x", "AGENTKEY_OIDC_CLIENT_SECRET=can\nary"),
			[]string{
				"AGENTKEY_OIDC_PROVISION: it needs roles, or a default role",
				"AGENTKEY_OIDC_CLIENT_SECRET: it must be visible ASCII",
			},
		},
		{
			signInAt("https://id.example.com", "AGENTKEY_OIDC_NONSENSE=1"),
			[]string{"AGENTKEY_OIDC_NONSENSE: there is no such setting"},
		},
		{
			signInAt("https://id.example.com", "AGENTKEY_CONFIG="+file),
			[]string{
				":2: oidc: audience: set an audience", ":2: oidc: there are two issuers of the URL https://id.example.com",
				":3: oidc: there are two issuers of the URL https://ID.example.com/",
				":5: oidc.client_secret: this file must not hold a secret", ":6: oidc.nonsense: there is no such setting",
				":7: oidc.audience: it is set twice", ":8: oidc.issuer: it must begin with https://",
				":10: oidc: an issuer has keys", ":13: oidc.provision: it must be true or false",
				":14: oidc.roles: each value must have one role", ":15: oidc.client_secret_file: open /nowhere/secret",
				":16: oidc: issuer: it is required",
			},
		},
		{
			signInAt("https://id.example.com", "AGENTKEY_OIDC_INTROSPECT=true", "AGENTKEY_OIDC_CLIENT_ID=x",
				"AGENTKEY_OIDC_CLIENT_SECRET=canary", "AGENTKEY_CONFIG="+write(t, "two.yaml", `oidc:
  - preset: zitadel
    issuer: https://zitadel.example.com
    audience: x
    client_id: x
    client_secret_file: `+write(t, "secret", "canary")+`
  - issuer: http://id.example.com
    audience: x
`)),
			[]string{":2: oidc: introspect: another issuer is asked", ":7: oidc.issuer: it must begin with https://"},
		},
		{
			[]string{"AGENTKEY_CONFIG=" + write(t, "a.yaml", "oidc: https://id.example.com\n")},
			[]string{":1: oidc: it must be a list"},
		},
	} {
		_, err := LoadConfig(c.environ)
		if err == nil || !isUsage(err) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", c.environ, err)
			continue
		}
		for _, said := range c.said {
			if !strings.Contains(err.Error(), said) {
				t.Errorf("%q isn't in:\n%v", said, err)
			}
		}
	}
}

func TestTheDoctorLooksAtEachIssuer(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	env := []string{
		"AGENTKEY_DATA_DIR=" + t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_OIDC_ISSUER=" + p.URL,
		"AGENTKEY_OIDC_AUDIENCE=agentkey",
	}
	_, said, _ := consult(t, env)
	expect(t, said, map[string]string{"sign-in": "ok " + p.URL + ": 1 keys, for RS256"})
	p.Answer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!doctype html><title>Sign in</title>"))
	}))
	code, said, _ := consult(t, env)
	expect(t, said, map[string]string{"sign-in": "failed isn't the JSON that is expected, but text/html"})
	if code != exitFault {
		t.Errorf("exit %d", code)
	}
}

func TestTheDoctorExplainsWhyATokenIsRefused(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	explain := func(token string, env ...string) (int, string, string) {
		return runCommand(t, signInAt(p.URL, env...), "doctor", "--token-file", write(t, "token", token))
	}
	good := p.Token(map[string]any{"sub": "ada", "aud": "agentkey", "email": "ada@example.com", "name": "Ada"})
	const taken = "ok       result        the token is taken until"
	if code, out, _ := explain("Bearer " + good + "\n"); code != exitOK || !strings.Contains(out, taken) {
		t.Errorf("exit %d:\n%s", code, out)
	}
	bad := p.Token(map[string]any{"sub": 7, "aud": "another", "exp": 1000, "azp": "web"})
	code, out, _ := explain(bad, "AGENTKEY_OIDC_AUTHORIZED_PARTIES=dashboard")
	for _, words := range []string{
		"ok       form          a JWT", "ok       issuer        " + p.URL, "ok       signature     by the issuer's key",
		"failed   audience      another, and configured is: agentkey", "failed   party         azp web",
		"failed   times         issued", "expires 1970-01-01T00:16:40Z", "it has expired",
		"failed   claims        subject in sub", "failed   result        the token is refused",
	} {
		if !strings.Contains(out, words) {
			t.Errorf("%q isn't in:\n%s", words, out)
		}
	}
	if code != exitFault || strings.Contains(out, bad) || strings.Contains(out, strings.Split(bad, ".")[2]) {
		t.Errorf("exit %d:\n%s", code, out)
	}
	for token, words := range map[string]string{
		p.Token(map[string]any{"iss": "https://evil.example"}): "https://evil.example, and configured are: " + p.URL,
		"opaque-opaque-opaque":                                 "failed   form          an opaque token",
		"a.b.c.d.e-0123456789":                                 "failed   form          an encrypted token",
	} {
		if code, out, _ := explain(token); code != exitFault || !strings.Contains(out, words) {
			t.Errorf("%q isn't in:\n%s", words, out)
		}
	}
	if code, _, stderr := explain(" \n"); code != exitUsage || !strings.Contains(stderr, "there is no token") {
		t.Errorf("an empty file: exit %d: %s", code, stderr)
	}
	env := []string{"AGENTKEY_DATA_DIR=/data"}
	code, _, stderr := runCommand(t, env, "doctor", "--token-file", write(t, "token", good))
	if code != exitUsage || !strings.Contains(stderr, "no issuer is configured") {
		t.Errorf("without an issuer: exit %d: %s", code, stderr)
	}
}

// TestTheExamplesOfSignInAreTaken configures what docs/sign-in.md says for each provider, and sends
// the token that it shows, signed by a provider of that URL.
func TestTheExamplesOfSignInAreTaken(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/sign-in.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```sh\n(AGENTKEY_OIDC_[^`]*)```\n\n```json\n([^`]*)```")
	examples, tried := example.FindAllStringSubmatch(string(page), -1), map[string]bool{}
	for _, e := range examples {
		p := oidctest.New(t)
		env := []string{"AGENTKEY_DATA_DIR=/data"}
		for line := range strings.Lines(e[1]) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch name {
			case "AGENTKEY_OIDC_ISSUER":
				value = p.URL
			case "AGENTKEY_OIDC_CLIENT_SECRET_FILE":
				value = write(t, "secret", "canary")
			case "AGENTKEY_OIDC_PRESET":
				tried[value] = true
			}
			env = append(env, name+"="+value)
		}
		claims := map[string]any{}
		if err := json.Unmarshal([]byte(e[2]), &claims); err != nil {
			t.Errorf("%v in %s", err, e[2])
			continue
		}
		claims["iss"] = p.URL
		c, err := LoadConfig(env)
		if err != nil {
			t.Errorf("%s: %v", e[1], err)
			continue
		}
		i := c.Issuers[0]
		who, err := oidc.New(oidc.Config{Issuers: c.Issuers, Clock: time.Now}).Verify(t.Context(), p.Token(claims))
		switch {
		case err != nil:
			t.Errorf("%s: %v", e[1], err)
		case who.Role == "" && len(i.Roles) > 0:
			t.Errorf("%s has no role: %+v", e[1], who)
		case claims["email"] != nil && (who.Email != "ada@example.com" || !who.EmailVerified || who.Name != "Ada Lovelace"):
			t.Errorf("%s is somebody else: %+v", e[1], who)
		}
	}
	for _, preset := range oidc.Presets() {
		if !tried[preset] {
			t.Errorf("docs/sign-in.md has no example for %s", preset)
		}
	}
}
