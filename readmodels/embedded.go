package readmodels

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the embedded engine
)

//go:embed migrations/*.sql
var migrations embed.FS

// fill goes up whenever the projection writes other rows for the same events: rows of another number are dropped
// and filled again. A change of the tables is noticed without it.
const fill = 1

// file is where embedded tables are. The file may be removed at any time while nobody has it open.
type file struct {
	path   string
	logger *slog.Logger
}

// OpenEmbedded opens the read model in an SQLite file, and makes it when it is absent. A file that is damaged, or
// that another version has made, is removed with a warning: the projection fills the new one from the log.
func OpenEmbedded(ctx context.Context, path string, logger *slog.Logger) (*DB, error) {
	f := &file{path: path, logger: logger}
	if err := remove(f.besidePath()); err != nil {
		return nil, err
	}
	live, err := f.open(ctx, path, false)
	if err == nil {
		err = live.check(ctx)
		if err == nil {
			return &DB{file: f, live: live}, nil
		}
		err = errors.Join(err, live.close())
	}
	if ctx.Err() != nil {
		return nil, err
	}
	if _, absent := os.Stat(path); absent == nil {
		logger.WarnContext(ctx, "the read model is not usable and is filled again from the log", slog.String("path", path), slog.String("reason", err.Error()))
	}
	if live, err = f.create(ctx, path, false); err != nil {
		return nil, err
	}
	return &DB{file: f, live: live}, nil
}

func (f *file) besidePath() string { return f.path + ".rebuild" }

// create makes empty tables in a new file.
func (f *file) create(ctx context.Context, path string, building bool) (*tables, error) {
	if err := remove(path); err != nil {
		return nil, err
	}
	writer, err := sql.Open("sqlite", dsn(path, building, true))
	if err != nil {
		return nil, fmt.Errorf("make the read model: %w", err)
	}
	err = migrate(ctx, writer)
	if err := errors.Join(err, writer.Close()); err != nil {
		return nil, fmt.Errorf("make the read model %s: %w", path, err)
	}
	return f.open(ctx, path, building)
}

func migrate(ctx context.Context, writer *sql.DB) error {
	writer.SetMaxOpenConns(1)
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, writer, sub)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	model, err := fingerprint()
	if err != nil {
		return err
	}
	return New(writer).CreateCheckpoint(ctx, CreateCheckpointParams{Name: checkpointName, Model: model})
}

// fingerprint tells one version of the tables and their contents from another.
func fingerprint() (string, error) {
	h := sha256.New()
	h.Write([]byte(strconv.Itoa(fill)))
	err := fs.WalkDir(migrations, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := migrations.ReadFile(path)
		h.Write(text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// dsn names a file with its settings. While a model is being built nobody relies on it, so nothing is synced.
func dsn(path string, building, writes bool) string {
	q := url.Values{}
	add := func(pragma string) { q.Add("_pragma", pragma) }
	add("busy_timeout(5000)")
	if writes {
		q.Set("_txlock", "immediate")
		add("journal_mode(WAL)")
		add("wal_autocheckpoint(4000)")
		add("cache_size(-16384)")
		if building {
			add("synchronous(OFF)")
		} else {
			add("synchronous(NORMAL)")
		}
	} else {
		add("query_only(1)")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

const readers = 8

// open connects to a file that exists.
func (f *file) open(ctx context.Context, path string, building bool) (*tables, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the read model: %w", err)
	}
	t := &tables{}
	var err error
	if t.writer, err = sql.Open("sqlite", dsn(path, building, true)); err != nil {
		return nil, fmt.Errorf("open the read model: %w", err)
	}
	t.writer.SetMaxOpenConns(1)
	if t.reader, err = sql.Open("sqlite", dsn(path, building, false)); err != nil {
		return nil, errors.Join(fmt.Errorf("open the read model: %w", err), t.writer.Close())
	}
	t.reader.SetMaxOpenConns(readers)
	t.reader.SetMaxIdleConns(readers)
	if err := t.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the read model %s: %w", path, err), t.close())
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
func (t *tables) check(ctx context.Context) error {
	want, err := fingerprint()
	if err != nil {
		return err
	}
	row, err := t.read.GetCheckpoint(ctx, checkpointName)
	if err != nil {
		return fmt.Errorf("read the checkpoint: %w", err)
	}
	if row.Model != want {
		return errors.New("it was made by another version")
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
			return fmt.Errorf("remove the old read model: %w", err)
		}
	}
	return nil
}

// Beside opens new, empty tables beside the live ones, for Replace.
func (db *DB) Beside(ctx context.Context) (*DB, error) {
	t, err := db.file.create(ctx, db.file.besidePath(), true)
	if err != nil {
		return nil, err
	}
	return &DB{file: &file{path: db.file.besidePath(), logger: db.file.logger}, live: t}, nil
}

// Replace puts the tables of other, which came from Beside, in the place of the live ones. Queries that run finish
// on the old tables, those that come wait a moment and see the new. other is closed, also when Replace fails.
func (db *DB) Replace(ctx context.Context, other *DB) error {
	if err := other.Close(); err != nil {
		return fmt.Errorf("finish the new read model: %w", err)
	}
	if err := syncFile(other.file.path); err != nil {
		return fmt.Errorf("finish the new read model: %w", err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.live.close(); err != nil {
		return fmt.Errorf("close the old read model: %w", err)
	}
	err := db.file.swap(other.file.path)
	live, openErr := db.file.open(ctx, db.file.path, false)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	db.live = live
	return err
}

// swap renames the new file over the old one, which nobody has open: a journal that is left says otherwise, and
// would be read as the new file's.
func (f *file) swap(from string) error {
	if _, err := os.Stat(f.path + "-wal"); err == nil {
		return fmt.Errorf("the read model %s is open elsewhere", f.path)
	}
	if err := os.Rename(from, f.path); err != nil {
		return fmt.Errorf("put the new read model in place: %w", err)
	}
	return syncFile(filepath.Dir(f.path))
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Reset empties the tables.
func (db *DB) Reset(ctx context.Context) error {
	empty, err := db.Beside(ctx)
	if err != nil {
		return err
	}
	return db.Replace(ctx, empty)
}

// Discard closes tables that came from Beside and removes them.
func (db *DB) Discard() error {
	return errors.Join(db.Close(), remove(db.file.path))
}
