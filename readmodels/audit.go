package readmodels

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	Retry        bool   // one more attempt to deliver a notification, which changes nothing
	Text         string // what somebody wrote in clear: it is found by these words, and isn't read back
	Current      Current

	AgentRetired, ToolRemoved bool // by now
}

// Current is what an audit entry's things are called now, or were last; "" where that is what they
// were called then.
type Current struct{ Agent, Tool, Target, Actor, OnBehalfOf string }

// AuditFilter narrows the audit; zero fields do not. From is inclusive, To is not.
type AuditFilter struct {
	ActorType, ActorID, AgentID, ToolID string

	Actions   []string // any of them; nil: every action; empty: none
	Text      string   // see search
	NoRetries bool
	From, To  time.Time
}

const auditColumns = `e.organization_id, e.position, e.id, e.stream, e.revision, e.action, e.actor_type, e.actor_id,
    e.on_behalf_of_type, e.on_behalf_of_id, e.target_type, e.target_id, e.agent_id, e.tool_id, e.request_id,
    e.occurred_at, e.data, e.private, e.retry`

// at is the position of what a walk finds, where its index has it.
func (w walk) at() string {
	if len(w.words) > 0 {
		return "x.position"
	}
	return "e.position"
}

// auditFrom asks for what a walk finds of an organization's audit within an extent, without an
// order.
func (q *text) auditFrom(columns, organization string, w walk, x extent) {
	f, list := w.filter, "e."
	q.add("SELECT ", columns, " FROM ")
	if len(w.words) > 0 {
		list = "x."
		q.add(
			"audit_words AS x JOIN audit_entries AS e ON e.organization_id = ", q.arg(organization),
			" AND e.position = x.position WHERE ",
		)
	} else {
		q.add("audit_entries AS e WHERE ")
	}
	switch {
	case w.column == "":
		q.add("e.organization_id = ", q.arg(organization))
	case w.from == w.to:
		q.add(list, w.column, " = ", q.arg(w.from))
	default:
		q.add(list, w.column, " >= ", q.arg(w.from), " AND ", list, w.column, " <= ", q.arg(w.to))
	}
	q.add(" AND ", w.at(), " > ", q.arg(x.after), " AND ", w.at(), " <= ", q.arg(x.last))
	// An engine can't look into CASE. Otherwise it would take the conditions for independent of each
	// other, expect too few rows for a page, and read all of them to sort them.
	q.add(" AND CASE WHEN e.organization_id = ", q.arg(organization))
	q.is("e.agent_id", f.AgentID)
	q.is("e.tool_id", f.ToolID)
	q.is("e.actor_type", f.ActorType)
	q.is("e.actor_id", f.ActorID)
	q.among("e.action", w.actions)
	if f.NoRetries {
		q.add(" AND e.retry = 0")
	}
	if !f.From.IsZero() {
		q.add(" AND e.occurred_at >= ", q.arg(Micros(f.From)))
	}
	if !f.To.IsZero() {
		q.add(" AND e.occurred_at < ", q.arg(Micros(f.To)))
	}
	q.has(organization, w)
	q.add(" THEN TRUE ELSE FALSE END")
}

// among adds that a column has one of some values unless there are none.
func (q *text) among(column string, values []string) {
	if len(values) == 0 {
		return
	}
	q.add(" AND ", column, " IN (")
	for i, v := range values {
		if i > 0 {
			q.add(", ")
		}
		q.add(q.arg(v))
	}
	q.add(")")
}

// atOnce is how many walks one query takes.
const atOnce = 32

// auditWalks are the walks, each over one number, to everything that a filter leaves of an extent.
// With a text an entry may be in up to three of them.
func (db *DB) auditWalks(ctx context.Context, organization string, f AuditFilter, x extent) ([]walk, extent, error) {
	x, err := db.within(ctx, organization, f, x)
	if err != nil || x.last <= x.after {
		return nil, x, err
	}
	walks := f.walks(organization)
	if f.Text != "" {
		if walks, err = db.search(ctx, organization, f); err != nil {
			return nil, x, err
		}
	}
	walks, err = db.single(ctx, walks)
	return walks, x, err
}

// auditQueries ask for the entries that a filter leaves of an extent: each for up to a number of
// them, in the order of the log or in the reverse. There are none where there can't be entries.
func (db *DB) auditQueries(
	ctx context.Context, organization string, f AuditFilter, x extent, order string, rows int32,
) (queries []*text, err error) {
	walks, x, err := db.auditWalks(ctx, organization, f, x)
	if err != nil {
		return nil, err
	}
	limit := rows
	if f.Text != "" {
		limit *= 3
	}
	for part := range slices.Chunk(walks, atOnce) {
		q := &text{}
		one := func(w walk) {
			q.auditFrom(auditColumns, organization, w, x)
			q.add(" ORDER BY ", w.at(), order, " LIMIT ", q.arg(rows))
		}
		if queries = append(queries, q); len(part) == 1 {
			one(part[0])
			continue
		}
		for i, w := range part {
			if i > 0 {
				q.add(" UNION ALL ")
			}
			q.add("SELECT * FROM (")
			one(w)
			q.add(") AS w", strconv.Itoa(i))
		}
		q.add(" ORDER BY position", order, " LIMIT ", q.arg(limit))
	}
	return queries, nil
}

// auditEntries are what a filter leaves of an extent; see auditQueries.
func (db *DB) auditEntries(
	ctx context.Context, organization string, f AuditFilter, x extent, order string, rows int32,
) ([]AuditEntry, error) {
	queries, err := db.auditQueries(ctx, organization, f, x, order, rows)
	if err != nil {
		return nil, err
	}
	all := []AuditEntry{}
	for _, q := range queries {
		found, err := collect(ctx, db, q, "audit entries", scanAudit)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if len(queries) > 1 {
		slices.SortFunc(all, func(a, b AuditEntry) int {
			if order == newestFirst {
				a, b = b, a
			}
			return cmp.Compare(a.Position, b.Position)
		})
	}
	all = slices.CompactFunc(all, func(a, b AuditEntry) bool { return a.Position == b.Position })
	return all[:min(len(all), int(rows))], nil
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

// AuditEntry returns one audited event of an organization, or ErrNotFound.
func (db *DB) AuditEntry(ctx context.Context, organization, id string) (AuditEntry, error) {
	q := &text{}
	q.add("SELECT ", auditColumns, " FROM audit_entries AS e WHERE e.id_hash = ", q.arg(idHash(id)),
		" AND CASE WHEN e.id = ", q.arg(id), " AND e.organization_id = ", q.arg(organization), " THEN TRUE ELSE FALSE END")
	entries, err := collect(ctx, db, q, "an audit entry", scanAudit)
	if err == nil {
		err = db.label(ctx, organization, entries)
	}
	return only(entries, err)
}

func idHash(id string) int64 { return int64(hashed("id", id)) } //nolint:gosec // all bits count

func scanAudit(rows *sql.Rows) (AuditEntry, error) {
	var e AuditEntry
	var position, revision, at, retry int64
	var data string
	err := rows.Scan(&e.Organization, &position, &e.ID, &e.Stream, &revision, &e.Action, &e.Actor.Type, &e.Actor.ID,
		&e.OnBehalfOf.Type, &e.OnBehalfOf.ID, &e.Target.Type, &e.Target.ID, &e.AgentID, &e.ToolID, &e.RequestID, &at, &data,
		&e.Private, &retry)
	e.Retry = retry == 1
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
		e.AgentRetired, e.ToolRemoved = labels.gone[thing{"agent", e.AgentID}], labels.gone[thing{"tool", e.ToolID}]
	}
	return err
}

func (t Target) thing() thing { return thing{t.Type, t.ID} }

// auditInserts are the prepared inserts of audit entries: many at once for a rebuild, one for what
// is left.
type auditInserts struct{ many, one *sql.Stmt }

const (
	auditChunk = 32 // rows of one statement
	auditWidth = 28 // columns of one row
)

const auditInsert = `INSERT INTO audit_entries (organization_id, position, id, stream, revision, action, actor_type,
actor_id,
    on_behalf_of_type, on_behalf_of_id, target_type, target_id, agent_id, tool_id, request_id, occurred_at,
    data, private, retry, id_hash, in_outline, in_organization, in_agent, in_tool, in_access,
    in_actor, in_actor_agent, in_actor_tool) VALUES `

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

func toInt(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// InsertAudit adds entries, in the order of the log.
func (t *Tx) InsertAudit(ctx context.Context, entries []AuditEntry) error {
	if err := errors.Join(t.keepMinutes(ctx, entries), t.keepWords(ctx, entries)); err != nil {
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
				toInt(e.Retry), idHash(e.ID), in.outline, in.organization, in.agent, in.tool, in.access, in.actor,
				in.actorAndAgent, in.actorAndTool)
		}
		if _, err := t.exec(ctx, stmt, text, args...); err != nil {
			return fmt.Errorf("write the audit entries after position %d: %w", entries[0].Position, err)
		}
		entries = entries[n:]
	}
	return nil
}
