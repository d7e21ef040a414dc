package readmodels

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"
)

// Summary is what an organization looks like at one instant. What has ended by its time counts as
// ended, whether or not the event is here.
type Summary struct {
	Position uint64 // up to which it includes everything

	Requests           int       // that wait for a decision
	OldestRequest      time.Time // zero: none waits
	Suggestions, Notes int       // likewise

	Active, Suspended        int // agents
	Quiet                    int // active agents that have done nothing for a while
	Tools, WithoutCredential int // the latter are shared, and nobody can fetch
	Approved, Expiring       int // grants; the latter among the former
	Last, Previous           Fetches
	Failed, Dead             int // deliveries

	Soonest  []Expiry   // of the expiring
	Demanded []Demanded // by how many agents wait
}

// Expiry is access that has an end.
type Expiry struct {
	AgentID, AgentName, ToolID, ToolName string // as named now
	ExpiresAt                            time.Time
}

// Demanded is what agents wait for: a tool that they have requested, or one that they miss.
type Demanded struct {
	Kind     string // tool or suggestion
	ID, Name string
	Agents   int
}

// SummaryTerms say what a summary counts.
type SummaryTerms struct {
	Now    time.Time
	Within time.Duration // until when access is expiring
	Quiet  time.Duration // that an agent must have done nothing
	Tools  []string      // whose requests count, for somebody who decides about them alone; nil: all
}

// listed is how many rows each list of a summary has at most.
const listed = 10

// Summary counts what an organization has.
func (db *DB) Summary(ctx context.Context, organization string, t SummaryTerms) (Summary, error) {
	return instant(ctx, db.Store, func(ctx context.Context, in DBTX) (s Summary, err error) {
		reached, _, err := db.model.checkpoint(ctx, in)
		if err != nil {
			return Summary{}, err
		}
		s.Position = reached.Position
		for _, part := range []func(context.Context, DBTX, string, SummaryTerms) error{
			s.countAgents, s.countAccess, s.countWaiting, s.listRequests, s.listSuggestions, s.listExpiring, s.countFetches,
		} {
			if err := part(ctx, in, organization, t); err != nil {
				return Summary{}, err
			}
		}
		slices.SortStableFunc(s.Demanded, func(a, b Demanded) int { return cmp.Compare(b.Agents, a.Agents) })
		s.Demanded = s.Demanded[:min(len(s.Demanded), listed)]
		return s, nil
	})
}

func (s *Summary) countAgents(ctx context.Context, in DBTX, organization string, t SummaryTerms) error {
	q := &text{}
	before := q.arg(Micros(t.Now.Add(-t.Quiet)))
	q.add(`SELECT a.status, count(*), sum(CASE WHEN a.last_seen_at < `, before, ` AND a.created_at < `, before,
		` THEN 1 ELSE 0 END) FROM agents AS a WHERE a.organization_id = `, q.arg(organization),
		` AND a.status IN ('active', 'suspended') GROUP BY a.status`)
	_, err := collectIn(ctx, in, q, "agents", func(rows *sql.Rows) (struct{}, error) {
		var status string
		var all, quiet int
		err := rows.Scan(&status, &all, &quiet)
		if status == "active" {
			s.Active, s.Quiet = all, quiet
		} else {
			s.Suspended = all
		}
		return struct{}{}, err
	})
	return err
}

func (s *Summary) countAccess(ctx context.Context, in DBTX, organization string, t SummaryTerms) error {
	q := &text{}
	now, until := q.arg(Micros(t.Now)), q.arg(Micros(t.Now.Add(t.Within)))
	q.add(`SELECT count(*), coalesce(sum(x.bare), 0), coalesce(sum(x.approved), 0), coalesce(sum(x.expiring), 0) FROM (
    SELECT CASE WHEN t.credential_mode = 'shared' AND t.credential_version = 0 THEN 1 ELSE 0 END AS bare,
    (SELECT count(*) FROM grants AS g WHERE g.tool_id = t.id AND g.status = 'approved'
        AND (g.expires_at = 0 OR g.expires_at > `, now, `)) AS approved,
    (SELECT count(*) FROM grants AS g WHERE g.tool_id = t.id AND g.status = 'approved'
        AND g.expires_at > `, now, ` AND g.expires_at <= `, until, `) AS expiring
    FROM tools AS t WHERE t.organization_id = `, q.arg(organization), ` AND t.removed_at = 0) AS x`)
	_, err := collectIn(ctx, in, q, "tools", func(rows *sql.Rows) (struct{}, error) {
		return struct{}{}, rows.Scan(&s.Tools, &s.WithoutCredential, &s.Approved, &s.Expiring)
	})
	return err
}

func (s *Summary) countWaiting(ctx context.Context, in DBTX, organization string, _ SummaryTerms) error {
	q := &text{}
	of := q.arg(organization)
	q.add(`SELECT
    (SELECT count(*) FROM suggestions AS s
        WHERE s.organization_id = `, of, ` AND s.status = 'pending' AND s.backer_count > 0),
    (SELECT count(*) FROM notes AS n JOIN tools AS t ON t.id = n.tool_id
        WHERE n.organization_id = `, of, ` AND n.status = 'pending' AND t.removed_at = 0),
    (SELECT count(*) FROM deliveries AS d WHERE d.organization_id = `, of, ` AND d.status = 'failed'),
    (SELECT count(*) FROM deliveries AS d WHERE d.organization_id = `, of, ` AND d.status = 'dead')`)
	_, err := collectIn(ctx, in, q, "what waits", func(rows *sql.Rows) (struct{}, error) {
		return struct{}{}, rows.Scan(&s.Suggestions, &s.Notes, &s.Failed, &s.Dead)
	})
	return err
}

func (s *Summary) listRequests(ctx context.Context, in DBTX, organization string, t SummaryTerms) error {
	q := &text{}
	q.add(`SELECT r.tool_id, t.name, count(*), min(r.created_at) FROM requests AS r JOIN tools AS t ON t.id = r.tool_id
WHERE r.organization_id = `, q.arg(organization), ` AND r.status = 'pending' AND t.removed_at = 0`)
	for i, id := range t.Tools {
		q.add(map[bool]string{true: " AND r.tool_id IN (", false: ", "}[i == 0], q.arg(id))
	}
	if len(t.Tools) > 0 {
		q.add(")")
	}
	q.add(` GROUP BY r.tool_id, t.name ORDER BY count(*) DESC, t.name, r.tool_id`)
	asked, err := collectIn(ctx, in, q, "requested tools", func(rows *sql.Rows) (Demanded, error) {
		d := Demanded{Kind: "tool"}
		var oldest int64
		err := rows.Scan(&d.ID, &d.Name, &d.Agents, &oldest)
		if at := toTime(oldest); s.OldestRequest.IsZero() || at.Before(s.OldestRequest) {
			s.OldestRequest = at
		}
		s.Requests += d.Agents
		return d, err
	})
	s.Demanded = append(s.Demanded, asked[:min(len(asked), listed)]...)
	return err
}

func (s *Summary) listSuggestions(ctx context.Context, in DBTX, organization string, _ SummaryTerms) error {
	q := &text{}
	q.add(`SELECT s.id, s.name, s.backer_count FROM suggestions AS s WHERE s.organization_id = `, q.arg(organization),
		` AND s.status = 'pending' AND s.backer_count > 0
ORDER BY s.backer_count DESC, s.created_at DESC, s.name_folded, s.id LIMIT `, q.arg(listed))
	missed, err := collectIn(ctx, in, q, "missed tools", func(rows *sql.Rows) (Demanded, error) {
		d := Demanded{Kind: "suggestion"}
		return d, rows.Scan(&d.ID, &d.Name, &d.Agents)
	})
	s.Demanded = append(s.Demanded, missed...)
	return err
}

func (s *Summary) listExpiring(ctx context.Context, in DBTX, organization string, t SummaryTerms) (err error) {
	q := &text{}
	q.add(`SELECT g.agent_id, a.name, g.tool_id, t.name, g.expires_at FROM grants AS g
JOIN agents AS a ON a.id = g.agent_id JOIN tools AS t ON t.id = g.tool_id
WHERE g.organization_id = `, q.arg(organization), ` AND g.status = 'approved' AND g.expires_at > 0
    AND g.expires_at > `, q.arg(Micros(t.Now)), ` AND g.expires_at <= `, q.arg(Micros(t.Now.Add(t.Within))),
		` AND t.removed_at = 0 ORDER BY g.expires_at, g.tool_id, g.agent_id LIMIT `, q.arg(listed))
	s.Soonest, err = collectIn(ctx, in, q, "expiring grants", func(rows *sql.Rows) (Expiry, error) {
		var e Expiry
		var at int64
		err := rows.Scan(&e.AgentID, &e.AgentName, &e.ToolID, &e.ToolName, &at)
		e.ExpiresAt = toTime(at)
		return e, err
	})
	return err
}

// countFetches counts whole quarters of an hour, as the rows do; the last 24 hours are in them. A
// process whose clock is ahead may have written what seems to come.
func (s *Summary) countFetches(ctx context.Context, in DBTX, organization string, t SummaryTerms) error {
	const day = 24 * time.Hour
	began := t.Now.Add(-day).Truncate(15 * time.Minute)
	between, err := fetchesBetween(
		ctx, in, organization, UsageFilter{}, []time.Time{began.Add(-day), began, t.Now.Add(time.Hour)},
	)
	if err == nil {
		s.Previous, s.Last = between[0], between[1]
	}
	return err
}
