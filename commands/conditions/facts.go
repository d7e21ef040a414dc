package conditions

import (
	"time"

	"cel.dev/cel-go/cel"

	"agentkey/domain/agent"
	"agentkey/domain/catalog"
)

// Facts are what a condition may look at: of the streams alone, as they are right after an agent
// asked for a tool.
type Facts struct {
	AgentID, ToolID string
	Agent           agent.State // with no grant but the one of the tool
	Past            agent.Past  // of all its grants
	Tool            catalog.Tool
}

// Of returns the facts about a request that an agent has just made. They keep nothing of the
// agent's other grants.
func Of(agentID, toolID string, s agent.State, tool catalog.Tool) Facts {
	f := Facts{AgentID: agentID, ToolID: toolID, Agent: s, Past: s.Past(), Tool: tool}
	f.Agent.Grants = map[string]agent.Grant{toolID: s.Grants[toolID]}
	return f
}

// fact is a name in conditions.
type fact struct {
	name  string
	kind  *cel.Type
	size  uint64 // the most characters that a text has, or the most labels
	means string
	of    func(Facts) any
}

// Environment is the version of the names and limits below. It goes up when a condition that was
// written before could mean something else; a condition of another version isn't evaluated.
const Environment = 1

var labels = cel.MapType(cel.StringType, cel.StringType)

const (
	mostLabels   = 16
	longestLabel = 63 // characters of a key, and of a value
)

// facts are all names, in the order in which people read of them. The sizes are those of the
// contract, because the highest cost of a condition follows from them.
var facts = []fact{
	{"agent.id", cel.StringType, 36, "the agent's id", func(f Facts) any { return f.AgentID }},
	{"agent.name", cel.StringType, 120, "its name, which need not be unique", func(f Facts) any { return f.Agent.Name }},
	{"agent.description", cel.StringType, 500, "its description", func(f Facts) any { return f.Agent.Description }},
	{
		"agent.owner", cel.StringType, 36, "the id of its owner, or an empty text",
		func(f Facts) any { return f.Agent.OwnerID },
	},
	{
		"agent.labels", labels, mostLabels, "its labels: values by their keys",
		func(f Facts) any { return f.Agent.Labels.Map() },
	},
	{
		"agent.age", cel.DurationType, 0, "how long ago it was registered",
		func(f Facts) any { return f.asked().RequestedAt.Sub(f.Agent.CreatedAt) },
	},
	{
		"agent.suspensions", cel.IntType, 0, "how often it was suspended",
		func(f Facts) any { return int64(f.Agent.Suspensions) },
	},
	{
		"agent.workload", cel.BoolType, 0, "whether it is bound to an identity of a workload",
		func(f Facts) any { return f.Agent.Identity != nil },
	},
	{"tool.id", cel.StringType, 36, "the tool's id", func(f Facts) any { return f.ToolID }},
	{"tool.name", cel.StringType, 120, "its name", func(f Facts) any { return f.Tool.Name }},
	{"tool.description", cel.StringType, 500, "its description", func(f Facts) any { return f.Tool.Description }},
	{"tool.url", cel.StringType, 2000, "its URL, or an empty text", func(f Facts) any { return f.Tool.URL }},
	{
		"tool.site", cel.StringType, 253, "the registrable domain of its URL, or an empty text",
		func(f Facts) any { return f.Tool.Site },
	},
	{
		"tool.auth_type", cel.StringType, 20, "api_key, oauth_token, bot_token or other",
		func(f Facts) any { return string(f.Tool.AuthType) },
	},
	{
		"tool.credential_mode", cel.StringType, 20, "shared or per_agent",
		func(f Facts) any { return string(f.Tool.Mode) },
	},
	{"tool.labels", labels, mostLabels, "its labels", func(f Facts) any { return f.Tool.Labels.Map() }},
	{"request.reason", cel.StringType, 500, "the agent's words", func(f Facts) any { return f.asked().Reason }},
	{
		"request.seconds", cel.IntType, 0, "how long it wants access, 0 where it didn't say",
		func(f Facts) any { return f.asked().RequestedSeconds },
	},
	{"request.at", cel.TimestampType, 0, "when it asked", func(f Facts) any { return f.asked().RequestedAt }},
	{
		"history.tool.approved", cel.IntType, 0, "how often it was given access to this tool before",
		func(f Facts) any { return f.asked().Past.Approved },
	},
	{
		"history.tool.denied", cel.IntType, 0, "how often a request for this tool was denied",
		func(f Facts) any { return f.asked().Past.Denied },
	},
	{
		"history.tool.revoked", cel.IntType, 0, "how often a human took this tool away from it",
		func(f Facts) any { return f.asked().Past.Revoked },
	},
	{
		"history.tool.fetches", cel.IntType, 0, "how often it fetched the credential of this tool",
		func(f Facts) any { return f.asked().Past.Fetches },
	},
	{
		"history.all.approved", cel.IntType, 0, "as history.tool.approved, of all tools",
		func(f Facts) any { return f.Past.Approved },
	},
	{
		"history.all.denied", cel.IntType, 0, "as history.tool.denied, of all tools",
		func(f Facts) any { return f.Past.Denied },
	},
	{
		"history.all.revoked", cel.IntType, 0, "as history.tool.revoked, of all tools",
		func(f Facts) any { return f.Past.Revoked },
	},
	{
		"history.all.fetches", cel.IntType, 0, "as history.tool.fetches, of all tools",
		func(f Facts) any { return f.Past.Fetches },
	},
}

// asked is the request.
func (f Facts) asked() agent.Grant { return f.Agent.Grants[f.ToolID] }

// ResolveName implements interpreter.Activation: a fact is looked at only if a condition names it.
func (f Facts) ResolveName(name string) (any, bool) {
	if i, found := byName[name]; found {
		return plain(facts[i].of(f)), true
	}
	return nil, false
}

// plain makes times ones of UTC, so that nothing depends on the zone of a process.
func plain(v any) any {
	if at, is := v.(time.Time); is {
		return at.UTC()
	}
	return v
}

// Parent implements interpreter.Activation.
func (Facts) Parent() cel.Activation { return nil }

var byName = func() map[string]int {
	m := make(map[string]int, len(facts))
	for i, f := range facts {
		m[f.name] = i
	}
	return m
}()

// Names are the names that conditions may use, each with what it means.
func Names() [][2]string {
	all := make([][2]string, len(facts))
	for i, f := range facts {
		all[i] = [2]string{f.name, f.means}
	}
	return all
}
