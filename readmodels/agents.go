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
	OwnerID               string // a person's id
	Labels                domain.Labels
	Identity              Identity // of its workload; the zero one: none
	Status                string   // active, suspended or retired
	Keys                  []Key    // newest last, the last ended ones among them
	CreatedAt             time.Time
	CreatedBy             domain.Actor
	LastSeenAt, RetiredAt time.Time // zero: never
	FetchCount            int64
	LastFetchedAt         time.Time // zero: never
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
	Number     int
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // to fetch a credential; zero: never
}

// AgentFilter narrows the agents; zero fields do not. Retired ones are listed only if their status
// is asked for.
type AgentFilter struct {
	Query                       string    // any part of the name or the description, whatever its case
	Owners                      []string  // whose agents are found by Query too
	Status                      string    // or several, with commas between them
	Tags                        []string  // keys of labels, or keys and values as key:value; it has all of them
	LastSeenBefore, UnusedSince time.Time // those that called, or fetched, at that time or later are left out
}

var agentSorts = sorting{
	"created_at": "", "name": "c.name_folded", "last_seen_at": "c.last_seen_at", "fetch_count": "c.fetch_count",
	"last_fetched_at": "c.last_fetched_at",
}

func (f AgentFilter) from(q *text, organization string) {
	q.add("FROM agents AS c WHERE c.organization_id = ", q.arg(organization))
	if f.Status == "" {
		q.add(" AND c.status <> 'retired'")
	}
	q.oneOf("c.status", f.Status)
	q.tagged("c.labels", f.Tags)
	q.containsOr(Fold(f.Query), "c.owner_id", f.Owners, "c.name_folded", "c.description_folded")
	q.since("c.last_seen_at", "c.created_at", f.LastSeenBefore)
	q.since("c.last_fetched_at", "c.created_at", f.UnusedSince)
}

// Agents lists the agents of an organization.
func (db *DB) Agents(
	ctx context.Context, organization string, f AgentFilter, now time.Time, p Page,
) (List[Agent], error) {
	from := func(q *text) { f.from(q, organization) }
	agents, by, err := db.agents(ctx, from, now, p)
	if err != nil {
		return List[Agent]{}, err
	}
	return pageOf(ctx, db, agents, by, p, func(a Agent) uint64 { return a.Position }, from)
}

// Agent returns one agent, also a retired one, or ErrNotFound.
func (db *DB) Agent(ctx context.Context, organization, id string, now time.Time) (Agent, error) {
	if id == "" {
		return Agent{}, ErrNotFound
	}
	agents, _, err := db.agents(ctx, func(q *text) {
		q.add("FROM agents AS c WHERE c.organization_id = ", q.arg(organization), " AND c.id = ", q.arg(id))
	}, now, Page{Limit: 1})
	return only(agents, err)
}

// Owners lists the ids of the people who own agents of an organization, in their order, most at
// most. Retired agents count too, because their status lists them.
func (db *DB) Owners(ctx context.Context, organization string, most int) ([]string, error) {
	q := &text{}
	q.add("SELECT DISTINCT c.owner_id FROM agents AS c WHERE c.organization_id = ", q.arg(organization),
		" AND c.owner_id <> '' ORDER BY c.owner_id LIMIT ", q.arg(most))
	return collect(ctx, db, q, "owners", func(rows *sql.Rows) (string, error) {
		var id string
		err := rows.Scan(&id)
		return id, err
	})
}

func agentColumns(now string) string {
	return `SELECT a.id, a.position, a.name, a.description, a.owner_id, a.labels, a.identity, a.bound_at, a.status,
    a.created_at,
    a.created_by_type,
    a.created_by_id, a.last_seen_at, a.fetch_count, a.last_fetched_at, a.retired_at, a.revision,
    (SELECT count(*) FROM grants AS g JOIN tools AS t ON t.id = g.tool_id
      WHERE g.agent_id = a.id AND t.removed_at = 0 AND g.status = 'approved'
        AND (g.expires_at = 0 OR g.expires_at > ` + now + `)) AS approved,
    (SELECT count(*) FROM grants AS g JOIN tools AS t ON t.id = g.tool_id
      WHERE g.agent_id = a.id AND t.removed_at = 0 AND g.status = 'pending') AS pending,
    k.id, k.number, k.created_at, k.expires_at, k.last_used_at, a.sorted_by
FROM (
    SELECT c.*, `
}

func (db *DB) agentQuery(from func(*text), now time.Time, p Page) *text {
	o, q := agentSorts.order(p), &text{}
	q.add(agentColumns(q.arg(Micros(now))), o.value(), " AS sorted_by ")
	from(q)
	q.sorted("c", o, db.then(o, p))
	q.add(") AS a LEFT JOIN agent_keys AS k ON k.agent_id = a.id", o.clause("a.sorted_by", "a.position"), ", k.number")
	return q
}

// agents lists a page of some agents with their keys, and the values by which they are sorted.
func (db *DB) agents(ctx context.Context, from func(*text), now time.Time, p Page) ([]Agent, sortedBy, error) {
	q := db.agentQuery(from, now, p)
	agents, by := []Agent{}, sortedBy{}
	_, err := collect(ctx, db, q, "agents", func(rows *sql.Rows) (struct{}, error) {
		var a Agent
		var position, created, seen, fetched, retired, bound int64
		var identity string
		var key sql.NullString
		var number, made, expires, used sql.NullInt64
		var value sortedBy
		err := rows.Scan(
			&a.ID, &position, &a.Name, &a.Description, &a.OwnerID, &a.Labels, &identity, &bound, &a.Status, &created,
			&a.CreatedBy.Type, &a.CreatedBy.ID,
			&seen, &a.FetchCount, &fetched, &retired, &a.Revision, &a.Approved, &a.Pending, &key, &number, &made, &expires,
			&used, &value,
		)
		if last := len(agents) - 1; last < 0 || agents[last].ID != a.ID {
			a.Position, a.CreatedAt = unsigned(position), toTime(created)
			a.LastSeenAt, a.LastFetchedAt, a.RetiredAt = toTime(seen), toTime(fetched), toTime(retired)
			if err == nil && identity != "" {
				err = json.Unmarshal([]byte(identity), &a.Identity)
				a.Identity.BoundAt = toTime(bound)
			}
			agents, by = append(agents, a), append(by, value...)
		}
		if key.Valid {
			of := &agents[len(agents)-1]
			of.Keys = append(of.Keys, Key{
				ID: key.String, Number: int(number.Int64), CreatedAt: toTime(made.Int64), ExpiresAt: toTime(expires.Int64),
				LastUsedAt: toTime(used.Int64),
			})
		}
		return struct{}{}, err
	})
	return agents, by, err
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
