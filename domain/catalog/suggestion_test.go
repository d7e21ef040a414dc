package catalog_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/domain/catalog"
)

var later = start.Add(catalog.Cooldown + 10*time.Minute)

func missed() catalog.Event {
	return catalog.SuggestionMade{
		SuggestionID: "g1", Name: "Notion", FoldedName: "notion", URL: "https://notion.so", Site: "notion.so",
		AgentID: "a", Reason: "to write",
	}
}

func unplaced() catalog.Event {
	return catalog.SuggestionMade{
		SuggestionID: "g1", Name: "Notion", FoldedName: "notion", AgentID: "a", Reason: "to write",
	}
}

func suggest(agent, name, site string) catalog.Suggest {
	c := catalog.Suggest{
		At: start.Add(10 * time.Minute), SuggestionID: "g2", AgentID: agent, Name: name, FoldedName: name, Site: site,
		Reason: "to write",
	}
	if site != "" {
		c.URL = "https://" + site
	}
	return c
}

// backed is an agent that backs g1 with what suggest says.
func backed(agent, name, site string) catalog.SuggestionBacked {
	c := suggest(agent, name, site)
	return catalog.SuggestionBacked{SuggestionID: "g1", AgentID: agent, Name: c.Name, URL: c.URL, Reason: c.Reason}
}

func reopened(agent, name, site string) catalog.Event {
	e := backed(agent, name, site)
	e.Reopens = true
	return e
}

// elsewhere is a tool of another product at the site of what is missed.
func elsewhere() catalog.Event {
	return catalog.ToolAdded{ToolID: "7", Name: "Docs", FoldedName: "docs", Site: "notion.so", Mode: catalog.PerAgent}
}

func backing(id, agent, name string) catalog.Event {
	return catalog.SuggestionBacked{SuggestionID: id, AgentID: agent, Name: name, Reason: "to write"}
}

func other(id, name, site, agent string) catalog.Event {
	return catalog.SuggestionMade{
		SuggestionID: id, Name: name, FoldedName: name, URL: "https://" + site, Site: site, AgentID: agent,
		Reason: "to write",
	}
}

func dismissed() catalog.Event {
	return catalog.SuggestionDismissed{SuggestionID: "g1", Reason: "no"}
}

func at(c catalog.Suggest, when time.Time) catalog.Suggest {
	c.At = when
	return c
}

func TestSuggestions(t *testing.T) {
	notion := catalog.AddTool{
		ToolID: "9", Name: "Notion", FoldedName: "notion", Site: "notion.so", Mode: catalog.Shared, SecretID: "s",
	}
	added := catalog.ToolAdded{
		ToolID: "9", Name: "Notion", FoldedName: "notion", Site: "notion.so", Mode: catalog.Shared, SecretID: "s",
	}
	nowhere := catalog.ToolAdded{ToolID: "9", Name: "Notion", FoldedName: "notion", Mode: catalog.PerAgent}
	own := catalog.AddTool{ToolID: "9", Name: "Notion", FoldedName: "notion", Mode: catalog.PerAgent}
	ruled := catalog.AddTool{
		ToolID: "9", Name: "Notion", FoldedName: "notion", Mode: catalog.Shared, SecretID: "s1",
		Approval: domain.ApprovalRules{RequiredApprovals: 2},
	}
	known := map[string]catalog.Standing{"a": {Suspensions: 1}, "b": {Why: "the agent is suspended"}, "c": {}, "d": {}}
	with := func(tool catalog.AddTool) catalog.AddTool {
		tool.Standings = known
		return tool
	}
	made := func(c catalog.Suggest) catalog.Event {
		return catalog.SuggestionMade{
			SuggestionID: c.SuggestionID, Name: c.Name, FoldedName: c.FoldedName, URL: c.URL, Site: c.Site,
			AgentID: c.AgentID, Reason: c.Reason,
		}
	}
	tests := []struct {
		name  string
		given []catalog.Event
		when  catalog.Command
		then  []catalog.Event
		code  string
	}{
		{
			"nobody missed it before", nil, suggest("a", "notion", "notion.so"),
			[]catalog.Event{made(suggest("a", "notion", "notion.so"))},
			"",
		},
		{
			"another misses it",
			[]catalog.Event{missed()},
			suggest("b", "notion", "notion.so"),
			[]catalog.Event{backed("b", "notion", "notion.so")},
			"",
		},
		{
			"another product of the site is another",
			[]catalog.Event{missed()},
			suggest("b", "calendar", "notion.so"),
			[]catalog.Event{made(suggest("b", "calendar", "notion.so"))},
			"",
		},
		{
			"another does not know where it is",
			[]catalog.Event{missed()},
			suggest("b", "notion", ""),
			[]catalog.Event{backed("b", "notion", "")},
			"",
		},
		{
			"the same name elsewhere is another",
			[]catalog.Event{missed()},
			suggest("b", "notion", "notion.dev"),
			[]catalog.Event{made(suggest("b", "notion", "notion.dev"))},
			"",
		},
		{
			"another name elsewhere is another",
			[]catalog.Event{missed()},
			suggest("b", "linear", ""),
			[]catalog.Event{made(suggest("b", "linear", ""))},
			"",
		},
		{
			"the same agent says the same",
			[]catalog.Event{missed(), backed("a", "notion", "notion.so")},
			suggest("a", "notion", "notion.so"), nil, "",
		},
		{
			"the same agent leaves the address out",
			[]catalog.Event{missed(), backed("a", "notion", "notion.so")},
			suggest("a", "notion", ""), nil, "",
		},
		{
			"the same agent calls it otherwise",
			[]catalog.Event{missed()},
			suggest("a", "notion", ""),
			[]catalog.Event{backed("a", "notion", "notion.so")},
			"",
		},
		{
			"the same agent for another reason",
			[]catalog.Event{
				catalog.SuggestionMade{
					SuggestionID: "g1", Name: "notion", FoldedName: "notion", AgentID: "a", Reason: "because",
				},
			},
			suggest("a", "notion", ""),
			[]catalog.Event{backed("a", "notion", "")},
			"",
		},
		{
			"it gains no address from a backer",
			[]catalog.Event{unplaced()},
			suggest("b", "notion", "notion.so"),
			[]catalog.Event{backed("b", "notion", "notion.so")},
			"",
		},
		{
			"without an address it is the oldest that fits",
			[]catalog.Event{missed(), other("g0", "notion", "notion.dev", "b")},
			suggest("c", "notion", ""),
			[]catalog.Event{backed("c", "notion", "")},
			"",
		},
		{
			"with an address it is the one at its site",
			[]catalog.Event{other("g0", "notion", "notion.dev", "b"), missed()},
			suggest("c", "notion", "notion.so"),
			[]catalog.Event{backed("c", "notion", "notion.so")},
			"",
		},
		{"without an address it is a pending " +
			"one", []catalog.Event{
			missed(), dismissed(), other("g0", "notion", "notion.dev", "b"),
		}, suggest("c", "notion", ""), []catalog.Event{
			catalog.SuggestionBacked{SuggestionID: "g0", AgentID: "c", Name: "notion", Reason: "to write"},
		}, ""},
		{"the catalog has it", []catalog.Event{added}, suggest("a", "notion", "notion.so"), nil, "tool_exists"},
		{
			"the catalog has it, and the agent does not know where",
			[]catalog.Event{added},
			suggest("a", "notion", ""),
			nil, "tool_exists",
		},
		{
			"the catalog has it, and says not where",
			[]catalog.Event{nowhere},
			suggest("a", "notion", "notion.so"),
			nil, "tool_exists",
		},
		{
			"the catalog has that name elsewhere",
			[]catalog.Event{added},
			suggest("a", "notion", "notion.dev"),
			[]catalog.Event{made(suggest("a", "notion", "notion.dev"))},
			"",
		},
		{
			"the catalog has another product of the site",
			[]catalog.Event{elsewhere()},
			suggest("a", "notion", "notion.so"),
			[]catalog.Event{made(suggest("a", "notion", "notion.so"))},
			"",
		},
		{
			"a removed tool is missed",
			[]catalog.Event{added, catalog.ToolRemoved{ToolID: "9"}},
			suggest("a", "notion", "notion.so"),
			[]catalog.Event{made(suggest("a", "notion", "notion.so"))},
			"",
		},

		{
			"a dismissed one whose tool was added since is not opened by another site",
			[]catalog.Event{unplaced(), dismissed(), added},
			at(suggest("b", "notion", "notion.dev"), later),
			[]catalog.Event{made(suggest("b", "notion", "notion.dev"))},
			"",
		},

		{
			"it is dismissed",
			[]catalog.Event{missed()},
			catalog.DismissSuggestion{SuggestionID: "g1", Reason: "no"},
			[]catalog.Event{dismissed()},
			"",
		},
		{
			"it is dismissed twice",
			[]catalog.Event{missed(), dismissed()},
			catalog.DismissSuggestion{SuggestionID: "g1"},
			nil, "already_decided",
		},
		{"an unknown note is dismissed", nil, catalog.DismissSuggestion{SuggestionID: "g1"}, nil, "not_found"},
		{
			"it is made again too early",
			[]catalog.Event{missed(), dismissed()},
			suggest("b", "notion", ""),
			[]catalog.Event{catalog.SuggestionCooldownRefused{SuggestionID: "g1", AgentID: "b"}},
			"",
		},
		{
			"it is made again too early, again",
			[]catalog.Event{missed(), dismissed(), catalog.SuggestionCooldownRefused{SuggestionID: "g1", AgentID: "b"}},
			suggest("b", "notion", ""), nil, "suggestion_cooling_down",
		},
		{
			"it is made again a day later",
			[]catalog.Event{missed(), dismissed()},
			at(suggest("b", "notion", ""), later),
			[]catalog.Event{reopened("b", "notion", "")},
			"",
		},
		{
			"its maker makes it again a day later",
			[]catalog.Event{missed(), dismissed()},
			at(suggest("a", "notion", ""), later),
			[]catalog.Event{reopened("a", "notion", "notion.so")},
			"",
		},

		{
			"accepting needs to know the backers",
			[]catalog.Event{missed(), backed("b", "notion", "")},
			catalog.AcceptSuggestion{SuggestionID: "g1", Tool: notion, GrantBackers: true},
			nil,
			"fault: the standing of 2 agents is needed",
		},
		{"it is accepted", []catalog.Event{missed(), backed("b", "notion", "")}, catalog.AcceptSuggestion{
			SuggestionID: "g1",
			Tool:         with(notion), GrantBackers: true,
		}, []catalog.Event{
			added,
			catalog.SuggestionAccepted{SuggestionID: "g1", ToolID: "9", Decisions: []catalog.Decision{
				{AgentID: "a", Outcome: catalog.Granted, Reason: "to write", Suspensions: 1},
				{AgentID: "b", Outcome: catalog.Skipped, Why: "the agent is suspended"},
			}},
		}, ""},
		{"it is accepted without grants", []catalog.Event{missed()}, catalog.AcceptSuggestion{
			SuggestionID: "g1",
			Tool:         with(notion),
		}, []catalog.Event{
			added,
			catalog.SuggestionAccepted{
				SuggestionID: "g1", ToolID: "9",
				Decisions: []catalog.Decision{
					{AgentID: "a", Outcome: catalog.Pending, Reason: "to write", Suspensions: 1},
				},
			},
		}, ""},
		{"it is accepted with rules of approval", []catalog.Event{missed()}, catalog.AcceptSuggestion{
			SuggestionID: "g1", Tool: with(ruled), GrantBackers: true,
		}, []catalog.Event{
			catalog.ToolAdded{
				ToolID: "9", Name: "Notion", FoldedName: "notion", Mode: catalog.Shared, SecretID: "s1",
				Approval: ruled.Approval,
			},
			catalog.SuggestionAccepted{SuggestionID: "g1", ToolID: "9", Decisions: []catalog.Decision{
				{
					AgentID: "a", Outcome: catalog.Pending, Reason: "to write", Suspensions: 1,
					Why: "the tool has rules of approval, so each request is decided by itself",
				},
			}},
		}, ""},
		{"it is accepted with a credential for " +
			"each", []catalog.Event{missed()}, catalog.AcceptSuggestion{
			SuggestionID: "g1", Tool: with(own), GrantBackers: true,
		}, []catalog.Event{
			catalog.ToolAdded{ToolID: "9", Name: "Notion", FoldedName: "notion", Mode: catalog.PerAgent},
			catalog.SuggestionAccepted{SuggestionID: "g1", ToolID: "9", Decisions: []catalog.Decision{
				{
					AgentID: "a", Outcome: catalog.Pending,
					Why: "each agent needs a credential of its own for this tool", Reason: "to write", Suspensions: 1,
				},
			}},
		}, ""},
		{"it is accepted with others that the human " +
			"names", []catalog.Event{
			missed(), other("g2", "notes", "notion.so", "a"), backing("g2", "c", "notes"),
			other("g3", "wiki", "x.com", "d"), elsewhere(),
		}, catalog.AcceptSuggestion{
			SuggestionID: "g1", Also: []string{"g2", "g3"}, Tool: with(notion), GrantBackers: true,
		}, []catalog.Event{
			added,
			catalog.SuggestionAccepted{
				SuggestionID: "g1", ToolID: "9",
				Decisions: []catalog.Decision{
					{AgentID: "a", Outcome: catalog.Granted, Reason: "to write", Suspensions: 1},
				},
			},
			catalog.SuggestionAccepted{
				SuggestionID: "g2", ToolID: "9",
				Decisions: []catalog.Decision{{AgentID: "c", Outcome: catalog.Granted, Reason: "to write"}},
			},
			catalog.SuggestionAccepted{
				SuggestionID: "g3", ToolID: "9",
				Decisions: []catalog.Decision{
					{
						AgentID: "d", Outcome: catalog.Pending,
						Why: "it was not shown with the suggestion that was accepted", Reason: "to write",
					},
				},
			},
		}, ""},
		{"what is only related stays", []catalog.Event{missed(), other("g2", "notes", "notion.so", "b"), other("g3", "notion",
			"notion.dev", "b")}, catalog.AcceptSuggestion{SuggestionID: "g1", Tool: with(notion)}, []catalog.Event{
			added,
			catalog.SuggestionAccepted{
				SuggestionID: "g1", ToolID: "9",
				Decisions: []catalog.Decision{
					{AgentID: "a", Outcome: catalog.Pending, Reason: "to write", Suspensions: 1},
				},
			},
		}, ""},
		{"as another product it answers that one too, with " +
			"requests", []catalog.Event{missed(), other("g2", "notes", "notion.so", "c")}, catalog.AcceptSuggestion{
			SuggestionID: "g2", Tool: with(notion), GrantBackers: true,
		}, []catalog.Event{
			added,
			catalog.SuggestionRedirected{
				SuggestionID: "g1", ToolID: "9",
				Decisions: []catalog.Decision{
					{AgentID: "a", Outcome: catalog.Pending, Reason: "to write", Suspensions: 1},
				},
			},
			catalog.SuggestionAccepted{
				SuggestionID: "g2", ToolID: "9",
				Decisions: []catalog.Decision{{AgentID: "c", Outcome: catalog.Granted, Reason: "to write"}},
			},
		}, ""},
		{
			"it is accepted with itself",
			[]catalog.Event{missed()},
			catalog.AcceptSuggestion{SuggestionID: "g1", Also: []string{"g1"}, Tool: with(notion)},
			nil,
			"validation_failed",
		},
		{
			"it is accepted with one that there is not",
			[]catalog.Event{missed()},
			catalog.AcceptSuggestion{SuggestionID: "g1", Also: []string{"g9"}, Tool: with(notion)},
			nil, "not_found",
		},
		{
			"it is accepted as a tool that there is",
			[]catalog.Event{github(), missed()},
			catalog.AcceptSuggestion{
				SuggestionID: "g1", Tool: catalog.AddTool{ToolID: "9", FoldedName: "github", Mode: catalog.PerAgent},
			},
			nil, "tool_exists",
		},
		{
			"its name is taken by a tool of another site",
			[]catalog.Event{added, other("g1", "notion", "notion.dev", "a")},
			catalog.AcceptSuggestion{
				SuggestionID: "g1",
				Tool: catalog.AddTool{
					ToolID: "8", Name: "Notion", FoldedName: "notion", Site: "notion.dev", Mode: catalog.PerAgent,
					Standings: known,
				},
			},
			nil, "tool_exists",
		},
		{
			"it is accepted after it was dismissed",
			[]catalog.Event{missed(), dismissed()},
			catalog.AcceptSuggestion{SuggestionID: "g1", Tool: with(notion)},
			nil, "already_decided",
		},
		{
			"it is accepted again as the same tool",
			[]catalog.Event{missed(), added, catalog.SuggestionAccepted{SuggestionID: "g1", ToolID: "9"}},
			catalog.AcceptSuggestion{SuggestionID: "g1", Tool: with(notion)},
			nil, "",
		},
		{"a tool that is added by hand answers it, with " +
			"requests", []catalog.Event{missed()}, with(notion), []catalog.Event{
			added,
			catalog.SuggestionRedirected{
				SuggestionID: "g1", ToolID: "9",
				Decisions: []catalog.Decision{
					{AgentID: "a", Outcome: catalog.Pending, Reason: "to write", Suspensions: 1},
				},
			},
		}, ""},
		{
			"a tool of another name at its site does not answer it",
			[]catalog.Event{missed(), elsewhere()},
			catalog.UpdateTool{ToolID: "7", Description: new("d"), Site: new("notion.so"), Standings: known},
			[]catalog.Event{catalog.ToolUpdated{ToolID: "7", Description: new("d")}},
			"",
		},
		{"a renamed tool answers it", []catalog.Event{github(), missed()}, catalog.UpdateTool{
			ToolID: "1",
			Name:   new("Notion"), FoldedName: new("notion"), Standings: known,
		}, []catalog.Event{
			catalog.ToolUpdated{ToolID: "1", Name: new("Notion"), FoldedName: new("notion")},
			catalog.SuggestionRedirected{
				SuggestionID: "g1", ToolID: "1",
				Decisions: []catalog.Decision{
					{AgentID: "a", Outcome: catalog.Pending, Reason: "to write", Suspensions: 1},
				},
			},
		}, ""},
		{"a renamed tool of another site does not answer " +
			"it", []catalog.Event{elsewhere(), other("g1", "notion", "notion.dev", "a")}, catalog.UpdateTool{
			ToolID: "7", Name: new("Notion"), FoldedName: new("notion"), Standings: known,
		}, []catalog.Event{
			catalog.ToolUpdated{ToolID: "7", Name: new("Notion"), FoldedName: new("notion")},
		}, ""},
		{
			"a dismissed one is answered by nobody",
			[]catalog.Event{missed(), dismissed()},
			notion,
			[]catalog.Event{added},
			"",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state := fold(tt.given...)
			if c, is := tt.when.(catalog.AcceptSuggestion); is {
				c.Seen = domain.Seen{state.Digest(c.SuggestionID)}
				tt.when = c
			}
			events, err := catalog.Decide(state, tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events, anyDigest); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestASuggestionIsDecidedAsItWasSeen: access for its backers needs to say what was seen, no
// decision is about anything else, and the event says what it was.
func TestASuggestionIsDecidedAsItWasSeen(t *testing.T) {
	tool := catalog.AddTool{
		ToolID: "9", Name: "Notion", FoldedName: "notion", Site: "notion.so", Mode: catalog.Shared, SecretID: "s",
		Standings: map[string]catalog.Standing{"a": {}, "b": {}, "c": {}},
	}
	before := fold(missed(), other("g2", "notes", "notion.so", "c"))
	seen := domain.Seen{before.Digest("g1")}
	accept := catalog.AcceptSuggestion{SuggestionID: "g1", Tool: tool, GrantBackers: true}
	if _, err := catalog.Decide(before, accept); codeOf(err) != "precondition_required" {
		t.Errorf("access for whom: %v", err)
	}
	accept.GrantBackers = false
	if _, err := catalog.Decide(before, accept); err != nil {
		t.Errorf("requests need nothing: %v", err)
	}
	accept.GrantBackers, accept.Seen = true, seen
	events, err := catalog.Decide(before, accept)
	if err != nil || len(events) != 2 || events[1].(catalog.SuggestionAccepted).DecidedOn != seen[0] {
		t.Errorf("as it was seen: %+v %v", events, err)
	}
	dismiss := catalog.DismissSuggestion{SuggestionID: "g1", Seen: seen}
	if events, err := catalog.Decide(before, dismiss); err != nil ||
		events[0].(catalog.SuggestionDismissed).DecidedOn != seen[0] {
		t.Errorf("dismissed as it was seen: %+v %v", events, err)
	}
	for name, since := range map[string]catalog.Event{
		"another backs it":              backed("b", "notion", ""),
		"its maker says something else": backed("a", "notion!", "notion.so"),
		"another backs a related one":   backing("g2", "b", "notes"),
		"there is another related one":  other("g3", "wiki", "notion.so", "b"),
		"a related one is dismissed":    catalog.SuggestionDismissed{SuggestionID: "g2"},
	} {
		after := fold(missed(), other("g2", "notes", "notion.so", "c"), since)
		for _, c := range []catalog.Command{accept, dismiss} {
			if _, err := catalog.Decide(after, c); codeOf(err) != "revision_stale" {
				t.Errorf("%s: %T %v", name, c, err)
			}
		}
	}
	if after := fold(
		missed(), other("g2", "notes", "notion.so", "c"), other("g3", "linear", "linear.app", "b"),
	); after.Digest("g1") != seen[0] {
		t.Error("another suggestion changes what was seen")
	}
}

// TestSuggestionsAreBounded fills an organization and a suggestion.
func TestSuggestionsAreBounded(t *testing.T) {
	var many []catalog.Event
	for i := range catalog.MaxPendingSuggestions {
		many = append(
			many,
			catalog.SuggestionMade{
				SuggestionID: fmt.Sprint("g", i), FoldedName: fmt.Sprint("n", i),
				AgentID: fmt.Sprint("a", i/catalog.MaxSuggestionsOfOne),
			},
		)
	}
	if _, err := catalog.Decide(fold(many...), suggest("z", "notion", "")); codeOf(err) != "too_many_waiting" {
		t.Errorf("one more suggestion: %v", err)
	}
	share := fold(many[:catalog.MaxSuggestionsOfOne]...)
	if _, err := catalog.Decide(share, suggest("a0", "notion", "")); codeOf(err) != "too_many_waiting" {
		t.Errorf("one more suggestion of the same agent: %v", err)
	}
	if _, err := catalog.Decide(share, suggest("z", "notion", "")); err != nil {
		t.Errorf("a suggestion of another agent: %v", err)
	}
	events := []catalog.Event{missed()}
	for i := range catalog.MaxBackers - 1 {
		events = append(events, backed(fmt.Sprint("b", i), "notion", ""))
	}
	full := fold(events...)
	if _, err := catalog.Decide(full, suggest("c", "notion", "")); codeOf(err) != "too_many_waiting" {
		t.Errorf("one more backer: %v", err)
	}
	_, err := catalog.Decide(full, catalog.AddTool{ToolID: "9", FoldedName: "notion", Mode: catalog.PerAgent})
	if needed, ok := errors.AsType[*catalog.StandingsNeededError](err); !ok ||
		len(needed.AgentIDs) != catalog.MaxBackers || needed.ToolID != "9" {
		t.Errorf("whose standing is needed: %v", err)
	}
}
