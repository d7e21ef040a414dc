package main

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/seal"
	"agentkey/integrations/oidc/oidctest"
)

// mustRules gives a tool rules of approval.
func (c client) mustRules(tool string, rules any) answer {
	c.t.Helper()
	return c.must(200, "PATCH", "/api/admin/tools/"+tool, object{"approval": rules})
}

// mustToken makes a service token and returns a client with it.
func (p *program) mustToken(by client, name, role string) client {
	p.t.Helper()
	_, secret := by.newToken(name, role)
	return p.with(secret)
}

// mustMember invites somebody, who comes.
func (p *program) mustMember(provider *oidctest.Provider, name, role string) client {
	p.t.Helper()
	p.admin().must(201, "POST", "/api/admin/invitations", object{"email": name + "@example.com", "role": role})
	member := p.with(someone(provider, name, name+"@example.com"))
	member.must(200, "GET", "/api/admin/me", nil)
	return member
}

// TestNobodyApprovesForTheirOwnAgent tries it as the member who registered the agent, as its owner,
// and with tokens that they made.
func TestNobodyApprovesForTheirOwnAgent(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	tool := p.admin().mustTool("GitHub", "ghp_1")
	p.admin().mustRules(tool, object{"separation_of_duties": true})
	ada, bob, eve := p.mustMember(provider, "ada", "admin"), p.mustMember(provider, "bob", "admin"),
		p.mustMember(provider, "eve", "approver")
	made := ada.must(201, "POST", "/api/admin/agents", object{"name": "Builder", "owner": " BOB@example.com"})
	id, agent := made.Text("agent.id"), p.with(made.Text("api_key"))
	approve := "/api/admin/requests/" + agent.mustRequest(tool) + "/approve"
	for who, c := range map[string]client{
		"who registered it": ada, "its owner": bob, "a token of the former": p.mustToken(ada, "CI", "admin"),
		"a token of a token of the latter": p.mustToken(p.mustToken(bob, "Deploy", "admin"), "Script", "approver"),
	} {
		if a := c.refused(403, "own_agent", "POST", approve, nil); a.Text("hint") == "" {
			t.Errorf("%s gets no hint", who)
		}
	}
	grants := "/api/admin/agents/" + id + "/grants"
	ada.refused(403, "own_agent", "POST", grants, object{"tool_id": tool})
	eve.must(200, "POST", approve, nil)
	p.admin().must(204, "DELETE", grants+"/"+tool, nil)
	p.admin().must(201, "POST", grants, object{"tool_id": tool})

	// A token that no member made counts as itself.
	first := p.admin().must(201, "POST", "/api/admin/agents", object{"name": "Made by a token"})
	approve = "/api/admin/requests/" + p.with(first.Text("api_key")).mustRequest(tool) + "/approve"
	p.admin().refused(403, "own_agent", "POST", approve, nil)
	p.mustToken(p.admin(), "Another", "approver").must(200, "POST", approve, nil)
}

// TestARequestNeedsTheApprovalsOfSeveralPeople looks at a request on its way to the last one.
func TestARequestNeedsTheApprovalsOfSeveralPeople(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	admin := p.admin()
	tool := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Linear", "auth_type": "api_key", "credential_mode": "per_agent", "approval": object{"required_approvals": 2},
	}).Text("id")
	ada, bob := p.mustMember(provider, "ada", "admin"), p.mustMember(provider, "bob", "approver")
	id, key := admin.mustAgent("Builder")
	agent := p.with(key)
	request := "/api/admin/requests/" + agent.mustRequest(tool)
	shown := ada.must(200, "GET", request, nil)
	if shown.At("approvals.required") != 2.0 {
		t.Errorf("at first: %s", shown.Body)
	}
	seen := []string{"If-Match", shown.Header.Get("ETag")}
	first := ada.must(200, "POST", request+"/approve", object{"credential": "lin_of_the_first"}, seen...)
	again := bob.must(200, "GET", request, nil)
	for _, a := range []answer{first, again} {
		given, _ := a.At("approvals.given").([]any)
		if a.Text("status") != "pending" || len(given) != 1 || a.Header.Get("ETag") != seen[1] {
			t.Fatalf("after the first: %s", a.Body)
		}
		by, _ := given[0].(map[string]any)["actor"].(map[string]any)
		if by["label"] != "The ada" {
			t.Errorf("the first is of %v", by)
		}
	}
	ada.refused(409, "already_approved_by_you", "POST", request+"/approve", object{"credential": "lin_1"}, seen...)
	p.mustToken(ada, "CI", "approver").refused(409, "already_approved_by_you", "POST", request+"/approve", nil)
	ada.refused(409, "approvals_required", "POST", "/api/admin/agents/"+id+"/grants",
		object{"tool_id": tool, "credential": "lin_1"})
	agent.refused(403, "access_not_approved", "GET", "/api/tools/"+tool+"/credentials", nil)

	// What it says changes: the approval of what it said doesn't count.
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"name": "Linear EU"})
	bob.refused(412, "revision_stale", "POST", request+"/approve", object{"credential": "lin_1"}, seen...)
	if a := bob.must(200, "POST", request+"/approve", nil); a.Text("status") != "pending" {
		t.Errorf("the first of what it says now: %s", a.Body)
	}
	bob.refused(409, "already_approved_by_you", "POST", request+"/approve", nil)
	ada.refused(400, "validation_failed", "POST", request+"/approve", nil) // the last one brings the credential
	last := ada.must(200, "POST", request+"/approve", object{"credential": "lin_of_the_last"})
	if given, _ := last.At("approvals.given").([]any); last.Text("status") != "approved" || len(given) != 1 {
		t.Errorf("after the last: %s", last.Body)
	}
	if got := agent.fetch(tool).At("credential"); got != "lin_of_the_last" {
		t.Errorf("it is given %v", got)
	}
	audit := admin.must(200, "GET", "/api/admin/audit?action=grant.approval_given&agent_id="+id, nil)
	if n := len(audit.Items()); n != 2 {
		t.Errorf("the audit has %d approvals before the last: %s", n, audit.Body)
	}

	// Anyone ends it by a denial.
	_, key = admin.mustAgent("Other")
	request = "/api/admin/requests/" + p.with(key).mustRequest(tool)
	ada.must(200, "POST", request+"/approve", nil)
	bob.must(200, "POST", request+"/deny", nil)
	admin.refused(409, "already_decided", "POST", request+"/approve", object{"credential": "lin_1"})
}

// TestAnApprovalCountsWhileItsGiverMayApprove takes the right away from those who have approved,
// one after the other, and freezes what one of two has approved in the end.
func TestAnApprovalCountsWhileItsGiverMayApprove(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	admin := p.admin()
	tool, other := admin.mustTool("GitHub", "ghp_1"), admin.mustTool("Linear", "lin_1")
	admin.mustRules(tool, object{"required_approvals": 2, "separation_of_duties": true})
	id, key := admin.mustAgent("Builder")
	request := "/api/admin/requests/" + p.with(key).mustRequest(tool)
	member := func(c client) string {
		return "/api/admin/members/" + c.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	}
	given := func(after string, want ...string) {
		t.Helper()
		listed := admin.must(200, "GET", "/api/admin/requests?status=pending", nil).Items()[0]["approvals"]
		one := admin.must(200, "GET", request, nil).At("approvals")
		all, _ := listed.(map[string]any)
		var labels []string
		for _, g := range all["given"].([]any) { //nolint:forcetypeassert // the document says so
			actor, _ := g.(map[string]any)["actor"].(map[string]any)
			labels = append(labels, actor["label"].(string)) //nolint:forcetypeassert // likewise
		}
		if !slices.Equal(labels, want) || !cmp.Equal(listed, one) || all["required"] != 2.0 {
			t.Errorf("after %s the list says %v, and the request %v", after, listed, one)
		}
	}
	approves := func(c client, status string) {
		t.Helper()
		if a := c.must(200, "POST", request+"/approve", nil); a.Text("status") != status {
			t.Errorf("it is %s", a.Body)
		}
	}
	given("nothing")
	ada, bob, carl, dora, eve := p.mustMember(provider, "ada", "approver"), p.mustMember(provider, "bob", "approver"),
		p.mustMember(provider, "carl", "approver"), p.mustMember(provider, "dora", "admin"),
		p.mustMember(provider, "eve", "admin")
	approves(ada, "pending")
	given("ada", "The ada")
	admin.must(204, "DELETE", member(ada), nil)
	given("ada was removed")
	approves(bob, "pending")
	admin.must(200, "PATCH", member(bob), object{"role": "approver", "tools": []string{other}})
	given("bob may decide about another tool alone")
	approves(carl, "pending")
	admin.must(200, "PATCH", member(carl), object{"role": "viewer"})
	given("carl is a viewer")
	approves(dora, "pending")
	rotated := dora.must(200, "POST", "/api/admin/agents/"+id+"/rotate-key", nil)
	given("dora rotated the agent's key")
	dora.refused(403, "own_agent", "POST", request+"/approve", nil)
	token := p.mustToken(admin, "CI", "approver")
	approves(token, "pending")
	ci := token.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	admin.must(204, "DELETE", "/api/admin/service-tokens/"+ci, nil)
	given("the token was revoked")
	admin.must(200, "PATCH", member(bob), object{"role": "approver", "tools": nil})
	given("bob may decide about all", "The bob")
	approves(eve, "approved")
	p.with(rotated.Text("api_key")).fetch(tool)

	// Bob's approval was one of those that gave the access.
	_, theirs, _ := strings.Cut(member(bob), "members/")
	order := object{"approved_by": theirs, "since": "2020-01-01T00:00:00Z", "preview": true}
	want := []string{"Builder GitHub approved", "rotate GitHub 1 Builder 1"}
	admin.freezes(order, want...)
	delete(order, "preview")
	if !admin.freezes(order, want...) {
		t.Error("nothing was appended")
	}
	p.with(rotated.Text("api_key")).refused(403, "access_not_approved", "GET", "/api/tools/"+tool+"/credentials", nil)
}

// TestOfTwoApproversAtTheSameTimeOneIsTheLast races the approvals that two people give on two
// replicas.
func TestOfTwoApproversAtTheSameTimeOneIsTheLast(t *testing.T) {
	t.Parallel()
	server := ownLog(t, "two processes share a log of their own")
	master, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	shared := append([]string{"AGENTKEY_EVENTSTORE_URL=" + server.url(), "AGENTKEY_MASTER_KEYS=" + master}, unlimited...)
	p, other := start(t, shared...), start(t, shared...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_1")
	admin.mustRules(tool, object{"required_approvals": 2})
	ada := p.mustToken(admin, "Ada", "approver")
	bob := p.mustToken(admin, "Bob", "approver")
	bob = other.with(bob.key)
	bob.seen = &p.seen // a query waits for what both have written
	for range eventstoretest.Rounds(20) {
		id, key := admin.mustAgent("Builder")
		request := "/api/admin/requests/" + p.with(key).mustRequest(tool)
		answers := make([]answer, 2)
		var racing sync.WaitGroup
		for i, c := range []client{ada, bob} {
			racing.Go(func() { answers[i] = c.call("POST", request+"/approve", nil) })
		}
		racing.Wait()
		said := []string{answers[0].Text("status"), answers[1].Text("status")}
		slices.Sort(said)
		if !slices.Equal(said, []string{"approved", "pending"}) {
			t.Fatalf("they got %s and %s", answers[0].Body, answers[1].Body)
		}
		audit := admin.must(200, "GET", "/api/admin/audit?action=grant.approved&agent_id="+id, nil)
		if n := len(audit.Items()); n != 1 {
			t.Fatalf("it was approved %d times", n)
		}
	}
}

// TestAccessIsGivenWithinTheHoursOfATool sets hours around now, in a zone that is half an hour off.
func TestAccessIsGivenWithinTheHoursOfATool(t *testing.T) {
	t.Parallel()
	admin := start(t, unlimited...).admin()
	zone, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		t.Fatal(err)
	}
	hours := func(from, to time.Duration) object {
		now := time.Now().In(zone)
		return object{"allowed_hours": object{
			"time_zone": "Asia/Kolkata", "from": now.Add(from).Format("15:04"), "to": now.Add(to).Format("15:04"),
		}}
	}
	tool := admin.mustTool("GitHub", "ghp_1")
	id, _ := admin.mustAgent("Builder")
	path, body := "/api/admin/agents/"+id+"/grants", object{"tool_id": tool}
	admin.mustRules(tool, hours(2*time.Hour, 3*time.Hour))
	opens := time.Now().Add(2 * time.Hour).Truncate(time.Minute)
	a := admin.refused(409, "outside_allowed_hours", "POST", path, body)
	again, err := time.Parse(time.RFC3339, a.Text("retry_after"))
	if off := again.Sub(opens).Abs(); err != nil || off > time.Minute || a.Header.Get("Retry-After") == "" {
		t.Errorf("it opens at %s: %v %s", opens.UTC(), a.Header, a.Body)
	}
	set := admin.mustRules(tool, hours(-time.Hour, 2*time.Hour))
	if days, _ := set.At("approval.allowed_hours.days").([]any); len(days) != 7 {
		t.Errorf("the days are %s", set.Body)
	}
	admin.must(201, "POST", path, body)
	for _, zone := range []string{"Local", "Mars/Olympus"} {
		wrong := object{"allowed_hours": object{"time_zone": zone, "from": "09:00", "to": "17:00"}}
		if a := admin.refused(
			400, "validation_failed", "PATCH", "/api/admin/tools/"+tool, object{"approval": wrong},
		); !namesField(a, "approval.allowed_hours.time_zone") {
			t.Errorf("%s: %s", zone, a.Body)
		}
	}
	if a := admin.mustRules(tool, nil); a.At("approval") != nil {
		t.Errorf("cleared: %s", a.Body)
	}
}

// TestTheRulesOfAToolAreInItsFile exports rules, clears them, and imports them again.
func TestTheRulesOfAToolAreInItsFile(t *testing.T) {
	t.Parallel()
	admin := start(t, unlimited...).admin()
	tool := admin.mustTool("GitHub", "ghp_1")
	set := admin.mustRules(tool, object{
		"separation_of_duties": true, "required_approvals": 3, "allowed_hours": object{
			"time_zone": "America/Argentina/Buenos_Aires", "days": []string{"fri", "mon"}, "from": "22:00", "to": "06:30",
		},
	})
	yaml := admin.must(200, "GET", exportPath, nil)
	json := admin.must(200, "GET", exportPath+"?format=json", nil)
	for _, file := range []struct {
		body    string
		headers []string
	}{{string(yaml.Body), []string{"Content-Type", "application/yaml"}}, {string(json.Body), nil}} {
		admin.mustRules(tool, object{})
		plan := admin.must(200, "PUT", importPath, file.body, file.headers...)
		if got := planned(plan); !slices.Equal(got, []string{"change GitHub approval:>separation of duties; 3 approvals; " +
			"22:00 to 06:30 on mon, fri in America/Argentina/Buenos_Aires"}) {
			t.Errorf("the plan is %q", got)
		}
		now := admin.must(200, "GET", "/api/admin/tools/"+tool, nil)
		if !cmp.Equal(now.At("approval"), set.At("approval")) {
			t.Errorf("the rules are %s, not %s", now.Body, set.Body)
		}
	}
	past := admin.must(200, "GET", "/api/admin/tools/"+tool+"?as_of="+set.Header.Get("X-Event-Position"), nil)
	if !cmp.Equal(past.At("approval"), set.At("approval")) {
		t.Errorf("the rules were %s", past.Body)
	}
}

// TestAnApproverOfSomeToolsDecidesAboutNoOther limits a member by an invitation and by hand, with a
// token of the provider and with the cookie of a session.
func TestAnApproverOfSomeToolsDecidesAboutNoOther(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	admin := p.admin()
	github, linear := admin.mustTool("GitHub", "ghp_1"), admin.mustTool("Linear", "lin_1")
	limited := object{"email": "ada@example.com", "role": "approver", "tools": []string{github}}
	invited := admin.must(201, "POST", "/api/admin/invitations", limited)
	ada := p.with(someone(provider, "ada", "ada@example.com"))
	path := "/api/admin/members/" + ada.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	for what, a := range map[string]answer{"the invitation": invited, "the member": admin.must(200, "GET", path, nil)} {
		if !cmp.Equal(a.At("tools"), any([]any{github})) {
			t.Errorf("%s says %s", what, a.Body)
		}
	}
	id, key := admin.mustAgent("Builder")
	agent := p.with(key)
	first, second := "/api/admin/requests/"+agent.mustRequest(github), "/api/admin/requests/"+agent.mustRequest(linear)
	for _, act := range []struct{ method, path string }{
		{"POST", second + "/approve"},
		{"POST", second + "/deny"},
		{"DELETE", "/api/admin/agents/" + id + "/grants/" + linear},
	} {
		a := ada.refused(403, "role_insufficient", act.method, act.path, nil)
		if !strings.Contains(a.Text("detail"), "Linear") {
			t.Errorf("%s: %s", act.path, a.Body)
		}
	}
	if me := ada.must(200, "GET", "/api/admin/me", nil); !cmp.Equal(me.At("tools"), any([]any{github})) {
		t.Errorf("she is %s", me.Body)
	}
	page := p.page()
	page.must(204, "POST", "/auth/session", object{"token": ada.key})
	page.refused(403, "role_insufficient", "POST", second+"/approve", nil, "Sec-Fetch-Site", samePage)
	ada.must(200, "GET", second, nil)
	ada.must(200, "POST", first+"/approve", nil)

	// In another organization, with the session of this one, the limit is that of the other one.
	globex := admin.must(201, "POST", "/api/admin/organizations", object{"name": "Globex"}).Text("id")
	theirs := p.with(p.shell("token", "create", "--organization", globex, "--name", "office", "--role", "owner"))
	jira, slack := theirs.mustTool("Jira", "j_1"), theirs.mustTool("Slack", "s_1")
	theirs.must(201, "POST", "/api/admin/invitations",
		object{"email": "ada@example.com", "role": "approver", "tools": []string{jira}})
	ada.must(200, "GET", "/api/admin/me", nil, "X-Organization", globex)
	_, key = theirs.mustAgent("Their agent")
	there := []string{"Sec-Fetch-Site", samePage, "X-Organization", globex}
	if me := page.must(200, "GET", "/api/admin/me", nil, there...); !cmp.Equal(me.At("tools"), any([]any{jira})) {
		t.Errorf("there she is %s", me.Body)
	}
	page.refused(403, "role_insufficient", "POST", "/api/admin/requests/"+p.with(key).mustRequest(slack)+"/approve", nil,
		there...)
	page.must(200, "POST", "/api/admin/requests/"+p.with(key).mustRequest(jira)+"/approve", nil, there...)
	ada.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+github, nil)

	admin.must(200, "PATCH", path, object{"role": "approver"}) // they stay
	ada.refused(403, "role_insufficient", "POST", second+"/approve", nil)
	admin.refused(400, "validation_failed", "PATCH", path, object{"role": "admin", "tools": []string{github}})
	admin.must(200, "PATCH", path, object{"role": "approver", "tools": []string{github, linear}})
	ada.must(200, "POST", second+"/approve", nil)
	ada.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+linear, nil)
	admin.must(200, "PATCH", path, object{"role": "approver", "tools": []string{github}})
	second = "/api/admin/requests/" + agent.mustRequest(linear)
	ada.refused(403, "role_insufficient", "POST", second+"/approve", nil)
	if a := admin.must(200, "PATCH", path, object{"role": "approver", "tools": nil}); a.At("tools") != nil {
		t.Errorf("without a limit: %s", a.Body)
	}
	ada.must(200, "POST", second+"/approve", nil)
}
