package api

import (
	"cmp"
	"context"
	"slices"

	"agentkey/api/door"
	"agentkey/domain"
	"agentkey/domain/organization"
)

// ListSessions answers GET /api/admin/sessions. Who may not manage sees only their own.
func (s *Server) ListSessions(ctx context.Context, r ListSessionsRequestObject) (ListSessionsResponseObject, error) {
	call := callOf(ctx)
	p, state, _, err := s.organizationPage(call, r.Params.Limit, r.Params.Cursor, nil)
	if err != nil {
		return nil, err
	}
	all := state.AllSessions(s.Clock())
	if door.Permitted(call.Caller.Role, "manage") != nil {
		all = slices.DeleteFunc(all, func(n organization.Session) bool {
			return cmp.Or(n.MemberID, n.TokenID) != call.Caller.Actor.ID
		})
	}
	those, next := newestOf(all, p)
	n := s.naming(call.Caller.Organization)
	items := views(those, func(is organization.Session) Session {
		owner := domain.Actor{Type: domain.ActorService, ID: is.TokenID}
		if is.MemberID != "" {
			owner = domain.Actor{Type: domain.ActorHuman, ID: is.MemberID}
		}
		return Session{
			ID: is.ID, Owner: n.actor(call.ctx, owner), Current: is.ID == call.Caller.SessionID,
			CreatedAt: is.CreatedAt.UTC(), ExpiresAt: is.ExpiresAt.UTC(),
		}
	})
	return ListSessions200JSONResponse{Items: items, NextCursor: next}, n.err
}

// EndSession answers DELETE /api/admin/sessions/{id}.
func (s *Server) EndSession(ctx context.Context, r EndSessionRequestObject) (EndSessionResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Organizations.EndSession(call.ctx, call.meta(), r.ID, call.Caller.Giver())
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return EndSession204Response{}, nil
}

// EndSessions answers DELETE /api/admin/sessions.
func (s *Server) EndSessions(ctx context.Context, r EndSessionsRequestObject) (EndSessionsResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Organizations.EndSessions(call.ctx, call.meta(), value(r.Params.OwnerID), call.Caller.Giver())
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return EndSessions204Response{}, nil
}
