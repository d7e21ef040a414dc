package agent_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/domain/agent"
)

func TestARuleIsFollowed(t *testing.T) {
	rule := domain.RuleVersion{ID: "rule", Version: 3, Name: "Search for an hour"}
	limited, two, separate, hours, frozen, gone := shared, shared, shared, shared, shared, shared
	limited.MaxGrant = time.Minute
	two.Rules.RequiredApprovals, separate.Rules.SeparationOfDuties = 2, true
	hours.Rules.AllowedHours = domain.AllowedHours{ // start is 14:03
		TimeZone: "UTC", Days: "wed", From: "15:00", To: "16:00",
	}
	frozen.Frozen, gone.Exists = true, false
	hurried := agent.GrantRequested{ToolID: shared.ID, RequestID: "r1", Reason: "because", RequestedSeconds: 30}

	approve := func(tool agent.Tool) agent.FollowRule {
		return agent.FollowRule{At: start, Tool: tool, RequestID: "r1", Rule: rule, For: time.Hour, Local: start}
	}
	deny := func(tool agent.Tool) agent.FollowRule {
		c := approve(tool)
		c.Deny, c.Reason, c.For = true, "never", 0
		return c
	}
	endless := approve(shared)
	endless.For = 0
	yes := func(lasts time.Duration) agent.Event {
		ends := start.Add(lasts)
		return agent.GrantApproved{ToolID: shared.ID, RequestID: "r1", ExpiresAt: &ends, Rule: &rule}
	}
	no := func(tool agent.Tool) agent.Event {
		return agent.GrantDenied{ToolID: tool.ID, RequestID: "r1", Reason: "never", Rule: &rule}
	}
	asked := fold(registered(), requested("r1"))
	ofOwn := fold(registered(), agent.GrantRequested{ToolID: own.ID, RequestID: "r1", Reason: "because"})
	for _, tt := range []struct {
		name  string
		given agent.State
		when  agent.FollowRule
		then  agent.Event // nil: it is left to a human
	}{
		{"it gives access for its time", asked, approve(shared), yes(time.Hour)},
		{"for no longer than the tool allows", asked, approve(limited), yes(time.Minute)},
		{"nor than the agent wants it", fold(registered(), hurried), approve(limited), yes(30 * time.Second)},
		{"never without an end", asked, endless, nil},
		{"it denies and says why", asked, deny(shared), no(shared)},
		{"a credential of the agent's own takes a human", ofOwn, approve(own), nil},
		{"a rule may deny there", ofOwn, deny(own), no(own)},
		{"several approvals take humans", asked, approve(two), nil},
		{"a rule may deny there too", asked, deny(two), no(two)},
		{"duties that are separate take a human", asked, approve(separate), nil},
		{"outside of its hours a tool isn't given", asked, approve(hours), nil},
		{"a frozen tool isn't given", asked, approve(frozen), nil},
		{"nor is one that is gone", asked, approve(gone), nil},
		{"nor denied", asked, deny(gone), nil},
		{"what was decided stays", fold(registered(), requested("r1"), approved("r1")), deny(shared), nil},
		{"what was withdrawn too", fold(
			registered(), requested("r1"), agent.GrantWithdrawn{ToolID: shared.ID, RequestID: "r1"},
		), approve(shared), nil},
		{"another request isn't decided", fold(registered(), requested("r2")), approve(shared), nil},
		{"a suspended agent gets nothing", fold(
			registered(), requested("r1"), agent.Suspended{}, agent.GrantRevoked{ToolID: shared.ID},
		), approve(shared), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events, err := agent.Decide(tt.given, tt.when)
			if err != nil {
				t.Fatal(err)
			}
			var want []agent.Event
			switch e := tt.then.(type) {
			case agent.GrantApproved:
				e.DecidedOn, e.ToolFreezes = tt.given.Digest(tt.when.Tool), tt.when.Tool.Freezes
				want = []agent.Event{e}
			case agent.GrantDenied:
				e.DecidedOn = tt.given.Digest(tt.when.Tool)
				want = []agent.Event{e}
			}
			if diff := cmp.Diff(want, events); diff != "" {
				t.Error(diff)
			}
			s := tt.given
			for _, e := range events {
				s = agent.Evolve(s, domain.Fact[agent.Event]{Event: e, At: start})
			}
			if again, err := agent.Decide(s, tt.when); len(again) > 0 || err != nil {
				t.Errorf("a repeat makes %v %v", again, err)
			}
		})
	}
}

func TestThePastOfAnAgentIsCounted(t *testing.T) {
	revoked := func(cause agent.Cause) agent.Event { return agent.GrantRevoked{ToolID: shared.ID, Cause: cause} }
	vended := agent.CredentialVended{ToolID: shared.ID}
	denied := agent.GrantDenied{ToolID: shared.ID, RequestID: "r3"}
	s := fold(
		registered(), requested("r1"), approved("r1"), vended, vended, revoked(agent.CauseAdmin),
		requested("r2"), approved("r2"), vended, revoked(agent.CauseSuspended), // which nobody did because of this tool
		requested("r3"), denied, requested("r4"), revoked(agent.CauseAdmin), // a request
		agent.GrantAssigned{ToolID: own.ID}, agent.CredentialVended{ToolID: own.ID}, requested("r5"),
	)
	want := agent.Past{Approved: 2, Denied: 1, Revoked: 1, Fetches: 3}
	if got := s.Grants[shared.ID].Past; got != want {
		t.Errorf("of the tool it is %+v, not %+v", got, want)
	}
	want.Approved, want.Fetches = 3, 4
	if got := s.Past(); got != want {
		t.Errorf("of all tools it is %+v, not %+v", got, want)
	}
	if got := s.Grants[shared.ID].FetchCount; got != 0 {
		t.Errorf("the new request has %d fetches", got)
	}
}

func TestWhatARequestSaysOfItsLengthIsWhatIsDecidedOn(t *testing.T) {
	ask := agent.Request{At: start, Tool: shared, RequestID: "r1", Reason: "because", Seconds: 60}
	events, err := agent.Decide(fold(registered()), ask)
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	short := fold(registered(), events[0])
	ask.Seconds = 3600
	events, err = agent.Decide(fold(registered()), ask)
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	if long := fold(registered(), events[0]); long.Digest(shared) == short.Digest(shared) {
		t.Error("requests for a minute and for an hour look the same to who decides")
	}
}
