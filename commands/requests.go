package commands

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Wanted is what an agent says of its request: why, and for how long; 0: it doesn't say.
type Wanted struct {
	Reason  string
	Seconds int64
}

// Request asks for a tool in the name of an agent and returns the request's id, and the agent as
// that left it, or as the rules did that decided it at once. Where they can't be asked now, the
// request waits, and a reaction asks them.
func (g *Grants) Request(
	ctx context.Context, m loop.Meta, agentID, toolID string, want Wanted,
) (string, AgentResult, error) {
	requestID := loop.DerivedID(m.CommandID, "request").String()
	tool, err := g.tool(ctx, m, toolID)
	if err != nil {
		return "", AgentResult{}, err
	}
	ask := func(_ agent.State, at time.Time) (agent.Command, error) {
		return agent.Request{
			At: at, Tool: tool, RequestID: requestID, Reason: want.Reason, Seconds: want.Seconds,
		}, nil
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
	err = g.barrier(ctx, m, agentID, toolID, done.State)
	if refusal, refused := errors.AsType[*domain.Error](err); refused && refusal.Code == "tool_frozen" {
		err = &domain.Error{
			Kind: domain.KindUnavailable, Code: "busy", Detail: "The tool was frozen at this moment, which ended the request.",
			Hint: "Send the same request again after {wait}.", RetryAfter: time.Second,
		}
	}
	if err != nil {
		return requestID, done, err
	}
	ruled, err := g.Ruled(ctx, m.Organization, agentID, toolID, done)
	if err != nil {
		g.Agents.Env.OnFault("decide a request by the rules", err)
		return requestID, done, nil
	}
	return requestID, ruled, nil
}

// Approve says yes to a request. Where the tool needs the approvals of several people, the request
// waits until the last of them. Refusals: already_decided, already_approved_by_you, own_agent,
// outside_allowed_hours.
func (g *Grants) Approve(ctx context.Context, m loop.Meta, requestID string, t Terms) (GrantResult, error) {
	fields := partsOf(t.Credential)
	return g.decideRequest(ctx, m, requestID, t, func(tool agent.Tool, secretID string, o occasion) agent.Command {
		return agent.Approve{
			At: o.at, Tool: tool, RequestID: requestID, SecretID: secretID, CredentialFields: fields,
			ExpiresAt: t.ExpiresAt, Seen: m.Seen, By: o.by,
		}
	})
}

// Deny says no to a request.
func (g *Grants) Deny(ctx context.Context, m loop.Meta, requestID, reason string) (GrantResult, error) {
	return g.decideRequest(ctx, m, requestID, Terms{}, func(tool agent.Tool, _ string, _ occasion) agent.Command {
		return agent.Deny{Tool: tool, RequestID: requestID, Reason: reason, Seen: m.Seen}
	})
}

func (g *Grants) decideRequest(
	ctx context.Context, m loop.Meta, requestID string, t Terms, command grantCommand,
) (GrantResult, error) {
	request, err := g.opened(ctx, m, requestID)
	if errors.Is(err, errNotOpened) {
		return GrantResult{}, domain.NotFound("request")
	}
	if err != nil {
		return GrantResult{}, err
	}
	if err := g.within(ctx, m, request.ToolID); err != nil {
		return GrantResult{}, err
	}
	d, err := g.decide(ctx, m, request.AgentID, request.ToolID, t, command)
	if refusal := (*domain.Error)(nil); errors.As(err, &refusal) && refusal.Code == "already_decided" {
		asked, serr := g.asked(ctx, request.AgentID, requestID)
		if serr != nil {
			return GrantResult{}, serr
		}
		if !asked {
			return GrantResult{}, domain.NotFound("request")
		}
	}
	return d, err
}

// Get returns the newest request of an agent for a tool as its stream has it, or false where that
// is another one by now.
func (g *Grants) Get(ctx context.Context, m loop.Meta, requestID string) (GrantResult, bool, error) {
	request, err := g.opened(ctx, m, requestID)
	if errors.Is(err, errNotOpened) {
		return GrantResult{}, false, domain.NotFound("request")
	}
	if err != nil {
		return GrantResult{}, false, err
	}
	offered, err := g.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return GrantResult{}, false, err
	}
	head, err := g.Agents.Fresh(ctx, request.AgentID)
	if err != nil {
		return GrantResult{}, false, err
	}
	d := GrantResult{
		AgentResult: AgentResult{State: head.State, Position: head.Position}, AgentID: request.AgentID,
		ToolID: request.ToolID,
		Tool:   offered.State.Tools[request.ToolID],
	}
	return d, d.Grant().RequestID == requestID, nil
}

// Waiting returns the request of an agent for a tool whose approvals may be of interest: the zero
// result where the tool needs one alone. The agent may be a moment old, like the list that names
// it.
func (g *Grants) Waiting(ctx context.Context, organization, agentID, toolID string) (GrantResult, error) {
	offered, err := g.Catalogs.Cached(ctx, organization)
	tool := offered.State.Tools[toolID]
	if err != nil || tool.Approval.Approvals() == 1 {
		return GrantResult{}, err
	}
	head, err := g.Agents.Recent(ctx, agentID)
	return GrantResult{AgentResult: AgentResult{State: head.State}, AgentID: agentID, ToolID: toolID, Tool: tool}, err
}

// asked reports whether a request ever reached the agent's stream. One whose writer died before
// that is an orphan and names nothing. The stream is read back only as far as the request is old.
func (g *Grants) asked(ctx context.Context, agentID, requestID string) (bool, error) {
	id, err := uuid.Parse(requestID)
	if err != nil {
		return false, nil //nolint:nilerr // what is not an id was never asked for
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
	for from := head.End(); from.Revision >= 0; {
		events, before, err := g.Log.ReadBack(ctx, codec.Agents.Stream(agentID), from, pageSize)
		if err != nil {
			return false, loop.Refusal(err)
		}
		for _, e := range events {
			if asked, ok := e.Event.(agent.GrantRequested); ok && asked.RequestID == requestID {
				return true, nil
			}
			if e.Signed.Time.Before(oldest) {
				return false, nil
			}
		}
		from = before
	}
	return false, nil
}

var errNotOpened = errors.New("nothing of this id was ever opened in this organization")

// opened returns what was asked for, or noted, under an id, or errNotOpened.
func (g *Grants) opened(ctx context.Context, m loop.Meta, id string) (codec.RequestOpened, error) {
	first, err := g.Log.First(ctx, codec.Requests.Stream(id))
	if errors.Is(err, eventstore.ErrStreamNotFound) {
		return codec.RequestOpened{}, errNotOpened
	}
	if err != nil {
		return codec.RequestOpened{}, loop.Refusal(err)
	}
	opened, ok := first.Event.(codec.RequestOpened)
	if !ok || first.Signed.Organization != m.Organization {
		return codec.RequestOpened{}, errNotOpened
	}
	return opened, nil
}

// open writes the stream that finds a request, or a note, by its id.
func (g *Grants) open(ctx context.Context, m loop.Meta, requestID, agentID, toolID string) error {
	signed := codec.Signed{
		Organization: m.Organization, Actor: m.Actor, OnBehalfOf: m.OnBehalfOf, CommandID: m.CommandID.String(),
		RequestID: m.RequestID, Time: loop.Later(g.Clock(), time.Time{}),
	}
	_, err := g.Log.Write(
		ctx, codec.Requests.Stream(requestID), codec.Begin,
		codec.RequestOpened{AgentID: agentID, ToolID: toolID}, signed,
	)
	if err != nil && !isExisting(err) {
		return loop.Refusal(err)
	}
	return nil
}
