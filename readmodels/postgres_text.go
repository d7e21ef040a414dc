package readmodels

import (
	"context"
	"database/sql"
	"strings"
)

// textual lets Postgres take every text: it has no NUL in texts and refuses what isn't UTF-8, but
// an event that holds such a name exists, and a search for it gets an answer. Both become U+FFFD.
type textual struct{ DBTX }

// ExecContext implements DBTX.
func (t textual) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.DBTX.ExecContext(ctx, query, clean(args)...)
}

// QueryContext implements DBTX.
func (t textual) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.DBTX.QueryContext(ctx, query, clean(args)...)
}

// QueryRowContext implements DBTX.
func (t textual) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.DBTX.QueryRowContext(ctx, query, clean(args)...)
}

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
