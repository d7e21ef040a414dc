package agent

import (
	"time"

	"agentkey/domain"
)

// FollowRule decides a pending request as a rule of the organization says. It does nothing where
// the request was decided, and gives no access that takes a human.
type FollowRule struct {
	At        time.Time
	Tool      Tool
	RequestID string
	Rule      domain.RuleVersion
	Deny      bool
	Reason    string        // of the denial
	For       time.Duration // of the access
	Local     time.Time     // the moment of the decision, in the time zone of the tool's hours
}

// NeedsHuman reports whether nobody but people can give access to the tool: it takes a credential
// of the agent's own, or it says which people, or how many of them, approve.
func (t Tool) NeedsHuman() bool {
	return t.PerAgent || t.Rules.SeparationOfDuties || t.Rules.Approvals() > 1
}

func followRule(s State, c FollowRule) []Event {
	digest, err := undecided(s, c.Tool, c.RequestID, nil)
	if err != nil || givable(s, c.Tool) != nil {
		return nil
	}
	rule := c.Rule
	if c.Deny {
		return one(GrantDenied{
			ToolID: c.Tool.ID, RequestID: c.RequestID, Reason: c.Reason, DecidedOn: digest, Rule: &rule,
		})
	}
	if c.Tool.NeedsHuman() || !c.Tool.Rules.AllowedHours.Open(c.Local) || c.For <= 0 {
		return nil
	}
	lasts := c.For
	if c.Tool.MaxGrant > 0 {
		lasts = min(lasts, c.Tool.MaxGrant)
	}
	if wanted := s.Grants[c.Tool.ID].RequestedSeconds; wanted > 0 {
		lasts = min(lasts, time.Duration(wanted)*time.Second)
	}
	expires := c.At.Add(lasts)
	return one(GrantApproved{
		ToolID: c.Tool.ID, RequestID: c.RequestID, ExpiresAt: &expires, DecidedOn: digest, ToolFreezes: c.Tool.Freezes,
		Rule: &rule,
	})
}

// Past counts what happened to an agent's access to a tool, over all of its requests.
type Past struct {
	Approved int64 `json:"approved,omitempty"` // or assigned
	Denied   int64 `json:"denied,omitempty"`
	Revoked  int64 `json:"revoked,omitempty"` // by a human, who had nothing else to end
	Fetches  int64 `json:"fetches,omitempty"`
}

// after counts the end of a grant's status.
func (p Past) after(g Grant, status GrantStatus, e Event) Past {
	revoked, _ := e.(GrantRevoked)
	switch {
	case status == Approved:
		p.Approved++
	case status == Denied:
		p.Denied++
	case status == Revoked && g.Status == Approved && revoked.Cause == CauseAdmin:
		p.Revoked++
	}
	return p
}

// Past sums up what happened to the agent's access to all tools.
func (s State) Past() Past {
	var sum Past
	for _, g := range s.Grants {
		sum.Approved += g.Past.Approved
		sum.Denied += g.Past.Denied
		sum.Revoked += g.Past.Revoked
		sum.Fetches += g.Past.Fetches
	}
	return sum
}
