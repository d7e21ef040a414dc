package agent

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"agentkey/domain"
)

// Bounds of an identity. What else a token says is never looked at.
const (
	MaxClaims  = 8
	maxValue   = 255 // characters of a claim's value, of an issuer and of an audience
	maxSubject = 255 // what an event keeps of a token's subject and id
)

// Identity is what the tokens of a workload must say for it to be the agent. Claims are compared
// exactly: a star is a star.
type Identity struct {
	Issuer   string            `json:"issuer"`
	Audience string            `json:"audience"`
	Claims   map[string]string `json:"claims"`
	Keys     string            `json:"keys,omitempty"` // a JWK set, where the issuer's can't be fetched
}

// Bound is the newest identity of an agent. Number tells it from those it had before. One that was
// taken away stays known until there is another, so that who still presents it is noticed.
type Bound struct {
	Identity
	Number int       `json:"number"`
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"` // the id of who bound it
	Ended  bool      `json:"ended,omitempty"`
}

// Presented is the identity with which a credential was asked for. Binding is the number of the
// event that bound it; Subject and TokenID are sub and jti of the token, shortened.
type Presented struct {
	Binding  int               `json:"binding"`
	Issuer   string            `json:"issuer"`
	Audience string            `json:"audience"`
	Claims   map[string]string `json:"claims"`
	Subject  string            `json:"subject,omitempty"`
	TokenID  string            `json:"token_id,omitempty"`
}

// The events and commands of an agent's identity.
type (
	// IdentityBound lets anyone who presents the identity call as the agent, in place of the one
	// before.
	IdentityBound struct {
		Number int `json:"number"`
		Identity
	}
	// IdentityUnbound ends that.
	IdentityUnbound struct {
		Number int `json:"number"`
	}
	// BindIdentity gives the agent an identity. That no other agent has it isn't decided here.
	BindIdentity struct {
		Identity   Identity
		IfRevision domain.Revisions
	}
	// UnbindIdentity takes it away. With Number it takes only that one.
	UnbindIdentity struct {
		Number     int
		IfRevision domain.Revisions
	}
)

func (IdentityBound) agentEvent()    {}
func (IdentityUnbound) agentEvent()  {}
func (BindIdentity) agentCommand()   {}
func (UnbindIdentity) agentCommand() {}

func (i Identity) equal(o Identity) bool {
	return i.Issuer == o.Issuer && i.Audience == o.Audience && i.Keys == o.Keys && maps.Equal(i.Claims, o.Claims)
}

// Same reports whether the same tokens are meant, whatever keys they are verified with.
func (i Identity) Same(o Identity) bool {
	o.Keys = i.Keys
	return i.equal(o)
}

// Names are the names of the claims in their order.
func (i Identity) Names() []string { return slices.Sorted(maps.Keys(i.Claims)) }

// Present is the identity as an event names it when a token of a subject and an id is shown.
func (b Bound) Present(subject, tokenID string) *Presented {
	return &Presented{
		Binding: b.Number, Issuer: b.Issuer, Audience: b.Audience, Claims: b.Claims, Subject: shortened(subject),
		TokenID: shortened(tokenID),
	}
}

func shortened(text string) string {
	if runes := []rune(text); len(runes) > maxSubject {
		return string(runes[:maxSubject])
	}
	return text
}

// Bound is the identity that the agent has now, nil for none.
func (s State) Bound() *Bound {
	if s.Identity == nil || s.Identity.Ended {
		return nil
	}
	return s.Identity
}

// unbound takes the identity away.
func (s State) unbound() State {
	if s.Identity != nil {
		former := *s.Identity
		former.Ended = true
		s.Identity = &former
	}
	return s
}

func bind(s State, c BindIdentity) []Event {
	if is := s.Bound(); is != nil && is.equal(c.Identity) {
		return nil
	}
	return one(IdentityBound{Number: s.Bindings + 1, Identity: c.Identity})
}

func unbind(s State, c UnbindIdentity) []Event {
	is := s.Bound()
	if is == nil || c.Number != 0 && c.Number != is.Number {
		return nil
	}
	return one(IdentityUnbound{Number: is.Number})
}

// AdmitIdentity refuses a caller whose identity is no longer the agent's, or whose agent is not
// active. Like Admit it is decided on the state alone.
func AdmitIdentity(s State, binding int) error {
	if is := s.Bound(); !s.Exists() || is == nil || is.Number != binding {
		return Unbound()
	}
	if s.Status != StatusActive {
		return suspended()
	}
	return nil
}

// Unbound is the refusal of a token that no agent is bound to.
func Unbound() *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
		Detail: "No agent is bound to the identity that this token names.",
		Hint: "An admin compares iss, aud and the claims of the token, letter by letter, with the identity of the agent, " +
			"and binds it with {bindIdentity}.",
		Next: []domain.Next{{Op: "bindIdentity"}},
	}
}

// IdentityTaken is the refusal of an identity that another agent of the organization has.
func IdentityTaken() *domain.Error {
	return &domain.Error{
		Kind: domain.KindConflict, Code: "identity_taken",
		Detail: "Another agent is bound to this identity, and one identity is one agent.",
		Hint:   "Take it from that agent with {unbindIdentity}, or choose another audience or more claims.",
		Next:   []domain.Next{{Op: "unbindIdentity"}},
	}
}

// nameChars may be in the name of a claim, or in a dotted path to one.
const nameChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:@-"

func isClaimName(name string) bool {
	return name != "" && len(name) <= 128 && strings.Trim(name, nameChars) == ""
}

// perToken are claims that differ from token to token, or that have a place of their own.
var perToken = []string{"iss", "aud", "exp", "iat", "nbf", "jti"}

// reusable are claims of names that somebody else may register again, and what to name instead.
var reusable = map[string]string{
	"repository": "repository_id", "repository_owner": "repository_owner_id", "actor": "actor_id",
	"project_path": "project_id", "namespace_path": "namespace_id", "user_login": "user_id",
	"organization_slug": "organization_id", "pipeline_slug": "pipeline_id",
}

// ofNames are beginnings of a sub that says names of a repository or a project, on whatever
// server, and what to name beside it.
var ofNames = map[string]string{"repo:": "repository_id", "project_path:": "project_id"}

// Of Kubernetes; see identifies.
const (
	serviceAccount    = "kubernetes.io.serviceaccount.name"
	serviceAccountUID = "kubernetes.io.serviceaccount.uid"
	namespace         = "kubernetes.io.namespace"
)

// githubActions is the issuer of GitHub's runners, also of enterprises, which have a path behind
// it.
const githubActions = "https://token.actions.githubusercontent.com"

// Check refuses an identity that isn't one: whose claims could be those of somebody else.
func (i Identity) Check() error {
	if why := line(i.Issuer); why != "" {
		return domain.Invalid("issuer", why)
	}
	if why := line(i.Audience); why != "" {
		return domain.Invalid("audience", why)
	}
	if len(i.Claims) == 0 || len(i.Claims) > MaxClaims {
		return domain.Invalid("claims", "it must name 1 to 8 claims")
	}
	for _, name := range i.Names() {
		at := "claims." + name
		if !isClaimName(name) {
			return domain.Invalid(
				"claims", "a claim has a name of at most 128 letters, digits and _ . / : @ -; a dot leads into an object",
			)
		}
		if why := line(i.Claims[name]); why != "" {
			return domain.Invalid(at, why)
		}
		if slices.Contains(perToken, name) {
			return domain.Invalid(at, "this claim is checked by itself, or differs in each token; name one that stays")
		}
		if instead, is := reusable[name]; is {
			return domain.Invalid(
				at, "a name can be given up and registered again by somebody else; use the claim "+instead+" instead",
			)
		}
	}
	return i.identifies()
}

// identifies refuses claims that many workloads of an issuer have. Who knows none better names sub.
func (i Identity) identifies() error {
	has := func(name string) bool { _, there := i.Claims[name]; return there }
	if i.Issuer == githubActions || strings.HasPrefix(i.Issuer, githubActions+"/") {
		if !has("repository_id") {
			return domain.Invalid("claims", "for GitHub Actions name repository_id, because sub is made of names that can "+
				"be registered again; add environment to narrow it")
		}
		return nil
	}
	alone := []string{"repository_id", "project_id", "pipeline_id", serviceAccountUID}
	if slices.ContainsFunc(alone, has) || has(namespace) && has(serviceAccount) {
		return nil
	}
	sub := i.Claims["sub"]
	for prefix, instead := range ofNames {
		if strings.HasPrefix(sub, prefix) {
			return domain.Invalid("claims", "this sub is made of names that can be registered again; name "+instead)
		}
	}
	if sub != "" {
		return nil
	}
	return domain.Invalid("claims", "these claims don't say which workload it is: name sub, repository_id, project_id, "+
		"pipeline_id, "+serviceAccountUID+", or "+namespace+" with "+serviceAccount)
}

// line says why a text isn't one line.
func line(text string) string {
	if text == "" || utf8.RuneCountInString(text) > maxValue || !utf8.ValidString(text) {
		return "it must have 1 to 255 characters"
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "it must have no control characters"
	}
	return ""
}
