package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"agentkey/eventstore"
)

// Copy is what a backup or a restore has made.
type Copy struct {
	Position uint64 // of its newest event, the note that it is a copy
	Bytes    int64
}

// ErrNoBackup says that a file isn't a whole event store.
var ErrNoBackup = errors.New("this is not a backup of an event store, or it is damaged")

// apartError says that a file is the store's own file of a log that has archives too.
type apartError struct {
	path     string
	archives int
}

// Error implements error.
func (e *apartError) Error() string {
	return fmt.Sprintf(
		"%s is a store's own file, copied by hand, and %d archives of its events are files beside that store: put them "+
			"and it, as %s, into a folder of their own, make a backup of that with agentkey backup --data, and restore the "+
			"backup", e.path, e.archives, fileName,
	)
}

// Backup writes a consistent copy of the store in a data folder to a new file, whether or not a
// process serves it: appends continue. What was archived is in the copy like everything else: one
// file holds the whole log. The copy was checked and is durable when Backup returns, and
// carries a note that it is one. It holds nothing of what was removed before. An error leaves no
// file.
func Backup(ctx context.Context, dir, path string, clock func() time.Time) (Copy, error) {
	source := filepath.Join(dir, fileName)
	if _, err := os.Stat(source); err != nil {
		return Copy{}, fmt.Errorf("there is no event store in %s: %w", dir, err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return Copy{}, fmt.Errorf("make the backup: %w", err)
	}
	made, err := prepared(ctx, filepath.Dir(path), clock, func(to string) error {
		if err := vacuumInto(ctx, source, to); err != nil {
			return err
		}
		return takeBack(ctx, dir, to)
	}, func(from string) error { return os.Rename(from, path) })
	if err = errors.Join(err, file.Close()); err != nil {
		return Copy{}, errors.Join(fmt.Errorf("make the backup: %w", err), os.Remove(path))
	}
	return made, nil
}

// Restore puts a backup into a data folder that has no event store and that no process serves. The
// store there was checked, is durable, and carries a note that it was restored. An error leaves the
// folder as it was.
func Restore(ctx context.Context, dir, path string, clock func() time.Time) (Copy, error) {
	if err := whole(ctx, path); err != nil {
		return Copy{}, fmt.Errorf("restore %s: %w", path, err)
	}
	lock, err := takeFolder(dir)
	if err != nil {
		return Copy{}, err
	}
	there, err := fs.Glob(os.DirFS(dir), archivePattern)
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if _, err := os.Lstat(filepath.Join(dir, fileName+suffix)); !errors.Is(err, fs.ErrNotExist) {
			there = append(there, fileName+suffix)
		}
	}
	if err != nil || len(there) > 0 {
		return Copy{}, errors.Join(
			fmt.Errorf(
				"in %s there is already %s: move every %s* and %s out of the folder, and keep them, before a backup takes "+
					"their place",
				dir, strings.Join(there, ", "), fileName, archivePattern,
			),
			err, leaveFolder(lock),
		)
	}
	made, err := prepared(ctx, dir, clock, func(to string) error {
		return copyFile(path, to)
	}, func(from string) error { return os.Rename(from, filepath.Join(dir, fileName)) })
	if err = errors.Join(err, leaveFolder(lock)); err != nil {
		return Copy{}, fmt.Errorf("restore %s: %w", path, err)
	}
	return made, nil
}

// prepared makes a store in a folder of its own below dir, checks it, leaves a note in it and puts
// it in its place.
func prepared(
	ctx context.Context, dir string, clock func() time.Time, make, place func(path string) error,
) (out Copy, err error) {
	own, err := os.MkdirTemp(dir, ".agentkey-copy-")
	if err != nil {
		return Copy{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own)) }()
	path := filepath.Join(own, fileName)
	if err := make(path); err != nil {
		return Copy{}, err
	}
	if err := whole(ctx, path); err != nil {
		return Copy{}, err
	}
	if out.Position, err = leaveNote(ctx, own, clock); err != nil {
		return Copy{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return Copy{}, err
	}
	out.Bytes = info.Size()
	if err := errors.Join(os.Chmod(path, 0o600), synced(path)); err != nil {
		return Copy{}, err
	}
	return out, errors.Join(place(path), synced(dir))
}

// vacuumInto needs a connection that may write, though it writes only the other file.
func vacuumInto(ctx context.Context, from, to string) error {
	db, err := sql.Open("sqlite", "file:"+uriPath(from)+"?_pragma=busy_timeout(5000)&_pragma=secure_delete(1)")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `vacuum into ?`, to)
	return errors.Join(err, db.Close())
}

// takeBack puts the events of the archives in a folder back into a copy of its store.
func takeBack(ctx context.Context, dir, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+uriPath(path)+"?_pragma=secure_delete(1)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	archives, err := recorded(ctx, db, dir)
	if err != nil {
		return err
	}
	for _, a := range archives {
		if err := a.check(ctx, nil); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, `attach database $1 as archive`, a.path); err != nil {
			return fmt.Errorf("open the archive %s: %w", a.path, err)
		}
		result, err := db.ExecContext(ctx, `insert into main.events select * from archive.events`)
		if err != nil {
			return fmt.Errorf("read the archive %s: %w", a.path, err)
		}
		if n, err := result.RowsAffected(); err != nil || n != a.events {
			return errors.Join(fmt.Errorf("%s has %d events, not %d", a.path, n, a.events), err)
		}
		if _, err := db.ExecContext(ctx, `detach database archive`); err != nil {
			return err
		}
	}
	_, err = db.ExecContext(ctx, `delete from archives`)
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	defer in.Close()                                                      //nolint:errcheck // it was only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // in a folder that we made
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// whole refuses a file that isn't a store of a format that this version knows, or that is damaged.
func whole(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+uriPath(path)+"?mode=ro")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var version, tables, archives int
	if err := db.QueryRowContext(ctx, `pragma user_version`).Scan(&version); err != nil {
		return fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	if version > schemaVersion {
		return fmt.Errorf(
			"%s was written by a newer version of agentkey (format %d, this one knows %d)", path, version,
			schemaVersion,
		)
	}
	err = db.QueryRowContext(
		ctx, `select count(*) from sqlite_master where type = 'table' and name in ('streams', 'events', 'archives')`,
	).Scan(&tables)
	if err != nil || version == 0 || tables != 3 {
		return errors.Join(ErrNoBackup, err)
	}
	if err := db.QueryRowContext(ctx, `select count(*) from archives`).Scan(&archives); err != nil {
		return fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	if archives > 0 { // put together by hand, nothing would hold credentials back
		return &apartError{path, archives}
	}
	var verdict string
	if err := db.QueryRowContext(ctx, `pragma integrity_check(1)`).Scan(&verdict); err != nil || verdict != "ok" {
		return errors.Join(fmt.Errorf("%w: %s", ErrNoBackup, verdict), err)
	}
	return nil
}

// leaveNote opens the store in a folder and appends the note that it is a copy. It returns its
// position.
func leaveNote(ctx context.Context, dir string, clock func() time.Time) (uint64, error) {
	s, err := Open(Options{Dir: dir, Clock: clock}) //nolint:contextcheck // a store lives until it is closed
	if err != nil {
		return 0, err
	}
	data, err := json.Marshal(struct {
		At   time.Time `json:"at"`
		Head uint64    `json:"head"`
	}{clock().UTC(), s.Head()})
	r := &request{stream: eventstore.BackupStream, expected: anyRevision, done: make(chan struct{}), events: []proposal{
		{id: newID(), typ: eventstore.BackupNote, json: true, data: data, meta: []byte("{}")},
	}}
	if err == nil {
		err = s.submit(ctx, r)
	}
	if err == nil {
		err = r.reply.err
	}
	return s.Head(), errors.Join(err, s.Close())
}

func synced(path string) error {
	f, err := os.Open(path) //nolint:gosec // a file or folder of ours
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
