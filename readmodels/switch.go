package readmodels

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// finishTime bounds how long a switch keeps everybody from writing.
const finishTime = 30 * time.Second

// beside makes a schema beside the live one. What a process left there that was killed goes.
func (s *schema) beside(ctx context.Context) (_ *Store, err error) {
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	build, err := s.lease(ctx, "build "+s.name, rand.Text()) // not even this process builds twice at a time
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() {
		if err != nil {
			build.giveBack(ctx)
		}
	}()
	alone, err := build.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if !alone {
		return nil, s.model.errBuilding()
	}
	build.hold(context.WithoutCancel(ctx)) // until the tables are in place or gone
	next := &schema{
		model: s.model, connections: s.connections, name: s.name + "_next", home: s.home, holder: s.holder,
		config: s.config, logger: s.logger, vacancy: s.vacancy, clock: s.clock, build: build,
	}
	if err := next.transact(ctx, func(tx pgx.Tx) error { return next.create(ctx, tx) }); err != nil {
		return nil, err
	}
	db, err := next.open(ctx)
	if err != nil {
		return nil, err
	}
	const listing = "SELECT format('%I.%I', schemaname, indexname), indexdef FROM pg_indexes WHERE schemaname = $1 " +
		"AND indexname !~ '_pkey$'"
	if db.live.later, err = unindex(ctx, db.live.writer, listing, next.name); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	// Until a table was vacuumed, Postgres looks up each row that it finds in an index, which makes
	// charts many times slower.
	for _, name := range s.model.tableNames() {
		db.live.later = append(db.live.later, "VACUUM (ANALYZE) "+next.table(name))
	}
	return db, nil
}

func (s *schema) discard() error {
	ctx, cancel := context.WithTimeout(context.Background(), setUpTime) // what is thrown away has no caller any more
	defer cancel()
	defer s.build.giveBack(ctx)
	return s.drop(ctx, s.name)
}

// drop removes a schema with its tables, unless queries still use them.
func (s *schema) drop(ctx context.Context, name string) error {
	err := s.transact(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(
			ctx, "SET LOCAL lock_timeout = '5s'; DROP SCHEMA IF EXISTS "+pgx.Identifier{name}.Sanitize()+" CASCADE",
		)
		return err
	})
	if err != nil {
		return fmt.Errorf("drop the schema %s: %w", name, err)
	}
	return nil
}

// replace renames the schemas in one transaction. It locks the checkpoint's table against writers,
// who begin there, of this process and any other; renaming needs no more, so queries are never held
// up: a statement finds its tables by name before or after. Only then the old tables are dropped,
// which waits for queries that are still at them.
func (s *schema) replace(ctx context.Context, db, other *Store, finish func(context.Context, Checkpoint) error) error {
	old, next := s.name+"_old", other.place.(*schema).name //nolint:forcetypeassert // it came from beside
	err := s.drop(ctx, old)                                // when it could not be dropped the last time
	if err == nil {
		err = s.rename(ctx, old, next, func(ctx context.Context, was Checkpoint) error {
			if err := finish(ctx, was); err != nil {
				return err
			}
			return s.same(ctx, was, other)
		})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("put the new tables of %s in place: %w", s.model.Title, err), other.Discard())
	}
	other.place.(*schema).build.giveBack(ctx) //nolint:forcetypeassert // as above
	if err := s.drop(ctx, old); err != nil {
		s.logger.WarnContext(
			ctx, "old tables stay until the next time", slog.String("of", s.model.Title), slog.String("error", err.Error()),
		)
	}
	return other.Close()
}

// same refuses to put filled tables into the database of another installation.
func (s *schema) same(ctx context.Context, was Checkpoint, other *Store) error {
	is, err := other.ReadCheckpoint(ctx)
	if err != nil || is.StoreID == "" {
		return err
	}
	var owner string
	err = s.transact(ctx, func(tx pgx.Tx) error {
		if err := s.begin(ctx, tx, was, is.Origin()); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT installation FROM "+s.owner()).Scan(&owner)
	})
	if err == nil && owner != is.Origin().String() {
		err = &OccupiedError{By: owner}
	}
	return err
}

func (s *schema) rename(ctx context.Context, old, next string, finish func(context.Context, Checkpoint) error) error {
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	return s.transact(ctx, func(tx pgx.Tx) error {
		checkpoints := s.table("checkpoints")
		_, err := tx.Exec(
			ctx,
			"SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL lock_timeout = '2s'; LOCK TABLE "+
				""+checkpoints+" IN EXCLUSIVE MODE",
		)
		if err != nil {
			return err
		}
		var was Checkpoint
		var created, position int64
		err = tx.QueryRow(
			ctx, "SELECT store_id, store_created, position FROM "+checkpoints+" WHERE name = $1", s.model.Name,
		).
			Scan(&was.StoreID, &created, &position)
		if err != nil {
			return err
		}
		was.StoreCreated, was.Position = toTime(created), unsigned(position)
		if err := finish(ctx, was); err != nil {
			return err
		}
		live := pgx.Identifier{s.name}.Sanitize()
		_, err = tx.Exec(ctx, fmt.Sprintf("ALTER SCHEMA %s RENAME TO %s; ALTER SCHEMA %s RENAME TO %s",
			live, pgx.Identifier{old}.Sanitize(), pgx.Identifier{next}.Sanitize(), live))
		if err != nil {
			return err
		}
		if !s.model.reports {
			return nil
		}
		return s.tell(ctx, tx)
	})
}

// settle points the reports at this schema and drops those of other versions that no process uses.
func (s *schema) settle(ctx context.Context) error {
	if s.build != nil {
		return nil // reports never show tables beside
	}
	err := s.alone(ctx, func(tx pgx.Tx) error {
		if !s.model.reports {
			return nil
		}
		var told bool
		err := tx.QueryRow(
			ctx, "SELECT coalesce(obj_description(to_regnamespace($2), 'pg_namespace') = $1, false)", s.told(),
			s.reports(),
		).Scan(&told)
		if err != nil || told {
			return err
		}
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '2s'"); err != nil {
			return err
		}
		return s.tell(ctx, tx)
	})
	if err == nil {
		err = s.sweep(ctx)
	}
	if err != nil {
		return fmt.Errorf("settle %s: %w: %w", s.model.Title, ErrUnavailable, err)
	}
	return nil
}

// unusedTime is how long nobody leads a version before its tables go. A process that leads may be
// about to be replaced.
const unusedTime = time.Minute

func (s *schema) sweep(ctx context.Context) error {
	var others []string
	err := s.transact(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(
			ctx, "SELECT nspname FROM pg_namespace WHERE nspname ~ ('^' || $1 || '_[0-9a-f]{12}$') AND nspname <> $2",
			s.home, s.name,
		)
		if err != nil {
			return err
		}
		others, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return err
	}
	for _, other := range others {
		err := s.alone(ctx, func(tx pgx.Tx) error {
			leases := []string{"lead " + other, "build " + other}
			var used bool
			err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+s.leases()+" WHERE name = ANY($1) AND ends_at > now() - "+
				"make_interval(secs => $2))",
				leases, unusedTime.Seconds()).Scan(&used)
			if err != nil || used {
				return err
			}
			if _, err := tx.Exec(ctx, "DELETE FROM "+s.leases()+" WHERE name = ANY($1)", leases); err != nil {
				return err
			}
			var schemas []string
			for _, suffix := range []string{"", "_next", "_old"} {
				schemas = append(schemas, pgx.Identifier{other + suffix}.Sanitize())
			}
			_, err = tx.Exec(
				ctx, "SET LOCAL lock_timeout = '2s'; DROP SCHEMA IF EXISTS "+strings.Join(schemas, ", ")+" CASCADE",
			)
			return err
		})
		const lockNotAvailable = "55P03" // a query uses them: the next time
		if e, ok := errors.AsType[*pgconn.PgError](err); err != nil && (!ok || e.Code != lockNotAvailable) {
			return err
		}
	}
	return nil
}
