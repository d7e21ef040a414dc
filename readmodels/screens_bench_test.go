package readmodels_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"agentkey/readmodels"
)

// BenchmarkScreens asks for the summary and for charts of an organization of 5,000 agents with ten
// of 300 tools each, which fetched 1,000,000 times within 400 days: half of the agents did four
// fifths of it.
func BenchmarkScreens(b *testing.B) {
	onEngines(b, func(b *testing.B, db *readmodels.DB) {
		db, err := furnished(b, db)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("summary", func(b *testing.B) {
			terms := readmodels.SummaryTerms{Now: noon, Within: 7 * 24 * time.Hour, Quiet: 7 * 24 * time.Hour}
			for b.Loop() {
				if s, err := db.Summary(b.Context(), acme, terms); err != nil || s.Approved == 0 {
					b.Fatal(s, err)
				}
			}
		})
		for name, c := range map[string]struct {
			days int
			step time.Duration
			off  time.Duration
			readmodels.UsageTerms
		}{
			"hours_of_day":              {days: 1, step: time.Hour},
			"hours_of_day_by_agent":     {days: 1, step: time.Hour, UsageTerms: readmodels.UsageTerms{GroupBy: "agent"}},
			"days_30":                   {days: 30, step: 24 * time.Hour},
			"days_30_by_agent":          {days: 30, step: 24 * time.Hour, UsageTerms: readmodels.UsageTerms{GroupBy: "agent"}},
			"days_30_by_tool":           {days: 30, step: 24 * time.Hour, UsageTerms: readmodels.UsageTerms{GroupBy: "tool"}},
			"days_400":                  {days: 400, step: 24 * time.Hour},
			"days_400_kolkata":          {days: 400, step: 24 * time.Hour, off: 30 * time.Minute},
			"days_400_by_agent":         {days: 400, step: 24 * time.Hour, UsageTerms: readmodels.UsageTerms{GroupBy: "agent"}},
			"days_400_by_tool":          {days: 400, step: 24 * time.Hour, UsageTerms: readmodels.UsageTerms{GroupBy: "tool"}},
			"days_400_of_agent_by_tool": {days: 400, step: 24 * time.Hour, UsageTerms: ofAgent("tool")},
			"days_400_of_tool_by_agent": {days: 400, step: 24 * time.Hour, UsageTerms: ofTool("agent")},
		} {
			begin := noon.Add(-time.Duration(c.days)*24*time.Hour - 14*time.Hour + c.off)
			for at := begin; at.Before(noon); at = at.Add(c.step) {
				c.Times = append(c.Times, at)
			}
			c.Refused = true
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					if u, err := db.Usage(b.Context(), acme, c.UsageTerms); err != nil || c.GroupBy != "" && len(u.Groups) == 0 {
						b.Fatal(u, err)
					}
				}
			})
		}
	})
}

func ofAgent(by string) readmodels.UsageTerms {
	return readmodels.UsageTerms{UsageFilter: readmodels.UsageFilter{AgentID: numbered(7)}, GroupBy: by}
}

func ofTool(by string) readmodels.UsageTerms {
	return readmodels.UsageTerms{UsageFilter: readmodels.UsageFilter{ToolID: numbered(10_007)}, GroupBy: by}
}

func numbered(i int) string { return fmt.Sprintf("0198c0de-0000-7000-8000-%012d", i) }

// furnished fills tables beside those of a database and puts them in their place, as a rebuild
// does.
func furnished(b *testing.B, db *readmodels.DB) (*readmodels.DB, error) {
	b.Helper()
	const agents, tools, fetches, part = 5000, 300, 1_000_000, 50_000
	ctx := b.Context()
	beside, err := db.Beside(ctx)
	if err != nil {
		return nil, err
	}
	draw, position := rand.New(rand.NewPCG(1, 2)), int64(0)
	next := func() int64 { position++; return position }
	tool := func(i int) string { return numbered(10_000 + i) }
	err = beside.Write(ctx, func(tx *readmodels.Tx) error {
		for i := range tools {
			if err := tx.InsertTool(ctx, readmodels.InsertToolParams{
				ID: tool(i), OrganizationID: acme, Position: next(), Name: "Tool", CredentialMode: "shared",
				CredentialVersion: int64(i % 10),
			}); err != nil {
				return err
			}
		}
		for i := range agents {
			id, seen := numbered(i), noon.Add(-time.Duration(draw.IntN(20*24))*time.Hour)
			err := errors.Join(
				tx.InsertAgent(ctx, readmodels.InsertAgentParams{
					ID: id, OrganizationID: acme, Position: next(), Name: "Agent", Description: "that does what it is told",
				}),
				tx.SeeAgent(ctx, readmodels.SeeAgentParams{ID: id, LastSeenAt: readmodels.Micros(seen)}),
			)
			for j := range 10 {
				expires := int64(0)
				if j%2 == 0 {
					expires = readmodels.Micros(noon.Add(time.Duration(draw.IntN(200)-50) * 24 * time.Hour))
				}
				err = errors.Join(err, tx.AssignGrant(ctx, readmodels.AssignGrantParams{
					AgentID: id, ToolID: tool((i + 30*j) % tools), OrganizationID: acme, Position: next(), ExpiresAt: expires,
				}))
			}
			if i%5 == 0 {
				err = errors.Join(err, tx.InsertRequest(ctx, readmodels.InsertRequestParams{
					ID: id, OrganizationID: acme, Position: next(), AgentID: id, ToolID: tool(draw.IntN(tools)), CreatedAt: position,
				}))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	for i := 0; i < fetches && err == nil; i += part {
		counts := readmodels.FetchCounts{}
		for j := range part {
			agent := int(agents * math.Pow(draw.Float64(), 3))
			at := noon.Add(time.Duration(float64(i+j-fetches) / fetches * 400 * 24 * float64(time.Hour)))
			if j%50 == 0 {
				counts.Refused(acme, numbered(agent), tool(draw.IntN(tools)), at, 3)
			} else {
				counts.Vended(acme, numbered(agent), tool((agent+30*draw.IntN(10))%tools), at)
			}
		}
		err = beside.Write(ctx, func(tx *readmodels.Tx) error { return tx.AddFetches(ctx, counts) })
	}
	if err == nil {
		err = db.Replace(ctx, beside, nil)
	}
	if err == nil {
		err = db.Analyze(ctx)
	}
	return db, err
}
