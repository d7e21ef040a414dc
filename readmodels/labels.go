package readmodels

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"math/bits"
	"slices"
	"strings"

	"agentkey/domain"
)

// thing is something with a name: who acted, or what an audit entry is about.
type thing struct{ kind, id string }

// moment is a thing at a position in the log.
type moment struct {
	thing
	at uint64
}

// labels is what things are called now and, of those that were renamed since, were called then.
// gone are agents that retired and tools that were removed.
type labels struct {
	now  map[thing]string
	gone map[thing]bool
	then map[moment]string
}

// at is what a thing was called at a position, and what it is called now if that differs.
func (l labels) at(t thing, position uint64) (then, current string) {
	now := l.now[t]
	if former := l.then[moment{t, position}]; former != "" && former != now {
		return former, now
	}
	return now, ""
}

// labelled finds the names of things that stand in wanted, also of those that are gone, and says
// which were renamed after the position $2. A thing of another organization has none, and neither
// has a service token, whose name can be erased and so stands in no row. A delivery is labelled as
// it was queued.
var labelled = `
SELECT w.kind, w.id, o.name, ` + renamed + `, o.status = 'retired' FROM wanted AS w
JOIN agents AS o ON w.kind = 'agent' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.name, ` + renamed + `, o.removed_at <> 0 FROM wanted AS w
JOIN tools AS o ON w.kind = 'tool' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.name, FALSE, FALSE FROM wanted AS w
JOIN suggestions AS o ON w.kind = 'suggestion' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.learned, FALSE, FALSE FROM wanted AS w
JOIN notes AS o ON w.kind = 'instruction_suggestion' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.name, ` + renamed + `, FALSE FROM wanted AS w
JOIN rules AS o ON w.kind = 'rule' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.name, ` + renamed + `, FALSE FROM wanted AS w
JOIN notification_channels AS o ON w.kind = 'notification_channel' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, ` + nameAt("c", "o.position") + ` || ': ' || replace(o.topic, '_', ' ') ||
    coalesce(', ' || ` + nameAt("a", "o.position") + `, '') ||
    coalesce(', ' || ` + nameAt("t", "o.position") + `, '') ||
    coalesce(', ' || s.name, ''), FALSE, FALSE
FROM wanted AS w
JOIN deliveries AS o ON w.kind = 'delivery' AND o.id = w.id AND o.organization_id = $1
JOIN notification_channels AS c ON c.id = o.channel_id
LEFT JOIN agents AS a ON a.id = o.agent_id
LEFT JOIN tools AS t ON t.id = o.tool_id
LEFT JOIN suggestions AS s ON s.id = o.suggestion_id
UNION ALL SELECT w.kind, w.id, o.name, ` + renamed + `, FALSE FROM wanted AS w
JOIN organizations AS o ON w.kind = 'organization' AND o.id = w.id AND o.id = $1`

const renamed = `EXISTS (SELECT 1 FROM former_names AS h WHERE h.id = o.id AND h.until > $2)`

// nameAt is what a row of agents, tools or notification channels was called at a position, in SQL.
// Where the position is NULL it is what it is called now.
func nameAt(row, position string) string {
	return `coalesce((SELECT h.name FROM former_names AS h WHERE h.id = ` + row + `.id AND h.until > ` + position +
		` ORDER BY h.until LIMIT 1), ` + row + `.name)`
}

// labels says what some things of an organization were called at a position and are called now, in
// one query, and in a second one if any was renamed since.
func (db *DB) labels(ctx context.Context, organization string, wanted []moment) (labels, error) {
	out := labels{now: map[thing]string{}, gone: map[thing]bool{}, then: map[moment]string{}}
	var asked []thing
	oldest := uint64(math.MaxInt64)
	for _, w := range wanted {
		oldest = min(oldest, w.at)
		if _, known := out.now[w.thing]; known || w.id == "" && w.own() == "" {
			continue
		}
		if out.now[w.thing] = w.own(); out.now[w.thing] == "" {
			asked = append(asked, w.thing)
		}
	}
	if len(asked) == 0 {
		return out, nil
	}
	q := &text{}
	q.arg(organization)
	q.arg(signed(oldest))
	values(q, "wanted (kind, id)", asked, func(t thing) string { return q.arg(t.kind) + ", " + q.arg(t.id) })
	q.add(labelled)
	type row struct {
		thing
		label         string
		renamed, gone bool
	}
	rows, err := collect(ctx, db, q, "labels", func(rows *sql.Rows) (row, error) {
		var r row
		err := rows.Scan(&r.kind, &r.id, &r.label, &r.renamed, &r.gone)
		return r, err
	})
	if err != nil {
		return out, err
	}
	moved := map[thing]bool{}
	for _, r := range rows {
		if r.kind == "instruction_suggestion" {
			r.label = headline(r.label)
		}
		out.now[r.thing], out.gone[r.thing], moved[r.thing] = r.label, r.gone, r.renamed
	}
	wanted = slices.DeleteFunc(wanted, func(m moment) bool { return !moved[m.thing] })
	return out, db.formerLabels(ctx, organization, wanted, out.then)
}

// formerLabels adds what things were called at a position by a name that they have no more.
func (db *DB) formerLabels(ctx context.Context, organization string, wanted []moment, then map[moment]string) error {
	slices.SortFunc(wanted, func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
	})
	wanted = slices.Compact(wanted)
	if len(wanted) == 0 {
		return nil
	}
	q := &text{}
	q.arg(organization)
	values(q, "wanted (kind, id, at)", wanted, func(m moment) string {
		return q.arg(m.kind) + ", " + q.arg(m.id) + ", CAST(" + q.arg(signed(m.at)) + " AS BIGINT)"
	})
	q.add(` SELECT w.kind, w.id, w.at, coalesce((SELECT h.name FROM former_names AS h
WHERE h.id = w.id AND h.organization_id = $1 AND h.until > w.at ORDER BY h.until LIMIT 1), '') FROM wanted AS w`)
	_, err := collect(ctx, db, q, "former names", func(rows *sql.Rows) (moment, error) {
		var m moment
		var at int64
		var name string
		err := rows.Scan(&m.kind, &m.id, &at, &name)
		m.at = unsigned(at)
		then[m] = name
		return m, err
	})
	return err
}

// values begins a query with a table of what is asked for. Its length is a power of two: few
// lengths, so few statements.
func values[T any](q *text, table string, rows []T, row func(T) string) {
	q.add("WITH ", table, " AS (VALUES ")
	for i := range 1 << bits.Len(uint(len(rows)-1)) {
		if i > 0 {
			q.add(", ")
		}
		var r T
		if i < len(rows) {
			r = rows[i]
		}
		q.add("(", row(r), ")")
	}
	q.add(")")
}

// own is the label of what is unique, or known by its id alone.
func (t thing) own() string {
	switch t.kind {
	case "installation":
		return "Installation"
	case "event_log":
		return "Event log"
	case "catalog":
		return "Catalog"
	case "master_key":
		return "Master key " + t.id
	case "signing_key":
		return "Signing key " + t.id
	case "person":
		return "Person" // whose name is sealed
	}
	return ""
}

// maxLabel is how many characters of a text a label shows: as many as a name may have.
const maxLabel = 120

// headline is the first line of a text, cut where it is longer than a name.
func headline(s string) string {
	line, _, more := strings.Cut(s, "\n")
	if runes := []rune(line); len(runes) > maxLabel {
		line, more = string(runes[:maxLabel-1]), true
	}
	if more {
		line = strings.TrimSpace(line) + "…"
	}
	return line
}

// actor is who acted, as a thing, if the rows know its name. Of the parts of the system the rules
// of an organization have an id.
func actor(a domain.Actor) thing {
	switch {
	case a.Type == domain.ActorAgent:
		return thing{"agent", a.ID}
	case a.IsRule():
		return thing{"rule", a.ID}
	}
	return thing{}
}
