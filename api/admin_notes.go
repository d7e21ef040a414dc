package api

import (
	"context"

	"agentkey/commands"
	"agentkey/readmodels"
)

// ListInstructionSuggestions answers GET /api/admin/instruction-suggestions.
func (s *Server) ListInstructionSuggestions(ctx context.Context, r ListInstructionSuggestionsRequestObject) (ListInstructionSuggestionsResponseObject, error) {
	call := callOf(ctx)
	p, err := page(r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	f := readmodels.NoteFilter{Status: string(value(r.Params.Status)), ToolID: value(r.Params.ToolID)}
	found, err := s.Models.Notes(call.ctx, call.Caller.Organization, f, p)
	if err != nil {
		return nil, asked(err, "note")
	}
	view := func(n readmodels.Note) Note { return s.noteRow(call.ctx, call.Caller.Organization, n) }
	return ListInstructionSuggestions200JSONResponse{Items: views(found.Items, view), NextCursor: cursor(found.Next)}, nil
}

// GetInstructionSuggestion answers GET /api/admin/instruction-suggestions/{id}.
func (s *Server) GetInstructionSuggestion(ctx context.Context, r GetInstructionSuggestionRequestObject) (GetInstructionSuggestionResponseObject, error) {
	call := callOf(ctx)
	found, err := s.Models.Note(call.ctx, call.Caller.Organization, r.ID)
	if err != nil {
		return nil, asked(err, "note")
	}
	return GetInstructionSuggestion200JSONResponse(s.noteRow(call.ctx, call.Caller.Organization, found)), nil
}

func (s *Server) noteRow(ctx context.Context, organization string, n readmodels.Note) Note {
	out := Note{
		ID: n.ID, ToolID: n.ToolID, ToolName: n.ToolName, Learned: n.Learned, Status: NoteStatus(n.Status), GuideVersion: n.GuideVersion,
		CurrentVersion: n.CurrentVersion, BackerCount: len(n.Backers), Backers: views(n.Backers, backerRow), CreatedAt: n.CreatedAt, LastActivityAt: n.LastActivityAt,
		DecidedAt: optionalTime(n.DecidedAt), DismissalReason: optional(n.DismissalReason),
	}
	if n.DecidedBy.ID != "" {
		by := s.actor(ctx, organization, n.DecidedBy)
		out.DecidedBy = &by
	}
	return out
}

// AcceptInstructionSuggestion answers POST /api/admin/instruction-suggestions/{id}/accept.
func (s *Server) AcceptInstructionSuggestion(ctx context.Context, r AcceptInstructionSuggestionRequestObject) (AcceptInstructionSuggestionResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Notes.Accept(call.ctx, call.meta(), r.ID, r.Body.Instructions)
	if err != nil {
		return nil, err
	}
	view, err := s.noteView(call, done)
	return AcceptInstructionSuggestion200JSONResponse(view), err
}

// DismissInstructionSuggestion answers POST /api/admin/instruction-suggestions/{id}/dismiss.
func (s *Server) DismissInstructionSuggestion(ctx context.Context, r DismissInstructionSuggestionRequestObject) (DismissInstructionSuggestionResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Notes.Dismiss(call.ctx, call.meta(), r.ID, r.Body.Reason)
	if err != nil {
		return nil, err
	}
	view, err := s.noteView(call, done)
	return DismissInstructionSuggestion200JSONResponse(view), err
}

// noteView is a note as a command left it.
func (s *Server) noteView(call *call, done commands.Noted) (Note, error) {
	call.done(done.Position)
	offered, err := s.Tools.Catalogs.Cached(call.ctx, call.Caller.Organization)
	if err != nil {
		return Note{}, err
	}
	tool, n := offered.State.Tools[done.ToolID], done.Note()
	out := Note{
		ID: done.ID, ToolID: done.ToolID, ToolName: tool.Name, Learned: n.Learned, Status: NoteStatus(n.Status), GuideVersion: n.GuideVersion,
		CurrentVersion: tool.InstructionsVersion, BackerCount: len(n.Backers), DecidedAt: optionalTime(n.DecidedAt), DismissalReason: optional(n.DismissalReason),
	}
	for _, b := range n.Backers {
		out.Backers = append(out.Backers, s.backerView(call.ctx, b.AgentID, b.Why, b.FirstAt, b.LastAt))
	}
	out.CreatedAt, out.LastActivityAt = span(out.Backers)
	if n.DecidedBy != nil {
		by := s.actor(call.ctx, call.Caller.Organization, *n.DecidedBy)
		out.DecidedBy = &by
	}
	return out, nil
}
