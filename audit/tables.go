package audit

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

//go:embed tables.sql
var tablesSQL string

// Model is the tables of the ledger. They are apart from those of the read model, so that they know
// what the log held when that one is lost.
var Model = &readmodels.Model{Name: "ledger", Title: "the ledger", Tables: tablesSQL, Fill: 1}

// Tables keep the ledger: a projections.Place.
type Tables struct{ *readmodels.Store }

// OpenEmbedded opens the ledger in an SQLite file; see readmodels.Model.
func OpenEmbedded(ctx context.Context, path string, logger *slog.Logger) (*Tables, error) {
	store, err := Model.OpenEmbedded(ctx, path, logger)
	if err != nil {
		return nil, err
	}
	return &Tables{store}, nil
}

// OpenPostgres opens the ledger in a database of Postgres; see readmodels.Model.
func OpenPostgres(ctx context.Context, d readmodels.Database, logger *slog.Logger) (*Tables, error) {
	store, err := Model.OpenPostgres(ctx, d, logger)
	if err != nil {
		return nil, err
	}
	return &Tables{store}, nil
}

// ReadEnd implements projections.Place.
func (t *Tables) ReadEnd(ctx context.Context, stream string) (readmodels.StreamEnd, error) {
	ends, err := t.readEnds(ctx, "SELECT name, revision, link FROM streams WHERE name = $1", stream)
	if err != nil || len(ends) == 0 {
		return readmodels.StreamEnd{}, err
	}
	return ends[0], nil
}

// ReadEnds implements projections.Place. The ledger knows where every stream ends that lasts.
func (t *Tables) ReadEnds(ctx context.Context, after string) ([]readmodels.StreamEnd, error) {
	return t.readEnds(ctx, "SELECT name, revision, link FROM streams WHERE name > $1 ORDER BY name LIMIT 256", after)
}

func (t *Tables) readEnds(ctx context.Context, query, name string) (ends []readmodels.StreamEnd, err error) {
	err = t.Look(ctx, func(ctx context.Context, q readmodels.DBTX) error {
		return each(ctx, q, func(rows *sql.Rows) error {
			var end readmodels.StreamEnd
			var link []byte
			if err := rows.Scan(&end.Stream, &end.Revision, &link); err != nil {
				return err
			}
			if len(link) != len(codec.Link{}) {
				return fmt.Errorf("the end of %s has no link", end.Stream)
			}
			end.Link = codec.Link(link).String()
			ends = append(ends, end)
			return nil
		}, query, name)
	})
	if err != nil {
		return nil, fmt.Errorf("read the ends of streams in the ledger: %w", err)
	}
	return ends, nil
}

// chunk bounds the rows of one statement.
const chunk = 64

// insert adds rows in statements of many rows each. what is the statement up to its values, then is
// what follows them.
func insert(ctx context.Context, q readmodels.DBTX, what string, rows [][]any, then string) error {
	for len(rows) > 0 {
		n := min(len(rows), chunk)
		width := len(rows[0])
		args := make([]any, 0, n*width)
		for _, row := range rows[:n] {
			args = append(args, row...)
		}
		if _, err := q.ExecContext(ctx, what+" VALUES "+places(n, width)+then, args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// places are the parameters of rows of one width.
func places(rows, width int) string {
	var b strings.Builder
	for i := range rows * width {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%width == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	return b.String() + ")"
}

// each runs a query and scans every row.
func each(ctx context.Context, q readmodels.DBTX, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err reports what went wrong
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
