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
	"strings"
	"sync"
)

//go:embed tables.sql
var tablesSQL string

// ReadModel is the one projection that fills all tables that the API joins.
var ReadModel = &Model{
	Name: "read_model", Title: "the read model", Tables: tablesSQL, Fill: 2, reports: true, prepare: (*tables).prepare,
}

// Model is a set of tables that are filled from the log, and nothing else is. They are never
// altered: another text is another fingerprint, and tables of another fingerprint are made and
// filled from the log.
type Model struct {
	Name   string // of its checkpoint
	Title  string // in a sentence
	Tables string // the statements that make them; the table checkpoints is added

	// Fill goes up whenever other rows are written for the same events: rows of another number are
	// dropped and filled again. A change of the tables is noticed without it.
	Fill int

	reports bool                                 // the views for reports show these tables
	prepare func(*tables, context.Context) error // statements, where an engine keeps them

	once  sync.Once
	table *regexp.Regexp // where a statement names one of the tables
	names []string       // of the tables
}

// checkpointsSQL makes the table of how far the others have come.
const checkpointsSQL = `CREATE TABLE checkpoints (
    name          TEXT   NOT NULL PRIMARY KEY,
    model         TEXT   NOT NULL, -- fingerprint of the tables and of what fills them
    store_id      TEXT   NOT NULL, -- of the log that the rows came from; '' before the first event
    store_created BIGINT NOT NULL, -- the log's own time of its first event: a copied log has another
    confirmed     BIGINT NOT NULL, -- when a restore of that log was confirmed last, 0 for never
    position      BIGINT NOT NULL, -- of the last event that the rows know
    mark          TEXT   NOT NULL  -- by which the projection knows this log again; '' for none
);
`

var errOtherVersion = errors.New("it was made by another version")

func (m *Model) errBuilding() error { return fmt.Errorf("%s is being filled again already", m.Title) }

func (m *Model) sql() string { return checkpointsSQL + m.Tables }

// fingerprint tells one version of the tables and their contents from another.
func (m *Model) fingerprint() string {
	sum := sha256.Sum256([]byte(strconv.Itoa(m.Fill) + byBytes + m.sql()))
	return hex.EncodeToString(sum[:])
}

// check refuses tables of another version.
func (m *Model) check(ctx context.Context, q DBTX) error {
	_, found, err := m.checkpoint(ctx, q)
	if err == nil && found != m.fingerprint() {
		err = errOtherVersion
	}
	return err
}

// look finds the names of the tables.
func (m *Model) look() {
	m.once.Do(func() {
		for _, made := range regexp.MustCompile(`CREATE TABLE (\w+)`).FindAllStringSubmatch(m.sql(), -1) {
			m.names = append(m.names, made[1])
		}
		m.table = regexp.MustCompile(`\b(FROM|JOIN|INTO|UPDATE)\s+(` + strings.Join(m.names, "|") + `)\b`)
	})
}

// tableNames are the names of all tables.
func (m *Model) tableNames() []string {
	m.look()
	return m.names
}

// tableName matches where a statement names one of the tables.
func (m *Model) tableName() *regexp.Regexp {
	m.look()
	return m.table
}

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
			return fmt.Errorf("complete the new tables: %w", err)
		}
	}
	t.later = nil
	return nil
}
