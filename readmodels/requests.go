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
type RequestFilter struct{ Status, AgentID, ToolID string }

// A request for a tool that was removed left the queue with it.
var requestColumns = `SELECT r.id, r.agent_id, a.name, ` + nameAt("a", "nullif(r.decided_position, 0)") + `,
    r.tool_id, t.name, ` + nameAt("t", "nullif(r.decided_position, 0)") + `, t.credential_mode, r.reason,
    CASE WHEN r.status = 'pending' AND t.removed_at <> 0 THEN 'withdrawn' ELSE r.status END,
    r.created_at,
    CASE WHEN r.status = 'pending' THEN t.removed_at ELSE r.decided_at END,
    CASE WHEN r.status = 'pending' THEN t.removed_by_type ELSE r.decided_by_type END,
    CASE WHEN r.status = 'pending' THEN t.removed_by_id ELSE r.decided_by_id END, r.denial_reason,
    r.requested_seconds, r.rule, r.position
FROM requests AS r
JOIN agents AS a ON a.id = r.agent_id
JOIN tools AS t ON t.id = r.tool_id
WHERE `

func (db *DB) requestQuery(organization, id string, f RequestFilter, p Page) *text {
	q := &text{}
	q.add(requestColumns)
	q.owned("r", organization, f.AgentID, f.ToolID)
	q.is("r.id", id)
	switch f.Status {
	case "withdrawn":
		q.add(" AND (r.status = 'withdrawn' OR (r.status = 'pending' AND t.removed_at <> 0))")
	case "pending":
		q.add(" AND r.status = 'pending' AND t.removed_at = 0")
	default:
		q.is("r.status", f.Status)
	}
	q.page("r", db.then(p))
	return q
}

// Requests lists requests, newest first.
func (db *DB) Requests(ctx context.Context, organization string, f RequestFilter, p Page) (List[Request], error) {
	requests, err := db.requests(ctx, db.requestQuery(organization, "", f, p))
	return cut(requests, p, func(r Request) uint64 { return r.Position }), err
}

// Request returns one request, or ErrNotFound.
func (db *DB) Request(ctx context.Context, organization, id string) (Request, error) {
	if id == "" {
		return Request{}, ErrNotFound
	}
	return only(db.requests(ctx, db.requestQuery(organization, id, RequestFilter{}, Page{Limit: 1})))
}

func (db *DB) requests(ctx context.Context, q *text) ([]Request, error) {
	return collect(ctx, db, q, "requests", func(rows *sql.Rows) (Request, error) {
		var r Request
		var created, decided, position int64
		var rule string
		err := rows.Scan(&r.ID, &r.AgentID, &r.CurrentAgentName, &r.AgentName, &r.ToolID, &r.CurrentToolName, &r.ToolName,
			&r.CredentialMode, &r.Reason, &r.Status,
			&created, &decided, &r.DecidedBy.Type, &r.DecidedBy.ID, &r.DenialReason, &r.RequestedSeconds, &rule, &position)
		if err == nil {
			r.Rule, err = toRule(rule)
		}
		onlyNew(r.AgentName, &r.CurrentAgentName)
		onlyNew(r.ToolName, &r.CurrentToolName)
		r.CreatedAt, r.DecidedAt, r.Position = toTime(created), toTime(decided), unsigned(position)
		return r, err
	})
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
