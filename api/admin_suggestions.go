package api

import (
	"context"

	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/readmodels"
)

// ListSuggestions answers GET /api/admin/suggestions.
func (s *Server) ListSuggestions(
	ctx context.Context, r ListSuggestionsRequestObject,
) (ListSuggestionsResponseObject, error) {
	call, q := callOf(ctx), r.Params
	p, err := page(q.Limit, nil)
	if err != nil {
		return nil, err
	}
	after, err := continued[readmodels.Demand](ctx, q.Cursor)
	if err != nil {
		return nil, err
	}
	model, err := s.at(call, q.AsOf)
	if err != nil {
		return nil, err
	}
	found, err := model.Suggestions(
		call.ctx, call.Caller.Organization, readmodels.SuggestionFilter{Status: several(q.Status), Query: value(q.Q)},
		readmodels.SuggestionPage{After: after, Limit: p.Limit, Sort: sortOf(q.Sort), Count: value(q.Count)},
	)
	if err != nil {
		return nil, asked(err, "suggestion")
	}
	n := s.naming(call.Caller.Organization)
	view := func(x readmodels.Suggestion) Suggestion { return n.suggestion(call.ctx, x) }
	out := ListSuggestions200JSONResponse{Items: views(found.Items, view), Position: model.position}
	out.Total, out.TotalAtLeast = totals(found.Total)
	if found.Next != nil {
		out.NextCursor = continues(ctx, *found.Next)
	}
	return out, n.err
}

// sortOf is how suggestions are sorted. Demand is their own order.
func sortOf(sort *ListSuggestionsParamsSort) string {
	if sort == nil || *sort == ListSuggestionsParamsSortMinusBackerCount {
		return ""
	}
	return string(*sort)
}

// GetSuggestion answers GET /api/admin/suggestions/{id}. What a human may decide about comes from
// its stream; what an answered one was comes from the read model.
func (s *Server) GetSuggestion(ctx context.Context, r GetSuggestionRequestObject) (GetSuggestionResponseObject, error) {
	call := callOf(ctx)
	if r.Params.AsOf != nil {
		return s.formerSuggestion(call, r)
	}
	head, err := s.Tools.Catalogs.Fresh(call.ctx, call.Caller.Organization)
	if err != nil {
		return nil, err
	}
	x, known := head.State.Suggestions[r.ID]
	if !known {
		return nil, domain.NotFound("suggestion")
	}
	call.shows(head.State.Digest(r.ID))
	n := s.naming(call.Caller.Organization)
	if x.Status == catalog.StatusPending || x.Status == catalog.StatusDismissed {
		backers := make([]string, len(x.Backers))
		for i, b := range x.Backers {
			backers[i] = b.AgentID
		}
		if err := s.refreshNames(call.ctx, backers); err != nil {
			return nil, err
		}
		return GetSuggestion200JSONResponse(n.suggestion(call.ctx, s.suggestionLeft(call.ctx, r.ID, head.State))), n.err
	}
	found, err := s.Models.Suggestion(call.ctx, call.Caller.Organization, r.ID)
	if err != nil {
		return nil, asked(err, "suggestion")
	}
	// The read model may be a moment behind, but not about whether it was decided.
	found.Status, found.ToolID, found.DecidedAt, found.Related = string(x.Status), x.ToolID, x.DecidedAt, nil
	if x.DecidedBy != nil {
		found.DecidedBy = *x.DecidedBy
	}
	return GetSuggestion200JSONResponse(n.suggestion(call.ctx, found)), n.err
}

// formerSuggestion answers what a suggestion was at as_of; see formerRequest.
func (s *Server) formerSuggestion(call *call, r GetSuggestionRequestObject) (GetSuggestionResponseObject, error) {
	model, err := s.at(call, r.Params.AsOf)
	if err != nil {
		return nil, err
	}
	found, err := model.Suggestion(call.ctx, call.Caller.Organization, r.ID)
	if err != nil {
		return nil, asked(err, "suggestion")
	}
	n := s.naming(call.Caller.Organization)
	out := n.suggestion(call.ctx, found)
	call.showsDecided(out)
	return GetSuggestion200JSONResponse(out), n.err
}

func (n *naming) suggestion(ctx context.Context, x readmodels.Suggestion) Suggestion {
	out := Suggestion{
		ID: x.ID, Name: x.Name, URL: optional(x.URL), Status: SuggestionStatus(x.Status), ToolID: optional(x.ToolID),
		BackerCount: x.BackerCount, Backers: views(x.Backers, wantedBy), Related: views(x.Related, relatedView),
		CreatedAt: x.CreatedAt.UTC(), LastActivityAt: x.LastActivityAt.UTC(), DecidedAt: optionalTime(x.DecidedAt),
		DismissalReason: optional(x.DismissalReason),
		TemplateID:      n.server.templateOf(x.Name, x.URL),
		ConfusableWith:  confusableView(x.Confusable),
	}
	out.DecidedBy = n.somebody(ctx, x.DecidedBy)
	return out
}

func wantedBy(b readmodels.Backer) SuggestionBacker {
	return SuggestionBacker{
		AgentID: b.AgentID, AgentName: b.AgentName, Name: b.Name, URL: optional(b.URL), LatestReason: b.Latest,
		FirstAt: b.FirstAt.UTC(), LastAt: b.LastAt.UTC(),
	}
}

func relatedView(r readmodels.RelatedSuggestion) RelatedSuggestion {
	return RelatedSuggestion{SuggestionID: r.ID, Name: r.Name, BackerCount: r.BackerCount}
}

func backerView(b readmodels.Backer) Backer {
	return Backer{
		AgentID: b.AgentID, AgentName: b.AgentName, LatestReason: b.Latest, FirstAt: b.FirstAt.UTC(),
		LastAt: b.LastAt.UTC(),
	}
}

// AcceptSuggestion answers POST /api/admin/suggestions/{id}/accept.
func (s *Server) AcceptSuggestion(
	ctx context.Context, r AcceptSuggestionRequestObject,
) (AcceptSuggestionResponseObject, error) {
	call := callOf(ctx)
	tool, secret, err := newTool("tool.", r.Body.Tool)
	defer secret.Clear()
	if err != nil {
		return nil, err
	}
	grant := r.Body.GrantBackers == nil || *r.Body.GrantBackers
	done, err := s.Suggestions.Accept(call.ctx, call.decision(), r.ID, value(r.Body.Also), tool, secret, grant)
	if err != nil {
		return nil, err
	}
	call.header.Set("Location", "/api/admin/tools/"+done.ToolID)
	out := AcceptSuggestion201JSONResponse{Tool: s.changedTool(call, done.ToolID, done.CatalogResult)}
	out.Tool.Grants = GrantCounts{}
	for _, b := range done.Backers {
		switch b.Outcome {
		case catalog.Granted:
			out.Tool.Grants.Approved++
		case catalog.Pending:
			out.Tool.Grants.Pending++
		default: // it has nothing of it, or not yet
		}
		out.Backers = append(
			out.Backers,
			BackerOutcome{AgentID: b.AgentID, Outcome: BackerOutcomeOutcome(b.Outcome), Reason: optional(b.Why)},
		)
	}
	return out, nil
}

// DismissSuggestion answers POST /api/admin/suggestions/{id}/dismiss.
func (s *Server) DismissSuggestion(
	ctx context.Context, r DismissSuggestionRequestObject,
) (DismissSuggestionResponseObject, error) {
	call := callOf(ctx)
	reason := ""
	if r.Body != nil {
		reason = value(r.Body.Reason)
	}
	done, err := s.Suggestions.Dismiss(call.ctx, call.decision(), r.ID, reason)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	call.shows(done.State.Digest(r.ID))
	return DismissSuggestion200JSONResponse(
		s.naming(call.Caller.Organization).suggestion(call.ctx, s.suggestionLeft(call.ctx, r.ID, done.State)),
	), nil
}
