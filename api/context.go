package api

import (
	"context"
	"slices"
	"time"

	"agentkey/domain"
	"agentkey/readmodels"
)

// contextOf is what somebody wants to know who decides about a request that was just read from its
// streams, which also say who asks and what for: only what was before, and how many have the tool,
// is the read model's. It is nil while that can't be asked or doesn't have the request yet, because
// the decision needs neither.
func (s *Server) contextOf(call *call, n *naming, request readmodels.Request) *RequestContext {
	var found map[string]readmodels.RequestContext
	err := s.Models.Instant(call.ctx, func(model *readmodels.DB) (err error) {
		found, err = model.Contexts(call.ctx, n.organization, []readmodels.Request{request}, s.Clock())
		return err
	})
	about, known := found[request.ID]
	if err != nil || !known {
		return nil
	}
	if head, err := s.Agents.Loop.Cached(call.ctx, request.AgentID); err == nil {
		about.Agent = agentLeft(request.AgentID, head.State, s.Clock())
		about.Agent.OwnerID = head.State.OwnerID
	}
	offered, err := s.Tools.Catalogs.Cached(call.ctx, n.organization)
	if t, is := offered.State.Tools[request.ToolID]; err == nil && is {
		about.Tool = readmodels.Tool{
			ID: request.ToolID, Name: t.Name, Description: t.Description, URL: t.URL, CredentialVersion: t.CredentialVersion,
			CredentialFields: t.CredentialFields, MaxGrantSeconds: t.MaxGrantSeconds, FrozenAt: value(t.FrozenAt),
			Labels:   t.Labels,
			Approved: about.Tool.Approved,
		}
	}
	n.meetDeciders(call.ctx, map[string]readmodels.RequestContext{request.ID: about})
	return n.context(call.ctx, about, s.Clock())
}

// meetDeciders looks for everybody whom contexts name.
func (n *naming) meetDeciders(ctx context.Context, all map[string]readmodels.RequestContext) {
	var owners, ids []string
	for _, c := range all {
		owners = append(owners, c.Agent.OwnerID)
		for _, p := range c.History {
			if p.By.Type == domain.ActorHuman {
				ids = append(ids, p.By.ID)
			}
		}
	}
	n.meetOwners(ctx, owners)
	slices.Sort(ids)
	n.meet(ctx, slices.Compact(ids), n.server.People.Known)
}

func (n *naming) context(ctx context.Context, c readmodels.RequestContext, now time.Time) *RequestContext {
	out := RequestContext{
		Agent: RequestingAgent{
			ID: c.Agent.ID, Name: c.Agent.Name, Description: c.Agent.Description,
			Status: AgentStatus(c.Agent.Status), CreatedAt: c.Agent.CreatedAt.UTC(),
			LastSeenAt: optionalTime(c.Agent.LastSeenAt), Approved: c.Agent.Approved,
			Owner: n.owner(ctx, c.Agent.OwnerID), Labels: labelsView(c.Agent.Labels),
		},
		Tool: RequestedTool{
			ID: c.Tool.ID, Name: c.Tool.Name, Description: c.Tool.Description, URL: optional(c.Tool.URL),
			HasCredential: c.Tool.CredentialVersion > 0 && c.Tool.RemovedAt.IsZero(), Approved: c.Tool.Approved,
			FrozenAt: optionalTime(c.Tool.FrozenAt), RemovedAt: optionalTime(c.Tool.RemovedAt),
			Labels: labelsView(c.Tool.Labels),
		},
		History: views(c.History, func(p readmodels.Past) PastAccess { return n.pastAccess(ctx, c.Agent, p) }),
		More:    optional(c.More),
	}
	if len(c.Tool.CredentialFields) > 0 {
		out.Tool.CredentialFields = (*[]string)(&c.Tool.CredentialFields)
	}
	if most := c.Tool.MaxGrantSeconds; most > 0 {
		out.Tool.MaxExpiresAt = optionalTime(now.Add(time.Duration(most) * time.Second).Truncate(time.Second))
	}
	return &out
}

func (n *naming) pastAccess(ctx context.Context, agent readmodels.Agent, p readmodels.Past) PastAccess {
	out := PastAccess{
		Action: PastAccessAction(p.Status), At: p.At.UTC(), RequestID: optional(p.RequestID), Rule: ruleVersion(p.Rule),
	}
	switch p.Status {
	case "pending":
		out.Action, out.Reason = PastAccessActionRequested, optional(p.Reason)
	case "denied":
		out.DenialReason = optional(p.DenialReason)
	case "approved":
		out.ExpiresAt = optionalTime(p.ExpiresAt)
		if p.RequestID == "" {
			out.Action, out.Reason = PastAccessActionAssigned, optional(p.Reason)
		}
	}
	out.By = byRule(itself(n.somebody(ctx, p.By), agent.ID, agent.Name, ""), p.Rule)
	return out
}
