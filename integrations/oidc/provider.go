package oidc

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often a provider is called.
const (
	refreshEvery = 15 * time.Minute
	retryLeast   = time.Second // after a failure, doubled until retryMost
	retryMost    = time.Minute
	// askAgain is how soon a caller makes us fetch again what could not be fetched.
	askAgain = 5 * time.Second
	// unknownKeyEvery limits the fetches that a token with an unknown key causes. A rotated key is
	// known at the latest after it, whatever else arrives.
	unknownKeyEvery = time.Minute
	// askedNew and askedKnown limit questions about tokens and people in a minute. Those about tokens
	// that were good before are counted apart: garbage never competes with them. It does compete with
	// members' new tokens, so the door lets each address cause but a part of the new questions.
	askedNew, askedKnown = 300, 600
	// signIns limits the codes that are exchanged in a minute: anyone can make them up. The same part
	// of them is for each address.
	signIns = 300
)

// provider is an issuer, with what is known of it.
type provider struct {
	issuer Issuer
	client doer
	within time.Duration // one call, and a fetch of what is published
	logger *slog.Logger
	clock  func() time.Time

	unknownKey *rate.Limiter
	newTokens  *rate.Limiter
	known      *rate.Limiter
	codes      *rate.Limiter
	active     *cache[digest, map[string]any] // claims of opaque tokens that were good
	inactive   *cache[digest, struct{}]       // and those that were not
	people     *cache[string, map[string]any] // by subject; nil: the provider tells nothing

	pasted []key // instead of what is published; nil: none

	mu       sync.Mutex
	document document
	keys     []key
	fetched  time.Time     // when both were; zero: never
	tried    time.Time     // when fetching last failed
	failure  error         // nil: it did not
	fetching chan struct{} // closed when the fetch that is under way ends; nil: none is
}

func newProvider(issuer Issuer, c Config) *provider {
	through := http.DefaultTransport
	if c.Transport != nil {
		through = c.Transport
	}
	within := cmp.Or(c.Timeout, callTime)
	return newProviderThrough(issuer, c, client(through, within), within)
}

// newProviderThrough is called by a client that follows no redirects.
func newProviderThrough(issuer Issuer, c Config, client doer, within time.Duration) *provider {
	minute := func(n int) *rate.Limiter { return rate.NewLimiter(rate.Every(time.Minute/time.Duration(n)), n) }
	return &provider{
		issuer: issuer, client: client, within: within, clock: c.Clock,
		logger:     cmp.Or(c.Logger, slog.New(slog.DiscardHandler)).With(slog.String("issuer", issuer.URL)),
		unknownKey: rate.NewLimiter(rate.Every(unknownKeyEvery), 1),
		newTokens:  minute(askedNew), known: minute(askedKnown), codes: minute(signIns),
		active:   newCache[digest, map[string]any](maxRemembers),
		inactive: newCache[digest, struct{}](maxRemembers),
		people:   newCache[string, map[string]any](maxRemembers),
	}
}

// keepFresh fetches what the provider publishes, again and again until the context ends.
func (p *provider) keepFresh(ctx context.Context) {
	retry := retryLeast
	for {
		wait := refreshEvery
		if err := p.refresh(ctx); err != nil && ctx.Err() == nil {
			p.logger.WarnContext(ctx, "identity provider not read", slog.Any("error", err))
			wait, retry = retry, min(2*retry, retryMost)
		} else {
			retry = retryLeast
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// refresh fetches discovery and key set. A caller that comes while a fetch is under way waits for
// it. The fetch runs under its own deadline: a caller that leaves cancels nobody's.
func (p *provider) refresh(ctx context.Context) error {
	p.mu.Lock()
	done := p.fetching
	if done == nil {
		done = make(chan struct{})
		p.fetching = done
		go p.fetch(context.WithoutCancel(ctx), done)
	}
	p.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller's own
	case <-done:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

func (p *provider) fetch(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, p.within)
	defer cancel()
	document, err := p.discover(ctx)
	var keys []key
	if err == nil {
		keys, err = p.fetchKeys(ctx, document)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure = err; err != nil {
		p.tried = p.clock()
	} else {
		p.document, p.keys, p.fetched = document, keys, p.clock()
	}
	p.fetching = nil
	close(done)
}

// published returns what is remembered, and fetches what isn't. What is older than keysFor is
// forgotten: a key that the provider withdrew must not live as long as it can't be reached.
func (p *provider) published(ctx context.Context) (document, []key, error) {
	read := func() (document, []key, bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		now := p.clock()
		if !p.fetched.IsZero() && now.Sub(p.fetched) < keysFor {
			return p.document, p.keys, true, nil
		}
		if p.failure != nil && p.fetching == nil && now.Sub(p.tried) < askAgain {
			return document{}, nil, false, p.failure
		}
		return document{}, nil, false, nil
	}
	d, keys, have, err := read()
	if have || err != nil {
		return d, keys, err
	}
	if err := p.refresh(ctx); err != nil {
		return document{}, nil, err
	}
	d, keys, have, err = read()
	if !have {
		err = cmp.Or(err, error(&unavailable{why: "what the provider publishes is out of date"}))
	}
	return d, keys, err
}

// keyFor returns the published key with an id that may verify an algorithm. One that isn't known
// may be new, so it is looked for again, but seldom: anyone can make up ids.
func (p *provider) keyFor(ctx context.Context, id, algorithm string) (key, string, error) {
	if p.pasted != nil {
		k, why := choose(p.pasted, id, algorithm)
		return k, why, nil
	}
	for again := false; ; again = true {
		_, keys, err := p.published(ctx)
		if err != nil {
			return key{}, "", err
		}
		k, why := choose(keys, id, algorithm)
		if why == "" || again || !p.unknownKey.AllowN(p.clock(), 1) {
			return k, why, nil
		}
		if err := p.refresh(ctx); err != nil && ctx.Err() != nil {
			return key{}, "", err
		}
	}
}

// choose finds the key. A token without a key id is verified where there is but one key for its
// algorithm.
func choose(keys []key, id, algorithm string) (key, string) {
	var fit []key
	for _, k := range keys {
		switch {
		case id != "" && k.id == id && !k.fits(algorithm):
			return key{}, "it is signed with an algorithm that its key isn't for"
		case k.fits(algorithm) && (id == "" || k.id == id):
			fit = append(fit, k)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], ""
	case len(fit) > 1:
		return key{}, "it doesn't say which of the issuer's keys signed it"
	}
	return key{}, "it is signed with a key that its issuer doesn't publish"
}
