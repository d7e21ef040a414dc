package api

import (
	"context"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/organization"
)

// ListServiceTokens answers GET /api/admin/service-tokens. It reads the stream that decides, so
// that a token that isn't listed as revoked works.
func (s *Server) ListServiceTokens(
	ctx context.Context, r ListServiceTokensRequestObject,
) (ListServiceTokensResponseObject, error) {
	call := callOf(ctx)
	p, state, _, err := s.organizationPage(call, r.Params.Limit, r.Params.Cursor, nil)
	if err != nil {
		return nil, err
	}
	all, next := newestOf(state.AllTokens(), p)
	ids := make([]string, len(all))
	for i, t := range all {
		ids[i] = t.ID
	}
	used, err := s.Door.Callers.Uses.Last(call.ctx, ids)
	if err != nil {
		return nil, err
	}
	n := s.naming(call.Caller.Organization)
	items := views(all, func(t organization.Token) ServiceToken { return n.serviceToken(call.ctx, t, used[t.ID]) })
	return ListServiceTokens200JSONResponse{Items: items, NextCursor: next}, n.err
}

// CreateServiceToken answers POST /api/admin/service-tokens.
func (s *Server) CreateServiceToken(
	ctx context.Context, r CreateServiceTokenRequestObject,
) (CreateServiceTokenResponseObject, error) {
	call := callOf(ctx)
	wanted := commands.NewToken{
		Name: r.Body.Name, Note: value(r.Body.Note), Role: domain.Role(r.Body.Role), By: call.Caller.Giver(),
	}
	if err := wanted.Until(value(r.Body.ExpiresAt)); err != nil {
		return nil, err
	}
	made, err := s.Organizations.CreateToken(call.ctx, call.meta(), wanted)
	if err != nil {
		return nil, err
	}
	call.done(made.Position)
	call.header.Set("Cache-Control", "no-store, private")
	return CreateServiceToken201JSONResponse{
		Token:  s.naming(call.Caller.Organization).serviceToken(call.ctx, made.Token, time.Time{}),
		Secret: optional(made.Text),
	}, nil
}

// RevokeServiceToken answers DELETE /api/admin/service-tokens/{id}.
func (s *Server) RevokeServiceToken(
	ctx context.Context, r RevokeServiceTokenRequestObject,
) (RevokeServiceTokenResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Organizations.RevokeToken(call.ctx, call.meta(), r.ID, call.Caller.Giver())
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return RevokeServiceToken204Response{}, nil
}

func (n *naming) serviceToken(ctx context.Context, t organization.Token, used time.Time) ServiceToken {
	named := n.open(ctx, t.ID, t.Sealed)
	return ServiceToken{
		ID: t.ID, Name: named.Name, Note: optional(named.Note), Role: Role(t.Role),
		Prefix: n.server.Organizations.Prefix(n.organization, t), CreatedAt: t.CreatedAt,
		CreatedBy: n.actor(ctx, t.CreatedBy), LastUsedAt: optionalTime(used),
		ExpiresAt: optionalTime(t.ExpiresAt), RevokedAt: optionalTime(t.RevokedAt),
	}
}
