package readmodels

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// text is a query whose conditions depend on what is asked, so that each combination gets its own
// plan and its own index. It is put together from constants of this package; what callers say goes
// into the arguments alone.
type text struct {
	sql  strings.Builder
	args []any
}

// arg adds a value and returns its parameter.
func (q *text) arg(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

func (q *text) add(parts ...string) {
	for _, p := range parts {
		q.sql.WriteString(p)
	}
}

// is adds a condition on a column unless the value is empty.
func (q *text) is(column, value string) {
	if value != "" {
		q.add(" AND ", column, " = ", q.arg(value))
	}
}

// owned adds whose rows of grants or requests are asked for, and narrows them to an agent and a
// tool unless those are empty. Those of one agent are looked for among its own, and those of one
// tool among the tool's: an engine that hasn't counted rows takes any of these ways for as good as
// another. With both, the tool is checked on each of the agent's rows, which are few.
func (q *text) owned(table, organization, agentID, toolID string) {
	conditions := []string{table + ".organization_id = " + q.arg(organization)}
	if toolID != "" {
		conditions = append(conditions, table+".tool_id = "+q.arg(toolID))
	}
	if agentID != "" {
		conditions = append(conditions, table+".agent_id = "+q.arg(agentID))
	}
	last := len(conditions) - 1
	for _, checked := range conditions[:last] {
		q.add(unweighed(checked), " AND ")
	}
	q.add(conditions[last])
}

// unweighed is a condition that is checked on each row and nothing else: no engine looks for an
// index for it, and Postgres takes it for true of nearly every row.
func unweighed(condition string) string { return "CASE WHEN " + condition + " THEN 1 ELSE 0 END <> 0" }

// page adds where a page begins, the order of every list, and its length.
func (q *text) page(table string, p Page) {
	if p.Before != 0 {
		q.add(" AND ", table, ".position < ", q.arg(p.before()))
	}
	q.add(" ORDER BY ", table, ".position DESC LIMIT ", q.arg(p.rows()))
}

// collect runs the query and scans every row.
func collect[T any](ctx context.Context, db *DB, q *text, what string, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if db.past != 0 {
		q = asOf(q, db.past)
	}
	if db.in != nil {
		return collectIn(ctx, db.in, q, what, scan)
	}
	return query(ctx, db.Store, func(ctx context.Context, t *tables) ([]T, error) {
		return collectIn(ctx, t.reader, q, what, scan)
	})
}

// collectIn is collect on tables that are at hand.
func collectIn[T any](
	ctx context.Context, in DBTX, q *text, what string, scan func(*sql.Rows) (T, error),
) ([]T, error) {
	rows, err := in.QueryContext(ctx, q.sql.String(), q.args...)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	defer func() { _ = rows.Close() }() // rows.Err reports what went wrong
	items := []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", what, err)
		}
		items = append(items, item)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	return items, nil
}
