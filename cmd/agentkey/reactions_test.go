package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
	"agentkey/projections/reactions"
)

// TestARemovalIsFinishedAfterACrash removes a tool as a process does that dies right
// after its append. The next one revokes what agents had of it, once, and a further start writes
// nothing.
func TestARemovalIsFinishedAfterACrash(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 3, 2)
	p.stop()
	p.office(func(ctx context.Context, o *office) error {
		tools := &commands.Tools{
			Catalogs: commands.NewCatalogLoop(o.env), Secrets: o.inst.Secrets, Log: o.inst.Log, Clock: time.Now,
		}
		_, err := tools.Remove(ctx, o.meta(o.inst.Begun.OrganizationID), f.tools[0])
		return err
	})
	p.run()
	revoked := func() []string {
		var out []string
		for _, e := range p.admin().must(
			200, "GET", "/api/admin/audit?action=grant.revoked&tool_id="+f.tools[0], nil,
		).Items() {
			out = append(out, e["agent_id"].(string))
		}
		return out
	}
	wait.Until(t, "revoked for every agent", func() bool { return len(revoked()) == len(f.ids) })
	got := revoked()
	slices.Sort(got)
	if diff := cmp.Diff(slices.Sorted(slices.Values(f.ids)), got); diff != "" {
		t.Errorf("revoked for other agents (-want +got):\n%s", diff)
	}
	if a := p.with(f.keys[0]).fetch(f.tools[1]); a.Status != 200 {
		t.Errorf("another tool: %s", a.Body)
	}
	p.reacted("removed_tools", 1)
	p.restart()
	p.stop()
	head := p.head()
	p.run()
	p.stop()
	if now := p.head(); now != head {
		t.Errorf("an idle start moved the log from %d to %d", head, now)
	}
}

// reacted waits until a reaction has recorded so many effects; its first record says only where it
// began.
func (p *program) reacted(name string, effects uint64) {
	p.t.Helper()
	p.office(func(ctx context.Context, o *office) error {
		wait.Until(p.t, "handled by "+name, func() bool {
			last, err := o.client.ReadBackward(ctx, "reaction-"+name, 1)
			return err == nil && len(last) == 1 && last[0].Revision >= effects
		})
		return nil
	})
}

// TestReplacedCredentialsAreRemovedAMinuteLater lets the reaction's clock be two minutes ahead.
func TestReplacedCredentialsAreRemovedAMinuteLater(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 1, 1)
	admin := p.admin()
	admin.must(200, "PUT", "/api/admin/tools/"+f.tools[0]+"/credential", object{"credential": "second"})
	own := admin.must(
		201, "POST", "/api/admin/tools",
		object{"name": "Linear", "auth_type": "api_key", "credential_mode": "per_agent"},
	).Text("id")
	grant := "/api/admin/agents/" + f.ids[0] + "/grants"
	admin.must(201, "POST", grant, object{"tool_id": own, "credential": "own"})
	admin.must(200, "PUT", grant+"/"+own+"/credential", object{"credential": "own again"})
	p.office(func(ctx context.Context, o *office) error {
		replaced, current, err := secretsOf(ctx, o)
		if err != nil || len(replaced) != 2 || len(current) != 2 {
			t.Fatalf("%d replaced and %d current secrets: %v", len(replaced), len(current), err)
		}
		run, stop := context.WithCancel(ctx)
		defer stop()
		ahead := func() time.Time { return time.Now().Add(2 * time.Minute) }
		reactor := &reactions.Reactor{
			Log: o.inst.Log, Organization: o.inst.Begun.OrganizationID, Clock: ahead, NewID: newID,
			Logger: slog.New(slog.DiscardHandler),
		}
		go reactor.Run(run, reactions.EndedSecrets(o.inst.Secrets))
		for _, id := range replaced {
			wait.Until(t, "removed", func() bool {
				_, err := o.client.ReadForward(ctx, "secret-"+id, 0, 1)
				return errors.Is(err, eventstore.ErrStreamDeleted)
			})
		}
		for _, id := range current {
			if _, err := o.client.ReadForward(ctx, "secret-"+id, 0, 1); err != nil {
				t.Errorf("a current secret is gone: %v", err)
			}
		}
		return nil
	})
	if a := p.with(f.keys[0]).fetch(f.tools[0]); a.Text("credential") != "second" {
		t.Errorf("the shared credential: %s", a.Body)
	}
	if a := p.with(f.keys[0]).fetch(own); a.Text("credential") != "own again" {
		t.Errorf("the agent's own credential: %s", a.Body)
	}
}

// TestUnusedSecretsAreRemovedAnHourLater leaves secrets as a process does that dies before it
// refers to them, and lets the reaction's clock be two hours ahead. What is in use stays.
func TestUnusedSecretsAreRemovedAnHourLater(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 1, 1)
	admin := p.admin()
	own := admin.must(
		201, "POST", "/api/admin/tools",
		object{"name": "Linear", "auth_type": "api_key", "credential_mode": "per_agent"},
	).Text("id")
	admin.must(201, "POST", "/api/admin/agents/"+f.ids[0]+"/grants", object{"tool_id": own, "credential": "own"})
	p.office(func(ctx context.Context, o *office) error {
		var unused []string
		for _, owner := range []string{
			"tool/" + f.tools[0], "tool/" + newID().String(), "agent/" + f.ids[0] + "/tool/" + own,
			"change/" + newID().String(),
		} {
			id := newID().String()
			binding := seal.Binding{
				SecretID: id, Organization: o.inst.Begun.OrganizationID, Purpose: seal.Credential, Owner: owner,
			}
			if strings.HasPrefix(owner, "change/") {
				binding.Purpose = seal.Plan
			}
			signed := codec.Signed{
				Organization: binding.Organization, Actor: operator(), CommandID: newID().String(), Time: time.Now(),
			}
			if err := o.inst.Secrets.Put(ctx, signed, binding, domain.NewSecret([]byte(`"unused"`))); err != nil {
				return err
			}
			unused = append(unused, id)
		}
		run, stop := context.WithCancel(ctx)
		defer stop()
		ahead := func() time.Time { return time.Now().Add(2 * time.Hour) }
		reactor := &reactions.Reactor{
			Log: o.inst.Log, Organization: o.inst.Begun.OrganizationID, Clock: ahead, NewID: newID,
			Logger: slog.New(slog.DiscardHandler),
		}
		grants := &commands.Grants{
			Agents: commands.NewAgentLoop(o.env), Catalogs: commands.NewCatalogLoop(o.env), Secrets: o.inst.Secrets,
			Log: o.inst.Log, Clock: time.Now,
		}
		go reactor.Run(run, reactions.UnusedSecrets(grants))
		for _, id := range unused { // written last, so that what is in use has been looked at before
			wait.Until(t, "removed", func() bool {
				_, err := o.client.ReadForward(ctx, "secret-"+id, 0, 1)
				return errors.Is(err, eventstore.ErrStreamDeleted)
			})
		}
		return nil
	})
	p.restart() // nothing is remembered
	if a := p.with(f.keys[0]).fetch(f.tools[0]); a.Status != 200 {
		t.Errorf("the shared credential: %s", a.Body)
	}
	if a := p.with(f.keys[0]).fetch(own); a.Text("credential") != "own" {
		t.Errorf("the agent's own credential: %s", a.Body)
	}
	admin = p.admin()
	if a := admin.must(200, "GET", "/api/admin/audit?action=credential.vended", nil); len(a.Items()) != 2 {
		t.Errorf("the audit: %s", a.Body)
	}
}

// TestTheEndOfAnAccessIsWrittenOnce lets access end with two processes looking: from the instant it
// is refused, and the log is told within a second, once.
func TestTheEndOfAnAccessIsWrittenOnce(t *testing.T) {
	t.Parallel()
	p := startReplicas(t, 2)
	admin := p[0].admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	ends := time.Now().Add(1500 * time.Millisecond)
	admin.must(
		201, "POST", "/api/admin/agents/"+id+"/grants",
		object{"tool_id": tool, "expires_at": ends.UTC().Format(time.RFC3339Nano)},
	)
	if a := p[1].with(key).fetch(tool); a.Status != 200 {
		t.Fatalf("before the end: %s", a.Body)
	}
	<-time.After(time.Until(ends))
	if a := p[1].with(key).fetch(tool); a.Code() != "access_not_approved" || a.Text("your_access") != "expired" {
		t.Errorf("after the end: %s", a.Body)
	}
	expired := func() []map[string]any {
		return admin.must(200, "GET", "/api/admin/audit?action=grant.expired", nil).Items()
	}
	wait.Until(t, "written", func() bool { return len(expired()) > 0 })
	written, err := time.Parse(time.RFC3339Nano, expired()[0]["occurred_at"].(string))
	if err != nil || written.Before(ends) {
		t.Errorf("the end at %s was written at %s: %v", ends, written, err)
	}
	p[0].stop()
	p[1].stop()
	found := 0
	p[0].office(func(ctx context.Context, o *office) error {
		return walk(ctx, o.client, func(r eventstore.Recorded) error {
			if r.Type == "grant.expired.v1" && r.Stream == "agent-"+id {
				found++
			}
			return nil
		})
	})
	if found != 1 {
		t.Errorf("the end was written %d times", found)
	}
}

// secretsOf finds what was replaced in the log, and by what.
func secretsOf(ctx context.Context, o *office) (replaced, current []string, err error) {
	err = walk(ctx, o.client, func(r eventstore.Recorded) error {
		event, err := codec.Decode(r.Type, r.Data)
		switch e := event.(type) {
		case catalog.ToolCredentialRotated:
			replaced, current = append(replaced, e.Replaces), append(current, e.SecretID)
		case agent.GrantCredentialReplaced:
			replaced, current = append(replaced, e.Replaces), append(current, e.SecretID)
		}
		return err
	})
	return replaced, current, err
}
