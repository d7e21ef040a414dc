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
var ErrUnavailable = errors.New("the store of the tables is unavailable")

// Store is tables of one model, in a file of SQLite or in a schema of Postgres. All methods are
// safe for concurrent use. Its tables may be replaced as a whole while it is used: each query sees
// the tables of one moment.
type Store struct {
	model *Model
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
	beside(ctx context.Context) (*Store, error)
	// discard removes tables that came from beside and were closed.
	discard() error
	// replace is Store.Replace.
	replace(ctx context.Context, db, other *Store, finish func(context.Context, Checkpoint) error) error
	// lead is Store.Lead.
	lead(
		ctx context.Context, db *Store, is Origin, standby func(Checkpoint) <-chan struct{},
	) (context.Context, func(), error)
	// settle is Store.Settle.
	settle(ctx context.Context) error
	// down reports whether an error lies in the store, and not in what was to be written.
	down(err error) bool
}

// tables is one set of tables with the connections to it.
type tables struct {
	writer *sql.DB
	reads  *sql.DB // the connections of reader
	reader DBTX
	read   *Queries
	write  *Queries     // prepared; nil where what is written is sent together
	audit  auditInserts // likewise
	names  *names       // nil where tables are found without the name of a schema
	later  []string     // statements that complete tables from beside
	close  func() error
}

// Close ends the connections. Queries after it fail.
func (db *Store) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.live.close()
}

// answerTime bounds a query: a caller learns that the tables can't be reached before it gives up.
const answerTime = 5 * time.Second

// query runs fn on the tables as they are; they are not replaced before it returns.
func query[T any](ctx context.Context, db *Store, fn func(context.Context, *tables) (T, error)) (T, error) {
	if err := db.trust.check(); err != nil {
		var none T
		return none, err
	}
	return look(ctx, db, fn)
}

// look is query on tables of whatever installation.
func look[T any](ctx context.Context, db *Store, fn func(context.Context, *tables) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	db.mu.RLock()
	defer db.mu.RUnlock()
	return fn(ctx, db.live)
}

// instant runs fn on the tables as they are at one instant: in a transaction that only reads.
func instant[T any](ctx context.Context, db *Store, fn func(context.Context, DBTX) (T, error)) (T, error) {
	return query(ctx, db, func(ctx context.Context, t *tables) (v T, err error) {
		tx, err := t.reads.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
		if err != nil {
			return v, fmt.Errorf("begin to read %s: %w", db.model.Title, err)
		}
		defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
		in := DBTX(tx)
		if t.names != nil {
			in = postgresText{tx, t.names}
		}
		if v, err = fn(ctx, in); err != nil {
			return v, err
		}
		return v, tx.Commit()
	})
}

// Query runs fn on the tables as they are; they are not replaced before it returns.
func (db *Store) Query(ctx context.Context, fn func(context.Context, DBTX) error) error {
	_, err := query(ctx, db, func(ctx context.Context, t *tables) (struct{}, error) {
		return struct{}{}, fn(ctx, t.reader)
	})
	return err
}

// Look is Query on tables of whatever installation: its caller finds out whose they are.
func (db *Store) Look(ctx context.Context, fn func(context.Context, DBTX) error) error {
	_, err := look(ctx, db, func(ctx context.Context, t *tables) (struct{}, error) {
		return struct{}{}, fn(ctx, t.reader)
	})
	return err
}

// Writing is one transaction that changes the tables of a store.
type Writing struct {
	DBTX

	model *Model
	live  *tables
	tx    *sql.Tx
}

// Write runs fn in one transaction, which is committed when fn returns nil and leaves no trace
// otherwise, also when fn panics. An error that lies in the store and not in what fn writes wraps
// ErrUnavailable. Where statements are sent together, one that fails says so only here; then too
// nothing is left of the transaction.
func (db *Store) Write(ctx context.Context, fn func(*Writing) error) (err error) {
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
		return fmt.Errorf("begin to write %s: %w", db.model.Title, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin to write %s: %w", db.model.Title, err)
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	w := &Writing{DBTX: tx, model: db.model, live: db.live, tx: tx}
	if db.live.names == nil {
		err = fn(w)
	} else {
		p := newPipeline(ctx, conn, tx)
		w.DBTX = postgresText{p, db.live.names}
		if err = fn(w); err == nil {
			err = p.send()
		}
	}
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit to %s: %w", db.model.Title, err)
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
func (db *Store) Beside(ctx context.Context) (*Store, error) { return db.place.beside(ctx) }

// Replace puts the tables of other, which came from Beside, in the place of the live ones, in one
// step: queries that run finish on the old tables, those that come see the new. From the reading of
// the live checkpoint, which finish is told, to the end nobody writes to the live tables, in no
// process; so finish can bring the new ones as far. finish may be nil. other is closed and gone,
// also when Replace fails; then the live tables stay.
func (db *Store) Replace(ctx context.Context, other *Store, finish func(context.Context, Checkpoint) error) error {
	if finish == nil {
		finish = func(context.Context, Checkpoint) error { return nil }
	}
	if err := other.live.complete(ctx); err != nil {
		return errors.Join(err, other.Discard())
	}
	return db.place.replace(ctx, db, other, finish)
}

// Discard closes tables that came from Beside and removes them.
func (db *Store) Discard() error { return errors.Join(db.Close(), db.place.discard()) }

// Reset empties the tables.
func (db *Store) Reset(ctx context.Context) error {
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
func (db *Store) Lead(
	ctx context.Context, is Origin, standby func(Checkpoint) <-chan struct{},
) (lead context.Context, release func(), err error) {
	return db.place.lead(ctx, db, is, standby)
}

// Settle is called by the leader when the tables have everything: what other versions have left
// behind goes, and and the reports show these tables.
func (db *Store) Settle(ctx context.Context) error { return db.place.settle(ctx) }
