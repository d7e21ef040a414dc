package api

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/readmodels"
)

// ListRequests answers GET /api/admin/requests.
func (s *Server) ListRequests(ctx context.Context, r ListRequestsRequestObject) (ListRequestsResponseObject, error) {
	call := callOf(ctx)
	q := r.Params
	p, err := listing{q.Limit, q.Cursor, q.Count, string(value(q.Sort))}.page(ctx)
	if err != nil {
		return nil, err
	}
	filter := readmodels.RequestFilter{
		Status: several(q.Status), AgentID: value(q.AgentID), ToolID: value(q.ToolID), Query: value(q.Q),
		CredentialMode: string(value(q.CredentialMode)),
	}
	if q.Expand != nil && q.AsOf != nil {
		return nil, domain.Invalid("expand", "it doesn't go with as_of, because nobody decides about the past")
	}
	model, err := s.at(call, q.AsOf)
	if err != nil {
		return nil, err
	}
	var found readmodels.List[readmodels.Request]
	var contexts map[string]readmodels.RequestContext
	err = model.Instant(call.ctx, func(model *readmodels.DB) (err error) {
		found, err = model.Requests(call.ctx, call.Caller.Organization, filter, p)
		if err == nil && q.Expand != nil {
			contexts, err = model.Contexts(call.ctx, call.Caller.Organization, found.Items, s.Clock())
		}
		return err
	})
	if err != nil {
		return nil, asked(err, "request")
	}
	if _, err := s.Tools.Catalogs.Recent(call.ctx, call.Caller.Organization); err != nil { // for what tools need
		return nil, err
	}
	n := s.naming(call.Caller.Organization)
	total, atLeast := totals(found.Total)
	n.meetDeciders(call.ctx, contexts)
	decidable := s.decidable(call, contexts)
	return ListRequests200JSONResponse{
		Items: views(found.Items, func(q readmodels.Request) AccessRequest {
			out := n.request(call.ctx, q)
			about, known := contexts[q.ID]
			if known {
				out.Context = n.context(call.ctx, about, s.Clock())
			}
			if now, is := decidable[q.ID]; is {
				now.Context = out.Context
				return now
			}
			if model.position == nil && q.Status == string(agent.Pending) {
				out = n.waiting(call.ctx, out)
			}
			return out
		}),
		NextCursor: nextPage(ctx, found), Position: model.position, Total: total, TotalAtLeast: atLeast,
	}, n.err
}

// decidable reads those of the requests from their streams that wait for a decision, each with the
// ETag of what it says, so that a list shows what its reader then decides on. It lacks those whose
// streams can't be read.
func (s *Server) decidable(call *call, contexts map[string]readmodels.RequestContext) map[string]AccessRequest {
	var mu sync.Mutex
	out := make(map[string]AccessRequest, len(contexts))
	var readers errgroup.Group
	readers.SetLimit(16)
	for id := range contexts {
		readers.Go(func() error {
			shown, digest, err := s.request(call, id)
			if err != nil || digest == "" || shown.Status != AccessRequestStatusPending {
				return nil // then the list shows what the read model has
			}
			tag := quoted(digest)
			shown.Etag = &tag
			mu.Lock()
			defer mu.Unlock()
			out[id] = shown
			return nil
		})
	}
	_ = readers.Wait() // none of them fails
	return out
}

// GetRequest answers GET /api/admin/requests/{id}. What a human may decide about comes from its
// streams; only a request that a later one followed comes from the read model.
func (s *Server) GetRequest(ctx context.Context, r GetRequestRequestObject) (GetRequestResponseObject, error) {
	call := callOf(ctx)
	if r.Params.AsOf != nil {
		return s.formerRequest(call, r)
	}
	out, digest, err := s.request(call, r.ID)
	if err != nil {
		return nil, err
	}
	if digest != "" {
		call.shows(digest)
	} else {
		call.showsDecided(out)
	}
	n := s.naming(call.Caller.Organization)
	out.Context = s.contextOf(call, n, readmodels.Request{ID: out.ID, AgentID: out.AgentID, ToolID: out.ToolID})
	return GetRequest200JSONResponse(out), n.err
}

// formerRequest answers what a request was at as_of. Nobody decides about the past, so no decision
// takes its ETag.
func (s *Server) formerRequest(call *call, r GetRequestRequestObject) (GetRequestResponseObject, error) {
	model, err := s.at(call, r.Params.AsOf)
	if err != nil {
		return nil, err
	}
	found, err := model.Request(call.ctx, call.Caller.Organization, r.ID)
	if err != nil {
		return nil, asked(err, "request")
	}
	n := s.naming(call.Caller.Organization)
	out := n.request(call.ctx, found)
	call.showsDecided(out)
	return GetRequest200JSONResponse(out), n.err
}

// request returns one request, with the digest of what a human may decide about; "" for one that
// comes from the read model.
func (s *Server) request(call *call, id string) (out AccessRequest, digest string, err error) {
	n := s.naming(call.Caller.Organization)
	newest, is, err := s.Grants.Get(call.ctx, call.meta(), id)
	if err != nil {
		return AccessRequest{}, "", err
	}
	if status := newest.Grant().Status; is && newest.Tool.Name != "" && !newest.Withdrawn() &&
		(status == agent.Pending || status == agent.Approved || status == agent.Denied || status == agent.Withdrawn) {
		named := s.requestNamed(call, requestLeft(newest))
		return n.approved(call.ctx, n.request(call.ctx, named), newest), newest.Digest(), n.err
	}
	found, err := s.Models.Request(call.ctx, call.Caller.Organization, id)
	if err != nil {
		return AccessRequest{}, "", asked(err, "request")
	}
	return n.request(call.ctx, found), "", n.err
}

// requestNamed names the agent and the tool of a decided request as they were called then, which
// the read model alone knows. Without it, or before it has the decision, they have the names of
// now.
func (s *Server) requestNamed(call *call, r readmodels.Request) readmodels.Request {
	if r.DecidedAt.IsZero() {
		return r
	}
	row, err := s.Models.Request(call.ctx, call.Caller.Organization, r.ID)
	if err == nil && row.DecidedAt.Equal(r.DecidedAt) {
		r.AgentName, r.CurrentAgentName = thenAndNow(row.AgentName, r.AgentName)
		r.ToolName, r.CurrentToolName = thenAndNow(row.ToolName, r.ToolName)
	}
	return r
}

// grantNamed does the same for a grant.
func (s *Server) grantNamed(call *call, g readmodels.Grant) readmodels.Grant {
	row, err := s.Models.Grant(call.ctx, call.Caller.Organization, g.AgentID, g.ToolID, s.Clock())
	if err == nil && row.DecidedAt.Equal(g.DecidedAt) {
		g.AgentName, g.CurrentAgentName = thenAndNow(row.AgentName, g.AgentName)
		g.ToolName, g.CurrentToolName = thenAndNow(row.ToolName, g.ToolName)
	}
	return g
}

// thenAndNow leaves out the name of now where it is that of then.
func thenAndNow(then, now string) (string, string) {
	if then == now {
		now = ""
	}
	return then, now
}

// withOutcome adds how a request ended to the refusal of a decision that came too late. The refusal
// stands without it where the read model is behind or down.
func (s *Server) withOutcome(call *call, id string, err error) error {
	refusal, ok := errors.AsType[*domain.Error](err)
	if !ok || refusal.Code != "already_decided" {
		return err
	}
	ended, _, rerr := s.request(call, id)
	if rerr != nil || ended.Status == AccessRequestStatusPending {
		return err
	}
	named := *refusal
	named.Extra = map[string]any{"access_request": RequestState{
		ID: ended.ID, Status: ended.Status, DecidedBy: ended.DecidedBy, DecidedAt: ended.DecidedAt,
	}}
	return &named
}

// ApproveRequest answers POST /api/admin/requests/{id}/approve.
func (s *Server) ApproveRequest(
	ctx context.Context, r ApproveRequestRequestObject,
) (ApproveRequestResponseObject, error) {
	call := callOf(ctx)
	var terms commands.Terms
	if r.Body != nil {
		secret, err := credential(r.Body.Credential)
		defer secret.Clear()
		if err != nil {
			return nil, err
		}
		terms = commands.Terms{Credential: secret, ExpiresAt: r.Body.ExpiresAt}
	}
	done, err := s.Grants.Approve(call.ctx, call.decision(), r.ID, terms)
	if err != nil {
		return nil, s.withOutcome(call, r.ID, err)
	}
	call.done(done.Position)
	call.shows(done.Digest())
	n := s.naming(call.Caller.Organization)
	return ApproveRequest200JSONResponse(n.approved(call.ctx, n.request(call.ctx, requestLeft(done)), done)), nil
}

// DenyRequest answers POST /api/admin/requests/{id}/deny.
func (s *Server) DenyRequest(ctx context.Context, r DenyRequestRequestObject) (DenyRequestResponseObject, error) {
	call := callOf(ctx)
	reason := ""
	if r.Body != nil {
		reason = value(r.Body.Reason)
	}
	done, err := s.Grants.Deny(call.ctx, call.decision(), r.ID, reason)
	if err != nil {
		return nil, s.withOutcome(call, r.ID, err)
	}
	call.done(done.Position)
	call.shows(done.Digest())
	return DenyRequest200JSONResponse(s.naming(call.Caller.Organization).request(call.ctx, requestLeft(done))), nil
}

// ListGrants answers GET /api/admin/grants.
func (s *Server) ListGrants(ctx context.Context, r ListGrantsRequestObject) (ListGrantsResponseObject, error) {
	call := callOf(ctx)
	q := r.Params
	l := listing{q.Limit, q.Cursor, q.Count, string(value(q.Sort))}
	p, err := l.page(ctx)
	if err == nil {
		err = pastKnows(q.AsOf, l.sort, map[string]*Time{"unused_since": q.UnusedSince})
	}
	if err != nil {
		return nil, err
	}
	filter := readmodels.GrantFilter{
		Status: several(q.Status), AgentID: value(q.AgentID), ToolID: value(q.ToolID), Query: value(q.Q),
		CredentialMode: string(value(q.CredentialMode)), ExpiresBefore: bound(q.ExpiresBefore),
		UnusedSince: bound(q.UnusedSince),
	}
	model, err := s.at(call, q.AsOf)
	if err != nil {
		return nil, err
	}
	found, err := model.Grants(call.ctx, call.Caller.Organization, filter, model.now, p)
	if err != nil {
		return nil, asked(err, "grant")
	}
	n := s.naming(call.Caller.Organization)
	total, atLeast := totals(found.Total)
	return ListGrants200JSONResponse{
		Items: views(found.Items, func(g readmodels.Grant) Grant {
			out := n.grant(call.ctx, g)
			if model.position != nil {
				out.FetchCount = nil
			}
			return out
		}),
		NextCursor: nextPage(ctx, found), Position: model.position, Total: total, TotalAtLeast: atLeast,
	}, n.err
}

// AssignTool answers POST /api/admin/agents/{id}/grants.
func (s *Server) AssignTool(ctx context.Context, r AssignToolRequestObject) (AssignToolResponseObject, error) {
	call := callOf(ctx)
	secret, err := credential(r.Body.Credential)
	defer secret.Clear()
	if err != nil {
		return nil, err
	}
	done, err := s.Grants.Assign(
		call.ctx, call.meta(), r.ID, r.Body.ToolID, commands.Terms{Credential: secret, ExpiresAt: r.Body.ExpiresAt},
	)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return AssignTool201JSONResponse(s.naming(call.Caller.Organization).grant(call.ctx, grantLeft(done, s.Clock()))), nil
}

// ReplaceGrantCredential answers PUT /api/admin/agents/{id}/grants/{tool_id}/credential.
func (s *Server) ReplaceGrantCredential(
	ctx context.Context, r ReplaceGrantCredentialRequestObject,
) (ReplaceGrantCredentialResponseObject, error) {
	call := callOf(ctx)
	secret, err := credential(&r.Body.Credential)
	defer secret.Clear()
	if err != nil {
		return nil, err
	}
	done, err := s.Grants.Replace(call.ctx, call.meta(), r.ID, r.ToolID, commands.Terms{
		Credential: secret, ReplaceShape: value(r.Body.ReplaceShape), ExpiresAt: r.Body.ExpiresAt,
	})
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	grant := s.grantNamed(call, grantLeft(done, s.Clock()))
	return ReplaceGrantCredential200JSONResponse(s.naming(call.Caller.Organization).grant(call.ctx, grant)), nil
}

// RevokeGrant answers DELETE /api/admin/agents/{id}/grants/{tool_id}.
func (s *Server) RevokeGrant(ctx context.Context, r RevokeGrantRequestObject) (RevokeGrantResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Grants.Revoke(call.ctx, call.meta(), r.ID, r.ToolID, agent.CauseAdmin)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return RevokeGrant204Response{}, nil
}
