package commands

import (
	"context"
	"errors"
	"time"

	"agentkey/commands/conditions"
	"agentkey/commands/loop"
	"agentkey/commands/names"
	"agentkey/commands/shares"
	"agentkey/domain"
	"agentkey/domain/rulebook"
)

// RuleResult is a command on the rules of an organization carried out.
type RuleResult = loop.Result[rulebook.State, rulebook.Event]

// Rulebook carries out what admins do to the rules that decide requests, and replays a rule over
// what was decided.
type Rulebook struct {
	Loop     *RuleLoop
	Agents   *AgentLoop
	Catalogs *CatalogLoop
	MACKey   domain.Secret
	Clock    func() time.Time
	Patience time.Duration // that a replay may take

	// Asked names the agents that asked for a tool in a time, the latest first, and a position of the
	// log up to which it knows all of them.
	Asked func(ctx context.Context, organization string, from, to time.Time) (Askers, error)

	replaying shares.Shares // of organizations
}

// Askers are the agents that asked for a tool in a time, by the log up to a position.
type Askers struct {
	Agents   []string
	Position uint64
}

// NewRulebook returns a rulebook that replays a few rules at a time.
func NewRulebook(b *Rulebook) *Rulebook {
	b.replaying.All, b.replaying.Each = 2, 1
	return b
}

// RuleChange is what an admin wants to be otherwise of a rule; nil leaves it as it is. Simulation
// is the digest of a simulation that they were shown.
type RuleChange struct {
	Name, When, Reason *string
	Effect             *rulebook.Effect
	MaxSeconds         *int64
	Enabled            *bool
	Simulation         string
}

// of is a rule's text after the change. A rule that no longer approves, or denies, loses what only
// such a rule has.
func (c RuleChange) of(t rulebook.Text) rulebook.Text {
	if c.Effect != nil && *c.Effect != t.Effect {
		t.Effect, t.MaxSeconds, t.Reason = *c.Effect, 0, ""
	}
	if c.Name != nil {
		t.Name, t.FoldedName = *c.Name, names.Fold(*c.Name)
	}
	if c.When != nil && *c.When != t.When {
		t.When, t.Environment = *c.When, conditions.Environment
	}
	if c.MaxSeconds != nil {
		t.MaxSeconds = *c.MaxSeconds
	}
	if c.Reason != nil {
		t.Reason = *c.Reason
	}
	if c.Enabled != nil {
		t.Enabled = *c.Enabled
	}
	return t
}

// Add makes a rule. Refusals: simulation_required, with the simulation, where it is to decide
// requests and nobody was shown what it would have decided.
func (b *Rulebook) Add(ctx context.Context, m loop.Meta, c RuleChange) (string, RuleResult, error) {
	id := loop.DerivedID(m.CommandID, "rule").String()
	done, err := b.write(ctx, m, id, c, func(_ rulebook.State, t rulebook.Text, s *rulebook.Simulated) rulebook.Command {
		return rulebook.Add{RuleID: id, Rule: t, Simulated: s}
	})
	return id, done, err
}

// Change changes a rule, which makes another version of it. Refusals as of Add.
func (b *Rulebook) Change(ctx context.Context, m loop.Meta, id string, c RuleChange) (RuleResult, error) {
	return b.write(ctx, m, id, c, func(_ rulebook.State, t rulebook.Text, s *rulebook.Simulated) rulebook.Command {
		return rulebook.Change{RuleID: id, Rule: t, Simulated: s, IfRevision: m.IfRevision}
	})
}

// Propose returns what a change would make of a rule, or of none, to be simulated. Refusals:
// validation_failed, not_found.
func (b *Rulebook) Propose(ctx context.Context, organization, id string, c RuleChange) (Proposal, error) {
	p := Proposal{RuleID: id}
	if id != "" {
		head, err := b.Loop.Fresh(ctx, organization)
		if err != nil {
			return p, err
		}
		is, found := head.State.Find(id)
		if !found {
			return p, domain.NotFound("rule")
		}
		p.Rule = is.Text
	}
	p.Rule = c.of(p.Rule)
	switch {
	case p.Rule.When == "":
		return p, domain.Invalid("rule.when", "say when the rule decides, or which rule is changed in rule.id")
	case p.Rule.Effect == "":
		return p, domain.Invalid("rule.effect", "it must be approve or deny")
	case p.Rule.Effect == rulebook.Approve && p.Rule.MaxSeconds == 0:
		return p, domain.Invalid("rule.max_seconds", "a rule that approves says for how long")
	case p.Rule.Effect == rulebook.Deny && p.Rule.MaxSeconds != 0:
		return p, domain.Invalid("rule.max_seconds", "only a rule that approves says for how long")
	}
	return p, nil
}

// Remove ends a rule. No request that is made after its return is decided by it.
func (b *Rulebook) Remove(ctx context.Context, m loop.Meta, id string) (RuleResult, error) {
	return b.Loop.Do(ctx, m.Organization, m, func(rulebook.State, time.Time) (rulebook.Command, error) {
		return rulebook.Remove{RuleID: id, IfRevision: m.IfRevision}, nil
	})
}

// write carries out a command that gives a rule a text. What is refused for want of a simulation
// is simulated.
func (b *Rulebook) write(
	ctx context.Context, m loop.Meta, id string, c RuleChange,
	command func(rulebook.State, rulebook.Text, *rulebook.Simulated) rulebook.Command,
) (RuleResult, error) {
	if c.When != nil {
		if _, err := conditions.Compile("when", *c.When); err != nil {
			return RuleResult{}, err
		}
	}
	done, err := b.Loop.Do(ctx, m.Organization, m, func(s rulebook.State, at time.Time) (rulebook.Command, error) {
		is, _ := s.Find(id)
		text := c.of(is.Text)
		return command(s, text, b.shown(m.Organization, text, c.Simulation, at)), nil
	})
	refusal, refused := errors.AsType[*domain.Error](err)
	if refused && refusal.Code == rulebook.SimulationRequired().Code {
		head, serr := b.Loop.Fresh(ctx, m.Organization)
		if serr != nil {
			return done, serr
		}
		is, _ := head.State.Find(id)
		simulated, serr := b.Simulate(ctx, m.Organization, Proposal{RuleID: id, Rule: c.of(is.Text)})
		if serr != nil {
			return done, serr
		}
		told := *refusal
		told.Extra = map[string]any{"simulation": simulated}
		return done, &told
	}
	return done, err
}
