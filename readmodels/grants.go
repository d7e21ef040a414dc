package readmodels

import (
	"context"
	"database/sql"
	"time"

	"agentkey/domain"
)

// Grant is the newest state of one agent's access to one tool. A request that was taken back is
// none.
type Grant struct {
	AgentID, AgentName, ToolID, ToolName string // as named when the newest decision was made
	CurrentAgentName, CurrentToolName    string // "" where that is what they were called then
	Status                               string // pending, approved, denied, revoked or expired
	Origin                               string // request or assignment
	RequestID, Reason                    string // "" without a request
	RequestedAt                          time.Time
	DenialReason                         string
	DecidedAt                            time.Time    // zero while pending
	DecidedBy                            domain.Actor // zero while pending
	ApprovedAt                           time.Time    // zero: it never was
	ApprovedBy                           domain.Actor // kept when the access ends
	EndedAt                              time.Time    // zero while it has not ended
	EndedBy                              domain.Actor // zero also where its time has passed
	ExpiresAt                            time.Time    // zero: never
	FetchCount                           int64        // since it was last asked for or assigned
	LastFetchedAt                        time.Time
	Rule                                 *domain.RuleVersion // that decided the request; nil: none
	Position                             uint64              // of the first asking or assignment
	DecidedPosition                      uint64              // of the newest decision; 0 while pending
}

// GrantFilter narrows the grants; zero fields do not.
type GrantFilter struct {
	Status          string // or several, with commas between them
	AgentID, ToolID string
	Query           string // any part of the reason or of the names of now, whatever its case
	CredentialMode  string
	ExpiresBefore   time.Time // the access
	UnusedSince     time.Time // what was fetched or approved at that time or later, or never approved, is left out
}

var grantSorts = sorting{
	"created_at": "", "decided_at": "g.decided_at", "expires_at": endless("g.expires_at"),
	"fetch_count": "g.fetch_count", "last_fetched_at": "g.last_fetched_at", "agent_name": "a.name_folded",
	"tool_name": "t.name_folded",
}

const grantOpen = "g.status IN ('pending', 'approved')"

var grantColumns = `SELECT g.agent_id, a.name, ` + nameAt("a", "nullif(g.decided_position, 0)") + `,
    g.tool_id, t.name, ` + nameAt("t", "nullif(g.decided_position, 0)") + `, g.status, t.removed_at, g.origin,
    g.request_id, g.reason, g.requested_at, g.denial_reason,
    g.decided_at, g.decided_by_type, g.decided_by_id, g.approved_at, g.approved_by_type, g.approved_by_id,
    g.ended_at, g.ended_by_type, g.ended_by_id, t.removed_by_type, t.removed_by_id, g.expires_at, g.fetch_count,
    g.last_fetched_at, g.rule, g.position, g.decided_position, `

func (f GrantFilter) from(q *text, organization string, now time.Time) {
	q.add(`
FROM grants AS g
JOIN agents AS a ON a.id = g.agent_id
JOIN tools AS t ON t.id = g.tool_id
WHERE `)
	q.owned("g", organization, f.AgentID, f.ToolID)
	if f.Status == "" {
		q.add(" AND g.status <> 'withdrawn'")
	} else {
		q.anyOf(f.Status, func(status string) string { return grantsThatAre(q, status, now) })
	}
	q.contains(Fold(f.Query), "g.reason_folded", "a.name_folded", "t.name_folded")
	q.is("t.credential_mode", f.CredentialMode)
	q.before("g.expires_at", f.ExpiresBefore)
	q.since("g.last_fetched_at", "g.approved_at", f.UnusedSince)
	if !f.UnusedSince.IsZero() {
		q.add(" AND g.approved_at <> 0")
	}
}

// grantsThatAre is the condition that a grant counts as something now.
func grantsThatAre(q *text, status string, now time.Time) string {
	switch status {
	case "approved":
		return "g.status = 'approved' AND t.removed_at = 0 AND (g.expires_at = 0 OR g.expires_at > " +
			q.arg(Micros(now)) + ")"
	case "pending":
		return "g.status = 'pending' AND t.removed_at = 0"
	case "revoked":
		return "g.status = 'revoked' OR (t.removed_at <> 0 AND " + grantOpen + ")"
	case "expired":
		return "g.status = 'expired' OR (g.status = 'approved' AND t.removed_at = 0 AND g.expires_at <> 0 AND " +
			"g.expires_at <= " + q.arg(Micros(now)) + ")"
	}
	return "g.status = " + q.arg(status) + " AND g.status <> 'withdrawn'"
}

func (db *DB) grantQuery(organization string, f GrantFilter, now time.Time, p Page) *text {
	o, q := grantSorts.order(p), &text{}
	q.add(grantColumns, o.value())
	f.from(q, organization, now)
	q.sorted("g", o, db.then(o, p))
	return q
}

// Grants lists who has, had or asks for what, by the first time that it was asked for.
func (db *DB) Grants(
	ctx context.Context, organization string, f GrantFilter, now time.Time, p Page,
) (List[Grant], error) {
	by := sortedBy{}
	grants, err := collect(ctx, db, db.grantQuery(organization, f, now, p), "grants", func(rows *sql.Rows) (Grant, error) {
		var g Grant
		var requested, removed, decided, approved, ended, expires, fetched, position, at int64
		var remover domain.Actor
		var rule string
		err := rows.Scan(&g.AgentID, &g.CurrentAgentName, &g.AgentName, &g.ToolID, &g.CurrentToolName, &g.ToolName,
			&g.Status, &removed, &g.Origin, &g.RequestID,
			&g.Reason, &requested, &g.DenialReason,
			&decided, &g.DecidedBy.Type, &g.DecidedBy.ID, &approved, &g.ApprovedBy.Type, &g.ApprovedBy.ID,
			&ended, &g.EndedBy.Type, &g.EndedBy.ID, &remover.Type, &remover.ID, &expires, &g.FetchCount, &fetched, &rule,
			&position, &at, &by)
		if err == nil {
			g.Rule, err = toRule(rule)
		}
		onlyNew(g.AgentName, &g.CurrentAgentName)
		onlyNew(g.ToolName, &g.CurrentToolName)
		stored := g.Status
		g.Status = shownStatus(stored, removed != 0, expires, Micros(now))
		switch {
		case g.Status == "expired":
			ended = expires
		case g.Status != stored: // its tool was removed, and the event that says so is still to come
			decided, g.DecidedBy, ended, g.EndedBy = removed, remover, removed, remover
		}
		g.RequestedAt, g.ApprovedAt, g.EndedAt = toTime(requested), toTime(approved), toTime(ended)
		g.DecidedAt, g.ExpiresAt, g.LastFetchedAt = toTime(decided), toTime(expires), toTime(fetched)
		g.Position, g.DecidedPosition = unsigned(position), unsigned(at)
		return g, err
	})
	if err != nil {
		return List[Grant]{}, err
	}
	return pageOf(ctx, db, grants, by, p, func(g Grant) uint64 { return g.Position }, func(q *text) {
		f.from(q, organization, now)
	})
}

// Grant returns one agent's access to one tool, or ErrNotFound.
func (db *DB) Grant(ctx context.Context, organization, agentID, toolID string, now time.Time) (Grant, error) {
	if agentID == "" || toolID == "" {
		return Grant{}, ErrNotFound
	}
	list, err := db.Grants(ctx, organization, GrantFilter{AgentID: agentID, ToolID: toolID}, now, Page{Limit: 1})
	return only(list.Items, err)
}

// shownStatus is what a stored status counts as now.
func shownStatus(stored string, toolRemoved bool, expires, now int64) string {
	switch {
	case toolRemoved && (stored == "pending" || stored == "approved"):
		return "revoked"
	case stored == "approved" && expires != 0 && expires <= now:
		return "expired"
	}
	return stored
}

// onlyNew empties a name that is what the thing was called already.
func onlyNew(then string, current *string) {
	if *current == then {
		*current = ""
	}
}
