package api

import (
	"context"

	"agentkey/commands"
	"agentkey/readmodels"
)

// ListNotes answers GET /api/admin/instruction-suggestions.
func (s *Server) ListNotes(
	ctx context.Context, r ListNotesRequestObject,
) (ListNotesResponseObject, error) {
	call := callOf(ctx)
	q := r.Params
	p, err := listing{q.Limit, q.Cursor, q.Count, string(value(q.Sort))}.page(ctx)
	if err != nil {
		return nil, err
	}
	f := readmodels.NoteFilter{Status: several(q.Status), ToolID: value(q.ToolID), Query: value(q.Q)}
	found, err := s.Models.Notes(call.ctx, call.Caller.Organization, f, p)
	if err != nil {
		return nil, asked(err, "note")
	}
	n := s.naming(call.Caller.Organization)
	total, atLeast := totals(found.Total)
	return ListNotes200JSONResponse{
		Items:      views(found.Items, func(x readmodels.Note) Note { return n.note(call.ctx, x) }),
		NextCursor: nextPage(ctx, found), Total: total, TotalAtLeast: atLeast,
	}, n.err
}

// GetNote answers GET /api/admin/instruction-suggestions/{id}, from the note's
// stream.
func (s *Server) GetNote(
	ctx context.Context, r GetNoteRequestObject,
) (GetNoteResponseObject, error) {
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
	n := s.naming(call.Caller.Organization)
	view, err := s.noteNow(call, n, found)
	if err == nil {
		err = n.err
	}
	return GetNote200JSONResponse(view), err
}

func (n *naming) note(ctx context.Context, x readmodels.Note) Note {
	out := Note{
		ID: x.ID, ToolID: x.ToolID, ToolName: x.ToolName, Learned: x.Learned, Status: NoteStatus(x.Status),
		GuideVersion: x.GuideVersion, CurrentVersion: x.CurrentVersion, BackerCount: len(x.Backers),
		Backers: views(x.Backers, backerView), CreatedAt: x.CreatedAt.UTC(), LastActivityAt: x.LastActivityAt.UTC(),
		DecidedAt: optionalTime(x.DecidedAt), DismissalReason: optional(x.DismissalReason),
	}
	out.DecidedBy = n.somebody(ctx, x.DecidedBy)
	return out
}

// AcceptNote answers POST /api/admin/instruction-suggestions/{id}/accept.
func (s *Server) AcceptNote(
	ctx context.Context, r AcceptNoteRequestObject,
) (AcceptNoteResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Notes.Accept(call.ctx, call.decision(), r.ID, r.Body.Instructions)
	if err != nil {
		return nil, err
	}
	view, err := s.changedNote(call, done)
	return AcceptNote200JSONResponse(view), err
}

// DismissNote answers POST /api/admin/instruction-suggestions/{id}/dismiss.
func (s *Server) DismissNote(
	ctx context.Context, r DismissNoteRequestObject,
) (DismissNoteResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Notes.Dismiss(call.ctx, call.decision(), r.ID, r.Body.Reason)
	if err != nil {
		return nil, err
	}
	view, err := s.changedNote(call, done)
	return DismissNote200JSONResponse(view), err
}

// changedNote is a note as a command of this call left it.
func (s *Server) changedNote(call *call, done commands.NoteResult) (Note, error) {
	call.done(done.Position)
	return s.noteNow(call, s.naming(call.Caller.Organization), done)
}

// noteNow is a note as its stream has it.
func (s *Server) noteNow(call *call, n *naming, done commands.NoteResult) (Note, error) {
	call.shows(done.Digest())
	offered, err := s.Tools.Catalogs.Cached(call.ctx, call.Caller.Organization)
	if err != nil {
		return Note{}, err
	}
	return n.note(call.ctx, s.noteLeft(call.ctx, done, offered.State.Tools[done.ToolID])), nil
}
