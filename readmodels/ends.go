package readmodels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// StreamEnd is the last event of ours of a stream that the rows know.
type StreamEnd struct {
	Stream   string
	Revision int64
	Link     string // its hash, base64url
}

const (
	getEnd   = "SELECT stream, revision, link FROM stream_ends WHERE stream = $1"
	listEnds = "SELECT stream, revision, link FROM stream_ends WHERE stream > $1 ORDER BY stream LIMIT 256"
	keepEnd  = "INSERT INTO stream_ends (stream, revision, link) VALUES ($1, $2, $3) " +
		"ON CONFLICT (stream) DO UPDATE SET revision = excluded.revision, link = excluded.link"
)

// ReadEnd returns where a stream ends by the rows; the zero StreamEnd if they know no event of it.
func (db *DB) ReadEnd(ctx context.Context, stream string) (StreamEnd, error) {
	return look(ctx, db.Store, func(ctx context.Context, t *tables) (end StreamEnd, err error) {
		err = t.reader.QueryRowContext(ctx, getEnd, stream).Scan(&end.Stream, &end.Revision, &end.Link)
		if errors.Is(err, sql.ErrNoRows) {
			return StreamEnd{}, nil
		}
		return end, err
	})
}

// ReadEnds returns where up to 256 streams end by the rows, in the order of their names after one.
func (db *DB) ReadEnds(ctx context.Context, after string) ([]StreamEnd, error) {
	return look(ctx, db.Store, func(ctx context.Context, t *tables) (ends []StreamEnd, err error) {
		rows, err := t.reader.QueryContext(ctx, listEnds, after)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var end StreamEnd
			if err := rows.Scan(&end.Stream, &end.Revision, &end.Link); err != nil {
				return nil, err
			}
			ends = append(ends, end)
		}
		return ends, rows.Err()
	})
}

// KeepEnds takes note of where streams end.
func (t *Tx) KeepEnds(ctx context.Context, ends []StreamEnd) error {
	for _, end := range ends {
		if _, err := t.ExecContext(ctx, keepEnd, end.Stream, end.Revision, end.Link); err != nil {
			return fmt.Errorf("keep the end of %s: %w", end.Stream, err)
		}
	}
	return nil
}
