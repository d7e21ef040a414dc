package readmodels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoTables says that there are no tables of this version yet. Opening the read model creates
// them.
var ErrNoTables = errors.New("it has no tables of this version yet")

// ExamineEmbedded inspects tables in an SQLite file without changing it, even while another
// process has it open. Errors: ErrNoTables; any other one is about a file that can't be read or is
// damaged.
func (m *Model) ExamineEmbedded(ctx context.Context, path string) (reached Checkpoint, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, ErrNoTables
	}
	reader, err := sql.Open("sqlite", dsn(path, false, false))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("open %s: %w", m.Title, err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	t := &tables{reader: reader}
	err = t.check(ctx, m)
	if errors.Is(err, errOtherVersion) {
		return Checkpoint{}, ErrNoTables
	}
	if err != nil {
		return Checkpoint{}, err
	}
	reached, _, err = m.checkpoint(ctx, reader)
	return reached, err
}

// ExaminePostgres looks at tables in a database of Postgres and leaves it as it is. owner
// is the installation that the database belongs to, also where there are no tables of this version;
// "" for none. Errors: ErrNoTables where this user may make them; any other one is about a database
// that can't be reached or used.
func (m *Model) ExaminePostgres(ctx context.Context, d Database) (reached Checkpoint, owner string, err error) {
	s, err := m.at(d, slog.New(slog.DiscardHandler))
	if err != nil {
		return Checkpoint{}, "", err
	}
	db, err := s.open(ctx)
	if err != nil {
		return Checkpoint{}, "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var makes bool
	err = db.live.writer.QueryRowContext(
		ctx, "SELECT has_database_privilege(current_database(), 'CREATE')",
	).Scan(&makes)
	if err != nil {
		return Checkpoint{}, "", fmt.Errorf("ask the database: %w", err)
	}
	err = db.live.writer.QueryRowContext(ctx, "SELECT installation FROM "+s.owner()).Scan(&owner)
	if err != nil && !isAbsent(err) {
		return Checkpoint{}, "", fmt.Errorf("ask whose the database is: %w", err)
	}
	err = m.check(ctx, db.live.reader)
	absent := errors.Is(err, errOtherVersion) || isAbsent(err)
	switch {
	case absent && makes:
		return Checkpoint{}, owner, ErrNoTables
	case absent:
		return Checkpoint{}, owner, errors.New(
			"it has no tables of this version, and its user may not create them: allow it, with GRANT CREATE ON " +
				"DATABASE … " +
				"TO …",
		)
	case err != nil:
		return Checkpoint{}, owner, err
	}
	reached, _, err = m.checkpoint(ctx, db.live.reader)
	return reached, owner, err
}

// isAbsent reports whether there is no such table or row.
func isAbsent(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return errors.Is(err, sql.ErrNoRows) || ok && e.Code == "42P01" // undefined_table
}
