package readmodels

import (
	"context"
	"database/sql"
	"time"

	"agentkey/domain"
)

// fetchCount counts an agent's fetches of a tool's credential that come after a position, of one
// secret where that is named.
type fetchCount struct {
	agentID, toolID, secretID string
	after                     uint64

	count int64
	last  time.Time
}

const vended = "credential.vended"

// countedAtOnce bounds the fetches that one query counts, so that none takes long.
const countedAtOnce = 20_000

// countFetches fills in what the audit has up to a position. It reads each of the fetches.
func (db *DB) countFetches(ctx context.Context, organization string, upto uint64, wanted []fetchCount) error {
	for i := range wanted {
		f := &wanted[i]
		for more := true; more; {
			part, err := db.countSome(ctx, organization, *f, upto)
			if err != nil {
				return err
			}
			if f.count += part.hits; part.last != 0 {
				f.last = toTime(part.last)
			}
			f.after, more = part.upto, part.rows == countedAtOnce
		}
	}
	return nil
}

// someFetches are the next ones: how many there were, how many of them count, and when the last of
// those was.
type someFetches struct {
	rows, hits, last int64
	upto             uint64 // their position
}

func (db *DB) countSome(ctx context.Context, organization string, f fetchCount, upto uint64) (someFetches, error) {
	number := int64(listOf("in_access", organization, f.agentID, f.toolID) | typeOf(domain.ActorAgent) | actionOf(vended)) //nolint:gosec // all bits count
	q := &text{}
	q.add(`SELECT count(*), CAST(coalesce(sum(x.hit), 0) AS BIGINT),
    CAST(coalesce(max(CASE WHEN x.hit = 1 THEN x.occurred_at ELSE 0 END), 0) AS BIGINT),
    CAST(coalesce(max(x.position), 0) AS BIGINT) FROM (`)
	q.auditFrom(
		"e.position, e.occurred_at, CASE WHEN e.data LIKE "+q.arg("%"+f.secretID+"%")+" THEN 1 ELSE 0 END AS hit",
		organization, walk{
			column: "in_access", from: number, to: number, actions: []string{vended},
			filter: AuditFilter{AgentID: f.agentID, ToolID: f.toolID},
		}, extentOf(f.after, upto),
	)
	q.add(" ORDER BY e.position LIMIT ", q.arg(countedAtOnce), ") AS x")
	return only(collect(ctx, db, q, "fetches", func(rows *sql.Rows) (someFetches, error) {
		var s someFetches
		var position int64
		err := rows.Scan(&s.rows, &s.hits, &s.last, &position)
		s.upto = unsigned(position)
		return s, err
	}))
}

// CountGrantFetches fills in how often each of some approved grants of the past was used by then,
// and when last.
func (db *DB) CountGrantFetches(ctx context.Context, organization string, grants []Grant) error {
	wanted := make([]fetchCount, len(grants))
	for i, g := range grants {
		wanted[i] = fetchCount{agentID: g.AgentID, toolID: g.ToolID, after: g.DecidedPosition}
	}
	err := db.countFetches(ctx, organization, db.past, wanted)
	for i, f := range wanted {
		grants[i].FetchCount, grants[i].LastFetchedAt = f.count, f.last
	}
	return err
}
