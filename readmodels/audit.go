package readmodels

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"agentkey/domain"
)

// Target is what an audited event is about. Label is what it was called then; "" when no such thing
// is known.
type Target struct{ Type, ID, Label string }

// AuditEntry is one audited event. Private is still sealed: who may read it opens it. Data holds no
// secret and no hash of one.
type AuditEntry struct {
	Organization string
	ID           string // of the event
	Position     uint64
	Stream       string
	Revision     uint64
	Action       string // the event's name without its version
	Actor        domain.Actor
	OnBehalfOf   domain.Actor // zero: of nobody
	Target       Target
	AgentID      string // by or about which agent
	AgentName    string // then
	ToolID       string
	ToolName     string // then
	RequestID    string // of the HTTP request
	OccurredAt   time.Time
	Data         json.RawMessage
	Private      string
	Current      Current
}

// Current is what an audit entry's things are called now, or were last; "" where that is what they
// were called then.
type Current struct{ Agent, Tool, Target, Actor, OnBehalfOf string }

// AuditFilter narrows the audit; zero fields do not. From is inclusive, To is not.
type AuditFilter struct {
	ActorType, ActorID, AgentID, ToolID, Action string
	From, To                                    time.Time
}

const auditColumns = `e.organization_id, e.position, e.id, e.stream, e.revision, e.action, e.actor_type, e.actor_id,
    e.on_behalf_of_type, e.on_behalf_of_id, e.target_type, e.target_id, e.agent_id, e.tool_id, e.request_id,
    e.occurred_at, e.data, e.private`

// auditQuery asks for what the filter leaves of an organization's audit, without an order.
func auditQuery(columns, organization string, f AuditFilter) *text {
	q := &text{}
	q.audit(columns, organization, f)
	return q
}

func (q *text) audit(columns, organization string, f AuditFilter) {
	q.add("SELECT ", columns, " FROM audit_entries AS e WHERE e.organization_id = ", q.arg(organization))
	if f.AgentID != "" {
		q.add(" AND e.agent_id <> ''") // what the index holds
	}
	if f.ToolID != "" {
		q.add(" AND e.tool_id <> ''")
	}
	q.is("e.agent_id", f.AgentID)
	q.is("e.tool_id", f.ToolID)
	q.is("e.action", f.Action)
	q.is("e.actor_type", f.ActorType)
	q.is("e.actor_id", f.ActorID)
	if !f.From.IsZero() {
		q.add(" AND e.occurred_at >= ", q.arg(Micros(f.From)))
	}
	if !f.To.IsZero() {
		q.add(" AND e.occurred_at < ", q.arg(Micros(f.To)))
	}
}

// Audit lists audited events, newest first by their position in the log.
func (db *DB) Audit(ctx context.Context, organization string, f AuditFilter, p Page) (List[AuditEntry], error) {
	q := auditQuery(auditColumns, organization, f)
	q.page("e", p)
	entries, err := collect(ctx, db, q, "audit entries", scanAudit)
	if err != nil {
		return List[AuditEntry]{}, err
	}
	page := cut(entries, p, func(e AuditEntry) uint64 { return e.Position })
	return page, db.label(ctx, organization, page.Items)
}

func scanAudit(rows *sql.Rows) (AuditEntry, error) {
	var e AuditEntry
	var position, revision, at int64
	var data string
	err := rows.Scan(&e.Organization, &position, &e.ID, &e.Stream, &revision, &e.Action, &e.Actor.Type, &e.Actor.ID,
		&e.OnBehalfOf.Type, &e.OnBehalfOf.ID, &e.Target.Type, &e.Target.ID, &e.AgentID, &e.ToolID, &e.RequestID, &at, &data,
		&e.Private)
	e.Position, e.Revision = unsigned(position), unsigned(revision)
	e.OccurredAt, e.Data = toTime(at), json.RawMessage(data)
	return e, err
}

// label gives everything that the entries of an organization name its label.
func (db *DB) label(ctx context.Context, organization string, entries []AuditEntry) error {
	var wanted []moment
	for _, e := range entries {
		wanted = append(
			wanted, moment{e.Target.thing(), e.Position}, moment{actor(e.Actor), e.Position},
			moment{actor(e.OnBehalfOf), e.Position}, moment{thing{"agent", e.AgentID}, e.Position},
			moment{thing{"tool", e.ToolID}, e.Position},
		)
	}
	labels, err := db.labels(ctx, organization, wanted)
	for i := range entries {
		e := &entries[i]
		e.Target.Label, e.Current.Target = labels.at(e.Target.thing(), e.Position)
		e.Actor.Label, e.Current.Actor = labels.at(actor(e.Actor), e.Position)
		e.OnBehalfOf.Label, e.Current.OnBehalfOf = labels.at(actor(e.OnBehalfOf), e.Position)
		e.AgentName, e.Current.Agent = labels.at(thing{"agent", e.AgentID}, e.Position)
		e.ToolName, e.Current.Tool = labels.at(thing{"tool", e.ToolID}, e.Position)
	}
	return err
}

func (t Target) thing() thing { return thing{t.Type, t.ID} }

// auditInserts are the prepared inserts of audit entries: many at once for a rebuild, one for what
// is left.
type auditInserts struct{ many, one *sql.Stmt }

const (
	auditChunk = 32 // rows of one statement
	auditWidth = 18 // columns of one row
)

const auditInsert = `INSERT INTO audit_entries (organization_id, position, id, stream, revision, action, actor_type,
actor_id,
    on_behalf_of_type, on_behalf_of_id, target_type, target_id, agent_id, tool_id, request_id, occurred_at,
    data, private) VALUES `

var auditMany, auditOne = auditInsert + placeholders(auditChunk, true), auditInsert + placeholders(1, true)

// prepareAudit is for SQLite, where a numbered parameter is a named one and binding it searches all
// names.
func prepareAudit(ctx context.Context, db *sql.DB) (auditInserts, error) {
	many, err := db.PrepareContext(ctx, auditInsert+placeholders(auditChunk, false))
	if err != nil {
		return auditInserts{}, err
	}
	one, err := db.PrepareContext(ctx, auditInsert+placeholders(1, false))
	return auditInserts{many: many, one: one}, err
}

func placeholders(rows int, numbered bool) string {
	var b strings.Builder
	for i := range rows * auditWidth {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%auditWidth == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		if numbered {
			b.WriteString("$" + strconv.Itoa(i+1))
		} else {
			b.WriteString("?")
		}
	}
	return b.String() + ")"
}

// InsertAudit adds entries.
func (t *Tx) InsertAudit(ctx context.Context, entries []AuditEntry) error {
	for len(entries) > 0 {
		n, text, stmt := 1, auditOne, t.audit.one
		if len(entries) >= auditChunk {
			n, text, stmt = auditChunk, auditMany, t.audit.many
		}
		args := make([]any, 0, n*auditWidth)
		for _, e := range entries[:n] {
			args = append(args, e.Organization, signed(e.Position), e.ID, e.Stream, signed(e.Revision), e.Action,
				string(e.Actor.Type), e.Actor.ID, string(e.OnBehalfOf.Type), e.OnBehalfOf.ID,
				e.Target.Type, e.Target.ID, e.AgentID, e.ToolID, e.RequestID, Micros(e.OccurredAt), string(e.Data), e.Private)
		}
		if _, err := t.exec(ctx, stmt, text, args...); err != nil {
			return fmt.Errorf("write the audit entries after position %d: %w", entries[0].Position, err)
		}
		entries = entries[n:]
	}
	return nil
}
