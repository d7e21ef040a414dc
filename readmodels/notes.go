package readmodels

import (
	"context"
	"database/sql"
	"time"

	"agentkey/domain"
)

// Note is what agents learned about a tool that was not removed.
type Note struct {
	ID, ToolID, ToolName string
	Learned              string
	Status               string // pending, accepted or dismissed
	GuideVersion         int    // that its agent had before it; of an accepted one: that took it up
	CurrentVersion       int    // of the guide now
	Backers              []Backer
	CreatedAt            time.Time
	LastActivityAt       time.Time    // of an agent
	DecidedAt            time.Time    // zero while pending
	DecidedBy            domain.Actor // zero while pending
	DismissalReason      string
	Position             uint64 // of its making
}

// NoteFilter narrows the notes; zero fields do not.
type NoteFilter struct {
	Status string // or several, with commas between them
	ToolID string
	Query  string // any part of what was learned, of why, or of the tool's name, whatever its case
}

var noteSorts = sorting{"created_at": "", "last_activity_at": "n.last_activity_at", "tool_name": "t.name_folded"}

func (f NoteFilter) from(q *text, organization string) {
	q.add(`
FROM notes AS n
JOIN tools AS t ON t.id = n.tool_id
WHERE t.removed_at = 0 AND n.organization_id = `, q.arg(organization))
	q.oneOf("n.status", f.Status)
	q.is("n.tool_id", f.ToolID)
	if folded := Fold(f.Query); folded != "" {
		part := q.arg(folded)
		q.add(" AND (", has("n.learned_folded", part), " OR ", has("t.name_folded", part),
			" OR EXISTS (SELECT 1 FROM note_backers AS b WHERE b.note_id = n.id AND ", has("b.latest_why_folded", part), "))")
	}
}

// Notes lists the notes that agents left.
func (db *DB) Notes(ctx context.Context, organization string, f NoteFilter, p Page) (List[Note], error) {
	o, q := noteSorts.order(p), &text{}
	q.add(`SELECT n.id, n.tool_id, t.name, n.learned, n.status, n.guide_version, t.instructions_version, n.created_at,
	n.last_activity_at,
    n.decided_at, n.decided_by_type, n.decided_by_id, n.dismissal_reason, n.position, `, o.value())
	f.from(q, organization)
	q.sorted("n", o, p)
	notes, by, err := db.notes(ctx, q)
	if err != nil {
		return List[Note]{}, err
	}
	return pageOf(ctx, db, notes, by, p, func(n Note) uint64 { return n.Position }, func(q *text) {
		f.from(q, organization)
	})
}

// notes also returns the values by which they are sorted.
func (db *DB) notes(ctx context.Context, q *text) ([]Note, sortedBy, error) {
	by := sortedBy{}
	found, err := collect(ctx, db, q, "notes", func(rows *sql.Rows) (Note, error) {
		var n Note
		var created, active, decided, position int64
		err := rows.Scan(&n.ID, &n.ToolID, &n.ToolName, &n.Learned, &n.Status, &n.GuideVersion, &n.CurrentVersion, &created,
			&active, &decided,
			&n.DecidedBy.Type, &n.DecidedBy.ID, &n.DismissalReason, &position, &by)
		n.CreatedAt, n.LastActivityAt, n.DecidedAt, n.Position = toTime(created), toTime(active), toTime(decided), unsigned(
			position,
		)
		return n, err
	})
	if err != nil {
		return nil, nil, err
	}
	ids := make([]string, len(found))
	for i, n := range found {
		ids[i] = n.ID
	}
	backers, err := db.backers(ctx, "note_backers", "note_id", "'', '', b.latest_why", ids)
	if err != nil {
		return nil, nil, err
	}
	for i := range found {
		found[i].Backers = backers[found[i].ID]
	}
	return found, by, nil
}
