package readmodels

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"agentkey/domain"
)

// Agent is one agent. Only a single one that is asked for by its id may be retired.
type Agent struct {
	ID, Name, Description string
	OwnerID               string   // a person's id
	Identity              Identity // of its workload; the zero one: none
	Status                string   // active, suspended or retired
	Keys                  []Key    // newest last, the last ended ones among them
	CreatedAt             time.Time
	CreatedBy             domain.Actor
	LastSeenAt, RetiredAt time.Time // zero: never
	Approved, Pending     int       // grants
	Revision              int
	Position              uint64 // of its registration
}

// Identity is what a workload proves itself with. It is stored as JSON.
type Identity struct {
	Issuer     string            `json:"issuer"`
	Audience   string            `json:"audience"`
	Claims     map[string]string `json:"claims"`
	KeysPasted bool              `json:"keys_pasted"`
	BoundAt    time.Time         `json:"-"`
}

// Key is an agent key as it may be shown.
type Key struct {
	ID         string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // to fetch a credential; zero: never
}

// AgentFilter narrows the agents; zero fields do not. Query is any part of the name, whatever its
// case.
type AgentFilter struct{ Query, Status string }

// Agents lists the agents of an organization, newest first.
func (db *DB) Agents(
	ctx context.Context, organization string, f AgentFilter, now time.Time, p Page,
) (List[Agent], error) {
	q := &text{}
	q.add(agentColumns(q.arg(Micros(now))), q.arg(organization), " AND c.status <> 'retired'")
	q.is("c.status", f.Status)
	q.part("c.name_folded", Fold(f.Query))
	agents, err := db.agents(ctx, q, p)
	return cut(agents, p, func(a Agent) uint64 { return a.Position }), err
}

// Agent returns one agent, also a retired one, or ErrNotFound.
func (db *DB) Agent(ctx context.Context, organization, id string, now time.Time) (Agent, error) {
	if id == "" {
		return Agent{}, ErrNotFound
	}
	q := &text{}
	q.add(agentColumns(q.arg(Micros(now))), q.arg(organization), " AND c.id = ", q.arg(id))
	agents, err := db.agents(ctx, q, Page{Limit: 1})
	return only(agents, err)
}

func agentColumns(now string) string {
	return `SELECT a.id, a.position, a.name, a.description, a.owner_id, a.identity, a.bound_at, a.status, a.created_at,
    a.created_by_type,
    a.created_by_id, a.last_seen_at, a.retired_at, a.revision,
    (SELECT count(*) FROM grants AS g JOIN tools AS t ON t.id = g.tool_id
      WHERE g.agent_id = a.id AND t.removed_at = 0 AND g.status = 'approved'
        AND (g.expires_at = 0 OR g.expires_at > ` + now + `)) AS approved,
    (SELECT count(*) FROM grants AS g JOIN tools AS t ON t.id = g.tool_id
      WHERE g.agent_id = a.id AND t.removed_at = 0 AND g.status = 'pending') AS pending,
    k.id, k.created_at, k.expires_at, k.last_used_at
FROM (
    SELECT c.* FROM agents AS c WHERE c.organization_id = `
}

// agents completes the query with a page and the keys of each agent.
func (db *DB) agents(ctx context.Context, q *text, p Page) ([]Agent, error) {
	q.page("c", db.then(p))
	q.add(") AS a LEFT JOIN agent_keys AS k ON k.agent_id = a.id ORDER BY a.position DESC, k.number")
	agents := []Agent{}
	_, err := collect(ctx, db, q, "agents", func(rows *sql.Rows) (struct{}, error) {
		var a Agent
		var position, created, seen, retired, bound int64
		var identity string
		var key sql.NullString
		var made, expires, used sql.NullInt64
		err := rows.Scan(
			&a.ID, &position, &a.Name, &a.Description, &a.OwnerID, &identity, &bound, &a.Status, &created,
			&a.CreatedBy.Type, &a.CreatedBy.ID,
			&seen, &retired, &a.Revision, &a.Approved, &a.Pending, &key, &made, &expires, &used,
		)
		if last := len(agents) - 1; last < 0 || agents[last].ID != a.ID {
			a.Position, a.CreatedAt = unsigned(position), toTime(created)
			a.LastSeenAt, a.RetiredAt = toTime(seen), toTime(retired)
			if err == nil && identity != "" {
				err = json.Unmarshal([]byte(identity), &a.Identity)
				a.Identity.BoundAt = toTime(bound)
			}
			agents = append(agents, a)
		}
		if key.Valid {
			of := &agents[len(agents)-1]
			of.Keys = append(of.Keys, Key{
				ID: key.String, CreatedAt: toTime(made.Int64), ExpiresAt: toTime(expires.Int64), LastUsedAt: toTime(used.Int64),
			})
		}
		return struct{}{}, err
	})
	return agents, err
}

// only returns the one row that was asked for.
func only[T any](rows []T, err error) (T, error) {
	var none T
	switch {
	case err != nil:
		return none, err
	case len(rows) == 0:
		return none, ErrNotFound
	}
	return rows[0], nil
}
