package commands_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/organization"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

func TestWhoPresentsAKeyIsFoundByIt(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	id, key := o.mustAgent("Onboarding")
	_, unknown, err := keys.New(keys.Agent, newID(), 1)
	if err != nil {
		t.Fatal(err)
	}
	_, numbered, err := keys.New(keys.Agent, key.ID, 9)
	if err != nil {
		t.Fatal(err)
	}
	for _, cached := range []bool{true, false} {
		c, err := o.callers.Agent(ctx, key, cached)
		if err != nil || c.Actor != (domain.Actor{Type: domain.ActorAgent, ID: id, Label: "Onboarding"}) || c.Organization != o.inst.Begun.OrganizationID || c.KeyNumber != 1 {
			t.Errorf("its key: %+v %v", c, err)
		}
		for what, k := range map[string]keys.Key{"another secret": wrongKey(t, key), "nobody's": unknown, "another number": numbered} {
			if c, err := o.callers.Agent(ctx, k, cached); code(err) != "credentials_unknown" || c.Actor.ID != "" {
				t.Errorf("%s: %+v %v", what, c.Actor, err)
			}
		}
	}
	o.mustDo(id, always(agent.Suspend{}))
	// Whoever holds the key of a suspended agent learns so, with the caller for the record; nobody else does.
	if c, err := o.callers.Agent(ctx, key, true); code(err) != "agent_suspended" || c.Actor.ID != id {
		t.Errorf("suspended: %+v %v", c.Actor, err)
	}
	if _, err := o.callers.Agent(ctx, wrongKey(t, key), true); code(err) != "credentials_unknown" {
		t.Errorf("suspended, with another secret: %v", err)
	}
	if _, err := o.agents.Retire(ctx, o.meta(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := o.callers.Agent(ctx, key, true); code(err) != "credentials_unknown" {
		t.Errorf("retired: %v", err)
	}
}

// TestACallerIsAdmittedOnWhatAnotherProcessDid: what is cached is enough to let a fetch go on, never to refuse.
func TestACallerIsAdmittedOnWhatAnotherProcessDid(t *testing.T) {
	a := open(t)
	id, key := a.mustAgent("Onboarding")
	b := openOn(t, a.server, a.ring)
	ctx := t.Context()
	a.mustDo(id, always(agent.Suspend{}))
	if _, err := b.callers.Agent(ctx, key, true); code(err) != "agent_suspended" {
		t.Fatal(err)
	}
	a.mustDo(id, always(agent.Reactivate{}))
	if _, err := b.callers.Agent(ctx, key, true); err != nil {
		t.Errorf("reactivated elsewhere: %v", err)
	}
	r, err := a.agents.RotateKey(ctx, a.meta(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	next, err := keys.Parse(r.APIKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.callers.Agent(ctx, next, true); err != nil {
		t.Errorf("a key made elsewhere: %v", err)
	}
	if _, err := b.callers.Agent(ctx, key, false); code(err) != "credentials_expired" {
		t.Errorf("a key that ended elsewhere: %v", err)
	}
}

func TestAServiceTokenActsForItsOrganization(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	organizationID := uuid.MustParse(o.inst.Begun.OrganizationID)
	text, key, err := keys.New(keys.Service, organizationID, 1)
	if err != nil || text == "" {
		t.Fatal(err)
	}
	if _, err := o.callers.Service(ctx, key); code(err) != "credentials_unknown" {
		t.Errorf("before it is known: %v", err)
	}
	loop := commands.NewOrganizationLoop(o.env)
	do := func(c organization.Command) {
		t.Helper()
		if _, err := loop.Do(ctx, organizationID.String(), o.meta(), func(organization.State, time.Time) (organization.Command, error) { return c, nil }); err != nil {
			t.Fatal(err)
		}
	}
	do(organization.CreateToken{Number: 1, TokenID: "t1", Name: "ci", Role: domain.RoleApprover, Hash: key.Hash()})
	want := commands.Caller{Actor: domain.Actor{Type: domain.ActorService, ID: "t1", Label: "ci"}, Organization: organizationID.String(), Role: domain.RoleApprover, KeyNumber: 1}
	if c, err := o.callers.Service(ctx, key); err != nil || !cmp.Equal(c, want) {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := o.callers.Service(ctx, wrongKey(t, key)); code(err) != "credentials_unknown" {
		t.Errorf("another secret: %v", err)
	}
	do(organization.RevokeToken{Number: 1})
	if _, err := o.callers.Service(ctx, key); code(err) != "credentials_unknown" {
		t.Errorf("revoked: %v", err)
	}
}

func TestARequestIsFoundByItsIDAndByNobodyElse(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	tool := o.mustTool("GitHub", catalog.Shared, "x")
	id, _ := o.mustAgent("One")
	request := o.mustRequest(id, tool)
	other := o.meta()
	other.Organization = newID().String()
	decisions := map[string]func(commands.Meta, string) error{
		"approve": func(m commands.Meta, request string) error {
			_, err := o.grants.Approve(ctx, m, request, commands.Terms{})
			return err
		},
		"deny": func(m commands.Meta, request string) error {
			_, err := o.grants.Deny(ctx, m, request, "no")
			return err
		},
	}
	orphan := newID().String()
	signed := codec.Signed{Organization: o.inst.Begun.OrganizationID, Actor: domain.Actor{Type: domain.ActorAgent, ID: id}, CommandID: newID().String(), Time: time.Now().UTC()}
	if _, err := o.inst.Log.Write(ctx, "request-"+orphan, eventstore.NoStream, codec.RequestOpened{AgentID: id, ToolID: tool}, signed); err != nil {
		t.Fatal(err)
	}
	for name, decide := range decisions {
		for what, err := range map[string]error{
			"an unknown request": decide(o.meta(), newID().String()), "another organization's": decide(other, request), "an orphan": decide(o.meta(), orphan),
		} {
			if code(err) != "not_found" {
				t.Errorf("%s %s: %v", name, what, err)
			}
		}
	}
	if err := decisions["deny"](o.meta(), request); err != nil {
		t.Fatal(err)
	}
	for range 3 { // asked anew, so that the request is no longer what the state holds
		again := o.mustRequest(id, tool)
		if err := decisions["deny"](o.meta(), again); err != nil {
			t.Fatal(err)
		}
	}
	for name, decide := range decisions {
		if err := decide(o.meta(), request); code(err) != "already_decided" {
			t.Errorf("%s what was decided long ago: %v", name, err)
		}
	}
}

func TestARequestForARemovedToolIsNotLeftOpen(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	tool := o.mustTool("GitHub", catalog.Shared, "x")
	id, _ := o.mustAgent("One")
	request := o.mustRequest(id, tool)
	if _, err := o.tools.Remove(ctx, o.meta(), tool); err != nil {
		t.Fatal(err)
	}
	before := o.mustFresh(id).Revision
	for name, err := range map[string]error{
		"approve": func() error { _, err := o.grants.Approve(ctx, o.meta(), request, commands.Terms{}); return err }(),
		"deny":    func() error { _, err := o.grants.Deny(ctx, o.meta(), request, ""); return err }(),
		"assign":  func() error { _, err := o.grants.Assign(ctx, o.meta(), id, tool, commands.Terms{}); return err }(),
		"request": func() error { _, _, err := o.grants.Request(ctx, o.asAgent(id), id, tool, "again"); return err }(),
	} {
		if code(err) != "not_found" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := o.mustFresh(id).Revision; after != before {
		t.Errorf("a refusal left %d events", after-before)
	}
	if _, err := o.grants.Revoke(ctx, o.meta(), id, tool, agent.CauseToolRemoved); err != nil || o.mustFresh(id).State.Grants[tool].Status != agent.Revoked {
		t.Errorf("revoking what was asked for: %v", err)
	}
}

func TestUsageGuidesAreVersions(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	tool := o.mustTool("GitHub", catalog.Shared, "x")
	for _, text := range []string{"First.", "Second.", "Third."} {
		if _, err := o.tools.Update(ctx, o.meta(), catalog.UpdateTool{ToolID: tool, Instructions: &text}); err != nil {
			t.Fatal(err)
		}
	}
	done, err := o.tools.Restore(ctx, o.meta(), tool, 1)
	if got := done.State.Tools[tool]; err != nil || got.Instructions != "First." || got.InstructionsVersion != 4 {
		t.Errorf("restored %+v: %v", got, err)
	}
	if done, err := o.tools.Restore(ctx, o.meta(), tool, 4); err != nil || done.Changed {
		t.Errorf("the newest: %v", err)
	}
	for _, version := range []int{0, 5, -1} {
		if _, err := o.tools.Restore(ctx, o.meta(), tool, version); code(err) != "not_found" {
			t.Errorf("version %d: %v", version, err)
		}
	}
	if _, err := o.tools.Restore(ctx, o.meta(), newID().String(), 1); code(err) != "not_found" {
		t.Errorf("of no tool: %v", err)
	}
	m := o.meta()
	m.IfRevision = 1
	if _, err := o.tools.Restore(ctx, m, tool, 2); code(err) != "revision_stale" {
		t.Errorf("on an old revision: %v", err)
	}
}

func TestAToolsNameAndSiteAreFoldedWhenItIsChanged(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	tool := o.mustTool("GitHub", catalog.Shared, "x")
	name, url := "Git  Hub", "https://api.github.com/v3"
	done, err := o.tools.Update(ctx, o.meta(), catalog.UpdateTool{ToolID: tool, Name: &name, URL: &url})
	if got := done.State.Tools[tool]; err != nil || got.FoldedName != "github" || got.Site != "github.com" {
		t.Errorf("%+v: %v", got, err)
	}
	_, _, err = o.tools.Add(ctx, o.meta(), catalog.AddTool{Name: "GIT HUB", Mode: catalog.PerAgent}, domain.Secret{})
	if refusal := (*domain.Error)(nil); !errors.As(err, &refusal) || refusal.Code != "tool_exists" || refusal.Extra["tool_id"] != tool {
		t.Errorf("a second of the name: %v", err)
	}
}
