package readmodels

import (
	"context"
	"database/sql"
	"time"
)

// Due is access whose time has passed and whose end is not here yet.
type Due struct{ Organization, AgentID, ToolID string }

// Organizations returns the ids of all organizations.
func (db *DB) Organizations(ctx context.Context) ([]string, error) {
	q := &text{}
	q.add(`SELECT id FROM organizations ORDER BY id`)
	return collect(ctx, db, q, "organizations", func(rows *sql.Rows) (id string, err error) {
		err = rows.Scan(&id)
		return id, err
	})
}

// DueGrants lists, of all organizations, up to a number of grants that have expired by now and
// still stand as approved.
func (db *DB) DueGrants(ctx context.Context, now time.Time, limit int) ([]Due, error) {
	q := &text{}
	q.add(`SELECT g.organization_id, g.agent_id, g.tool_id FROM grants AS g
WHERE g.status = 'approved' AND g.expires_at > 0 AND g.expires_at <= `, q.arg(Micros(now)),
		` ORDER BY g.expires_at LIMIT `, q.arg(limit))
	return collect(ctx, db, q, "grants whose time has passed", func(rows *sql.Rows) (Due, error) {
		var d Due
		err := rows.Scan(&d.Organization, &d.AgentID, &d.ToolID)
		return d, err
	})
}

// Ending is access, or a credential, that ends soon. AgentID is empty where the credential is
// shared.
type Ending struct {
	Organization, AgentID, ToolID string
	At                            time.Time
}

// Endings pages through what ends between now and a time, soonest first, skipping what earlier
// pages had.
type Endings struct {
	Now, Until  time.Time
	Skip, Limit int
}

// grantsNow are grants that give access at a moment, of tools that were not removed.
func grantsNow(q *text, now time.Time) {
	q.add(` FROM grants AS g JOIN tools AS t ON t.id = g.tool_id
WHERE g.status = 'approved' AND t.removed_at = 0 AND (g.expires_at = 0 OR g.expires_at > `, q.arg(Micros(now)), `)`)
}

func (e Endings) among(q *text, column string) {
	q.add(` AND `, column, ` > `, q.arg(Micros(e.Now)), ` AND `, column, ` <= `, q.arg(Micros(e.Until)))
}

// EndingGrants lists access, of all organizations, that ends soon.
func (db *DB) EndingGrants(ctx context.Context, e Endings) ([]Ending, error) {
	q := &text{}
	q.add(`SELECT g.organization_id, g.agent_id, g.tool_id, g.expires_at AS ends_at`)
	grantsNow(q, e.Now)
	e.among(q, "g.expires_at")
	return db.endings(ctx, q, e)
}

// EndingCredentials lists the credentials in use, of all organizations, that end soon: shared ones
// and agents' own.
func (db *DB) EndingCredentials(ctx context.Context, e Endings) ([]Ending, error) {
	q := &text{}
	q.add(
		`SELECT t.organization_id, '' AS agent_id, t.id AS tool_id, t.credential_expires_at AS ends_at FROM tools AS t
		WHERE t.removed_at = 0`,
	)
	e.among(q, "t.credential_expires_at")
	q.add(` UNION ALL SELECT g.organization_id, g.agent_id, g.tool_id, g.credential_expires_at AS ends_at`)
	grantsNow(q, e.Now)
	e.among(q, "g.credential_expires_at")
	return db.endings(ctx, q, e)
}

func (db *DB) endings(ctx context.Context, q *text, e Endings) ([]Ending, error) {
	q.add(` ORDER BY ends_at, tool_id, agent_id LIMIT `, q.arg(e.Limit), ` OFFSET `, q.arg(e.Skip))
	return collect(ctx, db, q, "what ends soon", func(rows *sql.Rows) (Ending, error) {
		var found Ending
		var at int64
		err := rows.Scan(&found.Organization, &found.AgentID, &found.ToolID, &at)
		found.At = toTime(at)
		return found, err
	})
}
