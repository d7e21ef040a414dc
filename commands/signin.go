package commands

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
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
}

// SignIn is a sign-in that somebody wants to begin.
type SignIn struct {
	Issuer       string // "": the first that people can sign in at
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

// Begin returns where the browser goes, and what it keeps until it comes back.
func (s *SignIns) Begin(ctx context.Context, wanted SignIn) (location, kept string, err error) {
	if wanted.ReturnTo, err = path(wanted.ReturnTo); err != nil {
		return "", "", err
	}
	if s.Callers.Issuers == nil || len(s.Callers.Issuers.SignInIssuers()) == 0 {
		return "", "", &domain.Error{
			Kind: domain.KindNotFound, Code: "not_found", Detail: "No identity provider is configured to sign in at.",
			Hint: "Exchange a service token for a session with {beginSession}, or have the operator print a link with: " +
				"agentkey admin login.",
			Next: []domain.Next{{Op: "beginSession"}},
		}
	}
	begun := begunSignIn{SignIn: wanted, Flow: oidc.NewFlow(), Until: s.Clock().Add(SignInTime)}
	location, err = s.Callers.Issuers.LoginURL(ctx, wanted.Issuer, wanted.Callback, begun.Flow)
	if err != nil {
		return "", "", identityRefusal(err)
	}
	plain, err := json.Marshal(begun)
	if err != nil {
		return "", "", fmt.Errorf("encode a sign-in: %w", err)
	}
	key, err := s.key()
	if err != nil {
		return "", "", err
	}
	kept, err = seal.Seal(key, plain, []byte(signInFormat))
	return location, kept, err
}

const signInFormat = "agentkey.sign_in.v1"

func (s *SignIns) key() ([]byte, error) {
	return hkdf.Key(sha256.New, s.MACKey.Reveal(), nil, signInFormat, 32)
}

// Finish begins the session of a browser that came back with what it kept and what the provider
// sent, and returns where it wanted to go. Refusals: those of Callers.Person.
func (s *SignIns) Finish(ctx context.Context, m loop.Meta, kept string, sent url.Values) (BegunSession, string, error) {
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
	case sent.Get("error") != "":
		err := &oidc.Refused{Why: "the provider answered " + cut(sent.Get("error"))}
		return BegunSession{}, "", identityRefusal(err)
	}
	id, err := s.Callers.Issuers.Exchange(ctx, begun.Issuer, begun.Callback, sent.Get("code"), begun.Flow)
	if err != nil {
		return BegunSession{}, "", identityRefusal(err)
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

// cut shortens what a stranger sent, so that it can be repeated.
func cut(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text[:min(len(text), 80)])
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
