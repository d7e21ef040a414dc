package readmodels

import (
	"context"
	"database/sql"
	"time"
)

// Due is access whose time has passed and whose end is not here yet.
type Due struct{ Organization, AgentID, ToolID string }

// DueGrants lists, of all organizations, up to a number of grants that have expired by now and still stand as approved.
func (db *DB) DueGrants(ctx context.Context, now time.Time, limit int) ([]Due, error) {
	q := &text{}
	q.add(`SELECT g.organization_id, g.agent_id, g.tool_id FROM grants AS g
WHERE g.status = 'approved' AND g.expires_at > 0 AND g.expires_at <= `, q.arg(Micros(now)), ` ORDER BY g.expires_at LIMIT `, q.arg(limit))
	return collect(ctx, db, q, "grants whose time has passed", func(rows *sql.Rows) (Due, error) {
		var d Due
		err := rows.Scan(&d.Organization, &d.AgentID, &d.ToolID)
		return d, err
	})
}
