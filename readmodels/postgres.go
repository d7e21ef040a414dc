package readmodels

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// schema is where tables are on Postgres. The name of the live schema says which version of the
// tables it holds, so that two versions of the program work side by side while one replaces the
// other. Tables that are filled again are in a schema beside it, which takes over its name. What
// versions and processes agree on is in the schema home.
//
// Nothing here relies on a session: no setting, lock or prepared statement outlives its
// transaction, so any pooler that keeps transactions whole may be in between.
type schema struct {
	model       *Model
	connections int32
	name        string
	home        string
	holder      string // this process, in leases
	config      *pgxpool.Config
	logger      *slog.Logger

	vacancy time.Duration
	clock   func() time.Time
	watched watched // of the installation that owns the database, by the one call of Lead
	build   *lease  // of a schema beside: the right to build one
}

// Database is a database of Postgres, and where in it the tables are.
type Database struct {
	URL     string
	Schema  string           // that all versions of the tables share; empty: agentkey
	Vacancy time.Duration    // that another installation must show no life before it is taken over; 0: a minute
	Clock   func() time.Time // that measures it; nil: the process's

	Connections int32 // at most, unless the URL says so with pool_max_conns; 0: 12
}

var (
	schemaName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,37}$`)
	reserved   = regexp.MustCompile(`^pg_|^reporting$|_reporting$|_ledger$|_[0-9a-f]{12}$`)
)

// ValidSchema reports whether a schema may be called so. No name may be one that another schema
// makes by appending to its own.
func ValidSchema(name string) bool {
	return schemaName.MatchString(name) && !reserved.MatchString(name)
}

// DefaultSchema is where the read model is unless another is named.
const DefaultSchema = "agentkey"

// setUpTime is how long OpenPostgres tries to reach the server.
const setUpTime = 10 * time.Second

// OpenPostgres opens tables in a database of Postgres, and makes its tables when they are
// absent: of several processes that start at once one does. A URL that is not valid, a user or a
// database that the server refuses is an error. A server that can't be reached now is none: queries
// fail, and Lead makes the tables when it is back.
func (m *Model) OpenPostgres(ctx context.Context, d Database, logger *slog.Logger) (*Store, error) {
	s, err := m.at(d, logger)
	if err != nil {
		return nil, err
	}
	db, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, setUpTime)
	defer cancel()
	err = s.prepare(limited)
	if refused(err) || ctx.Err() != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", m.Title, err), db.Close())
	}
	if err != nil {
		logger.WarnContext(
			ctx, "the database can't be reached yet", slog.String("of", m.Title), slog.String("error", err.Error()),
		)
	}
	return db, nil
}

// at returns where the tables of this version are in a database; nothing is connected.
func (m *Model) at(d Database, logger *slog.Logger) (*schema, error) {
	config, err := pgxpool.ParseConfig(d.URL)
	if err != nil { // its text may quote the URL, and that holds a password
		return nil, errors.New(
			"the URL of the read model's database is not valid; it looks like " +
				"postgres://user:password@host:5432/database",
		)
	}
	if !strings.Contains(d.URL, "default_query_exec_mode") {
		// one round trip, and no statement has a name
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	home := cmp.Or(d.Schema, DefaultSchema)
	clock := d.Clock
	if clock == nil {
		clock = time.Now //nolint:forbidigo // it measures a wait, nothing stored depends on it
	}
	return &schema{
		model: m, connections: cmp.Or(d.Connections, connections), name: home + "_" + m.fingerprint()[:12], home: home,
		holder: rand.Text(), config: config, logger: logger, vacancy: cmp.Or(d.Vacancy, vacancy), clock: clock,
	}, nil
}

// refused reports whether a server refuses for good: the user, the database, or the user's rights
// there.
func refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (strings.HasPrefix(e.Code, "28") || e.Code == "3D000" || e.Code == "42501")
}

// connections is how many a pool has at most by default.
const connections = 12

// open makes a pool of connections to the tables of the schema; none is opened yet.
func (s *schema) open(ctx context.Context) (*Store, error) {
	config := s.config.Copy()
	if !strings.Contains(s.config.ConnString(), "pool_max_conns") {
		config.MaxConns = s.connections
	}
	if set := config.ConnConfig.RuntimeParams; set["application_name"] == "" {
		set["application_name"] = "agentkey"
	}
	if config.ConnConfig.ConnectTimeout == 0 || config.ConnConfig.ConnectTimeout > setUpTime {
		config.ConnConfig.ConnectTimeout = answerTime
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.model.Title, err)
	}
	own := *s
	own.config = config
	db := stdlib.OpenDBFromPool(pool)
	names := &names{model: s.model, schema: s.name}
	reader := postgresText{db, names}
	live := &tables{writer: db, reads: db, reader: reader, read: New(reader), names: names}
	live.close = func() error {
		err := db.Close()
		pool.Close()
		return err
	}
	return &Store{model: s.model, place: &own, live: live, trust: trust{clock: s.clock}}, nil
}

// connect opens a connection beside the pool, whose connections may all be busy with queries.
func (s *schema) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.ConnectConfig(ctx, s.config.ConnConfig.Copy())
}

// closeConn closes a connection also when the context of its work is over.
func closeConn(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return conn.Close(ctx)
}

// transact runs fn in a transaction on a connection of its own.
func (s *schema) transact(ctx context.Context, fn func(pgx.Tx) error) (err error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeConn(ctx, conn)) }()
	return pgx.BeginFunc(ctx, conn, fn)
}

// alone is transact for what only one process may do at a time. The others wait.
func (s *schema) alone(ctx context.Context, fn func(pgx.Tx) error) error {
	return s.transact(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(
			ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "agentkey tables "+s.home,
		); err != nil {
			return err
		}
		return fn(tx)
	})
}

// prepare makes the tables unless they are there and of this version.
func (s *schema) prepare(ctx context.Context) error {
	made := false
	look := func(tx pgx.Tx) (err error) {
		made, err = s.made(ctx, tx)
		return err
	}
	if err := s.transact(ctx, look); err != nil || made {
		return err
	}
	return s.alone(ctx, func(tx pgx.Tx) error {
		home := pgx.Identifier{s.home}.Sanitize()
		if _, err := tx.Exec(
			ctx, "CREATE SCHEMA IF NOT EXISTS "+home+"; SET LOCAL search_path = "+home+"; "+leasesSQL+"; "+ownerSQL,
		); err != nil {
			return fmt.Errorf("make the schema %s: %w", s.home, err)
		}
		if err := look(tx); err != nil || made {
			return err // another process did it meanwhile
		}
		return s.create(ctx, tx)
	})
}

// made reports whether everything is there and of this version.
func (s *schema) made(ctx context.Context, tx pgx.Tx) (made bool, err error) {
	const there = "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL AND to_regclass($3) IS NOT NULL"
	if err := tx.QueryRow(
		ctx, there, s.leases(), s.owner(), s.table("checkpoints"),
	).Scan(&made); err != nil || !made {
		return false, err
	}
	const current = "SELECT EXISTS (SELECT FROM checkpoints WHERE name = $1 AND model = $2)"
	err = tx.QueryRow(
		ctx, (&names{model: s.model, schema: s.name}).in(current), s.model.Name, s.model.fingerprint(),
	).Scan(&made)
	return made, err
}

// create replaces the schema by one with empty tables.
func (s *schema) create(ctx context.Context, tx pgx.Tx) error {
	name := pgx.Identifier{s.name}.Sanitize()
	if _, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+name+" CASCADE; CREATE SCHEMA "+name); err != nil {
		return fmt.Errorf("make the schema %s: %w", s.name, err)
	}
	_, err := tx.Exec(ctx, "SET LOCAL search_path = "+name+"; "+s.model.sql()+"; "+byBytes)
	if err == nil {
		_, err = tx.Exec(ctx, createCheckpoint, s.model.Name, s.model.fingerprint())
	}
	if err != nil {
		return fmt.Errorf("make the tables of %s: %w", s.model.Title, err)
	}
	return nil
}

// byBytes lets texts be compared by their bytes, as on the other engine and whatever the locale of
// the database: that is also several times faster than a language's order, which nothing here asks
// for.
const byBytes = `DO $$ DECLARE change text; BEGIN
    FOR change IN SELECT format('ALTER TABLE %I ', table_name) || string_agg(format('ALTER COLUMN %I TYPE text
    COLLATE "C"', column_name), ', ')
                  FROM information_schema.columns WHERE table_schema = current_schema() AND data_type = 'text' GROUP
                  BY table_name
    LOOP EXECUTE change; END LOOP;
END $$`

// down: data that Postgres refuses, and rows that are there already, lie in what was written.
func (s *schema) down(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		class := e.Code[:min(2, len(e.Code))]
		return class != "22" && class != "23" && class != "54"
	}
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}
