package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

// reported is every item of a report, page by page, and its table, whose cells are compared with
// the fields of the items by their names: granted_by_id is granted_by.id.
func reported(c client, name, query string) (items []answer) {
	c.t.Helper()
	path := "/api/admin/reports/" + name
	for cursor := ""; ; {
		a := c.must(200, "GET", path+"?limit=1&"+query+cursor, nil)
		if a.At("position").(float64) < 1 {
			c.t.Errorf("%s is of no position: %s", name, a.Body)
		}
		for _, i := range a.Items() {
			items = append(items, answer{JSON: i})
		}
		if a.Text("next_cursor") == "" {
			break
		}
		cursor = "&cursor=" + a.Text("next_cursor")
	}
	table := c.must(200, "GET", path+"?format=csv&"+query, nil)
	rows, err := csv.NewReader(bytes.NewReader(table.Body)).ReadAll()
	if err != nil || len(rows) != len(items)+1 ||
		table.Header.Get("Content-Disposition") != `attachment; filename="agentkey-`+name+`.csv"` {
		c.t.Fatalf("the table of %s has %d rows for %d items: %v", name, len(rows), len(items), err)
	}
	for i, row := range rows[1:] {
		for column, cell := range row {
			field := rows[0][column]
			for _, part := range []string{"_by_type", "_by_id", "_by_label"} {
				if of, is := strings.CutSuffix(field, part); is {
					field = of + "_by." + strings.TrimPrefix(part, "_by_")
				}
			}
			want := ""
			if v := items[i].At(field); v != nil {
				want = fmt.Sprint(v)
			}
			if strings.TrimPrefix(cell, "'") != want || strings.IndexAny(cell, "=+-@\t\r") == 0 {
				c.t.Errorf("%s: the cell %s is %q, not %q", name, rows[0][column], cell, want)
			}
		}
	}
	return items
}

// newestPosition is that of the newest event.
func newestPosition(c client) string {
	c.t.Helper()
	return fmt.Sprintf("%.0f", c.must(200, "GET", "/api/admin/audit?limit=1", nil).Items()[0]["position"])
}

// TestReports makes a story and compares each report with it.
func TestReports(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	me := admin.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	github, jira := admin.mustTool("=GitHub", "ghp_1"), admin.mustTool("Jira", "j_1")
	bot, key := admin.mustAgent(`=HYPERLINK("http://evil","Bot")`)
	idle, idleKey := admin.mustAgent("Idle")
	asked := p.with(key).must(201, "POST", "/api/tools/"+github+"/request", object{"reason": "+1 to read issues"}).
		Text("request_id")
	admin.must(200, "POST", "/api/admin/requests/"+asked+"/approve", nil)
	for range 3 {
		p.with(key).fetch(github)
	}
	ends := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	admin.must(201, "POST", "/api/admin/agents/"+idle+"/grants", object{"tool_id": github, "expires_at": ends})
	admin.mustAssign(idle, jira)
	p.with(idleKey).fetch(jira)
	admin.must(204, "DELETE", "/api/admin/agents/"+idle+"/grants/"+jira, nil)
	admin.must(200, "PATCH", "/api/admin/agents/"+idle, object{"name": "Lazy"})
	other := p.organization("Another", "owner")
	theirs, _ := other.mustAgent("Theirs")
	other.mustAssign(theirs, other.mustTool("GitHub", "x"))

	t.Run("access review", func(t *testing.T) {
		line := func(i answer) string {
			return fmt.Sprint(
				i.Text("agent_id"), i.Text("agent_name"), ">", i.Text("current_agent_name"), " ", i.Text("tool_name"), " ",
				i.Text("origin"), " ", i.Text("reason"), " ", i.At("request_id"), " ", i.At("fetch_count"), " ", i.At("never_used"),
				" ", i.At("last_fetched_at") != nil, " ", i.At("expires_at"), " ", i.Text("granted_by.id") == me,
			)
		}
		var lines []string
		for _, i := range reported(admin, "access-review", "") {
			lines = append(lines, line(i))
		}
		want := []string{
			idle + "Idle>Lazy =GitHub assignment  <nil> 0 true false " + ends + " true",
			bot + `=HYPERLINK("http://evil","Bot")> =GitHub request +1 to read issues ` + asked + " 3 false true <nil> true",
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("the items (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(
			reported(admin, "access-review", ""), reported(admin, "access-review", "as_of="+newestPosition(admin)),
		); diff != "" {
			t.Errorf("as of the newest event it differs (-now +then):\n%s", diff)
		}
		for query, n := range map[string]int{
			"agent_id=" + bot: 1, "tool_id=" + github: 2, "tool_id=" + jira: 0, "agent_id=" + theirs: 0,
		} {
			if got := reported(admin, "access-review", query); len(got) != n {
				t.Errorf("%s finds %d, not %d", query, len(got), n)
			}
		}
		if theirs := reported(other, "access-review", ""); len(theirs) != 1 || theirs[0].Text("agent_name") != "Theirs" {
			t.Errorf("another organization sees %v", theirs)
		}
	})

	t.Run("decisions", func(t *testing.T) {
		second := p.with(p.shell(
			"token", "create", "--organization", admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id"), "--name",
			"=second", "--role", "approver",
		))
		denied := p.with(idleKey).mustRequest(jira)
		second.must(200, "POST", "/api/admin/requests/"+denied+"/deny", object{"reason": "@nobody needs it"})
		taken := p.with(key).mustRequest(jira)
		p.with(key).must(204, "DELETE", "/api/tools/"+jira+"/request", nil) // isn't a decision
		wish := p.with(idleKey).suggest("Linear", "", "to plan")
		admin.accept(wish, object{"tool": linear})
		var items []answer
		wait.Until(t, "its backer has it", func() bool {
			items = reported(admin, "decisions", "")
			return len(items) == 5
		})
		var lines []string
		for _, i := range items {
			lines = append(lines, fmt.Sprint(
				i.Text("decision"), " ", i.Text("agent_name"), ">", i.Text("current_agent_name"), " ", i.Text("tool_name"), " ",
				i.Text("reason"), "|", i.Text("denial_reason"), "|", i.Text("decided_by.label"), " ", i.At("own_registration"), " ",
				i.At("waited_seconds") != nil, " ", i.At("requested_at") != nil, " ", i.Text("request_id") == asked, " ",
				i.Text("suggestion_id") == wish,
			))
			if i.Text("request_id") == taken || !isUUID(i.Text("event_id")) {
				t.Errorf("an item: %v", i.JSON)
			}
		}
		const bot = `=HYPERLINK("http://evil","Bot")`
		want := []string{
			"assigned Lazy> Linear to plan||first admin token true false false false true",
			"denied Lazy> Jira to open pull requests|@nobody needs it|=second false true true false false",
			"assigned Idle>Lazy Jira ||first admin token true false false false false",
			"assigned Idle>Lazy =GitHub ||first admin token true false false false false",
			"approved " + bot + "> =GitHub +1 to read issues||first admin token true true true true false",
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("the items (-want +got):\n%s", diff)
		}
		middle := items[2].Text("decided_at")
		for query, n := range map[string]int{
			"agent_id=" + idle: 4, "tool_id=" + jira: 2, "from=" + middle: 3, "to=" + middle: 2,
			"from=" + middle + "&to=" + middle: 0, "agent_id=" + theirs: 0,
		} {
			if got := reported(admin, "decisions", query); len(got) != n {
				t.Errorf("%s finds %d, not %d", query, len(got), n)
			}
		}
		if a := admin.must(200, "GET", "/api/admin/reports/decisions?from="+middle, nil); a.Text("from") != middle ||
			a.At("to") != nil {
			t.Errorf("the period: %s", a.Body)
		}
		if theirs := reported(other, "decisions", ""); len(theirs) != 1 || theirs[0].Text("agent_name") != "Theirs" {
			t.Errorf("another organization sees %v", theirs)
		}
		admin.refused(
			400, "validation_failed", "GET", "/api/admin/reports/decisions?from="+middle+"&to=2020-01-01T00:00:00Z", nil,
		)
	})

	t.Run("exposure", func(t *testing.T) {
		at := func(i answer, field string) time.Time {
			v, err := time.Parse(time.RFC3339Nano, i.Text(field))
			if err != nil {
				t.Error(err)
			}
			return v
		}
		exposed := func(query string) (lines []string) {
			for _, i := range reported(admin, "exposure", query) {
				lines = append(lines, fmt.Sprint(
					i.Text("agent_name"), " ", i.Text("tool_name"), " ", i.Text("credential_mode"), " ", i.At("credential_version"),
					" ", i.At("fetch_count"), " ", i.At("rotate_first"), " ", i.Text("credential_status"),
				))
				if removed := i.Text("credential_status") != "in_use"; removed != (i.At("credential_removed_at") != nil) {
					t.Errorf("when it was removed: %v", i.JSON)
				}
				if i.At("credential_replaced") == true {
					lines[len(lines)-1] += " replaced"
				}
				since, first, last := at(i, "credential_since"), at(i, "first_fetched_at"), at(i, "last_fetched_at")
				if first.Before(since) || last.Before(first) {
					t.Errorf("the times: %v", i.JSON)
				}
			}
			return lines
		}
		botID := bot
		own := admin.must(201, "POST", "/api/admin/tools", object{
			"name": "Mail", "auth_type": "other", "credential_mode": "per_agent",
		}).Text("id")
		assign := func(credential string) {
			admin.must(201, "POST", "/api/admin/agents/"+idle+"/grants", object{"tool_id": own, "credential": credential})
		}
		assign("first")
		const bot = `=HYPERLINK("http://evil","Bot")`
		check := func(when string, want ...string) {
			t.Helper()
			for _, query := range []string{"", "as_of=" + newestPosition(admin)} {
				if diff := cmp.Diff(want, exposed(query)); diff != "" {
					t.Errorf("%s, %s (-want +got):\n%s", when, query, diff)
				}
			}
		}
		const jiraFirst, githubFirst = "Lazy Jira shared 1 1 ", bot + " =GitHub shared 1 3 false "
		check("as it was", jiraFirst+"true in_use", githubFirst+"in_use")
		p.with(idleKey).fetch(own)
		check("with one of its own", jiraFirst+"true in_use", "Lazy Mail per_agent 1 1 false in_use", githubFirst+"in_use")
		admin.must(200, "PUT", "/api/admin/agents/"+idle+"/grants/"+own+"/credential", object{"credential": "second"})
		admin.must(200, "PUT", "/api/admin/tools/"+github+"/credential", object{"credential": "ghp_2"})
		former := []string{"Lazy Mail per_agent 1 1 false removed replaced", githubFirst + "removed replaced"}
		check("rotated", append([]string{jiraFirst + "true in_use"}, former...)...)
		p.with(idleKey).fetch(own)
		p.with(key).fetch(github)
		p.with(key).fetch(github)
		admin.must(204, "DELETE", "/api/admin/agents/"+idle+"/grants/"+own, nil)
		const githubNow = bot + " =GitHub shared 2 2 "
		check("fetched again", append([]string{
			"Lazy Mail per_agent 2 1 true removed", jiraFirst + "true in_use", githubNow + "false in_use",
		}, former...)...)
		assign("third")
		admin.must(200, "PUT", "/api/admin/tools/"+jira+"/credential", object{"credential": "j_2"})
		former = []string{
			"Lazy Mail per_agent 2 1 false removed replaced", former[0], jiraFirst + "false removed replaced", former[1],
		}
		check("given again", append([]string{githubNow + "false in_use"}, former...)...)
		admin.must(200, "POST", "/api/admin/agents/"+botID+"/suspend", nil)
		check("suspended", append([]string{githubNow + "true in_use"}, former...)...)
		if got := exposed("tool_id=" + jira); len(got) != 1 || got[0] != jiraFirst+"false removed replaced" {
			t.Errorf("of another tool: %v", got)
		}
		if got := reported(other, "exposure", ""); len(got) != 0 {
			t.Errorf("another organization sees %v", got)
		}
		admin.must(204, "DELETE", "/api/admin/tools/"+github, nil)
		check("removed", append([]string{githubNow + "true removed"}, former...)...)

		master, err := os.ReadFile(filepath.Join(p.Dir, masterKeyFile))
		if err != nil {
			t.Fatal(err)
		}
		first, err := seal.ParseMasterKey(strings.TrimSpace(string(master)))
		if err != nil {
			t.Fatal(err)
		}
		gone := func(want int, says string) {
			t.Helper()
			code, out, failed := runCommand(t, p.env, "keys", "destroyed", first.ID())
			if code != want || !strings.Contains(out+failed, says) {
				t.Errorf("agentkey keys destroyed: %d, want %d and %q: %s%s", code, want, says, out, failed)
			}
		}
		gone(1, "is configured here")
		p.shell("keys", "add")
		p.stop()
		both, err := os.ReadFile(filepath.Join(p.Dir, masterKeyFile))
		if err != nil {
			t.Fatal(err)
		}
		second := strings.Fields(string(both))[1]
		keep := func(text string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(p.Dir, masterKeyFile), []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		keep(second + "\n" + strings.TrimSpace(string(master)))
		p.run()
		admin = p.admin()
		p.shell("keys", "roll")
		ended := 0
		p.office(func(ctx context.Context, o *office) error {
			return walk(ctx, o.client, func(e eventstore.Recorded) error {
				id := ""
				switch event, _ := codec.Decode(e.Type, e.Data); e := event.(type) {
				case catalog.ToolCredentialRotated:
					id = e.Replaces
				case agent.GrantCredentialReplaced:
					id = e.Replaces
				}
				if id == "" {
					return nil
				}
				ended++
				if _, err := o.client.ReadForward(ctx, codec.Secrets.Stream(id), 0, 1); !errors.Is(
					err, eventstore.ErrStreamDeleted,
				) {
					t.Errorf("a secret that was replaced is wrapped with the new key: %v", err)
				}
				return nil
			})
		})
		if ended != 3 {
			t.Errorf("%d secrets were replaced", ended)
		}
		p.stop()
		keep(second)
		p.run()
		admin = p.admin()
		gone(0, "Reports show what only it wrapped as destroyed")
		wait.Until(t, "it is known", func() bool { return len(audited(admin, "action=master_key.destroyed")) == 1 })
		for i, line := range former {
			former[i] = strings.Replace(line, "removed", "destroyed", 1)
		}
		check("destroyed", append([]string{githubNow + "true destroyed"}, former...)...)
	})

	for _, name := range []string{"access-review", "decisions", "exposure"} {
		path := "/api/admin/reports/" + name
		for _, bad := range []string{
			"format=xlsx", "format=csv&limit=5", "format=csv&cursor=AAAAAAAAAAE", "cursor=x", "limit=0", "limit=201",
			"agent_id=x", "as_of=now",
		} {
			a := admin.refused(400, "validation_failed", "GET", path+"?"+bad, nil)
			if a.At("details") == nil {
				t.Errorf("%s: no field is named: %s", bad, a.Body)
			}
		}
		p.with(idleKey).refused(403, "wrong_caller", "GET", path, nil)
		if head := admin.must(200, "HEAD", path+"?format=csv", nil); len(head.Body) > 0 {
			t.Errorf("HEAD answers %s", head.Body)
		}
	}
}
