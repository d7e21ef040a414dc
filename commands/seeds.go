package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
)

// SeededGrant is what became of one backer of an accepted suggestion.
type SeededGrant struct {
	AgentID string
	Outcome catalog.Outcome // or InProgress
	Why     string          // it is not granted

	changed  bool
	position uint64
}

// Changed reports whether the agent's stream got an event of it just now.
func (s SeededGrant) Changed() bool { return s.changed }

// Seed carries out one decision of an answered suggestion on its agent's stream. It has one effect
// however often and by whomever it is called: its command is derived from suggestion, tool and
// agent, and it gives only what the agent never had.
func (g *Grants) Seed(
	ctx context.Context, m loop.Meta, suggestionID, toolID string, d catalog.Decision,
) (SeededGrant, error) {
	if d.Outcome == catalog.Skipped {
		return SeededGrant{AgentID: d.AgentID, Outcome: catalog.Skipped, Why: d.Why}, nil
	}
	id, err := uuid.Parse(toolID)
	if err != nil {
		return SeededGrant{}, fmt.Errorf("the tool of a suggestion: %w", err)
	}
	m.CommandID, m.Since, m.IfRevision = loop.DerivedID(id, "suggestion/"+suggestionID+"/"+d.AgentID), 0, nil
	m.Shared = true // the call that answered it and the reaction of any process
	c := agent.Seed{
		At: loop.Later(g.Clock(), time.Time{}), Tool: agent.Tool{ID: toolID}, SuggestionID: suggestionID,
		RequestID: loop.DerivedID(m.CommandID, "request").String(), Reason: d.Reason,
		Approved: d.Outcome == catalog.Granted, Suspensions: d.Suspensions,
	}
	if c.Tool, err = g.tool(ctx, m, toolID); err != nil {
		return SeededGrant{}, err
	}
	if !c.Approved || c.Tool.Rules != (domain.ApprovalRules{}) {
		if err := g.open(ctx, m, c.RequestID, d.AgentID, toolID); err != nil {
			return SeededGrant{}, err
		}
	}
	done, err := g.Agents.Do(ctx, d.AgentID, m, owned(m, func(_ agent.State, at time.Time) (agent.Command, error) {
		c := c
		c.At = at
		return c, nil
	}))
	if refusal, refused := errors.AsType[*domain.Error](err); refused && refusal.Kind == domain.KindNotFound {
		return SeededGrant{AgentID: d.AgentID, Outcome: catalog.Skipped, Why: "the agent is retired"}, nil
	}
	if err != nil {
		return SeededGrant{}, err
	}
	err = g.barrier(ctx, m, d.AgentID, toolID, done.State)
	refusal, refused := errors.AsType[*domain.Error](err)
	gone := refused && refusal.Kind == domain.KindNotFound
	if gone || refused && refusal.Code == "tool_frozen" {
		why := "the tool was frozen since"
		if gone {
			why = "the tool was removed"
		}
		return SeededGrant{
			AgentID: d.AgentID, Outcome: catalog.Skipped, Why: why, changed: done.Changed, position: done.Position,
		}, nil
	}
	if err != nil {
		return SeededGrant{}, err
	}
	out := SeededGrant{
		AgentID: d.AgentID, Outcome: catalog.Pending, Why: d.Why, changed: done.Changed, position: done.Position,
	}
	switch status, why := agent.Seeded(done.State, c); status {
	case agent.Approved:
		out.Outcome, out.Why = catalog.Granted, ""
	case agent.Pending:
	default:
		out.Outcome, out.Why = catalog.Skipped, why
	}
	return out, nil
}
