package embedded

import (
	"context"
	"database/sql"
	"fmt"
)

const (
	readers  = 8   // connections
	pageSize = 256 // events read at once; a page is read fully before it is sent, so no slow client pins the WAL
)

// record is a stored event.
type record struct {
	pos     int64
	stream  string
	rev     int64
	id      [16]byte
	typ     string
	json    bool
	created int64
	data    []byte
	meta    []byte
}

// pages are the prepared reads.
type pages struct {
	lookup   *sql.Stmt
	forward  *sql.Stmt // of a stream
	backward *sql.Stmt
	after    *sql.Stmt // of the log
	before   *sql.Stmt
	names    *sql.Stmt // of the log, without what the events hold
}

// The reads of a file, the store's own or an archive.
const (
	source       = `from events e join streams s on s.sid = e.sid `
	selected     = `select e.pos, s.name, e.rev, e.id, e.type, e.json, e.created, e.data, e.meta `
	forwardPage  = selected + source + `where e.sid = $1 and e.rev >= $2 and e.rev <= $3 order by e.rev limit $4`
	backwardPage = selected + source + `where e.sid = $1 and e.rev >= $2 and e.rev <= $3 order by e.rev desc limit $4`
	afterPage    = selected + source + `where e.pos >= $1 and e.pos <= $2 order by e.pos limit $3`
	beforePage   = selected + source + `where e.pos < $1 order by e.pos desc limit $2`
	namesPage    = `select e.pos, s.name, e.type ` + source + `where e.pos >= $1 and e.pos <= $2 order by e.pos limit $3`
)

func newPages(ctx context.Context, db *sql.DB) (*pages, error) {
	p := &pages{}
	for text, stmt := range map[string]**sql.Stmt{
		`select sid, head, tombstoned, before_rev, max_count, max_age from streams where name = $1`: &p.lookup,
		forwardPage: &p.forward, backwardPage: &p.backward, afterPage: &p.after, beforePage: &p.before,
		namesPage: &p.names,
	} {
		var err error
		if *stmt, err = db.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // it closes with the database
			return nil, fmt.Errorf("prepare the reads: %w", err)
		}
	}
	return p, nil
}

func read(ctx context.Context, stmt *sql.Stmt, args ...any) ([]record, error) {
	return scan(wholeEvent)(stmt.QueryContext(ctx, args...)) //nolint:rowserrcheck // scan does it
}

func wholeEvent(rows *sql.Rows, r *record) error {
	var id []byte
	err := rows.Scan(&r.pos, &r.stream, &r.rev, &id, &r.typ, &r.json, &r.created, &r.data, &r.meta)
	copy(r.id[:], id)
	return err
}

func namesOnly(rows *sql.Rows, r *record) error { return rows.Scan(&r.pos, &r.stream, &r.typ) }

// scan returns a function that takes the answer of a query.
func scan(into func(*sql.Rows, *record) error) func(*sql.Rows, error) ([]record, error) {
	return func(rows *sql.Rows, err error) ([]record, error) {
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		defer rows.Close() //nolint:errcheck // Err is read below
		var out []record
		for rows.Next() {
			var r record
			if err := into(rows, &r); err != nil {
				return nil, fmt.Errorf("read events: %w", err)
			}
			out = append(out, r)
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		return out, nil
	}
}
