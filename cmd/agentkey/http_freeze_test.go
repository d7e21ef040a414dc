package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/commands"
	"agentkey/eventstore/eventstoretest/wait"
)

const freezePath = "/api/admin/freeze"

// frozenBy is what a freeze answers, in lines: what ended, then what to rotate.
func frozenBy(a answer) (lines []string) {
	ended, _ := a.At("ended").([]any)
	for _, one := range ended {
		e := answer{JSON: one.(object)}
		lines = append(lines, fmt.Sprint(e.Text("agent_name"), " ", e.Text("tool_name"), " ", e.Text("was")))
	}
	rotate, _ := a.At("rotate").([]any)
	for _, one := range rotate {
		r := answer{JSON: one.(object)}
		line := fmt.Sprint("rotate ", r.Text("tool_name"), " ", r.At("credential_version"))
		if r.Text("agent_id") != "" {
			line += " own"
		}
		by, _ := r.At("fetched_by").([]any)
		for _, one := range by {
			b := answer{JSON: one.(object)}
			line += fmt.Sprint(" ", b.Text("agent_name"), " ", b.At("fetch_count"))
		}
		lines = append(lines, line)
	}
	return lines
}

// newest is the id of the newest entry of the audit.
func (c client) newest() string {
	c.t.Helper()
	return answer{JSON: c.must(200, "GET", "/api/admin/audit?limit=1", nil).Items()[0]}.Text("id")
}

// freezes calls for a freeze and compares what it answers. It says whether anything was appended.
func (c client) freezes(order object, want ...string) (appended bool) {
	c.t.Helper()
	before := c.newest()
	a := c.must(200, "POST", freezePath, order)
	if diff := cmp.Diff(want, frozenBy(a)); diff != "" {
		c.t.Errorf("%v (-want +got):\n%s", order, diff)
	}
	if preview, _ := order["preview"].(bool); a.At("preview") != preview ||
		a.Header.Get("X-Event-Position") != fmt.Sprintf("%.0f", a.At("position")) {
		c.t.Errorf("%v: %v %s", order, a.Header, a.Body)
	}
	return c.newest() != before
}

// TestAToolIsFrozen freezes a tool, looks at it from every side, and lifts the freeze.
func TestAToolIsFrozen(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_1")
	path := "/api/admin/tools/" + tool
	first, firstKey := admin.mustAgent("First")
	second, secondKey := admin.mustAgent("Second")
	_, thirdKey := admin.mustAgent("Third")
	admin.mustAssign(first, tool)
	admin.mustAssign(second, tool)
	asked := p.with(thirdKey).mustRequest(tool)
	p.with(firstKey).fetch(tool)
	for range 2 {
		p.with(secondKey).fetch(tool)
	}
	want := []string{
		"First GitHub approved", "Second GitHub approved", "Third GitHub pending", "rotate GitHub 1 Second 2 First 1",
	}
	if admin.freezes(object{"tool_id": tool, "preview": true}, want...) {
		t.Error("a preview was appended")
	}
	if a := p.with(firstKey).fetch(tool); a.Status != 200 {
		t.Errorf("after the preview: %s", a.Body)
	}
	p.with(secondKey).fetch(tool)
	want[3] = "rotate GitHub 1 Second 3 First 2"
	if !admin.freezes(object{"tool_id": tool, "preview": false}, want...) {
		t.Error("nothing was appended")
	}
	ended := func() int {
		return len(admin.must(200, "GET", "/api/admin/audit?action=grant.revoked&tool_id="+tool, nil).Items())
	}
	wait.Until(t, "written down for each agent", func() bool { return ended() == 3 })
	for _, preview := range []bool{true, false} {
		if admin.freezes(object{"tool_id": tool, "preview": preview}, want...) {
			t.Error("what was frozen was frozen again")
		}
	}

	for _, key := range []string{firstKey, secondKey, thirdKey} {
		a := p.with(key).refused(403, "access_not_approved", "GET", "/api/tools/"+tool+"/credentials", nil)
		if a.Text("your_access") != "revoked" || !strings.Contains(a.Text("detail"), "frozen") {
			t.Errorf("a fetch: %s", a.Body)
		}
		if mine := p.with(key).must(200, "GET", "/api/tools/"+tool, nil); mine.Text("your_access") != "revoked" {
			t.Errorf("the agent sees %s", mine.Body)
		}
	}
	is := admin.must(200, "GET", path, nil)
	if is.Text("frozen_at") == "" || is.At("grants.approved") != 0.0 || is.At("grants.pending") != 0.0 {
		t.Errorf("the tool: %s", is.Body)
	}
	request := admin.must(200, "GET", "/api/admin/requests/"+asked, nil)
	if request.Text("status") != "withdrawn" || request.Text("decided_by.label") != "first admin token" {
		t.Errorf("the request: %s", request.Body)
	}
	for _, g := range admin.must(200, "GET", "/api/admin/grants?tool_id="+tool, nil).Items() {
		g := answer{JSON: g}
		if g.Text("status") != "revoked" || g.Text("ended_at") != is.Text("frozen_at") ||
			g.Text("ended_by.label") != "first admin token" {
			t.Errorf("a grant: %v", g.JSON)
		}
	}

	admin.refused(409, "already_decided", "POST", "/api/admin/requests/"+asked+"/approve", nil)
	again := p.with(thirdKey).mustRequest(tool)
	if a := p.with(thirdKey).fetch(tool); a.Text("your_access") != "pending" {
		t.Errorf("who has asked again: %s", a.Body)
	}
	for _, give := range []answer{
		admin.refused(409, "tool_frozen", "POST", "/api/admin/requests/"+again+"/approve", nil),
		admin.refused(409, "tool_frozen", "POST", "/api/admin/agents/"+first+"/grants", object{"tool_id": tool}),
	} {
		if !strings.Contains(give.Text("hint"), "POST "+path+"/unfreeze") {
			t.Errorf("the hint: %s", give.Body)
		}
	}
	admin.must(200, "PUT", path+"/credential", object{"credential": "ghp_2"})
	admin.refused(412, "revision_stale", "POST", path+"/unfreeze", nil, "If-Match", `"1"`)
	thawed := admin.must(200, "POST", path+"/unfreeze", nil)
	if thawed.At("frozen_at") != nil || admin.must(200, "GET", path, nil).At("frozen_at") != nil {
		t.Errorf("unfrozen: %s", thawed.Body)
	}
	if same := admin.must(200, "POST", path+"/unfreeze", nil); same.At("revision") != thawed.At("revision") {
		t.Errorf("unfrozen twice: %s", same.Body)
	}
	if a := p.with(firstKey).fetch(tool); a.Text("your_access") != "revoked" {
		t.Errorf("the freeze was lifted, and gave: %s", a.Body)
	}
	admin.must(200, "POST", "/api/admin/requests/"+again+"/approve", nil)
	if a := p.with(thirdKey).fetch(tool); a.Text("credential") != "ghp_2" {
		t.Errorf("given again: %s", a.Body)
	}
	admin.freezes(object{"tool_id": tool}, "Third GitHub approved", "rotate GitHub 2 Third 1")
	admin.must(200, "POST", path+"/unfreeze", nil)
	for _, action := range []string{"tool.frozen", "tool.unfrozen"} {
		entries := admin.must(200, "GET", "/api/admin/audit?action="+action, nil).Items()
		if e := (answer{JSON: entries[0]}); len(entries) != 2 || e.Text("target.id") != tool || e.Text("tool_id") != tool {
			t.Errorf("%s: %v", action, entries)
		}
	}
	admin.must(204, "DELETE", path, nil)
	admin.refused(404, "not_found", "POST", freezePath, object{"tool_id": tool})
	admin.refused(404, "not_found", "POST", path+"/unfreeze", nil)
}

// TestAnAgentIsFrozen suspends an agent and lists what it knows: shared credentials and its own.
func TestAnAgentIsFrozen(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	github, jira := admin.mustTool("GitHub", "ghp_1"), admin.mustTool("Jira", "j_1")
	own := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Mail", "auth_type": "other", "credential_mode": "per_agent",
	}).Text("id")
	id, key := admin.mustAgent("Bot")
	other, otherKey := admin.mustAgent("Other")
	admin.mustAssign(other, github)
	p.with(otherKey).fetch(github)
	admin.mustAssign(id, github)
	admin.must(201, "POST", "/api/admin/agents/"+id+"/grants", object{"tool_id": own, "credential": "mine"})
	p.with(key).mustRequest(jira)
	p.with(key).fetch(github)
	for range 2 {
		p.with(key).fetch(own)
	}
	order := object{"agent_id": id}
	preview := object{"agent_id": id, "preview": true}
	ended := map[string]bool{"Bot GitHub approved": true, "Bot Jira pending": true, "Bot Mail approved": true}
	for i, order := range []object{preview, order, order, preview} {
		before := admin.newest()
		a := admin.must(200, "POST", freezePath, order)
		lines := frozenBy(a)
		if len(lines) != 5 || lines[3] != "rotate Mail 1 own Bot 2" || lines[4] != "rotate GitHub 1 Bot 1" {
			t.Fatalf("call %d: %v", i, lines)
		}
		for _, line := range lines[:3] {
			if !ended[line] {
				t.Errorf("call %d ended %s", i, line)
			}
		}
		if appended := admin.newest() != before; appended != (i == 1) {
			t.Errorf("call %d appended: %v", i, appended)
		}
		status := map[bool]string{true: "active", false: "suspended"}[i == 0]
		if is := admin.must(200, "GET", "/api/admin/agents/"+id, nil); is.Text("status") != status {
			t.Errorf("after call %d: %s", i, is.Body)
		}
	}
	p.with(key).refused(403, "agent_suspended", "GET", "/api/tools/"+github+"/credentials", nil)
	admin.must(204, "DELETE", "/api/admin/agents/"+id, nil)
	for _, order := range []object{order, preview} {
		admin.refused(404, "not_found", "POST", freezePath, order)
	}
}

// TestWhatOneTokenApprovedIsFrozen ends what a token gave since a time. What it gave before, and
// what another has given again, stays.
func TestWhatOneTokenApprovedIsFrozen(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	stolen := p.with(p.shell(
		"token", "create", "--organization", admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id"), "--name",
		"stolen", "--role", "admin",
	))
	thief := stolen.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	github, jira := admin.mustTool("GitHub", "ghp_1"), admin.mustTool("Jira", "j_1")
	first, firstKey := admin.mustAgent("First")
	second, secondKey := admin.mustAgent("Second")
	third, thirdKey := admin.mustAgent("Third")
	stolen.mustAssign(first, github) // before
	asked := p.with(firstKey).mustRequest(jira)
	given := stolen.must(200, "POST", "/api/admin/requests/"+asked+"/approve", nil)
	since := given.Text("decided_at")
	stolen.mustAssign(second, github)
	admin.mustAssign(second, jira)
	stolen.mustAssign(third, jira)
	admin.must(204, "DELETE", "/api/admin/agents/"+third+"/grants/"+jira, nil)
	admin.mustAssign(third, jira) // again, by somebody else
	wish := p.with(thirdKey).suggest("Linear", "", "to plan")
	tool := stolen.must(
		201, "POST", "/api/admin/suggestions/"+wish+"/accept", object{"tool": linear, "grant_backers": true},
		"If-Match", stolen.must(200, "GET", "/api/admin/suggestions/"+wish, nil).Header.Get("ETag"),
	).Text("tool.id")
	wait.Until(t, "its backer has it", func() bool { return p.with(thirdKey).fetch(tool).Status == 200 })
	for _, key := range []string{firstKey, secondKey, thirdKey} {
		p.with(key).fetch(jira)
	}
	p.with(firstKey).fetch(jira)
	fetched := admin.must(200, "GET", "/api/admin/grants?tool_id="+tool, nil).Items()[0]["fetch_count"]
	want := []string{
		"First Jira approved", "Second GitHub approved", "Third Linear approved", "rotate Jira 1 First 2",
		fmt.Sprintf("rotate Linear 1 Third %v", fetched),
	}
	order := object{"approved_by": thief, "since": since}
	preview := object{"approved_by": thief, "since": since, "preview": true}
	if admin.freezes(preview, want...) {
		t.Error("a preview was appended")
	}
	if !admin.freezes(order, want...) {
		t.Error("nothing was appended")
	}
	if admin.freezes(order, want[3:]...) || admin.freezes(preview, want[3:]...) {
		t.Error("it was done twice")
	}
	for _, tt := range []struct {
		key, tool string
		status    int
	}{
		{firstKey, github, 200},
		{firstKey, jira, 403},
		{secondKey, github, 403},
		{secondKey, jira, 200},
		{thirdKey, jira, 200},
		{thirdKey, tool, 403},
	} {
		if a := p.with(tt.key).fetch(tt.tool); a.Status != tt.status {
			t.Errorf("a fetch got %d, not %d: %s", a.Status, tt.status, a.Body)
		}
	}
	once := []string{"Idempotency-Key", "stop"}
	stolen.mustAssign(second, github)
	a := admin.must(200, "POST", freezePath, order, once...)
	stolen.mustAssign(second, github)
	b := admin.must(200, "POST", freezePath, order, once...)
	if b.Header.Get("Idempotency-Replayed") != "true" || string(a.Body) != string(b.Body) ||
		frozenBy(a)[0] != "Second GitHub approved" {
		t.Errorf("the same call was answered with %s and %s", a.Body, b.Body)
	}
	if got := p.with(secondKey).fetch(github); got.Status != 200 {
		t.Errorf("a repeat ended more: %s", got.Body)
	}
}

// TestAFreezeThatCantFinishSaysSo alters an event in the stream of one agent of two. The other's
// access ends, the answer names both, and a repeat finishes once the stream is what it was.
func TestAFreezeThatCantFinishSaysSo(t *testing.T) {
	t.Parallel()
	p := newProgram(t, unlimited)
	p.unverified = true // that is the point
	p.run()
	admin := p.admin()
	me := admin.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	tool := admin.mustTool("GitHub", "ghp_1")
	sound, soundKey := admin.mustAgent("Sound")
	broken, brokenKey := admin.mustAgent("Broken")
	admin.mustAssign(sound, tool)
	admin.mustAssign(broken, tool)
	p.with(brokenKey).fetch(tool)
	alter := func(from, to string) {
		p.tampered(false, fmt.Sprintf(
			"update events set data = replace(data, '%s', '%s') where rev = 1 and %s", from, to, of("agent-"+broken),
		))
	}
	alter("{", "{ ")
	admin = p.admin()
	order := object{"approved_by": me, "since": "2020-01-01T00:00:00Z"}
	var a answer
	wait.Until(t, "it is known what was approved", func() bool {
		a = admin.call("POST", freezePath, order)
		return a.Code() != "read_model_behind" && a.Code() != "read_model_unavailable"
	})
	line := func(name string) (lines []string) {
		list, _ := a.At(name).([]any)
		return frozenBy(answer{JSON: object{"ended": list}})
	}
	if a.Status != 503 || a.Code() != "log_restored" ||
		!cmp.Equal(line("ended"), []string{"Sound GitHub approved"}) ||
		!cmp.Equal(line("not_ended"), []string{"Broken GitHub approved"}) {
		t.Errorf("it was answered %d %s", a.Status, a.Body)
	}
	p.with(soundKey).refused(403, "access_not_approved", "GET", "/api/tools/"+tool+"/credentials", nil)
	alter("{ ", "{")
	admin = p.admin()
	wait.Until(t, "finished", func() bool {
		a = admin.call("POST", freezePath, order)
		return a.Status == 200
	})
	if lines := frozenBy(a); len(lines) == 0 || lines[0] != "Broken GitHub approved" {
		t.Errorf("a repeat ended %v", lines)
	}
	if a := p.with(brokenKey).fetch(tool); a.Status == 200 {
		t.Errorf("after that: %s", a.Body)
	}
}

// TestAFreezeNeedsNoReadModel freezes a tool and an agent while Postgres is away. Both are frozen
// at once, and what ended is listed when it is back.
func TestAFreezeNeedsNoReadModel(t *testing.T) {
	t.Parallel()
	postgres := startPostgres(t)
	log := ownLog(t, "it is alone with its read model").replicas()
	p := startReplicasOn(t, 1, log, postgres.URL, sharedRedis(t))[0]
	f := mustFleet(p, 2, 2)
	p.with(f.keys[0]).fetch(f.tools[0])
	postgres.stop()
	admin := p.admin()
	for order, says := range map[*object]string{
		{"tool_id": f.tools[0]}: "The tool is frozen", {"agent_id": f.ids[1]}: "The agent is suspended",
	} {
		a := admin.call("POST", freezePath, *order)
		if a.Status != 503 || !strings.HasPrefix(a.Text("detail"), says) || a.Header.Get("Retry-After") == "" {
			t.Errorf("%v: %d %s", *order, a.Status, a.Body)
		}
	}
	if a := admin.call("POST", freezePath, object{
		"approved_by": f.ids[0], "since": "2020-01-01T00:00:00Z",
	}); a.Status != 503 || !strings.HasPrefix(a.Code(), "read_model_") {
		t.Errorf("approvals: %d %s", a.Status, a.Body)
	}
	p.with(f.keys[0]).refused(403, "access_not_approved", "GET", "/api/tools/"+f.tools[0]+"/credentials", nil)
	p.with(f.keys[1]).refused(403, "agent_suspended", "GET", "/api/tools/"+f.tools[1]+"/credentials", nil)
	postgres.start()
	var a answer
	wait.Until(t, "listed", func() bool {
		a = admin.call("POST", freezePath, object{"tool_id": f.tools[0]})
		return a.Status == 200
	})
	want := []string{"Agent 0 Tool 0 approved", "Agent 1 Tool 0 approved", "rotate Tool 0 1 Agent 0 1"}
	if got := frozenBy(a); !cmp.Equal(want, got) && !cmp.Equal([]string{want[0], want[2]}, got) {
		t.Errorf("what ended: %v", got) // whether the tool or the agent was first is a matter of chance
	}
}

// TestAFreezeIsFinishedAfterACrash freezes a tool as a process does that dies right after its
// append, and lifts the freeze before anything follows from it. Nothing of before is vended, the
// next process writes down what ended, once, and what was given since then stays.
func TestAFreezeIsFinishedAfterACrash(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 3, 1)
	tool := f.tools[0]
	p.stop()
	p.office(func(ctx context.Context, o *office) error {
		organization := o.inst.Begun.OrganizationID
		catalogs, agents := commands.NewCatalogLoop(o.env), commands.NewAgentLoop(o.env)
		tools := &commands.Tools{Catalogs: catalogs, Secrets: o.inst.Secrets, Log: o.inst.Log, Clock: time.Now}
		grants := &commands.Grants{
			Agents: agents, Catalogs: catalogs, Secrets: o.inst.Secrets, Log: o.inst.Log, Clock: time.Now,
		}
		if _, err := tools.Freeze(ctx, o.meta(organization), tool); err != nil {
			return err
		}
		if _, err := grants.Assign(ctx, o.meta(organization), f.ids[0], tool, commands.Terms{}); err == nil {
			t.Error("a frozen tool was given to an agent")
		}
		if _, err := tools.Unfreeze(ctx, o.meta(organization), tool); err != nil {
			return err
		}
		_, err := grants.Assign(ctx, o.meta(organization), f.ids[0], tool, commands.Terms{})
		return err
	})
	p.run()
	for i, key := range f.keys {
		want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[i == 0]
		if a := p.with(key).fetch(tool); a.Status != want {
			t.Errorf("agent %d got %d: %s", i, a.Status, a.Body)
		}
	}
	p.reacted("frozen_tools", 1)
	revoked := p.admin().must(200, "GET", "/api/admin/audit?action=grant.revoked&tool_id="+tool, nil).Items()
	if len(revoked) != len(f.ids) {
		t.Errorf("%d revocations for %d agents", len(revoked), len(f.ids))
	}
	if a := p.with(f.keys[0]).fetch(tool); a.Status != 200 {
		t.Errorf("what was given since then: %s", a.Body)
	}
	p.settled()
	p.stop()
	p.compareWithRebuild()
	head := p.head()
	p.run()
	p.stop()
	if now := p.head(); now != head {
		t.Errorf("an idle start moved the log from %d to %d", head, now)
	}
}

// TestWhatCantBeFrozen goes through orders that name nothing, too much, or what isn't the caller's.
func TestWhatCantBeFrozen(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin, other := p.admin(), p.organization("Another", "owner")
	tool := admin.mustTool("GitHub", "ghp_1")
	id, key := admin.mustAgent("Bot")
	admin.mustAssign(id, tool)
	before := admin.newest()
	const then = "2020-01-01T00:00:00Z"
	for _, tt := range []struct {
		order object
		field string
	}{
		{object{}, "agent_id"},
		{object{"preview": true}, "agent_id"},
		{object{"agent_id": id, "tool_id": tool}, "tool_id"},
		{object{"agent_id": id, "approved_by": id, "since": then}, "approved_by"},
		{object{"tool_id": tool, "approved_by": id, "since": then}, "approved_by"},
		{object{"approved_by": id}, "since"},
		{object{"since": then}, "agent_id"},
		{object{"tool_id": tool, "since": then}, "since"},
		{object{"agent_id": id, "since": then}, "since"},
		{object{"approved_by": id, "since": "yesterday"}, "since"},
		{object{"approved_by": id, "since": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, "since"},
		{object{"approved_by": "", "since": then}, "agent_id"},
		{object{"approved_by": "somebody", "since": then}, "approved_by"},
		{object{"agent_id": "x"}, "agent_id"},
		{object{"agent_id": strings.ToUpper(id)}, "agent_id"},
		{object{"tool_id": 1}, "tool_id"},
		{object{"tool_id": tool, "preview": "yes"}, "preview"},
		{object{"tool_id": tool, "dry_run": true}, "dry_run"},
	} {
		a := admin.refused(400, "validation_failed", "POST", freezePath, tt.order)
		details, _ := a.At("details").([]any)
		if len(details) != 1 || details[0].(object)["field"] != tt.field {
			t.Errorf("%v names %v, not %s", tt.order, details, tt.field)
		}
	}
	for _, preview := range []bool{true, false} {
		for who, order := range map[*client]object{
			&admin: {"tool_id": unknownID}, &other: {"tool_id": tool},
		} {
			order["preview"] = preview
			who.refused(404, "not_found", "POST", freezePath, order)
		}
		for who, order := range map[*client]object{
			&admin: {"agent_id": unknownID}, &other: {"agent_id": id},
		} {
			order["preview"] = preview
			who.refused(404, "not_found", "POST", freezePath, order)
		}
		me := admin.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
		if a := other.must(200, "POST", freezePath, object{
			"approved_by": me, "since": then, "preview": preview,
		}); len(frozenBy(a)) != 0 {
			t.Errorf("another organization's approvals: %s", a.Body)
		}
	}
	other.refused(404, "not_found", "POST", "/api/admin/tools/"+tool+"/unfreeze", nil)
	admin.refused(400, "malformed_json", "POST", freezePath, "{")
	admin.refused(400, "validation_failed", "POST", freezePath, nil)
	p.with(key).refused(403, "wrong_caller", "POST", freezePath, object{"tool_id": tool})
	approver := p.with(p.shell(
		"token", "create", "--organization", admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id"), "--name",
		"approver", "--role", "approver",
	))
	approver.refused(403, "role_insufficient", "POST", freezePath, object{"tool_id": tool})
	approver.refused(403, "role_insufficient", "POST", "/api/admin/tools/"+tool+"/unfreeze", nil)
	if a := admin.must(200, "GET", "/api/admin/audit?limit=200", nil); p.with(key).fetch(tool).Status != 200 {
		t.Errorf("something ended: %s", a.Body)
	}
	for _, e := range admin.must(200, "GET", "/api/admin/audit?limit=20", nil).Items() {
		if e["id"] == before {
			break
		}
		expected := []string{"service_token.created", "credential.vended", "call.refused"}
		if !slices.Contains(expected, e["action"].(string)) {
			t.Errorf("it was recorded: %v", e)
		}
	}
}
