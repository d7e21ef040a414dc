package embedded

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"agentkey/eventstore/codec"
)

// archive is a read-only file with the lasting events of a range of positions. What else is in that
// range stays in the store's own file, because it may still have to go.
type archive struct {
	name   string
	first  int64 // of the range
	last   int64 // its newest event
	events int64
	bytes  int64
	sum    []byte // SHA-256

	path  string
	db    *sql.DB
	fault atomic.Pointer[string] // found when the whole file was read
}

const (
	archivePattern = "archive-*.db"
	archiveIdle    = time.Minute // then a connection closes
	checkEvery     = 24 * time.Hour
)

func archiveName(first, last int64) string { return fmt.Sprintf("archive-%d-%d.db", first, last) }

// archivable reports whether the events of a stream may be in an archive: those that last for good.
func archivable(stream string) bool {
	category, _ := codec.Split(stream)
	return category != codec.Unknown && category.Lifetime() == codec.Lasting
}

// recorded are the archives that a store's file names, oldest first.
func recorded(ctx context.Context, db *sql.DB, dir string) ([]*archive, error) {
	rows, err := db.QueryContext(ctx, `select name, first, last, events, bytes, sha256 from archives order by first`)
	if err != nil {
		return nil, fmt.Errorf("read which archives there are: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err is read below
	var out []*archive
	for rows.Next() {
		a := &archive{}
		if err := rows.Scan(&a.name, &a.first, &a.last, &a.events, &a.bytes, &a.sum); err != nil {
			return nil, fmt.Errorf("read which archives there are: %w", err)
		}
		a.path = filepath.Join(dir, a.name)
		out = append(out, a)
	}
	return out, rows.Err()
}

// advice ends each sentence about an archive that can't be used.
const advice = "part of the event log is in it, and nothing is served without it: stop the process, put the " +
	"file back from where it was moved or from a copy, and start again"

// present returns an error when no file of the right size is there.
func (a *archive) present() error {
	file, err := os.Stat(a.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is missing; %s", a.path, advice)
	case err != nil:
		return fmt.Errorf("open the archive %s: %w", a.path, err)
	case !file.Mode().IsRegular() || file.Size() != a.bytes:
		return fmt.Errorf(
			"%s isn't the archive that was made: it has %d bytes, not %d; %s", a.path, file.Size(), a.bytes, advice,
		)
	}
	return nil
}

// open opens the file and compares with what is recorded what can be compared without reading it
// all.
func (a *archive) open(ctx context.Context) (err error) {
	if err := a.present(); err != nil {
		return err
	}
	// Nobody writes to it, so SQLite needs neither locks nor files beside it.
	if a.db, err = sql.Open(
		"sqlite", "file:"+uriPath(a.path)+"?mode=ro&immutable=1&_pragma=query_only(1)&_pragma=cache_size(-256)",
	); err != nil {
		return fmt.Errorf("open the archive %s: %w", a.path, err)
	}
	a.db.SetMaxOpenConns(readers)
	a.db.SetConnMaxIdleTime(archiveIdle)
	var version int
	var first, last sql.NullInt64
	err = a.db.QueryRowContext(ctx, `select user_version, (select min(pos) from events), (select max(pos) from events)
		from pragma_user_version`).Scan(&version, &first, &last)
	switch {
	case err != nil:
		err = fmt.Errorf("%s isn't the archive that was made: %w; %s", a.path, err, advice)
	case version > schemaVersion:
		err = fmt.Errorf(
			"%s was written by a newer version of agentkey (format %d, this one knows %d)", a.path, version, schemaVersion,
		)
	case first.Int64 < a.first || last.Int64 != a.last:
		err = fmt.Errorf(
			"%s isn't the archive that was made: it holds the positions %d to %d, not up to %d; %s",
			a.path, first.Int64, last.Int64, a.last, advice,
		)
	}
	if err != nil {
		return errors.Join(err, a.db.Close())
	}
	return nil
}

// read reads events, unless the file is known to be another one.
func (a *archive) read(ctx context.Context, query string, args ...any) ([]record, error) {
	return a.readInto(ctx, wholeEvent, query, args...)
}

func (a *archive) readInto(
	ctx context.Context, into func(*sql.Rows, *record) error, query string, args ...any,
) ([]record, error) {
	if fault := a.fault.Load(); fault != nil {
		return nil, errors.New(*fault)
	}
	out, err := scan(into)(a.db.QueryContext(ctx, query, args...)) //nolint:rowserrcheck // scan does it
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.name, err)
	}
	return out, nil
}

// check reads the whole file and compares its hash with the recorded one. rest says how long to
// pause after some work; nil: not at all.
func (a *archive) check(ctx context.Context, rest func(worked time.Duration) time.Duration) error {
	if err := a.present(); err != nil {
		return err
	}
	sum, err := hashed(ctx, a.path, rest)
	if err != nil {
		return fmt.Errorf("check the archive %s: %w", a.path, err)
	}
	if !slices.Equal(sum, a.sum) {
		return fmt.Errorf("%s isn't the archive that was made: its SHA-256 is %x, not %x; %s", a.path, sum, a.sum, advice)
	}
	return nil
}

// hashed returns the SHA-256 of a file.
func hashed(ctx context.Context, path string, rest func(time.Duration) time.Duration) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // a file of ours
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	sum := sha256.New()
	for {
		began := time.Now() //nolint:forbidigo // how long it took, not when it was
		n, err := io.CopyN(sum, f, 1<<20)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if n < 1<<20 {
			return sum.Sum(nil), nil
		}
		pause := time.Duration(0)
		if rest != nil {
			pause = rest(time.Since(began))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// openArchives opens all that the store's file names.
func (s *Store) openArchives(ctx context.Context) error {
	archives, err := recorded(ctx, s.reads, s.opts.Dir)
	if err != nil {
		return err
	}
	s.archives.Store(&archives)
	for _, a := range archives {
		if err := a.open(ctx); err != nil {
			return err
		}
	}
	return nil
}

// archived are the open archives, oldest first.
func (s *Store) archived() []*archive {
	if archives := s.archives.Load(); archives != nil {
		return *archives
	}
	return nil
}

func (s *Store) closeArchives() error {
	var errs []error
	for _, a := range s.archived() {
		if a.db != nil {
			errs = append(errs, a.db.Close())
		}
	}
	return errors.Join(errs...)
}

// checkArchives reads all archives at the start and once a day, at a tenth of the pace that the
// machine is capable of. One that isn't what was recorded isn't read from any more.
func (s *Store) checkArchives(ctx context.Context) {
	again := time.NewTicker(checkEvery)
	defer again.Stop()
	for {
		for _, a := range s.archived() {
			err := a.check(ctx, func(worked time.Duration) time.Duration { return 9 * worked })
			if err == nil || ctx.Err() != nil {
				continue
			}
			text := a.name + " can't be used: the process that serves the event log has logged why, and docs/runbook.md " +
				"says what to do"
			a.fault.Store(&text)
			s.opts.Logger.Error("an archive of the event log can't be used", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// ArchiveFault names an archive that can't be used; "" while nothing is known to be wrong.
func (s *Store) ArchiveFault() string {
	for _, a := range s.archived() {
		if fault := a.fault.Load(); fault != nil {
			return *fault
		}
	}
	return ""
}

// window is up to which position a page may go, and how many events it has at most.
type window struct {
	to        int64
	n         int
	backwards bool
}

// view is how a page of the log is read forwards: whole events, or their names alone.
type view struct {
	own      *sql.Stmt
	archived string // the same query
	into     func(*sql.Rows, *record) error
}

// after reads the log forwards from a position, up to another.
func (s *Store) after(ctx context.Context, from, to int64, n int) ([]record, error) {
	return s.forwards(ctx, view{s.pages.after, afterPage, wholeEvent}, from, to, n)
}

// matching reads a page of the log between two positions. Where nothing is likely to match a
// filter, it first looks at the names alone: of a page without a match they are all it returns.
func (s *Store) matching(ctx context.Context, f filter, likely bool, first, last int64) ([]record, error) {
	if !likely {
		page, err := s.forwards(ctx, view{s.pages.names, namesPage, namesOnly}, first, last, pageSize)
		if err != nil || !slices.ContainsFunc(page, f.matches) {
			return page, err
		}
	}
	return s.after(ctx, first, last, pageSize)
}

func (s *Store) forwards(ctx context.Context, v view, from, to int64, n int) ([]record, error) {
	for {
		known := s.archives.Load()
		page, err := v.read(ctx, *known, from, to, n)
		if err != nil || s.archives.Load() == known { // else an event may have moved between two reads
			return page, err
		}
	}
}

// read reads one range after another, and from the store's own file only what the page of an
// archive leaves room for.
func (v view) read(ctx context.Context, archives []*archive, from, to int64, n int) ([]record, error) {
	var out []record
	for from <= to && len(out) < n {
		end, rest := to, n-len(out)
		var moved []record
		if i := slices.IndexFunc(archives, func(a *archive) bool { return a.last >= from }); i >= 0 {
			end = min(to, archives[i].last)
			var err error
			if moved, err = archives[i].readInto(ctx, v.into, v.archived, from, end, rest); err != nil {
				return nil, err
			}
			if len(moved) == rest {
				end = moved[rest-1].pos
			}
		}
		page, err := scan(v.into)(v.own.QueryContext(ctx, from, end, rest)) //nolint:rowserrcheck // scan does it
		if err != nil {
			return nil, err
		}
		out, from = append(out, merged(page, moved, window{n: rest})...), end+1
	}
	return out, nil
}

// before reads the log backwards from below a position.
func (s *Store) before(ctx context.Context, below int64, n int) ([]record, error) {
	page, err := read(ctx, s.pages.before, below, n)
	if err != nil {
		return nil, err
	}
	return s.withArchived(ctx, page, window{to: below - 1, n: n, backwards: true}, beforePage, below, n)
}

// page reads a stream between two revisions, in either direction. What of it is archived is all
// older than what isn't.
func (s *Store) page(
	ctx context.Context, name string, sid, first, last int64, n int, backwards bool,
) ([]record, error) {
	if first > last {
		return nil, nil
	}
	stmt, query := s.pages.forward, forwardPage
	if backwards {
		stmt, query = s.pages.backward, backwardPage
	}
	page, err := read(ctx, stmt, sid, first, last, n)
	if err != nil {
		return nil, err
	}
	oldest := page
	if backwards && len(page) > 0 {
		oldest = page[len(page)-1:]
	}
	if !archivable(name) || begins(oldest, first) {
		return page, nil
	}
	return s.withArchived(
		ctx, page, window{to: math.MaxInt64, n: n, backwards: backwards}, query, sid, first, last, n,
	)
}

// begins reports whether a page of a stream begins at a revision, so that no archive has more.
func begins(page []record, revision int64) bool { return len(page) > 0 && page[0].rev == revision }

// withArchived completes a page that was read from the store's own file with what a query finds in
// the archives. That file must have been read first: what is moved meanwhile is then found in both,
// and never in neither.
func (s *Store) withArchived(
	ctx context.Context, page []record, w window, query string, args ...any,
) ([]record, error) {
	archives := s.archived()
	if w.backwards {
		archives = slices.Clone(archives)
		slices.Reverse(archives)
	}
	for _, a := range archives {
		switch full := len(page) == w.n; {
		case a.first > w.to:
			continue
		case full && !w.backwards && page[w.n-1].pos < a.first, full && w.backwards && page[w.n-1].pos > a.last:
			return page, nil // what this archive and the next ones hold comes later
		}
		more, err := a.read(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		page = merged(page, more, w)
	}
	return page, nil
}

// merged merges two pages in the order of the log. What is in both is there once.
func merged(a, b []record, w window) []record {
	out := make([]record, 0, min(len(a)+len(b), w.n))
	for len(out) < w.n && len(a)+len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].pos != b[0].pos && (a[0].pos < b[0].pos) != w.backwards:
			out, a = append(out, a[0]), a[1:]
		case len(a) > 0 && a[0].pos == b[0].pos:
			a = a[1:]
		default:
			out, b = append(out, b[0]), b[1:]
		}
	}
	return out
}
