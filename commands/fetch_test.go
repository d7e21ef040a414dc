package commands_test

import (
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
)

func TestAnAgentAsksAHumanApprovesTheAgentFetches(t *testing.T) {
	o := open(t)
	tool := o.mustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.mustAgent("Onboarding")
	ctx := t.Context()

	if _, err := o.fetch.Do(ctx, o.asAgent(id), id, key.Number, tool); code(err) != "access_not_approved" {
		t.Fatalf("an agent with nothing got %v", err)
	}
	request, _, err := o.grants.Request(ctx, o.asAgent(id), id, tool, "open pull requests")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.grants.Request(ctx, o.asAgent(id), id, tool, "again"); code(err) != "already_pending" {
		t.Errorf("asking twice: %v", err)
	}
	d, err := o.grants.Approve(ctx, o.meta(), request, commands.Terms{})
	if err != nil || d.Grant().Status != agent.Approved || d.Tool.Name != "GitHub" {
		t.Fatalf("approve: %+v %v", d, err)
	}
	if _, err := o.grants.Deny(ctx, o.meta(), request, ""); code(err) != "already_decided" {
		t.Errorf("deciding twice: %v", err)
	}
	v := o.mustFetch(id, tool, key.Number)
	if string(v.Credential.Reveal()) != `"ghp_first"` || v.CredentialVersion != 1 {
		t.Errorf("got version %d", v.CredentialVersion)
	}
	stored, err := o.inst.Log.ReadForward(ctx, v.Stream, uint64(v.Revision), 1)
	if err != nil || len(stored) != 1 || stored[0].ID != v.EventID || stored[0].Type != "credential.vended.v1" || stored[0].Position != v.Position {
		t.Errorf("the receipt names %+v: %v", stored, err)
	}
	if _, err := o.tools.RotateCredential(ctx, o.meta(), tool, o.credential("ghp_second"), nil); err != nil {
		t.Fatal(err)
	}
	if v := o.mustFetch(id, tool, key.Number); string(v.Credential.Reveal()) != `"ghp_second"` || v.CredentialVersion != 2 {
		t.Errorf("after the rotation came version %d", v.CredentialVersion)
	}
	if _, err := o.grants.Revoke(ctx, o.meta(), id, tool, agent.CauseAdmin); err != nil {
		t.Fatal(err)
	}
	if _, err := o.fetch.Do(ctx, o.asAgent(id), id, key.Number, tool); code(err) != "access_not_approved" {
		t.Errorf("after the revocation: %v", err)
	}
}

func TestEachAgentHasItsOwnCredential(t *testing.T) {
	o := open(t)
	tool := o.mustTool("Linear", catalog.PerAgent, "")
	ctx := t.Context()
	first, firstKey := o.mustAgent("One")
	second, secondKey := o.mustAgent("Two")
	for id, text := range map[string]string{first: "lin_one", second: "lin_two"} {
		if _, err := o.grants.Assign(ctx, o.meta(), id, tool, commands.Terms{}); code(err) != "validation_failed" {
			t.Errorf("without a credential: %v", err)
		}
		if _, err := o.grants.Assign(ctx, o.meta(), id, tool, commands.Terms{Credential: o.credential(text)}); err != nil {
			t.Fatal(err)
		}
	}
	if v := o.mustFetch(first, tool, firstKey.Number); string(v.Credential.Reveal()) != `"lin_one"` {
		t.Error("the first got another's")
	}
	if _, err := o.grants.Replace(ctx, o.meta(), first, tool, commands.Terms{Credential: o.credential("lin_new")}); err != nil {
		t.Fatal(err)
	}
	if v := o.mustFetch(first, tool, firstKey.Number); string(v.Credential.Reveal()) != `"lin_new"` || v.CredentialVersion != 2 {
		t.Errorf("after replacing: version %d", v.CredentialVersion)
	}
	if v := o.mustFetch(second, tool, secondKey.Number); string(v.Credential.Reveal()) != `"lin_two"` || v.CredentialVersion != 1 {
		t.Error("the second one's changed")
	}
}

func TestAnotherProcessSeesEverything(t *testing.T) {
	a := open(t)
	tool := a.mustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := a.mustAgent("Onboarding")
	a.mustAssign(id, tool)
	b := openOn(t, a.server, a.ring)
	b.mustFetch(id, tool, key.Number)
	a.mustFetch(id, tool, key.Number)
	if _, err := a.agents.Do(t.Context(), a.meta(), id, func(agent.State, time.Time) (agent.Command, error) { return agent.Suspend{}, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.fetch.Do(t.Context(), b.asAgent(id), id, key.Number, tool); code(err) != "agent_suspended" {
		t.Errorf("the other process vends on: %v", err)
	}
}

func TestRefusalsAreRecordedOnceAMinute(t *testing.T) {
	o := open(t)
	tool := o.mustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.mustAgent("Onboarding")
	for range 20 {
		if _, err := o.fetch.Do(t.Context(), o.asAgent(id), id, key.Number, tool); code(err) != "access_not_approved" {
			t.Fatal(err)
		}
	}
	stored, err := o.inst.Log.ReadForward(t.Context(), "refusals-"+id, 0, 100)
	if err != nil || len(stored) != 1 {
		t.Fatalf("%d refusals were written: %v", len(stored), err)
	}
	tick := make(chan time.Time)
	ctx, stop := contextWithStop(t)
	done := make(chan struct{})
	go func() {
		o.refusals.Run(ctx, tick)
		close(done)
	}()
	stop()
	<-done
	stored, err = o.inst.Log.ReadForward(t.Context(), "refusals-"+id, 0, 100)
	if err != nil || len(stored) != 2 {
		t.Fatalf("%d refusals after stopping: %v", len(stored), err)
	}
	if r := stored[1].Event.(codec.CredentialRefused); r.Count != 19 || r.Reason != "access_not_approved" || r.ToolID != tool {
		t.Errorf("the rest is %+v", r)
	}
}

// BenchmarkFetch is a fetch without HTTP: one agent, one tool, as many callers as processors times 16.
func BenchmarkFetch(b *testing.B) {
	o := open(b)
	tool := o.mustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.mustAgent("Onboarding")
	o.mustAssign(id, tool)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			o.mustFetch(id, tool, key.Number)
		}
	})
}
