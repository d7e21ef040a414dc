package readmodels

import (
	"context"
	"database/sql"
	"math"
	"time"
)

// Exposure is an agent that has fetched a version of a credential.
type Exposure struct {
	AgentID, AgentName, ToolID, ToolName string // as named now
	CredentialMode                       string
	CredentialVersion                    int
	CredentialStatus                     string    // in_use, removed or destroyed
	CredentialSince                      time.Time // when it was added or last rotated
	CredentialExpiresAt                  time.Time // zero: unknown
	CredentialRemovedAt                  time.Time // zero: it is in use
	Replaced                             bool      // by a newer version
	FetchCount                           int64     // of this version
	FirstFetchedAt, LastFetchedAt        time.Time
	Ended                                bool   // nothing has replaced it, and the agent has no access any more
	place                                uint64 // of the first fetch
	secretID                             string
}

// The classes of exposures, the most urgent last. A place is the position of the first fetch, and
// in the part of the numbers that belongs to the class.
const (
	replacedExposure = iota
	heldExposure
	endedExposure

	placeBits = 61
	places    = 1<<placeBits - 1
)

// exposed begins a query about who knows which credential. Of one that was removed, any master key
// that was there until then may have wrapped it.
func (db *DB) exposed() *text {
	q := &text{}
	now := q.arg(signed(db.until()))
	q.add(`SELECT k.agent_id, a.name, c.tool_id, t.name, t.credential_mode, c.version, c.created_at, c.expires_at,
    CASE WHEN c.removed_position > `, now, ` THEN 'in_use'
        WHEN coalesce((SELECT max(m.destroyed_position) FROM master_keys AS m WHERE m.position < c.removed_position), `,
		now, ` + 1) > `, now, ` THEN 'removed'
        ELSE 'destroyed' END,
    CASE WHEN c.removed_position > `, now, ` THEN 0 ELSE c.removed_at END,
    CASE WHEN c.replaced_position > `, now, ` THEN 0 ELSE 1 END,
    k.fetch_count, k.first_fetched_at, k.last_fetched_at, k.position, k.secret_id
FROM known_credentials AS k
JOIN credentials AS c ON c.secret_id = k.secret_id
JOIN agents AS a ON a.id = k.agent_id
JOIN tools AS t ON t.id = c.tool_id
JOIN grants AS g ON g.agent_id = k.agent_id AND g.tool_id = c.tool_id
WHERE c.replaced_position `)
	return q
}

// until is the position up to which the read model is asked for.
func (db *DB) until() uint64 {
	if db.past == 0 {
		return math.MaxInt64 - 1
	}
	return db.past
}

// Exposures lists who has fetched which version of a credential: first what no newer version has
// replaced, of agents without access and then of the others, and finally what was replaced; each
// kind the newest first. The Next of a page is a place, not a position.
func (db *DB) Exposures(
	ctx context.Context, organization string, f GrantFilter, now time.Time, p Page,
) (List[Exposure], error) {
	items := []Exposure{}
	for class := endedExposure; class >= replacedExposure && len(items) < int(p.rows()); class-- {
		part := Page{Limit: p.Limit}
		switch begin := int(p.Before >> placeBits); {
		case p.Before != 0 && begin < class:
			continue
		case p.Before != 0 && begin == class:
			part.Before = p.Before & places
		}
		found, err := db.exposures(ctx, organization, f, now, class, part)
		if err != nil {
			return List[Exposure]{}, err
		}
		items = append(items, found...)
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
		wanted[i] = fetchCount{agentID: e.AgentID, toolID: e.ToolID, secretID: e.secretID, after: e.place&places - 1}
	}
	err := db.countFetches(ctx, organization, db.past, wanted)
	for i, f := range wanted {
		list[i].FetchCount, list[i].LastFetchedAt = f.count, f.last
	}
	return err
}

func (db *DB) exposures(
	ctx context.Context, organization string, f GrantFilter, now time.Time, class int, p Page,
) ([]Exposure, error) {
	q := db.exposed()
	if class == replacedExposure {
		q.add("<= ", q.arg(signed(db.until())))
	} else {
		q.add("> ", q.arg(signed(db.until())), " AND ")
		if class == endedExposure {
			q.add("NOT ")
		}
		q.add("(g.status = 'approved' AND t.removed_at = 0 AND (g.expires_at = 0 OR g.expires_at > ",
			q.arg(Micros(now)), "))")
	}
	q.add(" AND k.organization_id = ", q.arg(organization))
	q.is("k.agent_id", f.AgentID)
	q.is("c.tool_id", f.ToolID)
	q.page("k", db.then(sorting{}.order(p), p))
	return collect(ctx, db, q, "exposures", func(rows *sql.Rows) (Exposure, error) {
		e, err := scanExposure(rows)
		e.Ended = class == endedExposure
		e.place |= uint64(class) << placeBits //nolint:gosec // one of three
		return e, err
	})
}

func scanExposure(rows *sql.Rows) (Exposure, error) {
	var e Exposure
	var since, expires, removed, first, last, position int64
	err := rows.Scan(&e.AgentID, &e.AgentName, &e.ToolID, &e.ToolName, &e.CredentialMode, &e.CredentialVersion,
		&since, &expires, &e.CredentialStatus, &removed, &e.Replaced, &e.FetchCount, &first, &last, &position, &e.secretID)
	e.CredentialSince, e.CredentialExpiresAt = toTime(since), toTime(expires)
	e.CredentialRemovedAt = toTime(removed)
	e.FirstFetchedAt, e.LastFetchedAt, e.place = toTime(first), toTime(last), unsigned(position)
	return e, err
}
