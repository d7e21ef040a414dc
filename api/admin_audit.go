package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"agentkey/audit/actions"
	"agentkey/domain"
	"agentkey/readmodels"
)

// GetAdmin answers GET /api/admin/me.
func (s *Server) GetAdmin(ctx context.Context, _ GetAdminRequestObject) (GetAdminResponseObject, error) {
	call := callOf(ctx)
	head, err := s.Door.Callers.Organizations.Cached(call.ctx, call.Caller.Organization)
	if err != nil {
		return nil, err
	}
	n := s.naming(call.Caller.Organization)
	out := GetAdmin200JSONResponse{
		Actor: n.actor(call.ctx, call.Caller.Actor), Role: Role(call.Caller.Role),
		Permissions: permissions(call.Caller.Role), Tools: some(call.Caller.Tools),
	}
	out.Organization.ID, out.Organization.Name = call.Caller.Organization, head.State.Name
	return out, n.err
}

// ListAudit answers GET /api/admin/audit.
func (s *Server) ListAudit(ctx context.Context, r ListAuditRequestObject) (ListAuditResponseObject, error) {
	call, q := callOf(ctx), r.Params
	oldestFirst := value(q.Order) == ListAuditParamsOrderAsc
	p, after, err := auditPage(q.Limit, q.Cursor, oldestFirst)
	if err != nil {
		return nil, err
	}
	asked := auditQuery{
		ActorType: string(value(q.ActorType)), ActorID: q.ActorID, AgentID: q.AgentID, ToolID: q.ToolID, Action: q.Action,
		Category: q.Category, NotCategory: q.NotCategory, Q: q.Q, From: q.From, To: q.To,
	}
	asked.Retries = value(q.Retries) || q.Retries == nil && asked.namesRetries()
	filter, err := asked.filter()
	if err != nil {
		return nil, err
	}
	var found readmodels.List[readmodels.AuditEntry]
	if oldestFirst {
		found, err = s.Models.AuditFrom(call.ctx, call.Caller.Organization, filter, after, p)
	} else {
		found, err = s.Models.Audit(call.ctx, call.Caller.Organization, filter, p)
	}
	if err != nil {
		return nil, askedAudit(err)
	}
	out := ListAudit200JSONResponse{
		Items: make([]AuditEntry, len(found.Items)), NextCursor: auditCursor(found.Next, oldestFirst),
	}
	n := s.naming(call.Caller.Organization)
	for i, e := range found.Items {
		if out.Items[i], err = n.auditEntry(call.ctx, e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// GetAuditEntry answers GET /api/admin/audit/{id}.
func (s *Server) GetAuditEntry(ctx context.Context, r GetAuditEntryRequestObject) (GetAuditEntryResponseObject, error) {
	call := callOf(ctx)
	found, err := s.Models.AuditEntry(call.ctx, call.Caller.Organization, r.ID)
	if err != nil {
		return nil, asked(err, "audit entry")
	}
	out, err := s.naming(call.Caller.Organization).auditEntry(call.ctx, found)
	return GetAuditEntry200JSONResponse(out), err
}

// ListAuditActions answers GET /api/admin/audit/actions.
func (s *Server) ListAuditActions(
	context.Context, ListAuditActionsRequestObject,
) (ListAuditActionsResponseObject, error) {
	return ListAuditActions200JSONResponse{Items: views(actions.All(), func(a actions.Action) AuditActionInfo {
		return AuditActionInfo{
			Action: AuditAction(a.Name), Category: AuditCategory(a.Category), Description: a.Description, Example: a.Example,
		}
	})}, nil
}

// GetAuditIntegrity answers GET /api/admin/audit/integrity.
func (s *Server) GetAuditIntegrity(
	ctx context.Context, _ GetAuditIntegrityRequestObject,
) (GetAuditIntegrityResponseObject, error) {
	call := callOf(ctx)
	found, err := s.Integrity(call.ctx, call.Caller.Organization)
	return GetAuditIntegrity200JSONResponse(found), err
}

// opened is an audit entry with the labels of everything that it names, and what it holds about the
// person or machine behind it. What was erased stays blank.
func (n *naming) opened(ctx context.Context, e readmodels.AuditEntry) (readmodels.AuditEntry, Personal, error) {
	personal := n.personal(ctx, e)
	if e.Actor.Label == "" {
		e.Actor.Label = personal.Label
	}
	e.Actor.Label = value(n.actor(ctx, e.Actor).Label)
	if by := n.somebody(ctx, e.OnBehalfOf); by != nil {
		e.OnBehalfOf.Label = value(by.Label)
	}
	e.Target.Label = n.target(ctx, e)
	return e, personal, n.err
}

func (n *naming) auditEntry(ctx context.Context, e readmodels.AuditEntry) (AuditEntry, error) {
	e, personal, err := n.opened(ctx, e)
	if err != nil {
		return AuditEntry{}, err
	}
	out := AuditEntry{
		ID: e.ID, Stream: e.Stream, Action: AuditAction(e.Action),
		Position: int64(e.Position), Revision: int64(e.Revision), //nolint:gosec // a log never holds 2^63
		Category: AuditCategory(actions.Of(e.Action)), Actor: *auditActor(e.Actor, e.Current.Actor),
		OnBehalfOf: auditActor(e.OnBehalfOf, e.Current.OnBehalfOf),
		AgentID:    optional(e.AgentID), ToolID: optional(e.ToolID), OccurredAt: e.OccurredAt.UTC(), Data: map[string]any{},
		Target: AuditTarget{
			Type: e.Target.Type, ID: e.Target.ID, Label: e.Target.Label, CurrentLabel: optional(e.Current.Target),
		},
	}
	if e.AgentID != "" {
		out.Agent = &AuditAgent{
			ID: e.AgentID, Name: cmp.Or(e.AgentName, "Unknown agent"), CurrentName: optional(e.Current.Agent),
			Retired: optional(e.AgentRetired),
		}
	}
	if e.ToolID != "" {
		out.Tool = &AuditTool{
			ID: e.ToolID, Name: cmp.Or(e.ToolName, "Unknown tool"), CurrentName: optional(e.Current.Tool),
			Removed: optional(e.ToolRemoved),
		}
	}
	if e.RequestID != "" { // else an operator's command, or what followed from an event
		out.Request = &AuditRequest{
			ID: e.RequestID, IP: optional(personal.Address), UserAgent: optional(personal.UserAgent),
		}
	}
	if out.Summary, err = actions.Summary(e); err != nil {
		return AuditEntry{}, err
	}
	if err := json.Unmarshal(e.Data, &out.Data); err != nil {
		return AuditEntry{}, fmt.Errorf("read the data of %s: %w", e.ID, err)
	}
	return out, nil
}

// auditActor is an actor of the audit, who always has a label; nil where nobody acted.
func auditActor(a domain.Actor, current string) *Actor {
	if a == (domain.Actor{}) {
		return nil
	}
	return &Actor{
		Type: ActorType(a.Type), ID: a.ID, Label: new(actions.Label(a)), CurrentLabel: optional(current),
	}
}
