package commands

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/eventstore/seal"
	"agentkey/integrations/oidc"
)

// SignInTime is how long somebody may take to sign in at their identity provider.
const SignInTime = 10 * time.Minute

// SignIns signs browsers in at an identity provider: with the authorization code flow and PKCE (RFC
// 7636). What a sign-in is bound to stays sealed with the browser, so that any process can finish
// it.
type SignIns struct {
	Callers       *Callers
	Organizations *Organizations
	MACKey        domain.Secret
	Clock         func() time.Time

	mu   sync.Mutex
	used map[string]time.Time // until when it would work, by the state of a sign-in
}

// mostUsed is how many sign-ins are remembered as used.
const mostUsed = 10_000

// SignIn is a sign-in that somebody wants to begin.
type SignIn struct {
	Issuer       string // its URL; "": the first that people can sign in at
	Organization string // "": the first of theirs
	ReturnTo     string // a path on our origin; "": /
	Callback     string // where the provider sends the browser back to
}

// begunSignIn is what the browser keeps of a sign-in.
type begunSignIn struct {
	SignIn
	Flow  oidc.Flow
	Until time.Time
}

// Begin returns where the browser goes, the state with which it comes back, and what it keeps until
// then.
func (s *SignIns) Begin(ctx context.Context, wanted SignIn) (location, state, kept string, err error) {
	if wanted.ReturnTo, err = path(wanted.ReturnTo); err != nil {
		return "", "", "", err
	}
	issuers := s.issuers()
	if len(issuers) == 0 {
		return "", "", "", &domain.Error{
			Kind: domain.KindNotFound, Code: "not_found", Detail: "No identity provider is configured to sign in at.",
			Hint: "Exchange a service token for a session with {beginSession}, or have the operator print a link with: " +
				"agentkey admin login.",
			Next: []domain.Next{{Op: "beginSession"}},
		}
	}
	if wanted.Issuer = cmp.Or(wanted.Issuer, issuers[0]); !slices.Contains(issuers, wanted.Issuer) {
		return "", "", "", domain.Invalid("issuer", "people sign in here at "+domain.Verbatim(strings.Join(issuers, ", ")))
	}
	begun := begunSignIn{SignIn: wanted, Flow: oidc.NewFlow(), Until: s.Clock().Add(SignInTime)}
	location, err = s.Callers.Issuers.LoginURL(ctx, wanted.Issuer, wanted.Callback, begun.Flow)
	if err != nil {
		return "", "", "", signInRefusal(err)
	}
	plain, err := json.Marshal(begun)
	if err != nil {
		return "", "", "", fmt.Errorf("encode a sign-in: %w", err)
	}
	key, err := s.key()
	if err != nil {
		return "", "", "", err
	}
	kept, err = seal.Seal(key, plain, []byte(signInFormat))
	return location, begun.Flow.State, kept, err
}

const signInFormat = "agentkey.sign_in.v1"

// Configured reports whether there is an identity provider that people can sign in at.
func (s *SignIns) Configured() bool { return len(s.issuers()) > 0 }

func (s *SignIns) issuers() []string {
	if s.Callers.Issuers == nil {
		return nil
	}
	return s.Callers.Issuers.SignInIssuers()
}

func (s *SignIns) key() ([]byte, error) {
	return hkdf.Key(sha256.New, s.MACKey.Reveal(), nil, signInFormat, 32)
}

// Finish begins the session of a browser that came back with what it kept and what the provider
// sent, and returns where it wanted to go. Before the provider is asked, ask may refuse that. A
// process lets a sign-in be finished once. Refusals: those of Callers.Person, and of ask.
func (s *SignIns) Finish(
	ctx context.Context, m loop.Meta, kept string, sent url.Values, ask func(context.Context) error,
) (BegunSession, string, error) {
	key, err := s.key()
	if err != nil {
		return BegunSession{}, "", err
	}
	var begun begunSignIn
	plain, err := seal.Open(key, kept, []byte(signInFormat))
	if err == nil {
		err = json.Unmarshal(plain, &begun)
	}
	state := []byte(sent.Get("state"))
	switch {
	case err != nil, !s.Clock().Before(begun.Until), subtle.ConstantTimeCompare(state, []byte(begun.Flow.State)) != 1:
		return BegunSession{}, "", &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
			Detail: "This sign-in was not begun in this browser, or it took longer than ten minutes.",
			Hint:   "Sign in again with {login}.", Next: []domain.Next{{Op: "login"}},
		}
	}
	if err := ask(ctx); err != nil {
		return BegunSession{}, "", err
	}
	if !s.use(begun) {
		return BegunSession{}, "", signInRefusal(&oidc.Refused{Why: "it has been used, and works once"})
	}
	id, err := s.Callers.Issuers.Exchange(ctx, begun.Issuer, begun.Callback, sent, begun.Flow)
	if err != nil {
		return BegunSession{}, "", signInRefusal(err)
	}
	joining := m
	joining.CommandID = loop.DerivedID(m.CommandID, "join")
	caller, err := s.Callers.People.Admit(ctx, joining, id, begun.Organization)
	if err != nil {
		return BegunSession{}, "", err
	}
	session, err := s.Organizations.BeginSession(ctx, m, caller)
	return session, begun.ReturnTo, err
}

// use reports whether a sign-in is finished for the first time: each asks the provider about a
// code, and a browser that keeps its cookie could repeat it with made-up codes. When too many that
// still work are remembered, all are forgotten: one address can't cause so many.
func (s *SignIns) use(begun begunSignIn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.used[begun.Flow.State]; used {
		return false
	}
	if len(s.used) >= mostUsed {
		now := s.Clock()
		maps.DeleteFunc(s.used, func(_ string, until time.Time) bool { return !now.Before(until) })
	}
	if s.used == nil || len(s.used) >= mostUsed {
		s.used = map[string]time.Time{}
	}
	s.used[begun.Flow.State] = begun.Until
	return true
}

// signInRefusal says what somebody may know of why they aren't signed in.
func signInRefusal(err error) error {
	refused, is := errors.AsType[*oidc.Refused](err)
	again := []domain.Next{{Op: "login"}}
	switch {
	case is:
		return &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
			Detail: "This sign-in isn't accepted: " + domain.Verbatim(refused.Why) + ".",
			Hint:   "Sign in again with {login}. If it fails again, tell the operator.", Next: again,
		}
	case errors.Is(err, oidc.ErrTooMany):
		return tooMany(err)
	case errors.Is(err, oidc.ErrUnavailable):
		return errors.Join(&domain.Error{
			Kind: domain.KindUnavailable, Code: "issuer_unavailable",
			Detail: "The identity provider can't be reached, or its answer isn't understood, so nobody can sign in there.",
			Hint:   "Sign in again with {login} after {wait}. Service tokens still work.", Next: again,
			RetryAfter: 5 * time.Second,
		}, err)
	}
	return err
}

// tooMany is the refusal of one more question to an identity provider.
func tooMany(err error) error {
	return errors.Join(&domain.Error{
		Kind: domain.KindUnavailable, Code: "issuer_unavailable",
		Detail:     "Too many sign-ins and new tokens come in at once, so the identity provider isn't asked about this one.",
		Hint:       "Sign in again with {login}, or send the token again, after {wait}.",
		Next:       []domain.Next{{Op: "login"}},
		RetryAfter: 5 * time.Second,
	}, err)
}

// path checks where a browser shall go after a sign-in: a path on our origin, and nothing that a
// browser takes for another one.
func path(to string) (string, error) {
	if to == "" {
		return "/", nil
	}
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		strings.ContainsAny(to, "\\\t\r\n") {
		return "", domain.Invalid("return_to", "it must be a path on this origin, such as /requests")
	}
	return to, nil
}
