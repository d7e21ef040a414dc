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
type NoteFilter struct{ Status, ToolID string }

// Notes lists the notes that agents left, newest first.
func (db *DB) Notes(ctx context.Context, organization string, f NoteFilter, p Page) (List[Note], error) {
	q := noteQuery(organization)
	q.is("n.status", f.Status)
	q.is("n.tool_id", f.ToolID)
	q.page("n", p)
	notes, err := db.notes(ctx, q)
	return cut(notes, p, func(n Note) uint64 { return n.Position }), err
}

func noteQuery(organization string) *text {
	q := &text{}
	q.add(`SELECT n.id, n.tool_id, t.name, n.learned, n.status, n.guide_version, t.instructions_version, n.created_at,
	n.last_activity_at,
    n.decided_at, n.decided_by_type, n.decided_by_id, n.dismissal_reason, n.position
FROM notes AS n
JOIN tools AS t ON t.id = n.tool_id
WHERE t.removed_at = 0 AND n.organization_id = `, q.arg(organization))
	return q
}

func (db *DB) notes(ctx context.Context, q *text) ([]Note, error) {
	found, err := collect(ctx, db, q, "notes", func(rows *sql.Rows) (Note, error) {
		var n Note
		var created, active, decided, position int64
		err := rows.Scan(&n.ID, &n.ToolID, &n.ToolName, &n.Learned, &n.Status, &n.GuideVersion, &n.CurrentVersion, &created,
			&active, &decided,
			&n.DecidedBy.Type, &n.DecidedBy.ID, &n.DismissalReason, &position)
		n.CreatedAt, n.LastActivityAt, n.DecidedAt, n.Position = toTime(created), toTime(active), toTime(decided), unsigned(
			position,
		)
		return n, err
	})
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(found))
	for i, n := range found {
		ids[i] = n.ID
	}
	backers, err := db.backers(ctx, "note_backers", "note_id", "'', '', b.latest_why", ids)
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i].Backers = backers[found[i].ID]
	}
	return found, nil
}
