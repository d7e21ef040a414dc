package readmodels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Checkpoint is how far a projection has come in which log.
type Checkpoint struct {
	StoreID      string    // of the log; "" before its first event was applied
	StoreCreated time.Time // the log's own time of its first event
	Confirmed    time.Time // when a restore of the log was confirmed last, for these rows; zero for never
	Position     uint64    // of the last event that the rows know
	Mark         string    // by which the projection knows the log again, in its own words; "" for none
}

// Of reports whether the rows came from a log.
func (c Checkpoint) Of(storeID string, created time.Time) bool {
	return c.StoreID == storeID && c.StoreCreated.Equal(created)
}

// Origin names the log that the rows came from.
func (c Checkpoint) Origin() Origin { return Origin{c.StoreID, c.StoreCreated} }

const (
	createCheckpoint = "INSERT INTO checkpoints (name, model, store_id, store_created, confirmed, position, mark) " +
		"VALUES ($1, $2, '', 0, 0, 0, '')"
	getCheckpoint   = "SELECT model, store_id, store_created, confirmed, position, mark FROM checkpoints WHERE name = $1"
	claimCheckpoint = "UPDATE checkpoints SET store_id = $1, store_created = $2, confirmed = $3 " +
		"WHERE name = $4 AND store_id = '' AND position = 0"
	moveCheckpoint = "UPDATE checkpoints SET position = $1, mark = coalesce($2, mark) " +
		"WHERE name = $3 AND store_id = $4 AND position = $5"
)

// ReadCheckpoint returns how far the tables have come. An error that lies in the store wraps
// ErrUnavailable.
func (db *Store) ReadCheckpoint(ctx context.Context) (Checkpoint, error) {
	return look(ctx, db, func(ctx context.Context, t *tables) (Checkpoint, error) {
		c, _, err := db.model.checkpoint(ctx, t.reader)
		if err != nil && ctx.Err() == nil && db.place.down(err) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return c, err
	})
}

// checkpoint returns how far tables have come, and the fingerprint of their model.
func (m *Model) checkpoint(ctx context.Context, q DBTX) (c Checkpoint, fingerprint string, err error) {
	var created, confirmed, position int64
	err = q.QueryRowContext(ctx, getCheckpoint, m.Name).Scan(
		&fingerprint, &c.StoreID, &created, &confirmed, &position, &c.Mark,
	)
	if err != nil {
		return Checkpoint{}, "", fmt.Errorf("read the checkpoint of %s: %w", m.Title, err)
	}
	c.StoreCreated, c.Confirmed, c.Position = toTime(created), toTime(confirmed), unsigned(position)
	return c, fingerprint, nil
}

// ErrMoved says that another worker has moved the checkpoint: what was about to be written is not
// written.
var ErrMoved = errors.New("another worker has moved the checkpoint")

// Claim binds empty tables to a log, in a transaction of its own.
func (db *Store) Claim(ctx context.Context, storeID string, created, confirmed time.Time) error {
	return db.Write(ctx, func(w *Writing) error { return w.Claim(ctx, storeID, created, confirmed) })
}

// Claim binds empty tables to a log, as it was when a restore was confirmed last. It does nothing,
// without an error, when they are bound to that log already.
func (w *Writing) Claim(ctx context.Context, storeID string, created, confirmed time.Time) error {
	n, err := w.change(ctx, claimCheckpoint, storeID, Micros(created), Micros(confirmed), w.model.Name)
	if err != nil || n == 1 {
		return err
	}
	is, _, err := w.model.checkpoint(ctx, w)
	if err == nil && !is.Of(storeID, created) {
		err = ErrMoved
	}
	return err
}

// Move takes the checkpoint from one position to another, or fails with ErrMoved. It comes first in
// a transaction, so that of two workers one waits for the other and then learns that it is late. An
// empty mark leaves the old one.
func (w *Writing) Move(ctx context.Context, storeID string, from, to uint64, mark string) error {
	n, err := w.change(ctx, moveCheckpoint, signed(to), sql.NullString{String: mark, Valid: mark != ""}, w.model.Name,
		storeID, signed(from))
	if err != nil {
		return fmt.Errorf("move the checkpoint: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("%w: it is no longer at %d", ErrMoved, from)
	}
	return nil
}

// change runs a statement and returns how many rows it changed.
func (w *Writing) change(ctx context.Context, statement string, args ...any) (int64, error) {
	done, err := w.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}
