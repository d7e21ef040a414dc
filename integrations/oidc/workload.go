package oidc

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"agentkey/integrations/outbound"
)

// Bounds of workloads' tokens.
const (
	maxWorkloadLife = time.Hour
	maxIssuers      = 500 // in memory; the one that came first gives way
	maxAudiences    = 10
)

// Workloads verifies the tokens of workloads. Their issuers are named by admins, not by the
// operator, so what they publish is fetched as what users name is: never from the network of this
// process, unless the operator allows it. It is fetched for issuers that somebody names here, so
// callers must not pass on what only a token says.
type Workloads struct {
	config   Config
	people   *Verifier // whose issuers are the operator's; nil: none
	network  outbound.Network
	mu       sync.Mutex
	issuers  map[string]*provider
	arrivals []string // the keys of issuers, as they came
}

// NewWorkloads returns a verifier of workloads' tokens. It calls nobody.
func NewWorkloads(c Config, people *Verifier, network outbound.Network) *Workloads {
	return &Workloads{config: c, people: people, network: network, issuers: map[string]*provider{}}
}

// Claimed is what a token says about itself. Nothing of it may be believed.
type Claimed struct {
	Issuer    string
	Audiences []string
	said      *unverified
}

// Claim returns the text of a claim at a path, as bindings compare it; false: it isn't there, or is
// a list or an object. A number is its JSON text.
func (c Claimed) Claim(path string) (string, bool) {
	v, _ := find(c.said.claims, path)
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

// Read reads a token without verifying it. An error is *Refused.
func Read(token string) (Claimed, error) {
	said, why := parse(token)
	switch {
	case said == nil && why == "":
		why = "it isn't a JWT"
	case why == "":
		audiences, err := jwt.MapClaims(said.claims).GetAudience()
		switch {
		case err != nil || len(audiences) == 0 || len(audiences) > maxAudiences:
			why = "it must name 1 to 10 audiences"
		default:
			return Claimed{Issuer: said.issuer, Audiences: audiences, said: said}, nil
		}
	}
	return Claimed{}, &Refused{Why: why}
}

// Verify refuses a token that isn't the issuer's, for the audience and in time, or that lives
// longer than an hour. With keys, a JWK set, nothing is fetched. It returns when the token ends. An
// error is *Refused, matches ErrUnavailable, or is the context's.
func (w *Workloads) Verify(ctx context.Context, token, issuer, audience, keys string) (time.Time, error) {
	p, err := w.issuer(issuer, keys)
	if err != nil {
		return time.Time{}, err
	}
	p.freshen(ctx)
	claims, err := p.verify(ctx, token, expected{audiences: []string{audience}})
	if err != nil {
		return time.Time{}, err
	}
	expires, _ := expiry(claims) // it was verified to be there
	from := issued(claims)
	switch {
	case from.IsZero():
		return time.Time{}, &Refused{Why: "it lacks the claim iat"}
	case expires.Sub(from) > maxWorkloadLife:
		return time.Time{}, &Refused{Why: "it lives longer than an hour"}
	}
	return expires, nil
}

// Check says what is wrong with an issuer, or with keys where they are given: "" if tokens of it
// can be verified. The text is for the caller that named them, and says nothing of the network.
func (w *Workloads) Check(ctx context.Context, issuer, keys string) (field, why string) {
	if err := CheckURL(issuer); err != nil && keys == "" {
		return "issuer", err.Error()
	}
	p, err := w.issuer(issuer, keys)
	switch {
	case err != nil:
		return "keys", err.Error()
	case p.pasted != nil:
		return "", ""
	}
	if _, _, err := p.published(ctx); err != nil {
		return "issuer", err.Error()
	}
	return "", ""
}

// issuer returns the provider of an issuer, or one of pasted keys.
func (w *Workloads) issuer(issuer, keys string) (*provider, error) {
	if keys == "" && w.people != nil {
		if p := w.people.provider(issuer); p != nil {
			return p, nil
		}
	}
	id := issuer
	if keys != "" {
		id = fmt.Sprintf("%s %x", issuer, sha256.Sum256([]byte(keys)))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, known := w.issuers[id]; known {
		return p, nil
	}
	within := cmp.Or(w.config.Timeout, callTime)
	c := w.config
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	p := newProviderThrough(
		Issuer{URL: issuer}, c, outbound.New(outbound.Options{Network: w.network, Timeout: within}), within,
	)
	if keys != "" {
		var err error
		if p.pasted, err = readPasted(keys); err != nil {
			return nil, err
		}
	}
	if len(w.arrivals) >= maxIssuers {
		delete(w.issuers, w.arrivals[0])
		w.arrivals = slices.Delete(w.arrivals, 0, 1)
	}
	w.issuers[id], w.arrivals = p, append(w.arrivals, id)
	return p, nil
}

// freshen fetches again what nobody keeps fresh in the background. While the issuer can't be
// reached what is remembered is used, and it is asked once a minute.
func (p *provider) freshen(ctx context.Context) {
	p.mu.Lock()
	now := p.clock()
	due := p.pasted == nil && !p.fetched.IsZero() && now.Sub(p.fetched) >= refreshEvery && now.Sub(p.tried) >= retryMost
	p.mu.Unlock()
	if due {
		_ = p.refresh(ctx) // published says what follows from it
	}
}

// PublicKeys reads a JWK set that somebody pasted, and returns it without what isn't needed to
// verify. A set with a private key is refused: it must not be written down.
func PublicKeys(pasted string) (string, error) {
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if json.Unmarshal([]byte(pasted), &set) != nil {
		return "", &unavailable{why: `it isn't a JWK set, which is an object with the list "keys"`}
	}
	var kept []map[string]any
	for _, k := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, has := k[private]; has {
				return "", &unavailable{why: "it holds a private key; paste public keys only, and replace that one"}
			}
		}
		public := map[string]any{}
		for _, name := range []string{"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"} {
			if v, has := k[name]; has {
				public[name] = v
			}
		}
		kept = append(kept, public)
	}
	text, err := json.Marshal(map[string]any{"keys": kept})
	if err != nil {
		return "", fmt.Errorf("the key set can't be written: %w", err)
	}
	if _, err := readPasted(string(text)); err != nil {
		return "", err
	}
	return string(text), nil
}

func readPasted(text string) ([]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&set); err != nil {
		return nil, &unavailable{why: "it isn't a JWK set"}
	}
	keys, why := usableKeys(set.Keys)
	if why != "" {
		return nil, &unavailable{why: "it" + why + ": RSA of 2048 bits or more, ECDSA or Ed25519"}
	}
	return keys, nil
}

// IsJWT reports whether a text looks like a token of an identity provider rather than like a key.
func IsJWT(text string) bool { return strings.Count(text, ".") == 2 && strings.HasPrefix(text, "ey") }
