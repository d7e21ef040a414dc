package readmodels

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"agentkey/domain"
)

// Decision is an audited decision about an agent's access to a tool.
type Decision struct {
	AuditEntry
	By              domain.Actor // who decided, also where a part of the system carried it out
	RequestID       string       // "": the access was assigned
	SuggestionID    string       // that an assigned access answers
	Reason          string       // of the agent
	DenialReason    string
	RequestedAt     time.Time // zero: nobody asked
	OwnRegistration bool      // the same person or token registered the agent
}

// decisions are the actions that decide about access.
var decisions = []string{"grant.approved", "grant.denied", "grant.assigned"}

// Decisions lists decisions about access after a position, newest first. The filter's actions
// don't count.
func (db *DB) Decisions(
	ctx context.Context, organization string, f AuditFilter, after uint64, p Page,
) (List[Decision], error) {
	f.Actions = decisions
	x := extent{after: signed(after), last: p.through()}
	entries, err := db.auditEntries(ctx, organization, f, x, newestFirst, p.rows())
	if err != nil {
		return List[Decision]{}, err
	}
	page := cut(entries, p, func(e AuditEntry) uint64 { return e.Position })
	if err := db.label(ctx, organization, page.Items); err != nil {
		return List[Decision]{}, err
	}
	out := List[Decision]{Items: make([]Decision, len(page.Items)), Next: page.Next}
	for i, e := range page.Items {
		if out.Items[i], err = decision(e); err != nil {
			return List[Decision]{}, err
		}
	}
	return out, db.complete(ctx, organization, out.Items)
}

// decision reads what the event of an entry says.
func decision(e AuditEntry) (Decision, error) {
	d := Decision{AuditEntry: e, By: e.Actor}
	if e.OnBehalfOf.ID != "" {
		d.By = e.OnBehalfOf
	}
	var data struct {
		RequestID    string `json:"request_id"`
		SuggestionID string `json:"suggestion_id"`
		Reason       string `json:"reason"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return Decision{}, fmt.Errorf("read the data of %s: %w", e.ID, err)
	}
	d.RequestID, d.SuggestionID, d.Reason = data.RequestID, data.SuggestionID, data.Reason
	if e.Action == "grant.denied" {
		d.Reason, d.DenialReason = "", data.Reason
	}
	return d, nil
}

// complete adds what the requests say, and who registered the agents.
func (db *DB) complete(ctx context.Context, organization string, decisions []Decision) error {
	if len(decisions) == 0 {
		return nil
	}
	type about struct{ agent, request string }
	type known struct {
		about
		by     domain.Actor
		asked  int64
		reason string
	}
	q := &text{}
	q.arg(organization)
	values(q, "wanted (agent, request)", decisions, func(d Decision) string {
		return q.arg(d.AgentID) + ", " + q.arg(d.RequestID)
	})
	q.add(` SELECT w.agent, w.request, a.created_by_type, a.created_by_id,
    coalesce(r.created_at, 0), coalesce(r.reason, '')
FROM wanted AS w
JOIN agents AS a ON a.id = w.agent AND a.organization_id = $1
LEFT JOIN requests AS r ON r.id = w.request AND r.organization_id = $1`)
	found, err := collect(ctx, db, q, "requests that were decided", func(rows *sql.Rows) (known, error) {
		var k known
		err := rows.Scan(&k.agent, &k.request, &k.by.Type, &k.by.ID, &k.asked, &k.reason)
		return k, err
	})
	all := map[about]known{}
	for _, k := range found {
		all[k.about] = k
	}
	for i := range decisions {
		d := &decisions[i]
		k, is := all[about{d.AgentID, d.RequestID}]
		d.OwnRegistration = is && k.by.Type == d.By.Type && k.by.ID == d.By.ID
		if k.asked != 0 {
			d.RequestedAt, d.Reason = toTime(k.asked), k.reason
		}
	}
	return err
}
