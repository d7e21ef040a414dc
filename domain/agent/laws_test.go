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

// history draws a state by carrying out drawn commands, and says what it did by the plainest rule there is.
type history struct {
	state  agent.State
	facts  []domain.Fact[agent.Event]
	now    time.Time
	asked  int
	keys   int
	access map[string]bool // approved and not ended since, whatever the clock says
}

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
	}
}

func (h *history) command(t *rapid.T) agent.Command {
	tool := agent.Tool{ID: rapid.SampledFrom(tools).Draw(t, "tool"), Exists: rapid.IntRange(0, 9).Draw(t, "exists") > 0}
	tool.PerAgent = tool.ID == "linear"
	secret := ""
	if tool.PerAgent {
		secret = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "secret")
	}
	var ends *time.Time
	if rapid.Bool().Draw(t, "ends") {
		ends = ptr(h.now.Add(time.Duration(rapid.IntRange(-1, 5).Draw(t, "hours")) * time.Hour))
	}
	h.now = h.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute)
	switch rapid.IntRange(0, 14).Draw(t, "command") {
	case 0:
		return agent.Suspend{}
	case 1:
		return agent.Reactivate{}
	case 2:
		return agent.RotateKey{At: h.now, Key: agent.Key{Number: h.state.NextKey}, Overlap: time.Hour}
	case 3, 4:
		h.asked++
		return agent.Request{At: h.now, Tool: tool, RequestID: string(rune('a' + h.asked%26)), Reason: "because"}
	case 5:
		return agent.Withdraw{ToolID: tool.ID}
	case 6, 7:
		return agent.Approve{At: h.now, Tool: tool, RequestID: h.state.Grants[tool.ID].RequestID, SecretID: secret, ExpiresAt: ends}
	case 8:
		return agent.Deny{Tool: tool, RequestID: h.state.Grants[tool.ID].RequestID}
	case 9:
		return agent.Assign{At: h.now, Tool: tool, SecretID: secret, ExpiresAt: ends}
	case 10:
		return agent.Revoke{ToolID: tool.ID, Cause: agent.CauseAdmin}
	case 11:
		return agent.Expire{At: h.now, ToolID: tool.ID}
	case 12:
		return agent.ReplaceCredential{At: h.now, Tool: tool, SecretID: secret}
	default:
		return agent.Vend{At: h.now, Tool: tool, KeyNumber: rapid.IntRange(1, 4).Draw(t, "key")}
	}
}

func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{now: start, access: map[string]bool{}}
		h.apply(t, agent.Register{OrganizationID: "org", Name: "n", Key: agent.Key{Number: 1}})
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			c := h.command(t)
			live := h.state.Status == agent.Active
			events := h.apply(t, c)
			if v, ok := c.(agent.Vend); ok && len(events) > 0 {
				g := h.state.Grants[v.Tool.ID]
				if !live || !v.Tool.Exists || (g.ExpiresAt != nil && !v.At.Before(*g.ExpiresAt)) {
					t.Fatalf("vended to a suspended agent, of a removed tool or after its time")
				}
			}
		}
		if h.state.Status == agent.StatusSuspend && len(h.access) > 0 {
			t.Fatalf("a suspended agent has %v", h.access)
		}
		checkFolds(t, h)
	})
}

// checkFolds holds the fold from the beginning against the fold from a snapshot in the middle, as it is stored.
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
