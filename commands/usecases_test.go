package commands_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/keys"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/organization"
	"agentkey/eventstore/codec"
)

func TestWhoPresentsAKeyIsFoundByIt(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	id, key := o.MustAgent("Onboarding")
	_, unknown, err := keys.New(keys.Agent, commandstest.NewID(), 1)
	if err != nil {
		t.Fatal(err)
	}
	_, numbered, err := keys.New(keys.Agent, key.ID, 9)
	if err != nil {
		t.Fatal(err)
	}
	for _, cached := range []bool{true, false} {
		c, err := o.Callers.Agent(ctx, key, cached)
		if err != nil || c.Actor != (domain.Actor{Type: domain.ActorAgent, ID: id, Label: "Onboarding"}) ||
			c.Organization != o.Inst.Begun.OrganizationID || c.KeyNumber != 1 {
			t.Errorf("its key: %+v %v", c, err)
		}
		for what, k := range map[string]keys.Key{
			"another secret": wrongKey(t, key), "nobody's": unknown, "another number": numbered,
		} {
			if c, err := o.Callers.Agent(ctx, k, cached); commandstest.Code(err) != "credentials_unknown" ||
				c.Actor.ID != "" {
				t.Errorf("%s: %+v %v", what, c.Actor, err)
			}
		}
	}
	o.MustDo(id, commandstest.Always(agent.Suspend{}))
	// A caller with the key of a suspended agent learns that, and is recorded; no other caller does.
	if c, err := o.Callers.Agent(ctx, key, true); commandstest.Code(err) != "agent_suspended" || c.Actor.ID != id {
		t.Errorf("suspended: %+v %v", c.Actor, err)
	}
	if _, err := o.Callers.Agent(ctx, wrongKey(t, key), true); commandstest.Code(err) != "credentials_unknown" {
		t.Errorf("suspended, with another secret: %v", err)
	}
	if _, err := o.Agents.Retire(ctx, o.Meta(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Callers.Agent(ctx, key, true); commandstest.Code(err) != "credentials_unknown" {
		t.Errorf("retired: %v", err)
	}
}

// TestACallerIsAdmittedOnWhatAnotherProcessDid: cached state is enough to continue a fetch, never
// to refuse one.
func TestACallerIsAdmittedOnWhatAnotherProcessDid(t *testing.T) {
	a := open(t)
	id, key := a.MustAgent("Onboarding")
	b := openOn(t, a.Server, a.Ring)
	ctx := t.Context()
	a.MustDo(id, commandstest.Always(agent.Suspend{}))
	if _, err := b.Callers.Agent(ctx, key, true); commandstest.Code(err) != "agent_suspended" {
		t.Fatal(err)
	}
	a.MustDo(id, commandstest.Always(agent.Reactivate{}))
	if _, err := b.Callers.Agent(ctx, key, true); err != nil {
		t.Errorf("reactivated elsewhere: %v", err)
	}
	r, err := a.Agents.RotateKey(ctx, a.Meta(), id, commands.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	next, err := keys.Parse(r.APIKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Callers.Agent(ctx, next, true); err != nil {
		t.Errorf("a key made elsewhere: %v", err)
	}
	if _, err := b.Callers.Agent(ctx, key, false); commandstest.Code(err) != "credentials_expired" {
		t.Errorf("a key that ended elsewhere: %v", err)
	}
}

func TestAServiceTokenActsForItsOrganization(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	organizationID := uuid.MustParse(o.Inst.Begun.OrganizationID)
	text, key, err := keys.New(keys.Service, organizationID, 1)
	if err != nil || text == "" {
		t.Fatal(err)
	}
	if _, err := o.Callers.Service(ctx, key); commandstest.Code(err) != "credentials_unknown" {
		t.Errorf("before it is known: %v", err)
	}
	loop := commands.NewOrganizationLoop(o.Env)
	do := func(c organization.Command) {
		t.Helper()
		if _, err := loop.Do(
			ctx, organizationID.String(), o.Meta(),
			func(organization.State, time.Time) (organization.Command, error) { return c, nil },
		); err != nil {
			t.Fatal(err)
		}
	}
	do(organization.CreateToken{
		Number: 1, TokenID: "t1", Sealed: "ci", Role: domain.RoleApprover, Hash: key.Hash(), By: theOperator,
	})
	want := commands.Caller{
		Actor: domain.Actor{Type: domain.ActorService, ID: "t1"}, Organization: organizationID.String(),
		Role: domain.RoleApprover, Proof: commands.Proof{KeyNumber: 1},
	}
	unknown := cmpopts.IgnoreUnexported(commands.Caller{})
	if c, err := o.Callers.Service(ctx, key); err != nil || !cmp.Equal(c, want, unknown) {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := o.Callers.Service(ctx, wrongKey(t, key)); commandstest.Code(err) != "credentials_unknown" {
		t.Errorf("another secret: %v", err)
	}
	do(organization.RevokeToken{TokenID: "t1", By: theOperator})
	if _, err := o.Callers.Service(ctx, key); commandstest.Code(err) != "credentials_unknown" {
		t.Errorf("revoked: %v", err)
	}
}

func TestARequestIsFoundByItsOwnAgentOnly(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	tool := o.MustTool("GitHub", catalog.Shared, "x")
	id, _ := o.MustAgent("One")
	request := o.mustRequest(id, tool)
	other := o.Meta()
	other.Organization = commandstest.NewID().String()
	decisions := map[string]func(loop.Meta, string) error{
		"approve": func(m loop.Meta, request string) error {
			_, err := o.Grants.Approve(ctx, m, request, commands.Terms{})
			return err
		},
		"deny": func(m loop.Meta, request string) error {
			_, err := o.Grants.Deny(ctx, m, request, "no")
			return err
		},
	}
	orphan := commandstest.NewID().String()
	signed := codec.Signed{
		Organization: o.Inst.Begun.OrganizationID, Actor: domain.Actor{Type: domain.ActorAgent, ID: id},
		CommandID: commandstest.NewID().String(), Time: time.Now().UTC(),
	}
	if _, err := o.Inst.Log.Write(
		ctx, "request-"+orphan, codec.Begin, codec.RequestOpened{AgentID: id, ToolID: tool}, signed,
	); err != nil {
		t.Fatal(err)
	}
	for name, decide := range decisions {
		for what, err := range map[string]error{
			"an unknown request":     decide(o.Meta(), commandstest.NewID().String()),
			"another organization's": decide(other, request), "an orphan": decide(o.Meta(), orphan),
		} {
			if commandstest.Code(err) != "not_found" {
				t.Errorf("%s %s: %v", name, what, err)
			}
		}
	}
	if err := decisions["deny"](o.Meta(), request); err != nil {
		t.Fatal(err)
	}
	for range 3 { // asked again, so that the request is no longer what the state holds
		again := o.mustRequest(id, tool)
		if err := decisions["deny"](o.Meta(), again); err != nil {
			t.Fatal(err)
		}
	}
	for name, decide := range decisions {
		if err := decide(o.Meta(), request); commandstest.Code(err) != "already_decided" {
			t.Errorf("%s what was decided long ago: %v", name, err)
		}
	}
}

func TestARequestForARemovedToolIsNotLeftOpen(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	tool := o.MustTool("GitHub", catalog.Shared, "x")
	id, _ := o.MustAgent("One")
	request := o.mustRequest(id, tool)
	if _, err := o.Tools.Remove(ctx, o.Meta(), tool); err != nil {
		t.Fatal(err)
	}
	before := o.MustFresh(id).Revision
	for name, err := range map[string]error{
		"approve": func() error { _, err := o.Grants.Approve(ctx, o.Meta(), request, commands.Terms{}); return err }(),
		"deny":    func() error { _, err := o.Grants.Deny(ctx, o.Meta(), request, ""); return err }(),
		"assign":  func() error { _, err := o.Grants.Assign(ctx, o.Meta(), id, tool, commands.Terms{}); return err }(),
		"request": func() error {
			_, _, err := o.Grants.Request(ctx, o.AsAgent(id), id, tool, commands.Wanted{Reason: "again"})
			return err
		}(),
	} {
		if commandstest.Code(err) != "not_found" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := o.MustFresh(id).Revision; after != before {
		t.Errorf("a refusal left %d events", after-before)
	}
	if _, err := o.Grants.Revoke(ctx, o.Meta(), id, tool, agent.CauseToolRemoved); err != nil ||
		o.MustFresh(id).State.Grants[tool].Status != agent.Revoked {
		t.Errorf("revoking what was asked for: %v", err)
	}
}

func TestUsageGuidesAreVersions(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	tool := o.MustTool("GitHub", catalog.Shared, "x")
	for _, text := range []string{"First.", "Second.", "Third."} {
		if _, err := o.Tools.Update(ctx, o.Meta(), catalog.UpdateTool{ToolID: tool, Instructions: &text}); err != nil {
			t.Fatal(err)
		}
	}
	done, err := o.Tools.Restore(ctx, o.Meta(), tool, 1)
	if got := done.State.Tools[tool]; err != nil || got.Instructions != "First." || got.InstructionsVersion != 4 {
		t.Errorf("restored %+v: %v", got, err)
	}
	if done, err := o.Tools.Restore(ctx, o.Meta(), tool, 4); err != nil || done.Changed {
		t.Errorf("the newest: %v", err)
	}
	for _, version := range []int{0, 5, -1} {
		if _, err := o.Tools.Restore(ctx, o.Meta(), tool, version); commandstest.Code(err) != "not_found" {
			t.Errorf("version %d: %v", version, err)
		}
	}
	if _, err := o.Tools.Restore(
		ctx, o.Meta(), commandstest.NewID().String(), 1,
	); commandstest.Code(err) != "not_found" {
		t.Errorf("of no tool: %v", err)
	}
	m := o.Meta()
	m.IfRevision = domain.Revisions{1}
	if _, err := o.Tools.Restore(ctx, m, tool, 2); commandstest.Code(err) != "revision_stale" {
		t.Errorf("on an old revision: %v", err)
	}
}

func TestAToolsNameAndSiteAreFoldedWhenItIsChanged(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	tool := o.MustTool("GitHub", catalog.Shared, "x")
	name, url := "Git  Hub", "https://api.github.com/v3"
	done, err := o.Tools.Update(ctx, o.Meta(), catalog.UpdateTool{ToolID: tool, Name: &name, URL: &url})
	if got := done.State.Tools[tool]; err != nil || got.FoldedName != "github" || got.Site != "github.com" {
		t.Errorf("%+v: %v", got, err)
	}
	_, _, err = o.Tools.Add(ctx, o.Meta(), catalog.AddTool{Name: "GIT HUB", Mode: catalog.PerAgent}, domain.Secret{})
	if refusal := (*domain.Error)(nil); !errors.As(err, &refusal) || refusal.Code != "tool_exists" ||
		refusal.Extra["tool_id"] != tool {
		t.Errorf("a second of the name: %v", err)
	}
}
