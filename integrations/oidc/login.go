package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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

// Exchange says who signed in, from what the provider sent the browser back with. The caller has
// compared the state. What the ID token lacks, the provider's userinfo adds.
func (v *Verifier) Exchange(
	ctx context.Context, issuer, redirectURI string, sent url.Values, f Flow,
) (Identity, error) {
	p, err := v.signIn(issuer)
	if err != nil {
		return Identity{}, err
	}
	config, err := p.oauth(ctx, redirectURI)
	if err != nil {
		return Identity{}, err
	}
	code := sent.Get("code")
	switch why, err := p.sentBy(ctx, sent); {
	case err != nil:
		return Identity{}, err
	case why != "":
		return Identity{}, &Refused{Why: why}
	case f.Nonce == "" || f.Verifier == "" || code == "":
		return Identity{}, &Refused{Why: "it wasn't begun here, or the provider sent no code"}
	case !p.codes.AllowN(p.clock(), 1):
		return Identity{}, ErrTooMany
	}
	answer, err := config.Exchange(
		context.WithValue(ctx, oauth2.HTTPClient, p.client), code, oauth2.VerifierOption(f.Verifier),
	)
	var told *oauth2.RetrieveError
	switch {
	case errors.As(err, &told) && told.ErrorCode != "":
		return Identity{}, &Refused{Why: "the provider refuses the code: " + shorten(told.ErrorCode)}
	case told != nil && told.Response != nil && strange(told.Response.StatusCode):
		why := fmt.Sprintf("the provider refuses the code: status %d", told.Response.StatusCode)
		return Identity{}, &Refused{Why: why}
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
		return Identity{}, aboutIDToken(err)
	}
	in := claimsIn{claims}
	who, why := p.issuer.identity(in)
	if why != "" || who.Email == "" || who.Name == "" || who.Role == "" && p.issuer.Claims.Role != "" {
		in = append(in, p.userInfo(ctx, answer.AccessToken, claims, true))
	}
	who, err = p.identify(in)
	return who, aboutIDToken(err)
}

// sentBy returns why the answer with which a browser comes back isn't that of the provider at which
// it began, or says that nobody signed in. All issuers send browsers back to one address, so one of
// them could pass on the code of another (RFC 9207).
func (p *provider) sentBy(ctx context.Context, sent url.Values) (why string, err error) {
	d, _, err := p.published(ctx)
	switch names := sent["iss"]; {
	case err != nil:
		return "", err
	case len(names) == 0 && d.NamesItself:
		return "the answer doesn't name the provider that it comes from", nil
	case len(names) > 1 || len(names) == 1 && names[0] != p.issuer.URL:
		return "the answer comes from another provider than the one where it was begun", nil
	case sent.Get("error") != "":
		return "the provider answered " + shorten(sent.Get("error")), nil
	}
	return "", nil
}

// strange reports whether a status says that the code is wrong, rather than that the provider is.
func strange(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

// aboutIDToken says of which token it speaks: people who sign in have seen none.
func aboutIDToken(err error) error {
	if refused, is := errors.AsType[*Refused](err); is {
		return &Refused{Why: "the provider's ID token is refused, because " + refused.Why}
	}
	return err
}
