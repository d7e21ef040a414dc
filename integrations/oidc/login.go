package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/oauth2"
)

// Flow is what one sign-in is bound to. The caller that begins it keeps it, out of reach of scripts
// and other people, until the provider sends the browser back.
type Flow struct{ State, Nonce, Verifier string }

// NewFlow draws one.
func NewFlow() Flow {
	return Flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
}

// signIn returns the provider at which people sign in: the one named, or the first with a client
// id.
func (v *Verifier) signIn(issuer string) (*provider, error) {
	for _, p := range v.providers {
		if p.issuer.ClientID != "" && (issuer == "" || p.issuer.URL == issuer) {
			return p, nil
		}
	}
	return nil, &Refused{Why: "no issuer with a client id is configured for signing in here"}
}

func (p *provider) oauth(ctx context.Context, redirectURI string) (*oauth2.Config, error) {
	d, _, err := p.published(ctx)
	if err != nil {
		return nil, err
	}
	if d.Authorization == "" || d.Token == "" {
		return nil, &unavailable{why: "the discovery document names no endpoints for signing in"}
	}
	style := oauth2.AuthStyleInHeader
	if p.issuer.ClientSecret.Empty() ||
		len(d.ClientAuth) > 0 && !slices.Contains(d.ClientAuth, "client_secret_basic") {
		style = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: p.issuer.ClientID, ClientSecret: string(p.issuer.ClientSecret.Reveal()), RedirectURL: redirectURI,
		Scopes:   append([]string{"openid", "profile", "email"}, p.issuer.Scopes...),
		Endpoint: oauth2.Endpoint{AuthURL: d.Authorization, TokenURL: d.Token, AuthStyle: style},
	}, nil
}

// LoginURL returns where a browser goes to sign in. Without an issuer it is the first with a client
// id.
func (v *Verifier) LoginURL(ctx context.Context, issuer, redirectURI string, f Flow) (string, error) {
	p, err := v.signIn(issuer)
	if err != nil {
		return "", err
	}
	config, err := p.oauth(ctx, redirectURI)
	if err != nil {
		return "", err
	}
	return config.AuthCodeURL(
		f.State, oauth2.S256ChallengeOption(f.Verifier), oauth2.SetAuthURLParam("nonce", f.Nonce),
	), nil
}

// Exchange says who signed in, from the code that the provider sent the browser back with. The
// caller has compared the state. What the ID token lacks, the provider's userinfo adds.
func (v *Verifier) Exchange(ctx context.Context, issuer, redirectURI, code string, f Flow) (Identity, error) {
	p, err := v.signIn(issuer)
	if err != nil {
		return Identity{}, err
	}
	if f.Nonce == "" || f.Verifier == "" || code == "" {
		return Identity{}, &Refused{Why: "this sign-in wasn't begun here"}
	}
	if !p.codes.AllowN(p.clock(), 1) {
		return Identity{}, &unavailable{why: "too many sign-ins in a minute"}
	}
	config, err := p.oauth(ctx, redirectURI)
	if err != nil {
		return Identity{}, err
	}
	answer, err := config.Exchange(
		context.WithValue(ctx, oauth2.HTTPClient, p.client), code, oauth2.VerifierOption(f.Verifier),
	)
	var told *oauth2.RetrieveError
	switch {
	case errors.As(err, &told) && told.ErrorCode != "":
		return Identity{}, &Refused{Why: "the provider refuses the code: " + shorten(told.ErrorCode)}
	case told != nil && told.Response != nil: // its text has the whole answer
		return Identity{}, &unavailable{
			why: fmt.Sprintf("the code can't be exchanged: status %d", told.Response.StatusCode),
		}
	case err != nil:
		return Identity{}, &unavailable{why: "the code can't be exchanged: " + plain(err).Error()}
	}
	idToken, _ := answer.Extra("id_token").(string)
	claims, err := p.verify(ctx, idToken, expected{
		audiences: []string{p.issuer.ClientID}, idToken: true, nonce: f.Nonce,
	})
	if err != nil {
		return Identity{}, err
	}
	in := claimsIn{claims}
	who, why := p.issuer.identity(in)
	if why != "" || who.Email == "" || who.Name == "" || who.Role == "" && p.issuer.Claims.Role != "" {
		in = append(in, p.userInfo(ctx, answer.AccessToken, claims, true))
	}
	return p.identify(in)
}
