package agent

import (
	"time"

	"agentkey/domain"
)

// WhyNot says why a suggestion's answer can give an agent nothing of a tool, or "" if it can.
func WhyNot(s State, tool Tool, at time.Time) string {
	switch {
	case !s.Exists():
		return "the agent is retired"
	case s.Status != StatusActive:
		return "the agent is suspended"
	}
	g := s.Grants[tool.ID]
	switch g.Of(tool, at) {
	case None:
		if room(s, g) != nil {
			return "the agent holds as many open grants as it may"
		}
		return ""
	case Pending:
		return "the agent has asked for it already"
	case Approved:
		return "the agent has access already"
	case Denied:
		return "a human has denied it"
	case Revoked:
		return "a human has revoked it"
	case Withdrawn:
		return "the agent took its request back"
	case Expired:
		return "the agent had access, which has expired"
	}
	return "its access is in a state of a newer version"
}

// Seeded says what a carried-out Seed left: the status of the grant that came of it, or why none
// did.
func Seeded(s State, c Seed) (status GrantStatus, why string) {
	g := s.Grants[c.Tool.ID]
	if status = g.Of(c.Tool, c.At); g.SuggestionID == c.SuggestionID && g.Open() && status != Revoked {
		return status, ""
	}
	switch why = WhyNot(s, c.Tool, c.At); {
	case why != "":
	case c.frozenSince():
		why = "the tool was frozen since"
	default:
		why = "the agent was suspended since"
	}
	return None, why
}

// frozenSince reports whether the tool was frozen after access to it was decided. That was when the
// tool was added, because only then a suggestion gives access.
func (c Seed) frozenSince() bool { return c.Approved && c.Tool.Freezes > 0 }

func seed(s State, c Seed) ([]Event, error) {
	if WhyNot(s, c.Tool, c.At) != "" || s.Suspensions != c.Suspensions || !c.Tool.Exists || c.frozenSince() {
		return nil, nil
	}
	if !c.Approved || c.Tool.PerAgent || c.Tool.Rules != (domain.ApprovalRules{}) {
		return one(
			GrantRequested{
				ToolID: c.Tool.ID, RequestID: c.RequestID, Reason: c.Reason, SuggestionID: c.SuggestionID,
				ToolFreezes: c.Tool.Freezes,
			},
		), nil
	}
	expires, err := terms(s, c.Tool, "", c.At, nil)
	if err != nil {
		return nil, err
	}
	return one(
		GrantAssigned{ToolID: c.Tool.ID, ExpiresAt: expires, Reason: c.Reason, SuggestionID: c.SuggestionID},
	), nil
}
