package readmodels

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// vacancy is how long a database must show no process of the installation that owns it before
// another may take it over. A restart takes less, and so does a stop of the database, after which
// leases have ended although their holders live.
const vacancy = time.Minute

// ownerSQL makes the table that says whose the database is, in every version of the tables. The one
// row is the arbiter: a lease is only taken by the installation that it names.
const ownerSQL = `CREATE TABLE IF NOT EXISTS owner (
    only_row     BOOLEAN NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    installation TEXT    NOT NULL
)`

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

// OwnerID returns the store id in the name of an installation that ExaminePostgres returned; "" for
// none.
func OwnerID(owner string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(owner, "the installation "), ",")
	return id
}

// OccupiedError says that the tables belong to another installation.
type OccupiedError struct {
	By   string
	Left time.Duration // until it is taken over unless it shows life; 0: it lives, or nobody looked
}

// Error implements error.
func (e *OccupiedError) Error() string {
	text := "the database belongs to " + e.By + ": name another database, or share this one on purpose with " +
		"another AGENTKEY_DATABASE_SCHEMA; "
	if e.Left > 0 {
		return text + "the other installation shows no life, and is taken over in " +
			max(e.Left.Round(time.Second), time.Second).String() + " unless it returns"
	}
	return text + "a database that its installation no longer uses is taken over after a minute"
}

// watched is what a process saw of the installation that owns the database.
type watched struct {
	installation string
	sign         time.Time // of life, by the clock of the database
	since        time.Time // that sign is the last one, by our clock
}

// begin gives a database that is nobody's to the installation whose rows are there, and an empty
// one to the first that asks.
func (s *schema) begin(ctx context.Context, on interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}, at Checkpoint, is Origin,
) error {
	if at.StoreID != "" {
		is = at.Origin()
	}
	_, err := on.Exec(ctx, "INSERT INTO "+s.owner()+" (installation) VALUES ($1) ON CONFLICT DO NOTHING", is.String())
	return err
}

// own makes the database this installation's, or says why not. Another's is taken over when this
// process has seen no sign of its life for the whole vacancy, and could have.
func (s *schema) own(ctx context.Context, l *lease, at Checkpoint, is Origin) error {
	before := s.watched
	s.watched = watched{}
	if err := s.begin(ctx, l.conn, at, is); err != nil {
		return err
	}
	seen := watched{since: s.clock()}
	var sign *time.Time
	var lives bool
	err := l.conn.QueryRow(ctx, `SELECT o.installation, max(l.ends_at), coalesce(max(l.ends_at) > now(), false)
		FROM `+s.owner()+` AS o LEFT JOIN `+l.table+` AS l ON l.installation = o.installation
		GROUP BY o.installation`).Scan(&seen.installation, &sign, &lives)
	if err != nil || seen.installation == l.installation {
		return err
	}
	if sign != nil {
		seen.sign = *sign
	}
	if lives {
		return &OccupiedError{By: seen.installation}
	}
	if before.installation == seen.installation && before.sign.Equal(seen.sign) {
		seen.since = before.since
	}
	if left := s.vacancy - s.clock().Sub(seen.since); left > 0 {
		s.watched = seen
		return &OccupiedError{By: seen.installation, Left: left}
	}
	_, err = l.conn.Exec(ctx, `UPDATE `+s.owner()+` AS o SET installation = $1 WHERE installation = $2 AND NOT EXISTS
		(SELECT FROM `+l.table+` AS l WHERE l.installation = o.installation AND l.ends_at > now())`,
		l.installation, seen.installation)
	if err == nil {
		s.logger.WarnContext(
			ctx, "the database is taken over from another installation", slog.String("of", s.model.Title),
			slog.String("installation", seen.installation),
		)
	}
	return err // who was faster shows when the lease is taken
}
