package readmodels

import (
	"context"
	"database/sql"
	"time"
)

// Usage is how often credentials were fetched, stretch by stretch and by whom or of what.
type Usage struct {
	Between []Fetches // each two times
	Groups  []UsageGroup
}

// UsageGroup is what one agent fetched, or what was fetched of one tool. Removed and retired ones
// are named too.
type UsageGroup struct {
	ID, Name string
	Fetches
	LastAt time.Time // that a credential was fetched last, whenever that was; zero: never
}

// UsageTerms say which fetches are counted.
type UsageTerms struct {
	UsageFilter

	Times   []time.Time // in order, at least an hour apart, each at a quarter of an hour
	GroupBy string      // agent, tool, or "" for no groups
	Refused bool        // a group may have refused fetches alone
}

// grouped is how many groups there are at most: those with the most fetches.
const grouped = 20

// Usage counts fetches between times.
func (db *DB) Usage(ctx context.Context, organization string, t UsageTerms) (Usage, error) {
	return instant(ctx, db.Store, func(ctx context.Context, in DBTX) (u Usage, err error) {
		if u.Between, err = fetchesBetween(ctx, in, organization, t.UsageFilter, t.Times); err != nil || t.GroupBy == "" {
			return u, err
		}
		u.Groups, err = collectIn(ctx, in, t.groups(organization), "groups", func(rows *sql.Rows) (UsageGroup, error) {
			var g UsageGroup
			var last int64
			err := rows.Scan(&g.ID, &g.Name, &g.Vended, &g.Refused, &last)
			g.LastAt = toTime(last)
			return g, err
		})
		return u, err
	})
}

// groups adds up the longest stretches that fit between the times. Of an agent and a tool together
// there are hours only.
func (t UsageTerms) groups(organization string) *text {
	q := &text{}
	of := q.arg(organization)
	by, other, table, narrowed := "agent_id", "tool_id", "agents", t.ToolID
	if t.GroupBy == "tool" {
		by, other, table, narrowed = "tool_id", "agent_id", "tools", t.AgentID
	}
	rest := "''"
	if narrowed != "" {
		rest = q.arg(narrowed)
	}
	own := map[string]string{"agent_id": t.AgentID, "tool_id": t.ToolID}[by]
	parts := 0
	part := func(vended, refused string, hours, from, to int64) {
		if parts++; parts > 1 {
			q.add(" UNION ALL ")
		}
		q.add("SELECT c.", by, " AS id, ", vended, " AS vended, ", refused, " AS refused FROM fetch_counts AS c ",
			"WHERE c.organization_id = ", of, " AND c.", by, " <> '' AND c.", other, " = ", rest)
		if narrowed == "" {
			q.add(" AND c.hours = ", q.arg(hours))
		} else {
			q.add(" AND c.", other, " <> ''") // there are hours only
		}
		q.is("c."+by, own)
		q.add(" AND c.hour >= ", q.arg(from), " AND c.hour < ", q.arg(to))
	}
	q.add(`SELECT g.id, n.name, g.vended, g.refused, coalesce((SELECT c.last_vended_at FROM fetch_counts AS c
    WHERE c.organization_id = `, of, ` AND c.`, by, ` = g.id AND c.`, other, ` = `, rest,
		` AND c.hours = 1 AND c.last_vended_at > 0 ORDER BY c.hour DESC LIMIT 1), 0)
FROM (SELECT x.id, CAST(sum(x.vended) AS BIGINT) AS vended, CAST(sum(x.refused) AS BIGINT) AS refused FROM (`)
	first, last := t.Times[0], t.Times[len(t.Times)-1]
	longer := lengths[1:]
	if narrowed != "" {
		longer = nil
	}
	for _, s := range stretches(hoursUntil(first), hourOf(last), longer) {
		part("c.vended", "c.refused", s.hours, s.from, s.to)
	}
	if m := minuteColumn(first); m != "" {
		part("c.vended"+m, "c.refused"+m, oneHour, hourOf(first), hourOf(first)+1)
	}
	if m := minuteColumn(last); m != "" {
		part("c.vended - c.vended"+m, "c.refused - c.refused"+m, oneHour, hourOf(last), hourOf(last)+1)
	}
	q.add(`) AS x GROUP BY x.id HAVING sum(x.vended) > 0`)
	if t.Refused {
		q.add(` OR sum(x.refused) > 0`)
	}
	q.add(` ORDER BY sum(x.vended) DESC, sum(x.refused) DESC, x.id LIMIT `, q.arg(grouped), `) AS g
JOIN `, table, ` AS n ON n.id = g.id ORDER BY g.vended DESC, g.refused DESC, g.id`)
	return q
}

// minuteColumn ends the name of the columns that count from a time within an hour on; "" on the
// hour.
func minuteColumn(t time.Time) string {
	return []string{"", "_15", "_30", "_45"}[t.UTC().Minute()/15]
}

// rowsBetween are the rows of one length from an hour on.
type rowsBetween struct{ hours, from, to int64 }

// stretches divides hours into rows, with the longest ones in the middle.
func stretches(from, to int64, longer []int64) (out []rowsBetween) {
	length := int64(oneHour)
	add := func(from, to int64) {
		if from < to {
			out = append(out, rowsBetween{length, from, to})
		}
	}
	for _, longer := range longer {
		begin, end := (from+longer-1)/longer*longer, to/longer*longer
		if begin >= end {
			break
		}
		add(from, begin)
		add(end, to)
		length, from, to = longer, begin, end
	}
	add(from, to)
	return out
}
