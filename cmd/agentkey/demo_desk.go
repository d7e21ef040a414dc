package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/seal"
)

// demoClock shows the time in the history that is being made.
type demoClock struct{ at atomic.Int64 }

func (c *demoClock) now() time.Time { return time.Unix(0, c.at.Load()).UTC() }

func (c *demoClock) set(t time.Time) { c.at.Store(t.UnixNano()) }

// pass lets some time go by.
func (c *demoClock) pass(d time.Duration) { c.at.Add(int64(d)) }

// demoDesk is the commands of an installation under a clock of its own. Several desks work on one
// log, as several processes would.
type demoDesk struct {
	clock *demoClock
	inst  *commands.Installation

	agents      *commands.Agents
	grants      *commands.Grants
	tools       *commands.Tools
	suggestions *commands.Suggestions
	notes       *commands.Notes
	people      *commands.People
	fetch       *commands.Fetch
}

// beginDemo begins the installation of a demo, at the time of a clock.
func beginDemo(
	ctx context.Context, c Config, client *eventstore.Client, clock *demoClock,
) (*commands.Installation, error) {
	keys, err := ring(c, false)
	if err != nil {
		return nil, err
	}
	inst, err := commands.Beginning{
		Client: client, Ring: keys, Clock: clock.now, NewID: newID,
		SaveToken: func(text string) error { return writePrivate(filepath.Join(c.DataDir, firstTokenFile), text+"\n") },
		DropToken: func() error { return nil }, Warn: func(string) {},
	}.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return inst, keepInstallation(c, inst.Begun.StoreID)
}

// demoFence is what every desk asks before it vends. It follows the log until it is left.
func demoFence(
	ctx context.Context, inst *commands.Installation, env *loop.Env,
) (fence *commands.Fence, leave func()) {
	fence = commands.NewFence(commands.FenceConfig{
		Installation: commands.NewInstallationLoop(env), Log: inst.Log, StoreID: inst.Begun.StoreID,
		Organization: inst.Begun.OrganizationID, NewID: newID, Logger: slog.New(slog.DiscardHandler), Clock: time.Now,
	})
	follow, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { fence.Run(follow) })
	return fence, func() {
		stop()
		following.Wait()
	}
}

func newDemoDesk(
	inst *commands.Installation, privacy *seal.Privacy, fence *commands.Fence, clock *demoClock,
) *demoDesk {
	env := inst.Env(clock.now, sealer(privacy), nil)
	env.OnAppend = fence.Seen
	agents, catalogs := commands.NewAgentLoop(env), commands.NewCatalogLoop(env)
	organizations := commands.NewOrganizationLoop(env)
	d := &demoDesk{clock: clock, inst: inst}
	d.agents = &commands.Agents{
		Loop: agents, Catalogs: catalogs, Secrets: inst.Secrets, Privacy: privacy, Log: inst.Log, MACKey: inst.MACKey,
		Clock: clock.now,
	}
	d.people = &commands.People{
		Organizations: organizations, Persons: commands.NewPersonLoop(env), Privacy: privacy, Clock: clock.now,
		NewID: newID, Directory: &commands.Directory{Log: inst.Log, MACKey: inst.MACKey, Clock: clock.now},
	}
	d.grants = &commands.Grants{
		Agents: agents, Catalogs: catalogs, Secrets: inst.Secrets, Log: inst.Log, Clock: clock.now,
		Organizations: organizations, People: d.people,
		Rules: commands.NewRulebook(&commands.Rulebook{
			Loop: commands.NewRuleLoop(env), Agents: agents, Catalogs: catalogs, MACKey: inst.MACKey, Clock: clock.now,
			Patience: 20 * time.Second,
		}),
	}
	d.tools = &commands.Tools{
		Catalogs: catalogs, Agents: agents, Secrets: inst.Secrets, Log: inst.Log, Clock: clock.now,
	}
	d.suggestions = &commands.Suggestions{Tools: d.tools, Grants: d.grants}
	d.notes = &commands.Notes{Guides: commands.NewGuideLoop(env), Tools: d.tools, Grants: d.grants}
	d.fetch = &commands.Fetch{
		Agents: agents, Catalogs: catalogs, Secrets: inst.Secrets, Refusals: commands.NewRefusals(env, newID),
		Fence: fence, Log: inst.Log.Client, NewID: newID,
	}
	return d
}

// as is a call of somebody, from an address that belongs to nobody.
func (d *demoDesk) as(who domain.Actor) loop.Meta {
	return loop.Meta{
		Organization: d.inst.Begun.OrganizationID, Actor: who, CommandID: newID(), RequestID: newID().String(),
		Address: "192.0.2.24", UserAgent: "demo",
	}
}

// asAgent is a call of an agent.
func (d *demoDesk) asAgent(id string) loop.Meta {
	return d.as(domain.Actor{Type: domain.ActorAgent, ID: id})
}
