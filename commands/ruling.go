package commands

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/conditions"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/rulebook"
)

// ruling is what rules say of a request.
type ruling struct {
	rule   rulebook.Rule
	decide bool // false: it is left to a human
	failed []rulebook.Failed
}

// judge evaluates rules, oldest first, on the facts of a request. A rule that denies wins over all
// that approve, of which the first one counts. One that can't be evaluated approves nothing; if it
// might have denied, no other rule approves either.
func judge(ctx context.Context, rules []rulebook.Rule, f conditions.Facts) (ruling, error) {
	var out ruling
	var deny, approve *rulebook.Rule
	doubtful := false
	for _, r := range rules {
		holds, err := holds(ctx, r, f)
		if failure, failed := errors.AsType[conditions.Failed](err); failed {
			out.failed = append(out.failed, rulebook.Failed{
				RuleID: r.ID, Version: r.Version, RequestID: f.Agent.Grants[f.ToolID].RequestID, Problem: string(failure),
			})
			doubtful = doubtful || r.Effect == rulebook.Deny
			continue
		}
		if err != nil {
			return out, err
		}
		switch {
		case !holds:
		case r.Effect == rulebook.Deny && deny == nil:
			deny = &r
		case r.Effect == rulebook.Approve && approve == nil:
			approve = &r
		}
	}
	switch {
	case deny != nil:
		out.rule, out.decide = *deny, true
	case approve != nil && !doubtful:
		out.rule, out.decide = *approve, true
	}
	return out, nil
}

func holds(ctx context.Context, r rulebook.Rule, f conditions.Facts) (bool, error) {
	if r.Environment != conditions.Environment {
		return false, conditions.Failed("it was written for another version of AgentKey; save its condition again")
	}
	c, err := conditions.Compile("when", r.When)
	if _, refused := errors.AsType[*domain.Error](err); refused {
		return false, conditions.Failed("it doesn't compile any more; save its condition again")
	}
	if err != nil {
		return false, err
	}
	return c.Holds(ctx, f)
}

// followed is the command to follow a ruling on a request.
func followed(r rulebook.Rule, tool agent.Tool, requestID string, at time.Time) (agent.FollowRule, error) {
	local, err := local(tool.Rules, at)
	return agent.FollowRule{
		At: at, Tool: tool, RequestID: requestID, Rule: r.Names(), Deny: r.Effect == rulebook.Deny, Reason: r.Reason,
		For: time.Duration(r.MaxSeconds) * time.Second, Local: local,
	}, err
}

// Ruled decides a request by the rules that were on when it was made, if one fits, and returns the
// agent as that left it. asked is the agent as its request left it. However many processes decide
// the same request at the same time, it is decided once. The rules are read after the request was
// acknowledged, so none that was switched off before it was made decides it.
func (g *Grants) Ruled(
	ctx context.Context, organization, agentID, toolID string, asked AgentResult,
) (AgentResult, error) {
	request := asked.State.Grants[toolID]
	if request.Status != agent.Pending || request.Origin != agent.FromRequest {
		return asked, nil
	}
	book, err := g.Rules.Loop.Fresh(ctx, organization)
	if err != nil {
		return asked, err
	}
	rules := book.State.At(request.RequestedAt)
	if len(rules) == 0 {
		return asked, nil
	}
	offered, err := g.Catalogs.Fresh(ctx, organization)
	if err != nil {
		return asked, err
	}
	says, err := judge(ctx, rules, conditions.Of(agentID, toolID, asked.State, offered.State.Tools[toolID]))
	if err != nil {
		return asked, err
	}
	id, err := uuid.Parse(request.RequestID)
	if err != nil {
		return asked, err
	}
	if err := g.failed(ctx, organization, id, says.failed); err != nil || !says.decide {
		return asked, err
	}
	m := loop.Meta{
		Organization: organization, Actor: domain.Actor{Type: domain.ActorSystem, ID: says.rule.ID},
		CommandID: uuid.NewSHA1(id, []byte("ruled")),
	}
	done, err := g.Agents.Do(ctx, agentID, m, func(_ agent.State, at time.Time) (agent.Command, error) {
		return followed(says.rule, ToolFacts(offered.State, toolID), request.RequestID, at)
	})
	if err != nil || done.State.Grants[toolID].Status != agent.Approved {
		return done, err
	}
	return g.confirmed(ctx, m, agentID, toolID, request, done)
}

// Rule decides a request by the rules, if the process that took it didn't. It reports whether a
// rule has decided it, and whether this call did that.
func (g *Grants) Rule(
	ctx context.Context, organization, agentID string, e agent.GrantRequested,
) (ruled, acted bool, err error) {
	head, err := g.Agents.Fresh(ctx, agentID)
	if err != nil {
		return false, false, err
	}
	left := AgentResult{State: head.State, Position: head.Position}
	if head.State.Grants[e.ToolID].RequestID == e.RequestID {
		left, err = g.Ruled(ctx, organization, agentID, e.ToolID, left)
	}
	access := left.State.Grants[e.ToolID]
	return access.RequestID == e.RequestID && access.Rule != nil, left.Changed && !left.Repeated, err
}

// confirmed closes the gap between the rules that were read and the append that relied on them:
// what a rule approved that had ended before the request was made is taken back. It closes that of
// the catalog too.
func (g *Grants) confirmed(
	ctx context.Context, m loop.Meta, agentID, toolID string, request agent.Grant, done AgentResult,
) (AgentResult, error) {
	book, err := g.Rules.Loop.Fresh(ctx, m.Organization)
	if err != nil {
		return done, err
	}
	given := done.State.Grants[toolID]
	if given.Rule != nil && given.RequestID == request.RequestID && book.State.Ended(*given.Rule, request.RequestedAt) {
		m.CommandID = uuid.NewSHA1(m.CommandID, []byte("rule ended"))
		return g.Revoke(ctx, m, agentID, toolID, agent.CauseRuleEnded)
	}
	err = g.barrier(ctx, m, agentID, toolID, done.State)
	if !isRefusal(err) {
		return done, err
	}
	head, err := g.Agents.Fresh(ctx, agentID) // the tool was frozen or removed, which ended it
	done.State, done.Position = head.State, head.Position
	return done, err
}

// failed writes down which rules couldn't be evaluated, each version once.
func (g *Grants) failed(ctx context.Context, organization string, requestID uuid.UUID, all []rulebook.Failed) error {
	for _, f := range all {
		m := loop.Meta{
			Organization: organization, Actor: domain.Actor{Type: domain.ActorSystem, ID: f.RuleID},
			CommandID: uuid.NewSHA1(requestID, []byte("failed/"+f.RuleID)),
		}
		_, err := g.Rules.Loop.Do(ctx, organization, m, func(rulebook.State, time.Time) (rulebook.Command, error) {
			return rulebook.Fail(f), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
