package oidc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Finding is one thing that was looked at, for somebody who looks for a mistake.
type Finding struct {
	OK         bool
	What, Text string
}

// findings collects them.
type findings []Finding

func (f *findings) note(ok bool, what, format string, args ...any) {
	*f = append(*f, Finding{OK: ok, What: what, Text: fmt.Sprintf(format, args...)})
}

// Check asks each issuer for what it publishes, and says what it finds.
func (v *Verifier) Check(ctx context.Context) []Finding {
	var f findings
	for _, p := range v.providers {
		d, err := p.discover(ctx)
		if err != nil {
			f.note(false, p.issuer.URL, "%v", err)
			continue
		}
		keys, err := p.fetchKeys(ctx, d)
		if err != nil {
			f.note(false, p.issuer.URL, "%v", err)
			continue
		}
		taken := slices.DeleteFunc(slices.Clone(algorithms), func(a string) bool {
			return !slices.ContainsFunc(keys, func(k key) bool { return k.fits(a) })
		})
		f.note(true, p.issuer.URL, "%d keys, for %s", len(keys), strings.Join(taken, ", "))
		if p.issuer.Introspect && d.Introspection == "" {
			f.note(false, p.issuer.URL, "it names no endpoint for introspection, so opaque tokens are refused")
		}
		if p.issuer.ClientID != "" && (d.Authorization == "" || d.Token == "") {
			f.note(false, p.issuer.URL, "it names no endpoints for signing in")
		}
	}
	return f
}

// Explain says step by step what a token holds and why it is refused. What it returns holds claims
// of the token, which name a person, and neither the token nor its signature.
func (v *Verifier) Explain(ctx context.Context, token string) []Finding {
	var f findings
	said, why := parse(token)
	switch {
	case said == nil && why != "":
		f.note(false, "form", "%s", why)
	case said == nil:
		f.opaque(v, token)
	default:
		f.note(why == "", "form", "a JWT of %d characters, algorithm %s, key %s, type %s%s", len(token),
			shorten(said.algorithm), shorten(said.keyID), shorten(said.kind), because(why))
		f.claims(ctx, v, token, said)
	}
	who, err := v.verify(ctx, token)
	if err != nil {
		f.note(false, "result", "%v", err)
		return f
	}
	f.note(true, "result", "the token is taken until %s, subject %s, e-mail %s (verified: %t), name %s, "+
		"organization %s, role %s", who.ExpiresAt.UTC().Format(time.RFC3339), shorten(who.Subject), shorten(who.Email),
		who.EmailVerified, shorten(who.Name), shorten(who.Organization), shorten(string(who.Role)))
	return f
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func (f *findings) opaque(v *Verifier, token string) {
	if strings.Count(token, ".") == 4 {
		f.note(false, "form", "an encrypted token, which only its issuer can read. At Auth0 the dashboard must name an "+
			"audience when it asks for a token")
		return
	}
	asked := slices.ContainsFunc(v.providers, func(p *provider) bool { return p.issuer.Introspect })
	f.note(asked, "form", "an opaque token, which only its issuer can read%s", map[bool]string{
		false: ": let the provider issue JWTs, send the ID token, or set up introspection",
	}[asked])
}

// claims looks at each claim by itself, so that all mistakes are found at once.
func (f *findings) claims(ctx context.Context, v *Verifier, token string, said *unverified) {
	p := v.provider(said.issuer)
	if p == nil {
		f.note(false, "issuer", "%s, and configured are: %s", shorten(said.issuer), strings.Join(v.urls(), ", "))
		return
	}
	f.note(true, "issuer", "%s", p.issuer.URL)
	f.signature(ctx, p, token, said)
	e := p.issuer.bearer()
	claims := jwt.MapClaims(said.claims)
	audiences, _ := claims.GetAudience()
	right := len(e.audiences) == 0 || slices.ContainsFunc(audiences, func(a string) bool {
		return slices.Contains(e.audiences, a)
	})
	f.note(right, "audience", "%s, and configured is: %s", listed(audiences), listed(e.audiences))
	party := p.further(claims, expected{parties: e.parties, audiences: e.audiences, idToken: e.idToken})
	f.note(party == "", "party", "azp %s, client_id %s, and configured is: %s%s", said.text("azp"),
		said.text("client_id"), listed(e.parties), because(party))
	err := jwt.NewValidator(p.rules(expected{})...).Validate(claims)
	f.note(err == nil, "times", "issued %s, not before %s, expires %s, and it is %s%s", said.time("iat"), said.time("nbf"),
		said.time("exp"), p.clock().UTC().Format(time.RFC3339), because(inWords(err)))
	_, wrong := p.issuer.identity(claimsIn{said.claims})
	c := p.issuer.Claims
	found := []string{}
	for _, one := range [][2]string{
		{"subject", c.Subject}, {"e-mail", c.Email}, {"name", c.Name}, {"organization", c.Organization}, {"role", c.Role},
	} {
		claim, path := claimsIn{said.claims}.first(one[1])
		if claim != nil {
			found = append(found, fmt.Sprintf("%s in %s: %s", one[0], path, listed(values(claim))))
		} else if one[1] != "" {
			found = append(found, fmt.Sprintf("%s not in %s", one[0], one[1]))
		}
	}
	f.note(wrong == "", "claims", "%s%s; there are: %s", strings.Join(found, "; "), because(wrong),
		listed(slices.Sorted(maps.Keys(said.claims))))
}

func (f *findings) signature(ctx context.Context, p *provider, token string, said *unverified) {
	k, why, err := p.keyFor(ctx, said.keyID, said.algorithm)
	if err != nil {
		f.note(false, "signature", "not verified: %v", err)
		return
	}
	if why == "" {
		_, err = jwt.NewParser(
			jwt.WithValidMethods(algorithms), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding(),
		).Parse(token, func(*jwt.Token) (any, error) { return k.public, nil })
		why = inWords(err)
	}
	f.note(why == "", "signature", "by the issuer's key %s%s", shorten(said.keyID), because(why))
}

func inWords(err error) string {
	if err == nil {
		return ""
	}
	if refused, is := errors.AsType[*Refused](err); is {
		return refused.Why
	}
	return reason(err).Why
}

func (v *Verifier) urls() (out []string) {
	for _, p := range v.providers {
		out = append(out, p.issuer.URL)
	}
	return out
}

// text returns a claim for people.
func (u *unverified) text(name string) string {
	text, _ := u.claims[name].(string)
	return shorten(text)
}

func (u *unverified) time(name string) string {
	claims := jwt.MapClaims(u.claims)
	get := map[string]func() (*jwt.NumericDate, error){
		"iat": claims.GetIssuedAt, "nbf": claims.GetNotBefore, "exp": claims.GetExpirationTime,
	}[name]
	if at, err := get(); err == nil && at != nil {
		return at.UTC().Format(time.RFC3339)
	}
	return "never"
}

func listed(texts []string) string {
	short := make([]string, 0, len(texts))
	for _, t := range texts {
		short = append(short, shorten(t))
	}
	return shorten(strings.Join(short, ", "))
}
