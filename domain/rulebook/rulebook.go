// Package rulebook decides which rules an organization has: conditions under which a request is
// approved or denied without a human. It doesn't know what a condition means, and evaluates none.
package rulebook

import (
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

// Effect is what a rule does with a request that fits it.
type Effect string

// The effects.
const (
	Approve Effect = "approve"
	Deny    Effect = "deny"
)

// What an organization may have.
const (
	MaxRules   = 50
	MaxSeconds = 366 * 24 * 60 * 60 // that a rule gives access for
)

// Event is what happened to the rules. The structs are the wire format of the stored events.
//
//sumtype:decl
type Event interface{ ruleEvent() }

// Text is what a rule says. Every event that changes one has all of it.
type Text struct {
	Name        string `json:"name"`
	FoldedName  string `json:"folded_name"`
	When        string `json:"when"`
	Environment int    `json:"environment"` // the version of the names that When uses
	Effect      Effect `json:"effect"`
	MaxSeconds  int64  `json:"max_seconds,omitempty"` // of access that it gives
	Reason      string `json:"reason,omitempty"`      // of its denials
	Enabled     bool   `json:"enabled"`
}

// decides is the part of a text that decides requests.
func (t Text) decides() Text {
	return Text{
		When: t.When, Environment: t.Environment, Effect: t.Effect, MaxSeconds: t.MaxSeconds, Enabled: t.Enabled,
	}
}

// Simulated is what somebody was shown before they switched a rule on: what it would have decided.
type Simulated struct {
	Digest       string    `json:"digest"`
	At           time.Time `json:"at"`
	From         time.Time `json:"from"`
	To           time.Time `json:"to"`
	Position     uint64    `json:"position"` // of the log, that it was replayed up to
	Complete     bool      `json:"complete"` // the time was enough for all requests
	Requests     int       `json:"requests"`
	WouldApprove int       `json:"would_approve"`
	WouldDeny    int       `json:"would_deny"`
	Differs      int       `json:"differs"`
	Fetches      int64     `json:"fetches"` // under what it would have decided otherwise
}

// The events of the rules. Version counts the changes of one rule, from 1.
type (
	// Added is a new rule.
	Added struct {
		RuleID    string     `json:"rule_id"`
		Rule      Text       `json:"rule"`
		Simulated *Simulated `json:"simulated,omitempty"` // where it is on
	}
	// Changed is a rule with another text.
	Changed struct {
		RuleID    string     `json:"rule_id"`
		Version   int        `json:"version"`
		Rule      Text       `json:"rule"`
		Simulated *Simulated `json:"simulated,omitempty"` // where it decides otherwise now
	}
	// Removed ends a rule. What it decided stays.
	Removed struct {
		RuleID string `json:"rule_id"`
	}
	// Failed is the first request that a version of a rule couldn't be evaluated for, which was left
	// to a human.
	Failed struct {
		RuleID    string `json:"rule_id"`
		Version   int    `json:"version"`
		RequestID string `json:"request_id"`
		Problem   string `json:"problem"`
	}
)

func (Added) ruleEvent()   {}
func (Changed) ruleEvent() {}
func (Removed) ruleEvent() {}
func (Failed) ruleEvent()  {}

// Failure is why a rule couldn't be evaluated.
type Failure struct {
	RequestID string    `json:"request_id"`
	Problem   string    `json:"problem"`
	At        time.Time `json:"at"`
}

// Rule is a rule as it is now.
type Rule struct {
	Text
	ID        string    `json:"id"`
	Version   int       `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"` // the time of this version
	Failure   *Failure  `json:"failure,omitempty"`
}

// Names the rule in what it decides.
func (r Rule) Names() domain.RuleVersion {
	return domain.RuleVersion{ID: r.ID, Version: r.Version, Name: r.Name}
}

// State is every rule there is. The zero State has none. A State is a value: Evolve never changes
// what an older one holds.
type State struct {
	Rules   []Rule             `json:"rules,omitempty"`   // oldest first
	Removed map[string]Removal `json:"removed,omitempty"` // by the rule's id
}

// Removal is what is known of a rule that was removed.
type Removal struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// Find returns the rule of an id.
func (s State) Find(id string) (Rule, bool) {
	for _, r := range s.Rules {
		if r.ID == id {
			return r, true
		}
	}
	return Rule{}, false
}

// At are the rules that decide a request of a moment, oldest first: those that were on by then and
// have not changed since.
func (s State) At(asked time.Time) []Rule {
	var on []Rule
	for _, r := range s.Rules {
		if r.Enabled && !r.UpdatedAt.After(asked) {
			on = append(on, r)
		}
	}
	return on
}

// Ended reports whether a version of a rule had ended before a moment.
func (s State) Ended(v domain.RuleVersion, asked time.Time) bool {
	if gone, removed := s.Removed[v.ID]; removed {
		return !gone.At.After(asked)
	}
	is, found := s.Find(v.ID)
	return found && is.Version > v.Version && !is.UpdatedAt.After(asked)
}

// Name is what a rule is called, or was when it was removed; "" for none.
func (s State) Name(id string) string {
	if is, found := s.Find(id); found {
		return is.Name
	}
	return s.Removed[id].Name
}

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case Added:
		s.Rules = append(slices.Clip(s.Rules), Rule{
			Text: e.Rule, ID: e.RuleID, Version: 1, CreatedAt: f.At, UpdatedAt: f.At,
		})
	case Changed:
		return s.with(e.RuleID, func(r *Rule) {
			r.Text, r.Version, r.UpdatedAt, r.Failure = e.Rule, e.Version, f.At, nil
		})
	case Failed:
		return s.with(e.RuleID, func(r *Rule) {
			r.Failure = &Failure{RequestID: e.RequestID, Problem: e.Problem, At: f.At}
		})
	case Removed:
		is, _ := s.Find(e.RuleID)
		s.Removed = maps.Clone(s.Removed)
		if s.Removed == nil {
			s.Removed = map[string]Removal{}
		}
		s.Removed[e.RuleID] = Removal{Name: is.Name, At: f.At}
		s.Rules = slices.DeleteFunc(slices.Clone(s.Rules), func(r Rule) bool { return r.ID == e.RuleID })
	}
	return s
}

// with returns the state after a change of one rule; older states keep what they hold.
func (s State) with(id string, change func(*Rule)) State {
	s.Rules = slices.Clone(s.Rules)
	for i := range s.Rules {
		if s.Rules[i].ID == id {
			change(&s.Rules[i])
		}
	}
	return s
}
