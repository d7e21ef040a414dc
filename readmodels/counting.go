package readmodels

import (
	"context"
	"time"
)

const oneHour = 1

// lengths are those of the stretches of time in which fetches are counted, in hours. The long ones
// keep the sums over months cheap.
var lengths = []int64{oneHour, 24, 8 * 24, 64 * 24}

// FetchCounts gathers how many fetches there were, so that a batch of events changes each row once.
type FetchCounts map[stretch]*stretchCounts

// stretch names a row: an empty id is that of all agents or tools.
type stretch struct {
	organization, agentID, toolID string
	hours, hour                   int64
}

// stretchCounts are what a row counts: all of it, and what came from the 15th, 30th and 45th minute
// on.
type stretchCounts struct {
	vended, refused [4]int64
	last            time.Time // that one was vended
}

// Vended counts one fetch.
func (c FetchCounts) Vended(organization, agentID, toolID string, at time.Time) {
	c.add(organization, agentID, toolID, at, func(row *stretchCounts, quarter int) {
		row.vended[quarter]++
		if at.After(row.last) {
			row.last = at
		}
	})
}

// Refused counts some refused fetches, the last one at a time.
func (c FetchCounts) Refused(organization, agentID, toolID string, at time.Time, count int) {
	c.add(organization, agentID, toolID, at, func(row *stretchCounts, quarter int) {
		row.refused[quarter] += int64(count)
	})
}

// add counts in each row that a fetch belongs to.
func (c FetchCounts) add(organization, agentID, toolID string, at time.Time, count func(*stretchCounts, int)) {
	hour, quarters := hourOf(at), at.UTC().Minute()/15
	in := func(agentID, toolID string, hours int64) {
		key := stretch{organization, agentID, toolID, hours, hour - hour%hours}
		row := c[key]
		if row == nil {
			row = &stretchCounts{}
			c[key] = row
		}
		count(row, 0)
		for quarter := 1; hours == oneHour && quarter <= quarters; quarter++ {
			count(row, quarter)
		}
	}
	in("", "", oneHour)
	for _, hours := range lengths {
		in(agentID, "", hours)
		if toolID != "" {
			in("", toolID, hours)
		}
	}
	if toolID != "" {
		in(agentID, toolID, oneHour)
	}
}

// AddFetches adds what was gathered to the rows.
func (t *Tx) AddFetches(ctx context.Context, counts FetchCounts) error {
	for key, row := range counts {
		v, r := row.vended, row.refused
		if err := t.addFetchCounts(ctx, addFetchCountsParams{
			OrganizationID: key.organization, AgentID: key.agentID, ToolID: key.toolID, Hours: key.hours, Hour: key.hour,
			Vended: v[0], Vended15: v[1], Vended30: v[2], Vended45: v[3],
			Refused: r[0], Refused15: r[1], Refused30: r[2], Refused45: r[3], LastVendedAt: Micros(row.last),
		}); err != nil {
			return err
		}
	}
	return nil
}

// hourOf is the hour of a time since 1970.
func hourOf(at time.Time) int64 {
	const seconds = 60 * 60
	return (at.Unix() - (at.Unix()%seconds+seconds)%seconds) / seconds
}

func timeOf(hour int64) time.Time { return time.Unix(hour*60*60, 0).UTC() }
