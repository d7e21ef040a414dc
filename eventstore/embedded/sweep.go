package embedded

import (
	"context"
	"database/sql"
	"errors"
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
	emptyWithin = 2 * time.Second
	emptyAgain  = 20 * time.Millisecond
	sweepBatch  = 1000 // streams in one transaction
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
	_, err = s.copyWAL(ctx, wal.Size() >= walTruncate)
	return err
}

// copyWAL copies the WAL into the file, and then empties it if asked to. It reports false when a reader still
// needs what is in the WAL. Only the emptying makes the writer wait, and it is tried only when all was copied.
func (s *Store) copyWAL(ctx context.Context, empty bool) (bool, error) {
	var busy, frames, copied int
	err := s.side.QueryRowContext(ctx, `pragma wal_checkpoint(passive)`).Scan(&busy, &frames, &copied)
	if err == nil && empty && busy == 0 && frames == copied {
		err = s.side.QueryRowContext(ctx, `pragma wal_checkpoint(truncate)`).Scan(&busy, &frames, &copied)
	}
	if err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	return busy == 0 && frames == copied, nil
}

var errPinned = errors.New("sweep: a long read or a backup keeps what was deleted in the WAL; the next sweep tries again")

// emptyWAL overwrites the last copies of what was deleted.
func (s *Store) emptyWAL(ctx context.Context) error {
	again := time.NewTicker(emptyAgain)
	defer again.Stop()
	for deadline := time.After(emptyWithin); ; {
		if done, err := s.copyWAL(ctx, true); err != nil || done {
			s.unclean.Store(!done)
			return err
		}
		select {
		case <-again.C:
		case <-deadline:
			return errPinned
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Sweep deletes physically what may no longer be there: the events of tombstoned secret- streams, and what has
// expired or was replaced in once- and snapshot- streams. Freed pages are overwritten, and the WAL is emptied so
// that it holds no copy. Other streams are only hidden. The newest event of the log always stays, because its
// position must not be given out again.
func (s *Store) Sweep(ctx context.Context) error {
	err := s.maintain(ctx, func(ctx context.Context, conn *sql.Conn) ([]string, error) {
		head := int64(s.head.Load()) //nolint:gosec // positions fit
		now := s.opts.Clock().UnixNano() / int64(ticksEpoch)
		for _, text := range []string{sweepSecrets, sweepOnce, sweepSnapshots} {
			result, err := conn.ExecContext(ctx, text, head, now)
			if err != nil {
				return nil, err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return nil, err
			}
			if n > 0 {
				s.unclean.Store(true)
			}
		}
		return forgetEmpty(ctx, conn, head)
	})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if !s.unclean.Load() {
		return nil
	}
	return s.emptyWAL(ctx)
}

const (
	sweepSecrets = `delete from events where pos < $1 and $2 > 0 and type <> '$streamDeleted' and sid in
		(select sid from streams where tombstoned = 1 and name >= 'secret-' and name < 'secret.')`
	sweepOnce = `delete from events where pos < $1 and sid in (select sid from streams where (max_age > 0 or before_rev > 0) and name >= 'once-' and name < 'once.')
		and exists (select 1 from streams s where s.sid = events.sid and (events.rev < s.before_rev
			or s.max_age > 0 and events.created < $2 - 10000000 * s.max_age))`
	sweepSnapshots = `delete from events where pos < $1 and $2 > 0 and sid in (select sid from streams where max_count > 0 and name >= 'snapshot-' and name < 'snapshot.')
		and rev <= (select head - max_count from streams s where s.sid = events.sid)`
)

// forgetEmpty deletes once- streams of which nothing is left, with their metadata, so that the key may begin anew.
// It returns their names.
func forgetEmpty(ctx context.Context, conn *sql.Conn, head int64) ([]string, error) {
	rows, err := conn.QueryContext(ctx, `select name from streams s where head >= 0 and name >= 'once-' and name < 'once.'
		and not exists (select 1 from events e where e.sid = s.sid)
		and not exists (select 1 from events e join streams m on e.sid = m.sid where m.name = '$$' || s.name and e.pos >= $1) limit $2`, head, sweepBatch)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err is read below
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name, "$$"+name)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, err := conn.ExecContext(ctx, `delete from events where sid = (select sid from streams where name = $1)`, name); err != nil {
			return nil, err
		}
		if _, err := conn.ExecContext(ctx, `delete from streams where name = $1`, name); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// maintain runs fn in a transaction of its own between two batches of the writer. The streams that fn returns are
// forgotten once that is committed.
func (s *Store) maintain(ctx context.Context, fn func(context.Context, *sql.Conn) ([]string, error)) error {
	r := &request{maintenance: fn, done: make(chan struct{})}
	if err := s.submit(ctx, r); err != nil {
		return err
	}
	return r.reply.err
}
