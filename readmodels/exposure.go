package readmodels

import (
	"context"
	"database/sql"
	"time"
)

// Exposure is an agent that has fetched the present version of a credential.
type Exposure struct {
	AgentID, AgentName, ToolID, ToolName string // as named now
	CredentialMode                       string
	CredentialVersion                    int
	CredentialSince                      time.Time // when it was added or last rotated
	CredentialExpiresAt                  time.Time // zero: unknown
	FetchCount                           int64     // of this version
	FirstFetchedAt, LastFetchedAt        time.Time
	Ended                                bool // it has no access any more
	place                                uint64
}

// endedPlace puts agents without access before all others: a place is the position of the grant,
// and above every position for those.
const endedPlace = 1 << 62

// exposed are the columns; own is what a credential of the agent's own has, else the tool's counts.
const exposed = `SELECT g.agent_id, a.name, g.tool_id, t.name, t.credential_mode, g.known_version,
    CASE WHEN t.credential_mode = 'shared' THEN t.credential_at ELSE g.credential_at END,
    CASE WHEN t.credential_mode = 'shared' THEN t.credential_expires_at ELSE g.credential_expires_at END,
    g.known_count, g.known_first_at, g.known_last_at, g.position
FROM grants AS g
JOIN agents AS a ON a.id = g.agent_id
JOIN tools AS t ON t.id = g.tool_id
WHERE t.removed_at = 0 AND g.known_count > 0
  AND g.known_version = CASE WHEN t.credential_mode = 'shared' THEN t.credential_version ELSE g.credential_version END
  AND `

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
	return cut(items, p, func(e Exposure) uint64 { return e.place }), nil
}

func (db *DB) exposures(
	ctx context.Context, organization string, f GrantFilter, now time.Time, ended bool, p Page,
) ([]Exposure, error) {
	q := &text{}
	q.add(exposed)
	q.owned("g", organization, f.AgentID, f.ToolID)
	q.add(" AND ")
	if ended {
		q.add("NOT ")
	}
	q.add("(g.status = 'approved' AND (g.expires_at = 0 OR g.expires_at > ", q.arg(Micros(now)), "))")
	q.page("g", p)
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
		&since, &expires, &e.FetchCount, &first, &last, &position)
	e.CredentialSince, e.CredentialExpiresAt = toTime(since), toTime(expires)
	e.FirstFetchedAt, e.LastFetchedAt, e.place = toTime(first), toTime(last), unsigned(position)
	return e, err
}
