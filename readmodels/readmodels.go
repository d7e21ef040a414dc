// Package readmodels answers questions: the tables that the projection fills from the event log,
// and every query that the API asks of them. It is disposable: what is lost is filled again, so
// nothing that grants, refuses or vends is decided here, and no secret is kept here. It runs on
// embedded SQLite and on Postgres, with one SQL text.
package readmodels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNotFound is the answer for what does not exist, or belongs to another organization.
var ErrNotFound = errors.New("there is no such row in the read model")

// ErrUnavailable says that the tables can't be reached or take nothing now, whatever was to be
// written.
var ErrUnavailable = errors.New("the store of the read model is unavailable")

// DB is the read model. All methods are safe for concurrent use. Its tables may be replaced as a
// whole while it is used: each query sees the tables of one moment.
type DB struct {
	place place
	trust trust

	still sync.RWMutex // held for reading by each writer, for writing while nothing may be written
	mu    sync.RWMutex // held for writing only while live is replaced
	live  *tables
}

// place is where tables are kept, and what the engines do differently but for opening: a file of
// SQLite, or a schema of Postgres.
type place interface {
	// beside makes new, empty tables; it refuses while there are some.
	beside(ctx context.Context) (*DB, error)
	// discard removes tables that came from beside and were closed.
	discard() error
	// replace is DB.Replace.
	replace(ctx context.Context, db, other *DB, finish func(context.Context, Checkpoint) error) error
	// lead is DB.Lead.
	lead(ctx context.Context, db *DB, is Origin, standby func(Checkpoint) <-chan struct{}) (context.Context, func(), error)
	// settle is DB.Settle.
	settle(ctx context.Context) error
	// down reports whether an error lies in the store, and not in what was to be written.
	down(err error) bool
}

// tables is one set of tables with the connections to it.
type tables struct {
	writer *sql.DB
	reader DBTX
	read   *Queries
	write  *Queries     // prepared; nil where what is written is sent together
	audit  auditInserts // likewise
	names  *names       // nil where tables are found without the name of a schema
	later  []string     // statements that complete tables from beside
	close  func() error
}

// Close ends the connections. Queries after it fail.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.live.close()
}

// answerTime bounds a query: a caller learns that the tables can't be reached before it gives up.
const answerTime = 5 * time.Second

// query runs fn on the tables as they are; they are not replaced before it returns.
func query[T any](ctx context.Context, db *DB, fn func(context.Context, *tables) (T, error)) (T, error) {
	if err := db.trust.check(); err != nil {
		var none T
		return none, err
	}
	return look(ctx, db, fn)
}

// look is query on tables of whatever installation.
func look[T any](ctx context.Context, db *DB, fn func(context.Context, *tables) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	db.mu.RLock()
	defer db.mu.RUnlock()
	return fn(ctx, db.live)
}

// Tx is one transaction that changes the read model.
type Tx struct {
	*Queries
	audit auditInserts
}

// Write runs fn in one transaction, which is committed when fn returns nil and leaves no trace
// otherwise, also when fn panics. An error that lies in the store and not in what fn writes wraps
// ErrUnavailable. Where statements are sent together, one that fails says so only here; then too
// nothing is left of the transaction.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) (err error) {
	db.still.RLock()
	defer db.still.RUnlock()
	db.mu.RLock()
	defer db.mu.RUnlock()
	defer func() {
		if err != nil && ctx.Err() == nil && db.place.down(err) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}()
	conn, err := db.live.writer.Conn(ctx)
	if err != nil {
		return fmt.Errorf("begin to write the read model: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin to write the read model: %w", err)
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	if db.live.write != nil {
		err = fn(&Tx{Queries: db.live.write.WithTx(tx), audit: db.live.audit})
	} else {
		p := newPipeline(ctx, conn, tx)
		if err = fn(&Tx{Queries: New(postgresText{p, db.live.names})}); err == nil {
			err = p.send()
		}
	}
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit to the read model: %w", err)
	}
	return nil
}

// ignoreDone drops the error of a transaction that was committed, or that its context has already
// rolled back.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Beside makes new, empty tables beside the live ones, for Replace or Discard. There may be some
// only once at a time.
func (db *DB) Beside(ctx context.Context) (*DB, error) { return db.place.beside(ctx) }

// Replace puts the tables of other, which came from Beside, in the place of the live ones, in one
// step: queries that run finish on the old tables, those that come see the new. From the reading of
// the live checkpoint, which finish is told, to the end nobody writes to the live tables, in no
// process; so finish can bring the new ones as far. finish may be nil. other is closed and gone,
// also when Replace fails; then the live tables stay.
func (db *DB) Replace(ctx context.Context, other *DB, finish func(context.Context, Checkpoint) error) error {
	if finish == nil {
		finish = func(context.Context, Checkpoint) error { return nil }
	}
	if err := other.live.complete(ctx); err != nil {
		return errors.Join(err, other.Discard())
	}
	return db.place.replace(ctx, db, other, finish)
}

// Discard closes tables that came from Beside and removes them.
func (db *DB) Discard() error { return errors.Join(db.Close(), db.place.discard()) }

// Reset empties the tables.
func (db *DB) Reset(ctx context.Context) error {
	empty, err := db.Beside(ctx)
	if err != nil {
		return err
	}
	return db.Replace(ctx, empty, nil)
}

// Lead returns when this process is the one that fills the tables, with a context that ends when it
// no longer is. Of several processes on one Postgres one leads, and when it ends another takes its
// place within seconds. standby learns meanwhile how far the tables are: every 20 ms while the
// channel that it returned is closed, and otherwise four times a second. An embedded file has one
// process, which leads at once. release gives the lead back. That two lead for a moment does no
// harm: Move lets one of them through. A database in which another installation lives is an
// *OccupiedError.
func (db *DB) Lead(
	ctx context.Context, is Origin, standby func(Checkpoint) <-chan struct{},
) (lead context.Context, release func(), err error) {
	return db.place.lead(ctx, db, is, standby)
}

// Settle is called by the leader when the tables have everything: what other versions have left
// behind goes, and and the reports show these tables.
func (db *DB) Settle(ctx context.Context) error { return db.place.settle(ctx) }

// Checkpoint is how far a projection has come in which log.
type Checkpoint struct {
	StoreID      string    // of the log; "" before its first event was applied
	StoreCreated time.Time // the log's own time of its first event
	Position     uint64    // of the last event that the rows know
	Mark         string    // by which the projection knows the log again, in its own words; "" for none
}

// Of reports whether the rows came from a log.
func (c Checkpoint) Of(storeID string, created time.Time) bool {
	return c.StoreID == storeID && c.StoreCreated.Equal(created)
}

// Origin names the log that the rows came from.
func (c Checkpoint) Origin() Origin { return Origin{c.StoreID, c.StoreCreated} }

// ReadCheckpoint returns how far the tables have come.
func (db *DB) ReadCheckpoint(ctx context.Context) (Checkpoint, error) {
	return look(ctx, db, func(ctx context.Context, t *tables) (Checkpoint, error) {
		return readCheckpoint(ctx, t.read)
	})
}

func readCheckpoint(ctx context.Context, q *Queries) (Checkpoint, error) {
	row, err := q.GetCheckpoint(ctx, checkpointName)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read the checkpoint of the read model: %w", err)
	}
	return Checkpoint{
		StoreID: row.StoreID, StoreCreated: toTime(row.StoreCreated), Position: unsigned(row.Position), Mark: row.Mark,
	}, nil
}

// ErrMoved says that another worker has moved the checkpoint: what was about to be written is not
// written.
var ErrMoved = errors.New("another worker has moved the checkpoint")

// Claim binds empty tables to a log, in a transaction of its own.
func (db *DB) Claim(ctx context.Context, storeID string, created time.Time) error {
	return db.Write(ctx, func(tx *Tx) error { return tx.Claim(ctx, storeID, created) })
}

// Claim binds empty tables to a log. It does nothing, without an error, when they are bound to that
// log already.
func (t *Tx) Claim(ctx context.Context, storeID string, created time.Time) error {
	n, err := t.ClaimCheckpoint(
		ctx, ClaimCheckpointParams{Name: checkpointName, StoreID: storeID, StoreCreated: Micros(created)},
	)
	if err != nil || n == 1 {
		return err
	}
	row, err := t.GetCheckpoint(ctx, checkpointName)
	if err == nil && (row.StoreID != storeID || row.StoreCreated != Micros(created)) {
		err = ErrMoved
	}
	return err
}

// Move takes the checkpoint from one position to another, or fails with ErrMoved. It comes first in
// a transaction, so that of two workers one waits for the other and then learns that it is late. An
// empty mark leaves the old one.
func (t *Tx) Move(ctx context.Context, storeID string, from, to uint64, mark string) error {
	n, err := t.MoveCheckpoint(ctx, MoveCheckpointParams{
		Name: checkpointName, StoreID: storeID, FromPosition: signed(from), ToPosition: signed(to),
		Mark: sql.NullString{String: mark, Valid: mark != ""},
	})
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
