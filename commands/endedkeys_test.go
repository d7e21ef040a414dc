package commands_test

import (
	"testing"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/eventstore/codec"
)

func TestUsesOfAnEndedKeyAreCounted(t *testing.T) {
	o := open(t)
	id, key := o.MustAgent("Onboarding")
	if _, err := o.Agents.RotateKey(t.Context(), o.Meta(), id, commands.Rotation{}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		caller, err := o.Callers.Agent(t.Context(), key, false)
		if commandstest.Code(err) != "credentials_expired" {
			t.Fatal(err)
		}
		if err := o.Refusals.EndedKey(t.Context(), o.AsAgent(id), caller); err != nil {
			t.Fatal(err)
		}
	}
	_, stop := o.running()
	stop()
	stored, err := o.Inst.Log.ReadForward(t.Context(), codec.Refusals.Stream(id), 0, 100)
	if err != nil || len(stored) != 2 {
		t.Fatalf("%d were written: %v", len(stored), err)
	}
	for i, count := range []int{1, 19} {
		e, _ := stored[i].Event.(codec.KeyRefused)
		if e.Count != count || e.AgentID != id || e.KeyID == "" || e.Reason != "rotated" {
			t.Errorf("event %d is %+v", i, stored[i].Event)
		}
	}
}
