package readmodels

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"agentkey/domain"
)

// auditLists are the lists that an audit entry is in, such as that of its agent, and that of its
// agent and tool. A list, the type of the actor and the action are hashed into one number, which an
// index holds with the position. So each kind of entry of a list can be read from any position on,
// and no query steps over what its filter excludes, however long the log is. Hashes only find rows:
// every query states its filter too, so that two lists of one number give no wrong answer.
//
// What agents do themselves, which is nearly everything, is found by the agent, and is in no list
// of its actor. The outline has everything but retries, as one kind.
type auditLists struct {
	outline                            sql.NullInt64
	organization                       int64
	agent, tool, access                sql.NullInt64 // access is of an agent to a tool
	actor, actorAndAgent, actorAndTool sql.NullInt64
}

const (
	actionBits = 17
	kindBits   = actionBits + 3 // and the type of the actor
)

// actorTypes are in the order of their numbers, which begin with 1. 0 is any other.
var actorTypes = []domain.ActorType{domain.ActorAgent, domain.ActorHuman, domain.ActorService, domain.ActorSystem}

func hashed(parts ...string) uint64 {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return binary.BigEndian.Uint64(sum[:])
}

// listOf is the number of a list without its lower bits.
func listOf(column, organization string, ids ...string) uint64 {
	return hashed(append([]string{column, organization}, ids...)...) &^ (1<<kindBits - 1)
}

// typeOf are the upper of these bits.
func typeOf(t domain.ActorType) uint64 { return uint64(slices.Index(actorTypes, t)+1) << actionBits } //nolint:gosec // from 0 to 4

// actionOf are the lower ones.
func actionOf(action string) uint64 { return hashed(action) & (1<<actionBits - 1) }

// Retried are the actions of entries that may be retries: each has a second kind, for those.
var Retried = []string{"delivery.claimed", "delivery.failed"}

// KindOf are the lower bits of an action's entries. No two kinds may have the
// same.
func KindOf(action string, retry bool) uint64 {
	if retry {
		action += " again"
	}
	return actionOf(action)
}

// listsOf are the lists that an entry is in. Its kind is the same in each.
func listsOf(e AuditEntry) auditLists {
	kind := typeOf(e.Actor.Type) | KindOf(e.Action, e.Retry)
	in := func(column string, ids ...string) (n sql.NullInt64) {
		if !slices.Contains(ids, "") {
			n.Int64, n.Valid = int64(listOf(column, e.Organization, ids...)|kind), true //nolint:gosec // all bits count
		}
		return n
	}
	out := auditLists{
		organization: in("in_organization").Int64, agent: in("in_agent", e.AgentID), tool: in("in_tool", e.ToolID),
		access: in("in_access", e.AgentID, e.ToolID),
	}
	if !e.Retry {
		out.outline = sql.NullInt64{Int64: outlineOf(e.Organization), Valid: true}
	}
	if e.Actor.Type != domain.ActorAgent || e.Actor.ID != e.AgentID {
		out.actor = in("in_actor", e.Actor.ID)
		out.actorAndAgent = in("in_actor_agent", e.Actor.ID, e.AgentID)
		out.actorAndTool = in("in_actor_tool", e.Actor.ID, e.ToolID)
	}
	return out
}

func outlineOf(organization string) int64 { return int64(listOf("in_outline", organization)) } //nolint:gosec // all bits count

// walk is a part of a list: all entries whose number is from one to another that a filter leaves.
// Where it is one number they are in the order of the log. The zero column is the whole log.
type walk struct {
	column   string
	from, to int64
	actions  []string // of which the entries must have one; nil for any
	filter   AuditFilter
	words    []string // that the entries must have; the list is that of the first
}

// few is how many actions are looked for by their numbers, without asking which occur.
const few = 3

// types are those of the actors that the filter leaves.
func (f AuditFilter) types() []domain.ActorType {
	if f.ActorType != "" {
		return []domain.ActorType{domain.ActorType(f.ActorType)}
	}
	return append([]domain.ActorType{""}, actorTypes...)
}

// walks are the parts of lists that together have every entry that the filter leaves, each once.
// Its text doesn't count.
func (f AuditFilter) walks(organization string) (out []walk) {
	types := f.types()
	add := func(types []domain.ActorType, column string, ids ...string) {
		out = append(out, f.parts(listOf(column, organization, ids...), types, column)...)
	}
	ofAgent := func(types []domain.ActorType, agentID string) {
		if f.ToolID != "" {
			add(types, "in_access", agentID, f.ToolID)
		} else {
			add(types, "in_agent", agentID)
		}
	}
	switch {
	case f.ActorID != "":
		if slices.Contains(types, domain.ActorAgent) && (f.AgentID == "" || f.AgentID == f.ActorID) {
			ofAgent([]domain.ActorType{domain.ActorAgent}, f.ActorID) // what an agent did itself
		}
		switch {
		case f.AgentID != "":
			add(types, "in_actor_agent", f.ActorID, f.AgentID)
		case f.ToolID != "":
			add(types, "in_actor_tool", f.ActorID, f.ToolID)
		default:
			add(types, "in_actor", f.ActorID)
		}
	case f.AgentID != "":
		ofAgent(types, f.AgentID)
	case f.ToolID != "":
		add(types, "in_tool", f.ToolID)
	case f.Actions != nil || len(types) == 1:
		add(types, "in_organization")
	case f.NoRetries:
		n := outlineOf(organization)
		out = append(out, walk{column: "in_outline", from: n, to: n, filter: f})
	default:
		out = append(out, walk{filter: f})
	}
	return out
}

// parts are the walks over one list: over each number that is looked for, or over all numbers of
// the types where those that occur have to be found first.
func (f AuditFilter) parts(list uint64, types []domain.ActorType, column string) (out []walk) {
	over := func(from, through uint64, actions []string) {
		out = append(out, walk{
			column: column, from: int64(from), to: int64(from | through), actions: actions, filter: f, //nolint:gosec // all bits count
		})
	}
	if (f.Actions == nil || len(f.Actions) > few) && len(types) > 1 {
		over(list, 1<<kindBits-1, nil)
		return out
	}
	for _, t := range types {
		part := list | typeOf(t)
		if f.Actions == nil || len(f.Actions) > few {
			over(part, 1<<actionBits-1, nil)
			continue
		}
		for _, action := range f.Actions {
			over(part|KindOf(action, false), 0, []string{action})
			if !f.NoRetries && slices.Contains(Retried, action) {
				over(part|KindOf(action, true), 0, []string{action})
			}
		}
	}
	return out
}

// leaves reports whether entries of a number can be what the filter leaves, and of which actions
// these are; nil for any.
func (f AuditFilter) leaves(number int64) (actions []string, some bool) {
	kind := uint64(number) & (1<<actionBits - 1) //nolint:gosec // all bits count
	for _, action := range Retried {
		if kind == KindOf(action, true) {
			return []string{action}, !f.NoRetries && (f.Actions == nil || slices.Contains(f.Actions, action))
		}
	}
	if f.Actions == nil {
		return nil, true
	}
	for _, action := range f.Actions {
		if KindOf(action, false) == kind {
			actions = append(actions, action)
		}
	}
	return actions, len(actions) > 0
}

// single replaces walks over several numbers by one for each number that occurs and that the filter
// leaves.
func (db *DB) single(ctx context.Context, walks []walk) (out []walk, err error) {
	for _, w := range walks {
		if w.column == "" || w.from == w.to {
			out = append(out, w)
			continue
		}
		table := "audit_entries"
		if len(w.words) > 0 {
			table = "audit_words"
		}
		q := &text{}
		from, to := q.arg(w.from), q.arg(w.to)
		q.add("WITH RECURSIVE occurring (number) AS (SELECT min(", w.column, ") FROM ", table, " WHERE ", w.column,
			" >= ", from, " AND ", w.column, " <= ", to, " UNION ALL SELECT (SELECT min(e.", w.column,
			") FROM ", table, " AS e WHERE e.", w.column, " > occurring.number AND e.", w.column, " <= ", to,
			") FROM occurring WHERE occurring.number IS NOT NULL) SELECT number FROM occurring WHERE number IS NOT NULL")
		found, err := collect(ctx, db, q, "kinds of audit entries", func(rows *sql.Rows) (int64, error) {
			var number int64
			err := rows.Scan(&number)
			return number, err
		})
		if err != nil {
			return nil, err
		}
		for _, number := range found {
			if actions, some := w.filter.leaves(number); some {
				w.actions, w.from, w.to = actions, number, number
				out = append(out, w)
			}
		}
	}
	return out, nil
}

// extent is which positions a query looks at: those after one, up to another.
type extent struct{ after, last int64 }

// within narrows an extent to where entries of the filter's time are. It is empty where there can
// be none.
func (db *DB) within(ctx context.Context, organization string, f AuditFilter, x extent) (extent, error) {
	return query(ctx, db.Store, func(ctx context.Context, t *tables) (extent, error) {
		if !f.From.IsZero() {
			first, err := t.read.firstAuditFrom(ctx, firstAuditFromParams{
				OrganizationID: organization, Minute: minuteOf(f.From),
			})
			if errors.Is(err, sql.ErrNoRows) {
				return extent{}, nil
			}
			if err != nil {
				return extent{}, fmt.Errorf("find a time in the audit: %w", err)
			}
			x.after = max(x.after, first-1)
		}
		if !f.To.IsZero() {
			last, err := t.read.lastAuditTo(ctx, lastAuditToParams{OrganizationID: organization, Minute: minuteOf(f.To)})
			if errors.Is(err, sql.ErrNoRows) {
				return extent{}, nil
			}
			if err != nil {
				return extent{}, fmt.Errorf("find a time in the audit: %w", err)
			}
			x.last = min(x.last, last)
		}
		return x, nil
	})
}

// minuteOf is the row of audit_minutes that a time belongs to.
func minuteOf(t time.Time) int64 { return Micros(t) / time.Minute.Microseconds() }

// keepMinutes takes note of where the entries are in time.
func (t *Tx) keepMinutes(ctx context.Context, entries []AuditEntry) error {
	for len(entries) > 0 {
		first, n := entries[0], 1
		for n < len(entries) && entries[n].Organization == first.Organization &&
			minuteOf(entries[n].OccurredAt) == minuteOf(first.OccurredAt) {
			n++
		}
		minute, last := minuteOf(first.OccurredAt), signed(entries[n-1].Position)
		if err := t.KeepAuditMinute(ctx, KeepAuditMinuteParams{
			OrganizationID: first.Organization, Minute: minute, FirstPosition: signed(first.Position), LastPosition: last,
		}); err != nil {
			return err
		}
		if err := t.ExtendAuditMinutes(ctx, ExtendAuditMinutesParams{
			OrganizationID: first.Organization, Minute: minute, LastPosition: last,
		}); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}
