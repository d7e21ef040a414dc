package readmodels

import (
	"context"
	"database/sql"
	"math"
	"regexp"
	"slices"
	"time"
)

// Moment is a state of the past: after the event at Position, and at Time, by which grants that
// have an end count as expired.
type Moment struct {
	Position uint64
	Time     time.Time
}

// At returns the read model as it was at a moment, for Agents, Agent, Tools, Tool, Grants, Grant,
// Requests, Request, Suggestions and Suggestion. Fetches stay out: the past knows no counts of them
// and no times. The zero Moment is now.
func (db *DB) At(m Moment) *DB { return &DB{Store: db.Store, past: m.Position} }

// MomentAt returns the moment after an organization's last audited event whose signed time is not
// later than at, or ErrNotFound when there is none.
func (db *DB) MomentAt(ctx context.Context, organization string, at time.Time) (Moment, error) {
	f := AuditFilter{To: at.Add(time.Microsecond)}
	x, err := db.within(ctx, organization, f, extent{last: math.MaxInt64})
	if err != nil {
		return Moment{}, err
	}
	q := &text{}
	q.auditFrom("e.position", organization, walk{filter: f}, x)
	q.add(" ORDER BY e.position DESC LIMIT 1")
	return only(collect(ctx, db, q, "moments", func(rows *sql.Rows) (Moment, error) {
		var position int64
		err := rows.Scan(&position)
		return Moment{Position: unsigned(position), Time: at}, err
	}))
}

// MomentOf returns the moment after an organization's last audited event up to a position, at the
// time of that event, or ErrNotFound when there is none.
func (db *DB) MomentOf(ctx context.Context, organization string, position uint64) (Moment, error) {
	if position > math.MaxInt64 {
		position = math.MaxInt64
	}
	return db.edge(ctx, organization, "e.position <= ", position, "DESC")
}

// MomentBefore returns the moment before an organization's first audited event whose signed time is
// not earlier than at, or ErrNotFound when nothing was before it. The log only grows at its end, so
// once there is such an event, the answer stays the same whatever follows; final reports that.
func (db *DB) MomentBefore(
	ctx context.Context, organization string, at time.Time,
) (m Moment, final bool, err error) {
	next, err := db.auditEntries(ctx, organization, AuditFilter{From: at}, extent{last: math.MaxInt64}, "", 1)
	if err != nil {
		return Moment{}, false, err
	}
	position := uint64(math.MaxInt64)
	if final = len(next) > 0; final {
		position = next[0].Position - 1
	}
	m, err = db.MomentOf(ctx, organization, position)
	m.Time = at
	return m, final, err
}

// FirstMoment returns the moment after an organization's first audited event, or ErrNotFound.
func (db *DB) FirstMoment(ctx context.Context, organization string) (Moment, error) {
	return db.edge(ctx, organization, "e.position >= ", 0, "ASC")
}

func (db *DB) edge(ctx context.Context, organization, where string, position uint64, order string) (Moment, error) {
	q := &text{}
	q.add("SELECT e.position, e.occurred_at FROM audit_entries AS e WHERE e.organization_id = ", q.arg(organization),
		" AND ", where, q.arg(signed(position)), " ORDER BY e.position ", order, " LIMIT 1")
	return only(collect(ctx, db, q, "moments", func(rows *sql.Rows) (Moment, error) {
		var at, when int64
		err := rows.Scan(&at, &when)
		return Moment{Position: unsigned(at), Time: toTime(when)}, err
	}))
}

// fetched are the columns that a fetch changes, of which the past knows nothing.
var fetched = map[string]string{
	"agents":     ", 0 AS last_seen_at, 0 AS fetch_count, 0 AS last_fetched_at",
	"agent_keys": ", 0 AS last_used_at",
	"grants":     ", 0 AS fetch_count, 0 AS last_fetched_at",
	"tools":      ", 0 AS fetch_count, 0 AS last_fetched_at",
}

// kept matches where a query names a table that has a past, with its alias.
var kept = regexp.MustCompile(
	`\b(FROM|JOIN) (agents|agent_keys|tools|requests|grants|suggestions|suggestion_backers)\b(?: AS (\w+))?`,
)

// asOf makes a query ask the rows that there were after the event at a position. It is the same
// query: where it names a table, it reads the rows of that table's past that were valid then.
// Conditions on since and until would each seem to leave a part, and all together next to nothing:
// then Postgres reads and sorts all there is, where it need only go along an index to the end of a
// page.
func asOf(q *text, position uint64) *text {
	query := q.sql.String()
	if !kept.MatchString(query) { // an engine wants each argument to be used
		return q
	}
	then := &text{args: slices.Clip(q.args)}
	at := then.arg(signed(position))
	then.add(kept.ReplaceAllStringFunc(query, func(named string) string {
		part := kept.FindStringSubmatch(named)
		join, table, alias := part[1], part[2], part[3]
		if alias == "" {
			alias = table
		}
		return join + " (SELECT h.*" + fetched[table] + " FROM past_" + table + " AS h WHERE " +
			unweighed("h.since <= "+at+" AND h.until > "+at) + ") AS " + alias
	}))
	return then
}
