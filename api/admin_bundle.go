package api

import (
	"context"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/readmodels"
)

// exportBundle is the export of a whole range, which proves itself.
func (s *Server) exportBundle(
	call *call, out auditExport, p ExportAuditParams,
) (ExportAuditResponseObject, error) {
	for name, given := range map[string]bool{
		"actor_type": p.ActorType != nil, "actor_id": p.ActorID != nil, "agent_id": p.AgentID != nil,
		"tool_id": p.ToolID != nil, "action": p.Action != nil, "category": p.Category != nil,
		"not_category": p.NotCategory != nil, "q": p.Q != nil, "retries": p.Retries != nil,
	} {
		if given {
			return nil, domain.Invalid(
				name, "a bundle takes only from and to, because it proves that nothing is left out; use format=jsonl with filters",
			)
		}
	}
	if p.Cursor != nil {
		return nil, domain.Invalid("cursor", "a bundle is always sent whole; send the query again without it")
	}
	filter, err := auditQuery{Retries: true, From: p.From, To: p.To}.filter()
	if err != nil {
		return nil, err
	}
	first, last, err := s.bundleEnds(call.ctx, out.organization, filter)
	if err != nil {
		return nil, err
	}
	out.bundle, err = s.Export.Bundle(call.ctx, out.organization, first, last)
	if err != nil {
		return nil, s.proven(err, "audit entry")
	}
	out.entries = out.bundle.Size - out.bundle.First
	return out, nil
}

// bundleEnds are the first and the last event in a time, or uuid.Nil where it is open.
func (s *Server) bundleEnds(
	ctx context.Context, organization string, f readmodels.AuditFilter,
) (first, last uuid.UUID, err error) {
	if f.From.IsZero() && f.To.IsZero() {
		return uuid.Nil, uuid.Nil, nil
	}
	extent, err := s.Models.AuditExtent(ctx, organization, f, 0, 0)
	if err != nil {
		return uuid.Nil, uuid.Nil, asked(err, "audit entry")
	}
	if extent.Entries == 0 {
		return uuid.Nil, uuid.Nil, domain.Invalid("from", "nothing happened in this time; name a longer one")
	}
	at := func(position uint64) (uuid.UUID, error) {
		entries, err := s.Models.AuditAfter(ctx, organization, f, position-1, position, 1, false)
		if err != nil {
			return uuid.Nil, asked(err, "audit entry")
		}
		if len(entries) == 0 {
			return uuid.Nil, domain.NotFound("audit entry")
		}
		return eventID(entries[0].ID), nil
	}
	if !f.From.IsZero() {
		if first, err = at(extent.First); err != nil {
			return uuid.Nil, uuid.Nil, err
		}
	}
	if !f.To.IsZero() {
		last, err = at(extent.Last)
	}
	return first, last, err
}
