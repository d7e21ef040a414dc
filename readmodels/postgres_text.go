package readmodels

import (
	"context"
	"database/sql"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// postgresText adapts what is written for both engines to Postgres. Each statement names the schema
// of its tables, because a search_path belongs to a session and a pooler gives every transaction
// another one. And Postgres takes every text: it has no NUL in texts and refuses what isn't UTF-8,
// but an event that holds such a name exists, and a search for it gets an answer. Both become
// U+FFFD.
type postgresText struct {
	DBTX
	names *names
}

// ExecContext implements DBTX.
func (t postgresText) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.DBTX.ExecContext(ctx, t.names.in(query), clean(args)...)
}

// QueryContext implements DBTX.
func (t postgresText) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.DBTX.QueryContext(ctx, t.names.in(query), clean(args)...)
}

// QueryRowContext implements DBTX.
func (t postgresText) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.DBTX.QueryRowContext(ctx, t.names.in(query), clean(args)...)
}

// names puts the name of a schema before those of its tables. The statements of this package are
// few, so it keeps what it made of each.
type names struct {
	model  *Model
	schema string
	known  sync.Map
}

func (n *names) in(statement string) string {
	if known, ok := n.known.Load(statement); ok {
		return known.(string) //nolint:forcetypeassert // nothing else is stored
	}
	named := n.model.tableName().ReplaceAllString(statement, "$1 "+pgx.Identifier{n.schema}.Sanitize()+".$2")
	n.known.Store(statement, named)
	return named
}

// table returns the name of a table with its schema.
func (s *schema) table(name string) string { return pgx.Identifier{s.name, name}.Sanitize() }

// clean changes the arguments in place: they were gathered for this one call.
func clean(args []any) []any {
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			args[i] = cleanText(v)
		case sql.NullString:
			v.String = cleanText(v.String)
			args[i] = v
		}
	}
	return args
}

func cleanText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}
