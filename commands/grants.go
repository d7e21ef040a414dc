package commands

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

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

	Organizations *OrganizationLoop // whose channels have secrets too
}

// Terms are what a human attaches to access: the agent's own credential where the tool's mode asks for one (empty
// otherwise), and when the access, or for Replace the credential, ends.
type Terms struct {
	Credential domain.Secret
	ExpiresAt  *time.Time
}

// Request asks for a tool in the name of an agent and returns the request's id.
func (g *Grants) Request(ctx context.Context, m loop.Meta, agentID, toolID, reason string) (string, AgentResult, error) {
	requestID := loop.DerivedID(m.CommandID, "request").String()
	ask, err := g.building(ctx, m, toolID, func(tool agent.Tool, _ agent.State, at time.Time) (agent.Command, error) {
		return agent.Request{At: at, Tool: tool, RequestID: requestID, Reason: reason}, nil
	})
	if err != nil {
		return "", AgentResult{}, err
	}
	if m.Since == 0 {
		if err := g.Agents.Check(ctx, agentID, ask); err != nil {
			return "", AgentResult{}, err
		}
	}
	if err := g.open(ctx, m, requestID, agentID, toolID); err != nil {
		return "", AgentResult{}, err
	}
	done, err := g.Agents.Do(ctx, agentID, m, ask)
	if err != nil {
		return "", done, err
	}
	return requestID, done, g.barrier(ctx, m, agentID, toolID)
}

// Approve says yes to a request.
func (g *Grants) Approve(ctx context.Context, m loop.Meta, requestID string, t Terms) (Decided, error) {
	return g.decideRequest(ctx, m, requestID, t, func(tool agent.Tool, secretID string, at time.Time) agent.Command {
		return agent.Approve{At: at, Tool: tool, RequestID: requestID, SecretID: secretID, ExpiresAt: t.ExpiresAt}
	})
}

// Deny says no to a request.
func (g *Grants) Deny(ctx context.Context, m loop.Meta, requestID, reason string) (Decided, error) {
	return g.decideRequest(ctx, m, requestID, Terms{}, func(tool agent.Tool, _ string, _ time.Time) agent.Command {
		return agent.Deny{Tool: tool, RequestID: requestID, Reason: reason}
	})
}

// Decided is a command on one agent's access to one tool carried out, with what an answer names.
type Decided struct {
	AgentResult
	AgentID string
	ToolID  string
	Tool    catalog.Tool // as it was when it was decided
}

// Grant is the access as the command left it.
func (d Decided) Grant() agent.Grant { return d.State.Grants[d.ToolID] }

func (g *Grants) decideRequest(ctx context.Context, m loop.Meta, requestID string, t Terms, command func(agent.Tool, string, time.Time) agent.Command) (Decided, error) {
	request, err := g.opened(ctx, m, requestID)
	if errors.Is(err, errNotOpened) {
		return Decided{}, domain.NotFound("request")
	}
	if err != nil {
		return Decided{}, err
	}
	d, err := g.decide(ctx, m, request.AgentID, request.ToolID, t, func(tool agent.Tool, _ agent.State, secretID string, at time.Time) (agent.Command, error) {
		return command(tool, secretID, at), nil
	})
	if refusal := (*domain.Error)(nil); errors.As(err, &refusal) && refusal.Code == "already_decided" {
		asked, serr := g.asked(ctx, request.AgentID, requestID)
		if serr != nil {
			return Decided{}, serr
		}
		if !asked {
			return Decided{}, domain.NotFound("request")
		}
	}
	return d, err
}

// asked reports whether a request ever reached the agent's stream. One whose writer died before that is an
// orphan and names nothing. The stream is read back only as far as the request is old.
func (g *Grants) asked(ctx context.Context, agentID, requestID string) (bool, error) {
	id, err := uuid.Parse(requestID)
	if err != nil {
		return false, nil //nolint:nilerr // what is no id of ours was never asked for
	}
	oldest := loop.MadeAt(id).Add(-time.Minute)
	head, err := g.Agents.Fresh(ctx, agentID)
	if err != nil {
		return false, err
	}
	for _, grant := range head.State.Grants {
		if grant.RequestID == requestID {
			return true, nil
		}
	}
	for from := head.Revision; from >= 0; {
		events, err := g.Log.Client.ReadBackwardFrom(ctx, codec.Agents.Stream(agentID), uint64(from), pageSize)
		if err != nil {
			return false, loop.Refusal(err)
		}
		verified, err := g.Log.Verify(events)
		if err != nil {
			return false, loop.Refusal(err)
		}
		for _, e := range verified {
			if asked, ok := e.Event.(agent.GrantRequested); ok && asked.RequestID == requestID {
				return true, nil
			}
			if e.Signed.Time.Before(oldest) {
				return false, nil
			}
		}
		if from -= int64(len(events)); len(events) == 0 {
			break
		}
	}
	return false, nil
}

// Assign gives access without a request, or approves the pending one.
func (g *Grants) Assign(ctx context.Context, m loop.Meta, agentID, toolID string, t Terms) (Decided, error) {
	return g.decide(ctx, m, agentID, toolID, t, func(tool agent.Tool, _ agent.State, secretID string, at time.Time) (agent.Command, error) {
		return agent.Assign{At: at, Tool: tool, SecretID: secretID, ExpiresAt: t.ExpiresAt}, nil
	})
}

// Replace gives an agent's access a new credential of its own.
func (g *Grants) Replace(ctx context.Context, m loop.Meta, agentID, toolID string, t Terms) (Decided, error) {
	return g.decide(ctx, m, agentID, toolID, t, func(tool agent.Tool, _ agent.State, secretID string, at time.Time) (agent.Command, error) {
		return agent.ReplaceCredential{At: at, Tool: tool, SecretID: secretID, ExpiresAt: t.ExpiresAt}, nil
	})
}

// Revoke ends an agent's access to a tool, or its request. Nothing to revoke is no error.
func (g *Grants) Revoke(ctx context.Context, m loop.Meta, agentID, toolID string, cause agent.Cause) (AgentResult, error) {
	secretID := ""
	done, err := g.Agents.Do(ctx, agentID, m, owned(m, func(s agent.State, _ time.Time) (agent.Command, error) {
		secretID = s.Grants[toolID].SecretID
		return agent.Revoke{ToolID: toolID, Cause: cause}, nil
	}))
	if err == nil && secretID != "" {
		err = loop.Refusal(g.Secrets.Remove(ctx, secretID))
	}
	return done, err
}

// Uses reports whether the tool, the agent's access or the channel that a secret was written for refers to it now.
func (g *Grants) Uses(ctx context.Context, organization, owner, secretID string) (bool, error) {
	kind, rest, _ := strings.Cut(owner, "/")
	switch kind {
	case "tool":
		head, err := g.Catalogs.Fresh(ctx, organization)
		return head.State.Tools[rest].SecretID == secretID, err
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

// decide carries out a decision that may bring a credential.
func (g *Grants) decide(ctx context.Context, m loop.Meta, agentID, toolID string, t Terms, command func(agent.Tool, agent.State, string, time.Time) (agent.Command, error)) (Decided, error) {
	build := func(secretID string) (loop.Build[agent.State, agent.Command], error) {
		return g.building(ctx, m, toolID, func(tool agent.Tool, s agent.State, at time.Time) (agent.Command, error) {
			return command(tool, s, secretID, at)
		})
	}
	check := func(secretID string) error {
		ask, err := build(secretID)
		if err != nil {
			return err
		}
		return g.Agents.Check(ctx, agentID, owned(m, ask))
	}
	var done AgentResult
	do := func(secretID string) error {
		ask, err := build(secretID)
		if err != nil {
			return err
		}
		done, err = g.Agents.Do(ctx, agentID, m, owned(m, ask))
		return err
	}
	err := vault{secrets: g.Secrets, clock: g.Clock}.between(ctx, m, grantOwner(agentID, toolID), t.Credential, check, do)
	if err != nil {
		return Decided{}, err
	}
	if err := g.barrier(ctx, m, agentID, toolID); err != nil {
		return Decided{}, err
	}
	head, err := g.Catalogs.Cached(ctx, m.Organization)
	return Decided{AgentResult: done, AgentID: agentID, ToolID: toolID, Tool: head.State.Tools[toolID]}, err
}

// building returns a Build that knows the tool as the catalog is now.
func (g *Grants) building(ctx context.Context, m loop.Meta, toolID string, command func(agent.Tool, agent.State, time.Time) (agent.Command, error)) (loop.Build[agent.State, agent.Command], error) {
	head, err := g.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return nil, err
	}
	tool := ToolFacts(head.State, toolID)
	return func(s agent.State, at time.Time) (agent.Command, error) { return command(tool, s, at) }, nil
}

// barrier closes the gap between the catalog that a command relied on and its append: access to a tool that was
// removed meanwhile is revoked again before anybody hears of it.
func (g *Grants) barrier(ctx context.Context, m loop.Meta, agentID, toolID string) error {
	head, err := g.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return err
	}
	if _, offered := head.State.Tools[toolID]; offered {
		return nil
	}
	m.CommandID, m.Since = loop.DerivedID(m.CommandID, "tool removed"), 0
	if _, err := g.Revoke(ctx, m, agentID, toolID, agent.CauseToolRemoved); err != nil {
		return err
	}
	return domain.NotFound("tool")
}

func isExisting(err error) bool { return errors.Is(err, eventstore.ErrWrongRevision) }
