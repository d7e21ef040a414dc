package readmodels

import (
	"context"
	"database/sql"
	"time"

	"agentkey/domain"
)

// AccessChange is how one agent's effective access to one tool differs between two moments.
type AccessChange struct {
	AgentID, AgentName, ToolID, ToolName string // as named at the later moment
	Before, After                        *EffectiveAccess
	Events                               []string // ids of those between the moments that changed it, in their order
	Position                             uint64   // of the first asking or assignment
}

// EffectiveAccess is access that counted at a moment: approved, not expired, to a tool that was
// there.
type EffectiveAccess struct {
	Origin, RequestID, Reason string
	ApprovedAt                time.Time
	ApprovedBy                domain.Actor
	ExpiresAt                 time.Time // zero: never
}

// counted are the columns of access at a moment; the first says whether it counted.
func counted(grant, tool, now string) string {
	return `CASE WHEN ` + effective(grant, tool, now) + ` THEN 1 ELSE 0 END, coalesce(` + grant + `.origin, ''),
    coalesce(` + grant + `.request_id, ''), coalesce(` + grant + `.reason, ''), coalesce(` + grant + `.approved_at, 0),
    coalesce(` + grant + `.approved_by_type, ''), coalesce(` + grant + `.approved_by_id, ''),
    coalesce(` + grant + `.expires_at, 0)`
}

func effective(grant, tool, now string) string {
	return `coalesce(` + grant + `.status = 'approved' AND ` + tool + `.removed_at = 0 AND (` + grant +
		`.expires_at = 0 OR ` + grant + `.expires_at > ` + now + `), FALSE)`
}

// AccessChanges lists whose effective access differs between two moments, what was asked for first
// last. A zero from is before the first event.
func (db *DB) AccessChanges(
	ctx context.Context, organization string, from, to Moment, p Page,
) (List[AccessChange], error) {
	q := &text{}
	f, t := q.arg(signed(from.Position)), q.arg(signed(to.Position))
	before, after := q.arg(Micros(from.Time)), q.arg(Micros(to.Time))
	q.add(`SELECT g.agent_id, a.name, g.tool_id, t.name, g.position,
    `, counted("b", "bt", before), `,
    `, counted("g", "t", after), `
FROM past_grants AS g
JOIN past_agents AS a ON a.id = g.agent_id AND a.since <= `, t, ` AND a.until > `, t, `
JOIN past_tools AS t ON t.id = g.tool_id AND t.since <= `, t, ` AND t.until > `, t, `
LEFT JOIN past_grants AS b ON b.agent_id = g.agent_id AND b.tool_id = g.tool_id
    AND b.since <= `, f, ` AND b.until > `, f, `
LEFT JOIN past_tools AS bt ON bt.id = g.tool_id AND bt.since <= `, f, ` AND bt.until > `, f, `
WHERE g.organization_id = `, q.arg(organization), ` AND g.since <= `, t, ` AND g.until > `, t, `
    AND (`, effective("b", "bt", before), ` <> `, effective("g", "t", after), `
        OR `, effective("g", "t", after), ` AND (b.approved_at <> g.approved_at OR b.expires_at <> g.expires_at))`)
	q.page("g", p)
	found, err := collect(ctx, db, q, "changes of access", func(rows *sql.Rows) (AccessChange, error) {
		var c AccessChange
		var position int64
		var was, is access
		err := rows.Scan(append(append(
			[]any{&c.AgentID, &c.AgentName, &c.ToolID, &c.ToolName, &position}, was.columns()...,
		), is.columns()...)...)
		c.Position, c.Before, c.After = unsigned(position), was.effective(), is.effective()
		return c, err
	})
	if err != nil {
		return List[AccessChange]{}, err
	}
	page := cut(found, p, func(c AccessChange) uint64 { return c.Position })
	return page, db.causes(ctx, organization, from, to, page.Items)
}

// access is how counted comes out of a row.
type access struct {
	EffectiveAccess

	counts              bool
	approvedAt, expires int64
}

func (a *access) columns() []any {
	return []any{
		&a.counts, &a.Origin, &a.RequestID, &a.Reason, &a.approvedAt, &a.ApprovedBy.Type, &a.ApprovedBy.ID, &a.expires,
	}
}

func (a *access) effective() *EffectiveAccess {
	if !a.counts {
		return nil
	}
	a.ApprovedAt, a.ExpiresAt = toTime(a.approvedAt), toTime(a.expires)
	return &a.EffectiveAccess
}

// causes adds to changes the events between two moments that changed the grant, or its tool in a
// way that ends access. Access that ended by its time may have none.
func (db *DB) causes(ctx context.Context, organization string, from, to Moment, changes []AccessChange) error {
	if len(changes) == 0 {
		return nil
	}
	q := &text{}
	f, t, of := q.arg(signed(from.Position)), q.arg(signed(to.Position)), q.arg(organization)
	values(q, "wanted (agent_id, tool_id)", changes, func(c AccessChange) string {
		return q.arg(c.AgentID) + ", " + q.arg(c.ToolID)
	})
	q.add(` SELECT w.agent_id, w.tool_id, e.id, e.position FROM wanted AS w
JOIN past_grants AS g ON g.agent_id = w.agent_id AND g.tool_id = w.tool_id AND g.since > `, f, ` AND g.since <= `, t, `
JOIN audit_entries AS e ON e.organization_id = `, of, ` AND e.position = g.since
UNION ALL SELECT w.agent_id, w.tool_id, e.id, e.position FROM wanted AS w
JOIN past_tools AS x ON x.id = w.tool_id AND x.since > `, f, ` AND x.since <= `, t, ` AND x.removed_at <> 0
JOIN audit_entries AS e ON e.organization_id = `, of, ` AND e.position = x.since
ORDER BY 4`)
	type cause struct{ agentID, toolID, eventID string }
	found, err := collect(ctx, db, q, "events that changed access", func(rows *sql.Rows) (cause, error) {
		var c cause
		var position int64
		err := rows.Scan(&c.agentID, &c.toolID, &c.eventID, &position)
		return c, err
	})
	for _, cause := range found {
		for i := range changes {
			if c := &changes[i]; c.AgentID == cause.agentID && c.ToolID == cause.toolID {
				c.Events = append(c.Events, cause.eventID)
			}
		}
	}
	return err
}
