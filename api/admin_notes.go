package api

import (
	"context"

	"agentkey/commands"
	"agentkey/readmodels"
)

// ListInstructionSuggestions answers GET /api/admin/instruction-suggestions.
func (s *Server) ListInstructionSuggestions(
	ctx context.Context, r ListInstructionSuggestionsRequestObject,
) (ListInstructionSuggestionsResponseObject, error) {
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
	view := func(n readmodels.Note) Note { return s.noteView(call.ctx, call.Caller.Organization, n) }
	return ListInstructionSuggestions200JSONResponse{
		Items: views(found.Items, view), NextCursor: cursor(found.Next),
	}, nil
}

// GetInstructionSuggestion answers GET /api/admin/instruction-suggestions/{id}, from the note's
// stream.
func (s *Server) GetInstructionSuggestion(
	ctx context.Context, r GetInstructionSuggestionRequestObject,
) (GetInstructionSuggestionResponseObject, error) {
	call := callOf(ctx)
	found, err := s.Notes.Get(call.ctx, call.meta(), r.ID)
	if err != nil {
		return nil, err
	}
	var backers []string
	for _, b := range found.Note().Backers {
		backers = append(backers, b.AgentID)
	}
	if err := s.refreshNames(call.ctx, backers); err != nil {
		return nil, err
	}
	view, err := s.noteNow(call, found)
	return GetInstructionSuggestion200JSONResponse(view), err
}

func (s *Server) noteView(ctx context.Context, organization string, n readmodels.Note) Note {
	out := Note{
		ID: n.ID, ToolID: n.ToolID, ToolName: n.ToolName, Learned: n.Learned, Status: NoteStatus(n.Status),
		GuideVersion: n.GuideVersion, CurrentVersion: n.CurrentVersion, BackerCount: len(n.Backers),
		Backers: views(n.Backers, backerView), CreatedAt: n.CreatedAt.UTC(), LastActivityAt: n.LastActivityAt.UTC(),
		DecidedAt: optionalTime(n.DecidedAt), DismissalReason: optional(n.DismissalReason),
	}
	out.DecidedBy = s.somebody(ctx, organization, n.DecidedBy)
	return out
}

// AcceptInstructionSuggestion answers POST /api/admin/instruction-suggestions/{id}/accept.
func (s *Server) AcceptInstructionSuggestion(
	ctx context.Context, r AcceptInstructionSuggestionRequestObject,
) (AcceptInstructionSuggestionResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Notes.Accept(call.ctx, call.decision(), r.ID, r.Body.Instructions)
	if err != nil {
		return nil, err
	}
	view, err := s.changedNote(call, done)
	return AcceptInstructionSuggestion200JSONResponse(view), err
}

// DismissInstructionSuggestion answers POST /api/admin/instruction-suggestions/{id}/dismiss.
func (s *Server) DismissInstructionSuggestion(
	ctx context.Context, r DismissInstructionSuggestionRequestObject,
) (DismissInstructionSuggestionResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Notes.Dismiss(call.ctx, call.decision(), r.ID, r.Body.Reason)
	if err != nil {
		return nil, err
	}
	view, err := s.changedNote(call, done)
	return DismissInstructionSuggestion200JSONResponse(view), err
}

// changedNote is a note as a command of this call left it.
func (s *Server) changedNote(call *call, done commands.NoteResult) (Note, error) {
	call.done(done.Position)
	return s.noteNow(call, done)
}

// noteNow is a note as its stream has it.
func (s *Server) noteNow(call *call, done commands.NoteResult) (Note, error) {
	call.shows(done.Digest())
	offered, err := s.Tools.Catalogs.Cached(call.ctx, call.Caller.Organization)
	if err != nil {
		return Note{}, err
	}
	return s.noteView(
		call.ctx, call.Caller.Organization, s.noteLeft(call.ctx, done, offered.State.Tools[done.ToolID]),
	), nil
}
