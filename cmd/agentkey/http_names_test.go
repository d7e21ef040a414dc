package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest/wait"
)

// named is what a resource, or an entry of the audit, calls its agent and tool: then, and now where
// that differs.
func named(a answer) string {
	either := func(paths ...string) (text string) {
		for _, path := range paths {
			text += a.Text(path)
		}
		return text
	}
	out := either("agent_name", "agent.name")
	if now := either("current_agent_name", "agent.current_name"); now != "" {
		out += ">" + now
	}
	if tool := either("tool_name", "tool.name"); tool != "" {
		out += " " + tool
	}
	if now := either("current_tool_name", "tool.current_name"); now != "" {
		out += ">" + now
	}
	return out
}

// TestThePastKeepsItsNames renames an agent and tools in every way that there is.
func TestThePastKeepsItsNames(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	own := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Jira", "auth_type": "other", "credential_mode": "per_agent",
	}).Text("id")
	bot, key := admin.mustAgent("Bot")
	agent := p.with(key)
	rename := func(path, name string) { admin.must(200, "PATCH", "/api/admin/"+path, object{"name": name}) }
	request := agent.mustRequest(tool)
	rename("agents/"+bot, "Robot") // while the request waits
	if a := admin.must(200, "GET", "/api/admin/requests/"+request, nil); named(a) != "Robot GitHub" {
		t.Errorf("while it waits it is called %s: %s", named(a), a.Body)
	}
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	admin.must(201, "POST", "/api/admin/agents/"+bot+"/grants", object{"tool_id": own, "credential": "first"})
	agent.fetch(tool)
	rename("tools/"+tool, "Git Hub")
	rename("tools/"+own, "Issues")
	agent.fetch(tool)
	admin.must(
		200, "PUT", importPath, fmt.Sprintf(
			"agentkey_catalog: 1\ntools:\n- {id: %s, name: Forge, auth_type: api_key, credential_mode: shared}\n", tool,
		), "Content-Type", "application/yaml",
	)
	wish := agent.suggest("Linear", "", "to plan")
	linked := admin.accept(wish, object{"tool": linear}).Text("tool.id")
	wait.Until(t, "its backer has it", func() bool {
		return len(admin.must(200, "GET", "/api/admin/grants?status=approved&tool_id="+linked, nil).Items()) == 1
	})
	if a := agent.fetch(linked); a.Text("tool_name") != "Linear" {
		t.Errorf("a fetch: %s", a.Body)
	}
	rename("tools/"+linked, "Lines")
	rename("agents/"+bot, "Android")

	changed := admin.must(
		200, "PUT", "/api/admin/agents/"+bot+"/grants/"+own+"/credential", object{"credential": "second"},
	)
	if named(changed) != "Robot>Android Jira>Issues" {
		t.Errorf("a grant with another credential is called %s: %s", named(changed), changed.Body)
	}
	grants := map[string]string{}
	for _, g := range admin.must(200, "GET", "/api/admin/grants?agent_id="+bot, nil).Items() {
		grants[fmt.Sprint(g["tool_id"])] = named(answer{JSON: g})
	}
	if diff := cmp.Diff(map[string]string{
		tool: "Robot>Android GitHub>Forge", own: "Robot>Android Jira>Issues", linked: "Robot>Android Linear>Lines",
	}, grants); diff != "" {
		t.Errorf("the grants (-want +got):\n%s", diff)
	}
	one := admin.must(200, "GET", "/api/admin/requests/"+request, nil)
	list := admin.must(200, "GET", "/api/admin/requests?agent_id="+bot, nil).Items()
	delete(one.JSON, "context") // which the list has if it is asked for it
	if named(one) != "Robot>Android GitHub>Forge" || len(list) != 1 || cmp.Diff(one.JSON, list[0]) != "" {
		t.Errorf("the request is %s, and in the list %v", one.Body, list)
	}

	other := p.organization("Another", "owner")
	_, theirs := other.mustAgent("Theirs")
	p.with(theirs).refused(404, "not_found", "GET", "/api/tools/"+tool+"/credentials", nil)
	for _, e := range audited(other, "tool_id="+tool) {
		if named(e) != "Theirs Unknown tool" || strings.Contains(fmt.Sprint(e.JSON), "Forge") ||
			e.At("target.current_label") != nil {
			t.Errorf("to another organization it is called %s: %v", named(e), e.JSON)
		}
	}

	admin.must(204, "DELETE", "/api/admin/tools/"+tool, nil)
	admin.must(204, "DELETE", "/api/admin/agents/"+bot, nil)
	story := func() (lines []string) {
		for _, e := range audited(admin, "agent_id="+bot) {
			line := e.Text("action") + ": " + named(e)
			if e.Text("actor.type") == "agent" && e.Text("actor.label") != e.Text("agent.name") ||
				e.Text("actor.current_label") != "" && e.Text("actor.current_label") != e.Text("agent.current_name") {
				t.Errorf("who acted is called otherwise: %v", e.JSON)
			}
			if e.Text("target.type") == "tool" && (e.Text("target.label") != e.Text("tool.name") ||
				e.At("target.current_label") != e.At("tool.current_name")) {
				t.Errorf("what it is about is called otherwise: %v", e.JSON)
			}
			lines = append(lines, line)
		}
		return lines
	}
	want := []string{
		"agent.registered: Bot>Android", "grant.requested: Bot>Android GitHub>Forge", "agent.updated: Robot>Android",
		"grant.approved: Robot>Android GitHub>Forge", "grant.assigned: Robot>Android Jira>Issues",
		"credential.vended: Robot>Android GitHub>Forge", "credential.vended: Robot>Android Git Hub>Forge",
		"suggestion.made: Robot>Android", "grant.assigned: Robot>Android Linear>Lines",
		"credential.vended: Robot>Android Linear>Lines", "agent.updated: Android",
		"grant.credential_replaced: Android Issues",
	}
	if got := story(); len(got) < len(want) || cmp.Diff(want, got[:len(want)]) != "" {
		t.Errorf("the story (-want +got):\n%s", cmp.Diff(want, got))
	}
	rows := exportedRows(t, admin.must(200, "GET", auditExport+"csv&agent_id="+bot, nil))
	for i, e := range audited(admin, "agent_id="+bot) {
		for column, path := range map[string]string{
			"agent_name": "agent.name", "current_agent_name": "agent.current_name", "tool_name": "tool.name",
			"current_tool_name": "tool.current_name", "summary": "summary", "category": "category",
			"actor_current_label":  "actor.current_label",
			"target_current_label": "target.current_label",
		} {
			if rows[i][column] != e.Text(path) {
				t.Errorf("the cell %s of %s is %q, not %q", column, e.Text("action"), rows[i][column], e.Text(path))
			}
		}
	}
	// Names are of the log: rows that are filled again know them too.
	before := story()
	p.stop()
	p.loseReadModel()
	p.run()
	admin = p.admin()
	wait.Until(t, "the rows are filled again", func() bool { return len(story()) == len(before) })
	if diff := cmp.Diff(before, story()); diff != "" {
		t.Errorf("filled again (-before +after):\n%s", diff)
	}
}
