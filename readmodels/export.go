package readmodels

import (
	"context"
	"database/sql"
	"math"
	"slices"
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
	var walks []walk
	union := " UNION ALL "
	if f.Text == "" {
		walks, err = db.single(ctx, f.walks(organization))
	} else {
		walks, err = db.search(ctx, organization, f)
		union = " UNION " // because an entry may be in several
	}
	var out Extent
	for part := range slices.Chunk(walks, atOnce) {
		if err == nil {
			err = db.count(ctx, organization, part, x, union, &out)
		}
	}
	return out, err
}

// count adds how many entries walks find.
func (db *DB) count(ctx context.Context, organization string, walks []walk, x extent, union string, out *Extent) error {
	q := &text{}
	q.add(`SELECT count(*), CAST(coalesce(min(c.position), 0) AS BIGINT), CAST(coalesce(max(c.position), 0) AS BIGINT)
FROM (`)
	for i, w := range walks {
		if i > 0 {
			q.add(union)
		}
		if w.actions == nil {
			w.actions = w.filter.Actions
		}
		q.auditFrom("e.position", organization, w, x)
	}
	q.add(") AS c")
	_, err := collect(ctx, db, q, "audit entries", func(rows *sql.Rows) (struct{}, error) {
		var n, first, last int64
		err := rows.Scan(&n, &first, &last)
		if out.Entries += n; n > 0 && (out.First == 0 || unsigned(first) < out.First) {
			out.First = unsigned(first)
		}
		out.Last = max(out.Last, unsigned(last))
		return struct{}{}, err
	})
	return err
}

// extentOf is what comes after a position and not after another; a last of 0 is the newest.
func extentOf(after, last uint64) extent {
	if last == 0 {
		last = math.MaxInt64
	}
	return extent{after: signed(after), last: signed(last)}
}

// AuditFrom lists audited events after a position, oldest first. Next is the position after
// which the next page begins.
func (db *DB) AuditFrom(
	ctx context.Context, organization string, f AuditFilter, after uint64, p Page,
) (List[AuditEntry], error) {
	entries, err := db.auditEntries(ctx, organization, f, extentOf(after, 0), "", p.rows())
	if err != nil {
		return List[AuditEntry]{}, err
	}
	page := cut(entries, p, func(e AuditEntry) uint64 { return e.Position })
	return page, db.label(ctx, organization, page.Items)
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
