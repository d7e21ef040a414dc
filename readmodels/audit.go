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

	actions []string // any of them, where Action is ""
}

const auditColumns = `e.organization_id, e.position, e.id, e.stream, e.revision, e.action, e.actor_type, e.actor_id,
    e.on_behalf_of_type, e.on_behalf_of_id, e.target_type, e.target_id, e.agent_id, e.tool_id, e.request_id,
    e.occurred_at, e.data, e.private`

// auditFrom asks for what a filter leaves of an organization's audit within an extent, without an
// order. A walk is where to look; the zero walk is the whole log.
func (q *text) auditFrom(columns, organization string, f AuditFilter, w walk, x extent) {
	q.add("SELECT ", columns, " FROM audit_entries AS e WHERE ")
	switch {
	case w.column == "":
		q.add("e.organization_id = ", q.arg(organization))
	case w.from == w.to:
		q.add("e.", w.column, " = ", q.arg(w.from))
	default:
		q.add("e.", w.column, " >= ", q.arg(w.from), " AND e.", w.column, " <= ", q.arg(w.to))
	}
	q.add(" AND e.position > ", q.arg(x.after), " AND e.position <= ", q.arg(x.last))
	// An engine can't look into CASE. Otherwise it would take the conditions for independent of each
	// other, expect too few rows for a page, and read all of them to sort them.
	q.add(" AND CASE WHEN e.organization_id = ", q.arg(organization))
	q.is("e.agent_id", f.AgentID)
	q.is("e.tool_id", f.ToolID)
	q.is("e.action", w.action)
	q.is("e.actor_type", f.ActorType)
	q.is("e.actor_id", f.ActorID)
	if !f.From.IsZero() {
		q.add(" AND e.occurred_at >= ", q.arg(Micros(f.From)))
	}
	if !f.To.IsZero() {
		q.add(" AND e.occurred_at < ", q.arg(Micros(f.To)))
	}
	q.add(" THEN TRUE ELSE FALSE END")
}

// auditQuery asks for the entries that a filter leaves of an extent: up to a number of them, in the
// order of the log or in the reverse. It returns nil where there can be none.
func (db *DB) auditQuery(
	ctx context.Context, organization string, f AuditFilter, x extent, order string, rows int32,
) (*text, error) {
	x, err := db.within(ctx, organization, f, x)
	if err != nil || x.last <= x.after {
		return nil, err
	}
	walks, narrowed := f.walks(organization)
	if !narrowed {
		walks = []walk{{}}
	} else if walks, err = db.single(ctx, walks); err != nil || len(walks) == 0 {
		return nil, err
	}
	q := &text{}
	part := func(w walk) {
		q.auditFrom(auditColumns, organization, f, w, x)
		q.add(" ORDER BY e.position", order, " LIMIT ", q.arg(rows))
	}
	if len(walks) == 1 {
		part(walks[0])
		return q, nil
	}
	for i, w := range walks {
		if i > 0 {
			q.add(" UNION ALL ")
		}
		q.add("SELECT * FROM (")
		part(w)
		q.add(") AS w", strconv.Itoa(i))
	}
	q.add(" ORDER BY position", order, " LIMIT ", q.arg(rows))
	return q, nil
}

// auditEntries are what a filter leaves of an extent; see auditQuery.
func (db *DB) auditEntries(
	ctx context.Context, organization string, f AuditFilter, x extent, order string, rows int32,
) ([]AuditEntry, error) {
	q, err := db.auditQuery(ctx, organization, f, x, order, rows)
	if err != nil || q == nil {
		return []AuditEntry{}, err
	}
	return collect(ctx, db, q, "audit entries", scanAudit)
}

// newestFirst is the order of lists; the order of the log is "".
const newestFirst = " DESC"

// Audit lists audited events, newest first by their position in the log.
func (db *DB) Audit(ctx context.Context, organization string, f AuditFilter, p Page) (List[AuditEntry], error) {
	entries, err := db.auditEntries(ctx, organization, f, extent{last: p.through()}, newestFirst, p.rows())
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
	auditWidth = 25 // columns of one row
)

const auditInsert = `INSERT INTO audit_entries (organization_id, position, id, stream, revision, action, actor_type,
actor_id,
    on_behalf_of_type, on_behalf_of_id, target_type, target_id, agent_id, tool_id, request_id, occurred_at,
    data, private, in_organization, in_agent, in_tool, in_access, in_actor, in_actor_agent, in_actor_tool) VALUES `

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

// InsertAudit adds entries, in the order of the log.
func (t *Tx) InsertAudit(ctx context.Context, entries []AuditEntry) error {
	if err := t.keepMinutes(ctx, entries); err != nil {
		return err
	}
	for len(entries) > 0 {
		n, text, stmt := 1, auditOne, t.audit.one
		if len(entries) >= auditChunk {
			n, text, stmt = auditChunk, auditMany, t.audit.many
		}
		args := make([]any, 0, n*auditWidth)
		for _, e := range entries[:n] {
			in := listsOf(e)
			args = append(args, e.Organization, signed(e.Position), e.ID, e.Stream, signed(e.Revision), e.Action,
				string(e.Actor.Type), e.Actor.ID, string(e.OnBehalfOf.Type), e.OnBehalfOf.ID,
				e.Target.Type, e.Target.ID, e.AgentID, e.ToolID, e.RequestID, Micros(e.OccurredAt), string(e.Data), e.Private,
				in.organization, in.agent, in.tool, in.access, in.actor, in.actorAndAgent, in.actorAndTool)
		}
		if _, err := t.exec(ctx, stmt, text, args...); err != nil {
			return fmt.Errorf("write the audit entries after position %d: %w", entries[0].Position, err)
		}
		entries = entries[n:]
	}
	return nil
}
