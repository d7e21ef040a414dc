package organization

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

const (
	// SessionTime is how long a session of a browser lasts.
	SessionTime = 12 * time.Hour
	// LinkTime is how long a sign-in link can be followed, once.
	LinkTime = 5 * time.Minute
	// MaxSessions is how many sessions one member, or one service token, has at a time. One more ends
	// the oldest.
	MaxSessions = 20
)

// The events of sessions. A session is a member's or a service token's, and ends with the
// membership or the token.
type (
	// SessionOffered is a link that begins a session when it is followed.
	SessionOffered struct {
		SessionID string    `json:"session_id"`
		Number    int       `json:"number"`
		TokenID   string    `json:"token_id"`
		Hash      string    `json:"hash"` // SHA-256 of the link's secret, hex
		ExpiresAt time.Time `json:"expires_at"`
	}
	// SessionBegan lets anyone who holds the cookie act for a member or a service token.
	SessionBegan struct {
		SessionID string    `json:"session_id"`
		Number    int       `json:"number"`
		MemberID  string    `json:"member_id,omitempty"`
		TokenID   string    `json:"token_id,omitempty"`
		Hash      string    `json:"hash"` // SHA-256 of the cookie's value, hex
		ExpiresAt time.Time `json:"expires_at"`
		// PersonHash is the member's place in the directory, where their other organizations are found.
		PersonHash string `json:"person_hash,omitempty"`
	}
	// SessionEnded ends a session before its time, or takes a link back.
	SessionEnded struct {
		SessionID string `json:"session_id"`
	}
	// SessionsEnded ends every session, and every link to one, of a member or a service token, or of
	// everybody whose role isn't above one.
	SessionsEnded struct {
		OwnerID string      `json:"owner_id,omitempty"`
		Role    domain.Role `json:"role"` // of who wanted it; an operator counts as an owner
	}
)

func (SessionOffered) organizationEvent() {}
func (SessionBegan) organizationEvent()   {}
func (SessionEnded) organizationEvent()   {}
func (SessionsEnded) organizationEvent()  {}

// The commands of sessions. At is now.
type (
	// OfferSession makes a link for a service token, under the state's NextSession.
	OfferSession struct {
		SessionID, TokenID, Hash string
		Number                   int
		At                       time.Time
	}
	// BeginSession begins a session under the state's NextSession: for a member, for a service token,
	// or, with a Link, for the token that the link was offered for.
	BeginSession struct {
		SessionID, MemberID, TokenID, Hash string
		PersonHash                         string
		Number                             int
		Link                               Link
		At                                 time.Time
	}
	// EndSession ends a session or an offer. Somebody who may not manage tokens ends only their own.
	EndSession struct {
		SessionID string
		By        Giver
		At        time.Time
	}
	// EndSessions ends every session of a member or a service token, or of everybody whose role the
	// giver covers.
	EndSessions struct {
		Owner string // a member's or a service token's id; "": everybody's
		By    Giver
		At    time.Time
	}
)

// Link is what somebody who follows a link presents.
type Link struct {
	Number  int
	Matches func(hash string) bool // in constant time; nil: there is no link
}

// As returns the command with what is known when it is decided.
func (c BeginSession) As(number int, hash string, at time.Time) BeginSession {
	c.Number, c.Hash, c.At = number, hash, at
	return c
}

func (OfferSession) organizationCommand() {}
func (BeginSession) organizationCommand() {}
func (EndSession) organizationCommand()   {}
func (EndSessions) organizationCommand()  {}

// Session is a session that has not ended, or a link to one.
type Session struct {
	ID        string    `json:"id"`
	Number    int       `json:"number"`
	MemberID  string    `json:"member_id,omitempty"`
	TokenID   string    `json:"token_id,omitempty"`
	Hash      string    `json:"hash"`
	Person    string    `json:"person,omitempty"`
	Offered   bool      `json:"offered,omitempty"` // nobody has followed the link
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Works reports whether the session admits its holder: its own time, and whose it is.
func (s State) Works(n Session, at time.Time) bool {
	switch {
	case n.ID == "" || n.Offered || !at.Before(n.ExpiresAt):
		return false
	case n.MemberID != "":
		return s.Members[n.MemberID].Active()
	}
	return s.Tokens[n.TokenID].Works(at) && s.Tokens[n.TokenID].ID != ""
}

// Session returns the session or the link of a number, if it has not ended.
func (s State) Session(number int) (Session, bool) {
	for _, n := range s.Sessions {
		if n.Number == number {
			return n, true
		}
	}
	return Session{}, false
}

// AllSessions returns the sessions that work, in the order in which they began.
func (s State) AllSessions(at time.Time) []Session {
	working := slices.DeleteFunc(slices.Collect(maps.Values(s.Sessions)), func(n Session) bool { return !s.Works(n, at) })
	slices.SortFunc(working, func(a, b Session) int { return a.Number - b.Number })
	return working
}

func evolveSession(s State, f domain.Fact[Event]) State {
	var n Session
	switch e := f.Event.(type) {
	case SessionOffered:
		n = Session{
			ID: e.SessionID, Number: e.Number, TokenID: e.TokenID, Hash: e.Hash, Offered: true, ExpiresAt: e.ExpiresAt,
		}
	case SessionBegan:
		n = Session{
			ID: e.SessionID, Number: e.Number, MemberID: e.MemberID, TokenID: e.TokenID, Hash: e.Hash, Person: e.PersonHash,
			ExpiresAt: e.ExpiresAt,
		}
	case SessionEnded:
		s.Sessions = without(s.Sessions, func(id string, _ Session) bool { return id == e.SessionID })
		return s
	case SessionsEnded:
		before := s
		s.Sessions = without(s.Sessions, func(_ string, n Session) bool { return e.ends(before, n) })
		return s
	default: // happens to another part of the state
		return s
	}
	n.CreatedAt = f.At
	gone := func(_ string, old Session) bool { return !f.At.Before(old.ExpiresAt) }
	s.Sessions = with(without(s.Sessions, gone), n.ID, n)
	s.NextSession = max(s.NextSession, n.Number+1)
	return s
}

// decideSession answers the commands of sessions of an organization that exists.
func decideSession(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case OfferSession:
		if s.Sessions[c.SessionID].ID != "" {
			return nil, nil
		}
		if t := s.Tokens[c.TokenID]; t.ID == "" || !t.Works(c.At) {
			return nil, UnknownToken()
		}
		return []Event{SessionOffered{
			SessionID: c.SessionID, Number: c.Number, TokenID: c.TokenID, Hash: c.Hash, ExpiresAt: c.At.Add(LinkTime),
		}}, nil
	case BeginSession:
		return beginSession(s, c)
	case EndSession:
		n, found := s.Sessions[c.SessionID]
		if err := c.By.admitted(s, c.At); err != nil {
			return nil, err
		}
		if !found || !c.By.owns(n) && !c.By.covers(domain.RoleAdmin) {
			return nil, domain.NotFound("session")
		}
		if err := s.mayEnd(c.By, n); err != nil {
			return nil, err
		}
		return []Event{SessionEnded{SessionID: n.ID}}, nil
	case EndSessions:
		return endSessions(s, c)
	default:
		return nil, fmt.Errorf("organization: no decision for %T", c)
	}
}

func beginSession(s State, c BeginSession) ([]Event, error) {
	if s.Sessions[c.SessionID].ID != "" {
		return nil, nil
	}
	var events []Event
	e := SessionBegan{
		SessionID: c.SessionID, Number: c.Number, MemberID: c.MemberID, TokenID: c.TokenID, Hash: c.Hash,
		ExpiresAt: c.At.Add(SessionTime), PersonHash: c.PersonHash,
	}
	if c.Link.Matches != nil {
		offer, found := s.Session(c.Link.Number)
		if !found || !offer.Offered || !c.At.Before(offer.ExpiresAt) || !c.Link.Matches(offer.Hash) {
			return nil, LinkEnded()
		}
		e.TokenID = offer.TokenID
		events = append(events, SessionEnded{SessionID: offer.ID})
	}
	if e.MemberID != "" && !s.Members[e.MemberID].Active() {
		return nil, NotAMember()
	}
	t := s.Tokens[e.TokenID]
	if e.MemberID == "" && (t.ID == "" || !t.Works(c.At)) {
		return nil, UnknownToken()
	}
	if !t.ExpiresAt.IsZero() && t.ExpiresAt.Before(e.ExpiresAt) {
		e.ExpiresAt = t.ExpiresAt
	}
	own := slices.DeleteFunc(s.AllSessions(c.At), func(n Session) bool {
		return n.MemberID != e.MemberID || n.TokenID != e.TokenID
	})
	for len(own) >= MaxSessions {
		events, own = append(events, SessionEnded{SessionID: own[0].ID}), own[1:]
	}
	return append(events, e), nil
}

func endSessions(s State, c EndSessions) ([]Event, error) {
	if err := c.By.admitted(s, c.At); err != nil {
		return nil, err
	}
	e := SessionsEnded{OwnerID: c.Owner, Role: c.By.Role}
	if c.By.Operator {
		e.Role = domain.RoleOwner
	}
	ends := false
	for _, n := range s.Sessions {
		if c.Owner != "" && (c.Owner == n.MemberID || c.Owner == n.TokenID) {
			if err := s.mayEnd(c.By, n); err != nil {
				return nil, err
			}
		}
		ends = ends || e.ends(s, n)
	}
	if !ends {
		return nil, nil
	}
	return []Event{e}, nil
}

// ends reports whether a session is one of those that end.
func (e SessionsEnded) ends(s State, n Session) bool {
	role := s.roleIn(n)
	return (e.OwnerID == "" || e.OwnerID == n.MemberID || e.OwnerID == n.TokenID) && (role == "" || e.Role.Covers(role))
}

// roleIn is the role of whose session it is.
func (s State) roleIn(n Session) domain.Role {
	if n.MemberID != "" {
		return s.Members[n.MemberID].Role
	}
	return s.Tokens[n.TokenID].Role
}

// owns reports whether a session is the giver's.
func (g Giver) owns(n Session) bool {
	return n.MemberID != "" && n.MemberID == g.MemberID || n.TokenID != "" && n.TokenID == g.TokenID
}

// mayEnd refuses to end a session of somebody who may do more.
func (s State) mayEnd(by Giver, n Session) error {
	role := s.roleIn(n)
	if by.owns(n) || role == "" || by.covers(role) {
		return nil
	}
	return roleInsufficient("The session is that of the role " + string(role) + ", which may do more than you may.")
}

// LinkEnded refuses a sign-in link that can't be followed any more.
func LinkEnded() *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
		Detail: "This sign-in link has been used, or its five minutes are over.",
		Hint:   "Print another one on the server with: agentkey admin login.",
	}
}

// SessionOver refuses a session that has ended.
func SessionOver() *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnauthenticated, Code: "credentials_expired", Detail: "This session has ended.",
		Hint: "Sign in again with {login} or {beginSession}.",
		Next: []domain.Next{{Op: "login"}, {Op: "beginSession"}},
	}
}
