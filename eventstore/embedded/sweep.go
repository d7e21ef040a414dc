package embedded

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const (
	sweepEvery  = time.Minute
	walEvery    = 200 * time.Millisecond
	walPassive  = 8 << 20  // bytes of WAL from which it is copied into the file beside the writer
	walTruncate = 64 << 20 // bytes of WAL from which it is emptied too
	sweepBatch  = 1000     // streams in one transaction
)

// housekeep keeps the WAL small off the writer's path and sweeps, until ctx ends.
func (s *Store) housekeep(ctx context.Context) {
	wal, sweep := time.NewTicker(walEvery), time.NewTicker(sweepEvery)
	defer wal.Stop()
	defer sweep.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-wal.C:
			err = s.checkpoint(ctx)
		case <-sweep.C:
			err = s.Sweep(ctx)
		case <-s.writer.sweep:
			err = s.Sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.opts.Logger.Warn("event store housekeeping", slog.String("error", err.Error()))
		}
	}
}

func (s *Store) checkpoint(ctx context.Context) error {
	wal, err := os.Stat(filepath.Join(s.opts.Dir, fileName+"-wal"))
	if err != nil || wal.Size() < walPassive {
		return nil //nolint:nilerr // no WAL, nothing to do
	}
	mode := "passive"
	if wal.Size() >= walTruncate {
		mode = "truncate"
	}
	return s.checkpointNow(ctx, mode)
}

func (s *Store) checkpointNow(ctx context.Context, mode string) error {
	if _, err := s.side.ExecContext(ctx, `pragma wal_checkpoint(`+mode+`)`); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// Sweep deletes physically what may no longer be there: the events of tombstoned secret- streams, and what has
// expired or was replaced in once- and snapshot- streams. Freed pages are overwritten, and the WAL is emptied so
// that it holds no copy. Other streams are only hidden. The newest event of the log always stays, because its
// position must not be given out again.
func (s *Store) Sweep(ctx context.Context) error {
	removed := int64(0)
	err := s.maintain(ctx, func(ctx context.Context, conn *sql.Conn) error {
		head := int64(s.head.Load()) //nolint:gosec // positions fit
		now := s.opts.Clock().UnixNano() / int64(ticksEpoch)
		for _, text := range []string{sweepSecrets, sweepOnce, sweepSnapshots} {
			result, err := conn.ExecContext(ctx, text, head, now)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			removed += n
		}
		return s.forgetEmpty(ctx, conn, head)
	})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if removed == 0 {
		return nil
	}
	return s.checkpointNow(ctx, "truncate")
}

const (
	sweepSecrets = `delete from events where pos < $1 and $2 > 0 and type <> '$streamDeleted' and sid in
		(select sid from streams where tombstoned = 1 and name >= 'secret-' and name < 'secret.')`
	sweepOnce = `delete from events where pos < $1 and sid in (select sid from streams where max_age > 0 and name >= 'once-' and name < 'once.')
		and created < $2 - 10000000 * (select max_age from streams s where s.sid = events.sid)`
	sweepSnapshots = `delete from events where pos < $1 and $2 > 0 and sid in (select sid from streams where max_count > 0 and name >= 'snapshot-' and name < 'snapshot.')
		and rev <= (select head - max_count from streams s where s.sid = events.sid)`
)

// forgetEmpty deletes once- streams of which nothing is left, with their metadata, so that the key may begin anew.
func (s *Store) forgetEmpty(ctx context.Context, conn *sql.Conn, head int64) error {
	rows, err := conn.QueryContext(ctx, `select name from streams where head >= 0 and name >= 'once-' and name < 'once.'
		and not exists (select 1 from events e where e.sid = streams.sid) limit $1`, sweepBatch)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err is read below
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, name := range names {
		if _, err := conn.ExecContext(ctx, `delete from events where pos < $2 and sid = (select sid from streams where name = $1)`, "$$"+name, head); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, `delete from streams where name = $1`, name); err != nil {
			return err
		}
		s.infos.forget(name)
	}
	return nil
}

// maintain runs fn in a transaction of its own between two batches of the writer.
func (s *Store) maintain(ctx context.Context, fn func(context.Context, *sql.Conn) error) error {
	r := &request{maintenance: fn, done: make(chan struct{})}
	if err := s.submit(ctx, r); err != nil {
		return err
	}
	return r.reply.err
}
