package readmodels

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// pipeline is the DBTX of a transaction on Postgres: statements are gathered and sent together,
// when a result is asked for and at the end, so that a batch of events costs a few round trips
// whatever it holds. What comes of a statement is known only then; after a failure nothing more is
// sent.
type pipeline struct {
	ctx      context.Context //nolint:containedctx // the transaction's own: it ends with this context
	conn     *sql.Conn
	tx       *sql.Tx
	waiting  pgx.Batch
	affected []int64 // by statement, of those that were sent
	err      error
}

// transactionSettings hold for the transaction alone: through a pooler the next one of this
// connection is somebody else's. A commit needn't reach the disk, because rows and checkpoint are
// lost together and filled again. A process whose machine is gone in the middle of a transaction
// doesn't keep the next one from the checkpoint.
const transactionSettings = "SELECT set_config('synchronous_commit', 'off', true), " +
	"set_config('idle_in_transaction_session_timeout', '10s', true)"

func newPipeline(ctx context.Context, conn *sql.Conn, tx *sql.Tx) *pipeline {
	p := &pipeline{ctx: ctx, conn: conn, tx: tx}
	p.waiting.Queue(transactionSettings)
	return p
}

// ExecContext implements DBTX. The statement is sent later.
func (p *pipeline) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	if p.err != nil {
		return nil, p.err
	}
	p.waiting.Queue(query, args...)
	return outcome{p: p, index: len(p.affected) + p.waiting.Len() - 1}, nil
}

// outcome is the result of a statement that may not have been sent yet.
type outcome struct {
	p     *pipeline
	index int
}

// RowsAffected implements sql.Result: it sends what waits.
func (o outcome) RowsAffected() (int64, error) {
	if err := o.p.send(); err != nil {
		return 0, err
	}
	return o.p.affected[o.index], nil
}

// LastInsertId implements sql.Result.
func (o outcome) LastInsertId() (int64, error) { return 0, errors.New("there is no such number") }

// PrepareContext implements DBTX.
func (p *pipeline) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return p.tx.PrepareContext(ctx, query)
}

// QueryContext implements DBTX.
func (p *pipeline) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := p.send(); err != nil {
		return nil, err
	}
	return p.tx.QueryContext(ctx, query, args...)
}

// QueryRowContext implements DBTX. When what waits fails, so does this, in a transaction that is
// aborted.
func (p *pipeline) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	_ = p.send() // end returns it
	return p.tx.QueryRowContext(ctx, query, args...)
}

// send sends what waits. It does so under the context of the transaction: once that is over, so is
// the transaction.
func (p *pipeline) send() error {
	if p.err != nil || p.waiting.Len() == 0 {
		return p.err
	}
	batch := p.waiting
	p.waiting = pgx.Batch{}
	p.err = p.conn.Raw(func(driver any) error {
		results := driver.(*stdlib.Conn).Conn().SendBatch(p.ctx, &batch) //nolint:forcetypeassert // the driver of every pool here
		for range batch.Len() {
			tag, err := results.Exec()
			if err != nil {
				_ = results.Close() // says the same
				return err
			}
			p.affected = append(p.affected, tag.RowsAffected())
		}
		return results.Close()
	})
	return p.err
}
