package audit

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
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

// ReadEnd returns the last event of a stream that the ledger has seen, and false for a stream that
// it doesn't know.
func (t *Tables) ReadEnd(ctx context.Context, stream string) (end codec.End, known bool, err error) {
	err = t.Query(ctx, func(ctx context.Context, q readmodels.DBTX) error {
		var link []byte
		err := q.QueryRowContext(ctx, "SELECT revision, link FROM streams WHERE name = $1", stream).Scan(&end.Revision, &link)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		known = err == nil
		copy(end.Link[:], link)
		return err
	})
	if err != nil {
		return codec.End{}, false, fmt.Errorf("read the end of %s in the ledger: %w", stream, err)
	}
	return end, known, nil
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
