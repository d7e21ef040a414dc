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

// MaxTokens is how many service tokens of an organization may work at a time.
const MaxTokens = 200

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

// The commands of service tokens. By is the role of who gives one: nobody makes or ends a token
// that may do more than they may. No role stands for the operator, who may do everything.
type (
	// CreateToken adds a service token under the number that its text carries: the state's NextToken,
	// or ConfiguredToken. At is now. A token that worked once is not revived.
	CreateToken struct {
		Number     int
		TokenID    string
		Sealed     string
		Role       domain.Role
		Hash       string
		ExpiresAt  *time.Time // nil: never, which only an owner may choose
		Configured bool
		By         domain.Role
		At         time.Time
	}
	// RevokeToken ends a service token. The last one of an owner stays, unless the operator ends it.
	RevokeToken struct {
		TokenID string
		By      domain.Role
		At      time.Time
	}
	// RevokeOtherTokens ends every service token but one.
	RevokeOtherTokens struct{ Keep string }
)

func (CreateToken) organizationCommand()       {}
func (RevokeToken) organizationCommand()       {}
func (RevokeOtherTokens) organizationCommand() {}

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
		s = s.withoutToken(e.Number, f.At).withToken(t)
		s.NextToken = max(s.NextToken, e.Number+1)
	case TokenRevoked:
		return s.withoutToken(e.Number, f.At)
	case Created, MonthErased, ChannelAdded, ChannelUpdated, ChannelRemoved:
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
	case RevokeOtherTokens:
		var events []Event
		for _, t := range s.AllTokens() {
			if t.RevokedAt.IsZero() && t.ID != c.Keep {
				events = append(events, TokenRevoked{Number: t.Number, TokenID: t.ID})
			}
		}
		return events, nil
	case Create, EraseMonth, AddChannel, UpdateChannel, RemoveChannel:
	}
	return nil, fmt.Errorf("organization: no decision for %T", c)
}

func createToken(s State, c CreateToken) ([]Event, error) {
	working := 0
	for _, t := range s.Tokens {
		if t.Hash == c.Hash {
			return nil, nil // it is there, or ended for good
		}
		if t.Works(c.At) {
			working++
		}
	}
	switch {
	case !c.Role.Valid():
		return nil, domain.Invalid("role", "it must be owner, admin, approver or auditor")
	case c.ExpiresAt != nil && !c.ExpiresAt.After(c.At):
		return nil, domain.Invalid("expires_at", "it must be in the future")
	case !covers(c.By, c.Role):
		return nil, roleInsufficient("A token with the role " + string(c.Role) + " may do more than you may.")
	case c.ExpiresAt == nil && !covers(c.By, domain.RoleOwner):
		return nil, roleInsufficient("Only an owner may create a token that never expires.")
	case working >= MaxTokens && c.By != "":
		return nil, domain.Invalid("body", fmt.Sprintf(
			"an organization has at most %d service tokens that work; revoke one with {revokeServiceToken}", MaxTokens,
		), domain.Next{Op: "revokeServiceToken"})
	}
	return []Event{c.event()}, nil
}

func revokeToken(s State, c RevokeToken) ([]Event, error) {
	t, found := s.Tokens[c.TokenID]
	switch {
	case !found:
		return nil, domain.NotFound("service token")
	case !t.RevokedAt.IsZero():
		return nil, nil
	case !covers(c.By, t.Role):
		return nil, roleInsufficient("A token with the role " + string(t.Role) + " may do more than you may.")
	case c.By != "" && t.Works(c.At) && s.lastOwner(t, c.At):
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

// covers reports whether a role may do all that another may. The operator has none.
func covers(by, other domain.Role) bool {
	order := []domain.Role{domain.RoleOwner, domain.RoleAdmin, domain.RoleApprover, domain.RoleAuditor}
	return by == "" || slices.Contains(order, by) && slices.Index(order, by) <= slices.Index(order, other)
}

func roleInsufficient(detail string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "role_insufficient", Detail: detail,
		Hint: "See your role with {getAdmin}, and ask an owner.", Next: []domain.Next{{Op: "getAdmin"}},
	}
}
