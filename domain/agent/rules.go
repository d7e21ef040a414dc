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

	// Others are the ids of those who approved before, by the one that they approved with. Who may no
	// longer approve has none.
	Others map[string][]string
}

// ApproversNeededError says whose ids an approval must be decided with.
type ApproversNeededError struct{ IDs []string }

func (*ApproversNeededError) Error() string {
	return "the approval must be decided with those who approved before"
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
	digest := s.Digest(tool)
	return slices.DeleteFunc(
		slices.Clone(s.Grants[tool.ID].Approvals), func(a Approval) bool { return a.DecidedOn != digest },
	)
}

// Counting are those approvals of the pending request whose givers may still approve, one of each
// person. The error is *ApproversNeededError.
func (s State) Counting(tool Tool, by Approver) ([]Approval, error) {
	var counting []Approval
	var needed []string
	for _, a := range s.Approvals(tool) {
		ids, known := by.Others[a.By.ID]
		other := Approver{IDs: ids, Local: by.Local}
		switch {
		case !known:
			needed = append(needed, a.By.ID)
		case len(ids) == 0, tool.Rules.SeparationOfDuties && s.belongsTo(other):
		case slices.ContainsFunc(counting, func(same Approval) bool { return other.is(same.By.ID) }):
			// with a token, before that token lost the right to and got it back
		default:
			counting = append(counting, a)
		}
	}
	if len(needed) > 0 {
		return nil, &ApproversNeededError{IDs: needed}
	}
	return counting, nil
}

// belongsTo reports whether somebody registered the agent, is its owner, or gave it what it calls
// with: who has made a key may hold it, and who has bound an identity chose whose it is.
func (s State) belongsTo(p Approver) bool {
	made := func(k LiveKey) bool { return k.Live(p.Local) && p.is(k.MadeBy) }
	is := s.Bound()
	return p.is(s.CreatedBy.ID) || p.is(s.OwnerID) || slices.ContainsFunc(s.Keys, made) || is != nil && p.is(is.By)
}

// allowed refuses what the rules of a tool allow nobody now, or not this approver.
func allowed(s State, tool Tool, by Approver) error {
	if tool.Rules.SeparationOfDuties && s.belongsTo(by) {
		return &domain.Error{
			Kind: domain.KindForbidden, Code: "own_agent",
			Detail: "You registered this agent, are its owner, or gave it its key or its identity, and for this tool " +
				"somebody else has to decide.",
			Hint: "Ask another approver. A service token counts as the member who made it.",
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
// the approvals before theirs that count, and whether theirs is the last one that is needed.
func another(s State, c Approve) (given []Approval, last bool, err error) {
	needed := c.Tool.Rules.Approvals()
	if needed == 1 {
		return nil, true, nil
	}
	if given, err = s.Counting(c.Tool, c.By); err != nil {
		return nil, false, err
	}
	others := slices.DeleteFunc(slices.Clone(given), func(a Approval) bool { return c.By.is(a.By.ID) })
	if len(others)+1 >= needed { // with mine among those given it needed more then
		return others, true, nil
	}
	if len(others) == len(given) {
		return given, false, nil
	}
	return nil, false, &domain.Error{
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
