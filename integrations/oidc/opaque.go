package oidc

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// asked returns the provider that is asked about opaque tokens; nil: none is. There is at most one:
// a token doesn't say whose it is, and asking another would give it away.
func (v *Verifier) asked() *provider {
	for _, p := range v.providers {
		if p.issuer.Introspect {
			return p
		}
	}
	return nil
}

// introspect asks about a token that only its issuer can read.
func (v *Verifier) introspect(ctx context.Context, token string) (Identity, error) {
	p := v.asked()
	if p == nil {
		why := "it can't be read here, and no issuer is configured to be asked about such tokens"
		return Identity{}, &Refused{Why: why}
	}
	claims, err := p.ask(ctx, token)
	switch {
	case err != nil:
		return Identity{}, err
	case claims == nil:
		return Identity{}, &Refused{Why: "its issuer doesn't know it, or it has ended"}
	}
	return p.judge(claims)
}

// judge judges what the provider says about a token that it calls active.
func (p *provider) judge(claims map[string]any) (Identity, error) {
	if issuer, named := claims["iss"]; named && issuer != p.issuer.URL {
		return Identity{}, &Refused{Why: "its issuer isn't the one that is configured"}
	}
	rules := []jwt.ParserOption{jwt.WithLeeway(skew), jwt.WithTimeFunc(p.clock), jwt.WithIssuedAt()}
	if len(p.issuer.Audiences) > 0 {
		rules = append(rules, jwt.WithAudience(p.issuer.Audiences...))
	}
	if err := jwt.NewValidator(rules...).Validate(jwt.MapClaims(claims)); err != nil {
		return Identity{}, reason(err)
	}
	if why := p.further(claims, expected{parties: p.issuer.AuthorizedParties}); why != "" {
		return Identity{}, &Refused{Why: why}
	}
	who, err := p.identify(claimsIn{claims})
	if err == nil && who.ExpiresAt.IsZero() {
		// The answer holds only as long as it is remembered.
		who.ExpiresAt = p.clock().Add(rememberFor)
	}
	return who, err
}

// ask returns what the provider says about a token; nil: it isn't active.
func (p *provider) ask(ctx context.Context, token string) (map[string]any, error) {
	now, key := p.clock(), digestOf(token)
	if _, fresh, _ := p.inactive.get(key, now); fresh {
		return nil, nil
	}
	claims, fresh, before := p.active.get(key, now)
	if fresh {
		return claims, nil
	}
	if !p.allow(before) {
		return nil, ErrTooMany
	}
	document, _, err := p.published(ctx)
	if err != nil {
		return nil, err
	}
	if document.Introspection == "" {
		return nil, &unavailable{why: "the discovery document names no endpoint for introspection"}
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	basic := len(document.AskerAuth) == 0 || slices.Contains(document.AskerAuth, "client_secret_basic")
	id, secret := p.issuer.ClientID, string(p.issuer.ClientSecret.Reveal())
	if !basic {
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
	request, err := http.NewRequestWithContext(
		ctx, http.MethodPost, document.Introspection, strings.NewReader(form.Encode()),
	)
	if err != nil {
		return nil, &unavailable{why: "introspection has no URL that can be called"}
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic {
		request.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	answer := map[string]any{}
	if err := p.do(request, "introspection", maxDocument, &answer); err != nil {
		return nil, err
	}
	maps.DeleteFunc(answer, func(_ string, v any) bool { return v == nil }) // some write null for none
	if active, _ := answer["active"].(bool); !active {
		p.inactive.put(key, struct{}{}, now.Add(inactiveFor))
		return nil, nil
	}
	p.active.put(key, answer, now.Add(rememberFor))
	return answer, nil
}

// allow counts a question to the provider about something that was good before, or is new.
func (p *provider) allow(before bool) bool {
	limiter := map[bool]*rate.Limiter{true: p.known, false: p.newTokens}[before]
	return limiter.AllowN(p.clock(), 1)
}

// userInfo returns what the provider says about the person whose access token was verified; nil:
// nothing. A member is found without it, so that it fails refuses nobody. A new one is asked for
// even where one is remembered.
func (p *provider) userInfo(ctx context.Context, token string, claims map[string]any, again bool) map[string]any {
	subject, _ := claims["sub"].(string)
	now := p.clock()
	info, fresh, _ := p.people.get(subject, now)
	if fresh && !again {
		return info
	}
	document, _, err := p.published(ctx)
	if again {
		info = nil
	}
	// The token is signed by the provider, so nobody makes up people.
	if err != nil || document.UserInfo == "" || !p.allow(true) {
		return info
	}
	answer, until := map[string]any{}, now.Add(userInfoFor)
	if err := p.get(ctx, "userinfo", document.UserInfo, token, maxDocument, &answer); err != nil {
		until = now.Add(time.Minute)
		answer = info // what it said before, rather than nothing
	} else if answer["sub"] != subject {
		answer = nil // it speaks of somebody else
	}
	p.people.put(subject, answer, until)
	return answer
}
