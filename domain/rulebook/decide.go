package rulebook

import (
	"fmt"

	"agentkey/domain"
)

// Command is something to decide about the rules.
//
//sumtype:decl
type Command interface{ ruleCommand() }

// The commands of the rules. Simulated is what the caller was shown of the very text that the rule
// will have; nil: nothing that still counts. IfRevision are the versions that an edit may be based
// on.
type (
	// Add makes a rule.
	Add struct {
		RuleID    string
		Rule      Text
		Simulated *Simulated
	}
	// Change gives a rule another text.
	Change struct {
		RuleID     string
		Rule       Text
		Simulated  *Simulated
		IfRevision domain.Revisions
	}
	// Remove ends a rule.
	Remove struct {
		RuleID     string
		IfRevision domain.Revisions
	}
	// Fail notes that a version of a rule couldn't be evaluated; the first time of each alone.
	Fail Failed
)

func (Add) ruleCommand()    {}
func (Change) ruleCommand() {}
func (Remove) ruleCommand() {}
func (Fail) ruleCommand()   {}

// Decide answers a command on a state: events to append, none when it is already so, or a refusal.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Add:
		return add(s, c)
	case Change:
		return change(s, c)
	case Remove:
		is, found := s.Find(c.RuleID)
		if !found {
			return nil, domain.NotFound("rule")
		}
		if err := c.IfRevision.Covers(is.Version); err != nil {
			return nil, err
		}
		return []Event{Removed{RuleID: c.RuleID}}, nil
	case Fail:
		is, found := s.Find(c.RuleID)
		if !found || is.Version != c.Version || is.Failure != nil {
			return nil, nil
		}
		return []Event{Failed(c)}, nil
	}
	return nil, fmt.Errorf("rulebook: no decision for %T", c)
}

func add(s State, c Add) ([]Event, error) {
	if _, found := s.Find(c.RuleID); found {
		return nil, nil
	}
	if len(s.Rules) >= MaxRules {
		return nil, domain.Invalid(
			"body", fmt.Sprintf("an organization has at most %d rules; remove one with {removeRule}", MaxRules),
			domain.Next{Op: "removeRule"},
		)
	}
	if err := s.valid(c.RuleID, c.Rule); err != nil {
		return nil, err
	}
	if c.Rule.Enabled && c.Simulated == nil {
		return nil, SimulationRequired()
	}
	return []Event{Added(c)}, nil
}

func change(s State, c Change) ([]Event, error) {
	is, found := s.Find(c.RuleID)
	if !found {
		return nil, domain.NotFound("rule")
	}
	if err := c.IfRevision.Covers(is.Version); err != nil {
		return nil, err
	}
	if c.Rule == is.Text {
		return nil, nil
	}
	if err := s.valid(c.RuleID, c.Rule); err != nil {
		return nil, err
	}
	changed := Changed{RuleID: c.RuleID, Version: is.Version + 1, Rule: c.Rule}
	if c.Rule.Enabled && c.Rule.decides() != is.decides() {
		if c.Simulated == nil {
			return nil, SimulationRequired()
		}
		changed.Simulated = c.Simulated
	}
	return []Event{changed}, nil
}

// valid refuses a text that no rule can have, or a name that another one has.
func (s State) valid(id string, t Text) error {
	switch t.Effect {
	case Approve:
		if t.MaxSeconds < 1 || t.MaxSeconds > MaxSeconds {
			return domain.Invalid("max_seconds", fmt.Sprintf(
				"a rule that approves says for how long, from 1 to %d seconds", MaxSeconds,
			))
		}
		if t.Reason != "" {
			return domain.Invalid("reason", "only a rule that denies gives a reason")
		}
	case Deny:
		if t.Reason == "" {
			return domain.Invalid("reason", "a rule that denies says why; the agent reads it")
		}
		if t.MaxSeconds != 0 {
			return domain.Invalid("max_seconds", "only a rule that approves says for how long")
		}
	default:
		return domain.Invalid("effect", "it must be approve or deny")
	}
	for _, other := range s.Rules {
		if other.FoldedName == t.FoldedName && other.ID != id {
			return domain.Invalid("name", "another rule has this name; names differ in more than upper and lower case")
		}
	}
	return nil
}

// SimulationRequired is the refusal to let a rule decide requests before somebody saw what it would
// have decided. The caller adds what that is.
func SimulationRequired() *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnconditional, Code: "simulation_required",
		Detail: "Before this rule decides requests, look at what it would have decided: see simulation.",
		Hint:   "If that is what you want, send the same request again with simulation.digest as \"simulation\" in the body.",
	}
}
