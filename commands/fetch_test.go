package commands_test

import (
	"context"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
)

func TestAnAgentAsksAHumanApprovesTheAgentFetches(t *testing.T) {
	o := open(t)
	tool := o.MustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.MustAgent("Onboarding")
	ctx := t.Context()

	by := commands.Proof{KeyNumber: key.Number}
	if _, err := o.Fetch.Do(ctx, o.AsAgent(id), id, by, tool); commandstest.Code(err) != "access_not_approved" {
		t.Fatalf("an agent with nothing got %v", err)
	}
	request, _, err := o.Grants.Request(ctx, o.AsAgent(id), id, tool, commands.Wanted{Reason: "open pull requests"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.Grants.Request(
		ctx, o.AsAgent(id), id, tool, commands.Wanted{Reason: "again"},
	); commandstest.Code(err) != "already_pending" {
		t.Errorf("asking twice: %v", err)
	}
	d, err := o.Grants.Approve(ctx, o.Meta(), request, commands.Terms{})
	if err != nil || d.Grant().Status != agent.Approved || d.Tool.Name != "GitHub" {
		t.Fatalf("approve: %+v %v", d, err)
	}
	if _, err := o.Grants.Deny(ctx, o.Meta(), request, ""); commandstest.Code(err) != "already_decided" {
		t.Errorf("deciding twice: %v", err)
	}
	v := o.MustFetch(id, tool, key.Number)
	if string(v.Credential.Reveal()) != `"ghp_first"` || v.CredentialVersion != 1 {
		t.Errorf("got version %d", v.CredentialVersion)
	}
	stored, err := o.Inst.Log.ReadForward(ctx, v.Stream, uint64(v.Revision), 1)
	if err != nil || len(stored) != 1 || stored[0].ID != v.EventID || stored[0].Type != "credential.vended.v1" ||
		stored[0].Position != v.Position {
		t.Errorf("the receipt names %+v: %v", stored, err)
	}
	second := commands.Terms{Credential: o.Credential("ghp_second")}
	if _, err := o.Tools.RotateCredential(ctx, o.Meta(), tool, second); err != nil {
		t.Fatal(err)
	}
	if v := o.MustFetch(id, tool, key.Number); string(v.Credential.Reveal()) != `"ghp_second"` ||
		v.CredentialVersion != 2 {
		t.Errorf("after the rotation came version %d", v.CredentialVersion)
	}
	if _, err := o.Grants.Revoke(ctx, o.Meta(), id, tool, agent.CauseAdmin); err != nil {
		t.Fatal(err)
	}
	by = commands.Proof{KeyNumber: key.Number}
	if _, err := o.Fetch.Do(ctx, o.AsAgent(id), id, by, tool); commandstest.Code(err) != "access_not_approved" {
		t.Errorf("after the revocation: %v", err)
	}
}

func TestEachAgentHasItsOwnCredential(t *testing.T) {
	o := open(t)
	tool := o.MustTool("Linear", catalog.PerAgent, "")
	ctx := t.Context()
	first, firstKey := o.MustAgent("One")
	second, secondKey := o.MustAgent("Two")
	for id, text := range map[string]string{first: "lin_one", second: "lin_two"} {
		if _, err := o.Grants.Assign(
			ctx, o.Meta(), id, tool, commands.Terms{},
		); commandstest.Code(err) != "validation_failed" {
			t.Errorf("without a credential: %v", err)
		}
		if _, err := o.Grants.Assign(
			ctx, o.Meta(), id, tool, commands.Terms{Credential: o.Credential(text)},
		); err != nil {
			t.Fatal(err)
		}
	}
	if v := o.MustFetch(first, tool, firstKey.Number); string(v.Credential.Reveal()) != `"lin_one"` {
		t.Error("the first got another's")
	}
	if _, err := o.Grants.Replace(
		ctx, o.Meta(), first, tool, commands.Terms{Credential: o.Credential("lin_new")},
	); err != nil {
		t.Fatal(err)
	}
	if v := o.MustFetch(first, tool, firstKey.Number); string(v.Credential.Reveal()) != `"lin_new"` ||
		v.CredentialVersion != 2 {
		t.Errorf("after replacing: version %d", v.CredentialVersion)
	}
	if v := o.MustFetch(second, tool, secondKey.Number); string(v.Credential.Reveal()) != `"lin_two"` ||
		v.CredentialVersion != 1 {
		t.Error("the second one's changed")
	}
}

func TestAnotherProcessSeesEverything(t *testing.T) {
	a := open(t)
	tool := a.MustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := a.MustAgent("Onboarding")
	a.MustAssign(id, tool)
	b := openOn(t, a.Server, a.Ring)
	b.MustFetch(id, tool, key.Number)
	a.MustFetch(id, tool, key.Number)
	if _, err := a.Agents.Do(
		t.Context(), a.Meta(), id, func(agent.State, time.Time) (agent.Command, error) { return agent.Suspend{}, nil },
	); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Fetch.Do(
		t.Context(), b.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool,
	); commandstest.Code(err) != "agent_suspended" {
		t.Errorf("the other process vends on: %v", err)
	}
}

func TestRefusalsAreRecordedOnceAMinute(t *testing.T) {
	o := open(t)
	tool := o.MustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.MustAgent("Onboarding")
	for range 20 {
		if _, err := o.Fetch.Do(
			t.Context(), o.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool,
		); commandstest.Code(err) != "access_not_approved" {
			t.Fatal(err)
		}
	}
	stored, err := o.Inst.Log.ReadForward(t.Context(), "refusals-"+id, 0, 100)
	if err != nil || len(stored) != 1 {
		t.Fatalf("%d refusals were written: %v", len(stored), err)
	}
	tick := make(chan time.Time)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		o.Refusals.Run(ctx, tick)
		close(done)
	}()
	stop()
	<-done
	stored, err = o.Inst.Log.ReadForward(t.Context(), "refusals-"+id, 0, 100)
	if err != nil || len(stored) != 2 {
		t.Fatalf("%d refusals after stopping: %v", len(stored), err)
	}
	if r := stored[1].Event.(codec.CredentialRefused); r.Count != 19 || r.Reason != "access_not_approved" ||
		r.ToolID != tool {
		t.Errorf("the rest is %+v", r)
	}
}

// BenchmarkFetch is a fetch without HTTP: one agent, one tool, as many callers as processors times
// 16.
func BenchmarkFetch(b *testing.B) {
	o := open(b)
	tool := o.MustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.MustAgent("Onboarding")
	o.MustAssign(id, tool)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			o.MustFetch(id, tool, key.Number)
		}
	})
}
