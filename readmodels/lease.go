package readmodels

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// A lease outlives the process that held it by leaseTime at most. It is renewed every renewTime,
// and a renewal that takes longer than answersWithin has failed, so that its holder gives up before
// anybody else may take it.
const (
	leaseTime     = 5 * time.Second
	renewTime     = time.Second
	answersWithin = 2 * time.Second
)

// leasesSQL makes the table of leases. It isn't logged: what a crash of the server takes away is
// taken again, and a renewal doesn't wait for the disk.
const leasesSQL = `CREATE UNLOGGED TABLE IF NOT EXISTS leases (
    name         TEXT        NOT NULL PRIMARY KEY,
    holder       TEXT        NOT NULL,
    installation TEXT        NOT NULL, -- of the holder; '' where that doesn't matter
    ends_at      TIMESTAMPTZ NOT NULL
)`

var errLost = errors.New("the lease was lost")

// lease is the right of one process to do something, in a row of the database and by its clock. A
// lock of a session would do the same only without a pooler. It keeps nobody safe: what a lease is
// for must be harmless when two believe for a moment that they hold it.
type lease struct {
	conn         *pgx.Conn
	table        string
	name, holder string
	installation string // that leads; only the owner of the database may. "" where that doesn't matter
	owner        string // the table that names it
	renewed      func() // after each renewal; may be nil
	stop         context.CancelFunc
	stopped      chan struct{}
	logger       *slog.Logger
}

func (s *schema) leases() string { return pgx.Identifier{s.home, "leases"}.Sanitize() }
func (s *schema) owner() string  { return pgx.Identifier{s.home, "owner"}.Sanitize() }

// lease returns a lease that is not held yet. It must be given back in any case.
func (s *schema) lease(ctx context.Context, name, holder string) (*lease, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &lease{
		conn: conn, table: s.leases(), owner: s.owner(), name: name, holder: holder, logger: s.logger,
	}, nil
}

// take takes or renews the lease, and reports whether it is held now.
func (l *lease) take(ctx context.Context) (bool, error) {
	done, err := l.conn.Exec(ctx, `INSERT INTO `+l.table+` AS l (name, holder, installation, ends_at)
		SELECT $1, $2, $3, now() + make_interval(secs => $4)
		WHERE $3 = '' OR EXISTS (SELECT FROM `+l.owner+` WHERE installation = $3)
		ON CONFLICT (name) DO UPDATE
		SET holder = excluded.holder, installation = excluded.installation, ends_at = excluded.ends_at
		WHERE l.holder = excluded.holder OR l.ends_at <= now()`, l.name, l.holder, l.installation, leaseTime.Seconds())
	return done.RowsAffected() == 1, err
}

// hold renews the lease until it is given back. The context that it returns ends when the lease is
// lost.
func (l *lease) hold(ctx context.Context) context.Context {
	held, lost := context.WithCancelCause(ctx)
	// a renewal that is broken off would cost the connection
	renew, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop, l.stopped = stop, make(chan struct{})
	go func() {
		defer close(l.stopped)
		defer lost(context.Canceled)
		tick := time.NewTicker(renewTime)
		defer tick.Stop()
		for {
			select {
			case <-renew.Done():
				return
			case <-tick.C:
			}
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), answersWithin)
			taken, err := l.take(limited)
			cancel()
			if err == nil && !taken {
				err = errors.New("another process has taken it")
			}
			if err == nil && l.renewed != nil {
				l.renewed()
			}
			if err != nil {
				lost(fmt.Errorf("%w: %w: %w", ErrUnavailable, errLost, err))
				return
			}
		}
	}()
	return held
}

// giveBack lets another process take the lease at once, if this one holds it.
func (l *lease) giveBack(ctx context.Context) {
	if l.stop != nil {
		l.stop()
		<-l.stopped
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), answersWithin)
	defer cancel()
	_, err := l.conn.Exec(
		limited, "UPDATE "+l.table+" SET ends_at = now() WHERE name = $1 AND holder = $2 AND ends_at > now()", l.name,
		l.holder,
	)
	if err = errors.Join(err, closeConn(ctx, l.conn)); err != nil {
		l.logger.DebugContext(
			ctx, "a lease ends by its time", slog.String("lease", l.name), slog.String("error", err.Error()),
		)
	}
}
