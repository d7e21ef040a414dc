package agent_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/agent"
)

func TestSeed(t *testing.T) {
	yes := agent.Seed{At: start, Tool: shared, SuggestionID: "g", RequestID: "r", Reason: "because", Approved: true}
	ask := yes
	ask.Approved = false
	given := agent.GrantAssigned{ToolID: "github", Reason: "because", SuggestionID: "g"}
	asked := agent.GrantRequested{ToolID: "github", RequestID: "r", Reason: "because", SuggestionID: "g"}
	with := func(c agent.Seed, change func(*agent.Seed)) agent.Seed {
		change(&c)
		return c
	}
	minute := start.Add(time.Minute)
	full := []agent.Event{registered()}
	for i := range agent.MaxOpenGrants {
		full = append(full, agent.GrantAssigned{ToolID: fmt.Sprint(i)})
	}
	tests := []struct {
		name   string
		given  []agent.Event
		when   agent.Seed
		then   []agent.Event
		status agent.GrantStatus // that the answer tells
		why    string
	}{
		{
			"an agent without a history gets it",
			[]agent.Event{registered()},
			yes,
			[]agent.Event{given},
			agent.Approved, "",
		},
		{"or a request", []agent.Event{registered()}, ask, []agent.Event{asked}, agent.Pending, ""},
		{"a tool with a credential for each agent is asked " +
			"for", []agent.Event{registered()}, with(yes, func(c *agent.Seed) { c.Tool = own }), []agent.Event{
			agent.GrantRequested{ToolID: "linear", RequestID: "r", Reason: "because", SuggestionID: "g"},
		}, agent.Pending, ""},
		{
			"it ends when the tool's time ends",
			[]agent.Event{registered()},
			with(yes, func(c *agent.Seed) { c.Tool = capped }),
			[]agent.Event{
				agent.GrantAssigned{ToolID: "github", Reason: "because", SuggestionID: "g", ExpiresAt: &minute},
			},
			agent.Approved, "",
		},
		{"it is given once", []agent.Event{registered(), given}, yes, nil, agent.Approved, ""},
		{"a request is made once", []agent.Event{registered(), asked}, ask, nil, agent.Pending, ""},
		{
			"a request that was approved is not made again",
			[]agent.Event{registered(), asked, approved("r")},
			ask,
			nil, agent.Approved, "",
		},
		{
			"what was revoked stays so",
			[]agent.Event{registered(), given, agent.GrantRevoked{ToolID: "github", Cause: agent.CauseAdmin}},
			yes, nil,
			agent.None, "a human has revoked it",
		},
		{
			"what was denied stays so",
			[]agent.Event{registered(), requested("r1"), agent.GrantDenied{ToolID: "github", RequestID: "r1"}},
			yes,
			nil, agent.None, "a human has denied it",
		},
		{
			"what was taken back stays so",
			[]agent.Event{registered(), requested("r1"), agent.GrantWithdrawn{ToolID: "github", RequestID: "r1"}},
			ask,
			nil, agent.None, "the agent took its request back",
		},
		{
			"what waits, waits",
			[]agent.Event{registered(), requested("r1")},
			yes, nil, agent.None,
			"the agent has asked for it already",
		},
		{
			"what it has, it has",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "github"}},
			yes, nil,
			agent.None, "the agent has access already",
		},
		{
			"what has expired stays so",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "github", ExpiresAt: &past}},
			yes, nil, agent.None,
			"the agent had access, which has expired",
		},
		{
			"a suspended agent gets nothing",
			[]agent.Event{registered(), agent.Suspended{}},
			yes, nil, agent.None,
			"the agent is suspended",
		},
		{
			"nor one that was suspended since it was decided",
			[]agent.Event{registered(), agent.Suspended{}, agent.Reactivated{}},
			yes, nil, agent.None,
			"the agent was suspended since",
		},
		{
			"one that was suspended before gets it",
			[]agent.Event{registered(), agent.Suspended{}, agent.Reactivated{}},
			with(yes, func(c *agent.Seed) { c.Suspensions = 1 }),
			[]agent.Event{given},
			agent.Approved, "",
		},
		{"a full agent gets nothing", full, yes, nil, agent.None, "the agent holds as many open grants as it may"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := agent.Decide(fold(tt.given...), tt.when)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.then, events, anyDigest); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if status, why := agent.Seeded(fold(append(tt.given, events...)...), tt.when); status != tt.status ||
				why != tt.why {
				t.Errorf("told %q %q, want %q %q", status, why, tt.status, tt.why)
			}
		})
	}
	if _, err := agent.Decide(fold(registered(), agent.Retired{}), yes); codeOf(err) != "not_found" {
		t.Errorf("a retired agent: %v", err)
	}
	if events, err := agent.Decide(
		fold(registered()), agent.Seed{At: start, Tool: gone, Approved: true},
	); len(events) > 0 || err != nil {
		t.Errorf("a tool that is gone: %v %v", events, err)
	}
}
