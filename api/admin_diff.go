package api

import (
	"context"
	"errors"

	"agentkey/domain"
	"agentkey/readmodels"
)

// DiffAudit answers GET /api/admin/audit/diff.
func (s *Server) DiffAudit(ctx context.Context, r DiffAuditRequestObject) (DiffAuditResponseObject, error) {
	call := callOf(ctx)
	organization := call.Caller.Organization
	p, err := page(r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	to, err := s.moment(call, "to", r.Params.To)
	if err != nil {
		return nil, err
	}
	from, err := s.named(call, "from", r.Params.From)
	if err != nil && !errors.Is(err, readmodels.ErrNotFound) {
		return nil, fault(err)
	}
	if from.Position > to.Position || from.Position == to.Position && from.Time.After(to.Time) {
		return nil, domain.Invalid("from", "it is after to")
	}
	found, err := s.Models.AccessChanges(call.ctx, organization, from, to, p)
	if err != nil {
		return nil, asked(err, "audit entry")
	}
	n := s.naming(organization)
	return DiffAudit200JSONResponse{
		From: int64(from.Position), To: int64(to.Position), //nolint:gosec // a log never holds 2^63
		Changes:    n.changes(call.ctx, found.Items),
		NextCursor: cursor(found.Next),
	}, n.err
}

func (n *naming) changes(ctx context.Context, changes []readmodels.AccessChange) []AccessChange {
	return views(changes, func(c readmodels.AccessChange) AccessChange {
		out := AccessChange{
			Agent:  Named{ID: c.AgentID, Name: c.AgentName},
			Tool:   Named{ID: c.ToolID, Name: c.ToolName},
			Before: n.effective(ctx, c.Before),
			After:  n.effective(ctx, c.After),
			Events: c.Events,
		}
		if out.Events == nil {
			out.Events = []string{}
		}
		return out
	})
}

func (n *naming) effective(ctx context.Context, a *readmodels.EffectiveAccess) *EffectiveAccess {
	if a == nil {
		return nil
	}
	return &EffectiveAccess{
		Origin: GrantOrigin(a.Origin), RequestID: optional(a.RequestID), Reason: optional(a.Reason),
		ApprovedAt: a.ApprovedAt.UTC(), ApprovedBy: n.actor(ctx, a.ApprovedBy),
		ExpiresAt: optionalTime(a.ExpiresAt),
	}
}
