package agent_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/domain/agent"
)

// TestAFreezeEndsWhatIsFromBeforeIt goes through what a grant can be when its tool is frozen, while
// it is, and after the freeze was lifted. A cell holds the events, the code of the refusal, or "-"
// for "already so".
func TestAFreezeEndsWhatIsFromBeforeIt(t *testing.T) {
	asked := agent.GrantRequested{ToolID: shared.ID, RequestID: "r1", Reason: "to read issues"}
	yes := agent.GrantApproved{ToolID: shared.ID, RequestID: "r1"}
	frozen, thawed := shared, shared
	frozen.Frozen, frozen.Freezes, thawed.Freezes = true, 1, 1
	askedSince, yesSince := asked, yes
	askedSince.ToolFreezes, yesSince.ToolFreezes = 1, 1
	tests := []struct {
		name  string
		given []agent.Event
		tool  agent.Tool
		is    agent.GrantStatus
		// of Request, Approve, Deny, Assign, Seed, Vend, and of the Revoke that follows from the freeze
		want []string
	}{
		{
			"frozen, never had it", nil, frozen, agent.None,
			[]string{
				"GrantRequested", "already_decided", "already_decided", "tool_frozen", "-", "access_not_approved", "-",
			},
		},
		{
			"frozen, had asked",
			[]agent.Event{asked},
			frozen, agent.Revoked,
			[]string{
				"GrantRevoked GrantRequested", "already_decided", "already_decided", "tool_frozen", "-",
				"access_not_approved", "GrantRevoked",
			},
		},
		{
			"frozen, had it",
			[]agent.Event{asked, yes},
			frozen, agent.Revoked,
			[]string{
				"GrantRevoked GrantRequested", "already_decided", "already_decided", "tool_frozen", "-",
				"access_not_approved", "GrantRevoked",
			},
		},
		{
			"frozen, asked since",
			[]agent.Event{askedSince},
			frozen, agent.Pending,
			[]string{
				"already_pending", "tool_frozen", "GrantDenied", "tool_frozen", "-", "access_not_approved", "-",
			},
		},
		{
			"thawed, had asked",
			[]agent.Event{asked},
			thawed, agent.Revoked,
			[]string{
				"GrantRevoked GrantRequested", "already_decided", "already_decided", "GrantRevoked GrantAssigned", "-",
				"access_not_approved", "GrantRevoked",
			},
		},
		{
			"thawed, had it",
			[]agent.Event{asked, yes},
			thawed, agent.Revoked,
			[]string{
				"GrantRevoked GrantRequested", "already_decided", "already_decided", "GrantRevoked GrantAssigned", "-",
				"access_not_approved", "GrantRevoked",
			},
		},
		{
			"thawed, was given it again",
			[]agent.Event{askedSince, yesSince},
			thawed, agent.Approved,
			[]string{
				"already_approved", "already_decided", "already_decided", "already_approved", "-", "CredentialVended", "-",
			},
		},
		{
			"given it again, which a process that is behind doesn't know",
			[]agent.Event{askedSince, yesSince},
			shared,
			agent.Approved,
			[]string{
				"already_approved", "already_decided", "already_decided", "already_approved", "-", "CredentialVended", "-",
			},
		},
	}
	for _, tt := range tests {
		given := fold(append([]agent.Event{registered()}, tt.given...)...)
		if got := given.Grants[shared.ID].Of(tt.tool, start); got != tt.is {
			t.Errorf("%s: the grant is %q, not %q", tt.name, got, tt.is)
		}
		for i, c := range []agent.Command{
			agent.Request{At: start, Tool: tt.tool, RequestID: "r2", Reason: "again"},
			agent.Approve{At: start, Tool: tt.tool, RequestID: "r1"},
			agent.Deny{Tool: tt.tool, RequestID: "r1"},
			agent.Assign{At: start, Tool: tt.tool},
			agent.Seed{At: start, Tool: tt.tool, SuggestionID: "g1", RequestID: "r3", Approved: true},
			agent.Vend{At: start, Tool: tt.tool, KeyNumber: 1},
			agent.Revoke{ToolID: shared.ID, Cause: agent.CauseToolFrozen, Freeze: 1},
		} {
			t.Run(fmt.Sprintf("%s/%T", tt.name, c), func(t *testing.T) {
				events, err := agent.Decide(given, c)
				if got := outcome(events, err); got != tt.want[i] {
					t.Errorf("got %s, want %s", got, tt.want[i])
				}
			})
		}
	}
}

// TestApprovalsOfOneEndTogether ends what one token gave since a time. What it gave before, and
// what somebody else has given again, stays.
func TestApprovalsOfOneEndTogether(t *testing.T) {
	stolen := domain.Actor{Type: domain.ActorService, ID: "stolen"}
	state := fold(registered())
	for _, f := range []domain.Fact[agent.Event]{
		{Event: agent.GrantAssigned{ToolID: "before"}, At: start.Add(-time.Second), By: stolen},
		{Event: agent.GrantAssigned{ToolID: "at"}, At: start, By: stolen},
		{Event: agent.GrantAssigned{ToolID: "after"}, At: start.Add(time.Second), By: stolen},
		{Event: agent.GrantAssigned{ToolID: "again"}, At: start, By: stolen},
		{Event: agent.GrantRevoked{ToolID: "again"}, At: start, By: admin},
		{Event: agent.GrantAssigned{ToolID: "again"}, At: start, By: admin},
		{Event: agent.GrantRequested{ToolID: "asked", RequestID: "r"}, At: start, By: stolen},
	} {
		state = agent.Evolve(state, f)
	}
	events, err := agent.Decide(state, agent.RevokeApproved{By: "stolen", Since: start})
	want := []agent.Event{
		agent.GrantRevoked{ToolID: "after", Cause: agent.CauseAdmin},
		agent.GrantRevoked{ToolID: "at", Cause: agent.CauseAdmin},
	}
	if diff := cmp.Diff(want, events); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestWhatASuspensionEnded compares what an agent had with what is said of its suspension.
func TestWhatASuspensionEnded(t *testing.T) {
	given := []agent.Event{
		registered(),
		agent.GrantAssigned{ToolID: "a"},
		agent.GrantRequested{ToolID: "b", RequestID: "r1"},
		agent.GrantAssigned{ToolID: "c", ExpiresAt: &past},
		agent.GrantRequested{ToolID: "d", RequestID: "r2"},
		agent.GrantDenied{ToolID: "d", RequestID: "r2"},
		agent.GrantAssigned{ToolID: "frozen"},
	}
	state := fold(given...)
	want := []agent.Ended{{ToolID: "a", Was: agent.Approved}, {ToolID: "b", Was: agent.Pending}}
	open := state.Open(start, func(id string) agent.Tool {
		return agent.Tool{ID: id, Exists: true, Freezes: btoi(id == "frozen")}
	})
	if diff := cmp.Diff(want, open); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	if got := state.EndedBySuspension(); got != nil {
		t.Errorf("it isn't suspended, and lost %v", got)
	}
	events, err := agent.Decide(state, agent.Suspend{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		state = agent.Evolve(state, domain.Fact[agent.Event]{Event: e, At: soon, By: admin})
	}
	want = append(want, agent.Ended{ToolID: "frozen", Was: agent.Approved}) // it may have been frozen since
	if diff := cmp.Diff(want, state.EndedBySuspension()); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
