package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"agentkey/api/door"
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
		Permissions: door.Permissions(call.Caller.Role), Tools: some(call.Caller.Tools),
	}
	out.Organization.ID, out.Organization.Name = call.Caller.Organization, head.State.Name
	return out, n.err
}

// ListAudit answers GET /api/admin/audit.
func (s *Server) ListAudit(ctx context.Context, r ListAuditRequestObject) (ListAuditResponseObject, error) {
	call := callOf(ctx)
	p, err := page(r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	q := r.Params
	filter, err := s.auditFilter(string(value(q.ActorType)), q.ActorID, q.AgentID, q.ToolID, q.Action, q.From, q.To)
	if err != nil {
		return nil, err
	}
	found, err := s.Models.Audit(call.ctx, call.Caller.Organization, filter, p)
	if err != nil {
		return nil, asked(err, "audit entry")
	}
	out := ListAudit200JSONResponse{Items: make([]AuditEntry, len(found.Items)), NextCursor: cursor(found.Next)}
	for i, e := range found.Items {
		if out.Items[i], err = s.auditEntry(call.ctx, e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// GetAuditIntegrity answers GET /api/admin/audit/integrity.
func (s *Server) GetAuditIntegrity(
	ctx context.Context, _ GetAuditIntegrityRequestObject,
) (GetAuditIntegrityResponseObject, error) {
	call := callOf(ctx)
	found, err := s.Integrity(call.ctx, call.Caller.Organization)
	return GetAuditIntegrity200JSONResponse(found), err
}

// auditFilter is what the parameters of a query leave of the audit.
func (s *Server) auditFilter(
	actorType string, actorID *ActorIDFilter, agentID *AgentIDFilter, toolID *ToolIDFilter,
	action *ActionFilter, from *FromFilter, to *ToFilter,
) (readmodels.AuditFilter, error) {
	if name := value(action); name != "" && !slices.Contains(s.Actions, name) {
		return readmodels.AuditFilter{}, domain.Invalid("action", s.noAction(name))
	}
	if from != nil && to != nil && from.After(*to) {
		return readmodels.AuditFilter{}, domain.Invalid("from", "it is after to, so no event can match")
	}
	if to != nil && to.IsZero() {
		to = new(to.Add(time.Microsecond)) // the zero time leaves the end open, and nothing is as old as this
	}
	return readmodels.AuditFilter{
		ActorType: actorType, ActorID: value(actorID), AgentID: value(agentID), ToolID: value(toolID),
		Action: value(action), From: value(from), To: value(to),
	}, nil
}

// noAction says which actions are like one that there isn't: those about the same thing, else what
// things there are.
func (s *Server) noAction(action string) string {
	about, _, _ := strings.Cut(strings.TrimSpace(strings.ToLower(action)), ".")
	var alike, things []string
	for _, a := range s.Actions {
		thing, _, _ := strings.Cut(a, ".")
		if thing == about {
			alike = append(alike, a)
		}
		if !slices.Contains(things, thing) {
			things = append(things, thing)
		}
	}
	if len(alike) > 0 {
		return "no event has this name; there are " + strings.Join(alike, ", ")
	}
	return "no event has this name; names such as credential.vended begin with " + strings.Join(things, ", ")
}

// auditEntry opens what an entry holds about the person or machine behind it. What was erased stays
// absent.
func (s *Server) auditEntry(ctx context.Context, e readmodels.AuditEntry) (AuditEntry, error) {
	n := s.naming(e.Organization)
	out := AuditEntry{
		ID: e.ID, Position: int64(e.Position), Stream: e.Stream, Revision: int64(e.Revision), Action: e.Action, //nolint:gosec // a log never holds 2^63
		AgentID: optional(e.AgentID), AgentName: optional(e.AgentName), ToolID: optional(e.ToolID),
		CurrentAgentName: optional(e.Current.Agent), CurrentToolName: optional(e.Current.Tool),
		ToolName: optional(e.ToolName), OccurredAt: e.OccurredAt.UTC(), Data: map[string]any{},
		Target: AuditTarget{
			Type: e.Target.Type, ID: e.Target.ID, Label: n.target(ctx, e), CurrentLabel: optional(e.Current.Target),
		},
	}
	if err := json.Unmarshal(e.Data, &out.Data); err != nil {
		return AuditEntry{}, fmt.Errorf("read the data of %s: %w", e.ID, err)
	}
	personal := n.personal(ctx, e)
	if e.Actor.Label == "" {
		e.Actor.Label = personal.Label
	}
	out.Actor = n.actor(ctx, e.Actor)
	out.Actor.CurrentLabel = optional(e.Current.Actor)
	if out.OnBehalfOf = n.somebody(ctx, e.OnBehalfOf); out.OnBehalfOf != nil {
		out.OnBehalfOf.CurrentLabel = optional(e.Current.OnBehalfOf)
	}
	if e.RequestID == "" { // an operator's command, or what followed from an event
		return out, n.err
	}
	out.Request = &AuditRequest{
		ID: e.RequestID, IP: optional(personal.Address), UserAgent: optional(personal.UserAgent),
	}
	return out, n.err
}
