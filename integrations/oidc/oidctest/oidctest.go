// Package oidctest is an OpenID Connect provider for tests: zitadel's library with its in-memory
// storage, served over HTTP on loopback. Beside what that library issues, it signs whatever claims
// a test wants with the key that it publishes.
package oidctest

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The client that is registered at every provider, and the people who have accounts.
const (
	ClientID     = "agentkey"
	ClientSecret = "client-secret"
	Subject      = "id1"
	Email        = "test-user@zitadel.ch"
	Username     = "test-user@127.0.0.1"
	Password     = "verysecure"
)

// Provider serves one issuer.
type Provider struct {
	URL string // of the issuer

	t         testing.TB
	redirects []string

	mu       sync.Mutex
	storage  *storage.Storage
	handler  http.Handler
	instead  http.Handler // nil: the provider itself answers
	requests map[string]int
}

// New starts a provider, which sends browsers back to the redirect URIs. It stops when the test
// ends.
func New(t testing.TB, redirects ...string) *Provider {
	t.Helper()
	p := &Provider{t: t, redirects: redirects, requests: map[string]int{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.URL = server.URL
	p.Rotate()
	return p
}

// ServeHTTP implements http.Handler.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests[r.URL.Path]++
	handler := p.handler
	if p.instead != nil {
		handler = p.instead
	}
	p.mu.Unlock()
	handler.ServeHTTP(w, r)
}

// Rotate gives the provider a new key instead of the one it has. What it issued before is gone.
func (p *Provider) Rotate() {
	next := storage.NewStorageWithClients(storage.NewUserStore(p.URL), map[string]*storage.Client{
		ClientID: storage.WebClient(ClientID, ClientSecret, p.redirects...),
	})
	handler := exampleop.SetupServer(p.URL, next, slog.New(slog.DiscardHandler), false, op.WithAllowInsecure())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.storage, p.handler = next, handler
}

// Answer lets a handler answer instead of the provider; with nil the provider itself does again.
func (p *Provider) Answer(instead http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instead = instead
}

// Down lets the provider answer nothing but 503, or work again.
func (p *Provider) Down(down bool) {
	var instead http.Handler
	if down {
		instead = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		})
	}
	p.Answer(instead)
}

// Itself returns the provider's own handler, for one that answers in part instead of it.
func (p *Provider) Itself() http.Handler {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handler
}

// Requests returns how many calls there were, by path.
func (p *Provider) Requests() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.requests)
}

// Key returns the key that the provider signs with, and its id.
func (p *Provider) Key() (id string, private any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key, err := p.storage.SigningKey(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	return key.ID(), key.Key()
}

// Token signs claims as the provider does. It adds issuer and times, for five minutes from now,
// where the claims don't have them; a claim that is nil is left out.
func (p *Provider) Token(claims map[string]any) string {
	p.t.Helper()
	id, private := p.Key()
	return p.TokenWith(jwt.SigningMethodRS256, id, private, claims)
}

// TokenWith signs such claims in another way.
func (p *Provider) TokenWith(method jwt.SigningMethod, keyID string, key any, claims map[string]any) string {
	p.t.Helper()
	now := time.Now()
	all := jwt.MapClaims{"iss": p.URL, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	token := jwt.NewWithClaims(method, all)
	if keyID != "" {
		token.Header["kid"] = keyID
	}
	text, err := token.SignedString(key)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// Issued returns the id of an access token of the person for our client, as jti of a JWT: the
// provider's userinfo answers to it.
func (p *Provider) Issued(scopes ...string) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	id, _, err := p.storage.CreateAccessToken(context.Background(), request{scopes: scopes})
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// request is what an access token is issued for.
type request struct{ scopes []string }

func (request) GetSubject() string    { return Subject }
func (request) GetAudience() []string { return []string{ClientID} }
func (r request) GetScopes() []string { return r.scopes }

// SignIn does what a person does in a browser that is sent to a URL: they sign in. It returns where
// the provider sends the browser back to.
func (p *Provider) SignIn(at string) *url.URL {
	p.t.Helper()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	next := func(method, at string, form url.Values) *url.URL {
		p.t.Helper()
		request, err := http.NewRequestWithContext(p.t.Context(), method, at, strings.NewReader(form.Encode()))
		if err != nil {
			p.t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := browser.Do(request)
		if err != nil {
			p.t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		text, _ := io.ReadAll(answer.Body) // only for the message
		to, err := answer.Location()
		if err != nil {
			p.t.Fatalf("%s %s: status %d and no way on: %s", method, at, answer.StatusCode, text)
		}
		return to
	}
	page := next(http.MethodGet, at, nil)
	callback := next(http.MethodPost, page.String(), url.Values{
		"username": {Username}, "password": {Password}, "id": {page.Query().Get("authRequestID")},
	})
	return next(http.MethodGet, callback.String(), nil)
}
