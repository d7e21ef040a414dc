package readmodels

import (
	"context"
	"database/sql"
)

// Extent is how much of the audit an export holds.
type Extent struct {
	Entries     int64
	First, Last uint64 // their positions in the log; 0: there is none
}

// AuditExtent counts the audited events that a filter finds after a position. A Last of 0 means up
// to the newest.
func (db *DB) AuditExtent(
	ctx context.Context, organization string, f AuditFilter, after, last uint64,
) (Extent, error) {
	q := auditQuery(
		"count(*), CAST(coalesce(min(e.position), 0) AS BIGINT), CAST(coalesce(max(e.position), 0) AS BIGINT)",
		organization, f,
	)
	between(q, after, last)
	found, err := collect(ctx, db, q, "audit entries", func(rows *sql.Rows) (Extent, error) {
		var x Extent
		var first, last int64
		err := rows.Scan(&x.Entries, &first, &last)
		x.First, x.Last = unsigned(first), unsigned(last)
		return x, err
	})
	if err != nil || len(found) == 0 {
		return Extent{}, err
	}
	return found[0], nil
}

// AuditAfter lists up to limit audited events after a position and not after another, oldest first.
// Labels are filled in if they are wanted.
func (db *DB) AuditAfter(
	ctx context.Context, organization string, f AuditFilter, after, last uint64, limit int, labelled bool,
) ([]AuditEntry, error) {
	q := auditQuery(auditColumns, organization, f)
	between(q, after, last)
	q.add(" ORDER BY e.position LIMIT ", q.arg(int32(min(max(limit, 1), 1000))))
	entries, err := collect(ctx, db, q, "audit entries", scanAudit)
	if err != nil || !labelled {
		return entries, err
	}
	return entries, db.label(ctx, organization, entries)
}

func between(q *text, after, last uint64) {
	q.add(" AND e.position > ", q.arg(signed(after)))
	if last > 0 {
		q.add(" AND e.position <= ", q.arg(signed(last)))
	}
}
