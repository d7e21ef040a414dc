package projections

import (
	"context"

	"agentkey/domain/catalog"
	"agentkey/domain/guide"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// suggestion applies what happens to a suggestion.
func (r *rows) suggestion(ctx context.Context, e codec.Verified, body catalog.Event) error {
	at := readmodels.Micros(e.Signed.Time)
	back := func(b catalog.SuggestionBacked) error {
		err := r.tx.BackSuggestion(ctx, readmodels.BackSuggestionParams{
			SuggestionID: b.SuggestionID, AgentID: b.AgentID, Position: int64(e.Position), Name: b.Name, Url: b.URL, //nolint:gosec // positions fit
			Reason: b.Reason, ReasonFolded: readmodels.Fold(b.Reason), At: at,
		})
		if err != nil {
			return err
		}
		return r.tx.ReopenSuggestion(ctx, readmodels.ReopenSuggestionParams{ID: b.SuggestionID, At: at})
	}
	decide := func(id string, status catalog.SuggestionStatus, toolID, reason string) error {
		return r.tx.DecideSuggestion(ctx, readmodels.DecideSuggestionParams{
			ID: id, Status: string(status), ToolID: toolID, DismissalReason: reason, DecidedAt: at,
			DecidedByType: string(e.Signed.By().Type), DecidedByID: e.Signed.By().ID,
		})
	}
	switch b := body.(type) {
	case catalog.SuggestionMade:
		err := r.tx.InsertSuggestion(ctx, readmodels.InsertSuggestionParams{
			ID: b.SuggestionID, OrganizationID: e.Signed.Organization, Name: b.Name, NameFolded: b.FoldedName,
			NameSearched: readmodels.Fold(b.Name), Url: b.URL, Site: b.Site, At: at,
		})
		if err != nil {
			return err
		}
		return back(
			catalog.SuggestionBacked{
				SuggestionID: b.SuggestionID, AgentID: b.AgentID, Name: b.Name, URL: b.URL, Reason: b.Reason,
			},
		)
	case catalog.SuggestionBacked:
		return back(b)
	case catalog.SuggestionDismissed:
		return decide(b.SuggestionID, catalog.StatusDismissed, "", b.Reason)
	case catalog.SuggestionAccepted:
		return decide(b.SuggestionID, catalog.StatusAccepted, b.ToolID, "")
	case catalog.SuggestionRedirected:
		return decide(b.SuggestionID, catalog.StatusRedirected, b.ToolID, "")
	default: // tools, and what only the audit shows
	}
	return nil
}

// note applies what happens to a note on a usage guide.
func (r *rows) note(ctx context.Context, e codec.Verified, body guide.Event) error {
	at, position := readmodels.Micros(e.Signed.Time), int64(e.Position) //nolint:gosec // positions fit
	decide := func(id string, status guide.Status, version *int64, reason string) error {
		return r.tx.DecideNote(ctx, readmodels.DecideNoteParams{
			ID: id, Status: string(status), GuideVersion: readmodels.OptionalInt(version), DismissalReason: reason,
			DecidedAt: at, DecidedByType: string(e.Signed.By().Type), DecidedByID: e.Signed.By().ID,
		})
	}
	switch b := body.(type) {
	case guide.NoteMade:
		err := r.tx.InsertNote(ctx, readmodels.InsertNoteParams{
			ID: b.NoteID, OrganizationID: e.Signed.Organization, Position: position, ToolID: b.ToolID,
			Learned: b.Learned, LearnedFolded: readmodels.Fold(b.Learned), GuideVersion: int64(b.GuideVersion), At: at,
		})
		if err != nil {
			return err
		}
		return r.tx.BackNote(
			ctx,
			readmodels.BackNoteParams{
				NoteID: b.NoteID, AgentID: b.AgentID, Position: position, Why: b.Why,
				WhyFolded: readmodels.Fold(b.Why), At: at,
			},
		)
	case guide.NoteBacked:
		err := r.tx.BackNote(
			ctx,
			readmodels.BackNoteParams{
				NoteID: b.NoteID, AgentID: b.AgentID, Position: position, Why: b.Why,
				WhyFolded: readmodels.Fold(b.Why), At: at,
			},
		)
		if err != nil {
			return err
		}
		return r.tx.SeeNote(ctx, readmodels.SeeNoteParams{ID: b.NoteID, At: at})
	case guide.NoteAccepted:
		version := int64(b.GuideVersion)
		return decide(b.NoteID, guide.Accepted, &version, "")
	case guide.NoteDismissed:
		return decide(b.NoteID, guide.Dismissed, nil, b.Reason)
	}
	return nil
}
