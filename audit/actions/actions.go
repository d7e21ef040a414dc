// Package actions says what each action of the audit means: its category, what it is, and the
// sentence in English that tells an entry of it. It decides nothing and looks nothing up: whatever
// an entry names has its label already.
package actions

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"agentkey/domain"
	"agentkey/readmodels"
)

// Category is a part of the audit that somebody reads by itself.
type Category string

// The categories. Each action is in one.
const (
	Decision     Category = "decision"     // what humans decide about what agents asked for
	Access       Category = "access"       // agents, and how their access begins and ends
	Fetch        Category = "fetch"        // credentials that were fetched or refused
	Catalog      Category = "catalog"      // tools, their credentials and guides, and what agents suggest
	Notification Category = "notification" // what was sent to channels, and whether it arrived
	System       Category = "system"       // the installation, its keys and its log
	Organization Category = "organization" // members, service tokens, sessions, channels, personal data
)

// Categories lists every category.
func Categories() []Category {
	return []Category{Decision, Access, Fetch, Catalog, Notification, System, Organization}
}

// Action is what the audit says of every entry of one action. Example is the sentence of one.
type Action struct {
	Name        string
	Category    Category
	Description string
	Example     string
}

// row is an action with how an entry of it is told.
type row struct {
	Action
	tell func(entry) (string, error)
}

// table has a row for each action.
var table = func() map[string]row {
	all := map[string]row{}
	for _, r := range slices.Concat(
		ofAgents, ofGrants, ofFetches, ofTheCatalog, ofDeliveries, ofRules, ofOrganizations, ofTheSystem,
	) {
		all[r.Name] = r
	}
	return all
}()

// All lists every action, by name.
func All() (all []Action) {
	for _, name := range Names() {
		all = append(all, table[name].Action)
	}
	return all
}

// Names lists the names of all actions.
func Names() []string { return slices.Sorted(maps.Keys(table)) }

// In lists the names of the actions of a category.
func In(c Category) (names []string) {
	for _, name := range Names() {
		if table[name].Category == c {
			names = append(names, name)
		}
	}
	return names
}

// Of returns the category of an action.
func Of(action string) Category { return table[action].Category }

// Summary tells an entry that has all its labels in a sentence.
func Summary(e readmodels.AuditEntry) (string, error) {
	r, known := table[e.Action]
	if !known {
		return "", fmt.Errorf("there is no sentence for %s", e.Action)
	}
	text, err := r.tell(entry{e})
	if err != nil {
		return "", fmt.Errorf("tell %s: %w", e.ID, err)
	}
	return text, nil
}

// told is the row of an action whose events have the form of the example. who is who acts in it.
func told[T any](
	name string, category Category, description string, who domain.Actor, example T, sentence func(entry, T) string,
) row {
	r := row{Action: Action{Name: name, Category: category, Description: description}}
	r.tell = func(e entry) (string, error) {
		var data T
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return "", err
		}
		return e.close(sentence(e, data)), nil
	}
	e := entry{readmodels.AuditEntry{
		Action: name, Actor: who, AgentName: "Deploy bot", AgentID: "agent", ToolName: "GitHub", ToolID: "tool",
		OccurredAt: exampleTime.Add(-time.Hour),
	}}
	about, _, _ := strings.Cut(name, ".")
	e.Target = readmodels.Target{Type: about, ID: "id", Label: exampleLabels[about]}
	if who.Type == domain.ActorSystem && who.ID != operator && category == Access {
		e.OnBehalfOf = ada
	}
	r.Example = e.close(sentence(e, example))
	return r
}

// Who acts in the examples, and when.
var (
	ada         = domain.Actor{Type: domain.ActorHuman, ID: "ada", Label: "Ada Lovelace"}
	bot         = domain.Actor{Type: domain.ActorAgent, ID: "agent", Label: "Deploy bot"}
	part        = domain.Actor{Type: domain.ActorSystem, ID: "agentkey"}
	atTheServer = domain.Actor{Type: domain.ActorSystem, ID: operator}

	exampleTime   = time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	exampleLabels = map[string]string{
		"agent": "Deploy bot", "tool": "GitHub", "suggestion": "Linear", "instruction_suggestion": "Page by cursor.",
		"notification_channel": "#ops", "delivery": "#ops: access requested, Deploy bot, GitHub", "organization": "Acme",
		"service_token": "nightly audit", "rule": "Search for a day", "member": "Grace Hopper", "call": "exportAudit",
	}
)
