package agent_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/agent"
)

var tools = []string{"github", "linear", "stripe"}

// history draws a state by carrying out drawn commands, and says what it did by the plainest rule
// there is.
type history struct {
	state  agent.State
	facts  []domain.Fact[agent.Event]
	now    time.Time
	asked  int
	access map[string]bool   // approved and not ended since, whatever the clock says
	frozen map[string]bool   // tools
	counts map[string]int    // of freezes, of each tool
	bound  int               // the number of the identity that the agent has; 0: none
	keys   map[int]time.Time // when each key made so far ends; far ahead while unset
}

var never = start.AddDate(100, 0, 0)

func (h *history) apply(t *rapid.T, c agent.Command) []agent.Event {
	old, before := h.state, encoded(t, h.state)
	events, err := agent.Decide(h.state, c)
	if err != nil && len(events) > 0 {
		t.Fatalf("%T was refused and has events", c)
	}
	for _, e := range events {
		f := domain.Fact[agent.Event]{Event: e, At: h.now, By: admin}
		h.state = agent.Evolve(h.state, f)
		h.facts = append(h.facts, f)
		h.note(t, e)
	}
	if _, vend := c.(agent.Vend); !vend && err == nil {
		if again, _ := agent.Decide(h.state, c); len(again) > 0 {
			if _, rotates := c.(agent.RotateKey); !rotates {
				t.Fatalf("%T twice made more events: %v", c, again)
			}
		}
	}
	if encoded(t, old) != before {
		t.Fatalf("%T changed a state that others may hold", c)
	}
	return events
}

func encoded(t *rapid.T, s agent.State) string {
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func (h *history) note(t *rapid.T, e agent.Event) {
	switch e := e.(type) {
	case agent.GrantApproved:
		h.access[e.ToolID] = true
		if e.Rule != nil && (e.ExpiresAt == nil || e.ToolID == "linear") {
			t.Fatalf("a rule gave %s, until %v", e.ToolID, e.ExpiresAt)
		}
	case agent.GrantAssigned:
		h.access[e.ToolID] = true
	case agent.GrantRevoked:
		delete(h.access, e.ToolID)
	case agent.GrantExpired:
		delete(h.access, e.ToolID)
	case agent.CredentialVended:
		if !h.access[e.ToolID] {
			t.Fatalf("%s was vended outside an approval", e.ToolID)
		}
		if e.Identity != nil {
			if h.bound == 0 || e.Identity.Binding != h.bound || e.KeyNumber != 0 {
				t.Fatalf("something was vended to binding %d, and bound is %d", e.Identity.Binding, h.bound)
			}
			return
		}
		if end, made := h.keys[e.KeyNumber]; !made || !h.now.Before(end) {
			t.Fatalf("something was vended to key %d, which is not live", e.KeyNumber)
		}
	case agent.Registered:
		h.keys[e.Key.Number] = never
	case agent.KeyRotated:
		for _, end := range e.Ended {
			if end.At.After(h.keys[end.Number]) {
				t.Fatalf("the end of key %d was put off", end.Number)
			}
			h.keys[end.Number] = end.At
		}
		if _, again := h.keys[e.Key.Number]; again {
			t.Fatalf("key number %d was given out twice", e.Key.Number)
		}
		h.keys[e.Key.Number] = never
	case agent.IdentityBound:
		h.bound = e.Number
	case agent.IdentityUnbound:
		h.bound = 0
	case agent.Retired:
		clear(h.keys)
		h.bound = 0
	default:
	}
}

// live is how many keys work.
func (h *history) live() int {
	n := 0
	for _, end := range h.keys {
		if h.now.Before(end) {
			n++
		}
	}
	return n
}

func (h *history) command(t *rapid.T) agent.Command {
	tool := agent.Tool{ID: rapid.SampledFrom(tools).Draw(t, "tool"), Exists: rapid.IntRange(0, 9).Draw(t, "exists") > 0}
	tool.PerAgent = tool.ID == "linear"
	h.freeze(t, tool.ID)
	tool.Frozen, tool.Freezes = h.frozen[tool.ID], h.counts[tool.ID]
	secret := ""
	if tool.PerAgent {
		secret = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "secret")
	}
	var ends *time.Time
	if rapid.Bool().Draw(t, "ends") {
		ends = new(h.now.Add(time.Duration(rapid.IntRange(-1, 5).Draw(t, "hours")) * time.Hour))
	}
	h.now = h.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute)
	switch rapid.IntRange(0, 21).Draw(t, "command") {
	case 0:
		return agent.Suspend{IfRevision: rapid.SliceOfN(rapid.IntRange(1, 3), 0, 2).Draw(t, "revisions")}
	case 1:
		return agent.Reactivate{}
	case 2:
		overlap := time.Duration(rapid.IntRange(0, 3).Draw(t, "overlap")) * time.Hour
		return agent.RotateKey{
			At: h.now, Key: agent.Key{Number: h.state.NextKey}, Overlap: overlap,
			Force: rapid.Bool().Draw(t, "force"),
		}
	case 18:
		return agent.BindIdentity{Identity: agent.Identity{Issuer: rapid.SampledFrom([]string{"i", "j"}).Draw(t, "issuer")}}
	case 19:
		return agent.UnbindIdentity{Number: rapid.IntRange(0, 3).Draw(t, "binding")}
	case 20:
		return agent.Vend{At: h.now, Tool: tool, Identity: &agent.Presented{Binding: rapid.IntRange(0, 3).Draw(t, "binding")}}
	case 21:
		deny := rapid.Bool().Draw(t, "deny")
		return agent.FollowRule{
			At: h.now, Tool: tool, RequestID: h.state.Grants[tool.ID].RequestID, Rule: domain.RuleVersion{ID: "rule"},
			Deny: deny, Reason: "no", For: time.Duration(rapid.IntRange(0, 2).Draw(t, "lasts")) * time.Hour,
		}
	case 17:
		return agent.Seed{
			At: h.now, Tool: tool, SuggestionID: "g", RequestID: "seeded", Approved: rapid.Bool().Draw(t, "approved"),
			Suspensions: rapid.IntRange(0, 2).Draw(t, "suspensions"),
		}
	case 13:
		return agent.Update{
			Name:   new(rapid.SampledFrom([]string{"n", "m"}).Draw(t, "name")),
			Labels: new(ofTeam(rapid.SampledFrom([]string{"", "x"}).Draw(t, "team"))),
		}
	case 14:
		if rapid.IntRange(0, 9).Draw(t, "retires") == 0 {
			return agent.Retire{}
		}
		return agent.Reactivate{}
	case 3, 4:
		h.asked++
		return agent.Request{At: h.now, Tool: tool, RequestID: string(rune('a' + h.asked%26)), Reason: "because"}
	case 5:
		return agent.Withdraw{ToolID: tool.ID}
	case 6, 7:
		return agent.Approve{
			At: h.now, Tool: tool, RequestID: h.state.Grants[tool.ID].RequestID, SecretID: secret, ExpiresAt: ends,
		}
	case 8:
		return agent.Deny{Tool: tool, RequestID: h.state.Grants[tool.ID].RequestID}
	case 9:
		return agent.Assign{At: h.now, Tool: tool, SecretID: secret, ExpiresAt: ends}
	case 10:
		freeze := rapid.IntRange(0, h.counts[tool.ID]).Draw(t, "of")
		return agent.Revoke{ToolID: tool.ID, Cause: agent.CauseAdmin, Freeze: freeze}
	case 15:
		return agent.RevokeApproved{By: admin.ID, Since: h.now.Add(-time.Hour)}
	case 11:
		return agent.Expire{At: h.now, Tool: tool}
	case 12:
		return agent.ReplaceCredential{At: h.now, Tool: tool, SecretID: secret}
	default:
		return agent.Vend{At: h.now, Tool: tool, KeyNumber: rapid.IntRange(0, h.state.NextKey).Draw(t, "key")}
	}
}

// freeze freezes a tool, or lifts the freeze, in the catalog.
func (h *history) freeze(t *rapid.T, tool string) {
	if rapid.IntRange(0, 5).Draw(t, "freeze") > 0 {
		return
	}
	if h.frozen[tool] = !h.frozen[tool]; h.frozen[tool] {
		h.counts[tool]++
		delete(h.access, tool)
	}
}

func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{
			now: start, access: map[string]bool{}, keys: map[int]time.Time{}, frozen: map[string]bool{},
			counts: map[string]int{},
		}
		h.apply(t, agent.Register{OrganizationID: "org", Name: "n", Key: agent.Key{Number: 1}})
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			c := h.command(t)
			live, before := h.state.Status == agent.StatusActive, agent.None
			if seed, ok := c.(agent.Seed); ok {
				before = h.state.Grants[seed.Tool.ID].Status
			}
			events := h.apply(t, c)
			if h.live() > 2 {
				t.Fatalf("%d keys are live", h.live())
			}
			if seed, ok := c.(agent.Seed); ok && len(events) > 0 &&
				(before != agent.None || !live || seed.Suspensions != h.state.Suspensions) {
				t.Fatalf("a grant that was %q, or of an agent that was suspended, was given again", before)
			}
			if v, ok := c.(agent.Vend); ok && len(events) > 0 {
				g := h.state.Grants[v.Tool.ID]
				if !live || !v.Tool.Exists || v.Tool.Frozen || (g.ExpiresAt != nil && !v.At.Before(*g.ExpiresAt)) {
					t.Fatalf("vended to a suspended agent, of a removed tool or after its time")
				}
			}
		}
		if h.state.Status != agent.StatusActive && len(h.access) > 0 {
			t.Fatalf("an agent that is %s has %v", h.state.Status, h.access)
		}
		checkFolds(t, h)
	})
}

// checkFolds compares the fold from the beginning with the fold from a stored snapshot in the
// middle.
func checkFolds(t *rapid.T, h *history) {
	cut := rapid.IntRange(0, len(h.facts)).Draw(t, "cut")
	var s agent.State
	for _, f := range h.facts[:cut] {
		s = agent.Evolve(s, f)
	}
	var from agent.State
	if err := json.Unmarshal([]byte(encoded(t, s)), &from); err != nil {
		t.Fatal(err)
	}
	for _, f := range h.facts[cut:] {
		from = agent.Evolve(from, f)
	}
	if diff := cmp.Diff(h.state, from); diff != "" {
		t.Fatalf("folded from a snapshot (-whole +snapshot):\n%s", diff)
	}
}

// TestFoldingNeverFails folds events in orders that no decision would ever make.
func TestFoldingNeverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s agent.State
		for range rapid.IntRange(0, 80).Draw(t, "events") {
			before := encoded(t, s)
			next := agent.Evolve(s, domain.Fact[agent.Event]{Event: anyEvent(t), At: start, By: admin})
			if encoded(t, s) != before {
				t.Fatal("folding changed a state that others may hold")
			}
			s = next
		}
		_, _ = agent.Decide(s, (&history{
			state: s, now: start, frozen: map[string]bool{}, counts: map[string]int{},
		}).command(t))
	})
}

func anyEvent(t *rapid.T) agent.Event {
	tool := rapid.SampledFrom(tools).Draw(t, "tool")
	number := rapid.IntRange(-1, 5).Draw(t, "number")
	return rapid.SampledFrom([]agent.Event{
		agent.Registered{Name: "n", Key: agent.Key{Number: number}},
		agent.Updated{Name: new("m")},
		agent.Updated{},
		agent.KeyRotated{
			Key: agent.Key{Number: number}, Ended: []agent.KeyEnd{{Number: number, At: soon}, {Number: 1, At: past}},
		},
		agent.KeyRotated{},
		agent.Suspended{},
		agent.IdentityBound{Number: number, Identity: agent.Identity{Issuer: "i"}},
		agent.IdentityUnbound{Number: number},
		agent.Reactivated{},
		agent.Retired{},
		agent.GrantRequested{ToolID: tool, RequestID: "r"},
		agent.GrantWithdrawn{ToolID: tool},
		agent.GrantApproved{ToolID: tool, ExpiresAt: &soon},
		agent.GrantDenied{ToolID: tool},
		agent.GrantDenied{ToolID: tool, Rule: &domain.RuleVersion{ID: "rule"}},
		agent.GrantAssigned{ToolID: tool, SecretID: "s"},
		agent.GrantAssigned{ToolID: tool, SuggestionID: "g"},
		agent.GrantRequested{ToolID: tool, RequestID: "r", SuggestionID: "g"},
		agent.GrantRevoked{ToolID: tool},
		agent.GrantExpired{ToolID: tool},
		agent.GrantCredentialReplaced{ToolID: tool, SecretID: "t", CredentialVersion: number},
		agent.CredentialVended{ToolID: tool, KeyNumber: number},
	}).Draw(t, "event")
}
