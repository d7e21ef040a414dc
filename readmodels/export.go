package readmodels

import (
	"context"
	"database/sql"
	"math"
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
	x, err := db.within(ctx, organization, f, extentOf(after, last))
	if err != nil || x.last <= x.after {
		return Extent{}, err
	}
	walks, narrowed := f.walks(organization)
	if !narrowed {
		walks = []walk{{}}
	}
	var out Extent
	for _, w := range walks {
		q := &text{}
		q.auditFrom(
			"count(*), CAST(coalesce(min(e.position), 0) AS BIGINT), CAST(coalesce(max(e.position), 0) AS BIGINT)",
			organization, f, w, x,
		)
		if _, err := collect(ctx, db, q, "audit entries", func(rows *sql.Rows) (struct{}, error) {
			var n, first, last int64
			err := rows.Scan(&n, &first, &last)
			if out.Entries += n; n > 0 && (out.First == 0 || unsigned(first) < out.First) {
				out.First = unsigned(first)
			}
			out.Last = max(out.Last, unsigned(last))
			return struct{}{}, err
		}); err != nil {
			return Extent{}, err
		}
	}
	return out, nil
}

// extentOf is what comes after a position and not after another; a last of 0 is the newest.
func extentOf(after, last uint64) extent {
	if last == 0 {
		last = math.MaxInt64
	}
	return extent{after: signed(after), last: signed(last)}
}

// AuditAfter lists up to limit audited events after a position and not after another, oldest first.
// Labels are filled in if they are wanted.
func (db *DB) AuditAfter(
	ctx context.Context, organization string, f AuditFilter, after, last uint64, limit int, labelled bool,
) ([]AuditEntry, error) {
	entries, err := db.auditEntries(
		ctx, organization, f, extentOf(after, last), "", int32(min(max(limit, 1), 1000)),
	)
	if err != nil || !labelled {
		return entries, err
	}
	return entries, db.label(ctx, organization, entries)
}
