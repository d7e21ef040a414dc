package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/domain/organization"
	"agentkey/eventstore"
	"agentkey/eventstore/seal"
	"agentkey/integrations/oidc"
)

const (
	demoDays  = 30
	demoDesks = 8 // that fetch at once
)

// demoMonth is the organization of a demo, while its month passes.
type demoMonth struct {
	*demoDesk

	desks  []*demoDesk // of the fetches
	random *rand.Rand
	plan   map[int][]func(context.Context) error // by the hour

	owner, admin, approver domain.Actor
	tools                  []string // ids
	agents                 []*demoAgent
}

// demoAgent is an agent, and the tools that it may fetch.
type demoAgent struct {
	id, name, key string
	number        int // of its key
	access        []string
	idle          bool
}

// may notes that an agent has a tool, and mayNot that it lost it.
func (a *demoAgent) may(tool string) { a.access = append(a.access, tool) }

func (a *demoAgent) mayNot(tool string) (had bool) {
	var left []string
	for _, t := range a.access {
		if t != tool {
			left = append(left, t)
		}
	}
	had = len(left) < len(a.access)
	a.access = left
	return had
}

// makeHistory fills an empty log with what an organization did in the days before now. People act
// in the first minutes of an hour, in their order, and agents fetch in the rest, side by side.
func makeHistory(
	ctx context.Context, c Config, client *eventstore.Client, now time.Time,
) (facts demoFacts, err error) {
	begin := now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -demoDays)
	clock := &demoClock{}
	clock.set(begin)
	inst, err := beginDemo(ctx, c, client, clock)
	if err != nil {
		return facts, err
	}
	privacy := seal.NewPrivacy(inst.Secrets, clock.now)
	fence, leave := demoFence(ctx, inst, inst.Env(clock.now, sealer(privacy), nil))
	defer leave()
	m := &demoMonth{
		demoDesk: newDemoDesk(inst, privacy, fence, clock), plan: map[int][]func(context.Context) error{},
		random: rand.New(rand.NewPCG(1, 2)), //nolint:gosec // every demo has the same history
	}
	for range demoDesks {
		m.desks = append(m.desks, newDemoDesk(inst, privacy, fence, &demoClock{}))
	}
	m.planAll()
	for hour := range int(now.Sub(begin).Hours()) {
		at := begin.Add(time.Duration(hour) * time.Hour)
		clock.set(at)
		for _, act := range m.plan[hour] {
			clock.pass(time.Duration(5+m.random.IntN(10)) * time.Second)
			if err := act(ctx); err != nil {
				return facts, fmt.Errorf("on %s: %w", clock.now().Format(time.DateTime), err)
			}
		}
		if hour >= 6 {
			if err := m.fetchAll(ctx, at); err != nil {
				return facts, fmt.Errorf("fetch at %s: %w", at.Format(time.DateTime), err)
			}
		}
	}
	shown := m.agents[0]
	return demoFacts{Agent: shown.name, AgentKey: shown.key, ToolID: shown.access[0]}, nil
}

// fetchAll lets the agents fetch what they need in one hour: more by day than by night, and more
// on days of work.
func (m *demoMonth) fetchAll(ctx context.Context, hour time.Time) error {
	chance := 0.03
	if h := hour.Hour(); h >= 7 && h < 19 {
		chance = 0.25
	}
	if day := hour.Weekday(); day == time.Saturday || day == time.Sunday {
		chance /= 5
	}
	type fetching struct {
		agent *demoAgent
		tool  string
		at    time.Time
	}
	work := make([][]fetching, len(m.desks))
	for i, a := range m.agents {
		if a.idle || len(a.access) == 0 || m.random.Float64() >= chance {
			continue
		}
		tool := a.access[m.random.IntN(len(a.access))]
		at := hour.Add(time.Duration(40*60+m.random.IntN(19*60)) * time.Second)
		work[i%len(work)] = append(work[i%len(work)], fetching{a, tool, at})
	}
	var fetches errgroup.Group
	for i, d := range m.desks {
		fetches.Go(func() error {
			for _, f := range work[i] {
				d.clock.set(f.at)
				if err := d.take(ctx, f.agent, f.tool); err != nil {
					return fmt.Errorf("%s: %w", f.agent.name, err)
				}
			}
			return nil
		})
	}
	return fetches.Wait()
}

// take fetches a credential and drops it.
func (d *demoDesk) take(ctx context.Context, a *demoAgent, tool string) error {
	v, err := d.fetch.Do(ctx, d.asAgent(a.id), a.id, commands.Proof{KeyNumber: a.number}, tool)
	v.Credential.Clear()
	return err
}

// on plans what happens at an hour of a day.
func (m *demoMonth) on(day, hour int, act func(context.Context) error) {
	m.plan[day*24+hour] = append(m.plan[day*24+hour], act)
}

// join invites a person and signs them in.
func (m *demoMonth) join(ctx context.Context, name, address string, role domain.Role) (domain.Actor, error) {
	by := organization.Giver{Operator: true}
	call := m.as(commands.Operator)
	if _, _, err := m.people.Invite(ctx, call, address, role, nil, by); err != nil {
		return domain.Actor{}, err
	}
	m.clock.pass(time.Minute)
	is, err := m.people.Admit(ctx, m.as(commands.System), oidc.Identity{
		Issuer: "https://login.brightwater.example", Subject: address, Email: address, EmailVerified: true, Name: name,
		IssuedAt: m.clock.now(),
	}, m.inst.Begun.OrganizationID)
	return is.Actor, err
}

// offer adds a tool of the list, with a credential that opens nothing.
func (m *demoMonth) offer(ctx context.Context, i int) error {
	t := demoTools[i]
	credential, err := demoCredential(t.name)
	if err != nil {
		return err
	}
	tier := "standard"
	if i < 5 {
		tier = "critical"
	}
	id, _, err := m.demoDesk.tools.Add(ctx, m.as(m.admin), catalog.AddTool{
		Name: t.name, Description: t.use, URL: "https://" + t.site, AuthType: "api_key", Mode: catalog.Shared,
		Instructions: "Send it as a bearer token. Read before you write.",
		Labels:       domain.NewLabels(map[string]string{"tier": tier}),
	}, credential)
	m.tools = append(m.tools, id)
	return err
}

func demoCredential(name string) (domain.Secret, error) {
	return commands.NewCredential(fmt.Appendf(nil, "%q", "made-up credential of "+name))
}

// hire registers an agent, which asks for some tools. What becomes of its requests differs.
func (m *demoMonth) hire(ctx context.Context, name, team, env, owner string) error {
	made, err := m.demoDesk.agents.Register(ctx, m.as(m.admin), commands.NewAgent{
		Name: name, Description: "Works for " + team, Owner: owner,
		Labels: domain.NewLabels(map[string]string{"team": team, "env": env}),
	})
	if err != nil {
		return err
	}
	a := &demoAgent{id: made.ID, name: name, key: made.APIKey, number: 1}
	m.agents = append(m.agents, a)
	wants := m.random.Perm(len(m.tools))[:2+m.random.IntN(3)]
	for i, tool := range wants {
		denied := i > 0 && m.random.IntN(7) == 0
		if err := m.ask(ctx, a, m.tools[tool], denied); err != nil {
			return err
		}
	}
	return nil
}

// ask lets an agent request a tool, and a person decide.
func (m *demoMonth) ask(ctx context.Context, a *demoAgent, tool string, denied bool) error {
	request, err := m.request(ctx, a, tool)
	if err != nil {
		return err
	}
	m.clock.pass(time.Duration(3+m.random.IntN(8)) * time.Second)
	if denied {
		_, err = m.grants.Deny(ctx, m.as(m.approver), request, demoDenials[m.random.IntN(len(demoDenials))])
		return err
	}
	a.may(tool)
	_, err = m.grants.Approve(ctx, m.as(m.approver), request, commands.Terms{})
	return err
}

func (m *demoMonth) request(ctx context.Context, a *demoAgent, tool string) (string, error) {
	m.clock.pass(time.Duration(1+m.random.IntN(5)) * time.Second)
	reason := demoReasons[m.random.IntN(len(demoReasons))]
	id, _, err := m.grants.Request(ctx, m.asAgent(a.id), a.id, tool, commands.Wanted{Reason: reason})
	return id, err
}

// isRefused reports whether the rules said no.
func isRefused(err error) bool { return errors.As(err, new(*domain.Error)) }

// lend gives an agent a tool that it doesn't have, until some time.
func (m *demoMonth) lend(ctx context.Context, a *demoAgent, until time.Time) (tool string, err error) {
	for _, tool = range m.tools {
		if a.mayNot(tool) {
			a.may(tool)
			continue
		}
		a.may(tool)
		_, err = m.grants.Assign(ctx, m.as(m.admin), a.id, tool, commands.Terms{ExpiresAt: &until})
		return tool, err
	}
	return "", nil
}

// dropOut ends what an agent has.
func (m *demoMonth) dropOut(ctx context.Context, a *demoAgent) error {
	a.idle, a.access = true, nil
	_, err := m.demoDesk.agents.Suspend(ctx, m.as(m.admin), a.id)
	return err
}

// revokeFrozen ends what agents had of a frozen tool, and returns them.
func (m *demoMonth) revokeFrozen(ctx context.Context, tool string) (had []*demoAgent, err error) {
	for _, a := range m.agents {
		if !a.mayNot(tool) {
			continue
		}
		had = append(had, a)
		if _, err := m.grants.RevokeFrozen(ctx, m.as(commands.System), a.id, tool, 1); err != nil {
			return nil, err
		}
	}
	return had, nil
}
