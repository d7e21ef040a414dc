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
		return errors.New("it was made by another version")
	}
	return nil
}
