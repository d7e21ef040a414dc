package readmodels

import (
	"context"
	"database/sql"

	"agentkey/domain"
)

// fetchCount counts an agent's fetches of a tool's credential that come after a position, of one
// secret where that is named.
type fetchCount struct {
	agentID, toolID, secretID string
	after                     uint64

	count       int64
	first, last int64 // microseconds
}

const vended = "credential.vended"

// countFetches fills in what the audit has up to a position. It reads each of the fetches.
func (db *DB) countFetches(ctx context.Context, organization string, upto uint64, wanted []fetchCount) error {
	if len(wanted) == 0 {
		return nil
	}
	q := &text{}
	n := int64(0)
	values(q, "wanted (n, agent, tool, secret, number, after)", wanted, func(f fetchCount) string {
		n++
		list := listOf("in_access", organization, f.agentID, f.toolID) | typeOf(domain.ActorAgent) | actionOf(vended)
		return "CAST(" + q.arg(n) + " AS BIGINT), " + q.arg(f.agentID) + ", " + q.arg(f.toolID) + ", " + q.arg(f.secretID) +
			", CAST(" + q.arg(int64(list)) + " AS BIGINT), CAST(" + q.arg(signed(f.after)) + " AS BIGINT)" //nolint:gosec // all bits count
	})
	q.add(` SELECT w.n, count(*), min(e.occurred_at), max(e.occurred_at) FROM wanted AS w CROSS JOIN audit_entries AS e
WHERE e.in_access = w.number AND e.position > w.after AND e.position <= `, q.arg(signed(upto)),
		` AND e.organization_id = `, q.arg(organization), ` AND e.agent_id = w.agent AND e.tool_id = w.tool
    AND e.action = `, q.arg(vended), ` AND e.data LIKE '%' || w.secret || '%' GROUP BY w.n`)
	_, err := collect(ctx, db, q, "fetches", func(rows *sql.Rows) (struct{}, error) {
		var n int64
		var f fetchCount
		err := rows.Scan(&n, &f.count, &f.first, &f.last)
		if is := &wanted[n-1]; err == nil {
			is.count, is.first, is.last = f.count, f.first, f.last
		}
		return struct{}{}, err
	})
	return err
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
		grants[i].FetchCount, grants[i].LastFetchedAt = f.count, toTime(f.last)
	}
	return err
}
