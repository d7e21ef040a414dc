package agent_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/domain/agent"
)

var (
	start  = time.Date(2026, 3, 4, 14, 3, 0, 0, time.UTC)
	soon   = start.Add(time.Hour)
	past   = start.Add(-time.Hour)
	admin  = domain.Actor{Type: domain.ActorService, ID: "token"}
	shared = agent.Tool{ID: "github", Exists: true, SecretID: "s1", CredentialVersion: 1, InstructionsVersion: 2}
	own    = agent.Tool{ID: "linear", Exists: true, PerAgent: true}
	capped = agent.Tool{ID: "github", Exists: true, SecretID: "s1", CredentialVersion: 1, MaxGrant: time.Minute}
	gone   = agent.Tool{ID: "github"}
)

func registered() agent.Event {
	return agent.Registered{OrganizationID: "org", Name: "Onboarding", Key: agent.Key{Number: 1, ID: "k1", Hash: "h1"}}
}

func requested(id string) agent.Event {
	return agent.GrantRequested{ToolID: "github", RequestID: id, Reason: "open pull requests"}
}

func approved(id string) agent.Event { return agent.GrantApproved{ToolID: "github", RequestID: id} }

// fold begins at the zero state, one minute apart, the last event at start.
func fold(events ...agent.Event) agent.State {
	var s agent.State
	for i, e := range events {
		at := start.Add(time.Duration(i-len(events)+1) * time.Minute)
		s = agent.Evolve(s, domain.Fact[agent.Event]{Event: e, At: at, By: admin})
	}
	return s
}

// ofTeam are the labels of a team; none for "".
func ofTeam(team string) domain.Labels {
	if team == "" {
		return ""
	}
	return domain.NewLabels(map[string]string{"team": team})
}

func TestDecide(t *testing.T) {
	vend := agent.Vend{At: start, Tool: shared, KeyNumber: 1}
	vended := agent.CredentialVended{
		ToolID: "github", SecretID: "s1", CredentialVersion: 1, InstructionsVersion: 2, KeyNumber: 1,
	}
	tests := []struct {
		name  string
		given []agent.Event
		when  agent.Command
		then  []agent.Event
		code  string
	}{
		{
			"an agent begins with nothing", nil,
			agent.Register{OrganizationID: "org", Name: "Onboarding", Key: agent.Key{Number: 1, ID: "k1", Hash: "h1"}},
			[]agent.Event{registered()},
			"",
		},
		{"registering again does nothing", []agent.Event{registered()}, agent.Register{Name: "Other"}, nil, ""},
		{"an unknown agent can't be suspended", nil, agent.Suspend{}, nil, "not_found"},
		{"an agent without access gets nothing", []agent.Event{registered()}, vend, nil, "access_not_approved"},
		{
			"asking makes a pending request",
			[]agent.Event{registered()},
			agent.Request{At: start, Tool: shared, RequestID: "r1", Reason: "open pull requests"},
			[]agent.Event{requested("r1")},
			"",
		},
		{
			"asking twice is told so",
			[]agent.Event{registered(), requested("r1")},
			agent.Request{At: start, Tool: shared, RequestID: "r2"},
			nil, "already_pending",
		},
		{
			"asking for a tool that is gone",
			[]agent.Event{registered()},
			agent.Request{At: start, Tool: gone},
			nil,
			"not_found",
		},
		{
			"a pending request vends nothing",
			[]agent.Event{registered(), requested("r1")},
			vend, nil,
			"access_not_approved",
		},
		{
			"a human approves",
			[]agent.Event{registered(), requested("r1")},
			agent.Approve{At: start, Tool: shared, RequestID: "r1"},
			[]agent.Event{approved("r1")},
			"",
		},
		{
			"approving twice is told so",
			[]agent.Event{registered(), requested("r1"), approved("r1")},
			agent.Approve{At: start, Tool: shared, RequestID: "r1"},
			nil, "already_decided",
		},
		{
			"an older request can't be approved",
			[]agent.Event{
				registered(), requested("r1"), agent.GrantWithdrawn{ToolID: "github", RequestID: "r1"}, requested("r2"),
			},
			agent.Approve{At: start, Tool: shared, RequestID: "r1"},
			nil, "already_decided",
		},
		{
			"denying after approving is told so",
			[]agent.Event{registered(), requested("r1"), approved("r1")},
			agent.Deny{Tool: shared, RequestID: "r1"},
			nil, "already_decided",
		},
		{
			"an approved agent gets the credential",
			[]agent.Event{registered(), requested("r1"), approved("r1")},
			vend,
			[]agent.Event{vended},
			"",
		},
		{
			"asking for what one has",
			[]agent.Event{registered(), requested("r1"), approved("r1")},
			agent.Request{At: start, Tool: shared},
			nil, "already_approved",
		},
		{
			"a removed tool vends nothing",
			[]agent.Event{registered(), requested("r1"), approved("r1")},
			agent.Vend{At: start, Tool: gone, KeyNumber: 1},
			nil, "not_found",
		},
		{
			"a key that does not exist gets nothing",
			[]agent.Event{registered(), requested("r1"), approved("r1")},
			agent.Vend{At: start, Tool: shared, KeyNumber: 7},
			nil, "credentials_unknown",
		},
		{
			"a denied agent is told the reason",
			[]agent.Event{
				registered(), requested("r1"),
				agent.GrantDenied{ToolID: "github", RequestID: "r1", Reason: "use the bot"},
			},
			vend, nil, "access_not_approved",
		},
		{
			"a denied agent may ask again",
			[]agent.Event{registered(), requested("r1"), agent.GrantDenied{ToolID: "github", RequestID: "r1"}},
			agent.Request{At: start, Tool: shared, RequestID: "r2", Reason: "open pull requests"},
			[]agent.Event{requested("r2")},
			"",
		},
		{
			"withdrawing",
			[]agent.Event{registered(), requested("r1")},
			agent.Withdraw{ToolID: "github"},
			[]agent.Event{agent.GrantWithdrawn{ToolID: "github", RequestID: "r1"}},
			"",
		},
		{"withdrawing nothing", []agent.Event{registered()}, agent.Withdraw{ToolID: "github"}, nil, ""},
		{
			"revoking",
			[]agent.Event{registered(), requested("r1"), approved("r1")},
			agent.Revoke{ToolID: "github", Cause: agent.CauseAdmin},
			[]agent.Event{agent.GrantRevoked{ToolID: "github", RequestID: "r1", Cause: agent.CauseAdmin}},
			"",
		},
		{
			"revoking twice does nothing",
			[]agent.Event{registered(), requested("r1"), approved("r1"), agent.GrantRevoked{ToolID: "github"}},
			agent.Revoke{ToolID: "github"},
			nil, "",
		},
		{
			"after a revocation nothing is vended",
			[]agent.Event{registered(), requested("r1"), approved("r1"), agent.GrantRevoked{ToolID: "github"}},
			vend,
			nil, "access_not_approved",
		},
		{
			"access ends when its time has passed",
			[]agent.Event{
				registered(), requested("r1"),
				agent.GrantApproved{ToolID: "github", RequestID: "r1", ExpiresAt: &start},
			},
			vend, nil, "access_not_approved",
		},
		{
			"the end is written once",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "github", ExpiresAt: &past}},
			agent.Expire{At: start, Tool: agent.Tool{ID: "github"}},
			[]agent.Event{agent.GrantExpired{ToolID: "github"}},
			"",
		},
		{
			"what a freeze of its tool has ended does not expire",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "github", ExpiresAt: &past}},
			agent.Expire{At: start, Tool: agent.Tool{ID: "github", Exists: true, Freezes: 1}},
			nil, "",
		},
		{
			"the end is not written before its time",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "github", ExpiresAt: &soon}},
			agent.Expire{At: start, Tool: agent.Tool{ID: "github"}},
			nil, "",
		},
		{
			"asking after the end writes the end first",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "github", ExpiresAt: &past}},
			agent.Request{At: start, Tool: shared, RequestID: "r9", Reason: "open pull requests"},
			[]agent.Event{agent.GrantExpired{ToolID: "github"}, requested("r9")},
			"",
		},
		{
			"expiry must lie ahead",
			[]agent.Event{registered(), requested("r1")},
			agent.Approve{At: start, Tool: shared, RequestID: "r1", ExpiresAt: &start},
			nil, "validation_failed",
		},
		{
			"a tool's longest grant is the default",
			[]agent.Event{registered()},
			agent.Assign{At: start, Tool: capped},
			[]agent.Event{agent.GrantAssigned{ToolID: "github", ExpiresAt: new(start.Add(time.Minute))}},
			"",
		},
		{
			"a tool's longest grant is the limit",
			[]agent.Event{registered()},
			agent.Assign{At: start, Tool: capped, ExpiresAt: &soon},
			nil, "validation_failed",
		},
		{
			"a shared tool takes no credential of the agent's own",
			[]agent.Event{registered()},
			agent.Assign{At: start, Tool: shared, SecretID: "mine"},
			nil, "validation_failed",
		},
		{
			"a tool with own credentials needs one",
			[]agent.Event{registered()},
			agent.Assign{At: start, Tool: own},
			nil, "validation_failed",
		},
		{
			"assigning what was asked for approves it",
			[]agent.Event{registered(), requested("r1")},
			agent.Assign{At: start, Tool: shared},
			[]agent.Event{approved("r1")},
			"",
		},
		{
			"assigning twice is told so",
			[]agent.Event{registered(), agent.GrantAssigned{ToolID: "github"}},
			agent.Assign{At: start, Tool: shared},
			nil, "already_approved",
		},
		{
			"own credentials are vended by version",
			[]agent.Event{
				registered(),
				agent.GrantAssigned{ToolID: "linear", SecretID: "a"},
				agent.GrantCredentialReplaced{ToolID: "linear", SecretID: "b", CredentialVersion: 2},
			},
			agent.Vend{At: start, Tool: own, KeyNumber: 1},
			[]agent.Event{agent.CredentialVended{ToolID: "linear", SecretID: "b", CredentialVersion: 2, KeyNumber: 1}},
			"",
		},
		{
			"replacing without access",
			[]agent.Event{registered()},
			agent.ReplaceCredential{At: start, Tool: own, SecretID: "b"},
			nil, "not_found",
		},
		{
			"suspending ends every open grant in one write",
			[]agent.Event{registered(), requested("r1"), agent.GrantAssigned{ToolID: "linear", SecretID: "a"}},
			agent.Suspend{},
			[]agent.Event{
				agent.Suspended{},
				agent.GrantRevoked{ToolID: "github", RequestID: "r1", Cause: agent.CauseSuspended},
				agent.GrantRevoked{ToolID: "linear", SecretID: "a", Cause: agent.CauseSuspended},
			},
			"",
		},
		{"suspending twice does nothing", []agent.Event{registered(), agent.Suspended{}}, agent.Suspend{}, nil, ""},
		{
			"a suspended agent can't ask",
			[]agent.Event{registered(), agent.Suspended{}},
			agent.Request{At: start, Tool: shared},
			nil, "agent_suspended",
		},
		{
			"a suspended agent can't be given access",
			[]agent.Event{registered(), agent.Suspended{}},
			agent.Assign{At: start, Tool: shared},
			nil, "agent_not_active",
		},
		{
			"reactivating restores no grant",
			[]agent.Event{
				registered(),
				agent.GrantAssigned{ToolID: "github"},
				agent.Suspended{},
				agent.GrantRevoked{ToolID: "github"},
				agent.Reactivated{},
			},
			vend, nil, "access_not_approved",
		},
		{
			"a rotated key dies at once",
			[]agent.Event{
				registered(),
				agent.GrantAssigned{ToolID: "github"},
				agent.KeyRotated{Key: agent.Key{Number: 2}, Ended: []agent.KeyEnd{{Number: 1, At: start}}},
			},
			vend, nil, "credentials_expired",
		},
		{
			"or at the end of the overlap",
			[]agent.Event{
				registered(),
				agent.GrantAssigned{ToolID: "github"},
				agent.KeyRotated{Key: agent.Key{Number: 2}, Ended: []agent.KeyEnd{{Number: 1, At: soon}}},
			},
			vend,
			[]agent.Event{vended},
			"",
		},
		{
			"at most two keys live",
			[]agent.Event{
				registered(), agent.KeyRotated{Key: agent.Key{Number: 2}, Ended: []agent.KeyEnd{{Number: 1, At: soon}}},
			},
			agent.RotateKey{At: start, Key: agent.Key{Number: 3}, Overlap: time.Minute, Force: true},
			[]agent.Event{
				agent.KeyRotated{
					Key:   agent.Key{Number: 3},
					Ended: []agent.KeyEnd{{Number: 1, At: start}, {Number: 2, At: start.Add(time.Minute)}},
				},
			},
			"",
		},
		{
			"a rotation does not break the promise of another",
			[]agent.Event{
				registered(), agent.KeyRotated{Key: agent.Key{Number: 2}, Ended: []agent.KeyEnd{{Number: 1, At: soon}}},
			},
			agent.RotateKey{At: soon.Add(-time.Nanosecond), Key: agent.Key{Number: 3}},
			nil, "overlap_running",
		},
		{
			"and is free when the overlap is over",
			[]agent.Event{
				registered(), agent.KeyRotated{Key: agent.Key{Number: 2}, Ended: []agent.KeyEnd{{Number: 1, At: soon}}},
			},
			agent.RotateKey{At: soon, Key: agent.Key{Number: 3}},
			[]agent.Event{
				agent.KeyRotated{Key: agent.Key{Number: 3}, Ended: []agent.KeyEnd{{Number: 2, At: soon}}},
			},
			"",
		},
		{
			"a retired agent's key is unknown",
			[]agent.Event{registered(), agent.Retired{}},
			vend, nil,
			"credentials_unknown",
		},
		{"retiring twice does nothing", []agent.Event{registered(), agent.Retired{}}, agent.Retire{}, nil, ""},
		{
			"a change to the same value does nothing",
			[]agent.Event{registered()},
			agent.Update{Name: new("Onboarding")},
			nil, "",
		},
		{
			"all labels are replaced by others",
			[]agent.Event{registered(), agent.Updated{Labels: new(ofTeam("a"))}},
			agent.Update{Labels: new(ofTeam("b"))},
			[]agent.Event{agent.Updated{Labels: new(ofTeam("b"))}},
			"",
		},
		{
			"labels are removed once",
			[]agent.Event{registered(), agent.Updated{Labels: new(ofTeam("a"))}, agent.Updated{Labels: new(ofTeam(""))}},
			agent.Update{Labels: new(ofTeam(""))},
			nil, "",
		},
		{
			"a change on an old revision is stale",
			[]agent.Event{registered(), agent.Updated{Name: new("New")}},
			agent.Update{Name: new("Newer"), IfRevision: domain.Revisions{1}},
			nil, "revision_stale",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := agent.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events, anyDigest); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusalsSayWhatToDoNext(t *testing.T) {
	_, err := agent.Decide(fold(registered(), requested("r1")), agent.Request{At: start, Tool: shared, RequestID: "r2"})
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Extra["request_id"] != "r1" ||
		!cmp.Equal(
			refusal.Next,
			[]domain.Next{{Op: "getMyTool", IDs: []string{"github"}}, {Op: "withdrawRequest", IDs: []string{"github"}}},
		) {
		t.Errorf("got %+v", refusal)
	}
	_, err = agent.Decide(
		fold(
			registered(), requested("r1"), agent.GrantDenied{ToolID: "github", RequestID: "r1", Reason: "use the bot"},
		),
		agent.Vend{At: start, Tool: shared, KeyNumber: 1},
	)
	if !errors.As(err, &refusal) || refusal.Extra["your_access"] != "denied" ||
		refusal.Extra["denial_reason"] != "use the bot" {
		t.Errorf("got %+v", refusal)
	}
}

func codeOf(err error) string {
	if refusal, ok := errors.AsType[*domain.Error](err); ok {
		return refusal.Code
	}
	if err != nil {
		return "fault: " + err.Error()
	}
	return ""
}

// TestARequestIsDecidedAsItWasSeen: under the names of agent and tool that the human read, and the
// event says so.
func TestARequestIsDecidedAsItWasSeen(t *testing.T) {
	tool := shared
	tool.Name = "GitHub"
	s := fold(registered(), requested("r1"))
	seen := domain.Seen{s.Digest(tool)}
	for _, c := range []agent.Command{
		agent.Approve{At: start, Tool: tool, RequestID: "r1", Seen: seen},
		agent.Deny{Tool: tool, RequestID: "r1", Seen: seen},
	} {
		events, err := agent.Decide(s, c)
		if err != nil || len(events) != 1 || !strings.Contains(fmt.Sprintf("%+v", events[0]), "DecidedOn:"+seen[0]) {
			t.Errorf("%T as it was seen: %+v %v", c, events, err)
		}
		if _, err := agent.Decide(
			fold(registered(), requested("r1"), agent.Updated{Name: new("Payments")}), c,
		); codeOf(err) != "revision_stale" {
			t.Errorf("%T of an agent of another name: %v", c, err)
		}
	}
	tool.Name = "Production"
	for _, c := range []agent.Command{
		agent.Approve{At: start, Tool: tool, RequestID: "r1", Seen: seen},
		agent.Deny{Tool: tool, RequestID: "r1", Seen: domain.Seen{}},
	} {
		if _, err := agent.Decide(s, c); codeOf(err) != "revision_stale" {
			t.Errorf("%T of a tool of another name: %v", c, err)
		}
	}
}

// anyDigest leaves the digest of what was decided on out of a comparison.
var anyDigest = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".DecidedOn" }, cmp.Ignore())
