package agent

import (
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

// Status of an agent. The zero value is an agent that was never registered.
type Status string

// The states of an agent.
const (
	StatusActive    Status = "active"
	StatusSuspended Status = "suspended"
	StatusRetired   Status = "retired"
)

// GrantStatus is where one grant stands. The zero value is none.
type GrantStatus string

// The states of a grant.
const (
	None      GrantStatus = ""
	Pending   GrantStatus = "pending"
	Approved  GrantStatus = "approved"
	Denied    GrantStatus = "denied"
	Withdrawn GrantStatus = "withdrawn"
	Revoked   GrantStatus = "revoked"
	Expired   GrantStatus = "expired"
)

// Origin is how a grant came to be.
type Origin string

// The origins of a grant.
const (
	FromRequest    Origin = "request"
	FromAssignment Origin = "assignment"
	FromSuggestion Origin = "suggestion"
)

// Grant is the newest state of an agent's access to one tool.
type Grant struct {
	Status              GrantStatus         `json:"status"`
	Origin              Origin              `json:"origin,omitempty"`
	RequestID           string              `json:"request_id,omitempty"`
	SuggestionID        string              `json:"suggestion_id,omitempty"`
	Reason              string              `json:"reason,omitempty"`
	RequestedAt         time.Time           `json:"requested_at,omitzero"`
	RequestedSeconds    int64               `json:"requested_seconds,omitempty"` // 0: it didn't say
	Approvals           []Approval          `json:"approvals,omitempty"`         // before the last one
	RequiredApprovals   int                 `json:"required_approvals,omitempty"`
	DecidedAt           time.Time           `json:"decided_at,omitzero"`
	DecidedBy           *domain.Actor       `json:"decided_by,omitempty"`
	Rule                *domain.RuleVersion `json:"rule,omitempty"` // that decided the request; nil: none
	ApprovedAt          time.Time           `json:"approved_at,omitzero"`
	ApprovedBy          *domain.Actor       `json:"approved_by,omitempty"` // kept when the access ends
	EndedAt             time.Time           `json:"ended_at,omitzero"`
	EndedBy             *domain.Actor       `json:"ended_by,omitempty"` // not where its time has passed
	DenialReason        string              `json:"denial_reason,omitempty"`
	ExpiresAt           *time.Time          `json:"expires_at,omitempty"`
	SecretID            string              `json:"secret_id,omitempty"`
	CredentialVersion   int                 `json:"credential_version,omitempty"`
	CredentialFields    domain.Parts        `json:"credential_fields,omitempty"`
	CredentialExpiresAt *time.Time          `json:"credential_expires_at,omitempty"`
	ToolFreezes         int                 `json:"tool_freezes,omitempty"`
	FetchCount          int64               `json:"fetch_count,omitempty"`
	LastFetchedAt       time.Time           `json:"last_fetched_at,omitzero"`
	Past                Past                `json:"past,omitzero"`
}

// At is the grant's status at a moment: an approved grant counts as expired from the instant of
// ExpiresAt, whether or not the event exists yet.
func (g Grant) At(now time.Time) GrantStatus {
	if g.Status == Approved && g.ExpiresAt != nil && !now.Before(*g.ExpiresAt) {
		return Expired
	}
	return g.Status
}

// Of is the grant's status at a moment, as the catalog has its tool: what a freeze of the tool has
// ended counts as revoked, whether or not the event exists yet.
func (g Grant) Of(tool Tool, now time.Time) GrantStatus {
	if g.ended(tool) {
		return Revoked
	}
	return g.At(now)
}

// ended reports whether a freeze of the tool has ended the grant and the event is still to come.
func (g Grant) ended(tool Tool) bool {
	return g.Open() && g.ToolFreezes < tool.Freezes || g.Status == Approved && tool.Frozen
}

// Open reports whether the grant gives access now or may give it later without another request.
func (g Grant) Open() bool { return g.Status == Pending || g.Status == Approved }

// LiveKey is a key with its times.
type LiveKey struct {
	Key
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	LastUsedAt time.Time  `json:"last_used_at,omitzero"` // to fetch a credential
	MadeBy     string     `json:"made_by,omitempty"`     // the id of who had it made, and was shown it
}

// Live reports whether the key works at a moment.
func (k LiveKey) Live(now time.Time) bool { return k.ExpiresAt == nil || now.Before(*k.ExpiresAt) }

// State is what decisions about an agent, and the answers to them, read. The zero State is the one
// before the first event. A State is a value: Evolve never changes what an older one holds.
type State struct {
	OrganizationID string           `json:"organization_id,omitempty"`
	Name           string           `json:"name,omitempty"`
	Description    string           `json:"description,omitempty"`
	OwnerID        string           `json:"owner_id,omitempty"`
	Labels         domain.Labels    `json:"labels,omitempty"`
	Status         Status           `json:"status,omitempty"`
	Keys           []LiveKey        `json:"keys,omitempty"` // newest last, at most two that may be live
	NextKey        int              `json:"next_key,omitempty"`
	Identity       *Bound           `json:"identity,omitempty"` // the newest of its workload; see Bound
	Bindings       int              `json:"bindings,omitempty"` // how many identities it had
	CreatedAt      time.Time        `json:"created_at,omitzero"`
	CreatedBy      domain.Actor     `json:"created_by,omitzero"`
	LastSeenAt     time.Time        `json:"last_seen_at,omitzero"`
	FetchCount     int64            `json:"fetch_count,omitempty"`
	LastFetchedAt  time.Time        `json:"last_fetched_at,omitzero"`
	Revision       int              `json:"revision,omitempty"` // of the resource: one more with each edit
	Suspensions    int              `json:"suspensions,omitempty"`
	SuspendedAt    time.Time        `json:"suspended_at,omitzero"` // the last time
	Grants         map[string]Grant `json:"grants,omitempty"`      // by tool
}

// Exists reports whether the agent was registered and not retired.
func (s State) Exists() bool { return s.Status == StatusActive || s.Status == StatusSuspended }

// FindKey returns the stored key of a number.
func (s State) FindKey(number int) (LiveKey, bool) {
	for _, k := range s.Keys {
		if k.Number == number {
			return k, true
		}
	}
	return LiveKey{}, false
}

// Count returns how many grants have a status at a moment.
func (s State) Count(status GrantStatus, now time.Time) int {
	n := 0
	for _, g := range s.Grants {
		if g.At(now) == status {
			n++
		}
	}
	return n
}

// openTools lists the tools with an open grant in a stable order.
func (s State) openTools() []string {
	var tools []string
	for id, g := range s.Grants {
		if g.Open() {
			tools = append(tools, id)
		}
	}
	slices.Sort(tools)
	return tools
}

// with returns s with one grant changed, leaving the map that older states share alone.
func (s State) with(tool string, change func(*Grant)) State {
	grants := maps.Clone(s.Grants)
	if grants == nil {
		grants = map[string]Grant{}
	}
	g := grants[tool]
	change(&g)
	grants[tool] = g
	s.Grants = grants
	return s
}

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	if f.By.Type == domain.ActorAgent {
		s.LastSeenAt = f.At
	}
	decided := func(g *Grant, status GrantStatus) {
		by := f.By
		g.Past = g.Past.after(*g, status, f.Event)
		g.Status, g.DecidedAt, g.DecidedBy = status, f.At, &by
		switch status {
		case Approved:
			g.ApprovedAt, g.ApprovedBy = f.At, &by
		case Withdrawn, Revoked:
			g.EndedAt, g.EndedBy = f.At, &by
		case None, Pending, Denied, Expired:
		}
	}
	switch e := f.Event.(type) {
	case Registered:
		s.OrganizationID, s.Name, s.Description, s.OwnerID = e.OrganizationID, e.Name, e.Description, e.OwnerID
		s.Labels = e.Labels
		s.Status, s.CreatedAt, s.CreatedBy, s.Revision = StatusActive, f.At, f.By, 1
		s.Keys, s.NextKey = []LiveKey{{Key: e.Key, CreatedAt: f.At, MadeBy: f.By.ID}}, e.Key.Number+1
	case Updated:
		if e.Name != nil {
			s.Name = *e.Name
		}
		if e.Description != nil {
			s.Description = *e.Description
		}
		if e.OwnerID != nil {
			s.OwnerID = *e.OwnerID
		}
		if e.Labels != nil {
			s.Labels = *e.Labels
		}
		s.Revision++
	case KeyRotated:
		s.Keys = rotated(s.Keys, e, f)
		s.NextKey = e.Key.Number + 1
		s.Revision++
	case Suspended:
		s.Status, s.SuspendedAt = StatusSuspended, f.At
		s.Suspensions++
		s.Revision++
	case Reactivated:
		s.Status = StatusActive
		s.Revision++
	case Retired:
		s.Status, s.Keys = StatusRetired, ended(s.Keys, f.At)
		s.Revision++
		return s.unbound()
	case IdentityBound:
		s.Identity = &Bound{Identity: e.Identity, Number: e.Number, At: f.At, By: f.By.ID}
		s.Bindings = e.Number
		s.Revision++
	case IdentityUnbound:
		s.Revision++
		return s.unbound()
	case GrantRequested:
		return s.with(e.ToolID, func(g *Grant) {
			*g = Grant{
				Status: Pending, Origin: FromRequest, RequestID: e.RequestID, Reason: e.Reason, RequestedAt: f.At,
				RequestedSeconds: e.RequestedSeconds, ToolFreezes: e.ToolFreezes, Past: g.Past,
			}
			g.answers(e.SuggestionID)
		})
	case GrantWithdrawn:
		return s.with(e.ToolID, func(g *Grant) { decided(g, Withdrawn) })
	case GrantApprovalGiven:
		return s.with(e.ToolID, func(g *Grant) {
			g.Approvals = append(
				slices.Clip(g.Approvals), Approval{By: f.By, At: f.At, DecidedOn: e.DecidedOn}, // older states keep theirs
			)
		})
	case GrantApproved:
		return s.with(e.ToolID, func(g *Grant) {
			decided(g, Approved)
			g.ExpiresAt, g.ToolFreezes, g.RequiredApprovals = e.ExpiresAt, e.ToolFreezes, e.RequiredApprovals
			g.Rule, g.Approvals = e.Rule, e.Approvals
			g.own(e.SecretID, e.CredentialFields)
		})
	case GrantDenied:
		return s.with(e.ToolID, func(g *Grant) {
			decided(g, Denied)
			g.DenialReason, g.Rule = e.Reason, e.Rule
		})
	case GrantAssigned:
		return s.with(e.ToolID, func(g *Grant) {
			*g = Grant{
				Origin: FromAssignment, ExpiresAt: e.ExpiresAt, Reason: e.Reason, ToolFreezes: e.ToolFreezes,
				Past: g.Past,
			}
			g.answers(e.SuggestionID)
			decided(g, Approved)
			g.own(e.SecretID, e.CredentialFields)
		})
	case GrantRevoked:
		return s.with(e.ToolID, func(g *Grant) { decided(g, Revoked) })
	case GrantExpired:
		return s.with(e.ToolID, func(g *Grant) { g.Status = Expired })
	case GrantCredentialReplaced:
		return s.with(e.ToolID, func(g *Grant) {
			g.SecretID, g.CredentialVersion, g.CredentialExpiresAt = e.SecretID, e.CredentialVersion, e.ExpiresAt
			g.CredentialFields = e.CredentialFields
		})
	case CredentialVended:
		s.Keys = used(s.Keys, e.KeyNumber, f.At)
		s.FetchCount, s.LastFetchedAt = s.FetchCount+1, f.At
		return s.with(e.ToolID, func(g *Grant) {
			g.FetchCount++
			g.Past.Fetches++
			g.LastFetchedAt = f.At
		})
	}
	return s
}

func (g *Grant) answers(suggestionID string) {
	if suggestionID != "" {
		g.Origin, g.SuggestionID = FromSuggestion, suggestionID
	}
}

func (g *Grant) own(secretID string, fields domain.Parts) {
	if secretID != "" {
		g.SecretID, g.CredentialVersion, g.CredentialFields = secretID, 1, fields
	}
}

// rotated keeps only the keys that may still be live: the new one and those whose end lies ahead.
func rotated(keys []LiveKey, e KeyRotated, f domain.Fact[Event]) []LiveKey {
	var kept []LiveKey
	for _, k := range keys {
		for _, end := range e.Ended {
			if end.Number == k.Number {
				k.ExpiresAt = &end.At
			}
		}
		kept = append(kept, k)
	}
	// Ended keys stay known while there are at most two, so that callers learn that their key was
	// rotated.
	kept = append(kept, LiveKey{Key: e.Key, CreatedAt: f.At, MadeBy: f.By.ID})
	return kept[max(0, len(kept)-3):]
}

// ended keeps the keys of a retired agent, so that somebody who still uses one is noticed.
func ended(keys []LiveKey, at time.Time) []LiveKey {
	var kept []LiveKey
	for _, k := range keys {
		if k.Live(at) {
			k.ExpiresAt = &at
		}
		kept = append(kept, k)
	}
	return kept
}

// used notes when a key last fetched a credential.
func used(keys []LiveKey, number int, at time.Time) []LiveKey {
	kept := slices.Clone(keys)
	for i := range kept {
		if kept[i].Number == number {
			kept[i].LastUsedAt = at
		}
	}
	return kept
}
