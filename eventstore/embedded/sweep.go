package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"agentkey/eventstore/codec"
)

const (
	sweepEvery  = time.Minute
	walEvery    = 200 * time.Millisecond
	walGrown    = 8 << 20 // bytes, about, that the WAL grows by before it is copied into the file
	walLimit    = 4 * walGrown
	pageBytes   = 4096
	emptyWithin = 2 * time.Second
	emptyAgain  = 20 * time.Millisecond
	sweepBatch  = 256 // streams in one transaction
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
			err = s.sweep(ctx, []string{removedToSweep})
		}
		if err != nil && ctx.Err() == nil {
			s.opts.Logger.Warn("event store housekeeping", slog.String("error", err.Error()))
		}
	}
}

// checkpoint copies the WAL into the file, beside the writer while that is much, then on the
// writer's connection the little that came meanwhile. With all of it copied the next commit
// restarts the WAL, and overwriting is cheaper to sync than growing is.
func (s *Store) checkpoint(ctx context.Context) error {
	grown := s.writer.unsaved.Load()
	if grown < walGrown {
		return nil
	}
	if _, err := s.copyWAL(ctx, false); err != nil {
		return err
	}
	err := s.hand(ctx, &request{between: func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, `pragma wal_checkpoint(passive)`)
		return err
	}})
	s.writer.unsaved.Add(-grown)
	return err
}

// copyWAL copies the WAL into the file, and then empties it if asked to. It reports false when a
// reader still needs what is in the WAL. Only the emptying makes the writer wait, and it is tried
// only when all was copied.
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

var errPinned = errors.New(
	"sweep: a long read or a backup keeps what was deleted in the WAL; the next sweep tries again",
)

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

// Sweep deletes physically what may no longer be there: the events of tombstoned secrets, and what
// has expired or was replaced where the category of a stream says so. Freed pages are overwritten,
// and the WAL is emptied so that it holds no copy. Other streams are only hidden. The newest event
// of the log always stays, because its position must not be given out again.
func (s *Store) Sweep(ctx context.Context) error {
	return s.sweep(ctx, []string{removedToSweep, expiredToSweep, replacedToSweep})
}

// sweep looks for streams on a reader's connection, because that takes its time where there are
// many, and has the writer delete what of them is still to go. What is empty then is forgotten.
func (s *Store) sweep(ctx context.Context, queries []string) error {
	for _, query := range queries {
		if err := s.inBatches(ctx, query, s.deleteEvents); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	if err := s.inBatches(ctx, emptyToForget, s.forgetEmpty); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if !s.unclean.Load() {
		return nil
	}
	return s.emptyWAL(ctx)
}

// In the events e of a stream s, what is to go at a time $2, in ticks. The newest event of the log
// is at $1.
//
//nolint:gosec // the pieces are constants
var (
	removedGone = named(
		codec.Removable,
	) + ` and s.tombstoned = 1 and e.rev < 9223372036854775807 and e.pos < $1 and $2 > 0`
	expiredGone = named(
		codec.Expiring,
	) + ` and (e.rev < s.before_rev or s.max_age > 0 and e.created < $2 - 10000000 * s.max_age) and e.pos < $1`
	replacedGone = named(
		codec.Replaced,
	) + ` and s.max_count > 0 and e.rev <= s.head - s.max_count and e.pos < $1 and $2 > 0`

	toSweep         = `select s.name from streams s where exists (select 1 from events e where e.sid = s.sid and `
	removedToSweep  = toSweep + removedGone + `) limit $3`
	expiredToSweep  = toSweep + expiredGone + `) limit $3`
	replacedToSweep = toSweep + replacedGone + `) limit $3`
	deleteGone      = `delete from events where pos in (select e.pos from events e join streams s on s.sid = e.sid where
	s.name = $3
		and (` + removedGone + ` or ` + expiredGone + ` or ` + replacedGone + `))`

	// streams of which nothing is left but metadata that is not the newest event.
	empty = `select s.name from streams s where s.head >= 0 and ` + named(codec.Expiring) + ` and $2 > 0
		and not exists (select 1 from events e where e.sid = s.sid)
		and not exists (select 1 from streams m join events e on e.sid = m.sid where m.name = '$$' || s.name and e.pos >= $1)`
	emptyToForget = empty + ` limit $3`
	stillEmpty    = empty + ` and s.name = $3`
)

// named is the condition that a stream is of a category whose events live so long. Those that have
// one stream alone stay where they are: they are small, and each start reads them.
func named(l codec.Lifetime) string {
	var any []string
	for _, c := range kept(l) {
		any = append(any, fmt.Sprintf(`s.name >= '%[1]s' and s.name < '%[2]s.'`, c.Stream(""), c))
	}
	return "(" + strings.Join(any, " or ") + ")"
}

// archivable reports whether named(codec.Lasting) holds for a stream, so that its events may be in
// an archive.
func archivable(stream string) bool {
	return slices.ContainsFunc(lastingStreams, func(c codec.Category) bool {
		return strings.HasPrefix(stream, c.Stream(""))
	})
}

var lastingStreams = kept(codec.Lasting)

// kept are the categories that named compares with.
func kept(l codec.Lifetime) []codec.Category {
	return slices.DeleteFunc(codec.Categories(l), codec.Category.Single)
}

// inBatches hands the streams that a query finds to the writer, so many at a time that appends need
// not wait long.
func (s *Store) inBatches(
	ctx context.Context, query string, fn func(context.Context, *sql.Conn, sweeping) ([]string, error),
) error {
	for {
		w := sweeping{head: int64(s.head.Load()), now: ticks(s.opts.Clock())} //nolint:gosec // positions fit
		var err error
		if w.names, err = names(ctx, s.reads, query, w.head, w.now, sweepBatch); err != nil || len(w.names) == 0 {
			return err
		}
		if err := s.maintain(
			ctx, func(ctx context.Context, conn *sql.Conn) ([]string, error) { return fn(ctx, conn, w) },
		); err != nil {
			return err
		}
		if len(w.names) < sweepBatch {
			return nil
		}
	}
}

// sweeping is one batch of streams, found when the newest event was at head.
type sweeping struct {
	names     []string
	head, now int64
}

func (s *Store) deleteEvents(ctx context.Context, conn *sql.Conn, w sweeping) ([]string, error) {
	for _, name := range w.names {
		if _, err := conn.ExecContext(ctx, deleteGone, w.head, w.now, name); err != nil {
			return nil, err
		}
	}
	s.unclean.Store(true)
	return nil, nil
}

// forgetEmpty deletes streams with their metadata, so that the key may be used again. It returns
// their names.
func (*Store) forgetEmpty(ctx context.Context, conn *sql.Conn, w sweeping) ([]string, error) {
	var forgotten []string
	for _, name := range w.names {
		still, err := names(ctx, conn, stillEmpty, w.head, w.now, name)
		if err != nil {
			return nil, err
		}
		if len(still) == 0 {
			continue
		}
		for _, of := range []string{name, "$$" + name} {
			if _, err := conn.ExecContext(
				ctx, `delete from events where sid = (select sid from streams where name = $1)`, of,
			); err != nil {
				return nil, err
			}
			if _, err := conn.ExecContext(ctx, `delete from streams where name = $1`, of); err != nil {
				return nil, err
			}
			forgotten = append(forgotten, of)
		}
	}
	return forgotten, nil
}

// names runs a query for names of streams.
func names(ctx context.Context, db interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, query string, args ...any,
) ([]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err is read below
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, rows.Err()
}

// maintain runs fn in a transaction of its own between two batches of the writer. The streams that
// fn returns are forgotten once that is committed.
func (s *Store) maintain(ctx context.Context, fn func(context.Context, *sql.Conn) ([]string, error)) error {
	return s.hand(ctx, &request{maintenance: fn})
}

// hand gives the writer what it does alone.
func (s *Store) hand(ctx context.Context, r *request) error {
	r.done = make(chan struct{})
	if err := s.submit(ctx, r); err != nil {
		return err
	}
	return r.reply.err
}
