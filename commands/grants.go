package commands

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// Grants carries out asking for access, deciding about it and ending it.
type Grants struct {
	Agents   *AgentLoop
	Catalogs *CatalogLoop
	Secrets  *seal.Secrets
	Log      *codec.Log
	Clock    func() time.Time

	Organizations *OrganizationLoop // whose channels have secrets too, and whose members approve
	People        *People           // who they are
	Rules         *Rulebook         // that decide requests
}

// Terms are what a human attaches to access: the agent's own credential where the tool's mode asks
// for one (empty otherwise), and when the access ends. Where a credential is replaced, they are the
// new one and its own end, and ReplaceShape allows it to have other parts than the former.
type Terms struct {
	Credential   domain.Secret
	ReplaceShape bool
	ExpiresAt    *time.Time
}

// GrantResult is a command on one agent's access to one tool carried out, with what an answer
// names.
type GrantResult struct {
	AgentResult
	AgentID string
	ToolID  string
	Tool    catalog.Tool // as it was when it was decided
}

// Grant is the access as the command left it.
func (d GrantResult) Grant() agent.Grant { return d.State.Grants[d.ToolID] }

// Withdrawn reports whether a freeze of the tool has taken the request out of the queue, and the
// event is still to come.
func (d GrantResult) Withdrawn() bool {
	g := d.Grant()
	return g.Status == agent.Pending && g.Of(toolFacts(d.ToolID, d.Tool), time.Time{}) != agent.Pending
}

// Digest names the request as the command left it.
func (d GrantResult) Digest() string {
	return d.State.Digest(toolFacts(d.ToolID, d.Tool))
}

// Assign gives access without a request, or approves the pending one. Refusals: own_agent,
// outside_allowed_hours, approvals_required.
func (g *Grants) Assign(ctx context.Context, m loop.Meta, agentID, toolID string, t Terms) (GrantResult, error) {
	fields := partsOf(t.Credential)
	return g.decide(ctx, m, agentID, toolID, t, func(tool agent.Tool, secretID string, o occasion) agent.Command {
		return agent.Assign{
			At: o.at, Tool: tool, SecretID: secretID, CredentialFields: fields, ExpiresAt: t.ExpiresAt, By: o.by,
		}
	})
}

// Replace gives an agent's access a new credential of its own. Refusals: credential_shape_differs.
func (g *Grants) Replace(ctx context.Context, m loop.Meta, agentID, toolID string, t Terms) (GrantResult, error) {
	fields := partsOf(t.Credential)
	return g.decide(ctx, m, agentID, toolID, t, func(tool agent.Tool, secretID string, o occasion) agent.Command {
		return agent.ReplaceCredential{
			At: o.at, Tool: tool, SecretID: secretID, CredentialFields: fields, ReplaceShape: t.ReplaceShape,
			ExpiresAt: t.ExpiresAt,
		}
	})
}

// Revoke ends an agent's access to a tool, or its request. Nothing to revoke isn't an error.
// Refusal: role_insufficient, of an approver of other tools.
func (g *Grants) Revoke(
	ctx context.Context, m loop.Meta, agentID, toolID string, cause agent.Cause,
) (AgentResult, error) {
	if err := g.within(ctx, m, toolID); err != nil {
		return AgentResult{}, err
	}
	return g.revoke(ctx, m, agentID, agent.Revoke{ToolID: toolID, Cause: cause})
}

// RevokeFrozen ends what an agent had of a tool before a freeze of it.
func (g *Grants) RevokeFrozen(
	ctx context.Context, m loop.Meta, agentID, toolID string, freeze int,
) (AgentResult, error) {
	return g.revoke(ctx, m, agentID, agent.Revoke{ToolID: toolID, Cause: agent.CauseToolFrozen, Freeze: freeze})
}

// RevokeApproved ends all access of an agent that one person or token gave at a time or later, as
// far as nobody else has given it since. Nothing to revoke isn't an error.
func (g *Grants) RevokeApproved(
	ctx context.Context, m loop.Meta, agentID, by string, since time.Time,
) (AgentResult, error) {
	m.CommandID = loop.DerivedID(m.CommandID, "approved by "+by+"/"+agentID)
	return g.revoke(ctx, m, agentID, agent.RevokeApproved{By: by, Since: since})
}

// Expire writes the end of access whose time has passed. Where there is none, it does nothing.
func (g *Grants) Expire(ctx context.Context, m loop.Meta, agentID, toolID string) error {
	tool, err := g.tool(ctx, m, toolID)
	if err != nil {
		return err
	}
	tool.ID = toolID // also of one that was removed
	_, err = g.Agents.Do(ctx, agentID, m, func(_ agent.State, at time.Time) (agent.Command, error) {
		return agent.Expire{At: at, Tool: tool}, nil
	})
	return err
}

func (g *Grants) revoke(ctx context.Context, m loop.Meta, agentID string, c agent.Command) (AgentResult, error) {
	done, err := g.Agents.Do(ctx, agentID, m, owned(m, func(agent.State, time.Time) (agent.Command, error) {
		return c, nil
	}))
	if err != nil {
		return done, err
	}
	for _, e := range done.Events {
		if revoked, ok := e.(agent.GrantRevoked); ok && revoked.SecretID != "" {
			err = errors.Join(err, g.Secrets.Remove(ctx, revoked.SecretID))
		}
	}
	return done, loop.Refusal(err)
}

// Uses reports whether the tool, the agent's access or the channel that a secret was written for
// refers to it now.
func (g *Grants) Uses(ctx context.Context, organization, owner, secretID string) (bool, error) {
	kind, rest, _ := strings.Cut(owner, "/")
	switch kind {
	case "tool":
		head, err := g.Catalogs.Fresh(ctx, organization)
		return head.State.Tools[rest].SecretID == secretID || head.State.Underway != nil, err
	case "change":
		head, err := g.Catalogs.Fresh(ctx, organization)
		return head.State.Underway != nil && head.State.Underway.ChangeID == rest, err
	case "agent":
		agentID, toolID, _ := strings.Cut(rest, "/tool/")
		head, err := g.Agents.Fresh(ctx, agentID)
		access := head.State.Grants[toolID]
		return access.SecretID == secretID, err
	case "channel":
		head, err := g.Organizations.Fresh(ctx, organization)
		return head.State.Channels[rest].SecretID == secretID, err
	}
	return true, nil // of a kind that another version knows
}

// grantCommand makes a command on the access to a tool, as the catalog has it, with the agent's own
// credential if it brings one.
type grantCommand func(tool agent.Tool, secretID string, o occasion) agent.Command

// occasion is when a command is decided, and who gives it.
type occasion struct {
	at time.Time
	by agent.Approver
}

// decide carries out a decision that may bring a credential. One that came with an approval which
// isn't the last is removed.
func (g *Grants) decide(
	ctx context.Context, m loop.Meta, agentID, toolID string, t Terms, command grantCommand,
) (GrantResult, error) {
	done, err := carryOut(ctx, vault{secrets: g.Secrets, clock: g.Clock}, m, proposal[agent.State, agent.Command,
		agent.Event]{
		loop: g.Agents, stream: agentID, owner: grantOwner(agentID, toolID), secret: t.Credential,
		spare: func(events []agent.Event) bool {
			return slices.ContainsFunc(events, func(e agent.Event) bool {
				_, notLast := e.(agent.GrantApprovalGiven)
				return notLast
			})
		},
		do: func(
			ctx context.Context, m loop.Meta, b loop.Build[agent.State, agent.Command],
		) (loop.Result[agent.State, agent.Event], error) {
			return g.Agents.Do(ctx, agentID, m, b)
		},
		gather: func(ctx context.Context, try func(making[agent.State, agent.Command]) error) error {
			tool, err := g.tool(ctx, m, toolID)
			if err != nil {
				return err
			}
			return g.withApprover(ctx, m, tool, func(by agent.Approver) error {
				return try(func(s agent.State, secretID string, at time.Time) (c agent.Command, err error) {
					if s.OrganizationID != m.Organization {
						return nil, domain.NotFound("agent")
					}
					o := occasion{at: at, by: by}
					o.by.Local, err = local(tool.Rules, at)
					return command(tool, secretID, o), err
				})
			})
		},
	})
	if err != nil {
		return GrantResult{}, err
	}
	if err := g.barrier(ctx, m, agentID, toolID, done.State); err != nil {
		return GrantResult{}, err
	}
	head, err := g.Catalogs.Cached(ctx, m.Organization)
	return GrantResult{AgentResult: done, AgentID: agentID, ToolID: toolID, Tool: head.State.Tools[toolID]}, err
}

// tool is what decisions about access read of a tool, as the catalog is now.
func (g *Grants) tool(ctx context.Context, m loop.Meta, toolID string) (agent.Tool, error) {
	head, err := g.Catalogs.Fresh(ctx, m.Organization)
	return ToolFacts(head.State, toolID), err
}

// barrier closes the gap between the catalog that a command relied on and its append: access to a
// tool that was removed or frozen meanwhile is revoked again before anybody hears of it. left is
// the agent as the command left it.
func (g *Grants) barrier(ctx context.Context, m loop.Meta, agentID, toolID string, left agent.State) error {
	head, err := g.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return err
	}
	if tool, offered := head.State.Tools[toolID]; offered {
		access := left.Grants[toolID]
		if !access.Open() || access.ToolFreezes >= tool.Freezes {
			return nil
		}
		m.CommandID, m.Since = loop.DerivedID(m.CommandID, "tool frozen"), 0
		if _, err := g.RevokeFrozen(ctx, m, agentID, toolID, tool.Freezes); err != nil {
			return err
		}
		return agent.Frozen(toolID)
	}
	m.CommandID, m.Since = loop.DerivedID(m.CommandID, "tool removed"), 0
	if _, err := g.Revoke(ctx, m, agentID, toolID, agent.CauseToolRemoved); err != nil {
		return err
	}
	return domain.NotFound("tool")
}

func isExisting(err error) bool { return errors.Is(err, eventstore.ErrWrongRevision) }
