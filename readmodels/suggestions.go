package readmodels

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"agentkey/domain"
)

// Suggestion is a tool that agents miss.
type Suggestion struct {
	ID, Name, URL   string
	Status          string // pending, accepted, dismissed or redirected
	ToolID          string // that answered it, or ""
	Backers         []Backer
	BackerCount     int
	CreatedAt       time.Time
	LastActivityAt  time.Time    // of an agent
	DecidedAt       time.Time    // zero while pending
	DecidedBy       domain.Actor // zero while pending
	DismissalReason string
	FoldedName      string // by which the list is ordered last
}

// Backer is an agent that wants a tool, or has learned the same.
type Backer struct {
	AgentID, AgentName string
	Latest             string // of what it said
	FirstAt, LastAt    time.Time
}

// Demand is a place in the list of suggestions, which is ordered by backers, then recency, then name.
type Demand struct {
	Backers        int    `json:"b"`
	LastActivityAt int64  `json:"t"` // microseconds since 1970
	FoldedName     string `json:"n"`
	ID             string `json:"i"`
}

const suggestionColumns = `SELECT s.id, s.name, s.name_folded, s.url, s.status, s.tool_id, s.backer_count, s.created_at, s.last_activity_at,
    s.decided_at, s.decided_by_type, s.decided_by_id, s.dismissal_reason
FROM suggestions AS s
WHERE s.organization_id = `

// Suggestions lists at most limit suggestions behind a place, nil for the first, and says where the next page starts,
// nil on the last one.
func (db *DB) Suggestions(ctx context.Context, organization, status string, after *Demand, limit int) ([]Suggestion, *Demand, error) {
	q := &text{}
	q.add(suggestionColumns, q.arg(organization))
	q.is("s.status", status)
	if after != nil {
		backers, at, name := q.arg(after.Backers), q.arg(after.LastActivityAt), q.arg(after.FoldedName)
		q.add(" AND (s.backer_count < ", backers, " OR s.backer_count = ", backers, " AND (s.last_activity_at < ", at, " OR s.last_activity_at = ", at,
			" AND (s.name_folded > ", name, " OR s.name_folded = ", name, " AND s.id > ", q.arg(after.ID), ")))")
	}
	rows := Page{Limit: limit}.rows()
	q.add(" ORDER BY s.backer_count DESC, s.last_activity_at DESC, s.name_folded, s.id LIMIT ", q.arg(rows))
	found, err := db.suggestions(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	var next *Demand
	if len(found) == int(rows) {
		found = found[:len(found)-1]
		last := found[len(found)-1]
		next = &Demand{Backers: last.BackerCount, LastActivityAt: Micros(last.LastActivityAt), FoldedName: last.FoldedName, ID: last.ID}
	}
	return found, next, nil
}

// Suggestion returns one suggestion, or ErrNotFound.
func (db *DB) Suggestion(ctx context.Context, organization, id string) (Suggestion, error) {
	q := &text{}
	q.add(suggestionColumns, q.arg(organization), " AND s.id = ", q.arg(id))
	return only(db.suggestions(ctx, q))
}

func (db *DB) suggestions(ctx context.Context, q *text) ([]Suggestion, error) {
	found, err := collect(ctx, db, q, "suggestions", func(rows *sql.Rows) (Suggestion, error) {
		var s Suggestion
		var created, active, decided int64
		err := rows.Scan(&s.ID, &s.Name, &s.FoldedName, &s.URL, &s.Status, &s.ToolID, &s.BackerCount, &created, &active, &decided,
			&s.DecidedBy.Type, &s.DecidedBy.ID, &s.DismissalReason)
		s.CreatedAt, s.LastActivityAt, s.DecidedAt = toTime(created), toTime(active), toTime(decided)
		return s, err
	})
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(found))
	for i, s := range found {
		ids[i] = s.ID
	}
	backers, err := db.backers(ctx, "suggestion_backers", "suggestion_id", "latest_reason", ids)
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i].Backers = backers[found[i].ID]
	}
	return found, nil
}

// backers lists who backs each of some things, the first first.
func (db *DB) backers(ctx context.Context, table, of, said string, ids []string) (map[string][]Backer, error) {
	out := map[string][]Backer{}
	if len(ids) == 0 {
		return out, nil
	}
	q := &text{}
	params := make([]string, len(ids))
	for i, id := range ids {
		params[i] = q.arg(id)
	}
	q.add("SELECT b.", of, ", b.agent_id, a.name, b.", said, ", b.first_at, b.last_at FROM ", table, " AS b JOIN agents AS a ON a.id = b.agent_id WHERE b.", of,
		" IN (", strings.Join(params, ", "), ") ORDER BY b.position, b.agent_id")
	type row struct {
		of string
		Backer
	}
	rows, err := collect(ctx, db, q, "backers", func(rows *sql.Rows) (row, error) {
		var b row
		var first, last int64
		err := rows.Scan(&b.of, &b.AgentID, &b.AgentName, &b.Latest, &first, &last)
		b.FirstAt, b.LastAt = toTime(first), toTime(last)
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("of %s: %w", table, err)
	}
	for _, b := range rows {
		out[b.of] = append(out[b.of], b.Backer)
	}
	return out, nil
}
