package api

import (
	"context"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/readmodels"
)

// credential takes a credential out of a body; one that is absent is the empty secret. The caller
// clears it.
func credential(raw *Credential) (domain.Secret, error) {
	if raw == nil || len(*raw) == 0 {
		return domain.Secret{}, nil
	}
	defer clear(*raw)
	return commands.NewCredential(*raw)
}

// ListTools answers GET /api/admin/tools.
func (s *Server) ListTools(ctx context.Context, r ListToolsRequestObject) (ListToolsResponseObject, error) {
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
	model, err := s.at(call, q.AsOf)
	if err != nil {
		return nil, err
	}
	found, err := model.Tools(call.ctx, call.Caller.Organization, readmodels.ToolFilter{
		Query: value(q.Q), Tags: value(q.Tag), CredentialMode: string(value(q.CredentialMode)),
		HasCredential: q.HasCredential,
		ExpiresBefore: bound(q.ExpiresBefore), UnusedSince: bound(q.UnusedSince),
	}, model.now, p)
	if err != nil {
		return nil, asked(err, "tool")
	}
	n := s.naming(call.Caller.Organization)
	total, atLeast := totals(found.Total)
	return ListTools200JSONResponse{
		Items:      views(found.Items, func(t readmodels.Tool) Tool { return model.tool(n.tool(call.ctx, t)) }),
		NextCursor: nextPage(ctx, found), Position: model.position, Total: total, TotalAtLeast: atLeast,
	}, n.err
}

// GetTool answers GET /api/admin/tools/{id}.
func (s *Server) GetTool(ctx context.Context, r GetToolRequestObject) (GetToolResponseObject, error) {
	call := callOf(ctx)
	model, err := s.at(call, r.Params.AsOf)
	if err != nil {
		return nil, err
	}
	found, err := model.Tool(call.ctx, call.Caller.Organization, r.ID, model.now)
	if err != nil {
		return nil, asked(err, "tool")
	}
	call.tag(found.Revision)
	n := s.naming(call.Caller.Organization)
	return GetTool200JSONResponse(model.tool(n.tool(call.ctx, found))), n.err
}

// newTool is the tool that a body asks for, with its credential, which the caller clears. place is
// where it is in the body.
func newTool(place string, b NewTool) (catalog.AddTool, domain.Secret, error) {
	approval, err := rules(place+"approval", b.Approval)
	if err != nil {
		return catalog.AddTool{}, domain.Secret{}, err
	}
	secret, err := credential(b.Credential)
	return catalog.AddTool{
		Name: b.Name, Description: value(b.Description), URL: value(b.URL), DocsURL: value(b.DocsURL),
		AuthType: catalog.AuthType(b.AuthType), Mode: catalog.Mode(b.CredentialMode),
		Instructions: value(b.Instructions), MaxGrantSeconds: value(b.MaxGrantSeconds), Approval: approval,
		Labels: labelsOf(b.Labels),
	}, secret, err
}

// AddTool answers POST /api/admin/tools.
func (s *Server) AddTool(ctx context.Context, r AddToolRequestObject) (AddToolResponseObject, error) {
	call := callOf(ctx)
	tool, secret, err := newTool("", *r.Body)
	defer secret.Clear()
	if err != nil {
		return nil, err
	}
	id, done, err := s.Tools.Add(call.ctx, call.meta(), tool, secret)
	if err != nil {
		return nil, err
	}
	call.header.Set("Location", "/api/admin/tools/"+id)
	return AddTool201JSONResponse(s.changedTool(call, id, done)), nil
}

// changedTool is a tool as a command of this call left it.
func (s *Server) changedTool(call *call, id string, done commands.CatalogResult) Tool {
	tool := done.State.Tools[id]
	call.done(done.Position)
	call.tag(tool.Revision)
	left := s.toolLeft(call.ctx, call.Caller.Organization, id, tool)
	left.Confusable = confusable(done.State, tool.Name, id)
	return s.naming(call.Caller.Organization).tool(call.ctx, left)
}

// UpdateTool answers PATCH /api/admin/tools/{id}.
func (s *Server) UpdateTool(ctx context.Context, r UpdateToolRequestObject) (UpdateToolResponseObject, error) {
	call := callOf(ctx)
	change := catalog.UpdateTool{ToolID: r.ID}
	if b := r.Body; b != nil {
		change.Name, change.Description, change.URL, change.DocsURL = b.Name, b.Description, b.URL, b.DocsURL
		change.Instructions, change.MaxGrantSeconds = b.Instructions, b.MaxGrantSeconds
		if b.AuthType != nil {
			auth := catalog.AuthType(*b.AuthType)
			change.AuthType = &auth
		}
		if b.Approval != nil {
			approval, err := rules("approval", b.Approval)
			if err != nil {
				return nil, err
			}
			change.Approval = &approval
		}
		if b.Labels != nil {
			change.Labels = new(labelsOf(b.Labels))
		}
	}
	done, err := s.Tools.Update(call.ctx, call.edit(), change)
	if err != nil {
		return nil, err
	}
	return UpdateTool200JSONResponse(s.changedTool(call, r.ID, done)), nil
}

// RotateCredential answers PUT /api/admin/tools/{id}/credential.
func (s *Server) RotateCredential(
	ctx context.Context, r RotateCredentialRequestObject,
) (RotateCredentialResponseObject, error) {
	call := callOf(ctx)
	secret, err := credential(&r.Body.Credential)
	defer secret.Clear()
	if err != nil {
		return nil, err
	}
	done, err := s.Tools.RotateCredential(call.ctx, call.edit(), r.ID, commands.Terms{
		Credential: secret, ReplaceShape: value(r.Body.ReplaceShape), ExpiresAt: r.Body.ExpiresAt,
	})
	if err != nil {
		return nil, err
	}
	return RotateCredential200JSONResponse(s.changedTool(call, r.ID, done)), nil
}

// RemoveTool answers DELETE /api/admin/tools/{id}. From the catalog's event on nothing of the tool
// is vended; a reaction writes down for each agent that its access was revoked.
func (s *Server) RemoveTool(ctx context.Context, r RemoveToolRequestObject) (RemoveToolResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Tools.Remove(call.ctx, call.edit(), r.ID)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return RemoveTool204Response{}, nil
}

// UnfreezeTool answers POST /api/admin/tools/{id}/unfreeze.
func (s *Server) UnfreezeTool(ctx context.Context, r UnfreezeToolRequestObject) (UnfreezeToolResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Tools.Unfreeze(call.ctx, call.edit(), r.ID)
	if err != nil {
		return nil, err
	}
	return UnfreezeTool200JSONResponse(s.changedTool(call, r.ID, done)), nil
}

// ListInstructions answers GET /api/admin/tools/{id}/instructions.
func (s *Server) ListInstructions(
	ctx context.Context, r ListInstructionsRequestObject,
) (ListInstructionsResponseObject, error) {
	call := callOf(ctx)
	p, err := page(r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := s.Models.Instructions(call.ctx, call.Caller.Organization, r.ID, p)
	if err != nil {
		return nil, asked(err, "tool")
	}
	n := s.naming(call.Caller.Organization)
	return ListInstructions200JSONResponse{
		Items: views(found.Items, func(i readmodels.Instructions) InstructionsVersion {
			return InstructionsVersion{
				Version: i.Version, Instructions: i.Text, RestoredFrom: optional(i.RestoredFrom),
				CreatedAt: i.CreatedAt,
				CreatedBy: n.actor(call.ctx, i.CreatedBy),
			}
		}),
		NextCursor: cursor(found.Next),
	}, n.err
}

// RestoreInstructions answers POST /api/admin/tools/{id}/instructions/{version}/restore.
func (s *Server) RestoreInstructions(
	ctx context.Context, r RestoreInstructionsRequestObject,
) (RestoreInstructionsResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Tools.Restore(call.ctx, call.edit(), r.ID, r.Version)
	if err != nil {
		return nil, err
	}
	return RestoreInstructions200JSONResponse(s.changedTool(call, r.ID, done)), nil
}
