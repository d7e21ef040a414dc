package agent

import (
	"fmt"
	"slices"
	"time"

	"agentkey/domain"
)

// Approver is who gives access, as the rules of a tool count people.
type Approver struct {
	IDs   []string  // that the log knows one person by: as a member, an owner of agents, and by their tokens
	Local time.Time // the moment of the decision, in the time zone of the tool's hours
}

// is reports whether an id is one of the approver's.
func (a Approver) is(id string) bool { return id != "" && slices.Contains(a.IDs, id) }

// Approval is one of several that a request needs.
type Approval struct {
	By        domain.Actor `json:"by"`
	At        time.Time    `json:"at"`
	DecidedOn string       `json:"decided_on"` // the digest of what they approved
}

// Approvals are those that the pending request for a tool has, as far as they count: what they
// approved is what it says now.
func (s State) Approvals(tool Tool) []Approval {
	return approvalsOf(s.Grants[tool.ID].Approvals, s.Digest(tool))
}

func approvalsOf(all []Approval, digest string) []Approval {
	return slices.DeleteFunc(slices.Clone(all), func(a Approval) bool { return a.DecidedOn != digest })
}

// allowed refuses what the rules of a tool allow nobody now, or not this approver.
func allowed(s State, tool Tool, by Approver) error {
	if tool.Rules.SeparationOfDuties && (by.is(s.CreatedBy.ID) || by.is(s.OwnerID)) {
		return &domain.Error{
			Kind: domain.KindForbidden, Code: "own_agent",
			Detail: "You registered this agent or are its owner, and for this tool somebody else has to decide.",
			Hint:   "Ask another approver. A service token counts as the member who made it.",
		}
	}
	if hours := tool.Rules.AllowedHours; !hours.Open(by.Local) {
		next := hours.Next(by.Local)
		return &domain.Error{
			Kind: domain.KindConflict, Code: "outside_allowed_hours",
			Detail: "Access to this tool is given only from " + domain.Verbatim(hours.String()) + ".",
			Hint: "Send the same request again after retry_after, or deny the request with {denyRequest}, which is always " +
				"possible.",
			Next: []domain.Next{{Op: "denyRequest"}}, RetryAfter: next.Sub(by.Local),
			Extra: map[string]any{"retry_after": next.UTC().Format(time.RFC3339)},
		}
	}
	return nil
}

// another refuses a second approval by somebody who has approved, while others have to. It returns
// whether theirs is the last one that is needed.
func another(s State, c Approve) (last bool, err error) {
	given, needed := s.Approvals(c.Tool), c.Tool.Rules.Approvals()
	mine := slices.ContainsFunc(given, func(a Approval) bool { return c.By.is(a.By.ID) })
	if !mine {
		return len(given)+1 >= needed, nil
	}
	if len(given) >= needed { // it needed more then
		return true, nil
	}
	return false, &domain.Error{
		Kind: domain.KindConflict, Code: "already_approved_by_you",
		Detail: fmt.Sprintf(
			"You have approved this request. It has %d of the %d approvals that it needs, of different people.", len(given),
			needed,
		),
		Hint: "Ask another approver to approve it with {approveRequest}.",
		Next: []domain.Next{{Op: "approveRequest", IDs: []string{c.RequestID}}},
	}
}

// assignable refuses access without the approvals that a tool needs, which only a request collects.
func assignable(tool Tool) error {
	needed := tool.Rules.Approvals()
	if needed == 1 {
		return nil
	}
	return &domain.Error{
		Kind: domain.KindConflict, Code: "approvals_required",
		Detail: fmt.Sprintf("Access to this tool needs the approvals of %d people, so it can't be assigned.", needed),
		Hint:   "Let the agent ask for it with {requestTool}, and approve the request with {approveRequest}.",
		Next:   []domain.Next{{Op: "requestTool", IDs: []string{tool.ID}}, {Op: "approveRequest"}},
	}
}
