package catalog_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/catalog"
)

var later = start.Add(catalog.Cooldown + 10*time.Minute)

func missed() catalog.Event {
	return catalog.SuggestionMade{SuggestionID: "g1", Name: "Notion", FoldedName: "notion", URL: "https://notion.so", Site: "notion.so", AgentID: "a", Reason: "to write"}
}

func unplaced() catalog.Event {
	return catalog.SuggestionMade{SuggestionID: "g1", Name: "Notion", FoldedName: "notion", AgentID: "a", Reason: "to write"}
}

func suggest(agent, name, site string) catalog.Suggest {
	c := catalog.Suggest{At: start.Add(10 * time.Minute), SuggestionID: "g2", AgentID: agent, Name: name, FoldedName: name, Site: site, Reason: "to write"}
	if site != "" {
		c.URL = "https://" + site
	}
	return c
}

func backed(agent string) catalog.Event {
	return catalog.SuggestionBacked{SuggestionID: "g1", AgentID: agent, Reason: "to write"}
}

func reopened(agent string) catalog.Event {
	return catalog.SuggestionBacked{SuggestionID: "g1", AgentID: agent, Reason: "to write", Reopens: true}
}

func dismissed() catalog.Event {
	return catalog.SuggestionDismissed{SuggestionID: "g1", Reason: "no"}
}

func at(c catalog.Suggest, when time.Time) catalog.Suggest {
	c.At = when
	return c
}

func TestSuggestions(t *testing.T) {
	notion := catalog.AddTool{ToolID: "9", Name: "Notion", FoldedName: "notion", Site: "notion.so", Mode: catalog.Shared, SecretID: "s"}
	added := catalog.ToolAdded{ToolID: "9", Name: "Notion", FoldedName: "notion", Site: "notion.so", Mode: catalog.Shared, SecretID: "s"}
	own := catalog.AddTool{ToolID: "9", Name: "Notion", FoldedName: "notion", Mode: catalog.PerAgent}
	known := map[string]catalog.Standing{"a": {Suspensions: 1}, "b": {Why: "the agent is suspended"}}
	with := func(tool catalog.AddTool) catalog.AddTool {
		tool.Standings = known
		return tool
	}
	gain := catalog.SuggestionBacked{SuggestionID: "g1", AgentID: "b", Reason: "to write", URL: "https://notion.so", Site: "notion.so"}
	made := func(c catalog.Suggest) catalog.Event {
		return catalog.SuggestionMade{SuggestionID: c.SuggestionID, Name: c.Name, FoldedName: c.FoldedName, URL: c.URL, Site: c.Site, AgentID: c.AgentID, Reason: c.Reason}
	}
	atSite := catalog.ToolAdded{ToolID: "7", Name: "Docs", FoldedName: "docs", Site: "notion.so", Mode: catalog.PerAgent}
	tests := []struct {
		name  string
		given []catalog.Event
		when  catalog.Command
		then  []catalog.Event
		code  string
	}{
		{"nobody missed it before", nil, suggest("a", "notion", "notion.so"), []catalog.Event{made(suggest("a", "notion", "notion.so"))}, ""},
		{"another misses it", []catalog.Event{missed()}, suggest("b", "notion", "notion.so"), []catalog.Event{backed("b")}, ""},
		{"another calls it otherwise", []catalog.Event{missed()}, suggest("b", "notes", "notion.so"), []catalog.Event{backed("b")}, ""},
		{"another does not know where it is", []catalog.Event{missed()}, suggest("b", "notion", ""), []catalog.Event{backed("b")}, ""},
		{"the same name elsewhere is another", []catalog.Event{missed()}, suggest("b", "notion", "notion.dev"), []catalog.Event{made(suggest("b", "notion", "notion.dev"))}, ""},
		{"another name elsewhere is another", []catalog.Event{missed()}, suggest("b", "linear", ""), []catalog.Event{made(suggest("b", "linear", ""))}, ""},
		{"the same agent for the same reason", []catalog.Event{missed()}, suggest("a", "notion", "notion.so"), nil, ""},
		{"the same agent for another reason", []catalog.Event{catalog.SuggestionMade{SuggestionID: "g1", FoldedName: "notion", AgentID: "a", Reason: "because"}}, suggest("a", "notion", ""), []catalog.Event{backed("a")}, ""},
		{"it gains an address", []catalog.Event{unplaced()}, suggest("b", "notion", "notion.so"), []catalog.Event{gain}, ""},
		{"it gains an address once", []catalog.Event{unplaced(), gain}, suggest("c", "notion", "notion.dev"), []catalog.Event{made(suggest("c", "notion", "notion.dev"))}, ""},
		{"the catalog has it by name", []catalog.Event{github()}, suggest("a", "github", "elsewhere.com"), nil, "tool_exists"},
		{"the catalog has it by site", []catalog.Event{atSite}, suggest("a", "notion", "notion.so"), nil, "tool_exists"},
		{"a removed tool is missed", []catalog.Event{atSite, catalog.ToolRemoved{ToolID: "7"}}, suggest("a", "notion", "notion.so"), []catalog.Event{made(suggest("a", "notion", "notion.so"))}, ""},

		{"a dismissed one whose tool was added since is not opened from its site", []catalog.Event{missed(), dismissed(), catalog.ToolAdded{ToolID: "9", Name: "Notion", FoldedName: "notion", Mode: catalog.PerAgent}}, at(suggest("b", "notes", "notion.so"), later), nil, "tool_exists"},

		{"it is dismissed", []catalog.Event{missed()}, catalog.DismissSuggestion{SuggestionID: "g1", Reason: "no"}, []catalog.Event{dismissed()}, ""},
		{"it is dismissed twice", []catalog.Event{missed(), dismissed()}, catalog.DismissSuggestion{SuggestionID: "g1"}, nil, "already_decided"},
		{"an unknown note is dismissed", nil, catalog.DismissSuggestion{SuggestionID: "g1"}, nil, "not_found"},
		{"it is made again too early", []catalog.Event{missed(), dismissed()}, suggest("b", "notion", ""), []catalog.Event{catalog.SuggestionCooldownRefused{SuggestionID: "g1", AgentID: "b"}}, ""},
		{"it is made again too early, again", []catalog.Event{missed(), dismissed(), catalog.SuggestionCooldownRefused{SuggestionID: "g1", AgentID: "b"}}, suggest("b", "notion", ""), nil, "suggestion_cooling_down"},
		{"it is made again a day later", []catalog.Event{missed(), dismissed()}, at(suggest("b", "notion", ""), later), []catalog.Event{reopened("b")}, ""},
		{"its maker makes it again a day later", []catalog.Event{missed(), dismissed()}, at(suggest("a", "notion", ""), later), []catalog.Event{reopened("a")}, ""},

		{"accepting needs to know the backers", []catalog.Event{missed(), backed("b")}, catalog.AcceptSuggestion{SuggestionID: "g1", Tool: notion, GrantBackers: true}, nil, "fault: the standing of 2 agents is needed"},
		{"it is accepted", []catalog.Event{missed(), backed("b")}, catalog.AcceptSuggestion{SuggestionID: "g1", Tool: with(notion), GrantBackers: true}, []catalog.Event{
			added,
			catalog.SuggestionAccepted{SuggestionID: "g1", ToolID: "9", Decisions: []catalog.Decision{
				{AgentID: "a", Outcome: catalog.Granted, Reason: "to write", Suspensions: 1}, {AgentID: "b", Outcome: catalog.Skipped, Why: "the agent is suspended"},
			}},
		}, ""},
		{"it is accepted without grants", []catalog.Event{missed()}, catalog.AcceptSuggestion{SuggestionID: "g1", Tool: with(notion)}, []catalog.Event{
			added, catalog.SuggestionAccepted{SuggestionID: "g1", ToolID: "9", Decisions: []catalog.Decision{{AgentID: "a", Outcome: catalog.Pending, Reason: "to write", Suspensions: 1}}},
		}, ""},
		{"it is accepted with a credential for each", []catalog.Event{missed()}, catalog.AcceptSuggestion{SuggestionID: "g1", Tool: with(own), GrantBackers: true}, []catalog.Event{
			catalog.ToolAdded{ToolID: "9", Name: "Notion", FoldedName: "notion", Mode: catalog.PerAgent},
			catalog.SuggestionAccepted{SuggestionID: "g1", ToolID: "9", Decisions: []catalog.Decision{
				{AgentID: "a", Outcome: catalog.Pending, Why: "each agent needs a credential of its own for this tool", Reason: "to write", Suspensions: 1},
			}},
		}, ""},
		{"it is accepted as a tool that there is", []catalog.Event{github(), missed()}, catalog.AcceptSuggestion{SuggestionID: "g1", Tool: catalog.AddTool{ToolID: "9", FoldedName: "github", Mode: catalog.PerAgent}}, nil, "tool_exists"},
		{"it is accepted after it was dismissed", []catalog.Event{missed(), dismissed()}, catalog.AcceptSuggestion{SuggestionID: "g1", Tool: with(notion)}, nil, "already_decided"},
		{"it is accepted again as the same tool", []catalog.Event{missed(), added, catalog.SuggestionAccepted{SuggestionID: "g1", ToolID: "9"}}, catalog.AcceptSuggestion{SuggestionID: "g1", Tool: with(notion)}, nil, ""},
		{"a tool that is added by hand answers it, with requests", []catalog.Event{missed()}, with(notion), []catalog.Event{
			added, catalog.SuggestionRedirected{SuggestionID: "g1", ToolID: "9", Decisions: []catalog.Decision{{AgentID: "a", Outcome: catalog.Pending, Reason: "to write", Suspensions: 1}}},
		}, ""},
		{"a tool of another name at its site answers it", []catalog.Event{missed(), atSite}, catalog.UpdateTool{ToolID: "7", Description: new("d"), Site: new("notion.so"), Standings: known}, []catalog.Event{catalog.ToolUpdated{ToolID: "7", Description: new("d")}}, ""},
		{"a renamed tool answers it", []catalog.Event{github(), missed()}, catalog.UpdateTool{ToolID: "1", Name: new("Notion"), FoldedName: new("notion"), Standings: known}, []catalog.Event{
			catalog.ToolUpdated{ToolID: "1", Name: new("Notion"), FoldedName: new("notion")},
			catalog.SuggestionRedirected{SuggestionID: "g1", ToolID: "1", Decisions: []catalog.Decision{{AgentID: "a", Outcome: catalog.Pending, Reason: "to write", Suspensions: 1}}},
		}, ""},
		{"a dismissed one is answered by nobody", []catalog.Event{missed(), dismissed()}, notion, []catalog.Event{added}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := catalog.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSuggestionsAreBounded fills an organization and a suggestion.
func TestSuggestionsAreBounded(t *testing.T) {
	var many []catalog.Event
	for i := range catalog.MaxPendingSuggestions {
		many = append(many, catalog.SuggestionMade{SuggestionID: fmt.Sprint("g", i), FoldedName: fmt.Sprint("n", i), AgentID: "a"})
	}
	if _, err := catalog.Decide(fold(many...), suggest("a", "notion", "")); codeOf(err) != "validation_failed" {
		t.Errorf("one more suggestion: %v", err)
	}
	events := []catalog.Event{missed()}
	for i := range catalog.MaxBackers - 1 {
		events = append(events, backed(fmt.Sprint("b", i)))
	}
	full := fold(events...)
	if _, err := catalog.Decide(full, suggest("c", "notion", "")); codeOf(err) != "validation_failed" {
		t.Errorf("one more backer: %v", err)
	}
	_, err := catalog.Decide(full, catalog.AddTool{ToolID: "9", FoldedName: "notion", Mode: catalog.PerAgent})
	if needed, ok := errors.AsType[*catalog.StandingsNeededError](err); !ok || len(needed.AgentIDs) != catalog.MaxBackers || needed.ToolID != "9" {
		t.Errorf("whose standing is needed: %v", err)
	}
}
