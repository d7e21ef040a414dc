package readmodels_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

// fetch counts fetches at a time, refused ones where count is negative.
func (s *shelf) fetch(organization, agentID, toolID string, at time.Time, count int) {
	s.t.Helper()
	counts := readmodels.FetchCounts{}
	for range count {
		counts.Vended(organization, agentID, toolID, at)
	}
	if count < 0 {
		counts.Refused(organization, agentID, toolID, at, -count)
	}
	s.write(func(tx *readmodels.Tx) error { return tx.AddFetches(s.t.Context(), counts) })
}

// testSummary looks at an organization that has one of everything that counts and of what doesn't.
func testSummary(t *testing.T, s *shelf) {
	ctx, now := t.Context(), noon.Add(30*24*time.Hour+7*time.Minute)
	terms := readmodels.SummaryTerms{Now: now, Within: 7 * 24 * time.Hour, Quiet: 7 * 24 * time.Hour}
	got := func(organization string) readmodels.Summary {
		t.Helper()
		return must[readmodels.Summary](t)(s.db.Summary(ctx, organization, terms))
	}
	none := readmodels.Summary{Soonest: []readmodels.Expiry{}}
	if diff := cmp.Diff(none, got(acme)); diff != "" {
		t.Errorf("of nothing (-want +got):\n%s", diff)
	}

	for _, id := range []string{"a1", "a2", "a3", "a4", "a5"} { // a month ago
		s.agent(acme, id, "Agent "+id)
	}
	s.status("a2", "suspended")
	s.status("a3", "retired")
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(
			tx.SeeAgent(ctx, readmodels.SeeAgentParams{ID: "a1", LastSeenAt: readmodels.Micros(now.Add(-time.Hour))}),
			tx.SeeAgent(ctx, readmodels.SeeAgentParams{ID: "a4", LastSeenAt: readmodels.Micros(now.Add(-8 * 24 * time.Hour))}),
			tx.InsertAgent(ctx, readmodels.InsertAgentParams{
				ID: "young", OrganizationID: acme, Position: s.next(), CreatedAt: readmodels.Micros(now),
			}),
			tx.InsertTool(ctx, readmodels.InsertToolParams{
				ID: "bare", OrganizationID: acme, Position: s.next(), Name: "Bare", CredentialMode: "shared",
			}),
			tx.InsertTool(ctx, readmodels.InsertToolParams{
				ID: "own", OrganizationID: acme, Position: s.next(), Name: "Own", CredentialMode: "per_agent",
			}),
		)
	})
	s.tool(acme, "t1", "GitHub")
	s.tool(acme, "gone", "Gone")
	s.grant(acme, "a1", "gone", "approved", time.Time{})
	s.grant(acme, "a4", "gone", "approved", now.Add(time.Hour))
	s.grant(acme, "a2", "gone", "pending", time.Time{})
	s.remove("gone")
	s.grant(acme, "a1", "t1", "approved", time.Time{})
	s.grant(acme, "a2", "t1", "approved", now) // its time has passed just now
	s.grant(acme, "a4", "t1", "approved", now.Add(time.Microsecond))
	s.grant(acme, "a5", "t1", "approved", now.Add(terms.Within))
	s.grant(acme, "a1", "own", "approved", now.Add(terms.Within+time.Microsecond))
	s.grant(acme, "a4", "own", "denied", time.Time{})
	s.grant(acme, "a4", "bare", "pending", time.Time{})
	s.grant(acme, "a5", "bare", "pending", time.Time{})
	s.grant(acme, "a5", "own", "pending", time.Time{})
	s.suggest(acme, "one", "Zulip", "a1", 1, true)
	s.suggest(acme, "two", "Linear", "a1", 2, true)
	s.suggest(acme, "two", "Linear", "a4", 3, false)
	s.suggest(acme, "two", "Linear", "a5", 3, false)
	s.suggest(acme, "three", "Asana", "a1", 4, true)
	s.write(func(tx *readmodels.Tx) error {
		note := func(id, toolID string) error {
			return tx.InsertNote(ctx, readmodels.InsertNoteParams{
				ID: id, OrganizationID: acme, Position: s.next(), ToolID: toolID, Learned: "by cursor",
			})
		}
		return errors.Join(
			tx.DecideSuggestion(ctx, readmodels.DecideSuggestionParams{ID: "three", Status: "dismissed"}),
			note("n1", "t1"), note("n2", "gone"), note("n3", "t1"),
			tx.DecideNote(ctx, readmodels.DecideNoteParams{ID: "n3", Status: "dismissed"}),
			tx.Claim(ctx, "s1", noon, time.Time{}), tx.Move(ctx, "s1", 0, 7, ""),
		)
	})
	s.channel(acme, "c1", "#ops")
	for _, id := range []string{"d1", "d2", "d3", "d4"} {
		s.delivery(acme, "c1", id)
	}
	s.fails("d1", now)
	s.ends("d2", "dead")
	s.ends("d3", "delivered")
	s.fetch(acme, "a1", "t1", now.Add(time.Second), 1) // a clock that is ahead
	s.fetch(acme, "a1", "t1", now, 2)
	s.fetch(acme, "a1", "t1", now.Add(-24*time.Hour-7*time.Minute), 4)
	s.fetch(acme, "a1", "t1", now.Add(-24*time.Hour-8*time.Minute), 8)
	s.fetch(acme, "a1", "t1", now.Add(-48*time.Hour-7*time.Minute), 16)
	s.fetch(acme, "a1", "t1", now.Add(-48*time.Hour-8*time.Minute), 32)
	s.fetch(acme, "a2", "t1", now.Add(-time.Hour), -5)
	s.fetch(acme, "a2", "made up", now.Add(-30*time.Hour), -6)

	want := readmodels.Summary{
		Position: 7, Requests: 3, OldestRequest: noon, Suggestions: 2, Notes: 1,
		Active: 4, Suspended: 1, Quiet: 2, Tools: 3, WithoutCredential: 1, Approved: 4, Expiring: 2,
		Last: readmodels.Fetches{Vended: 7, Refused: 5}, Previous: readmodels.Fetches{Vended: 24, Refused: 6},
		Failed: 1, Dead: 1,
		Soonest: []readmodels.Expiry{
			{AgentID: "a4", AgentName: "Agent a4", ToolID: "t1", ToolName: "GitHub", ExpiresAt: now.Add(time.Microsecond)},
			{AgentID: "a5", AgentName: "Agent a5", ToolID: "t1", ToolName: "GitHub", ExpiresAt: now.Add(terms.Within)},
		},
		Demanded: []readmodels.Demanded{
			{Kind: "suggestion", ID: "two", Name: "Linear", Agents: 3},
			{Kind: "tool", ID: "bare", Name: "Bare", Agents: 2},
			{Kind: "tool", ID: "own", Name: "Own", Agents: 1},
			{Kind: "suggestion", ID: "one", Name: "Zulip", Agents: 1},
		},
	}
	if diff := cmp.Diff(want, got(acme)); diff != "" {
		t.Errorf("the summary (-want +got):\n%s", diff)
	}
	none.Position = 7
	if diff := cmp.Diff(none, got(globex)); diff != "" {
		t.Errorf("of another organization (-want +got):\n%s", diff)
	}
	terms.Tools = []string{"own", "t1"}
	want.Requests, want.Demanded = 1, append(want.Demanded[:1:1], want.Demanded[2:]...)
	if diff := cmp.Diff(want, got(acme)); diff != "" {
		t.Errorf("for somebody who decides about some tools (-want +got):\n%s", diff)
	}

	for i := range 12 {
		id := fmt.Sprintf("t%02d", i)
		s.tool(acme, id, id)
		for j := range i + 1 {
			s.grant(acme, fmt.Sprint("x", j), id, "pending", time.Time{})
		}
		s.suggest(acme, "s"+id, id, "a1", 5, true)
		s.grant(acme, "a1", id, "approved", now.Add(time.Duration(i+2)*time.Minute))
	}
	terms.Tools = nil
	many := got(acme)
	if len(many.Soonest) != 10 || many.Soonest[9].ToolID != "t08" || len(many.Demanded) != 10 ||
		many.Demanded[9].Agents != 3 {
		t.Errorf("of many: %+v", many)
	}
}
