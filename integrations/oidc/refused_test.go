package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"agentkey/integrations/oidc"
	"agentkey/integrations/oidc/oidctest"
)

func TestATokenIsRefusedForEachReason(t *testing.T) {
	t.Parallel()
	p, other := oidctest.New(t), oidctest.New(t)
	id, private := p.Key()
	public := private.(*rsa.PrivateKey).Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	published := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	good := claims{"sub": "ada", "aud": api, "azp": "dashboard", "org": "acme"}
	with := func(more claims) claims {
		all := maps.Clone(good)
		maps.Copy(all, more)
		return all
	}
	signed := func(header string, value any, key any) string {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(with(claims{
			"iss": p.URL, "exp": at(time.Minute),
		})))
		token.Header["kid"] = id
		token.Header[header] = value
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	fine := p.Token(good)
	parts := strings.Split(fine, ".")

	i := issuer(t, p, "")
	i.AuthorizedParties, i.Claims.Organization, i.UserInfo = []string{"dashboard"}, "org", false
	v := verifier(new(clock), i, issuer(t, other, ""))
	for name, c := range map[string]struct {
		token, why string
	}{
		"good":                           {fine, ""},
		"expired within the skew":        {p.Token(with(claims{"exp": at(-50 * time.Second)})), ""},
		"not valid yet, within the skew": {p.Token(with(claims{"nbf": at(50 * time.Second)})), ""},
		"nothing":                        {"", "it isn't a token"},
		"words":                          {"not a token of any sort", "it isn't a token"},
		"opaque":                         {"kT4aQ0l2kT4aQ0l2kT4a", "can't be read here"},
		"opaque, with every character":   {"aZ09-._~+/aZ09-._~+/==", "can't be read here"},
		"padded within":                  {"kT4aQ0l2=kT4aQ0l2kT4a", "it isn't a token"},
		"of other characters":            {"kT4aQ0l2kT4aQ0l2{kT4a}", "it isn't a token"},
		"too long":                       {fine + strings.Repeat("A", 16<<10), "longer than 16 KiB"},
		"an issuer that isn't configured": {
			p.Token(with(claims{"iss": "https://evil.example"})),
			"its issuer isn't one",
		},
		"an issuer with a slash more": {p.Token(with(claims{"iss": p.URL + "/"})), "its issuer isn't one"},
		"no issuer":                   {p.Token(with(claims{"iss": nil})), "doesn't name its issuer"},
		"the issuer is a list": {
			p.Token(with(claims{"iss": []string{p.URL}})),
			"doesn't name its issuer",
		},
		"another issuer's key": {
			p.Token(with(claims{"iss": other.URL})),
			"a key that its issuer doesn't publish",
		},
		"another audience": {
			p.Token(with(claims{"aud": "https://other.example"})),
			"another audience",
		},
		"an audience in another case":  {p.Token(with(claims{"aud": strings.ToUpper(api)})), "another audience"},
		"no audience":                  {p.Token(with(claims{"aud": nil})), "lacks a claim"},
		"an audience that is a number": {p.Token(with(claims{"aud": 7})), "lacks a claim"},
		"another party":                {p.Token(with(claims{"azp": "mobile"})), "issued to another client"},
		"no party":                     {p.Token(with(claims{"azp": nil})), "doesn't name the client"},
		"the party is a list": {
			p.Token(with(claims{"azp": []string{"dashboard"}})),
			"doesn't name the client",
		},
		"expired":                       {p.Token(with(claims{"exp": at(-2 * time.Minute)})), "has expired"},
		"no expiry":                     {p.Token(with(claims{"exp": nil})), "lacks a claim"},
		"an expiry that is a text":      {p.Token(with(claims{"exp": "tomorrow"})), "malformed"},
		"an expiry far beyond any year": {p.Token(with(claims{"exp": 1e300})), "has expired"},
		"lives for a month": {
			p.Token(with(claims{"exp": at(30 * 24 * time.Hour)})),
			"lives longer than 24 hours",
		},
		"lived for a month": {
			p.Token(with(claims{"iat": at(-30 * 24 * time.Hour)})),
			"lives longer than 24 hours",
		},
		"not valid yet":        {p.Token(with(claims{"nbf": at(2 * time.Minute)})), "isn't valid yet"},
		"issued in the future": {p.Token(with(claims{"iat": at(2 * time.Minute)})), "isn't valid yet"},
		"not signed": {
			p.TokenWith(jwt.SigningMethodNone, id, jwt.UnsafeAllowNoneSignatureType, good),
			"signed with none",
		},
		"signed by the public key": {
			p.TokenWith(jwt.SigningMethodHS256, id, published, good),
			"signed with HS256",
		},
		"another algorithm of the key": {
			p.TokenWith(jwt.SigningMethodPS256, id, private, good),
			"algorithm that its key isn't for",
		},
		"a stranger's signature": {
			p.TokenWith(jwt.SigningMethodRS256, id, stranger, good),
			"signature is wrong",
		},
		"a stranger's key": {
			p.TokenWith(jwt.SigningMethodRS256, "mine", stranger, good),
			"doesn't publish",
		},
		"a stranger's key in the header": {signed("jwk", claims{"kty": "RSA"}, stranger), "signature is wrong"},
		"a stranger's key elsewhere": {
			signed("jku", "https://evil.example/keys", stranger),
			"signature is wrong",
		},
		"an extension":                {signed("crit", []string{"exp"}, private), "extensions"},
		"a logout token":              {signed("typ", "logout+jwt", private), "isn't for signing in"},
		"an access token by its type": {signed("typ", "at+jwt", private), ""},
		"a token of SPIFFE":           {signed("typ", "JOSE", private), ""},
		"without its signature":       {parts[0] + "." + parts[1] + ".", "signature is wrong"},
		"another's claims": {
			parts[0] + "." + strings.Split(p.Token(with(claims{"sub": "eve"})), ".")[1] + "." + parts[2],
			"signature is wrong",
		},
		"claims that aren't JSON": {parts[0] + ".e30tLS0tLS0tLS0t." + parts[2], "can't be read here"},
		"bound to a key":          {p.Token(with(claims{"cnf": claims{"jkt": "x"}})), "bound to a key"},
		"nobody's":                {p.Token(with(claims{"sub": nil})), "doesn't say in the claim sub"},
		"whose it is, as a list": {
			p.Token(with(claims{"sub": []string{"ada"}})),
			"doesn't say in the claim sub",
		},
		"whose it is, as an object": {
			p.Token(with(claims{"sub": claims{"ada": 1}})),
			"doesn't say in the claim sub",
		},
		"whose it is, as a number":  {p.Token(with(claims{"sub": 7})), "doesn't say in the claim sub"},
		"whose it is, in two lines": {p.Token(with(claims{"sub": "a\nb"})), "doesn't say in the claim sub"},
		"whose it is, at length": {
			p.Token(with(claims{"sub": strings.Repeat("a", 256)})),
			"doesn't say in the claim sub",
		},
		"no organization":             {p.Token(with(claims{"org": nil})), "names no organization"},
		"an empty organization":       {p.Token(with(claims{"org": ""})), "names no organization"},
		"a number of an organization": {p.Token(with(claims{"org": 7})), "names no organization"},
		"two organizations": {
			p.Token(with(claims{"org": []string{"a", "b"}})),
			"names several organizations",
		},
		"an organization and a thing": {
			p.Token(with(claims{"org": []any{"a", 1}})),
			"names several organizations",
		},
		"an object of two organizations": {
			p.Token(with(claims{"org": claims{"a": 1, "b": 2}})),
			"names several organizations",
		},
	} {
		who, err := v.Verify(t.Context(), c.token)
		var why *oidc.Refused
		switch {
		case c.why == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.As(err, &why) || !strings.Contains(why.Why, c.why):
			t.Errorf("%s: %+v, %v, and not %q", name, who, err, c.why)
		case why.Expired != (c.why == "has expired"):
			t.Errorf("%s: expired is %t", name, why.Expired)
		case len(c.token) > 20 && strings.Contains(err.Error(), c.token):
			t.Errorf("%s: the error repeats the token", name)
		}
	}
	for path, n := range other.Requests() {
		if n > 2 {
			t.Errorf("the other issuer was asked %d times for %s", n, path)
		}
	}
}

func TestAWrongMatterOfTheSameTokenIsNotRemembered(t *testing.T) {
	t.Parallel()
	p, now := oidctest.New(t), new(clock)
	v := verifier(now, issuer(t, p, "entra"))
	token := p.Token(claims{"oid": "ada", "aud": api, "exp": time.Now().Add(30 * time.Second).Unix()})
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	now.Move(2 * time.Minute) // beyond the end and the skew
	var why *oidc.Refused
	if _, err := v.Verify(t.Context(), token); !errors.As(err, &why) || !why.Expired {
		t.Errorf("a remembered token outlives itself: %v", err)
	}
}

func TestEMailsAreComparedWithoutTheirCase(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		" Ada@Example.COM ": "ada@example.com", "ada@example.com": "ada@example.com",
		"\u212aim@example.com": "\u212aim@example.com", // the Kelvin sign isn't a k
		"İ@example.com":        "İ@example.com",
	} {
		if got := oidc.EmailKey(text); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	p := oidctest.New(t)
	v := verifier(new(clock), issuer(t, p, "entra"))
	for _, email := range []any{
		"not an address", "Ada <ada@example.com>", "a@b, c@d.example", "a@b\r\nBcc: c@d", 7,
		[]string{"a@example.com"},
		claims{"a": "a@example.com"},
		strings.Repeat("a", 400) + "@example.com",
	} {
		who, err := v.Verify(t.Context(), p.Token(claims{"oid": "ada", "aud": api, "email": email, "xms_edov": true}))
		if err != nil || who.Email != "" || who.EmailVerified {
			t.Errorf("%v: %+v, %v", email, who, err)
		}
	}
}
