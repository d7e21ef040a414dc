package catalog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/domain/catalog"
)

func folded(events ...catalog.Event) catalog.State {
	var s catalog.State
	for _, e := range events {
		s = catalog.Evolve(s, domain.Fact[catalog.Event]{Event: e, At: start, By: admin})
	}
	return s
}

// TestAChangeInPartsHasTheCatalogForItself: from its plan to its end nothing else is decided, each
// part follows the one before it, and the result is that of one append.
func TestAChangeInPartsHasTheCatalogForItself(t *testing.T) {
	parts := []catalog.ChangePart{{SecretID: "s1", Events: 2}, {SecretID: "s2", Events: 1}}
	planned := catalog.ChangePlanned{ChangeID: "c", Parts: parts}
	first, second := []catalog.Event{linear(), guide(1, "x")}, []catalog.Event{catalog.ToolRemoved{ToolID: "1"}}
	completed := catalog.ChangeCompleted{ChangeID: "c"}
	ahead := catalog.ContinueChange{ChangeID: "c", Part: 1, Events: second}
	for _, c := range []struct {
		name    string
		given   []catalog.Event
		when    catalog.Command
		then    []catalog.Event
		refused string
	}{
		{"a plan", []catalog.Event{github()}, catalog.PlanChange{ChangeID: "c", Parts: parts}, []catalog.Event{planned}, ""},
		{"a plan beside another", []catalog.Event{planned}, catalog.PlanChange{ChangeID: "d", Parts: parts}, nil, "busy"},
		{"a removal meanwhile", []catalog.Event{github(), planned}, catalog.RemoveTool{ToolID: "1"}, nil, "busy"},
		{"a suggestion meanwhile", []catalog.Event{planned}, catalog.Suggest{FoldedName: "x"}, nil, "busy"},
		{
			"the first part",
			[]catalog.Event{github(), planned},
			catalog.ContinueChange{ChangeID: "c", Part: 0, Events: first},
			first, "",
		},
		{"the second before the first", []catalog.Event{planned}, ahead, nil, ""},
		{
			"the last part",
			[]catalog.Event{github(), planned, first[0], first[1]},
			ahead,
			[]catalog.Event{second[0], completed},
			"",
		},
		{
			"the first part again",
			[]catalog.Event{github(), planned, first[0], first[1]},
			catalog.ContinueChange{ChangeID: "c", Part: 0, Events: first},
			nil, "",
		},
		{
			"a part of another change",
			[]catalog.Event{planned},
			catalog.ContinueChange{ChangeID: "d", Part: 0, Events: first},
			nil, "",
		},
		{"a part after the end", []catalog.Event{planned, first[0], first[1], second[0], completed}, ahead, nil, ""},
		{
			"a removal after the end",
			[]catalog.Event{github(), planned, first[0], completed},
			catalog.RemoveTool{ToolID: "1"},
			[]catalog.Event{catalog.ToolRemoved{ToolID: "1", SecretID: "s1"}},
			"",
		},
	} {
		events, err := catalog.Decide(folded(c.given...), c.when)
		if diff := cmp.Diff(c.then, events); diff != "" || codeOf(err) != c.refused {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
	}
	whole := folded(github(), first[0], first[1], second[0])
	if diff := cmp.Diff(whole, folded(github(), planned, first[0], first[1], second[0], completed)); diff != "" {
		t.Errorf("in parts (-whole +parts):\n%s", diff)
	}
}

// TestAnAnswerToASuggestionFitsIntoOneEvent: of as many backers as there can be, with the longest
// reasons in the characters that take most as JSON.
func TestAnAnswerToASuggestionFitsIntoOneEvent(t *testing.T) {
	const sealable = 760 << 10 // in base64, with what surrounds it, this is just within what the log takes
	for _, letter := range []string{"<", "\u2028", `"`, "😀", "x"} {
		events, standings := []catalog.Event{}, map[string]catalog.Standing{}
		for i := range catalog.MaxBackers {
			agent := fmt.Sprintf("019f0000-0000-7000-8000-%012d", i)
			standings[agent] = catalog.Standing{}
			reason := strings.Repeat(letter, 1190)
			if i == 0 {
				events = append(events, catalog.SuggestionMade{
					SuggestionID: "g1", Name: "Notion", FoldedName: "notion", AgentID: agent, Reason: reason,
				})
				continue
			}
			events = append(events, catalog.SuggestionBacked{
				SuggestionID: "g1", AgentID: agent, Name: "Notion", Reason: reason,
			})
		}
		answer, err := catalog.Decide(folded(events...), catalog.AcceptSuggestion{
			SuggestionID: "g1", Tool: catalog.AddTool{
				ToolID: "t", Name: "Notion", FoldedName: "notion", Mode: catalog.Shared, SecretID: "s", Standings: standings,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(answer[len(answer)-1])
		if err != nil || len(text) > sealable || len(text) < 100_000 {
			t.Errorf("of %q: %d bytes, %v", letter, len(text), err)
		}
	}
}
