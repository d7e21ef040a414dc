package readmodels

import (
	"context"
	"database/sql"
	"math/bits"
	"sort"
	"time"
)

// Fetches are how many fetches there were.
type Fetches struct{ Vended, Refused int64 }

// UsageFilter narrows the fetches that are counted; zero fields do not.
type UsageFilter struct{ AgentID, ToolID string }

// conditions names the rows that hold the sums of a filter, hour by hour.
func (f UsageFilter) conditions(q *text, organization string) {
	q.add(" WHERE c.organization_id = ", q.arg(organization), " AND c.agent_id = ", q.arg(f.AgentID),
		" AND c.tool_id = ", q.arg(f.ToolID), " AND c.hours = 1")
}

// fetchesBetween counts the fetches between each two of some times, which are in order and at least
// an hour apart. They may be at any quarter of an hour.
func fetchesBetween(
	ctx context.Context, in DBTX, organization string, f UsageFilter, times []time.Time,
) ([]Fetches, error) {
	sums := make([]Fetches, len(times)+1) // those before the first time and after the last, too
	q := &text{}
	q.add("SELECT c.hour, c.vended, c.refused FROM fetch_counts AS c")
	f.conditions(q, organization)
	q.add(" AND c.hour >= ", q.arg(hourOf(times[0])), " AND c.hour < ", q.arg(hoursUntil(times[len(times)-1])))
	_, err := collectIn(ctx, in, q, "fetches", func(rows *sql.Rows) (struct{}, error) {
		var hour int64
		var n Fetches
		err := rows.Scan(&hour, &n.Vended, &n.Refused)
		at := timeOf(hour)
		sums[sort.Search(len(times), func(i int) bool { return times[i].After(at) })].add(n, 1)
		return struct{}{}, err
	})
	if err != nil {
		return nil, err
	}
	parts, err := partsAfter(ctx, in, organization, f, times)
	for i, t := range times { // of an hour that a time divides, all were counted before it
		sums[i].add(parts[t], -1)
		sums[i+1].add(parts[t], 1)
	}
	return sums[1:len(times)], err
}

func (f *Fetches) add(n Fetches, sign int64) {
	f.Vended += sign * n.Vended
	f.Refused += sign * n.Refused
}

// partsAfter counts, for each of some times within an hour, the fetches of that hour that came
// after it.
func partsAfter(
	ctx context.Context, in DBTX, organization string, f UsageFilter, times []time.Time,
) (map[time.Time]Fetches, error) {
	parts := map[time.Time]Fetches{}
	within := map[int64]time.Time{}
	var hours []int64
	for _, t := range times {
		if t.UTC().Minute() >= 15 {
			hours, within[hourOf(t)] = append(hours, hourOf(t)), t
		}
	}
	if len(hours) == 0 {
		return parts, nil
	}
	q := &text{}
	q.add(`SELECT c.hour, c.vended_15, c.vended_30, c.vended_45, c.refused_15, c.refused_30, c.refused_45
FROM fetch_counts AS c`)
	f.conditions(q, organization)
	q.add(" AND c.hour IN (")
	for i := range 1 << bits.Len(uint(len(hours)-1)) { // few lengths, so few statements
		if i > 0 {
			q.add(", ")
		}
		q.add(q.arg(hours[min(i, len(hours)-1)]))
	}
	q.add(")")
	_, err := collectIn(ctx, in, q, "parts of hours", func(rows *sql.Rows) (struct{}, error) {
		var hour int64
		var vended, refused [3]int64
		err := rows.Scan(&hour, &vended[0], &vended[1], &vended[2], &refused[0], &refused[1], &refused[2])
		at := within[hour]
		quarter := at.UTC().Minute()/15 - 1
		parts[at] = Fetches{vended[quarter], refused[quarter]}
		return struct{}{}, err
	})
	return parts, err
}

// hoursUntil is the first hour that begins at a time or after it.
func hoursUntil(t time.Time) int64 { return hourOf(t.Add(time.Hour - time.Nanosecond)) }
