package readmodels

import (
	"context"
	"database/sql"
	"fmt"
	"math"
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
	Related         []RelatedSuggestion
	Confusable      []NamedTool // but the one that answered it
	CreatedAt       time.Time
	LastActivityAt  time.Time    // of an agent
	DecidedAt       time.Time    // zero while pending
	DecidedBy       domain.Actor // zero while pending
	DismissalReason string
	FoldedName      string // by which the list is ordered last
}

// RelatedSuggestion is a pending suggestion of the same site or name.
type RelatedSuggestion struct {
	ID, Name    string
	BackerCount int
}

// Backer is an agent that wants a tool, or has learned the same.
type Backer struct {
	AgentID, AgentName string
	Name, URL          string // of the tool that it wants
	Latest             string // of what it said
	FirstAt, LastAt    time.Time
}

// Demand is a place in the list of suggestions, which is ordered by backers, newest first, then by
// name. Backers count as they did at AsOf, a position in the log, so that a suggestion that rises
// between two pages keeps its place.
type Demand struct {
	AsOf       uint64 `json:"p"`
	Backers    int    `json:"b"`
	MadeAt     int64  `json:"t"` // microseconds since 1970
	FoldedName string `json:"n"`
	ID         string `json:"i"`
}

const suggestionColumns = `SELECT s.id, s.name, s.name_folded, s.url, s.status, s.tool_id, s.backer_count,
s.created_at, s.last_activity_at,
    s.decided_at, s.decided_by_type, s.decided_by_id, s.dismissal_reason, s.demand
FROM (SELECT x.*, (SELECT count(*) FROM suggestion_backers AS b WHERE b.suggestion_id = x.id AND b.position <= `

// Suggestions lists at most limit suggestions after a place, nil for the first, and says where the
// next page starts, nil on the last one. Pages together hold each suggestion once that there was
// when the first was read.
func (db *DB) Suggestions(
	ctx context.Context, organization, status string, after *Demand, limit int,
) ([]Suggestion, *Demand, error) {
	asOf := uint64(0)
	if after != nil {
		asOf = after.AsOf
	} else {
		newest := &text{}
		newest.add("SELECT coalesce(max(position), 0) FROM suggestion_backers")
		found, err := collect(ctx, db, newest, "newest backer", func(rows *sql.Rows) (position int64, err error) {
			err = rows.Scan(&position)
			return position, err
		})
		if err != nil {
			return nil, nil, err
		}
		asOf = unsigned(found[0])
	}
	q := &text{}
	q.add(
		suggestionColumns, q.arg(signed(asOf)), ") AS demand FROM suggestions AS x WHERE x.organization_id = ",
		q.arg(organization),
	)
	q.is("x.status", status)
	q.add(") AS s WHERE s.demand > 0")
	if after != nil {
		backers, at, name := q.arg(after.Backers), q.arg(after.MadeAt), q.arg(after.FoldedName)
		q.add(" AND (s.demand < ", backers, " OR s.demand = ", backers, " AND (s.created_at < ", at, " OR s.created_at = ",
			at,
			" AND (s.name_folded > ", name, " OR s.name_folded = ", name, " AND s.id > ", q.arg(after.ID), ")))")
	}
	rows := Page{Limit: limit}.rows()
	q.add(" ORDER BY s.demand DESC, s.created_at DESC, s.name_folded, s.id LIMIT ", q.arg(rows))
	found, demand, err := db.suggestions(ctx, organization, q)
	if err != nil {
		return nil, nil, err
	}
	var next *Demand
	if len(found) == int(rows) {
		found = found[:len(found)-1]
		last := len(found) - 1
		next = &Demand{
			AsOf: asOf, Backers: demand[last], MadeAt: Micros(found[last].CreatedAt),
			FoldedName: found[last].FoldedName, ID: found[last].ID,
		}
	}
	return found, next, nil
}

// Suggestion returns one suggestion, or ErrNotFound.
func (db *DB) Suggestion(ctx context.Context, organization, id string) (Suggestion, error) {
	q := &text{}
	q.add(suggestionColumns, q.arg(int64(math.MaxInt64)), ") AS demand FROM suggestions AS x WHERE x.organization_id = ",
		q.arg(organization),
		" AND x.id = ", q.arg(id), ") AS s")
	found, _, err := db.suggestions(ctx, organization, q)
	return only(found, err)
}

// suggestions also returns how many backers each suggestion had at the position that the query
// names.
func (db *DB) suggestions(ctx context.Context, organization string, q *text) ([]Suggestion, []int, error) {
	var demand []int
	found, err := collect(ctx, db, q, "suggestions", func(rows *sql.Rows) (Suggestion, error) {
		var s Suggestion
		var created, active, decided int64
		var backers int
		err := rows.Scan(&s.ID, &s.Name, &s.FoldedName, &s.URL, &s.Status, &s.ToolID, &s.BackerCount, &created, &active,
			&decided,
			&s.DecidedBy.Type, &s.DecidedBy.ID, &s.DismissalReason, &backers)
		demand = append(demand, backers)
		s.CreatedAt, s.LastActivityAt, s.DecidedAt = toTime(created), toTime(active), toTime(decided)
		return s, err
	})
	if err != nil {
		return nil, nil, err
	}
	ids := make([]string, len(found))
	for i, s := range found {
		ids[i] = s.ID
	}
	backers, err := db.backers(ctx, "suggestion_backers", "suggestion_id", "b.name, b.url, b.latest_reason", ids)
	if err != nil {
		return nil, nil, err
	}
	related, err := db.related(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, len(found))
	for i, s := range found {
		names[i] = s.Name
	}
	alike, err := db.confusable(ctx, organization, names)
	if err != nil {
		return nil, nil, err
	}
	for i := range found {
		found[i].Confusable = Others(alike[found[i].Name], found[i].ToolID)
		found[i].Backers, found[i].Related = backers[found[i].ID], related[found[i].ID]
	}
	return found, demand, nil
}

// maxRelated is how many related suggestions are named.
const maxRelated = 20

// related lists the pending suggestions that share site or name with each of some pending ones,
// those with the most backers first.
func (db *DB) related(ctx context.Context, ids []string) (map[string][]RelatedSuggestion, error) {
	out := map[string][]RelatedSuggestion{}
	if len(ids) == 0 {
		return out, nil
	}
	q := &text{}
	params := make([]string, len(ids))
	for i, id := range ids {
		params[i] = q.arg(id)
	}
	q.add(`SELECT s.id, o.id, o.name, o.backer_count FROM suggestions AS s
JOIN suggestions AS o ON o.organization_id = s.organization_id AND o.status = 'pending' AND o.id <> s.id
    AND (o.name_folded = s.name_folded OR o.site = s.site AND s.site <> '')
WHERE s.status = 'pending' AND s.id IN (`, strings.Join(params, ", "), ") ORDER BY o.backer_count DESC, "+
		"o.created_at, o.id")
	type row struct {
		of string
		RelatedSuggestion
	}
	rows, err := collect(ctx, db, q, "related suggestions", func(rows *sql.Rows) (row, error) {
		var r row
		return r, rows.Scan(&r.of, &r.ID, &r.Name, &r.BackerCount)
	})
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if len(out[r.of]) < maxRelated {
			out[r.of] = append(out[r.of], r.RelatedSuggestion)
		}
	}
	return out, nil
}

// backers lists who backs each of some things, the first first. words are the columns of a name, a
// URL and the latest that the agent said.
func (db *DB) backers(ctx context.Context, table, of, words string, ids []string) (map[string][]Backer, error) {
	out := map[string][]Backer{}
	if len(ids) == 0 {
		return out, nil
	}
	q := &text{}
	params := make([]string, len(ids))
	for i, id := range ids {
		params[i] = q.arg(id)
	}
	q.add("SELECT b.", of, ", b.agent_id, a.name, ", words, ", b.first_at, b.last_at FROM ", table, " AS b JOIN agents "+
		"AS a ON a.id = b.agent_id WHERE b.", of,
		" IN (", strings.Join(params, ", "), ") ORDER BY b.position, b.agent_id")
	type row struct {
		of string
		Backer
	}
	rows, err := collect(ctx, db, q, "backers", func(rows *sql.Rows) (row, error) {
		var b row
		var first, last int64
		err := rows.Scan(&b.of, &b.AgentID, &b.AgentName, &b.Name, &b.URL, &b.Latest, &first, &last)
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
