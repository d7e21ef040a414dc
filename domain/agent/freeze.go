package agent

import (
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

// Frozen is the refusal of access to a tool that is frozen.
func Frozen(toolID string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindConflict, Code: "tool_frozen", Detail: "This tool is frozen; nobody can be given access to it.",
		Hint: "Lift the freeze with {unfreezeTool} once its credential is safe, and send the same request again.",
		Next: []domain.Next{{Op: "unfreezeTool", IDs: []string{toolID}}},
	}
}

// Ended is access that ends, or a request, with the status that it had until then.
type Ended struct {
	ToolID string
	Was    GrantStatus
}

// Open lists what an agent has or asks for at a moment, by tool. A tool that is offered is one that
// the catalog has.
func (s State) Open(now time.Time, offered func(toolID string) Tool) []Ended {
	var open []Ended
	for _, id := range s.openTools() {
		if tool := offered(id); tool.Exists {
			if was := s.Grants[id].Of(tool, now); was == Approved || was == Pending {
				open = append(open, Ended{ToolID: id, Was: was})
			}
		}
	}
	return open
}

// EndedBySuspension lists what a suspended agent lost when it was suspended, by tool.
func (s State) EndedBySuspension() []Ended {
	var ended []Ended
	if s.Status != StatusSuspended {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(s.Grants)) {
		g := s.Grants[id]
		lapsed := g.ExpiresAt != nil && !s.SuspendedAt.Before(*g.ExpiresAt)
		switch {
		case g.Status != Revoked || !g.EndedAt.Equal(s.SuspendedAt):
		case g.ApprovedAt.IsZero():
			ended = append(ended, Ended{ToolID: id, Was: Pending})
		case !lapsed:
			ended = append(ended, Ended{ToolID: id, Was: Approved})
		}
	}
	return ended
}

func revokeApproved(s State, c RevokeApproved) []Event {
	var events []Event
	for _, tool := range s.openTools() {
		g := s.Grants[tool]
		if g.Status == Approved && g.approvedBy(c.By, c.Since) {
			events = append(events, revoked(g, tool, CauseAdmin))
		}
	}
	return events
}

// approvedBy reports whether somebody's approval, the last one or one before it, gave the access at
// a time or later.
func (g Grant) approvedBy(id string, since time.Time) bool {
	theirs := func(a Approval) bool { return a.By.ID == id && !a.At.Before(since) }
	return theirs(Approval{By: *g.ApprovedBy, At: g.ApprovedAt}) || slices.ContainsFunc(g.Approvals, theirs)
}
