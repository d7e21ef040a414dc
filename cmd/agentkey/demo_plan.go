package main

import (
	"context"
	"fmt"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/domain/organization"
)

const (
	demoToolsFirst  = 30 // tools that are there on the first day
	demoAgentsFirst = 36 // agents, likewise
)

// planAll plans the month.
func (m *demoMonth) planAll() {
	m.planPeople()
	m.planGrowth()
	m.planSuggestions()
	m.planChanges()
	m.planIncident()
}

func (m *demoMonth) planPeople() {
	m.on(0, 0, func(ctx context.Context) error {
		name := "Brightwater Freight (demo)"
		_, err := m.people.UpdateOrganization(
			ctx, m.as(commands.Operator), commands.OrganizationChange{Name: &name}, organization.Giver{Operator: true},
		)
		return err
	})
	for _, p := range []struct {
		name, address string
		role          domain.Role
		is            *domain.Actor
	}{
		{"Maya Lindqvist", "maya.lindqvist@brightwater.example", domain.RoleOwner, &m.owner},
		{"Tom Okafor", "tom.okafor@brightwater.example", domain.RoleAdmin, &m.admin},
		{"Ines Duarte", "ines.duarte@brightwater.example", domain.RoleApprover, &m.approver},
		{"Noor Haddad", "noor.haddad@brightwater.example", domain.RoleAuditor, new(domain.Actor)},
		{"Lena Fischer", "lena.fischer@brightwater.example", domain.RoleViewer, new(domain.Actor)},
	} {
		m.on(0, 0, func(ctx context.Context) (err error) {
			*p.is, err = m.join(ctx, p.name, p.address, p.role)
			return err
		})
	}
}

// planGrowth lets tools and agents come: most on the first day, one a day after that.
func (m *demoMonth) planGrowth() {
	for i := range demoTools {
		day, hour := 0, 1
		if i >= demoToolsFirst {
			day, hour = 1+i-demoToolsFirst, 9
		}
		m.on(day, hour, func(ctx context.Context) error { return m.offer(ctx, i) })
	}
	i := 0
	for nth := range demoAgents[0].names {
		for _, team := range demoAgents {
			day, hour := 0, 2+i*3/demoAgentsFirst
			if i >= demoAgentsFirst {
				day, hour = 2+i-demoAgentsFirst, 10
			}
			i++
			name, env := team.names[nth], "production"
			if nth == len(team.names)-1 {
				env = "staging"
			}
			m.on(day, hour, func(ctx context.Context) error { return m.hire(ctx, name, team.team, env, team.owner) })
		}
	}
	for day := 3; day < demoDays; day += 2 { // later, agents want more; nobody has decided the newest
		m.on(day, 14, func(ctx context.Context) error {
			a, tool := m.agents[m.random.IntN(len(m.agents))], m.tools[m.random.IntN(len(m.tools))]
			err := m.ask(ctx, a, tool, day%3 == 0)
			if isRefused(err) { // it has the tool, or had asked before
				err = nil
			}
			return err
		})
	}
}

// planSuggestions lets agents suggest tools, and notes for the usage guides of others.
func (m *demoMonth) planSuggestions() {
	var accepted, dismissed string
	suggest := func(id *string, name, site, reason string, agents ...int) func(context.Context) error {
		return func(ctx context.Context) error {
			for _, i := range agents {
				a := m.agents[i]
				m.clock.pass(time.Minute)
				made, err := m.suggestions.Suggest(ctx, m.asAgent(a.id), a.id, name, "https://"+site, reason)
				if err != nil {
					return err
				}
				*id = made.ID
			}
			return nil
		}
	}
	m.on(5, 10, suggest(&accepted, "Retool", "retool.com", "to file corrections where the team works", 1, 6, 11))
	m.on(8, 9, func(ctx context.Context) error {
		credential, err := demoCredential("Retool")
		if err != nil {
			return err
		}
		catalogs, err := m.demoDesk.tools.Catalogs.Fresh(ctx, m.inst.Begun.OrganizationID)
		if err != nil {
			return err
		}
		call := m.as(m.admin)
		call.Seen = domain.Seen{catalogs.State.Digest(accepted)}
		done, err := m.suggestions.Accept(ctx, call, accepted, nil, catalog.AddTool{
			Name: "Retool", Description: "Forms of operations", URL: "https://retool.com", AuthType: "api_key",
			Mode: catalog.Shared,
		}, credential, true)
		for _, i := range []int{1, 6, 11} {
			m.agents[i].may(done.ToolID)
		}
		return err
	})
	m.on(9, 11, suggest(&dismissed, "Salesloft", "salesloft.com", "to plan calls", 5))
	m.on(12, 9, func(ctx context.Context) error {
		_, err := m.suggestions.Dismiss(ctx, m.as(m.admin), dismissed, "Salesforce does this already.")
		return err
	})
	m.on(20, 10, suggest(new(string), "Airtable", "airtable.com", "to read the list of carriers", 3, 9, 17, 24))
	m.on(24, 15, suggest(new(string), "Miro", "miro.com", "to read the maps of workshops", 8, 22))

	var note string
	tell := func(agent int, learned, why string) func(context.Context) error {
		return func(ctx context.Context) error {
			a := m.agents[agent]
			told, err := m.notes.Suggest(ctx, m.asAgent(a.id), a.id, a.access[0], learned, why)
			note = told.ID
			return err
		}
	}
	m.on(9, 14, tell(2, "Lists are cut off at 100 entries. Ask for the next page.", "A report lacked half of its rows."))
	m.on(10, 9, func(ctx context.Context) error {
		_, err := m.notes.Accept(
			ctx, m.as(m.admin), note, "Send it as a bearer token. Lists have at most 100 entries: ask for the next page.",
		)
		return err
	})
	m.on(25, 14, tell(4, "Times are in UTC without saying so.", "Reminders went out an hour early."))
	for i, who := range []int{7, 12, 18} { // nobody has decided these
		m.on(28+i/2, 15+i, func(ctx context.Context) error {
			for _, tool := range m.tools {
				if _, err := m.request(ctx, m.agents[who], tool); !isRefused(err) {
					return err
				}
			}
			return nil
		})
	}
}

// planChanges lets credentials, keys and access change.
func (m *demoMonth) planChanges() {
	m.on(11, 8, func(ctx context.Context) error { // the second tool of the list
		credential, err := demoCredential("Stripe, the second")
		if err != nil {
			return err
		}
		_, err = m.demoDesk.tools.RotateCredential(ctx, m.as(m.admin), m.tools[1], commands.Terms{Credential: credential})
		return err
	})
	m.on(13, 10, func(ctx context.Context) error {
		a := m.agents[10]
		_, err := m.demoDesk.agents.RotateKey(ctx, m.as(m.admin), a.id, commands.Rotation{})
		a.number = 2
		return err
	})
	var lent string
	m.on(14, 9, func(ctx context.Context) (err error) {
		lent, err = m.lend(ctx, m.agents[15], m.clock.now().Add(3*24*time.Hour))
		return err
	})
	m.on(17, 10, func(ctx context.Context) error {
		m.agents[15].mayNot(lent)
		return m.grants.Expire(ctx, m.as(commands.System), m.agents[15].id, lent)
	})
	for i, who := range []int{19, 21} { // access that ends soon
		m.on(29, 9+i, func(ctx context.Context) error {
			_, err := m.lend(ctx, m.agents[who], m.clock.now().Add(time.Duration(3+i)*24*time.Hour))
			return err
		})
	}
	m.on(18, 16, func(ctx context.Context) error { return m.dropOut(ctx, m.agents[13]) })
	m.on(26, 11, func(ctx context.Context) error {
		a := m.agents[14]
		a.idle, a.access = true, nil
		_, err := m.demoDesk.agents.Retire(ctx, m.as(m.owner), a.id)
		return err
	})
}

// planIncident lets one agent fetch a credential again and again in a night. In the morning people
// freeze the tool, suspend the agent, change the credential and give access back.
func (m *demoMonth) planIncident() {
	const day, agent, tool = 21, 20, 2
	var had []*demoAgent
	m.on(day-1, 8, func(ctx context.Context) error {
		a := m.agents[agent]
		if a.mayNot(m.tools[tool]) {
			a.may(m.tools[tool])
			return nil
		}
		a.may(m.tools[tool])
		_, err := m.grants.Assign(ctx, m.as(m.admin), a.id, m.tools[tool], commands.Terms{})
		return err
	})
	for hour := 2; hour < 5; hour++ {
		m.on(day, hour, func(ctx context.Context) error {
			for range 20 {
				m.clock.pass(time.Duration(20+m.random.IntN(60)) * time.Second)
				if err := m.take(ctx, m.agents[agent], m.tools[tool]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	m.on(day, 7, func(ctx context.Context) (err error) {
		if _, err = m.demoDesk.tools.Freeze(ctx, m.as(m.owner), m.tools[tool]); err != nil {
			return err
		}
		m.clock.pass(time.Second)
		if had, err = m.revokeFrozen(ctx, m.tools[tool]); err != nil {
			return err
		}
		for _, a := range had { // they learn it at their next fetch
			m.clock.pass(20 * time.Second)
			if err := m.take(ctx, a, m.tools[tool]); !isRefused(err) {
				return fmt.Errorf("a frozen tool was fetched: %w", err)
			}
		}
		m.clock.pass(time.Minute)
		return m.dropOut(ctx, m.agents[agent])
	})
	m.on(day, 9, func(ctx context.Context) error {
		credential, err := demoCredential("Snowflake, the second")
		if err != nil {
			return err
		}
		_, err = m.demoDesk.tools.RotateCredential(ctx, m.as(m.owner), m.tools[tool], commands.Terms{Credential: credential})
		return err
	})
	m.on(day, 11, func(ctx context.Context) error {
		if _, err := m.demoDesk.tools.Unfreeze(ctx, m.as(m.owner), m.tools[tool]); err != nil {
			return err
		}
		for _, a := range had {
			if a.idle {
				continue
			}
			m.clock.pass(30 * time.Second)
			a.may(m.tools[tool])
			if _, err := m.grants.Assign(ctx, m.as(m.admin), a.id, m.tools[tool], commands.Terms{}); err != nil {
				return err
			}
		}
		return nil
	})
}
