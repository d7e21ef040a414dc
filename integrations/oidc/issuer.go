package oidc

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"agentkey/domain"
)

// Issuer is how the tokens of one provider are read: configuration of the operator's.
type Issuer struct {
	// URL is the provider's name for itself, compared exactly, a slash at its end included.
	URL string
	// Audiences are those whose tokens are taken; a token needs one of them. Empty: not checked, and
	// then there must be AuthorizedParties.
	Audiences []string
	// AuthorizedParties are the clients whose tokens are taken: azp, or client_id where there is no
	// azp. Empty: not checked.
	AuthorizedParties []string
	ClientID          string        // ours, for signing in and for introspection
	ClientSecret      domain.Secret // empty: a public client
	Scopes            []string      // that signing in asks for besides openid, profile and email

	Claims Claims
	// Roles are the roles that values of the role claim stand for; other values stand for none.
	Roles map[string]domain.Role
	// RolePrefix is cut off values and the keys of Roles before they are compared.
	RolePrefix string
	// Refused are values of claims, by path, with which a token isn't taken.
	Refused map[string]string
	// VouchedBy is a claim without which an e-mail counts as verified only in the domain VouchedFor:
	// for anything else the provider has verified it once and doesn't manage it. Empty: no limit.
	VouchedBy, VouchedFor string

	IDTokens   bool // take ID tokens, because access tokens can't be read or aren't for us
	Introspect bool // ask the provider about opaque tokens, with ClientID and ClientSecret; of one at most
	UserInfo   bool // ask the provider for the e-mail and the name that an access token lacks

	Provision   bool        // a verified organization claim makes members
	DefaultRole domain.Role // of members who are made, when no claim names a role
}

// Claims are the paths at which claims are found: dotted, and several with commas, of which the
// first that is there counts. A claim whose own name has dots is found too. An empty path is none.
type Claims struct{ Subject, Email, EmailVerified, Name, Organization, Role string }

// Always is an EmailVerified that needs no claim: the provider lets nobody enter the e-mail of
// another.
const Always = "always"

// Mistake is one thing that is wrong with the configuration of an issuer.
type Mistake struct {
	Key  string // the setting's name in the configuration file
	Text string
}

// Mistakes returns everything that is wrong with an issuer.
func (i Issuer) Mistakes() (out []Mistake) {
	wrong := func(key, text string) { out = append(out, Mistake{Key: key, Text: text}) }
	if err := CheckURL(i.URL); err != nil {
		wrong("issuer", err.Error())
	}
	switch {
	case i.IDTokens && i.ClientID == "" && len(i.Audiences) == 0:
		wrong("client_id", "it is required with ID tokens, which are for one client")
	case !i.IDTokens && len(i.Audiences) == 0 && len(i.AuthorizedParties) == 0:
		wrong("audience", "set an audience or authorized parties, or every token of this issuer is taken, also one "+
			"that is meant for another service")
	}
	if i.Claims.Subject == "" {
		wrong("claim_subject", "a token must say whose it is")
	}
	if i.Introspect && (i.ClientID == "" || i.ClientSecret.Empty()) {
		wrong("introspect", "it needs a client id and a client secret")
	}
	if !i.ClientSecret.Empty() && i.ClientID == "" {
		wrong("client_secret", "it has no effect without a client id")
	}
	if i.Provision && i.Claims.Organization == "" {
		wrong("provision", "it needs a claim that names the organization, or everyone with an account at the provider "+
			"becomes a member")
	}
	if i.DefaultRole != "" && !i.Provision {
		wrong("default_role", "it has no effect without provision")
	}
	if i.Provision && i.DefaultRole == "" && len(i.Roles) == 0 {
		wrong("provision", "it needs roles, or a default role, for the members it makes")
	}
	if len(i.Roles) > 0 && i.Claims.Role == "" {
		wrong("roles", "they have no effect without a claim that names the role")
	}
	return out
}

// CheckURL refuses a URL that can't be an issuer's. Plain HTTP is for this machine only.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return errors.New("it is required")
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it must be a URL such as https://login.example.com, without a user, a query or a fragment")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("it must begin with https://, because keys that come over plain HTTP can be replaced on the way")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// place is what two spellings of one URL have in common.
func place(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	return strings.ToLower(u.Scheme+"://"+u.Host) + strings.TrimRight(u.Path, "/")
}

// AskedTwice returns the places of issuers that are asked about opaque tokens as an earlier one is.
// Each would learn the tokens of the other: a token doesn't say whose it is.
func AskedTwice(issuers []Issuer) (out []int) {
	for n, i := range issuers {
		if i.Introspect && slices.ContainsFunc(issuers[:n], func(o Issuer) bool { return o.Introspect }) {
			out = append(out, n)
		}
	}
	return out
}

// Twice returns the places of issuers whose URL an earlier one has.
func Twice(issuers []Issuer) (out []int) {
	for n, i := range issuers {
		if slices.ContainsFunc(issuers[:n], func(o Issuer) bool { return place(o.URL) == place(i.URL) }) {
			out = append(out, n)
		}
	}
	return out
}
