package readmodels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// file is where embedded tables are. The file may be removed whenever no process has it open.
type file struct {
	model    *Model
	path     string
	logger   *slog.Logger
	building *atomic.Bool // there are tables beside; shared with them
}

// OpenEmbedded opens tables in an SQLite file, and makes it when it is absent. A file that
// is damaged, or that another version has made, is removed with a warning: the projection fills the
// new one from the log.
func (m *Model) OpenEmbedded(ctx context.Context, path string, logger *slog.Logger) (*Store, error) {
	f := &file{model: m, path: path, logger: logger, building: new(atomic.Bool)}
	if err := remove(f.besidePath()); err != nil {
		return nil, err
	}
	live, err := f.open(ctx, path, false)
	if err == nil {
		err = live.check(ctx, m)
		if err == nil {
			return &Store{model: m, place: f, live: live}, nil
		}
		err = errors.Join(err, live.close())
	}
	if ctx.Err() != nil {
		return nil, err
	}
	if _, absent := os.Stat(path); absent == nil {
		logger.WarnContext(
			ctx, "tables are not usable and are filled again from the log", slog.String("path", path),
			slog.String("reason", err.Error()),
		)
	}
	if live, err = f.create(ctx, path, false); err != nil {
		return nil, err
	}
	return &Store{model: m, place: f, live: live}, nil
}

func (f *file) besidePath() string { return f.path + ".rebuild" }

// create makes empty tables in a new file.
func (f *file) create(ctx context.Context, path string, building bool) (*tables, error) {
	if err := remove(path); err != nil {
		return nil, err
	}
	writer, err := sql.Open("sqlite", dsn(path, building, true))
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", f.model.Title, err)
	}
	writer.SetMaxOpenConns(1)
	err = f.model.create(ctx, writer)
	if err := errors.Join(err, writer.Close()); err != nil {
		return nil, fmt.Errorf("make %s in %s: %w", f.model.Title, path, err)
	}
	return f.open(ctx, path, building)
}

// create makes the tables and the checkpoint of empty ones, or nothing.
func (m *Model) create(ctx context.Context, db *sql.DB) (err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	if _, err := tx.ExecContext(ctx, m.sql()); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, createCheckpoint, m.Name, m.fingerprint()); err != nil {
		return err
	}
	return tx.Commit()
}

// dsn names a file with its settings. Nothing relies on a model that is being built, so nothing is
// synced. Each connection keeps few pages: the system keeps the file in memory anyway, and a page
// that SQLite keeps takes twice its size.
func dsn(path string, building, writes bool) string {
	q := url.Values{}
	add := func(pragma string) { q.Add("_pragma", pragma) }
	add("busy_timeout(5000)")
	if writes {
		q.Set("_txlock", "immediate")
		add("journal_mode(WAL)")
		add("wal_autocheckpoint(4000)")
		if building {
			add("cache_size(-16384)")
			add("synchronous(OFF)")
		} else {
			add("cache_size(-2048)")
			add("synchronous(NORMAL)")
		}
	} else {
		add("query_only(1)")
		add("cache_size(-256)")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

const readers = 8

// open connects to a file that exists.
func (f *file) open(ctx context.Context, path string, building bool) (*tables, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open %s: %w", f.model.Title, err)
	}
	t := &tables{}
	var err error
	if t.writer, err = sql.Open("sqlite", dsn(path, building, true)); err != nil {
		return nil, fmt.Errorf("open %s: %w", f.model.Title, err)
	}
	t.writer.SetMaxOpenConns(1)
	reader, err := sql.Open("sqlite", dsn(path, building, false))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", f.model.Title, err), t.writer.Close())
	}
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	t.reads, t.reader = reader, reader
	t.close = func() error { return errors.Join(reader.Close(), t.writer.Close()) }
	if f.model.prepare == nil {
		return t, nil
	}
	if err := f.model.prepare(t, ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s in %s: %w", f.model.Title, path, err), t.close())
	}
	return t, nil
}

func (t *tables) prepare(ctx context.Context) (err error) {
	if t.write, err = Prepare(ctx, t.writer); err != nil {
		return err
	}
	if t.read, err = Prepare(ctx, t.reader); err != nil {
		return err
	}
	t.audit, err = prepareAudit(ctx, t.writer)
	return err
}

// check refuses tables that are damaged or of another version.
func (t *tables) check(ctx context.Context, m *Model) error {
	if err := m.check(ctx, t.reader); err != nil {
		return err
	}
	var verdict string
	if err := t.reader.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("check the file: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("the file is damaged: %s", verdict)
	}
	return nil
}

// remove deletes a database file with what SQLite keeps beside it.
func remove(path string) error {
	for _, suffix := range []string{"-wal", "-shm", "-journal", ""} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the old tables: %w", err)
		}
	}
	return nil
}

func (f *file) beside(ctx context.Context) (*Store, error) {
	if !f.building.CompareAndSwap(false, true) {
		return nil, f.model.errBuilding()
	}
	t, err := f.create(ctx, f.besidePath(), true)
	if err != nil {
		f.building.Store(false)
		return nil, err
	}
	if t.later, err = unindex(
		ctx, t.writer, "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
	); err != nil {
		f.building.Store(false)
		return nil, errors.Join(err, t.close())
	}
	next := &file{model: f.model, path: f.besidePath(), logger: f.logger, building: f.building}
	return &Store{model: f.model, place: next, live: t}, nil
}

func (f *file) discard() error {
	f.building.Store(false)
	return remove(f.path)
}

func (f *file) replace(ctx context.Context, db, other *Store, finish func(context.Context, Checkpoint) error) error {
	db.still.Lock()
	defer db.still.Unlock()
	was, err := db.ReadCheckpoint(ctx)
	if err == nil {
		err = finish(ctx, was)
	}
	if err != nil {
		return errors.Join(err, other.Discard())
	}
	defer f.building.Store(false)
	if err := other.Close(); err != nil {
		return fmt.Errorf("finish the new tables of %s: %w", f.model.Title, err)
	}
	if err := syncFile(f.besidePath()); err != nil {
		return fmt.Errorf("finish the new tables of %s: %w", f.model.Title, err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.live.close(); err != nil {
		return fmt.Errorf("close the old tables of %s: %w", f.model.Title, err)
	}
	err = f.swap(f.besidePath())
	live, openErr := f.open(ctx, f.path, false)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	db.live = live
	return err
}

// swap renames the new file over the old one, which nobody has open: a journal that is left says
// otherwise, and would be read as the new file's.
func (f *file) swap(from string) error {
	if _, err := os.Stat(f.path + "-wal"); err == nil {
		return fmt.Errorf("%s in %s is open elsewhere", f.model.Title, f.path)
	}
	if err := os.Rename(from, f.path); err != nil {
		return fmt.Errorf("put the new tables of %s in place: %w", f.model.Title, err)
	}
	return syncFile(filepath.Dir(f.path))
}

func syncFile(path string) error {
	f, err := os.Open(path) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (f *file) lead(
	ctx context.Context, db *Store, _ Origin, _ func(Checkpoint) <-chan struct{},
) (context.Context, func(), error) {
	db.trust.give(time.Time{})
	return ctx, func() {}, nil
}

func (f *file) settle(context.Context) error { return nil }

// down: what SQLite refuses for the sake of the data lies in the data, anything else in the file.
func (f *file) down(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return errors.Is(err, sql.ErrConnDone)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return false
	}
	return true
}
