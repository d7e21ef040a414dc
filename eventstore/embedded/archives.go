package embedded

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
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

	path    string
	db      *sql.DB
	fault   atomic.Pointer[string] // it is another file: nothing is read from it any more
	trouble atomic.Pointer[string] // it could not be checked, and is still read from
}

const (
	archivePattern = "archive-*.db"
	archiveIdle    = time.Minute // then a connection closes
	checkEvery     = 24 * time.Hour
	checkAgain     = 10 * time.Minute // after a check that did not come to an end
)

func archiveName(first, last int64) string { return fmt.Sprintf("archive-%d-%d.db", first, last) }

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

// anotherFileError says that what is in the place of an archive has another size or another hash.
type anotherFileError struct{ path, differs string }

// Error implements error.
func (e *anotherFileError) Error() string {
	return fmt.Sprintf("%s isn't the archive that was made: %s; %s", e.path, e.differs, advice)
}

// present returns an error when no file of the right size is there.
func (a *archive) present() error {
	file, err := os.Stat(a.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is missing; %s", a.path, advice)
	case err != nil:
		return fmt.Errorf("open the archive %s: %w", a.path, err)
	case !file.Mode().IsRegular() || file.Size() != a.bytes:
		return &anotherFileError{a.path, fmt.Sprintf("it has %d bytes, not %d", file.Size(), a.bytes)}
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
		return &anotherFileError{a.path, fmt.Sprintf("its SHA-256 is %x, not %x", sum, a.sum)}
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
	return s.warnOfStrays()
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
// machine is capable of, until ctx ends.
func (s *Store) checkArchives(ctx context.Context) {
	for {
		next := checkEvery
		if !s.checkOnce(ctx) {
			next = checkAgain
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}

// checkOnce reads all archives. One that isn't what was recorded isn't read from any more. What
// keeps a file from being checked may pass, and then says nothing about its content: that one is
// only named, and checkOnce returns false.
func (s *Store) checkOnce(ctx context.Context) (all bool) {
	all = true
	for _, a := range s.archived() {
		err := a.check(ctx, func(worked time.Duration) time.Duration { return 9 * worked })
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			a.trouble.Store(nil)
			continue
		}
		text := a.name + " can't be checked"
		into := &a.trouble
		if _, another := errors.AsType[*anotherFileError](err); another {
			text = a.name + " can't be used"
			into = &a.fault
		} else {
			all = false
		}
		s.opts.Logger.Error(
			"an archive of the event log fails its check", slog.String("problem", text), slog.String("error", err.Error()),
		)
		text += ": the process that serves the event log has logged why, and docs/runbook.md says what to do"
		into.Store(&text)
	}
	return all
}

// ArchiveFault names an archive that can't be used, or can't be checked at present; "" while
// nothing is known to be wrong.
func (s *Store) ArchiveFault() string {
	for _, a := range s.archived() {
		if fault := cmp.Or(a.fault.Load(), a.trouble.Load()); fault != nil {
			return *fault
		}
	}
	return ""
}

// warnOfStrays names the archives in the folder that the store's file doesn't. They are read by
// nobody, and are the only copy of their events where that file was replaced by an older copy.
func (s *Store) warnOfStrays() error {
	strays, err := s.strays(span{})
	if err != nil {
		return fmt.Errorf("look for other archives: %w", err)
	}
	for _, name := range strays {
		s.opts.Logger.Warn(
			"an archive in the data folder isn't recorded in events.db, so nothing reads it; keep it, because it may be "+
				"the only copy of its events; docs/runbook.md says what to do",
			slog.String("file", filepath.Join(s.opts.Dir, name)),
		)
	}
	return nil
}

// strays are the archives in the folder that are neither recorded nor about to be made.
func (s *Store) strays(next span) ([]string, error) {
	names, err := fs.Glob(os.DirFS(s.opts.Dir), archivePattern)
	return slices.DeleteFunc(names, func(name string) bool {
		return name == archiveName(next.first, next.last) ||
			slices.ContainsFunc(s.archived(), func(a *archive) bool { return a.name == name })
	}), err
}
