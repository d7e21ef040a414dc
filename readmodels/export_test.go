package readmodels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// AsVersion lets the tables be those of another version of the program.
func (db *DB) AsVersion(fingerprint string) {
	s := db.place.(*schema) //nolint:forcetypeassert // of Postgres
	s.name = s.home + "_" + fingerprint
	db.live.names.schema = s.name
}

// ExplainAudit returns how the engine carries out the queries behind a page of the audit, in its
// own words; nothing where the audit isn't read at all.
func (db *DB) ExplainAudit(
	ctx context.Context, organization string, f AuditFilter, p Page, order string,
) (plans []string, err error) {
	queries, err := db.auditQueries(ctx, organization, f, extent{last: p.through()}, order, p.rows())
	for _, q := range queries {
		plan, explainErr := db.explain(ctx, q)
		plans, err = append(plans, plan), errors.Join(err, explainErr)
	}
	return plans, err
}

// ExplainGrants is ExplainAudit of a page of grants.
func (db *DB) ExplainGrants(ctx context.Context, organization string, f GrantFilter, p Page) (string, error) {
	return db.explain(ctx, db.grantQuery(organization, f, time.Unix(0, 0), p))
}

// ExplainRequests is ExplainAudit of a page of requests.
func (db *DB) ExplainRequests(ctx context.Context, organization string, f RequestFilter, p Page) (string, error) {
	return db.explain(ctx, db.requestQuery(organization, "", f, p))
}

// ExplainAgents is ExplainAudit of a page of agents.
func (db *DB) ExplainAgents(ctx context.Context, organization string, f AgentFilter, p Page) (string, error) {
	from := func(q *text) { f.from(q, organization) }
	return db.explain(ctx, db.agentQuery(from, time.Unix(0, 0), p))
}

func (db *DB) explain(ctx context.Context, q *text) (string, error) {
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

// Analyze has Postgres count the rows, as it does by itself within a minute.
func (db *DB) Analyze(ctx context.Context) error {
	if db.live.names == nil {
		return nil
	}
	for _, name := range db.model.tableNames() {
		if _, err := db.live.writer.ExecContext(ctx, "ANALYZE "+db.place.(*schema).table(name)); err != nil {
			return err
		}
	}
	return nil
}

// ExplainBefore is ExplainAudit of what was before some requests.
func (db *DB) ExplainBefore(ctx context.Context, organization string, ids []string) (string, error) {
	return db.explain(ctx, beforeQuery(organization, ids))
}
