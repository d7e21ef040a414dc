package readmodels

import (
	"context"
	"database/sql"
	"math"
	"time"
)

// Exposure is an agent that has fetched a version of a credential that no newer one has replaced.
type Exposure struct {
	AgentID, AgentName, ToolID, ToolName string // as named now
	CredentialMode                       string
	CredentialVersion                    int
	CredentialSince                      time.Time // when it was added or last rotated
	CredentialExpiresAt                  time.Time // zero: unknown
	FetchCount                           int64     // of this version
	FirstFetchedAt, LastFetchedAt        time.Time
	Ended                                bool   // it has no access any more
	place                                uint64 // of the first fetch
	secretID                             string
}

// endedPlace puts agents without access before all others: a place is the position of the first
// fetch, and above every position for those.
const endedPlace = 1 << 62

// exposed begins a query about who knows which credential.
func (db *DB) exposed(organization string) *text {
	q := &text{}
	q.add(`SELECT k.agent_id, a.name, c.tool_id, t.name, t.credential_mode, c.version, c.created_at, c.expires_at,
    k.fetch_count, k.first_fetched_at, k.last_fetched_at, k.position, k.secret_id
FROM known_credentials AS k
JOIN credentials AS c ON c.secret_id = k.secret_id
JOIN agents AS a ON a.id = k.agent_id
JOIN tools AS t ON t.id = c.tool_id
JOIN grants AS g ON g.agent_id = k.agent_id AND g.tool_id = c.tool_id
WHERE t.removed_at = 0 AND c.replaced_position > `, q.arg(signed(db.until())), `
    AND k.organization_id = `, q.arg(organization))
	return q
}

// until is the position up to which the read model is asked for.
func (db *DB) until() uint64 {
	if db.past == 0 {
		return math.MaxInt64 - 1
	}
	return db.past
}

// Exposures lists who has fetched the present version of a credential: those without access first,
// each kind the newest first. The Next of a page is a place, not a position.
func (db *DB) Exposures(
	ctx context.Context, organization string, f GrantFilter, now time.Time, p Page,
) (List[Exposure], error) {
	items := []Exposure{}
	for _, ended := range []bool{true, false} {
		part := Page{Limit: p.Limit}
		switch {
		case !ended && p.Before < endedPlace:
			part.Before = p.Before
		case ended && p.Before > endedPlace:
			part.Before = p.Before - endedPlace
		case ended && p.Before != 0:
			continue
		}
		found, err := db.exposures(ctx, organization, f, now, ended, part)
		if err != nil {
			return List[Exposure]{}, err
		}
		if items = append(items, found...); len(items) >= int(p.rows()) {
			break
		}
	}
	list := cut(items, p, func(e Exposure) uint64 { return e.place })
	if db.past == 0 {
		return list, nil
	}
	return list, db.countExposures(ctx, organization, list.Items)
}

// countExposures replaces the counts of now by those of then.
func (db *DB) countExposures(ctx context.Context, organization string, list []Exposure) error {
	wanted := make([]fetchCount, len(list))
	for i, e := range list {
		wanted[i] = fetchCount{agentID: e.AgentID, toolID: e.ToolID, secretID: e.secretID, after: e.place&^endedPlace - 1}
	}
	err := db.countFetches(ctx, organization, db.past, wanted)
	for i, f := range wanted {
		list[i].FetchCount, list[i].LastFetchedAt = f.count, toTime(f.last)
	}
	return err
}

func (db *DB) exposures(
	ctx context.Context, organization string, f GrantFilter, now time.Time, ended bool, p Page,
) ([]Exposure, error) {
	q := db.exposed(organization)
	q.add(" AND ")
	if ended {
		q.add("NOT ")
	}
	q.add("(g.status = 'approved' AND (g.expires_at = 0 OR g.expires_at > ", q.arg(Micros(now)), "))")
	q.is("k.agent_id", f.AgentID)
	q.is("c.tool_id", f.ToolID)
	q.page("k", db.then(p))
	return collect(ctx, db, q, "exposures", func(rows *sql.Rows) (Exposure, error) {
		e, err := scanExposure(rows)
		if e.Ended = ended; ended {
			e.place += endedPlace
		}
		return e, err
	})
}

func scanExposure(rows *sql.Rows) (Exposure, error) {
	var e Exposure
	var since, expires, first, last, position int64
	err := rows.Scan(&e.AgentID, &e.AgentName, &e.ToolID, &e.ToolName, &e.CredentialMode, &e.CredentialVersion,
		&since, &expires, &e.FetchCount, &first, &last, &position, &e.secretID)
	e.CredentialSince, e.CredentialExpiresAt = toTime(since), toTime(expires)
	e.FirstFetchedAt, e.LastFetchedAt, e.place = toTime(first), toTime(last), unsigned(position)
	return e, err
}
