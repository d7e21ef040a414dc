package conditions_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"agentkey/commands/conditions"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
)

var asked = time.Date(2026, 5, 4, 9, 30, 0, 0, time.FixedZone("", 7200)) // a Monday

// facts are those of a request whose reason is as long as one may be.
func facts() conditions.Facts {
	return conditions.Of("0198c0de-0000-7000-8000-000000000001", "t", agent.State{
		Name: "Bot", Description: strings.Repeat("d", 500), OwnerID: "0198c0de-0000-7000-8000-000000000002",
		CreatedAt: asked.Add(-48 * time.Hour), Suspensions: 1,
		Labels: domain.NewLabels(map[string]string{"team": "search", "env": ""}),
		Grants: map[string]agent.Grant{
			"t": {
				Reason: strings.Repeat("a", 494) + "INC-12", RequestedAt: asked, RequestedSeconds: 600,
				Past: agent.Past{Approved: 2, Denied: 1, Fetches: 7},
			},
			"u": {Past: agent.Past{Approved: 1, Revoked: 3, Fetches: 1}},
		},
	}, catalog.Tool{
		Name: "Search", URL: "https://search.example/", Site: "search.example", AuthType: "api_key", Mode: catalog.Shared,
		Labels: domain.NewLabels(map[string]string{"team": "search"}),
	})
}

func TestConditionsAreAboutTheFacts(t *testing.T) {
	for condition, want := range map[string]bool{
		"tool.name == 'Search'":                                  true,
		"tool.name == 'search'":                                  false,
		"agent.name != tool.name":                                true,
		"agent.description.size() == 500 && agent.owner != ''":   true,
		"agent.age == duration('48h') && agent.suspensions == 1": true,
		"agent.workload || agent.id == ''":                       false,
		"'team' in agent.labels && 'team' in tool.labels && agent.labels['team'] == tool.labels['team']":   true,
		"agent.labels['env'] == '' && !('env' in tool.labels) && agent.labels.size() == 2":                 true,
		"['search', 'ads'].exists(t, agent.labels['team'] == t) && agent.labels.exists(k, k == 'env')":     true,
		"agent.labels.team.startsWith('sea') && tool.labels == {'team': 'search'}":                         true,
		"tool.url.endsWith('example/') && tool.site == 'search.example' && tool.description == ''":         true,
		"tool.auth_type in ['api_key', 'bot_token'] && tool.credential_mode == 'shared' && tool.id == 't'": true,
		"request.reason.matches('INC-[0-9]+$')":                                                            true,
		"['secret', 'INC'].exists(w, request.reason.contains(w))":                                          true,
		"['INC', 'secret'].all(w, request.reason.contains(w))":                                             false,
		"request.seconds <= 600 && request.at < timestamp('2026-05-04T08:00:00Z')":                         true,
		"request.at.getHours() == 7 && request.at.getDayOfWeek() == 1":                                     true,
		"request.at.getHours('Europe/Berlin') == 9":                                                        true,
		"history.tool.approved == 2 && history.tool.denied == 1":                                           true,
		"history.tool.revoked == 0 && history.tool.fetches == 7":                                           true,
		"history.all.approved == 3 && history.all.denied == 1":                                             true,
		"history.all.revoked == 3 && history.all.fetches == 8":                                             true,
		"tool.name == 'Search' ?\n  request.seconds > 0 :\n  false":                                        true,
	} {
		c, err := conditions.Compile("when", condition)
		if err != nil {
			t.Errorf("%s: %v", condition, err)
			continue
		}
		if got, err := c.Holds(t.Context(), facts()); got != want || err != nil {
			t.Errorf("%s: %v %v", condition, got, err)
		}
	}
	used := ""
	for _, name := range conditions.Names() {
		c, err := conditions.Compile("when", name[0]+" == "+name[0])
		if err != nil {
			t.Fatal(err)
		}
		if holds, err := c.Holds(t.Context(), facts()); !holds || err != nil || name[1] == "" {
			t.Errorf("%s: %v %v", name[0], holds, err)
		}
		used += name[0]
	}
	if len(used) < 200 {
		t.Errorf("only %s", used)
	}
}

func TestAMistakeIsNamedWithItsPlace(t *testing.T) {
	for condition, want := range map[string]struct {
		line, column int
		says         string
	}{
		"tool.nam == 'x'":                                    {1, 5, "(did you mean 'tool.name'?)"},
		"true &&\n  agent.mood > 1":                          {2, 8, "undeclared reference to 'agent.mood"},
		"tool.name == 1":                                     {1, 11, "no matching overload"},
		"tool.name ==":                                       {1, 13, "Syntax error"},
		"tool.name":                                          {1, 1, "true or false"},
		"request.reason.matches('(')":                        {1, 24, "missing closing"},
		"request.reason.matches(agent.name)":                 {1, 29, "text in quotes"},
		"matches(agent.name, tool.name)":                     {1, 25, "text in quotes"},
		"['a'].exists(p, agent.name.matches(p))":             {1, 36, "text in quotes"},
		"request.reason.matches('(a{30}){30}')":              {1, 24, "too large"},
		"duration('1 day') < agent.age":                      {1, 10, "duration"},
		"[1, 2].map(x, x * 2).size() == 2":                   {1, 11, "undeclared reference to 'map'"},
		"[[1]].exists(x, x.exists(y, y == 1))":               {1, 25, "nesting"},
		"has(agent.name)":                                    {1, 4, "has"},
		"now() > request.at":                                 {1, 4, "undeclared reference to 'now'"},
		strings.Repeat("(", 60) + strings.Repeat(")", 60):    {1, 0, ""},
		strings.Repeat("a", 2001):                            {0, 0, ""},
		"":                                                   {1, 1, "Syntax error"},
		"\x00":                                               {1, 1, "Syntax error"},
		list + ".all(x, request.reason.matches('(a+a+)+b'))": {1, 1, "it may cost more"},
		list + ".exists(x, request.reason + x == agent.description)": {1, 1, "it may cost more"},
	} {
		_, err := conditions.Compile("when", condition)
		refusal, is := errors.AsType[*domain.Error](err)
		if !is || refusal.Code != "validation_failed" || refusal.Kind != domain.KindInvalid || len(refusal.Fields) == 0 {
			t.Errorf("%.40q: %v", condition, err)
			continue
		}
		f := refusal.Fields[0]
		if f.Field != "when" || !strings.Contains(f.Message, want.says) || len(f.Message) > 400 ||
			want.line > 0 && f.Line != want.line || want.column > 0 && f.Column != want.column {
			t.Errorf("%.40q is refused with %+v", condition, f)
		}
		if !strings.Contains(refusal.Hint, "history.tool.revoked, ") {
			t.Errorf("%.40q: the hint doesn't say which names exist: %s", condition, refusal.Hint)
		}
	}
}

// list is as long as a condition has room for.
var list = "[" + strings.Repeat("'a',", 300) + "'b']"

// longest repeats a text in a comparison as often as a condition has room for.
func longest(text string) string {
	var out []string
	for size := 0; size+len(text)+17 < conditions.MaxLength; size += len(text) + 17 {
		out = append(out, "string("+text+") != ''")
	}
	return strings.Join(out, "||")
}

// Whatever compiles has an answer within its steps, on the longest texts that agents may write.
func TestNoConditionTakesLong(t *testing.T) {
	for _, condition := range []string{
		longest("request.reason.matches('(.{0,95}){4}0')"),
		longest("request.reason + request.reason"),
		"request.reason.matches('^(a|aa)+$') || agent.description.matches('(d*)*e')",
		list + ".exists(x, request.reason.contains(x + 'c'))",
		list + ".all(x, request.reason.matches('(a+a+)+b'))",
		list + ".exists(x, (request.reason + agent.description + x).matches('(a+a+)+b'))",
		list + ".exists(x, request.reason + x == agent.description)",
		"[request.reason, agent.description].exists(x, x.matches('(.*)(.*)(.*)(.*)z'))",
	} {
		c, err := conditions.Compile("when", condition)
		if err != nil {
			continue // it is refused before it is ever evaluated
		}
		began := time.Now()
		_, err = c.Holds(t.Context(), facts())
		if _, failed := errors.AsType[conditions.Failed](err); err != nil && !failed {
			t.Errorf("%.60s: %v", condition, err)
		}
		if took := time.Since(began); took > 900*time.Millisecond {
			t.Errorf("%.60s takes %s", condition, took)
		}
	}
}

func TestAConditionWithoutAnAnswerSaysWhy(t *testing.T) {
	for condition, want := range map[string]string{
		"request.at.getHours(agent.name) == 1":                         "unknown time zone",
		"int(request.reason) == 1":                                     "",
		"1 / request.seconds == 1 && 1 / (request.seconds - 600) == 1": "division by zero",
	} {
		c, err := conditions.Compile("when", condition)
		if err != nil {
			t.Fatal(err)
		}
		holds, err := c.Holds(t.Context(), facts())
		failed, is := errors.AsType[conditions.Failed](err)
		if condition[0] == '1' && err == nil && !holds { // the first half already says no
			continue
		}
		if holds || !is || !strings.Contains(string(failed), want) || len(failed) > 200 {
			t.Errorf("%s: %v %v", condition, holds, err)
		}
	}
}

func BenchmarkCondition(b *testing.B) {
	for i := range b.N {
		b.StopTimer()
		c, err := conditions.Compile("when", fmt.Sprintf("tool.name == 'Search' && history.all.revoked < %d", i%50))
		if err != nil {
			b.Fatal(err)
		}
		f := facts()
		b.StartTimer()
		if _, err := c.Holds(b.Context(), f); err != nil {
			b.Fatal(err)
		}
	}
}
