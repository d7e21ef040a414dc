package readmodels

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"agentkey/domain"
)

// Request is one request of one agent for one tool. It is never reused: asking again is another
// request.
type Request struct {
	ID, AgentID, AgentName, ToolID, ToolName string // as named when it was decided
	CurrentAgentName, CurrentToolName        string // "" where that is what they were called then
	CredentialMode                           string
	Reason                                   string
	Status                                   string // pending, approved, denied or withdrawn
	CreatedAt                                time.Time
	DecidedAt                                time.Time    // zero while pending
	DecidedBy                                domain.Actor // zero while pending
	DenialReason                             string
	RequestedSeconds                         int64               // 0: the agent didn't say
	Rule                                     *domain.RuleVersion // that decided it; nil: none
	Position                                 uint64              // of the asking
}

// RequestFilter narrows the requests; zero fields do not.
type RequestFilter struct {
	Status          string // or several, with commas between them
	AgentID, ToolID string
	Query           string // any part of the reason or of the names of now, whatever its case
	CredentialMode  string
}

var requestSorts = sorting{
	"created_at": "", "decided_at": "r.decided_at", "agent_name": "a.name_folded", "tool_name": "t.name_folded",
}

// A request for a tool that was removed left the queue with it.
var requestColumns = `SELECT r.id, r.agent_id, a.name, ` + nameAt("a", "nullif(r.decided_position, 0)") + `,
    r.tool_id, t.name, ` + nameAt("t", "nullif(r.decided_position, 0)") + `, t.credential_mode, r.reason,
    CASE WHEN r.status = 'pending' AND t.removed_at <> 0 THEN 'withdrawn' ELSE r.status END,
    r.created_at,
    CASE WHEN r.status = 'pending' THEN t.removed_at ELSE r.decided_at END,
    CASE WHEN r.status = 'pending' THEN t.removed_by_type ELSE r.decided_by_type END,
    CASE WHEN r.status = 'pending' THEN t.removed_by_id ELSE r.decided_by_id END, r.denial_reason,
    r.requested_seconds, r.rule, r.position, `

func (f RequestFilter) from(q *text, organization, id string) {
	q.add(`
FROM requests AS r
JOIN agents AS a ON a.id = r.agent_id
JOIN tools AS t ON t.id = r.tool_id
WHERE `)
	q.owned("r", organization, f.AgentID, f.ToolID)
	q.is("r.id", id)
	if f.Status != "" {
		q.anyOf(f.Status, func(status string) string { return requestsThatAre(q, status) })
	}
	q.contains(Fold(f.Query), "r.reason_folded", "a.name_folded", "t.name_folded")
	q.is("t.credential_mode", f.CredentialMode)
}

// requestsThatAre is the condition that a request counts as something now.
func requestsThatAre(q *text, status string) string {
	switch status {
	case "withdrawn":
		return "r.status = 'withdrawn' OR (r.status = 'pending' AND t.removed_at <> 0)"
	case "pending":
		return "r.status = 'pending' AND t.removed_at = 0"
	}
	return "r.status = " + q.arg(status)
}

func (db *DB) requestQuery(organization, id string, f RequestFilter, p Page) *text {
	o, q := requestSorts.order(p), &text{}
	q.add(requestColumns, o.value())
	f.from(q, organization, id)
	q.sorted("r", o, db.then(o, p))
	return q
}

// Requests lists requests.
func (db *DB) Requests(ctx context.Context, organization string, f RequestFilter, p Page) (List[Request], error) {
	requests, by, err := db.requests(ctx, db.requestQuery(organization, "", f, p))
	if err != nil {
		return List[Request]{}, err
	}
	return pageOf(ctx, db, requests, by, p, func(r Request) uint64 { return r.Position }, func(q *text) {
		f.from(q, organization, "")
	})
}

// Request returns one request, or ErrNotFound.
func (db *DB) Request(ctx context.Context, organization, id string) (Request, error) {
	if id == "" {
		return Request{}, ErrNotFound
	}
	found, _, err := db.requests(ctx, db.requestQuery(organization, id, RequestFilter{}, Page{Limit: 1}))
	return only(found, err)
}

// requests also returns the values by which they are sorted.
func (db *DB) requests(ctx context.Context, q *text) ([]Request, sortedBy, error) {
	by := sortedBy{}
	found, err := collect(ctx, db, q, "requests", func(rows *sql.Rows) (Request, error) {
		var r Request
		var created, decided, position int64
		var rule string
		err := rows.Scan(&r.ID, &r.AgentID, &r.CurrentAgentName, &r.AgentName, &r.ToolID, &r.CurrentToolName, &r.ToolName,
			&r.CredentialMode, &r.Reason, &r.Status,
			&created, &decided, &r.DecidedBy.Type, &r.DecidedBy.ID, &r.DenialReason, &r.RequestedSeconds, &rule, &position, &by)
		if err == nil {
			r.Rule, err = toRule(rule)
		}
		onlyNew(r.AgentName, &r.CurrentAgentName)
		onlyNew(r.ToolName, &r.CurrentToolName)
		r.CreatedAt, r.DecidedAt, r.Position = toTime(created), toTime(decided), unsigned(position)
		return r, err
	})
	return found, by, err
}

// FromRule returns the form in which the rows hold the rule that decided something, "" for none.
func FromRule(r *domain.RuleVersion) (string, error) {
	if r == nil {
		return "", nil
	}
	text, err := json.Marshal(r)
	return string(text), err
}

func toRule(text string) (*domain.RuleVersion, error) {
	if text == "" {
		return nil, nil
	}
	r := &domain.RuleVersion{}
	return r, json.Unmarshal([]byte(text), r)
}

// Askers lists the agents that asked for something in a time, the latest first.
func (db *DB) Askers(ctx context.Context, organization string, from, to time.Time) ([]string, error) {
	q := &text{}
	q.add("SELECT r.agent_id, max(r.position) FROM requests AS r WHERE r.organization_id = ", q.arg(organization),
		" AND r.created_at >= ", q.arg(Micros(from)), " AND r.created_at < ", q.arg(Micros(to)),
		" GROUP BY r.agent_id ORDER BY max(r.position) DESC")
	return collect(ctx, db, q, "agents that asked", func(rows *sql.Rows) (id string, err error) {
		var last int64
		err = rows.Scan(&id, &last)
		return id, err
	})
}
