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

// SuggestionFilter narrows the suggestions; zero fields do not.
type SuggestionFilter struct {
	Status string // or several, with commas between them
	Query  string // any part of the name, the URL or a backer's reason, whatever its case
}

// SuggestionPage says which part of the list of suggestions is asked for.
type SuggestionPage struct {
	After *Demand // the last one of the page before; nil for the first page
	Limit int
	Sort  string // by what, with - before it for descending; "": by demand
	Count bool   // the list says how many items all its pages have
}

// SuggestionList is one page of suggestions.
type SuggestionList struct {
	Items []Suggestion
	Next  *Demand // nil on the last page
	Total *int    // of all pages, at most one more than MaxCounted; nil unless it is asked for
}

// Demand is a place in the list of suggestions, which is ordered by backers, newest first, then by
// name, unless it is sorted otherwise. Backers count as they did at AsOf, a position in the log, so
// that a suggestion that rises between two pages keeps its place.
type Demand struct {
	AsOf       uint64 `json:"p"`
	Backers    int    `json:"b"`
	MadeAt     int64  `json:"t"` // microseconds since 1970
	ActiveAt   int64  `json:"a"` // likewise
	FoldedName string `json:"n"`
	ID         string `json:"i"`
}

// suggestionSorts have the column of each way to sort, and its value at a place.
var suggestionSorts = map[string]struct {
	by string
	at func(Demand) any
}{
	"backer_count":     {"s.demand", func(d Demand) any { return d.Backers }},
	"created_at":       {"s.created_at", func(d Demand) any { return d.MadeAt }},
	"last_activity_at": {"s.last_activity_at", func(d Demand) any { return d.ActiveAt }},
	"name":             {"s.name_folded", func(d Demand) any { return d.FoldedName }},
}

const suggestionColumns = `SELECT s.id, s.name, s.name_folded, s.url, s.status, s.tool_id, s.backer_count,
s.created_at, s.last_activity_at,
    s.decided_at, s.decided_by_type, s.decided_by_id, s.dismissal_reason, s.demand
FROM (SELECT x.*, (SELECT count(*) FROM suggestion_backers AS b WHERE b.suggestion_id = x.id AND b.position <= `

func (f SuggestionFilter) from(q *text, organization string) {
	q.add(" FROM suggestions AS x WHERE x.organization_id = ", q.arg(organization))
	q.oneOf("x.status", f.Status)
	if folded := Fold(f.Query); folded != "" {
		part := q.arg(folded)
		q.add(" AND (", has("x.name_searched", part), " OR ", has("lower(x.url)", part),
			" OR EXISTS (SELECT 1 FROM suggestion_backers AS b WHERE b.suggestion_id = x.id AND ",
			has("b.latest_reason_folded", part), "))")
	}
}

// demanded adds where a page of suggestions begins, its order, and its length.
func (q *text) demanded(p SuggestionPage) {
	name, descending := strings.CutPrefix(p.Sort, "-")
	sort, sorted := suggestionSorts[name]
	follows, direction := " > ", ""
	if descending {
		follows, direction = " < ", " DESC"
	}
	after := p.After
	switch {
	case sorted && after != nil:
		q.add(" AND (", sort.by, ", s.id)", follows, "(", q.arg(sort.at(*after)), ", ", q.arg(after.ID), ")")
	case after != nil:
		backers, at, name := q.arg(after.Backers), q.arg(after.MadeAt), q.arg(after.FoldedName)
		q.add(" AND (s.demand < ", backers, " OR s.demand = ", backers, " AND (s.created_at < ", at, " OR s.created_at = ",
			at,
			" AND (s.name_folded > ", name, " OR s.name_folded = ", name, " AND s.id > ", q.arg(after.ID), ")))")
	}
	if sorted {
		q.add(" ORDER BY ", sort.by, direction, ", s.id", direction)
	} else {
		q.add(" ORDER BY s.demand DESC, s.created_at DESC, s.name_folded, s.id")
	}
	q.add(" LIMIT ", q.arg(Page{Limit: p.Limit}.rows()))
}

// newestBacker is the position up to which backers count.
func (db *DB) newestBacker(ctx context.Context) (uint64, error) {
	q := &text{}
	q.add("SELECT coalesce(max(position), 0) FROM suggestion_backers")
	return only(collect(ctx, db, q, "newest backer", func(rows *sql.Rows) (uint64, error) {
		var position int64
		err := rows.Scan(&position)
		return unsigned(position), err
	}))
}

// Suggestions lists suggestions. Pages together hold each one once that there was when the first
// was read.
func (db *DB) Suggestions(
	ctx context.Context, organization string, f SuggestionFilter, p SuggestionPage,
) (list SuggestionList, err error) {
	var asOf uint64
	if p.After != nil {
		asOf = p.After.AsOf
	} else if asOf, err = db.newestBacker(ctx); err != nil {
		return list, err
	}
	q := &text{}
	q.add(suggestionColumns, q.arg(signed(asOf)), ") AS demand")
	f.from(q, organization)
	q.add(") AS s WHERE s.demand > 0")
	q.demanded(p)
	found, demand, err := db.suggestions(ctx, organization, q)
	if err != nil {
		return list, err
	}
	if rows := int(Page{Limit: p.Limit}.rows()); len(found) == rows {
		found = found[:rows-1]
		last := found[rows-2]
		list.Next = &Demand{
			AsOf: asOf, Backers: demand[rows-2], MadeAt: Micros(last.CreatedAt), ActiveAt: Micros(last.LastActivityAt),
			FoldedName: last.FoldedName, ID: last.ID,
		}
	}
	list.Items = found
	list.Total, err = db.total(ctx, p.Count, func(q *text) { f.from(q, organization) })
	return list, err
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
