package readmodels

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// standbyTime is how long a process that does not lead waits before it tries again.
const standbyTime = time.Second

var errLead = errors.New("this process no longer leads")

// lead waits for the leader's lock, which a connection of its own holds for as long as it lives.
// While it waits it hears of every commit. The connection also holds the lock that says that the
// schema is in use.
func (s *schema) lead(ctx context.Context, db *DB, standby func(Checkpoint)) (context.Context, func(), error) {
	fail := func(err error) (context.Context, func(), error) {
		return nil, nil, fmt.Errorf("lead the filling of the read model: %w: %w", ErrUnavailable, err)
	}
	if s.free != nil {
		return ctx, func() {}, nil // no other process knows of these tables
	}
	if err := s.prepare(ctx, db.live); err != nil {
		return fail(err)
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return fail(err)
	}
	if err := s.waitForLead(ctx, conn, db, standby); err != nil {
		return fail(errors.Join(err, closeConn(ctx, conn)))
	}
	lead, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for lead.Err() == nil {
			if _, err := conn.WaitForNotification(lead); err != nil { // with the connection goes the lock
				cancel(fmt.Errorf("%w: %w: %w", ErrUnavailable, errLead, err))
			}
		}
	}()
	return lead, func() {
		cancel(context.Canceled)
		<-watched
		if err := closeConn(ctx, conn); err != nil {
			s.logger.DebugContext(ctx, "the lead was given back with its connection", slog.String("error", err.Error()))
		}
	}, nil
}

func (s *schema) waitForLead(ctx context.Context, conn *pgx.Conn, db *DB, standby func(Checkpoint)) error {
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock_shared("+key+")", "use "+s.name); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.name}.Sanitize()); err != nil {
		return err
	}
	for {
		var leads bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock("+key+")", "lead "+s.name).Scan(&leads); err != nil {
			return err
		}
		if leads {
			_, err := conn.Exec(ctx, "UNLISTEN *")
			return err
		}
		at, err := db.ReadCheckpoint(ctx)
		if err != nil {
			return err
		}
		standby(at)
		if err := listen(ctx, conn, standbyTime); err != nil {
			return err
		}
	}
}

// listen waits until something is committed, or some time. What more it heard of is the same news.
func listen(ctx context.Context, conn *pgx.Conn, within time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if _, err := conn.WaitForNotification(wait); err != nil {
		if wait.Err() != nil && !conn.IsClosed() {
			return ctx.Err()
		}
		return err
	}
	cancel()
	for err := error(nil); err == nil; {
		_, err = conn.WaitForNotification(wait) // only what has come already
	}
	return nil
}
