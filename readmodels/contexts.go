package readmodels

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"agentkey/domain"
)

// RequestContext is what somebody wants to know who decides about a request: who asks, what for,
// and what was between the two before.
type RequestContext struct {
	Agent   Agent  // without its keys and its identity
	Tool    Tool   // without its guide
	History []Past // before the request, newest first
	More    bool   // there was more before that
}

// Past is what once became of an agent's access to a tool. A request for it is pending, until it
// was decided.
type Past struct {
	Status       string // pending, approved, denied, withdrawn, revoked or expired
	At           time.Time
	By           domain.Actor // zero where its time had passed
	RequestID    string       // "" for access that was assigned
	Reason       string       // of the request, or the suggestion
	DenialReason string
	ExpiresAt    time.Time // of the access; zero: never
	Rule         *domain.RuleVersion
}

// mostHistory is how much of it a context has.
const mostHistory = 10

// Contexts returns what belongs to each of some requests, by their ids. Those that aren't in the
// rows yet have none. It takes three queries, however many requests there are.
func (db *DB) Contexts(
	ctx context.Context, organization string, requests []Request, now time.Time,
) (map[string]RequestContext, error) {
	if len(requests) == 0 {
		return nil, nil
	}
	agents, err := db.askers(ctx, organization, idsOf(requests, func(r Request) string { return r.AgentID }), now)
	if err != nil {
		return nil, err
	}
	tools, err := db.asked(ctx, organization, idsOf(requests, func(r Request) string { return r.ToolID }), now)
	if err != nil {
		return nil, err
	}
	past, err := db.before(ctx, organization, idsOf(requests, func(r Request) string { return r.ID }))
	if err != nil {
		return nil, err
	}
	out := map[string]RequestContext{}
	for _, r := range requests {
		agent, asks := agents[r.AgentID]
		tool, offered := tools[r.ToolID]
		history, known := past[r.ID]
		if asks && offered && known {
			most := min(len(history), mostHistory)
			out[r.ID] = RequestContext{Agent: agent, Tool: tool, History: history[:most], More: len(history) > most}
		}
	}
	return out, nil
}

func idsOf(requests []Request, id func(Request) string) []string {
	ids := make([]string, len(requests))
	for i, r := range requests {
		ids[i] = id(r)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (db *DB) askers(ctx context.Context, organization string, ids []string, now time.Time) (map[string]Agent, error) {
	q := &text{}
	q.add(`SELECT a.id, a.name, a.description, a.owner_id, a.labels, a.status, a.created_at, a.last_seen_at,
    (SELECT count(*) FROM grants AS g JOIN tools AS t ON t.id = g.tool_id
      WHERE g.agent_id = a.id AND t.removed_at = 0 AND g.status = 'approved'
        AND (g.expires_at = 0 OR g.expires_at > `, q.arg(Micros(now)), `))
FROM agents AS a WHERE a.organization_id = `, q.arg(organization))
	q.among("a.id", ids)
	rows, err := collect(ctx, db, q, "agents that asked", func(rows *sql.Rows) (Agent, error) {
		var a Agent
		var created, seen int64
		err := rows.Scan(&a.ID, &a.Name, &a.Description, &a.OwnerID, &a.Labels, &a.Status, &created, &seen, &a.Approved)
		a.CreatedAt, a.LastSeenAt = toTime(created), toTime(seen)
		return a, err
	})
	return byID(rows, func(a Agent) string { return a.ID }), err
}

func (db *DB) asked(ctx context.Context, organization string, ids []string, now time.Time) (map[string]Tool, error) {
	q := &text{}
	q.add(`SELECT t.id, t.name, t.description, t.url, t.credential_mode, t.credential_version, t.credential_fields,
    t.max_grant_seconds, t.labels, t.removed_at, t.frozen_at,
    (SELECT count(*) FROM grants AS g WHERE g.tool_id = t.id AND t.removed_at = 0 AND g.status = 'approved'
        AND (g.expires_at = 0 OR g.expires_at > `, q.arg(Micros(now)), `))
FROM tools AS t WHERE t.organization_id = `, q.arg(organization))
	q.among("t.id", ids)
	rows, err := collect(ctx, db, q, "tools that were asked for", func(rows *sql.Rows) (Tool, error) {
		var t Tool
		var removed, frozen int64
		var fields string
		err := rows.Scan(&t.ID, &t.Name, &t.Description, &t.URL, &t.CredentialMode, &t.CredentialVersion, &fields,
			&t.MaxGrantSeconds, &t.Labels, &removed, &frozen, &t.Approved)
		t.CredentialFields, t.RemovedAt, t.FrozenAt = toParts(fields), toTime(removed), toTime(frozen)
		return t, err
	})
	return byID(rows, func(t Tool) string { return t.ID }), err
}

func byID[T any](rows []T, id func(T) string) map[string]T {
	out := make(map[string]T, len(rows))
	for _, r := range rows {
		out[id(r)] = r
	}
	return out
}

// before lists what was between agent and tool before each of some requests, newest first, and one
// more than a context has if there is more. Only a new credential changes no status, and it is left
// out. It reads at most what the agent ever had of the tool.
func (db *DB) before(ctx context.Context, organization string, ids []string) (map[string][]Past, error) {
	q := beforeQuery(organization, ids)
	out := map[string][]Past{}
	_, err := collect(ctx, db, q, "what was before requests", func(rows *sql.Rows) (struct{}, error) {
		var id, agentID, rule string
		var p Past
		var decided, expires, requested int64
		err := rows.Scan(&id, &p.Status, &p.RequestID, &p.Reason, &p.DenialReason, &decided, &p.By.Type, &p.By.ID,
			&expires, &rule, &requested, &agentID)
		if err == nil {
			p.Rule, err = toRule(rule)
		}
		p.ExpiresAt = toTime(expires)
		switch p.Status {
		case "": // nothing was before it
			out[id] = nil
			return struct{}{}, err
		case "pending":
			p.At, p.By = toTime(requested), domain.Actor{Type: domain.ActorAgent, ID: agentID}
		case "expired":
			p.At, p.By = toTime(expires), domain.Actor{}
		default:
			p.At = toTime(decided)
		}
		out[id] = append(out[id], p)
		return struct{}{}, err
	})
	return out, err
}

// beforeQuery finds the first row that is shown before it looks for all of them. LIMIT keeps
// Postgres from doing both at once, once for each row.
func beforeQuery(organization string, ids []string) *text {
	q := &text{}
	q.add(`SELECT r.id, coalesce(h.status, ''), coalesce(h.request_id, ''), coalesce(h.reason, ''),
    coalesce(h.denial_reason, ''), coalesce(h.decided_at, 0), coalesce(h.decided_by_type, ''),
    coalesce(h.decided_by_id, ''), coalesce(h.expires_at, 0), coalesce(h.rule, ''), coalesce(q.created_at, 0),
    r.agent_id
FROM (SELECT r.id, r.agent_id, r.tool_id, r.position, coalesce((SELECT g.since FROM past_grants AS g
        WHERE g.agent_id = r.agent_id AND g.tool_id = r.tool_id AND g.since < r.position
            AND (g.status <> 'approved' OR g.since = g.decided_position)
        ORDER BY g.since DESC LIMIT 1 OFFSET `, q.arg(int64(mostHistory)), `), 0) AS shown_from
    FROM requests AS r WHERE r.organization_id = `, q.arg(organization))
	q.among("r.id", ids)
	q.add(" LIMIT ", q.arg(int64(len(ids))), `) AS r
LEFT JOIN past_grants AS h ON h.agent_id = r.agent_id AND h.tool_id = r.tool_id
    AND h.since >= r.shown_from AND h.since < r.position AND (h.status <> 'approved' OR h.since = h.decided_position)
LEFT JOIN requests AS q ON q.id = h.request_id
ORDER BY r.id, h.since DESC`)
	return q
}
