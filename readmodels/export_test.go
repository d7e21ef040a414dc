package readmodels

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// AsVersion lets the tables be those of another version of the program.
func (db *DB) AsVersion(fingerprint string) {
	s := db.place.(*schema) //nolint:forcetypeassert // of Postgres
	s.name = s.home + "_" + fingerprint
	db.live.names.schema = s.name
}

// ExplainAudit returns how the engine carries out the query behind a page of the audit, in its own
// words; "" where the audit isn't read at all.
func (db *DB) ExplainAudit(ctx context.Context, organization string, f AuditFilter, p Page) (string, error) {
	q, err := db.auditQuery(ctx, organization, f, extent{last: p.through()}, newestFirst, p.rows())
	if err != nil || q == nil {
		return "", err
	}
	explain, columns := "EXPLAIN (ANALYZE, FORMAT JSON, TIMING off) ", 1
	if db.live.names == nil {
		explain, columns = "EXPLAIN QUERY PLAN ", 4
	}
	said := q.sql.String()
	q.sql.Reset()
	q.add(explain, said)
	lines, err := collect(ctx, db, q, "the plan", func(rows *sql.Rows) (string, error) {
		row := make([]any, columns)
		for i := range row {
			row[i] = new(any)
		}
		err := rows.Scan(row...)
		switch last := (*row[columns-1].(*any)).(type) {
		case []byte:
			return string(last), err
		default:
			return fmt.Sprint(last), err
		}
	})
	return strings.Join(lines, "\n"), err
}
