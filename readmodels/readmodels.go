// Package readmodels answers questions: the tables that the projection fills from the event log, and every query
// that the API asks of them. It is disposable: what is lost is filled again, so nothing that grants, refuses or
// vends is decided here, and no secret is kept here. It runs on embedded SQLite, with SQL that Postgres takes too.
package readmodels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNotFound is the answer for what does not exist, was removed, or belongs to another organization.
var ErrNotFound = errors.New("there is no such row in the read model")

// DB is the read model. All methods are safe for concurrent use. Its tables may be replaced as a whole while it is
// used: each query sees the tables of one moment.
type DB struct {
	file *file

	mu   sync.RWMutex // held for writing only while the tables are replaced
	live *tables
}

// tables is one set of tables with the connections to it: one that writes, several that read.
type tables struct {
	writer, reader *sql.DB
	write, read    *Queries
	audit          auditInserts
}

func (t *tables) close() error {
	return errors.Join(t.reader.Close(), t.writer.Close())
}

// Close ends the connections. Queries after it fail.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.live.close()
}

// query runs fn on the tables as they are; they are not replaced before it returns.
func query[T any](db *DB, fn func(*tables) (T, error)) (T, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return fn(db.live)
}

// Tx is one transaction that changes the read model.
type Tx struct {
	*Queries
	tx    *sql.Tx
	audit auditInserts
}

// Write runs fn in one transaction, which is committed when fn returns nil and leaves no trace otherwise, also when
// fn panics.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) (err error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	tx, err := db.live.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin to write the read model: %w", err)
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	if err := fn(&Tx{Queries: db.live.write.WithTx(tx), tx: tx, audit: db.live.audit}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit to the read model: %w", err)
	}
	return nil
}

// ignoreDone drops the error of a transaction that was committed, or that its context has already rolled back.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Checkpoint is how far a projection has come in which log.
type Checkpoint struct {
	StoreID      string    // of the log; "" before its first event was applied
	StoreCreated time.Time // the log's own time of its first event
	Position     uint64    // of the last event that the rows know
}

// ReadCheckpoint returns how far the tables have come.
func (db *DB) ReadCheckpoint(ctx context.Context) (Checkpoint, error) {
	return query(db, func(t *tables) (Checkpoint, error) {
		row, err := t.read.GetCheckpoint(ctx, checkpointName)
		if err != nil {
			return Checkpoint{}, fmt.Errorf("read the checkpoint of the read model: %w", err)
		}
		return Checkpoint{StoreID: row.StoreID, StoreCreated: toTime(row.StoreCreated), Position: unsigned(row.Position)}, nil
	})
}

// ErrMoved says that another worker has moved the checkpoint: what was about to be written is not written.
var ErrMoved = errors.New("another worker has moved the checkpoint")

// Claim binds empty tables to a log. It does nothing, without an error, when they are bound to that log already.
func (t *Tx) Claim(ctx context.Context, storeID string, created time.Time) error {
	n, err := t.ClaimCheckpoint(ctx, ClaimCheckpointParams{Name: checkpointName, StoreID: storeID, StoreCreated: Micros(created)})
	if err != nil || n == 1 {
		return err
	}
	row, err := t.GetCheckpoint(ctx, checkpointName)
	if err == nil && (row.StoreID != storeID || row.StoreCreated != Micros(created)) {
		err = ErrMoved
	}
	return err
}

// Move takes the checkpoint from one position to another, or fails with ErrMoved. It comes first in a transaction,
// so that of two workers one waits for the other and then learns that it is late.
func (t *Tx) Move(ctx context.Context, storeID string, from, to uint64) error {
	n, err := t.MoveCheckpoint(ctx, MoveCheckpointParams{Name: checkpointName, StoreID: storeID, FromPosition: signed(from), ToPosition: signed(to)})
	if err != nil {
		return fmt.Errorf("move the checkpoint: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("%w: it is no longer at %d", ErrMoved, from)
	}
	return nil
}

// checkpointName is the one projection that fills all tables that the API joins.
const checkpointName = "read_model"
