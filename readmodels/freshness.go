package readmodels

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Freshness names a state of an organization's rows: while it is the same, each list shows the
// same. Its events change it, and so does the end of access or of a key by its time. A list that is
// read afterwards shows that state or a newer one.
func (db *DB) Freshness(ctx context.Context, organization string, now time.Time) (string, error) {
	log, err := db.ReadCheckpoint(ctx)
	if err != nil {
		return "", err
	}
	q := &text{}
	of, at := q.arg(organization), q.arg(Micros(now))
	q.add(`SELECT
    coalesce((SELECT max(e.position) FROM audit_entries AS e WHERE e.organization_id = `, of, `), 0),
    coalesce((SELECT max(g.expires_at) FROM grants AS g WHERE g.organization_id = `, of, ` AND g.status = 'approved'
        AND g.expires_at > 0 AND g.expires_at <= `, at, `), 0),
    coalesce((SELECT max(k.expires_at) FROM agent_keys AS k WHERE k.expires_at > 0 AND k.expires_at <= `, at, `), 0)`)
	return only(collect(ctx, db, q, "what is fresh", func(rows *sql.Rows) (string, error) {
		var position, access, key int64
		err := rows.Scan(&position, &access, &key)
		return fmt.Sprint(
			db.model.fingerprint(), " ", log.StoreID, " ", Micros(log.StoreCreated), " ", Micros(log.Confirmed), " ", position,
			" ", access, " ", key,
		), err
	}))
}
