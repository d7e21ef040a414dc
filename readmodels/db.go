package readmodels

import (
	"context"
	"log/slog"
)

// DB is the read model: the tables that the API joins, with the queries on them.
type DB struct {
	*Store

	past uint64 // the position after which it is asked for; 0: now
	in   DBTX   // the transaction of Instant; nil: each query is one of its own
}

// Instant runs several queries on the tables as they are at one instant. They are those of the DB
// that ask is given, which nobody may use after it returns.
func (db *DB) Instant(ctx context.Context, ask func(*DB) error) error {
	_, err := instant(ctx, db.Store, func(_ context.Context, in DBTX) (struct{}, error) {
		return struct{}{}, ask(&DB{Store: db.Store, past: db.past, in: in})
	})
	return err
}

// OpenEmbedded opens the read model in an SQLite file; see Model.OpenEmbedded.
func OpenEmbedded(ctx context.Context, path string, logger *slog.Logger) (*DB, error) {
	s, err := ReadModel.OpenEmbedded(ctx, path, logger)
	if err != nil {
		return nil, err
	}
	return &DB{Store: s}, nil
}

// OpenPostgres opens the read model in a database of Postgres; see Model.OpenPostgres.
func OpenPostgres(ctx context.Context, d Database, logger *slog.Logger) (*DB, error) {
	s, err := ReadModel.OpenPostgres(ctx, d, logger)
	if err != nil {
		return nil, err
	}
	return &DB{Store: s}, nil
}

// Tx is one transaction that changes the read model.
type Tx struct {
	*Writing
	*Queries

	audit auditInserts
}

// Write runs fn in one transaction; see Store.Write.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	return db.Store.Write(ctx, func(w *Writing) error {
		tx := &Tx{Writing: w, audit: w.live.audit}
		if w.live.write != nil {
			tx.Queries = w.live.write.WithTx(w.tx)
		} else {
			tx.Queries = New(w.DBTX)
		}
		return fn(tx)
	})
}

// Beside makes new, empty tables beside the live ones; see Store.Beside.
func (db *DB) Beside(ctx context.Context) (*DB, error) {
	s, err := db.Store.Beside(ctx)
	if err != nil {
		return nil, err
	}
	return &DB{Store: s}, nil
}

// Replace puts the tables of other in the place of the live ones; see Store.Replace.
func (db *DB) Replace(ctx context.Context, other *DB, finish func(context.Context, Checkpoint) error) error {
	return db.Store.Replace(ctx, other.Store, finish)
}
