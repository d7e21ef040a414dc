package readmodels

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// vacancy is how long a database must show no process of another installation before its tables are
// taken. A restart takes less, and so does a stop of the database, after which leases have ended
// although their holders live.
const vacancy = time.Minute

// Origin tells one installation's log from another, copies included: a copied log keeps the id, not
// the time.
type Origin struct {
	StoreID string
	Created time.Time // the log's own time of its first event
}

// String names the installation to its operator.
func (o Origin) String() string {
	return "the installation " + o.StoreID + ", begun " + o.Created.UTC().Format(time.RFC3339)
}

// OccupiedError says that the tables belong to another installation.
type OccupiedError struct{ By string }

// Error implements error.
func (e *OccupiedError) Error() string {
	return "the database belongs to " + e.By + ": name another database, or share this one on purpose with " +
		"another AGENTKEY_DATABASE_SCHEMA; a database that its installation no longer uses is taken over after a minute"
}

// occupied refuses a database in which a process of another installation fills tables, of whatever
// version.
func (l *lease) occupied(ctx context.Context) error {
	rows, err := l.conn.Query(
		ctx, "SELECT installation FROM "+l.table+" WHERE ends_at > now() AND installation NOT IN ('', $1) LIMIT 1",
		l.installation,
	)
	if err != nil {
		return err
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(others) > 0 {
		err = &OccupiedError{others[0]}
	}
	return err
}

// vacate reports whether tables at a checkpoint may be filled by an installation. Those of another
// may after it has shown no life for the whole vacancy since began.
func (s *schema) vacate(ctx context.Context, at Checkpoint, is Origin, began time.Time) bool {
	if at.StoreID == "" || at.Of(is.StoreID, is.Created) {
		return true
	}
	left := s.vacancy - time.Since(began)
	if left > 0 {
		s.logger.DebugContext(
			ctx, "the read model is of another installation", slog.String("installation", at.Origin().String()),
			slog.Duration("taken_in", left),
		)
	}
	return left <= 0
}
