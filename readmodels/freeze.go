package readmodels

import (
	"context"
	"database/sql"
	"time"
)

// EndedGrant is access that ended, or a request, with the status that it had until then.
type EndedGrant struct{ AgentID, AgentName, ToolID, ToolName, Was string }

// EndedByFreeze lists what the freeze of a tool that is in force has ended, the first asked for
// first.
func (db *DB) EndedByFreeze(ctx context.Context, organization, toolID string) ([]EndedGrant, error) {
	q := &text{}
	q.add(`SELECT g.agent_id, a.name, g.tool_id, t.name, CASE WHEN g.approved_at > 0 THEN 'approved' ELSE 'pending' END
FROM grants AS g
JOIN agents AS a ON a.id = g.agent_id
JOIN tools AS t ON t.id = g.tool_id
WHERE g.status = 'revoked' AND t.frozen_position <> 0 AND g.decided_position = t.frozen_position
  AND (g.approved_at = 0 OR g.expires_at = 0 OR g.expires_at > g.ended_at)
  AND g.organization_id = `, q.arg(organization), ` AND g.tool_id = `, q.arg(toolID), ` ORDER BY g.position`)
	return collect(ctx, db, q, "what a freeze has ended", scanEndedGrant)
}

// OpenGrants lists what agents have of a tool, or ask for, the first asked for first.
func (db *DB) OpenGrants(ctx context.Context, organization, toolID string, now time.Time) ([]EndedGrant, error) {
	q := &text{}
	q.add(`SELECT g.agent_id, a.name, g.tool_id, t.name, g.status
FROM grants AS g
JOIN agents AS a ON a.id = g.agent_id
JOIN tools AS t ON t.id = g.tool_id
WHERE t.removed_at = 0 AND (g.status = 'pending' OR g.status = 'approved' AND (g.expires_at = 0 OR g.expires_at > `,
		q.arg(Micros(now)), `)) AND g.organization_id = `, q.arg(organization), ` AND g.tool_id = `, q.arg(toolID),
		` ORDER BY g.position`)
	return collect(ctx, db, q, "what agents have of a tool", scanEndedGrant)
}

// Approvals are those of one person or token at a time or later.
type Approvals struct {
	By    string
	Since time.Time
}

// ApprovedBy lists the access that somebody gave, alone or with others, and nobody has given again
// since: what is approved now, the first asked for first. With ended it lists what has ended too,
// as approved.
func (db *DB) ApprovedBy(
	ctx context.Context, organization string, a Approvals, now time.Time, ended bool,
) ([]EndedGrant, error) {
	q := &text{}
	q.add(`SELECT g.agent_id, a.name, g.tool_id, t.name, 'approved'
FROM grants AS g
JOIN agents AS a ON a.id = g.agent_id
JOIN tools AS t ON t.id = g.tool_id
WHERE g.organization_id = `, q.arg(organization))
	if !ended {
		q.add(` AND g.status = 'approved' AND t.removed_at = 0 AND (g.expires_at = 0 OR g.expires_at > `,
			q.arg(Micros(now)), `)`)
	}
	a.among(q)
	q.add(` ORDER BY g.position`)
	return collect(ctx, db, q, "what somebody has approved", scanEndedGrant)
}

func (a Approvals) among(q *text) {
	if a.By != "" {
		q.add(` AND (g.approved_by_id = `, q.arg(a.By), ` AND g.approved_at >= `, q.arg(Micros(a.Since)), ` OR EXISTS (
    SELECT 1 FROM approvals AS o
    WHERE o.request_id = g.request_id AND o.by_id = `, q.arg(a.By), ` AND o.at >= `, q.arg(Micros(a.Since)), `))`)
	}
}

// Known narrows who knows a credential; zero fields do not.
type Known struct {
	AgentID, ToolID string
	Approvals       Approvals // of the access
}

// KnownCredentials lists who has fetched the present version of a credential.
func (db *DB) KnownCredentials(ctx context.Context, organization string, k Known) ([]Exposure, error) {
	q := db.exposed()
	q.add("> ", q.arg(signed(db.until())), " AND t.removed_at = 0 AND k.organization_id = ", q.arg(organization))
	q.is("k.agent_id", k.AgentID)
	q.is("c.tool_id", k.ToolID)
	k.Approvals.among(q)
	q.add(` ORDER BY k.fetch_count DESC, k.position`)
	return collect(ctx, db, q, "who knows a credential", scanExposure)
}

func scanEndedGrant(rows *sql.Rows) (EndedGrant, error) {
	var e EndedGrant
	err := rows.Scan(&e.AgentID, &e.AgentName, &e.ToolID, &e.ToolName, &e.Was)
	return e, err
}
