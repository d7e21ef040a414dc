package readmodels

import (
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// tablesSQL makes the tables. They are never altered: another text is another fingerprint, and
// tables of another fingerprint are made and filled from the log.
//
//go:embed tables.sql
var tablesSQL string

// fill goes up whenever the projection writes other rows for the same events: rows of another
// number are dropped and filled again. A change of the tables is noticed without it.
const fill = 2

var errOtherVersion = errors.New("it was made by another version")

var errBuilding = errors.New("the read model is being filled again already")

// fingerprint tells one version of the tables and their contents from another.
func fingerprint() string {
	sum := sha256.Sum256([]byte(strconv.Itoa(fill) + byBytes + tablesSQL))
	return hex.EncodeToString(sum[:])
}

// checkModel refuses tables of another version.
func checkModel(ctx context.Context, q *Queries) error {
	row, err := q.GetCheckpoint(ctx, checkpointName)
	if err != nil {
		return fmt.Errorf("read the checkpoint: %w", err)
	}
	if row.Model != fingerprint() {
		return errOtherVersion
	}
	return nil
}

// tableNames are the names of all tables.
var tableNames = func() (names []string) {
	for _, made := range regexp.MustCompile(`CREATE TABLE (\w+)`).FindAllStringSubmatch(tablesSQL, -1) {
		names = append(names, made[1])
	}
	return names
}()

// unindex drops the indexes of new tables that only queries need, and returns the statements that
// make them again: tables are filled faster without, and an index of all rows at once costs less
// than one row by row. listing asks for name and statement of each.
func unindex(ctx context.Context, db *sql.DB, listing string, args ...any) (statements []string, err error) {
	rows, err := db.QueryContext(ctx, listing, args...)
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
