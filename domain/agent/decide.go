package agent

import (
	"fmt"
	"time"

	"agentkey/domain"
)

// MaxOpenGrants bounds what one agent may hold open, so that suspending it stays one atomic append.
const MaxOpenGrants = 500

// Decide answers a command on a state: events to append, none when it is already so, or a refusal.
func Decide(s State, c Command) ([]Event, error) {
	if r, ok := c.(Register); ok {
		if s.Status != "" {
			return nil, nil
		}
		return one(Registered(r)), nil
	}
	if v, ok := c.(Vend); ok {
		return vend(s, v)
	}
	if _, ok := c.(Retire); ok && s.Status == StatusRetired {
		return nil, nil
	}
	if !s.Exists() {
		return nil, domain.NotFound("agent")
	}
	if err := basedOn(c).Covers(s.Revision); err != nil {
		return nil, err
	}
	switch c := c.(type) {
	case Register, Vend:
		return nil, nil // answered above
	case Update:
		return update(s, c)
	case RotateKey:
		return rotate(s, c)
	case Suspend:
		if s.Status == StatusSuspended {
			return nil, nil
		}
		return append(one(Suspended{}), revokeAll(s, CauseSuspended)...), nil
	case Reactivate:
		if s.Status == StatusActive {
			return nil, nil
		}
		return one(Reactivated{}), nil
	case Retire:
		return append(one(Retired{}), revokeAll(s, CauseRetired)...), nil
	case BindIdentity:
		return bind(s, c), nil
	case UnbindIdentity:
		return unbind(s, c), nil
	case Request:
		return request(s, c)
	case Withdraw:
		if g := s.Grants[c.ToolID]; g.Status == Pending {
			return one(GrantWithdrawn{ToolID: c.ToolID, RequestID: g.RequestID}), nil
		}
		return nil, nil
	case Approve:
		return approve(s, c)
	case Deny:
		digest, err := undecided(s, c.Tool, c.RequestID, c.Seen)
		if err != nil {
			return nil, err
		}
		if !c.Tool.Exists {
			return nil, domain.NotFound("tool") // its requests went with it
		}
		return one(GrantDenied{ToolID: c.Tool.ID, RequestID: c.RequestID, Reason: c.Reason, DecidedOn: digest}), nil
	case Assign:
		return assign(s, c)
	case FollowRule:
		return followRule(s, c), nil
	case Seed:
		return seed(s, c)
	case Revoke:
		if g := s.Grants[c.ToolID]; g.Open() && (c.Freeze == 0 || g.ToolFreezes < c.Freeze) {
			return one(revoked(g, c.ToolID, c.Cause)), nil
		}
		return nil, nil
	case RevokeApproved:
		return revokeApproved(s, c), nil
	case Expire:
		if g := s.Grants[c.Tool.ID]; g.Status == Approved && g.Of(c.Tool, c.At) == Expired {
			return one(GrantExpired{ToolID: c.Tool.ID, SecretID: g.SecretID}), nil
		}
		return nil, nil
	case ReplaceCredential:
		return replaceCredential(s, c)
	}
	return nil, fmt.Errorf("agent: no decision for %T", c)
}

// basedOn are the revisions that an edit names.
func basedOn(c Command) domain.Revisions {
	switch c := c.(type) {
	case Update:
		return c.IfRevision
	case RotateKey:
		return c.IfRevision
	case Suspend:
		return c.IfRevision
	case Reactivate:
		return c.IfRevision
	case Retire:
		return c.IfRevision
	case BindIdentity:
		return c.IfRevision
	case UnbindIdentity:
		return c.IfRevision
	case Register, Request, Withdraw, Approve, Deny, FollowRule, Assign, Seed, Revoke, RevokeApproved, Expire,
		ReplaceCredential, Vend:
	}
	return nil
}

func one(e Event) []Event { return []Event{e} }

func revoked(g Grant, toolID string, cause Cause) GrantRevoked {
	return GrantRevoked{ToolID: toolID, RequestID: g.RequestID, SecretID: g.SecretID, Cause: cause}
}

func revokeAll(s State, cause Cause) []Event {
	var events []Event
	for _, tool := range s.openTools() {
		events = append(events, revoked(s.Grants[tool], tool, cause))
	}
	return events
}

func update(s State, c Update) ([]Event, error) {
	changed := Updated{
		Name:        differs(c.Name, s.Name),
		Description: differs(c.Description, s.Description),
		OwnerID:     differs(c.OwnerID, s.OwnerID),
		Labels:      differs(c.Labels, s.Labels),
	}
	if changed == (Updated{}) {
		return nil, nil
	}
	return one(changed), nil
}

func differs[T comparable](want *T, is T) *T {
	if want == nil || *want == is {
		return nil
	}
	return want
}

// rotate keeps the promise of an earlier rotation: the key that it replaced works until the end of
// its overlap, unless the caller ends it on purpose.
func rotate(s State, c RotateKey) ([]Event, error) {
	for _, k := range s.Keys {
		if k.ExpiresAt != nil && k.Live(c.At) && !c.Force {
			return nil, overlapRunning(*k.ExpiresAt)
		}
	}
	return one(KeyRotated{Key: c.Key, Ended: ends(s, c.At, c.Overlap)}), nil
}

func overlapRunning(until time.Time) *domain.Error {
	return &domain.Error{
		Kind: domain.KindConflict, Code: "overlap_running",
		Detail: "The key before the newest one was promised to work until " + until.UTC().Format(time.RFC3339Nano) +
			"; another rotation would end it now.",
		Hint: `Wait until then, or end that key now: call {rotateKey} again with "force": true in the body.`,
		Next: []domain.Next{{Op: "rotateKey"}},
	}
}

// ends lists when each key that still lives will stop: the newest after the overlap, the others
// now, so that never more than two are live.
func ends(s State, at time.Time, overlap time.Duration) []KeyEnd {
	ended := []KeyEnd{}
	for i, k := range s.Keys {
		if !k.Live(at) {
			continue
		}
		end := at
		if i == len(s.Keys)-1 {
			end = at.Add(overlap)
		}
		if k.ExpiresAt != nil && k.ExpiresAt.Before(end) {
			end = *k.ExpiresAt
		}
		ended = append(ended, KeyEnd{Number: k.Number, At: end})
	}
	return ended
}

func request(s State, c Request) ([]Event, error) {
	if s.Status != StatusActive {
		return nil, suspended()
	}
	if !c.Tool.Exists {
		return nil, domain.NotFound("tool")
	}
	g := s.Grants[c.Tool.ID]
	switch g.Of(c.Tool, c.At) {
	case Pending:
		if g.RequestID == c.RequestID {
			return nil, nil
		}
		return nil, &domain.Error{
			Kind: domain.KindConflict, Code: "already_pending",
			Detail: "You have already asked for this tool; the request waits for a human.",
			Hint:   "Wait, and look at your_access with {getMyTool}, or take the request back with {withdrawRequest}.",
			Next: []domain.Next{
				{Op: "getMyTool", IDs: []string{c.Tool.ID}}, {Op: "withdrawRequest", IDs: []string{c.Tool.ID}},
			},
			Extra: map[string]any{
				"request_id":     g.RequestID,
				"access_request": map[string]string{"id": g.RequestID, "status": string(Pending)},
			},
		}
	case Approved:
		return nil, &domain.Error{
			Kind: domain.KindConflict, Code: "already_approved", Detail: "You already have access to this tool.",
			Hint: "Fetch the credential with {fetchCredential}.",
			Next: []domain.Next{{Op: "fetchCredential", IDs: []string{c.Tool.ID}}},
		}
	case None, Denied, Withdrawn, Revoked, Expired:
	}
	if err := room(s, g); err != nil {
		return nil, err
	}
	return append(endFirst(g, c.Tool, c.At), GrantRequested{
		ToolID: c.Tool.ID, RequestID: c.RequestID, Reason: c.Reason, ToolFreezes: c.Tool.Freezes,
		RequestedSeconds: c.Seconds,
	}), nil
}

// room refuses one more open grant than an agent may hold. g is the one about to be replaced; if it
// is still open it makes room for itself.
func room(s State, g Grant) error {
	open := len(s.openTools())
	if g.Open() {
		open--
	}
	if open >= MaxOpenGrants {
		return domain.TooManyWaiting(
			fmt.Sprintf("The agent has access to %d tools already, or requests it; more is not possible.", open),
		)
	}
	return nil
}

// endFirst writes the end of a grant that a freeze has ended, or whose time has passed, before what
// follows it.
func endFirst(g Grant, tool Tool, at time.Time) []Event {
	switch {
	case g.ended(tool):
		return one(revoked(g, tool.ID, CauseToolFrozen))
	case g.Status == Approved && g.At(at) == Expired:
		return one(GrantExpired{ToolID: tool.ID, SecretID: g.SecretID})
	}
	return nil
}

// Digest names what a human is shown of the newest request for a tool.
func (s State) Digest(tool Tool) string {
	g := s.Grants[tool.ID]
	mode := "shared"
	if tool.PerAgent {
		mode = "per_agent"
	}
	return domain.Digest(
		"request", g.RequestID, s.Name, tool.ID, tool.Name, mode, g.Reason, string(g.Status),
		g.RequestedAt.UTC().Format(time.RFC3339Nano), g.DenialReason, fmt.Sprint(g.RequestedSeconds),
	)
}

// undecided refuses a decision about a request that doesn't wait, or that is not what was seen. It
// returns the digest of what the decision is about.
func undecided(s State, tool Tool, requestID string, seen domain.Seen) (string, error) {
	if g := s.Grants[tool.ID]; g.RequestID != requestID || g.Status != Pending || g.ended(tool) {
		return "", &domain.Error{
			Kind: domain.KindConflict, Code: "already_decided", Detail: "This request is no longer pending.",
			Hint: "See how it ended with {getRequest}.",
			Next: []domain.Next{{Op: "getRequest", IDs: []string{requestID}}},
		}
	}
	digest := s.Digest(tool)
	return digest, seen.Covers(digest)
}

func approve(s State, c Approve) ([]Event, error) {
	digest, err := undecided(s, c.Tool, c.RequestID, c.Seen)
	if err != nil {
		return nil, err
	}
	given, last, err := another(s, c)
	if err != nil {
		return nil, err
	}
	if err := allowed(s, c.Tool, c.By); err != nil {
		return nil, err
	}
	if !last {
		if err := givable(s, c.Tool); err != nil {
			return nil, err
		}
		return one(GrantApprovalGiven{ToolID: c.Tool.ID, RequestID: c.RequestID, DecidedOn: digest}), nil
	}
	expires, err := terms(s, c.Tool, c.SecretID, c.At, c.ExpiresAt)
	if err != nil {
		return nil, err
	}
	approved := GrantApproved{
		ToolID: c.Tool.ID, RequestID: c.RequestID, SecretID: c.SecretID, CredentialFields: c.CredentialFields,
		ExpiresAt: expires, DecidedOn: digest, ToolFreezes: c.Tool.Freezes,
	}
	if needed := c.Tool.Rules.Approvals(); needed > 1 {
		approved.RequiredApprovals, approved.Approvals = needed, given
	}
	return one(approved), nil
}

func assign(s State, c Assign) ([]Event, error) {
	g := s.Grants[c.Tool.ID]
	if g.Of(c.Tool, c.At) == Approved {
		return nil, &domain.Error{
			Kind: domain.KindConflict, Code: "already_approved", Detail: "The agent already has access to this tool.",
			Hint: "To change its terms, end it with {revokeGrant} and assign it again.",
			Next: []domain.Next{{Op: "revokeGrant", IDs: []string{"", c.Tool.ID}}},
		}
	}
	if err := assignable(c.Tool); err != nil {
		return nil, err
	}
	if err := allowed(s, c.Tool, c.By); err != nil {
		return nil, err
	}
	expires, err := terms(s, c.Tool, c.SecretID, c.At, c.ExpiresAt)
	if err != nil {
		return nil, err
	}
	if g.Of(c.Tool, c.At) == Pending {
		return one(
			GrantApproved{
				ToolID: c.Tool.ID, RequestID: g.RequestID, SecretID: c.SecretID, CredentialFields: c.CredentialFields,
				ExpiresAt: expires, DecidedOn: s.Digest(c.Tool), ToolFreezes: c.Tool.Freezes,
			},
		), nil
	}
	if err := room(s, g); err != nil {
		return nil, err
	}
	return append(
		endFirst(g, c.Tool, c.At),
		GrantAssigned{
			ToolID: c.Tool.ID, SecretID: c.SecretID, CredentialFields: c.CredentialFields, ExpiresAt: expires,
			ToolFreezes: c.Tool.Freezes,
		},
	), nil
}
