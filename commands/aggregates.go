package commands

import (
	"agentkey/commands/loop"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/delivery"
	"agentkey/domain/guide"
	"agentkey/domain/installation"
	"agentkey/domain/lane"
	"agentkey/domain/organization"
	"agentkey/domain/person"
	"agentkey/domain/rulebook"
	"agentkey/eventstore/codec"
)

// The kinds of stream and their loops. The Fold number goes up with every change of an Evolve or of
// the JSON of a State; 0 means that no snapshots are kept.
type (
	AgentLoop        = loop.Loop[agent.State, agent.Command, agent.Event]
	CatalogLoop      = loop.Loop[catalog.State, catalog.Command, catalog.Event]
	GuideLoop        = loop.Loop[guide.State, guide.Command, guide.Event]
	OrganizationLoop = loop.Loop[organization.State, organization.Command, organization.Event]
	RuleLoop         = loop.Loop[rulebook.State, rulebook.Command, rulebook.Event]
	PersonLoop       = loop.Loop[person.State, person.Command, person.Event]
	DeliveryLoop     = loop.Loop[delivery.State, delivery.Command, delivery.Event]
	LaneLoop         = loop.Loop[lane.State, lane.Command, lane.Event]
	InstallationLoop = loop.Loop[installation.State, installation.Command, installation.Event]
)

// NewAgentLoop returns the loop of the agent- streams.
func NewAgentLoop(env *loop.Env) *AgentLoop {
	return loop.New(
		env,
		loop.Aggregate[agent.State, agent.Command, agent.Event]{
			Category: codec.Agents, Fold: 10, Decide: agent.Decide, Evolve: loop.OneByOne(agent.Evolve),
		},
	)
}

// NewCatalogLoop returns the loop of the catalog- streams.
func NewCatalogLoop(env *loop.Env) *CatalogLoop {
	return loop.New(
		env,
		loop.Aggregate[catalog.State, catalog.Command, catalog.Event]{
			Category: codec.Catalogs, Fold: 9, Decide: catalog.Decide, Evolve: catalog.Evolve,
		},
	)
}

// NewGuideLoop returns the loop of the guide- streams.
func NewGuideLoop(env *loop.Env) *GuideLoop {
	return loop.New(
		env,
		loop.Aggregate[guide.State, guide.Command, guide.Event]{
			Category: codec.Guides, Decide: guide.Decide, Evolve: loop.OneByOne(guide.Evolve),
		},
	)
}

// NewOrganizationLoop returns the loop of the organization- streams.
func NewOrganizationLoop(env *loop.Env) *OrganizationLoop {
	return loop.New(
		env,
		loop.Aggregate[organization.State, organization.Command, organization.Event]{
			Category: codec.Organizations, Fold: 8, Decide: organization.Decide, Evolve: loop.OneByOne(organization.Evolve),
		},
	)
}

// NewRuleLoop returns the loop of the rules- streams.
func NewRuleLoop(env *loop.Env) *RuleLoop {
	return loop.New(env, loop.Aggregate[rulebook.State, rulebook.Command, rulebook.Event]{
		Category: codec.Rules, Fold: 1, Decide: rulebook.Decide, Evolve: loop.OneByOne(rulebook.Evolve),
	})
}

// NewPersonLoop returns the loop of the person- streams, which are too short for snapshots.
func NewPersonLoop(env *loop.Env) *PersonLoop {
	return loop.New(env, loop.Aggregate[person.State, person.Command, person.Event]{
		Category: codec.People, Decide: person.Decide, Evolve: loop.OneByOne(person.Evolve),
	})
}

// NewDeliveryLoop returns the loop of the delivery- streams, which are too short for snapshots.
func NewDeliveryLoop(env *loop.Env) *DeliveryLoop {
	return loop.New(
		env,
		loop.Aggregate[delivery.State, delivery.Command, delivery.Event]{
			Category: codec.Deliveries, Decide: delivery.Decide, Evolve: loop.OneByOne(delivery.Evolve),
		},
	)
}

// NewLaneLoop returns the loop of the lane- streams.
func NewLaneLoop(env *loop.Env) *LaneLoop {
	return loop.New(env, loop.Aggregate[lane.State, lane.Command, lane.Event]{
		Category: codec.Lanes, Fold: 1, Decide: lane.Decide, Evolve: loop.OneByOne(lane.Evolve),
	})
}

// NewInstallationLoop returns the loop of the one installation stream.
func NewInstallationLoop(env *loop.Env) *InstallationLoop {
	return loop.New(
		env,
		loop.Aggregate[installation.State, installation.Command, installation.Event]{
			Category: codec.Installation, Decide: installation.Decide, Evolve: loop.OneByOne(installation.Evolve),
		},
	)
}
