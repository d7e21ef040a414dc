package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/readmodels"
)

// ListSuggestions answers GET /api/admin/suggestions.
func (s *Server) ListSuggestions(ctx context.Context, r ListSuggestionsRequestObject) (ListSuggestionsResponseObject, error) {
	call := callOf(ctx)
	p, err := page(r.Params.Limit, nil)
	if err != nil {
		return nil, err
	}
	after, err := demandOf(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	found, next, err := s.Models.Suggestions(call.ctx, call.Caller.Organization, string(value(r.Params.Status)), after, p.Limit)
	if err != nil {
		return nil, asked(err, "suggestion")
	}
	view := func(x readmodels.Suggestion) Suggestion {
		return s.suggestionRow(call.ctx, call.Caller.Organization, x)
	}
	return ListSuggestions200JSONResponse{Items: views(found, view), NextCursor: demandCursor(next)}, nil
}

// demandOf reads where a page of suggestions begins.
func demandOf(cursor *string) (*readmodels.Demand, error) {
	if cursor == nil {
		return nil, nil
	}
	var after readmodels.Demand
	raw, err := base64.RawURLEncoding.Strict().DecodeString(*cursor)
	if err == nil {
		err = json.Unmarshal(raw, &after)
	}
	if err != nil || after.ID == "" {
		return nil, domain.Invalid("cursor", "it must be the next_cursor of the page before")
	}
	return &after, nil
}

func demandCursor(next *readmodels.Demand) *string {
	if next == nil {
		return nil
	}
	raw, _ := json.Marshal(next) // of strings and numbers
	text := base64.RawURLEncoding.EncodeToString(raw)
	return &text
}

// GetSuggestion answers GET /api/admin/suggestions/{id}.
func (s *Server) GetSuggestion(ctx context.Context, r GetSuggestionRequestObject) (GetSuggestionResponseObject, error) {
	call := callOf(ctx)
	found, err := s.Models.Suggestion(call.ctx, call.Caller.Organization, r.ID)
	if err != nil {
		return nil, asked(err, "suggestion")
	}
	return GetSuggestion200JSONResponse(s.suggestionRow(call.ctx, call.Caller.Organization, found)), nil
}

func (s *Server) suggestionRow(ctx context.Context, organization string, x readmodels.Suggestion) Suggestion {
	out := Suggestion{
		ID: x.ID, Name: x.Name, URL: optional(x.URL), Status: SuggestionStatus(x.Status), ToolID: optional(x.ToolID), BackerCount: x.BackerCount,
		Backers: views(x.Backers, wantedBy), Related: views(x.Related, relatedRow),
		CreatedAt: x.CreatedAt, LastActivityAt: x.LastActivityAt, DecidedAt: optionalTime(x.DecidedAt), DismissalReason: optional(x.DismissalReason),
		TemplateID: s.templateOf(x.Name, x.URL),
	}
	if x.DecidedBy.ID != "" {
		by := s.actor(ctx, organization, x.DecidedBy)
		out.DecidedBy = &by
	}
	return out
}

func wantedBy(b readmodels.Backer) SuggestionBacker {
	return SuggestionBacker{
		AgentID: b.AgentID, AgentName: b.AgentName, Name: b.Name, URL: optional(b.URL), LatestReason: b.Latest, FirstAt: b.FirstAt, LastAt: b.LastAt,
	}
}

func relatedRow(r readmodels.RelatedSuggestion) RelatedSuggestion {
	return RelatedSuggestion{SuggestionID: r.ID, Name: r.Name, BackerCount: r.BackerCount}
}

func backerRow(b readmodels.Backer) Backer {
	return Backer{AgentID: b.AgentID, AgentName: b.AgentName, LatestReason: b.Latest, FirstAt: b.FirstAt, LastAt: b.LastAt}
}

// AcceptSuggestion answers POST /api/admin/suggestions/{id}/accept.
func (s *Server) AcceptSuggestion(ctx context.Context, r AcceptSuggestionRequestObject) (AcceptSuggestionResponseObject, error) {
	call := callOf(ctx)
	tool, secret, err := newTool(r.Body.Tool)
	if err != nil {
		return nil, err
	}
	grant := r.Body.GrantBackers == nil || *r.Body.GrantBackers
	done, err := s.Suggestions.Accept(call.ctx, call.meta(), r.ID, value(r.Body.Also), tool, secret, grant)
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
		out.Backers = append(out.Backers, BackerOutcome{AgentID: b.AgentID, Outcome: BackerOutcomeOutcome(b.Outcome), Reason: optional(b.Why)})
	}
	return out, nil
}

// DismissSuggestion answers POST /api/admin/suggestions/{id}/dismiss.
func (s *Server) DismissSuggestion(ctx context.Context, r DismissSuggestionRequestObject) (DismissSuggestionResponseObject, error) {
	call := callOf(ctx)
	reason := ""
	if r.Body != nil {
		reason = value(r.Body.Reason)
	}
	done, err := s.Suggestions.Dismiss(call.ctx, call.meta(), r.ID, reason)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return DismissSuggestion200JSONResponse(s.suggestionView(call.ctx, call.Caller.Organization, r.ID, done)), nil
}

// suggestionView is a suggestion as a command left it.
func (s *Server) suggestionView(ctx context.Context, organization, id string, done commands.CatalogResult) Suggestion {
	x := done.State.Suggestions[id]
	out := Suggestion{
		ID: id, Name: x.Name, URL: optional(x.URL), Status: SuggestionStatus(x.Status), ToolID: optional(x.ToolID), BackerCount: len(x.Backers),
		DecidedAt: optionalTime(x.DecidedAt), DismissalReason: optional(x.Dismissal),
		TemplateID: s.templateOf(x.Name, x.URL),
	}
	for _, b := range x.Backers {
		out.Backers = append(out.Backers, SuggestionBacker{
			AgentID: b.AgentID, AgentName: s.agentName(ctx, b.AgentID), Name: b.Name, URL: optional(b.URL), LatestReason: b.Reason, FirstAt: b.FirstAt.UTC(), LastAt: b.LastAt.UTC(),
		})
		if b.LastAt.After(out.LastActivityAt) {
			out.LastActivityAt = b.LastAt.UTC()
		}
	}
	out.CreatedAt = x.MadeAt().UTC()
	out.Related = views(done.State.Related(id), func(other string) RelatedSuggestion {
		o := done.State.Suggestions[other]
		return RelatedSuggestion{SuggestionID: other, Name: o.Name, BackerCount: len(o.Backers)}
	})
	if x.DecidedBy != nil {
		by := s.actor(ctx, organization, *x.DecidedBy)
		out.DecidedBy = &by
	}
	return out
}

// backerView is a backer of a note as a command left it.
func (s *Server) backerView(ctx context.Context, agentID, reason string, first, last time.Time) Backer {
	return Backer{AgentID: agentID, AgentName: s.agentName(ctx, agentID), LatestReason: reason, FirstAt: first.UTC(), LastAt: last.UTC()}
}

// agentName is what an agent is called, as far as this process has read.
func (s *Server) agentName(ctx context.Context, agentID string) string {
	head, err := s.Agents.Loop.Cached(ctx, agentID)
	if err != nil {
		return ""
	}
	return head.State.Name
}

// span is when the first backer came, who made what they back, and when any of them last said something.
func span(backers []Backer) (created, active time.Time) {
	for i, b := range backers {
		if i == 0 {
			created = b.FirstAt
		}
		if b.LastAt.After(active) {
			active = b.LastAt
		}
	}
	return created, active
}
