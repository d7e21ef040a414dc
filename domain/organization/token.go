package organization

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"agentkey/domain"
)

// ConfiguredToken is the number of the one token that configuration may replace at every start.
const ConfiguredToken = 0

const (
	// MaxTokens is how many service tokens of an organization may work at a time.
	MaxTokens = 200
	// LongestToken is for how long a token works at most, unless an owner wants it.
	LongestToken = 366 * 24 * time.Hour
)

// The events of service tokens.
type (
	// TokenCreated lets a service token act. One of the same number that came before stops working.
	TokenCreated struct {
		Number     int         `json:"number"`
		TokenID    string      `json:"token_id"`
		Sealed     string      `json:"sealed"` // name and note, with a key of the token's own that can be removed
		Role       domain.Role `json:"role"`
		Hash       string      `json:"hash"` // SHA-256 of the whole token, hex
		ExpiresAt  *time.Time  `json:"expires_at,omitempty"`
		Configured bool        `json:"configured,omitempty"` // its text is in the configuration
	}
	// TokenRevoked ends a service token.
	TokenRevoked struct {
		Number  int    `json:"number"`
		TokenID string `json:"token_id"`
	}
)

func (TokenCreated) organizationEvent() {}
func (TokenRevoked) organizationEvent() {}

// Giver is who gives a command: a member or the holder of a service token, with the role that
// admitted them, or the operator at the command line, who may do everything. The zero Giver may do
// nothing.
type Giver struct {
	TokenID  string
	MemberID string
	Role     domain.Role
	Operator bool
}

// The commands of service tokens. Nobody makes or ends a token that may do more than they may, or
// with a token that works no more. At is now.
type (
	// CreateToken adds a service token under the number that its text carries: the state's NextToken,
	// or ConfiguredToken. A token that worked once is not revived. Alone ends every other one with it,
	// in the same append. One that works and turns out to be configured is marked as that.
	CreateToken struct {
		Number     int
		TokenID    string
		Sealed     string
		Role       domain.Role
		Hash       string
		ExpiresAt  *time.Time // nil: never, which only an owner may choose
		Configured bool
		Alone      bool
		By         Giver
		At         time.Time
	}
	// RevokeToken ends a service token. The last one of an owner stays, unless the operator ends it.
	RevokeToken struct {
		TokenID string
		By      Giver
		At      time.Time
	}
)

func (CreateToken) organizationCommand() {}
func (RevokeToken) organizationCommand() {}

func (c CreateToken) event() TokenCreated {
	return TokenCreated{
		Number: c.Number, TokenID: c.TokenID, Sealed: c.Sealed, Role: c.Role, Hash: c.Hash, ExpiresAt: c.ExpiresAt,
		Configured: c.Configured,
	}
}

// Token is a service token, as it is or was.
type Token struct {
	ID         string       `json:"id"`
	Number     int          `json:"number"`
	Sealed     string       `json:"sealed"` // name and note
	Role       domain.Role  `json:"role"`
	Hash       string       `json:"hash"`
	Configured bool         `json:"configured,omitempty"`
	CreatedAt  time.Time    `json:"created_at"`
	CreatedBy  domain.Actor `json:"created_by"`
	ExpiresAt  time.Time    `json:"expires_at,omitzero"` // zero: never
	RevokedAt  time.Time    `json:"revoked_at,omitzero"` // or replaced; zero: not
}

// Expired reports whether the token's time is over.
func (t Token) Expired(at time.Time) bool { return !t.ExpiresAt.IsZero() && !at.Before(t.ExpiresAt) }

// Works reports whether the token admits its holder.
func (t Token) Works(at time.Time) bool { return t.RevokedAt.IsZero() && !t.Expired(at) }

// Token returns the token that holds a number now. It may have expired.
func (s State) Token(number int) (Token, bool) {
	for _, t := range s.Tokens {
		if t.Number == number && t.RevokedAt.IsZero() {
			return t, true
		}
	}
	return Token{}, false
}

// AllTokens returns the tokens in the order in which they were created, those that ended too.
func (s State) AllTokens() []Token {
	return slices.SortedFunc(maps.Values(s.Tokens), func(a, b Token) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// withToken returns the state with a token put in; older states keep what they hold.
func (s State) withToken(t Token) State {
	s.Tokens = maps.Clone(s.Tokens)
	if s.Tokens == nil {
		s.Tokens = map[string]Token{}
	}
	s.Tokens[t.ID] = t
	return s
}

// withoutToken returns the state after the token of a number has ended.
func (s State) withoutToken(number int, at time.Time) State {
	t, found := s.Token(number)
	if !found {
		return s
	}
	t.RevokedAt = at
	return s.withToken(t)
}

func evolveToken(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case TokenCreated:
		t := Token{
			ID: e.TokenID, Number: e.Number, Sealed: e.Sealed, Role: e.Role, Hash: e.Hash, Configured: e.Configured,
			CreatedAt: f.At, CreatedBy: domain.Actor{Type: f.By.Type, ID: f.By.ID},
		}
		if e.ExpiresAt != nil {
			t.ExpiresAt = *e.ExpiresAt
		}
		if was, again := s.Tokens[e.TokenID]; again {
			t.CreatedAt, t.CreatedBy = was.CreatedAt, was.CreatedBy
		}
		s = s.withoutToken(e.Number, f.At).withToken(t)
		s.NextToken = max(s.NextToken, e.Number+1)
	case TokenRevoked:
		return s.withoutToken(e.Number, f.At)
	default: // happens to another part of the state
	}
	return s
}

// decideToken answers the commands of service tokens of an organization that exists.
func decideToken(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case CreateToken:
		return createToken(s, c)
	case RevokeToken:
		return revokeToken(s, c)
	default:
		return nil, fmt.Errorf("organization: no decision for %T", c)
	}
}

func createToken(s State, c CreateToken) ([]Event, error) {
	if err := c.By.admitted(s, c.At); err != nil {
		return nil, err
	}
	var others []Event // that end with Alone
	for _, t := range s.AllTokens() {
		works := t.Works(c.At)
		switch {
		case t.Hash == c.Hash && c.Configured && works && !t.Configured:
			return []Event{t.configured()}, nil
		case t.Hash == c.Hash:
			return nil, nil // it is there, or ended for good
		case works:
			others = append(others, TokenRevoked{Number: t.Number, TokenID: t.ID})
		}
	}
	isOwner := c.By.covers(domain.RoleOwner)
	switch {
	case !c.Role.Valid():
		return nil, domain.Invalid("role", domain.RolesText)
	case c.ExpiresAt != nil && !c.ExpiresAt.After(c.At):
		return nil, domain.Invalid("expires_at", "it must be in the future")
	case !c.By.covers(c.Role):
		return nil, roleInsufficient("A token with the role " + string(c.Role) + " may do more than you may.")
	case c.ExpiresAt == nil && !isOwner:
		return nil, roleInsufficient("Only an owner may create a token that never expires.")
	case c.ExpiresAt != nil && c.ExpiresAt.Sub(c.At) > LongestToken && !isOwner:
		return nil, roleInsufficient(fmt.Sprintf(
			"Only an owner may create a token that works for more than %d days.", LongestToken/(24*time.Hour),
		))
	case c.Alone && !isOwner:
		return nil, roleInsufficient("Only an owner may end every other token.")
	case len(others) >= MaxTokens && !c.Alone && !c.By.Operator:
		return nil, domain.Invalid("body", fmt.Sprintf(
			"an organization has at most %d service tokens that work; revoke one with {revokeServiceToken}", MaxTokens,
		), domain.Next{Op: "revokeServiceToken"})
	case c.Alone:
		return append(others, c.event()), nil // last: it may take the number of one that ends
	}
	return []Event{c.event()}, nil
}

// configured says of a token that works that its text is in the configuration.
func (t Token) configured() TokenCreated {
	e := TokenCreated{
		Number: t.Number, TokenID: t.ID, Sealed: t.Sealed, Role: t.Role, Hash: t.Hash, Configured: true,
	}
	if !t.ExpiresAt.IsZero() {
		e.ExpiresAt = &t.ExpiresAt
	}
	return e
}

func revokeToken(s State, c RevokeToken) ([]Event, error) {
	if err := c.By.admitted(s, c.At); err != nil {
		return nil, err
	}
	t, found := s.Tokens[c.TokenID]
	switch {
	case !found:
		return nil, domain.NotFound("service token")
	case !t.RevokedAt.IsZero():
		return nil, nil
	case !c.By.covers(t.Role):
		return nil, roleInsufficient("A token with the role " + string(t.Role) + " may do more than you may.")
	case !c.By.Operator && t.Works(c.At) && s.lastOwner(t, c.At):
		return nil, &domain.Error{
			Kind: domain.KindConflict, Code: "last_owner", Detail: "It is the last token of an owner that works.",
			Hint: "Create another one with {createServiceToken} first, or run agentkey token revoke on the server.",
			Next: []domain.Next{{Op: "createServiceToken"}},
		}
	}
	return []Event{TokenRevoked{Number: t.Number, TokenID: t.ID}}, nil
}

// lastOwner reports whether no other token of an owner works.
func (s State) lastOwner(t Token, at time.Time) bool {
	if t.Role != domain.RoleOwner {
		return false
	}
	for _, other := range s.Tokens {
		if other.ID != t.ID && other.Role == domain.RoleOwner && other.Works(at) {
			return false
		}
	}
	return true
}

// admitted refuses whose token works no more. The caller was admitted before the command was
// decided, and the token may have been revoked in between.
func (g Giver) admitted(s State, at time.Time) error {
	t, found := s.Tokens[g.TokenID]
	switch {
	case g.Operator:
		return nil
	case g.MemberID != "":
		m := s.Members[g.MemberID]
		switch {
		case !m.Active():
			return NotAMember()
		case m.Role != g.Role:
			return roleInsufficient("Your role has changed at this moment. Send the same request again.")
		}
		return nil
	case !found || !t.RevokedAt.IsZero() || t.Role != g.Role:
		return UnknownToken()
	case t.Expired(at):
		return ExpiredToken()
	}
	return nil
}

// covers reports whether the giver may do all that a role may.
func (g Giver) covers(other domain.Role) bool {
	return g.Operator || g.Role.Covers(other)
}

// UnknownToken is the refusal of a token that there isn't, or that was revoked or replaced.
func UnknownToken() *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
		Detail: "This service token is unknown, revoked or replaced.",
		Hint:   "Use a token that works, or make one on the server with: agentkey admin recover.",
	}
}

// ExpiredToken is the refusal of a token whose time is over.
func ExpiredToken() *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnauthenticated, Code: "credentials_expired", Detail: "This service token has expired.",
		Hint: "Use a token that works. An admin makes one with {createServiceToken}, an operator on the server " +
			"with: agentkey token create.",
		Next: []domain.Next{{Op: "createServiceToken"}},
	}
}

func roleInsufficient(detail string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "role_insufficient", Detail: detail,
		Hint: "See your role with {getAdmin}, and ask an owner.", Next: []domain.Next{{Op: "getAdmin"}},
	}
}
