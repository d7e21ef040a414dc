package api

import (
	"context"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/integrations/oidc"
)

// BindIdentity answers PUT /api/admin/agents/{id}/identity.
func (s *Server) BindIdentity(ctx context.Context, r BindIdentityRequestObject) (BindIdentityResponseObject, error) {
	call := callOf(ctx)
	identity := agent.Identity{Issuer: r.Body.Issuer, Audience: r.Body.Audience, Claims: r.Body.Claims}
	if r.Body.Keys != nil {
		keys, err := oidc.PublicKeys(*r.Body.Keys)
		if err != nil {
			return nil, domain.Invalid("keys", err.Error())
		}
		identity.Keys = keys
	}
	done, err := s.Workloads.Bind(call.ctx, call.edit(), r.ID, identity)
	if err != nil {
		return nil, err
	}
	return BindIdentity200JSONResponse(s.changedAgent(call, r.ID, done)), nil
}

// UnbindIdentity answers DELETE /api/admin/agents/{id}/identity.
func (s *Server) UnbindIdentity(
	ctx context.Context, r UnbindIdentityRequestObject,
) (UnbindIdentityResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Workloads.Unbind(call.ctx, call.edit(), r.ID)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return UnbindIdentity204Response{}, nil
}
