package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAFleetIsSortedByLabels gives agents and tools labels, lists them by these, and looks at what
// they were.
func TestAFleetIsSortedByLabels(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	full := object{"env": "", "path/a.b": "x:y", "team": `a "b", c`}
	made := admin.must(201, "POST", "/api/admin/agents", object{"name": "One", "labels": full})
	one, agent := made.Text("agent.id"), p.with(made.Text("api_key"))
	two := admin.must(201, "POST", "/api/admin/agents", object{
		"name": "Two", "labels": object{"team": "platform", "note": `"env":"`},
	}).Text("agent.id")
	admin.must(201, "POST", "/api/admin/agents", object{"name": "Three"})
	tool := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "GitHub", "auth_type": "other", "credential_mode": "shared", "credential": "s3cret", "labels": full,
	}).Text("id")
	admin.mustTool("Linear", "s3cret")
	for path, list := range map[string]string{
		"/api/admin/agents/" + one: "/api/admin/agents?q=One", "/api/admin/tools/" + tool: "/api/admin/tools?q=GitHub",
	} {
		listed := admin.must(200, "GET", list, nil).Items()[0]["labels"]
		for where, got := range map[string]any{
			"alone": admin.must(200, "GET", path, nil).At("labels"), "in the list": listed,
			"as it was": admin.must(200, "GET", fmt.Sprint(path, "?as_of=", p.seen.Load()), nil).At("labels"),
		} {
			if diff := cmp.Diff(any(full), got); diff != "" {
				t.Errorf("%s %s: %s", path, where, diff)
			}
		}
	}
	if me := agent.must(200, "GET", "/api/me", nil); me.At("labels") != nil {
		t.Errorf("an agent is shown %s", me.Body)
	}
	request := "/api/admin/requests/" + agent.mustRequest(tool)
	for _, about := range []any{
		admin.must(200, "GET", request, nil).At("context"),
		admin.must(200, "GET", "/api/admin/requests?expand=context", nil).Items()[0]["context"],
	} {
		context := answer{JSON: about.(object)} //nolint:forcetypeassert // the document says so
		if !cmp.Equal(context.At("agent.labels"), any(full)) || !cmp.Equal(context.At("tool.labels"), any(full)) {
			t.Errorf("the request is shown with %v", about)
		}
	}

	find := func(query string) []string {
		t.Helper()
		return admin.pages("/api/admin/agents?sort=name&"+query, 1, func(a object) string { return fmt.Sprint(a["name"]) },
			func() {})
	}
	for query, want := range map[string][]string{
		"tag=team": {"One", "Two"}, "tag=team:platform": {"Two"}, "tag=team&tag=env": {"One"}, "tag=env:": {"One"},
		"tag=team:": nil, "tag=tea": nil, "tag=team:plat": nil, "tag=path/a.b:x:y": {"One"}, "tag=platform": nil,
		"tag=team:platform&tag=env": nil, "tag=team&q=two": {"Two"}, "tag=team&status=suspended": nil,
		"tag=team:" + url.QueryEscape(`a "b", c`): {"One"}, "tag=note:" + url.QueryEscape(`"env":"`): {"Two"},
		"tag=team:%25": nil, "tag=a": nil,
	} {
		got := find(query)
		if !slices.Equal(got, want) {
			t.Errorf("%s finds %q, not %q", query, got, want)
		}
		if total := admin.must(200, "GET", "/api/admin/agents?count=true&"+query, nil).At("total"); total !=
			float64(len(want)) {
			t.Errorf("%s counts %v", query, total)
		}
	}
	for query, want := range map[string]int{"tag=team": 1, "tag=env:": 1, "tag=env:x": 0, "tag=team&tag=a": 0} {
		if got := admin.must(200, "GET", "/api/admin/tools?count=true&"+query, nil); len(got.Items()) != want ||
			got.At("total") != float64(want) {
			t.Errorf("%s: %s", query, got.Body)
		}
	}
	cursor := admin.must(200, "GET", "/api/admin/agents?limit=1&tag=team", nil).Text("next_cursor")
	admin.refused(400, "validation_failed", "GET", "/api/admin/agents?limit=1&tag=env&cursor="+cursor, nil)

	// A change replaces all labels, and the past keeps what they were.
	then := fmt.Sprint("&as_of=", p.seen.Load())
	for _, path := range []string{"/api/admin/agents/" + one, "/api/admin/tools/" + tool} {
		changed := admin.must(200, "PATCH", path, object{"labels": object{"env": "test"}})
		if !cmp.Equal(changed.At("labels"), any(object{"env": "test"})) {
			t.Errorf("changed: %s", changed.Body)
		}
		if same := admin.must(200, "PATCH", path, object{"labels": object{"env": "test"}}); same.At("revision") !=
			changed.At("revision") {
			t.Errorf("the same labels are a change: %s", same.Body)
		}
		kept := admin.must(200, "PATCH", path, object{"description": "new"})
		if !cmp.Equal(kept.At("labels"), any(object{"env": "test"})) {
			t.Errorf("another change: %s", kept.Body)
		}
	}
	if now, was := find("tag=team"), find("tag=team"+then); len(now) != 1 || len(was) != 2 {
		t.Errorf("now %q, then %q", now, was)
	}
	for _, none := range []any{nil, object{}, ""} {
		admin.must(200, "PATCH", "/api/admin/agents/"+two, object{"labels": object{"a": "b"}})
		cleared := admin.must(200, "PATCH", "/api/admin/agents/"+two, object{"labels": none})
		if cleared.At("labels") != nil {
			t.Errorf("after %#v: %s", none, cleared.Body)
		}
	}
	said := admin.must(200, "GET", "/api/admin/audit?action=agent.updated&limit=1", nil)
	if got := said.Items()[0]["summary"]; !strings.Contains(fmt.Sprint(got), "labels of the agent Two") {
		t.Errorf("the audit says %v", got)
	}
}

// TestABadLabelIsNamed sends labels and tags that can't be.
func TestABadLabelIsNamed(t *testing.T) {
	t.Parallel()
	admin := start(t, unlimited...).admin()
	many := object{}
	for i := range 17 {
		many[fmt.Sprint("k", i)] = ""
	}
	agent, _ := admin.mustAgent("One")
	const key = "its name must be lower-case letters and digits"
	for _, tt := range []struct {
		labels      any
		field, says string
	}{
		{many, "labels", "an object of at most 16 members"},
		{object{"Team": "x"}, "labels.Team", key},
		{object{"-a": "x"}, "labels.-a", key},
		{object{"a-": "x"}, "labels.a-", key},
		{object{"a b": "x"}, "labels.a b", key},
		{object{"": "x"}, "labels.", key},
		{object{strings.Repeat("a", 64): "x"}, "labels." + strings.Repeat("a", 64), "of 1 to 63 characters"},
		{object{"a": "x\ny"}, "labels.a", "line"},
		{object{"a": "x\x00y"}, "labels.a", "U+0000"},
		{object{"a": "x\u202ey"}, "labels.a", "U+202E"},
		{object{"a": strings.Repeat("x", 64)}, "labels.a", "at most 63 characters"},
		{object{"a": 1}, "labels.a", "it must be text"},
		{object{"a": nil}, "labels.a", "it must be text"},
		{[]any{"a"}, "labels", "it must be an object"},
	} {
		for _, a := range []answer{
			admin.call("POST", "/api/admin/agents", object{"name": "Two", "labels": tt.labels}),
			admin.call("PATCH", "/api/admin/agents/"+agent, object{"labels": tt.labels}),
			admin.call("POST", "/api/admin/tools", object{
				"name": "Tool", "auth_type": "other", "credential_mode": "per_agent", "labels": tt.labels,
			}),
		} {
			if a.Status != 400 || !namesField(a, tt.field) || !strings.Contains(string(a.Body), tt.says) {
				t.Errorf("%v: %d %s", tt.labels, a.Status, a.Body)
			}
		}
	}
	file := "agentkey_catalog: 1\ntools:\n  - {name: T, auth_type: other, credential_mode: per_agent, labels: {Team: x}}\n"
	if a := admin.call("PUT", importPath, file, "Content-Type", "application/yaml"); a.Status != 400 ||
		!namesField(a, "tools[0].labels.Team") {
		t.Errorf("in a file: %s", a.Body)
	}
	tags := strings.Repeat("&tag=a", 17)
	for query, says := range map[string]string{
		"tag=": "the key of a label, such as team", "tag=:x": "the key of a label", "tag=Team": "the key of a label",
		"tag=a&tag=": "the key of a label", "tag=a:%0A": "", "tag=a:%00": "U+0000", "tag=team,env": "the key of a label",
		"tag=a:" + strings.Repeat("x", 64): "the key of a label", tags[1:]: "a list of 1 to 16 items",
	} {
		for _, list := range []string{"agents", "tools"} {
			a := admin.call("GET", "/api/admin/"+list+"?"+query, nil)
			if a.Status != 400 || !namesField(a, "tag") || !strings.Contains(string(a.Body), says) {
				t.Errorf("%s?%s: %d %s", list, query, a.Status, a.Body)
			}
		}
	}
	admin.refused(400, "validation_failed", "GET", "/api/admin/agents?sort=name&sort=name", nil)
}
