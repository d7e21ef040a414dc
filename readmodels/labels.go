package readmodels

import (
	"context"
	"database/sql"
	"strings"

	"agentkey/domain"
)

// thing is something with a name: who acted, or what an audit entry is about.
type thing struct{ kind, id string }

// labelled finds the names of things that stand in wanted, also of those that are gone. A thing of
// another organization has none.
const labelled = `
SELECT w.kind, w.id, o.name FROM wanted AS w
JOIN agents AS o ON w.kind = 'agent' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.name FROM wanted AS w
JOIN tools AS o ON w.kind = 'tool' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.name FROM wanted AS w
JOIN service_tokens AS o ON w.kind = 'service_token' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.name FROM wanted AS w
JOIN suggestions AS o ON w.kind = 'suggestion' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.learned FROM wanted AS w
JOIN notes AS o ON w.kind = 'instruction_suggestion' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, o.name FROM wanted AS w
JOIN notification_channels AS o ON w.kind = 'notification_channel' AND o.id = w.id AND o.organization_id = $1
UNION ALL SELECT w.kind, w.id, c.name || ': ' || replace(o.topic, '_', ' ') ||
    coalesce(', ' || a.name, '') || coalesce(', ' || t.name, '') || coalesce(', ' || s.name, '')
FROM wanted AS w
JOIN deliveries AS o ON w.kind = 'delivery' AND o.id = w.id AND o.organization_id = $1
JOIN notification_channels AS c ON c.id = o.channel_id
LEFT JOIN agents AS a ON a.id = o.agent_id
LEFT JOIN tools AS t ON t.id = o.tool_id
LEFT JOIN suggestions AS s ON s.id = o.suggestion_id
UNION ALL SELECT w.kind, w.id, o.name FROM wanted AS w
JOIN organizations AS o ON w.kind = 'organization' AND o.id = w.id AND o.id = $1`

// labels says what some things of an organization are called now, in one query.
func (db *DB) labels(ctx context.Context, organization string, wanted []thing) (map[thing]string, error) {
	out := map[thing]string{}
	var asked []thing
	for _, t := range wanted {
		if _, known := out[t]; known || t.id == "" && t.own() == "" {
			continue
		}
		if out[t] = t.own(); out[t] == "" {
			asked = append(asked, t)
		}
	}
	if len(asked) == 0 {
		return out, nil
	}
	for n := len(asked); n&(n-1) != 0; n++ { // few lengths, so few statements
		asked = append(asked, thing{})
	}
	q := &text{}
	q.arg(organization)
	q.add("WITH wanted (kind, id) AS (VALUES ")
	for i, t := range asked {
		if i > 0 {
			q.add(", ")
		}
		q.add("(", q.arg(t.kind), ", ", q.arg(t.id), ")")
	}
	q.add(")", labelled)
	type row struct {
		thing
		label string
	}
	rows, err := collect(ctx, db, q, "labels", func(rows *sql.Rows) (row, error) {
		var r row
		err := rows.Scan(&r.kind, &r.id, &r.label)
		return r, err
	})
	for _, r := range rows {
		if r.kind == "instruction_suggestion" {
			r.label = headline(r.label)
		}
		out[r.thing] = r.label
	}
	return out, err
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

// actor is who acted, as a thing.
func actor(a domain.Actor) thing {
	switch a.Type {
	case domain.ActorAgent:
		return thing{"agent", a.ID}
	case domain.ActorService:
		return thing{"service_token", a.ID}
	case domain.ActorHuman, domain.ActorSystem:
	}
	return thing{}
}
