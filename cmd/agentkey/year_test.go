package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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
	"agentkey/projections/reactions"
	"agentkey/readmodels/readmodelstest"
)

// TestAYearHappensOnce lets a year of suspensions, expiries, rotations and removals pass, drops
// every read model and starts again. The log gets what happens next, and nothing of the year a
// second time.
func TestAYearHappensOnce(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T) []*program{
		"embedded": func(t *testing.T) []*program { return []*program{start(t, unlimited...)} },
		"production": func(t *testing.T) []*program {
			log := ownLog(t, "it counts all events of a year").replicas()
			return startReplicasOn(t, 2, log, readmodelstest.Postgres(t), sharedRedis(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			replicas := begin(t)
			first := replicas[0]
			// what admins do is sealed with the day's key, which is there from now on
			first.admin().mustAgent("The first")
			stopAll(replicas)
			first.office(passYear)
			runAll(replicas)
			first.awaitReactions()
			stopAll(replicas)
			head := first.head()
			first.loseReadModel()
			runAll(replicas)

			// Reactions keep the order of the log: what comes next is handled after whatever they would do
			// again.
			admin := first.admin()
			lapses, goes := admin.mustTool("Lapses", "x"), admin.mustTool("Goes", "x")
			id, _ := admin.mustAgent("The last")
			ends := time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano)
			admin.must(201, "POST", "/api/admin/agents/"+id+"/grants", object{"tool_id": lapses, "expires_at": ends})
			admin.mustAssign(id, goes)
			admin.must(204, "DELETE", "/api/admin/tools/"+goes, nil)
			for _, end := range []string{"grant.expired", "grant.revoked"} {
				wait.Until(t, "written: "+end, func() bool {
					return len(admin.must(200, "GET", "/api/admin/audit?agent_id="+id+"&action="+end, nil).Items()) == 1
				})
			}
			first.endSecretsNow()
			stopAll(replicas)

			got := map[string]int{}
			first.office(func(ctx context.Context, o *office) error {
				return walk(ctx, o.client, func(r eventstore.Recorded) error {
					if r.Position > head {
						got[r.Type]++
					}
					return nil
				})
			})
			// The ledger signs what the year has added when it has come that far, before or after the stop.
			if got["checkpoint.signed.v1"] > 3 {
				t.Errorf("%d checkpoints were signed", got["checkpoint.signed.v1"])
			}
			delete(got, "checkpoint.signed.v1")
			want := map[string]int{ // one secret of two is gone with its tool
				"tool.added.v1": 2, "secret.sealed.v1": 1, "agent.registered.v1": 1, "grant.assigned.v1": 2,
				"tool.removed.v1": 1,
				// removed_tools and ended_secrets
				"grant.expired.v1": 1, "grant.revoked.v1": 1, "reaction.handled.v1": 2,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("written after the read model was dropped (-want +got):\n%s", diff)
			}
		})
	}
}

func stopAll(replicas []*program) {
	for _, p := range replicas {
		p.stop()
	}
}

func runAll(replicas []*program) {
	for _, p := range replicas {
		p.run()
	}
}

// passYear does, at a clock of its own, what people did in the last year. Of every kind something
// is left for reactions to do.
func passYear(ctx context.Context, o *office) error {
	now := time.Now().AddDate(-1, 0, 0)
	clock := func() time.Time { return now }
	env, organization := o.inst.Env(clock, nil, nil), o.inst.Begun.OrganizationID
	loop, catalogs := commands.NewAgentLoop(env), commands.NewCatalogLoop(env)
	agents := &commands.Agents{
		Loop: loop, Catalogs: catalogs, Secrets: o.inst.Secrets, Log: o.inst.Log, MACKey: o.inst.MACKey, Clock: clock,
	}
	tools := &commands.Tools{Catalogs: catalogs, Secrets: o.inst.Secrets, Log: o.inst.Log, Clock: clock}
	grants := &commands.Grants{Agents: loop, Catalogs: catalogs, Secrets: o.inst.Secrets, Log: o.inst.Log, Clock: clock}
	credential := domain.NewSecret([]byte(`"x"`))

	y := &year{}
	shared := y.tool(
		tools.Add(
			ctx, o.meta(organization), catalog.AddTool{Name: "Shared", AuthType: "api_key", Mode: catalog.Shared},
			credential,
		),
	)
	own := y.tool(
		tools.Add(
			ctx, o.meta(organization), catalog.AddTool{Name: "Own", AuthType: "api_key", Mode: catalog.PerAgent},
			domain.Secret{},
		),
	)
	var ids []string
	for i := range 3 {
		made, err := agents.Register(ctx, o.meta(organization), commands.NewAgent{Name: fmt.Sprint("Agent ", i)})
		ids = append(ids, made.ID)
		y.did(err)
	}
	for week := range 52 {
		now = now.AddDate(0, 0, 5)
		named := catalog.AddTool{Name: fmt.Sprint("Week ", week), AuthType: "api_key", Mode: catalog.Shared}
		passing := y.tool(tools.Add(ctx, o.meta(organization), named, credential))
		ends := now.Add(24 * time.Hour)
		for i, id := range ids {
			y.decided(grants.Assign(ctx, o.meta(organization), id, shared, commands.Terms{ExpiresAt: &ends}))
			y.decided(grants.Assign(ctx, o.meta(organization), id, own, commands.Terms{Credential: credential}))
			y.decided(grants.Replace(ctx, o.meta(organization), id, own, commands.Terms{Credential: credential}))
			y.decided(grants.Assign(ctx, o.meta(organization), id, passing, commands.Terms{}))
			now = now.Add(time.Minute)
			if (week+i)%8 == 0 {
				_, err := agents.Suspend(ctx, o.meta(organization), id)
				y.did(err)
				_, err = agents.Do(
					ctx, o.meta(organization), id,
					func(agent.State, time.Time) (agent.Command, error) { return agent.Reactivate{}, nil },
				)
				y.did(err)
				continue
			}
			_, err := grants.Revoke(ctx, o.meta(organization), id, own, agent.CauseAdmin)
			y.did(err)
		}
		_, err := tools.RotateCredential(ctx, o.meta(organization), shared, commands.Terms{Credential: credential})
		y.did(err)
		if week%4 == 3 {
			_, err := tools.Remove(ctx, o.meta(organization), passing)
			y.did(err)
		}
		now = now.AddDate(0, 0, 2)
		for i, id := range ids {
			if week == 51 || (week+i)%8 == 0 {
				continue // nobody was there to write it, or there is nothing
			}
			_, err := loop.Do(ctx, id, o.meta(organization), func(_ agent.State, at time.Time) (agent.Command, error) {
				return agent.Expire{At: at, Tool: agent.Tool{ID: shared}}, nil
			})
			y.did(err)
		}
	}
	return y.err
}

// year keeps the first thing that went wrong.
type year struct{ err error }

func (y *year) did(err error) {
	if y.err == nil {
		y.err = err
	}
}

func (y *year) tool(id string, _ commands.CatalogResult, err error) string {
	y.did(err)
	return id
}

func (y *year) decided(_ commands.GrantResult, err error) { y.did(err) }

// awaitReactions returns when the running program has done what the log asks of it.
func (p *program) awaitReactions() {
	p.t.Helper()
	p.office(func(ctx context.Context, o *office) error {
		removed, ended, agents := "", "", map[string]bool{}
		err := walk(ctx, o.client, func(r eventstore.Recorded) error {
			event, err := codec.Decode(r.Type, r.Data)
			at := fmt.Sprintf("%d@%s", r.Revision, r.Stream)
			switch e := event.(type) {
			case agent.Registered:
				agents[strings.TrimPrefix(r.Stream, "agent-")] = true
			case catalog.ToolRemoved:
				removed, ended = at, at
			case catalog.ToolCredentialRotated, agent.GrantCredentialReplaced:
				ended = at
			case agent.GrantRevoked:
				if e.SecretID != "" {
					ended = at
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		loop := commands.NewAgentLoop(o.env)
		wait.Until(p.t, "what the year has left is done", func() bool {
			for name, want := range map[string]string{"removed_tools": removed, "ended_secrets": ended} {
				if o.mustHandled(p.t, name) != want {
					return false
				}
			}
			for id := range agents {
				head, err := loop.Fresh(ctx, id)
				if err != nil {
					p.t.Fatal(err)
				}
				for _, g := range head.State.Grants {
					if g.Status == agent.Approved && g.At(time.Now()) == agent.Expired {
						return false
					}
				}
			}
			return true
		})
		return nil
	})
}

// mustHandled is the last event that a reaction has recorded, as revision@stream.
func (o *office) mustHandled(t testing.TB, name string) string {
	t.Helper()
	last, _, err := o.inst.Log.Newest(t.Context(), "reaction-"+name, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(last) == 0 {
		return ""
	}
	record, ok := last[0].Event.(codec.ReactionHandled)
	if !ok {
		t.Fatalf("a record of %s is %s", name, last[0].Type)
	}
	return fmt.Sprintf("%d@%s", record.Revision, record.Stream)
}

// endSecretsNow carries out the removal of ended secrets at a clock that is two minutes ahead, up
// to the removal of a tool that the log has last.
func (p *program) endSecretsNow() {
	p.t.Helper()
	p.office(func(ctx context.Context, o *office) error {
		removed := ""
		err := walk(ctx, o.client, func(r eventstore.Recorded) error {
			if r.Type == "tool.removed.v1" {
				removed = fmt.Sprintf("%d@%s", r.Revision, r.Stream)
			}
			return nil
		})
		if err != nil {
			return err
		}
		run, stop := context.WithCancel(ctx)
		defer stop()
		ahead := func() time.Time { return time.Now().Add(2 * time.Minute) }
		reactor := &reactions.Reactor{
			Log: o.inst.Log, Organization: o.inst.Begun.OrganizationID, Clock: ahead, NewID: newID,
			Logger: slog.New(slog.DiscardHandler),
		}
		go reactor.Run(run, reactions.EndedSecrets(o.inst.Secrets))
		wait.Until(
			p.t, "the ended secret is removed", func() bool { return o.mustHandled(p.t, "ended_secrets") == removed },
		)
		return nil
	})
}

// loseReadModel drops the read model of a stopped program.
func (p *program) loseReadModel() {
	p.t.Helper()
	for _, e := range p.env {
		if database, found := strings.CutPrefix(e, "AGENTKEY_DATABASE_URL="); found {
			dropModels(p.t, database)
			return
		}
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.RemoveAll(filepath.Join(p.Dir, readModelFile+suffix)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func dropModels(t testing.TB, database string) {
	t.Helper()
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, schema := range column(
		t, db, `select quote_ident(nspname) from pg_namespace where nspname like 'agentkey%'`,
	) {
		if _, err := db.ExecContext(t.Context(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Fatal(err)
		}
	}
}
