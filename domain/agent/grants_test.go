package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/domain/agent"
)

// TestEveryTransitionOfAGrant is the whole state machine: a row for each state that a grant can be
// in, a column for each command that concerns one. A cell holds the events, the code of the
// refusal, or "-" for "already so".
func TestEveryTransitionOfAGrant(t *testing.T) {
	asked := agent.GrantRequested{ToolID: own.ID, RequestID: "r1", Reason: "plan the sprint"}
	yes := agent.GrantApproved{ToolID: own.ID, RequestID: "r1", SecretID: "a"}
	yesUntil := func(at time.Time) agent.Event {
		return agent.GrantApproved{ToolID: own.ID, RequestID: "r1", SecretID: "a", ExpiresAt: &at}
	}
	states := []struct {
		name  string
		given []agent.Event
		at    agent.GrantStatus
	}{
		{"none", nil, agent.None},
		{"pending", []agent.Event{asked}, agent.Pending},
		{"approved", []agent.Event{asked, yes}, agent.Approved},
		{"assigned", []agent.Event{agent.GrantAssigned{ToolID: own.ID, SecretID: "a"}}, agent.Approved},
		{"until soon", []agent.Event{asked, yesUntil(soon)}, agent.Approved},
		{"past its time", []agent.Event{asked, yesUntil(start)}, agent.Expired}, // without the event
		{"denied", []agent.Event{asked, agent.GrantDenied{ToolID: own.ID, RequestID: "r1"}}, agent.Denied},
		{"withdrawn", []agent.Event{asked, agent.GrantWithdrawn{ToolID: own.ID, RequestID: "r1"}}, agent.Withdrawn},
		{"revoked", []agent.Event{asked, yes, agent.GrantRevoked{ToolID: own.ID, RequestID: "r1"}}, agent.Revoked},
		{
			"revoked while pending",
			[]agent.Event{asked, agent.GrantRevoked{ToolID: own.ID, RequestID: "r1"}},
			agent.Revoked,
		},
		{"expired", []agent.Event{asked, yesUntil(start), agent.GrantExpired{ToolID: own.ID}}, agent.Expired},
	}
	commands := []agent.Command{
		agent.Request{At: start, Tool: own, RequestID: "r2", Reason: "again"},
		agent.Withdraw{ToolID: own.ID},
		agent.Approve{At: start, Tool: own, RequestID: "r1", SecretID: "b"},
		agent.Deny{Tool: own, RequestID: "r1"},
		agent.Assign{At: start, Tool: own, SecretID: "b"},
		agent.Revoke{ToolID: own.ID, Cause: agent.CauseAdmin},
		agent.Expire{At: start, Tool: own},
		agent.ReplaceCredential{At: start, Tool: own, SecretID: "b"},
		agent.Vend{At: start, Tool: own, KeyNumber: 1},
	}
	// The first line answers Request, Withdraw, Approve and Deny, the second Assign, Revoke, Expire,
	// Replace and Vend.
	ended := []string{
		"GrantRequested", "-", "already_decided", "already_decided",
		"GrantAssigned", "-", "-", "not_found", "access_not_approved",
	}
	approved := []string{
		"already_approved", "-", "already_decided", "already_decided",
		"already_approved", "GrantRevoked", "-", "GrantCredentialReplaced", "CredentialVended",
	}
	cells := map[string][]string{
		"none": ended,
		"pending": {
			"already_pending", "GrantWithdrawn", "GrantApproved", "GrantDenied",
			"GrantApproved", "GrantRevoked", "-", "not_found", "access_not_approved",
		},
		"approved":   approved,
		"assigned":   approved,
		"until soon": approved,
		"past its time": {
			"GrantExpired GrantRequested", "-", "already_decided", "already_decided",
			"GrantExpired GrantAssigned", "GrantRevoked", "GrantExpired", "not_found", "access_not_approved",
		},
		"denied":                ended,
		"withdrawn":             ended,
		"revoked":               ended,
		"revoked while pending": ended,
		"expired":               ended,
	}
	leadsTo := map[string]agent.GrantStatus{
		"GrantRequested": agent.Pending, "GrantWithdrawn": agent.Withdrawn, "GrantApproved": agent.Approved,
		"GrantDenied": agent.Denied, "GrantAssigned": agent.Approved, "GrantRevoked": agent.Revoked,
		"GrantExpired": agent.Expired, "GrantCredentialReplaced": agent.Approved, "CredentialVended": agent.Approved,
	}
	for _, state := range states {
		given := fold(append([]agent.Event{registered()}, state.given...)...)
		if got := given.Grants[own.ID].At(start); got != state.at {
			t.Errorf("%s: the grant is %q, want %q", state.name, got, state.at)
		}
		for i, when := range commands {
			t.Run(fmt.Sprintf("%s/%T", state.name, when), func(t *testing.T) {
				events, err := agent.Decide(given, when)
				if got := outcome(events, err); got != cells[state.name][i] {
					t.Fatalf("got %s, want %s", got, cells[state.name][i])
				}
				after := given
				for _, e := range events {
					after = agent.Evolve(after, domain.Fact[agent.Event]{Event: e, At: start, By: admin})
				}
				if n := len(events); n > 0 && after.Grants[own.ID].Status != leadsTo[nameOf(events[n-1])] {
					t.Errorf("it leads to %q", after.Grants[own.ID].Status)
				}
			})
		}
	}
}

func nameOf(e agent.Event) string { return strings.TrimPrefix(fmt.Sprintf("%T", e), "agent.") }

func outcome(events []agent.Event, err error) string {
	if err != nil {
		return codeOf(err)
	}
	if len(events) == 0 {
		return "-"
	}
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = nameOf(e)
	}
	return strings.Join(names, " ")
}

func TestEveryRequestIsAFactOfItsOwn(t *testing.T) {
	given := []agent.Event{
		registered(), requested("r1"),
		agent.GrantDenied{ToolID: "github", RequestID: "r1", Reason: "use the bot"},
		requested("r2"),
	}
	g := fold(given...).Grants["github"]
	if g.Status != agent.Pending || g.RequestID != "r2" || g.DenialReason != "" || g.DecidedBy != nil ||
		!g.DecidedAt.IsZero() {
		t.Errorf("the second request carries what was said of the first: %+v", g)
	}
	given = append(given, approved("r2"))
	g = fold(given...).Grants["github"]
	if g.Origin != agent.FromRequest || g.DecidedBy == nil || *g.DecidedBy != admin || !g.DecidedAt.Equal(start) {
		t.Errorf("who decided is not told: %+v", g)
	}
	given = append(given, agent.GrantRevoked{ToolID: "github", RequestID: "r2"}, agent.GrantAssigned{ToolID: "github"})
	g = fold(given...).Grants["github"]
	if g.Origin != agent.FromAssignment || g.RequestID != "" || g.Reason != "" {
		t.Errorf("an assignment carries a request: %+v", g)
	}
}

func TestWhatATermMustBe(t *testing.T) {
	early := start.Add(30 * time.Second)
	limit := start.Add(time.Minute)
	beyond := limit.Add(time.Nanosecond)
	ownCapped := agent.Tool{ID: "linear", Exists: true, PerAgent: true, MaxGrant: time.Minute}
	asked := []agent.Event{registered(), requested("r1")}
	tests := []struct {
		name  string
		given []agent.Event
		when  agent.Command
		then  *time.Time
		code  string
	}{
		{"no end when none is asked for", asked, agent.Approve{At: start, Tool: shared, RequestID: "r1"}, nil, ""},
		{
			"the end that is asked for", asked,
			agent.Approve{At: start, Tool: shared, RequestID: "r1", ExpiresAt: &soon},
			&soon, "",
		},
		{
			"the tool's longest when none is asked for", asked,
			agent.Approve{At: start, Tool: capped, RequestID: "r1"},
			&limit, "",
		},
		{
			"less than the tool's longest", asked,
			agent.Approve{At: start, Tool: capped, RequestID: "r1", ExpiresAt: &early},
			&early, "",
		},
		{"exactly the tool's longest", asked, agent.Assign{At: start, Tool: capped, ExpiresAt: &limit}, &limit, ""},
		{
			"a nanosecond more", asked,
			agent.Assign{At: start, Tool: capped, ExpiresAt: &beyond},
			nil,
			"validation_failed",
		},
		{
			"an end in the past", asked,
			agent.Approve{At: start, Tool: shared, RequestID: "r1", ExpiresAt: &past},
			nil,
			"validation_failed",
		},
		{"an end now", asked, agent.Assign{At: start, Tool: shared, ExpiresAt: &start}, nil, "validation_failed"},
		{"assigning what was asked for keeps to the longest", asked, agent.Assign{At: start, Tool: capped}, &limit, ""},
		{
			"a tool with own credentials keeps to it too",
			[]agent.Event{registered()},
			agent.Assign{At: start, Tool: ownCapped, SecretID: "a"},
			&limit, "",
		},
		{
			"an approval without the agent's own credential",
			[]agent.Event{registered(), agent.GrantRequested{ToolID: "linear", RequestID: "r1"}},
			agent.Approve{At: start, Tool: own, RequestID: "r1"},
			nil, "validation_failed",
		},
		{
			"an approval with one that is not wanted", asked,
			agent.Approve{At: start, Tool: shared, RequestID: "r1", SecretID: "a"},
			nil, "validation_failed",
		},
		{
			"an approval for a tool that is gone", asked,
			agent.Approve{At: start, Tool: gone, RequestID: "r1"},
			nil,
			"not_found",
		},
		{"a denial for a tool that is gone", asked, agent.Deny{Tool: gone, RequestID: "r1"}, nil, "not_found"},
		{
			"an assignment of a tool that is gone",
			[]agent.Event{registered()},
			agent.Assign{At: start, Tool: gone},
			nil, "not_found",
		},
		{
			"a new credential for a tool that is gone",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "github"}},
			agent.ReplaceCredential{At: start, Tool: gone, SecretID: "b"},
			nil, "not_found",
		},
		{
			"a new credential that has ended",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "linear", SecretID: "a"}},
			agent.ReplaceCredential{At: start, Tool: own, SecretID: "b", ExpiresAt: &start},
			nil, "validation_failed",
		},
		{
			"a new credential for a shared tool",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "github"}},
			agent.ReplaceCredential{At: start, Tool: shared, SecretID: "b"},
			nil, "validation_failed",
		},
		{
			"a new credential of other parts",
			[]agent.Event{
				registered(),
				agent.GrantAssigned{ToolID: "linear", SecretID: "a", CredentialFields: domain.Parts{"key", "user"}},
			},
			agent.ReplaceCredential{At: start, Tool: own, SecretID: "b", CredentialFields: domain.Parts{"key"}},
			nil, "credential_shape_differs",
		},
		{
			"a new credential of other parts than the one that was approved",
			[]agent.Event{
				registered(),
				agent.GrantRequested{ToolID: "linear", RequestID: "r1"},
				agent.GrantApproved{
					ToolID: "linear", RequestID: "r1", SecretID: "a", CredentialFields: domain.Parts{"key"},
				},
			},
			agent.ReplaceCredential{At: start, Tool: own, SecretID: "b"},
			nil, "credential_shape_differs",
		},
		{
			"no new credential where one is needed",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "linear", SecretID: "a"}},
			agent.ReplaceCredential{At: start, Tool: own},
			nil, "validation_failed",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := agent.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.then, endOf(events)); diff != "" || len(events) != 1 {
				t.Errorf("%d events, the end (-want +got):\n%s", len(events), diff)
			}
		})
	}
}

func endOf(events []agent.Event) *time.Time {
	for _, e := range events {
		switch e := e.(type) {
		case agent.GrantApproved:
			return e.ExpiresAt
		case agent.GrantAssigned:
			return e.ExpiresAt
		default:
		}
	}
	return nil
}

func TestReplacingACredentialCountsItsVersions(t *testing.T) {
	given := []agent.Event{registered(), agent.GrantAssigned{ToolID: "linear", SecretID: "a"}}
	before := "a"
	for i, secret := range []string{"b", "c"} {
		events, err := agent.Decide(
			fold(given...), agent.ReplaceCredential{At: start, Tool: own, SecretID: secret, ExpiresAt: &soon},
		)
		want := []agent.Event{
			agent.GrantCredentialReplaced{
				ToolID: "linear", SecretID: secret, Replaces: before, CredentialVersion: i + 2, ExpiresAt: &soon,
			},
		}
		before = secret
		if diff := cmp.Diff(want, events); err != nil || diff != "" {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
		given = append(given, events...)
		if again, err := agent.Decide(
			fold(given...), agent.ReplaceCredential{At: start, Tool: own, SecretID: secret},
		); err != nil || len(again) > 0 {
			t.Errorf("the same credential again: %v %v", again, err)
		}
	}
	given = append(given, agent.GrantRevoked{ToolID: "linear"}, agent.GrantAssigned{ToolID: "linear", SecretID: "d"})
	if g := fold(given...).Grants["linear"]; g.CredentialVersion != 1 || g.SecretID != "d" ||
		g.CredentialExpiresAt != nil {
		t.Errorf("a new grant carries what the former had: %+v", g)
	}
}

// full is an agent with as many open grants as it may have, the first of them until an hour before
// start.
func full() []agent.Event {
	events := []agent.Event{registered(), agent.GrantAssigned{ToolID: "t0", ExpiresAt: &past}}
	for i := 1; i < agent.MaxOpenGrants; i++ {
		if i%2 == 0 {
			events = append(events, agent.GrantAssigned{ToolID: fmt.Sprintf("t%d", i)})
			continue
		}
		events = append(events, agent.GrantRequested{ToolID: fmt.Sprintf("t%d", i), RequestID: fmt.Sprintf("r%d", i)})
	}
	return events
}

func TestAnAgentHoldsAtMostSoManyOpenGrants(t *testing.T) {
	s := fold(full()...)
	if _, err := agent.Decide(
		s, agent.Request{At: start, Tool: shared, RequestID: "one more"},
	); codeOf(err) != "too_many_waiting" {
		t.Errorf("one more request: %v", err)
	}
	if _, err := agent.Decide(s, agent.Assign{At: start, Tool: shared}); codeOf(err) != "too_many_waiting" {
		t.Errorf("one more assignment: %v", err)
	}
	for _, c := range []agent.Command{
		agent.Assign{At: start, Tool: agent.Tool{ID: "t1", Exists: true}},
		agent.Approve{At: start, Tool: agent.Tool{ID: "t1", Exists: true}, RequestID: "r1"},
		agent.Request{At: start, Tool: agent.Tool{ID: "t0", Exists: true}, RequestID: "again"},
		agent.Assign{At: start, Tool: agent.Tool{ID: "t0", Exists: true}},
	} {
		if events, err := agent.Decide(s, c); err != nil || len(events) == 0 {
			t.Errorf("%+v makes none more and is refused: %v", c, err)
		}
	}
	s = agent.Evolve(s, domain.Fact[agent.Event]{Event: agent.GrantRevoked{ToolID: "t2"}, At: start, By: admin})
	if _, err := agent.Decide(s, agent.Request{At: start, Tool: shared, RequestID: "one more"}); err != nil {
		t.Errorf("after one ended: %v", err)
	}
}

func TestSuspendingAndRetiringEndWhatIsOpenAndReactivatingRestoresNothing(t *testing.T) {
	for _, end := range []struct {
		command agent.Command
		event   agent.Event
		cause   agent.Cause
	}{
		{agent.Suspend{}, agent.Suspended{}, agent.CauseSuspended},
		{agent.Retire{}, agent.Retired{}, agent.CauseRetired},
	} {
		s := fold(
			append(
				full(), agent.GrantDenied{ToolID: "t1", RequestID: "r1"},
				agent.GrantWithdrawn{ToolID: "t3", RequestID: "r3"},
			)...,
		)
		events, err := agent.Decide(s, end.command)
		if err != nil || events[0] != end.event || len(events) != 1+agent.MaxOpenGrants-2 {
			t.Fatalf("%T: %d events, %v", end.command, len(events), err)
		}
		for _, e := range events {
			s = agent.Evolve(s, domain.Fact[agent.Event]{Event: e, At: start, By: admin})
			if r, ok := e.(agent.GrantRevoked); ok && r.Cause != end.cause {
				t.Fatalf("a cause is %s", r.Cause)
			}
		}
		if s.Count(agent.Pending, start)+s.Count(agent.Approved, start) > 0 {
			t.Fatalf("%T left grants open", end.command)
		}
		if s.Grants["t1"].Status != agent.Denied || s.Grants["t3"].Status != agent.Withdrawn {
			t.Errorf("%T changed what had ended", end.command)
		}
		again, err := agent.Decide(s, agent.Reactivate{})
		if end.cause == agent.CauseRetired {
			if codeOf(err) != "not_found" {
				t.Errorf("retiring is not final: %v %v", again, err)
			}
			continue
		}
		s = agent.Evolve(s, domain.Fact[agent.Event]{Event: again[0], At: start, By: admin})
		if s.Status != agent.StatusActive || s.Count(agent.Pending, start)+s.Count(agent.Approved, start) > 0 {
			t.Errorf("reactivating brought access back")
		}
	}
}

func TestNothingIsDecidedOnceAnAgentIsRetired(t *testing.T) {
	s := fold(registered(), requested("r1"), agent.Retired{}, agent.GrantRevoked{ToolID: "github", RequestID: "r1"})
	for _, c := range []agent.Command{
		agent.Update{Name: new("x")},
		agent.RotateKey{At: start, Key: agent.Key{Number: 2}},
		agent.Suspend{},
		agent.Reactivate{},
		agent.Request{At: start, Tool: shared, RequestID: "r2"},
		agent.Withdraw{ToolID: "github"},
		agent.Approve{At: start, Tool: shared, RequestID: "r1"},
		agent.Deny{Tool: shared, RequestID: "r1"},
		agent.Assign{At: start, Tool: shared},
		agent.Revoke{ToolID: "github"},
		agent.Expire{At: start, Tool: agent.Tool{ID: "github"}},
		agent.ReplaceCredential{At: start, Tool: own, SecretID: "b"},
	} {
		if events, err := agent.Decide(s, c); codeOf(err) != "not_found" || len(events) > 0 {
			t.Errorf("%T: %v %v", c, events, err)
		}
	}
	if events, err := agent.Decide(s, agent.Register{Name: "again"}); err != nil || len(events) > 0 {
		t.Errorf("registered again: %v %v", events, err)
	}
}

// TestKeysOverlapAsAsked rotates and looks at which numbers work, moment by moment.
func TestKeysOverlapAsAsked(t *testing.T) {
	s := fold(registered())
	at := start
	rotate := func(overlap time.Duration) {
		t.Helper()
		events, err := agent.Decide(s, agent.RotateKey{
			At: at, Key: agent.Key{Number: s.NextKey}, Overlap: overlap, Force: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		s = agent.Evolve(s, domain.Fact[agent.Event]{Event: events[0], At: at, By: admin})
	}
	live := func() []int {
		var numbers []int
		for n := range s.NextKey {
			if agent.Admit(s, n, at) == nil {
				numbers = append(numbers, n)
			}
		}
		return numbers
	}
	want := func(numbers ...int) {
		t.Helper()
		if got := live(); !slices.Equal(got, numbers) {
			t.Errorf("at %s the keys %v work, want %v", at.Sub(start), got, numbers)
		}
	}
	want(1)
	rotate(time.Hour)
	want(1, 2)
	at = start.Add(time.Hour - time.Nanosecond)
	want(1, 2)
	at = start.Add(time.Hour)
	want(2)
	rotate(0)
	want(3)
	rotate(24 * time.Hour)
	want(3, 4)
	rotate(time.Minute)
	want(4, 5)
	rotate(24 * time.Hour) // an end that was said is never put off
	at = at.Add(time.Minute)
	want(5, 6)
	var refusal *domain.Error
	if err := agent.Admit(s, 4, at); !errors.As(err, &refusal) || refusal.Code != "credentials_expired" {
		t.Errorf("a caller with the former key doesn't learn that it was rotated: %v", err)
	}
}
