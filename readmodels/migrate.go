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
	"strconv"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// fill goes up whenever the projection writes other rows for the same events: rows of another number are dropped
// and filled again. A change of the tables is noticed without it.
const fill = 1

var errOtherVersion = errors.New("it was made by another version")

var errBuilding = errors.New("the read model is being filled again already")

// migrate makes the tables, and the checkpoint of empty ones.
func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, db, sub)
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
	return New(db).CreateCheckpoint(ctx, CreateCheckpointParams{Name: checkpointName, Model: model})
}

// fingerprint tells one version of the tables and their contents from another.
func fingerprint() (string, error) {
	h := sha256.New()
	h.Write([]byte(strconv.Itoa(fill) + byBytes))
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

// checkModel refuses tables of another version.
func checkModel(ctx context.Context, q *Queries) error {
	want, err := fingerprint()
	if err != nil {
		return err
	}
	row, err := q.GetCheckpoint(ctx, checkpointName)
	if err != nil {
		return fmt.Errorf("read the checkpoint: %w", err)
	}
	if row.Model != want {
		return errOtherVersion
	}
	return nil
}

// unindex drops the indexes of new tables that only queries need, and returns the statements that make them again:
// tables are filled faster without, and an index of all rows at once costs less than one row by row. listing asks for
// name and statement of each.
func unindex(ctx context.Context, db *sql.DB, listing string) (statements []string, err error) {
	rows, err := db.QueryContext(ctx, listing)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var names []string
	for rows.Next() {
		var name, statement string
		if err := rows.Scan(&name, &statement); err != nil {
			return nil, err
		}
		names, statements = append(names, name), append(statements, statement)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, err := db.ExecContext(ctx, "DROP INDEX "+name); err != nil {
			return nil, err
		}
	}
	return statements, nil
}

// complete runs the statements that were put off until new tables are filled.
func (t *tables) complete(ctx context.Context) error {
	for _, statement := range t.later {
		if _, err := t.writer.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("complete the new read model: %w", err)
		}
	}
	t.later = nil
	return nil
}
