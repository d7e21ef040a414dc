package oidc_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"agentkey/domain"
	"agentkey/integrations/oidc"
	"agentkey/integrations/oidc/oidctest"
)

// TestABrowserComesBackFromTheProviderThatItWasSentTo has answers with each name (RFC 9207), from a
// provider that says whether it names itself.
func TestABrowserComesBackFromTheProviderThatItWasSentTo(t *testing.T) {
	t.Parallel()
	for announced, cases := range map[any][]struct {
		sent url.Values // besides the code; ~ is the provider
		why  string     // "": it is accepted
	}{
		nil: {
			{nil, ""},
			{url.Values{"iss": {"~"}}, ""},
			{url.Values{"iss": {"~/"}}, "comes from another provider"},
			{url.Values{"iss": {""}}, "comes from another provider"},
			{url.Values{"iss": {"https://other.example"}}, "comes from another provider"},
			{url.Values{"iss": {"~", "https://other.example"}}, "comes from another provider"},
			{url.Values{"iss": {"https://other.example"}, "error": {"access_denied"}}, "comes from another provider"},
			{url.Values{"error": {"access_denied"}}, "the provider answered access_denied"},
			{url.Values{"error": {"a\u202eb"}}, "the provider answered ab"},
		},
		false: {{nil, ""}, {url.Values{"iss": {"https://other.example"}}, "comes from another provider"}},
		true: {
			{nil, "doesn't name the provider"},
			{url.Values{"error": {"access_denied"}}, "doesn't name the provider"},
			{url.Values{"iss": {"~"}}, ""},
			{url.Values{"iss": {"~"}, "error": {"access_denied"}}, "the provider answered access_denied"},
		},
	} {
		p := oidctest.New(t, back)
		d := said(t, p.Itself(), p.URL+discovery)
		d["authorization_response_iss_parameter_supported"] = announced
		replace(p, discovery, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(d) })
		i := issuer(t, p, "")
		i.ClientID, i.ClientSecret = oidctest.ClientID, domain.NewSecret([]byte(oidctest.ClientSecret))
		v := verifier(new(clock), i)
		for _, c := range cases {
			flow := oidc.NewFlow()
			at, err := v.LoginURL(t.Context(), "", back, flow)
			if err != nil {
				t.Fatal(err)
			}
			sent := url.Values{"code": {p.SignIn(at).Query().Get("code")}}
			for name, values := range c.sent {
				for _, value := range values {
					sent.Add(name, strings.Replace(value, "~", p.URL, 1))
				}
			}
			before := p.Requests()[tokens]
			who, err := v.Exchange(t.Context(), "", back, sent, flow)
			switch asked := p.Requests()[tokens] - before; {
			case c.why == "" && (err != nil || who.Subject != oidctest.Subject):
				t.Errorf("announced %v, sent %v: %v", announced, c.sent, err)
			case c.why != "" && (!refused(err) || !strings.Contains(err.Error(), c.why) || asked > 0):
				t.Errorf("announced %v, sent %v: %v, and not %q; %d codes were sent on", announced, c.sent, err, c.why, asked)
			}
		}
	}
}

// TestARefusedCodeIsToldFromAProviderThatFails has token endpoints that answer without a code of
// the protocol.
func TestARefusedCodeIsToldFromAProviderThatFails(t *testing.T) {
	t.Parallel()
	for status, unavailable := range map[int]bool{400: false, 403: false, 408: true, 429: true, 500: true, 503: true} {
		p := oidctest.New(t, back)
		v := verifier(new(clock), asking(t, p, ""))
		replace(p, tokens, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, err := v.Exchange(t.Context(), "", back, url.Values{"code": {"made-up"}}, oidc.NewFlow())
		if errors.Is(err, oidc.ErrUnavailable) != unavailable || refused(err) == unavailable {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

// TestOnlyWhatCanBeAnOpaqueTokenIsSentToItsIssuer asks one issuer of two, and not about text.
func TestOnlyWhatCanBeAnOpaqueTokenIsSentToItsIssuer(t *testing.T) {
	t.Parallel()
	p, other, now := oidctest.New(t, back), oidctest.New(t, back), new(clock)
	v := verifier(now, issuer(t, other, ""), asking(t, p, ""))
	for token, asked := range map[string]bool{
		"opaque-opaque-opaque": true, "aZ09-._~+/aZ09-._~+/==": true, "<script>alert(1)</script>": false,
		"correct{horse}battery": false, "a=b&c=d&e=f&g=h&i=j": false, "short": false,
		p.Token(claims{"sub": "ada", "aud": "agentkey"}): false,
	} {
		before := p.Requests()[introspection]
		if v.Asks(token) != asked {
			t.Errorf("%q would be asked about: %t", token, !asked)
		}
		_, err := v.Verify(t.Context(), token)
		if n := p.Requests()[introspection] - before; (n == 1) != asked || n > 1 {
			t.Errorf("%q was asked about %d times: %v", token, n, err)
		}
		if v.Asks(token) {
			t.Errorf("%q would be asked about again", token)
		}
	}
	if n := other.Requests()[introspection]; n > 0 {
		t.Errorf("another issuer was asked %d times", n)
	}
	good := opaque(t, p, verifier(now, asking(t, p, "")))
	if _, err := v.Verify(t.Context(), good); err != nil || v.Asks(good) {
		t.Errorf("a token that was good is asked about as a new one: %v", err)
	}
}
