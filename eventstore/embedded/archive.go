package embedded

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"agentkey/eventstore/codec"
)

// Archived is what was moved into an archive.
type Archived struct {
	File   string // "": there was nothing to move
	First  uint64 // of the range of positions
	Last   uint64 // its newest event
	Events int64
	Bytes  int64

	Strays []string // files named like archives that the log doesn't know
}

// archiving is the name of an archive that isn't finished.
const archiving = "archive.tmp"

// Archive moves the lasting events of the log's beginning into a file of its own in the data
// folder: those before the first event that was written at or after a time. Every reader sees the
// same log as before. The file is complete, durable, compared with what it was made from, and
// read-only, before one transaction records it and deletes what it holds. Broken off at any moment
// it can be called again, but not twice at once. The newest event of the log always stays in the
// store's own file.
func (s *Store) Archive(ctx context.Context, before time.Time) (Archived, error) {
	for _, a := range s.archived() {
		if err := a.check(ctx, nil); err != nil {
			return Archived{}, err
		}
	}
	r, err := s.rangeBefore(ctx, before)
	if err != nil {
		return Archived{}, fmt.Errorf("find what can be archived: %w", err)
	}
	done := Archived{}
	if done.Strays, err = s.strays(r); err != nil {
		return Archived{}, fmt.Errorf("look for other archives: %w", err)
	}
	if r.last > 0 {
		a, err := s.makeArchive(ctx, r)
		if err != nil {
			return Archived{}, fmt.Errorf("make the archive: %w", err)
		}
		if err := s.adopt(ctx, a); err != nil {
			return Archived{}, fmt.Errorf("put the archive in the place of its events: %w", err)
		}
		done.File, done.Events, done.Bytes = a.path, a.events, a.bytes
		done.First, done.Last = uint64(a.first), uint64(a.last) //nolint:gosec // positions are positive
	}
	if err := s.shrink(ctx); err != nil {
		return done, fmt.Errorf(
			"the events are archived, but %s could not be made smaller; run the command again: %w", fileName, err,
		)
	}
	return done, nil
}

// span is a range of positions.
type span struct{ first, last int64 }

// What is done with the lasting events between two positions. SQLite keeps the order of a cross
// join, which is that of the log.
//
//nolint:gosec // the pieces are constants
var (
	isLasting = named(codec.Lasting)
	lasting   = `from events e cross join streams s on s.sid = e.sid
		where e.pos >= $1 and e.pos <= $2 and ` + isLasting

	newestLasting = `select e.pos ` + lasting + ` order by e.pos desc limit 1`
	readLasting   = selected + lasting + ` order by e.pos limit $3`
	copyLasting   = `insert into archive.events select e.* ` + lasting + ` order by e.pos`
	deleteLasting = `delete from events where pos >= $1 and pos <= $2
		and +sid in (select s.sid from streams s where ` + isLasting + `)`
)

// rangeBefore returns the range to archive. Its last position is that of the newest lasting event
// in it; 0: there is none.
func (s *Store) rangeBefore(ctx context.Context, before time.Time) (span, error) {
	r := span{first: 1}
	if archives := s.archived(); len(archives) > 0 {
		r.first = archives[len(archives)-1].last + 1
	}
	end := int64(s.head.Load()) //nolint:gosec // positions fit
	err := s.reads.QueryRowContext(
		ctx, `select pos from events where pos < $1 and created >= $2 order by pos limit 1`,
		end, ticks(before),
	).Scan(&end)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return r, err
	}
	err = s.reads.QueryRowContext(ctx, newestLasting, r.first, end-1).Scan(&r.last)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return r, err
}

// makeArchive writes a range to a file, whose place in the folder is durable when it returns.
func (s *Store) makeArchive(ctx context.Context, r span) (_ *archive, err error) {
	making := filepath.Join(s.opts.Dir, archiving)
	if err := removed(making); err != nil { // left by a process that died
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removed(making))
		}
	}()
	// SQLite would make it with the mode of the process, and it holds what only this user may read.
	f, err := os.OpenFile(making, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // in our folder
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Close(), s.extract(ctx, making, r)); err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chmod(making, 0o400), synced(making)); err != nil {
		return nil, err
	}
	a := &archive{name: archiveName(r.first, r.last), first: r.first, last: r.last, path: making}
	file, err := os.Stat(making)
	if err != nil {
		return nil, err
	}
	a.bytes = file.Size()
	if a.sum, err = hashed(ctx, making, nil); err != nil {
		return nil, err
	}
	if err := a.open(ctx); err != nil {
		return nil, err
	}
	err = s.compare(ctx, a)
	if err = errors.Join(err, a.db.Close()); err != nil {
		return nil, err
	}
	a.path = filepath.Join(s.opts.Dir, a.name)
	if err := a.free(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(os.Rename(making, a.path), synced(s.opts.Dir)); err != nil {
		return nil, err
	}
	return a, a.open(ctx)
}

// free returns an error when another file has the name of an archive that was just made: one of a
// run that was broken off is the same, and any other may be the only copy of what it holds.
func (a *archive) free(ctx context.Context) error {
	sum, err := hashed(ctx, a.path, nil)
	if errors.Is(err, fs.ErrNotExist) || err == nil && bytes.Equal(sum, a.sum) {
		return nil
	}
	return errors.Join(fmt.Errorf(
		"%s is there already, isn't recorded in %s, and holds something else: move it out of the folder and keep it, "+
			"because it may be the only copy of its events; docs/runbook.md says what to do", a.path, fileName,
	), err)
}

// removed deletes a file that SQLite makes, with the one that it keeps beside it.
func removed(path string) error {
	for _, suffix := range []string{"", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// extract copies a range into a new file, which any sqlite3 can read on its own.
func (s *Store) extract(ctx context.Context, path string, r span) error {
	db, err := sql.Open("sqlite", s.dsn)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	for _, statement := range []struct {
		text string
		args []any
	}{
		{`attach database $1 as archive`, []any{path}},
		{`pragma archive.journal_mode = off`, nil}, // it is thrown away if this fails, and synced at the end
		{`pragma archive.synchronous = off`, nil},
		{`create table archive.streams (sid integer primary key, name text not null unique)`, nil},
		{`create table archive.events (pos integer primary key, sid integer not null, rev integer not null,
			id blob not null, type text not null, json integer not null, created integer not null, data blob not null,
			meta blob not null)`, nil},
		{copyLasting, []any{r.first, r.last}},
		{`create unique index archive.events_by_stream on events (sid, rev)`, nil},
		{`insert into archive.streams select sid, name from main.streams
			where sid in (select distinct sid from archive.events)`, nil},
		{fmt.Sprintf(`pragma archive.user_version = %d`, schemaVersion), nil},
		{`detach database archive`, nil},
	} {
		if _, err := db.ExecContext(ctx, statement.text, statement.args...); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

var errDiffers = errors.New("it doesn't hold what it was made from; nothing was moved")

// compare reads the archive and what it was made from, byte for byte, and counts the events.
func (s *Store) compare(ctx context.Context, a *archive) error {
	var verdict string
	if err := a.db.QueryRowContext(ctx, `pragma integrity_check(1)`).Scan(&verdict); err != nil || verdict != "ok" {
		return errors.Join(fmt.Errorf("%w: %s", errDiffers, verdict), err)
	}
	for from := a.first; ; {
		own, err := scan(wholeEvent)(s.reads.QueryContext(ctx, readLasting, from, a.last, pageSize)) //nolint:rowserrcheck // scan does it
		if err != nil {
			return err
		}
		copied, err := a.read(ctx, afterPage, from, int64(math.MaxInt64), pageSize)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(own, copied, record.equal) {
			return fmt.Errorf("%w, from position %d on", errDiffers, from)
		}
		a.events += int64(len(own))
		if len(own) < pageSize {
			return nil
		}
		from = own[len(own)-1].pos + 1
	}
}

// equal reports whether two records are the same, byte for byte.
func (r record) equal(other record) bool {
	return r.pos == other.pos && r.stream == other.stream && r.rev == other.rev && r.id == other.id &&
		r.typ == other.typ && r.json == other.json && r.created == other.created &&
		bytes.Equal(r.data, other.data) && bytes.Equal(r.meta, other.meta)
}

// adopt records an archive and deletes what it holds, in one transaction. Readers know it before
// that, so that they find each event at every moment.
func (s *Store) adopt(ctx context.Context, a *archive) error {
	former := s.archived()
	with := append(slices.Clone(former), a)
	s.archives.Store(&with)
	err := s.maintain(ctx, func(ctx context.Context, conn *sql.Conn) ([]string, error) {
		if _, err := conn.ExecContext(
			ctx, `insert into archives (name, first, last, events, bytes, sha256) values ($1, $2, $3, $4, $5, $6)`,
			a.name, a.first, a.last, a.events, a.bytes, a.sum,
		); err != nil {
			return nil, err
		}
		result, err := conn.ExecContext(ctx, deleteLasting, a.first, a.last)
		if err != nil {
			return nil, err
		}
		if n, err := result.RowsAffected(); err != nil || n != a.events {
			return nil, errors.Join(fmt.Errorf("%w: %d events would go, and it has %d", errDiffers, n, a.events), err)
		}
		s.unclean.Store(true)
		return nil, nil
	})
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err // if it was broken off it may still be carried out
	}
	s.archives.Store(&former)
	return errors.Join(err, a.db.Close())
}

// shrink gives the room of what was moved back to the file system, if it is a tenth of the file or
// more.
func (s *Store) shrink(ctx context.Context) error {
	var pages, free int64
	if err := s.reads.QueryRowContext(
		ctx, `select page_count, freelist_count from pragma_page_count, pragma_freelist_count`,
	).Scan(&pages, &free); err != nil || free < pages/10 {
		return err
	}
	if err := s.hand(ctx, &request{between: func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, `vacuum`)
		return err
	}}); err != nil {
		return err
	}
	s.unclean.Store(true)
	return s.emptyWAL(ctx)
}
