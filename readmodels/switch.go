package readmodels

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// finishTime bounds how long a switch keeps everybody from writing.
const finishTime = 30 * time.Second

// beside makes a schema beside the live one. The lock that says so belongs to a connection of its
// own, so that what a process left behind that was killed is nobody's, and is dropped by the next
// who builds.
func (s *schema) beside(ctx context.Context) (_ *DB, err error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	free := func() { _ = closeConn(ctx, conn) } // the lock goes with it in any case
	defer func() {
		if err != nil {
			free()
		}
	}()
	var alone bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock("+key+")", "build "+s.name).Scan(&alone); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if !alone {
		return nil, errBuilding
	}
	next := &schema{name: s.name + "_next", config: s.config, logger: s.logger, free: free}
	db, err := next.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := next.create(ctx, conn, db.live); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	const listing = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND indexname !~ '_pkey$'"
	if db.live.later, err = unindex(ctx, db.live.writer, listing); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	const analyze = "SELECT 'ANALYZE ' || string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = current_schema()"
	var statement string
	if err := db.live.writer.QueryRowContext(ctx, analyze).Scan(&statement); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	db.live.later = append(db.live.later, statement)
	return db, nil
}

func (s *schema) discard() error {
	defer s.free()
	ctx, cancel := context.WithTimeout(context.Background(), setUpTime) // what is thrown away has no caller any more
	defer cancel()
	return s.drop(ctx, s.name)
}

// drop removes a schema with its tables, unless queries still use them.
func (s *schema) drop(ctx context.Context, name string) (err error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeConn(ctx, conn)) }()
	if _, err = conn.Exec(ctx, "SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS "+pgx.Identifier{name}.Sanitize()+" CASCADE"); err != nil {
		return fmt.Errorf("drop the schema %s: %w", name, err)
	}
	return nil
}

// replace renames the schemas in one transaction. It locks the checkpoint's table against writers,
// who begin there, of this process and any other; renaming needs no more, so queries are never held
// up: a statement finds its tables by name before or after. Only then the old tables are dropped,
// which waits for queries that are still at them.
func (s *schema) replace(ctx context.Context, db, other *DB, finish func(context.Context, Checkpoint) error) error {
	old, next := s.name+"_old", other.place.(*schema).name //nolint:forcetypeassert // it came from beside
	err := s.drop(ctx, old)                                // when it could not be dropped the last time
	if err == nil {
		err = s.rename(ctx, old, next, func(ctx context.Context, was Checkpoint) error { return finish(ctx, was) })
	}
	if err != nil {
		return errors.Join(fmt.Errorf("put the new read model in place: %w", err), other.Discard())
	}
	other.place.(*schema).free() //nolint:forcetypeassert // as above
	if err := s.drop(ctx, old); err != nil {
		s.logger.WarnContext(ctx, "the old tables of the read model stay until the next time", slog.String("error", err.Error()))
	}
	return other.Close()
}

func (s *schema) rename(ctx context.Context, old, next string, finish func(context.Context, Checkpoint) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeConn(ctx, conn)) }() // and rolls back what is not committed
	live := pgx.Identifier{s.name}
	if _, err := conn.Exec(ctx, "BEGIN; SET LOCAL lock_timeout = '2s'; LOCK TABLE "+append(live, "checkpoints").Sanitize()+" IN EXCLUSIVE MODE"); err != nil {
		return err
	}
	var was Checkpoint
	var created, position int64
	err = conn.QueryRow(ctx, "SELECT store_id, store_created, position FROM "+append(live, "checkpoints").Sanitize()+" WHERE name = $1", checkpointName).
		Scan(&was.StoreID, &created, &position)
	if err != nil {
		return err
	}
	was.StoreCreated, was.Position = toTime(created), unsigned(position)
	if err := finish(ctx, was); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, fmt.Sprintf("ALTER SCHEMA %s RENAME TO %s; ALTER SCHEMA %s RENAME TO %s",
		live.Sanitize(), pgx.Identifier{old}.Sanitize(), pgx.Identifier{next}.Sanitize(), live.Sanitize()))
	if err != nil {
		return err
	}
	if err := s.tell(ctx, conn); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "NOTIFY "+live.Sanitize()+"; COMMIT")
	return err
}

// settle points the reports at this schema and drops those of other versions that no process uses.
func (s *schema) settle(ctx context.Context) error {
	if s.free != nil {
		return nil // tables beside are not spoken of
	}
	err := s.locked(ctx, "tables", func(conn *pgx.Conn) error {
		var told bool
		err := conn.QueryRow(ctx, "SELECT coalesce(obj_description(to_regnamespace('reporting'), 'pg_namespace') = $1, false)", s.told()).Scan(&told)
		if err != nil {
			return err
		}
		if !told {
			if _, err := conn.Exec(ctx, "BEGIN; SET LOCAL lock_timeout = '2s'"); err != nil {
				return err
			}
			if err := s.tell(ctx, conn); err != nil {
				return err
			}
			if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
				return err
			}
		}
		return s.sweep(ctx, conn)
	})
	if err != nil {
		return fmt.Errorf("settle the read model: %w: %w", ErrUnavailable, err)
	}
	return nil
}

func (s *schema) sweep(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT nspname FROM pg_namespace WHERE nspname ~ '^agentkey_[0-9a-f]{12}$' AND nspname <> $1`, s.name)
	if err != nil {
		return err
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, other := range others {
		for _, name := range []string{other, other + "_next", other + "_old"} {
			_, err := conn.Exec(ctx, "BEGIN; SET LOCAL lock_timeout = '2s'")
			if err != nil {
				return err
			}
			var unused bool
			if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock("+key+")", "use "+other).Scan(&unused); err != nil {
				return err
			}
			if unused {
				_, err = conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{name}.Sanitize()+" CASCADE; COMMIT")
			} else {
				_, err = conn.Exec(ctx, "ROLLBACK")
			}
			var refused *pgconn.PgError
			if errors.As(err, &refused) && refused.Code == "55P03" {
				_, err = conn.Exec(ctx, "ROLLBACK") // a query uses it: the next time
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
