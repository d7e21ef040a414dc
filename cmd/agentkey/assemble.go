package main

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"agentkey/api"
	"agentkey/api/door"
	"agentkey/api/live"
	"agentkey/audit/export"
	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/eventstore/seal"
	"agentkey/integrations/notify"
	"agentkey/integrations/oidc"
	"agentkey/integrations/setupguide"
	"agentkey/integrations/templates"
	"agentkey/projections"
	"agentkey/projections/reactions"
	"agentkey/readmodels"
)

// sealer seals what events hold about the person or machine that made a call. What is known of a
// member stands on their own stream, and what their calls hold is sealed with their own key: both
// go when they are erased.
func sealer(privacy *seal.Privacy) loop.Sealer {
	return func(ctx context.Context, m loop.Meta) (string, error) {
		p := seal.Personal{Label: m.Actor.Label, Address: m.Address, UserAgent: m.UserAgent}
		if m.Actor.Type == domain.ActorHuman {
			p.Label = ""
			return privacy.SealOf(ctx, m.Organization, m.Actor.ID, p)
		}
		return privacy.Seal(ctx, m.Organization, p)
	}
}

// setupGuide is what writes setup guides, without a model when none is configured.
func setupGuide(c Config, known *templates.Set) *setupguide.Guide {
	var model *setupguide.Model
	if c.AI.BaseURL != "" {
		model = setupguide.NewModel(
			c.AI.BaseURL, c.AI.Model, c.AI.Key, setupguide.Times{First: 90 * time.Second, Idle: 30 * time.Second},
			c.Outbound.Transport(),
		)
	}
	return setupguide.New(setupguide.NewDocuments(c.Outbound, 15*time.Second), model, known, 3*time.Minute)
}

// verifier knows the tokens of the identity providers that are configured, nil for none.
func verifier(c Config, logger *slog.Logger) *oidc.Verifier {
	if len(c.Issuers) == 0 {
		return nil
	}
	return oidc.New(oidc.Config{Issuers: c.Issuers, Logger: logger, Clock: time.Now, Transport: c.Outbound.Transport()})
}

// namingOrganizations returns the URLs of the issuers whose tokens name organizations.
func namingOrganizations(issuers []oidc.Issuer) (urls []string) {
	for _, i := range issuers {
		if i.Claims.Organization != "" {
			urls = append(urls, i.URL)
		}
	}
	return urls
}

// dashboardFiles opens the folder of the dashboard that is served, out of which no link leads; nil
// for none.
func dashboardFiles(c Config) (fs.FS, error) {
	if c.DashboardDir == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(c.DashboardDir)
	if err != nil {
		return nil, fmt.Errorf("open the dashboard: %w", err)
	}
	return root.FS(), nil
}

// parts are what assemble puts together.
type parts struct {
	server   *api.Server
	issuers  *oidc.Verifier // nil: none is configured
	refusals *commands.Refusals
	uses     *commands.Uses
	findings *commands.Findings

	expiry    *reactions.Expiry
	reminders *reactions.Reminders
	deliverer *reactions.Deliverer
	reactor   *reactions.Reactor
	reactions []reactions.Reaction
}

// assemble is the one place where everything meets.
func assemble(
	c Config, inst *commands.Installation, models *readmodels.DB, readModel *projections.ReadModel, h *health,
	m *metrics, logger *slog.Logger,
) parts {
	issuers := verifier(c, logger)
	privacy := seal.NewPrivacy(inst.Secrets, time.Now)
	env := inst.Env(time.Now, sealer(privacy), func(what string, err error) {
		logger.Error("a command's background work failed", slog.String("what", what), slog.String("error", err.Error()))
	})
	agents, catalogs, organizations := commands.NewAgentLoop(env), commands.NewCatalogLoop(env),
		commands.NewOrganizationLoop(env)
	guides, rules := commands.NewGuideLoop(env), commands.NewRuleLoop(env)
	outgoing, lanes := commands.NewDeliveryLoop(env), commands.NewLaneLoop(env)
	refusals := commands.NewRefusals(env, newID)
	uses := commands.NewUses(inst.Log, time.Now, newID, env.OnFault)
	h.installation = commands.NewInstallationLoop(env)
	h.clock = &clockCheck{log: inst.Log, clock: time.Now}
	h.fence = commands.NewFence(commands.FenceConfig{
		Installation: h.installation, Log: inst.Log, StoreID: inst.Begun.StoreID,
		Organization: inst.Begun.OrganizationID, NewID: newID, Logger: logger, Rows: readModel.Mark,
		Memories: []commands.Memory{
			commands.NewMemory("the read model", readModel.SeenEnd), commands.NewMemory("the ledger", h.ledger.SeenEnd),
		}, Clock: time.Now,
		Forget: []func(){
			agents.Forget, catalogs.Forget, guides.Forget, rules.Forget, organizations.Forget, outgoing.Forget, lanes.Forget,
			h.installation.Forget,
		},
	})
	env.OnAppend = func(a loop.Appending) {
		m.appended(a)
		h.clock.appended(a)
		h.fence.Seen(a)
	}
	env.Ends, env.OnLost = h.fence.Ends, h.fence.Lost
	findings := commands.NewFindings(&commands.Findings{
		Installation: h.installation, Log: inst.Log, Organization: inst.Begun.OrganizationID, NewID: newID,
		Logger: logger, OnFound: m.foreign.Inc, Fence: h.fence,
	})
	inst.Log.Found, inst.Log.Settled = findings.Found, h.fence.Settled
	h.secrets = inst.Secrets
	rulebook := commands.NewRulebook(&commands.Rulebook{
		Loop: rules, Agents: agents, Catalogs: catalogs, MACKey: inst.MACKey, Clock: time.Now, Patience: 20 * time.Second,
		Asked: askers(inst.Log.Client, models, readModel),
	})
	grants := &commands.Grants{
		Agents: agents, Catalogs: catalogs, Secrets: inst.Secrets, Log: inst.Log, Clock: time.Now,
		Organizations: organizations, Rules: rulebook,
	}
	tools := &commands.Tools{Catalogs: catalogs, Agents: agents, Secrets: inst.Secrets, Log: inst.Log, Clock: time.Now}
	notes := &commands.Notes{Guides: guides, Tools: tools, Grants: grants}
	channels := &commands.Channels{
		Organizations: organizations, Secrets: inst.Secrets,
		Sender: notify.NewSender(c.Outbound, c.Mail, c.MailFrom, time.Now), Clock: time.Now,
	}
	channels.Sender.Dashboard = c.Dashboard
	deliveries := &commands.Deliveries{
		Loop: outgoing, Lanes: lanes, Agents: agents, Catalogs: catalogs, Channels: channels, Log: inst.Log,
		NewID: newID,
	}
	persons := commands.NewPersonLoop(env)
	callers := &commands.Callers{
		Agents: agents, Organizations: organizations, First: inst.Begun.OrganizationID, Uses: uses, Issuers: issuers,
		People: &commands.People{
			Organizations: organizations, Persons: persons, Privacy: privacy, Issuers: namingOrganizations(c.Issuers),
			Clock: time.Now, NewID: newID,
			Directory: &commands.Directory{Log: inst.Log, MACKey: inst.MACKey, Clock: time.Now},
		},
	}
	grants.People = callers.People
	agentsOf := &commands.Agents{
		Loop: agents, Catalogs: catalogs, Secrets: inst.Secrets, Privacy: privacy, Log: inst.Log, MACKey: inst.MACKey,
		Clock: time.Now,
	}
	callers.Workloads = &commands.Workloads{
		Agents: agentsOf, Directory: callers.People.Directory, Clock: time.Now,
		Tokens: oidc.NewWorkloads(oidc.Config{Logger: logger, Clock: time.Now}, issuers, c.Outbound),
	}
	administered := &commands.Organizations{Loop: organizations, Privacy: privacy, First: inst.Begun.OrganizationID}
	version, _ := build()
	server := &api.Server{
		Door: &door.Door{
			Callers: callers,
			Counter: h.counter, Rules: c.Limits, Proxies: c.Proxies, AgentOrigins: c.AgentOrigins,
			AdminOrigins: c.AdminOrigins,
		},
		Agents: agentsOf, Workloads: callers.Workloads,
		Grants: grants, Rules: rulebook,
		Tools: tools, Suggestions: &commands.Suggestions{Tools: tools, Grants: grants}, Notes: notes,
		Channels: channels, Deliveries: deliveries,
		Fetch: &commands.Fetch{
			Agents: agents, Catalogs: catalogs, Secrets: inst.Secrets, Refusals: refusals, Fence: h.fence,
			Log: inst.Log.Client, NewID: newID,
		},
		Refusals: refusals,
		Once:     &commands.Once{Log: inst.Log, MACKey: inst.MACKey, Clock: time.Now, NewID: newID},
		Export:   &export.Source{Log: inst.Log, Ledger: h.ledger, Keys: inst.VerificationKeys, Logger: logger},
		Ledger:   h.ledger, Keys: inst.VerificationKeys,
		Cosignatures: &commands.Cosignatures{
			Log: inst.Log, Keys: h.ledger.Keys, Witnesses: c.Witnesses, Clock: time.Now,
		},
		Organizations: administered, People: callers.People,
		SignIns: &commands.SignIns{
			Callers: callers, Organizations: administered, MACKey: inst.MACKey, Clock: time.Now,
		},
		Secure:   c.secure(),
		Features: api.MetaFeatures{Ai: c.AI.BaseURL != "", Mail: c.Mail != nil, Witnesses: len(c.Witnesses) > 0},
		Erasures: &commands.Erasures{
			Organizations: organizations, People: persons, Privacy: privacy, Log: inst.Log,
			Clock: time.Now,
		},
		Live:   &live.Hub{Moved: readModel.Moved, Happened: models.Happened, Logger: logger},
		Models: models, WaitFor: readModel.WaitFor, Ready: h.Ready, Integrity: h.Integrity, Full: isSpare,
		OnAnswer: m.answered, Version: version,
		Reveal: func(ctx context.Context, organization, private string) (api.Personal, error) {
			p, err := privacy.Open(ctx, organization, private)
			return api.Personal(p), err
		},
		RevealName:       privacy.OpenName,
		SecurityContacts: c.SecurityContacts,
		Clock:            time.Now, NewID: newID, Logger: logger,
	}
	followers := []reactions.Reaction{
		reactions.RemovedTools(readModel, grants),
		reactions.FrozenTools(readModel, grants),
		reactions.AnsweredSuggestions(grants),
		reactions.PlannedChanges(tools),
		reactions.TakenNotes(notes),
		reactions.EndedSecrets(inst.Secrets),
		reactions.UnusedSecrets(grants),
		reactions.Notifications(deliveries, grants),
		reactions.BreakGlass(readModel, deliveries),
	}
	m.expect([]string{agents.Category.String(), catalogs.Category.String()}, followers)
	return parts{
		server: server, issuers: issuers, refusals: refusals, uses: uses, findings: findings,
		expiry:    &reactions.Expiry{Models: models, Grants: grants, Clock: time.Now, NewID: newID, Logger: logger},
		reminders: &reactions.Reminders{Models: models, Deliveries: deliveries, Clock: time.Now, Logger: logger},
		deliverer: &reactions.Deliverer{Models: models, Deliveries: deliveries, Clock: time.Now, Logger: logger},
		reactor: &reactions.Reactor{
			Log: inst.Log, Organization: inst.Begun.OrganizationID, Clock: time.Now, NewID: newID, Logger: logger,
			OnAct: m.acted,
		},
		reactions: followers,
	}
}
