// Package oidc reads the tokens of OpenID Connect providers. It verifies that a token is the
// provider's and meant for us, and says whose it is. Whether that person is a member, and what they
// may do, isn't its matter. Providers are the operator's configuration, so the guard on addresses
// that users name doesn't apply to them; what a token says never leads to a call elsewhere.
package oidc

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"agentkey/commands/words"
	"agentkey/domain"
)

// What is taken, and for how long it is remembered.
const (
	maxToken     = 16 << 10         // bytes
	skew         = time.Minute      // between a provider's clock and ours
	maxLife      = 24 * time.Hour   // of a token
	rememberFor  = time.Minute      // a verified token
	inactiveFor  = 30 * time.Second // an opaque token that the provider doesn't know
	userInfoFor  = 5 * time.Minute
	keysFor      = 24 * time.Hour // a key set, while the provider can't be asked
	maxRemembers = 10_000         // of each sort
)

// Identity is what a verified token says about the person who presents it.
type Identity struct {
	Issuer, Subject string // exact, never folded: together they are the person
	// Email is as the provider writes it, "" if it names none; compare it by EmailKey. Only a
	// verified one may find a person.
	Email         string
	EmailVerified bool
	Name          string
	Organization  string // value of the organization claim; "" if none
	// NamesOrganization says that the issuer is configured with an organization claim. Then
	// Organization is never empty.
	NamesOrganization bool
	Role              domain.Role // the widest that the role claim stands for; "" for none
	Provision         bool
	DefaultRole       domain.Role
	IssuedAt          time.Time // when the provider said all this; zero if it doesn't tell
	ExpiresAt         time.Time // of the token
}

// Refused is why a token isn't taken.
type Refused struct {
	Expired bool   // it was good: signing in again helps
	Why     string // for people; it never repeats the token
}

// Error implements error.
func (r *Refused) Error() string { return "the token is refused: " + r.Why }

// ErrUnavailable is what every error matches that says: the provider can't be asked, and what is
// remembered doesn't suffice.
var ErrUnavailable = errors.New("the identity provider can't be reached")

// ErrTooMany is what an error matches that says: the provider isn't asked, because too many
// strangers have it asked. It matches ErrUnavailable too.
var ErrTooMany error = &unavailable{why: "too many questions to the provider in a minute"}

// Config is what a Verifier needs.
type Config struct {
	Issuers   []Issuer
	Logger    *slog.Logger
	Clock     func() time.Time
	Transport http.RoundTripper // the way to the providers; nil: http.DefaultTransport
	Timeout   time.Duration     // of one call of a provider; 0: callTime
}

// Verifier verifies tokens. It may be used by many at once, before and without Run too.
type Verifier struct {
	providers []*provider
	clock     func() time.Time
	verified  *cache[digest, Identity]
}

// New returns a verifier of the tokens of some issuers. It calls no provider.
func New(c Config) *Verifier {
	v := &Verifier{clock: c.Clock, verified: newCache[digest, Identity](maxRemembers)}
	for _, issuer := range c.Issuers {
		v.providers = append(v.providers, newProvider(issuer, c))
	}
	return v
}

// Run keeps what providers publish fresh until the context ends. Without a provider that answers it
// keeps trying, and tokens are verified with the keys that are remembered.
func (v *Verifier) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, p := range v.providers {
		group.Go(func() { p.keepFresh(ctx) })
	}
	group.Wait()
}

// SignInIssuers returns the URLs of the issuers at which people can sign in through us.
func (v *Verifier) SignInIssuers() (urls []string) {
	for _, p := range v.providers {
		if p.issuer.ClientID != "" {
			urls = append(urls, p.issuer.URL)
		}
	}
	return urls
}

// Verify says whose token it is. An error is *Refused, matches ErrUnavailable, or is the context's.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	now, key := v.clock(), digestOf(token)
	if who, fresh, _ := v.verified.get(key, now); fresh {
		return who, nil
	}
	who, err := v.verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	until := now.Add(rememberFor)
	if who.ExpiresAt.Before(until) {
		until = who.ExpiresAt
	}
	v.verified.put(key, who, until)
	return who, nil
}

func (v *Verifier) verify(ctx context.Context, token string) (Identity, error) {
	said, why := parse(token)
	switch {
	case why != "":
		return Identity{}, &Refused{Why: why}
	case said == nil:
		return v.introspect(ctx, token)
	}
	p := v.provider(said.issuer)
	if p == nil {
		return Identity{}, &Refused{Why: "its issuer isn't one that is configured here"}
	}
	claims, err := p.verify(ctx, token, p.issuer.bearer())
	if err != nil {
		return Identity{}, err
	}
	who, err := p.identify(claimsIn{claims})
	if err != nil || !p.issuer.UserInfo || p.issuer.IDTokens || who.Email != "" && who.Name != "" {
		return who, err
	}
	// Nothing but these: what is remembered may be of another session, in another organization.
	more := claimsIn{p.userInfo(ctx, token, claims, false)}
	if who.Email == "" {
		who.Email, who.EmailVerified = p.issuer.email(more)
	}
	who.Name = cmp.Or(who.Name, more.label(p.issuer.Claims.Name, maxText))
	return who, nil
}

// identify reads claims that were verified.
func (p *provider) identify(in claimsIn) (Identity, error) {
	who, why := p.issuer.identity(in)
	if why != "" {
		return Identity{}, &Refused{Why: why}
	}
	who.ExpiresAt, _ = expiry(in[0])
	who.IssuedAt = issued(in[0])
	return who, nil
}

// Asks reports whether Verify asks a provider about a token that it hasn't vouched for before. Such
// questions are few, so a caller limits who may cause them.
func (v *Verifier) Asks(token string) bool {
	p := v.asked()
	if p == nil {
		return false
	}
	if said, why := parse(token); said != nil || why != "" {
		return false
	}
	now, key := v.clock(), digestOf(token)
	_, _, before := p.active.get(key, now)
	_, fresh, _ := p.inactive.get(key, now)
	return !before && !fresh
}

// provider returns that of an issuer, which is compared exactly; nil: there is none.
func (v *Verifier) provider(issuer string) *provider {
	for _, p := range v.providers {
		if p.issuer.URL == issuer {
			return p
		}
	}
	return nil
}

// shorten makes text that a token or a provider holds fit for a line.
func shorten(text string) string {
	text = words.CleanLine(text)
	if runes := []rune(text); len(runes) > 120 {
		return string(runes[:120]) + "…"
	}
	return cmp.Or(text, "nothing")
}
