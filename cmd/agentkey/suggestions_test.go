package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/eventstore/eventstoretest/wait"
)

// suggest suggests a tool and returns the suggestion's id.
func (c client) suggest(name, url, reason string) string {
	c.t.Helper()
	return c.must(
		201, "POST", "/api/tools/suggest", object{"name": name, "url": url, "reason": reason},
	).Text("suggestion_id")
}

// read is a GET that a decision follows: the headers that bind it to what the answer shows.
func (c client) read(path string) []string {
	c.t.Helper()
	return []string{"If-Match", c.must(200, "GET", path, nil).Header.Get("ETag")}
}

// accept accepts a suggestion as it is now.
func (c client) accept(id string, body object, headers ...string) answer {
	c.t.Helper()
	path := "/api/admin/suggestions/" + id
	return c.must(201, "POST", path+"/accept", body, append(c.read(path), headers...)...)
}

// outcomes are what became of each backer of an accepted suggestion, by agent.
func outcomes(a answer) map[string]string {
	out := map[string]string{}
	list, _ := a.At("backers").([]any)
	for _, b := range list {
		b, _ := b.(map[string]any)
		out[fmt.Sprint(b["agent_id"])] = fmt.Sprint(b["outcome"])
	}
	return out
}

var linear = object{
	"name": "Linear", "url": "https://linear.app", "auth_type": "api_key", "credential_mode": "shared",
	"credential": "lin_secret",
}

// namesTheDecision compares what a refusal says of something that was decided about with what there
// is at a path.
func (c client) namesTheDecision(member, path string, refusal answer) {
	c.t.Helper()
	was := c.must(200, "GET", path, nil)
	named := object{}
	for _, field := range []string{"id", "status", "decided_at", "decided_by"} {
		named[field] = was.JSON[field]
	}
	if diff := cmp.Diff(named, refusal.At(member)); diff != "" || was.At("decided_by.label") == nil {
		c.t.Errorf("%s (-want +got):\n%s", refusal.Body, diff)
	}
}

// TestADecisionForTheFleet is the whole way of a suggestion: agents suggest a tool, the admin sees
// how many and why, says yes once, and each of them fetches.
func TestADecisionForTheFleet(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	first, firstKey := admin.mustAgent("Onboarding-Agent")
	second, secondKey := admin.mustAgent("Support")
	asleep, asleepKey := admin.mustAgent("Asleep")

	made := p.with(firstKey).must(
		201, "POST", "/api/tools/suggest", object{"name": "Linear", "reason": "to file issues"},
	)
	id := made.Text("suggestion_id")
	if made.At("existing") != false || made.Text("status") != "pending" {
		t.Errorf("the first: %s", made.Body)
	}
	// Other spellings of the name, an address that one of them knows, and the same agent again.
	if a := p.with(secondKey).must(
		201, "POST", "/api/tools/suggest",
		object{"name": "LINEAR", "url": "https://WWW.linear.app/login", "reason": "to read roadmaps"},
	); a.Text("suggestion_id") != id || a.At("existing") != true {
		t.Errorf("the second: %s", a.Body)
	}
	if again := p.with(asleepKey).suggest("li-near", "https://docs.linear.app", "to sleep on it"); again != id {
		t.Errorf("the third made %s", again)
	}
	if app := p.with(firstKey).suggest("Linear App", "https://linear.app", "to file issues"); app == id {
		t.Error("another product of the site is the same suggestion")
	}
	p.with(firstKey).suggest("linear", "", "to file more issues")
	p.with(secondKey).suggest("C++", "", "to compile things")
	p.with(secondKey).suggest("C#", "", "to compile things")
	p.with(secondKey).suggest("日本語", "", "to read things")
	p.with(firstKey).suggest("中文", "", "to read things")

	found := admin.must(200, "GET", "/api/admin/suggestions?status=pending", nil).Items()
	if len(found) != 6 || found[0]["id"] != id || found[0]["backer_count"] != 3.0 || found[0]["url"] != nil ||
		found[0]["name"] != "Linear" {
		t.Fatalf("the demand: %v", found)
	}
	var said []string
	for _, b := range found[0]["backers"].([]any) {
		b := b.(map[string]any)
		said = append(
			said, fmt.Sprint(b["agent_name"], " wants ", b["name"], " at ", b["url"], " ", b["latest_reason"]),
		)
	}
	if diff := cmp.Diff([]string{
		"Onboarding-Agent wants linear at <nil> to file more issues",
		"Support wants LINEAR at https://www.linear.app/login to read roadmaps",
		"Asleep wants li-near at https://docs.linear.app to sleep on it",
	}, said); diff != "" {
		t.Errorf("the backers (-want +got):\n%s", diff)
	}
	var pages []string
	for path := "/api/admin/suggestions?limit=2"; path != ""; {
		a := admin.must(200, "GET", path, nil)
		for _, s := range a.Items() {
			pages = append(pages, fmt.Sprint(s["name"]))
		}
		if path = ""; a.Text("next_cursor") != "" {
			path = "/api/admin/suggestions?limit=2&cursor=" + a.Text("next_cursor")
		}
	}
	if diff := cmp.Diff([]string{"Linear", "中文", "日本語", "C#", "C++", "Linear App"}, pages); diff != "" {
		t.Errorf("page by page (-want +got):\n%s", diff)
	}
	admin.refused(400, "validation_failed", "GET", "/api/admin/suggestions?cursor=bm90aGluZw", nil)

	admin.must(200, "POST", "/api/admin/agents/"+asleep+"/suspend", nil)
	accepted := admin.accept(id, object{"tool": linear})
	tool := accepted.Text("tool.id")
	if diff := cmp.Diff(
		map[string]string{first: "granted", second: "granted", asleep: "skipped"}, outcomes(accepted),
	); diff != "" {
		t.Errorf("the outcomes (-want +got):\n%s", diff)
	}
	// what a new agent's instructions name
	for _, path := range []string{"/api/tools/suggest", "/instructions/suggest"} {
		if block := admin.must(
			201, "POST", "/api/admin/agents", object{"name": "Told"},
		).Text("instructions"); !strings.Contains(block, path) {
			t.Errorf("an agent does not learn of %s: %s", path, block)
		}
	}
	if accepted.At("tool.grants.approved") != 2.0 {
		t.Errorf("the tool: %s", accepted.Body)
	}
	for _, key := range []string{firstKey, secondKey} {
		if a := p.with(key).fetch(tool); a.Status != 200 || a.Text("credential") != "lin_secret" {
			t.Errorf("a backer fetches: %s", a.Body)
		}
	}
	if a := admin.must(200, "GET", "/api/admin/grants?agent_id="+first, nil).Items(); len(a) != 1 ||
		a[0]["origin"] != "suggestion" || a[0]["reason"] != "to file more issues" || a[0]["decided_by"] == nil {
		t.Errorf("the grant: %v", a)
	}
	admin.must(200, "POST", "/api/admin/agents/"+asleep+"/reactivate", nil)
	if a := p.with(asleepKey).fetch(tool); a.Status != 403 || a.Text("your_access") != "none" {
		t.Errorf("an agent that was suspended when it was decided: %s", a.Body)
	}
	for path, body := range map[string]any{"accept": object{"tool": linear}, "dismiss": nil} {
		admin.namesTheDecision("suggestion", "/api/admin/suggestions/"+id, admin.refused(
			409, "already_decided", "POST", "/api/admin/suggestions/"+id+"/"+path, body,
		))
	}
	admin.refused(404, "not_found", "POST", "/api/admin/suggestions/"+tool+"/dismiss", nil)
	if a := admin.must(200, "GET", "/api/admin/suggestions/"+id, nil); a.Text("status") != "accepted" ||
		a.Text("tool_id") != tool {
		t.Errorf("afterwards: %s", a.Body)
	}
	if a := admin.must(200, "GET", "/api/admin/suggestions?status=pending", nil).Items(); len(a) != 5 {
		t.Errorf("what waits still: %v", a)
	}
	p.reacted("answered_suggestions", 0)
	p.stop()
	p.verify()
}

// TestAToolOfTheCatalogIsNotSuggested: a tool is found by its name, where its site doesn't
// contradict.
func TestAToolOfTheCatalogIsNotSuggested(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	github := admin.must(
		201, "POST", "/api/admin/tools",
		object{
			"name": "GitHub", "url": "https://github.com", "auth_type": "api_key", "credential_mode": "shared",
			"credential": "x",
		},
	).Text("id")
	bare := admin.must(
		201, "POST", "/api/admin/tools", object{"name": "C++", "auth_type": "other", "credential_mode": "per_agent"},
	).Text("id")
	_, key := admin.mustAgent("Bot")
	agent := p.with(key)
	for _, c := range []struct{ name, url, tool string }{
		{"github", "", github},
		{"Git-Hub™", "", github},
		{"ＧｉｔＨｕｂ", "http://api.GITHUB.com/x?y#z", github},
		{"c++", "https://isocpp.org", bare},
		{"C ++", "", bare},
	} {
		a := agent.refused(
			409, "tool_exists", "POST", "/api/tools/suggest",
			object{"name": c.name, "url": c.url, "reason": "I need it"},
		)
		if a.Text("tool_id") != c.tool || a.Text("tool_name") == "" || !strings.Contains(a.Text("hint"), c.tool) {
			t.Errorf("%s at %q: %s", c.name, c.url, a.Body)
		}
	}
	for _, name := range []string{"C#", "CC", "GitLab"} {
		agent.suggest(name, "", "I need it")
	}
	agent.suggest("Ünïcode", "https://bücher.example.org", "I need it")
	if a := admin.must(200, "GET", "/api/admin/suggestions", nil).Items(); len(a) != 4 {
		t.Errorf("%d suggestions: %v", len(a), a)
	}
	same := agent.suggest("ünïcode", "https://xn--bcher-kva.example.org/", "I need it")
	if a := admin.must(200, "GET", "/api/admin/suggestions/"+same, nil); a.Text("name") != "Ünïcode" {
		t.Errorf("the same site in its other spelling: %s", a.Body)
	}
	for field, body := range map[string]object{
		"name":   {"name": "x", "reason": "I need it"},
		"reason": {"name": "Notion", "reason": "I"},
		"url":    {"name": "Notion", "reason": "I need it", "url": "ftp://notion.so"},
	} {
		if a := agent.refused(
			400, "validation_failed", "POST", "/api/tools/suggest", body,
		); !strings.Contains(string(a.Body), `"field":"`+field+`"`) {
			t.Errorf("%v: %s", body, a.Body)
		}
	}
	for _, url := range []string{
		"https://github.com@evil.example.com", "https://user:pass@notion.so/", `https://notion.so\@evil.example.com`,
		"javascript:alert(1)", "//notion.so",
	} {
		agent.refused(
			400, "validation_failed", "POST", "/api/tools/suggest",
			object{"name": "Notion", "reason": "I need it", "url": url},
		)
	}
	agent.refused(
		400, "validation_failed", "POST", "/api/tools/suggest", object{"name": "No\x07tion", "reason": "I need it"},
	)
	if a := agent.must(200, "GET", "/api/tools/suggest", nil); a.At("schema.body.name.max_length") != 120.0 {
		t.Errorf("the description: %s", a.Body)
	}
}

// TestProductsOfOneDomainStayApart: a site has many products. What shares one is shown together,
// and each is decided by itself unless a human says otherwise.
func TestProductsOfOneDomainStayApart(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	products := []struct{ name, url string }{
		{"Google Calendar", "https://calendar.google.com"},
		{"Gmail", "https://mail.google.com"},
		{"Google Cloud Console", "https://console.cloud.google.com"},
	}
	ids, agents, keys := make([]string, 3), make([]string, 3), make([]string, 3)
	for i, x := range products {
		agents[i], keys[i] = admin.mustAgent(x.name + " agent")
		ids[i] = p.with(keys[i]).suggest(x.name, x.url, "to work with it")
	}
	for i, x := range products {
		a := admin.must(200, "GET", "/api/admin/suggestions/"+ids[i], nil)
		if related, _ := a.At("related").([]any); a.Text("name") != x.name || a.Text("url") != x.url ||
			a.At("backer_count") != 1.0 || len(related) != 2 {
			t.Errorf("%s is %s", x.name, a.Body)
		}
	}
	google := func(name, url string) object {
		return object{
			"name": name, "url": url, "auth_type": "oauth_token", "credential_mode": "shared",
			"credential": name + " secret",
		}
	}
	accepted := admin.accept(ids[0], object{"tool": google(products[0].name, products[0].url)})
	calendar := accepted.Text("tool.id")
	if diff := cmp.Diff(map[string]string{agents[0]: "granted"}, outcomes(accepted)); diff != "" {
		t.Errorf("who got Calendar (-want +got):\n%s", diff)
	}
	for i, want := range []int{200, 403, 403} {
		if a := p.with(keys[i]).fetch(calendar); a.Status != want {
			t.Errorf("%s fetches Calendar: %s", products[i].name, a.Body)
		}
	}
	// Gmail can be suggested still, and the agent learns which tools exist.
	again := p.with(keys[2]).must(
		201, "POST", "/api/tools/suggest",
		object{"name": "gmail", "url": "https://gmail.google.com/", "reason": "to read mail"},
	)
	if again.Text("suggestion_id") != ids[1] ||
		fmt.Sprint(again.At("similar_tools")) != fmt.Sprint(
			[]any{map[string]any{"id": calendar, "name": "Google Calendar"}},
		) {
		t.Errorf("Gmail again: %s", again.Body)
	}
	// One answer for two: each backer gets it once.
	both := admin.accept(
		ids[1], object{"tool": google("Google Workspace", "https://workspace.google.com"), "also": []string{ids[2]}},
		"Idempotency-Key", "both",
	)
	if diff := cmp.Diff(map[string]string{agents[1]: "granted", agents[2]: "granted"}, outcomes(both)); diff != "" {
		t.Errorf("who got both (-want +got):\n%s", diff)
	}
	for _, id := range ids[1:] {
		if a := admin.must(200, "GET", "/api/admin/suggestions/"+id, nil); a.Text("status") != "accepted" ||
			a.Text("tool_id") != both.Text("tool.id") {
			t.Errorf("afterwards: %s", a.Body)
		}
	}
	// What neither name nor site says is not followed: tools by hand answer their own name only.
	drive := p.with(keys[0]).suggest("Google Drive", "https://drive.google.com", "to read files")
	docs := admin.must(201, "POST", "/api/admin/tools", google("Google Docs", "https://docs.google.com")).Text("id")
	admin.must(200, "PATCH", "/api/admin/tools/"+docs, object{"url": "https://drive.google.com"})
	if a := admin.must(200, "GET", "/api/admin/suggestions/"+drive, nil); a.Text("status") != "pending" {
		t.Errorf("Drive: %s", a.Body)
	}
	admin.must(200, "PATCH", "/api/admin/tools/"+docs, object{"name": "google drive"})
	if a := admin.must(200, "GET", "/api/admin/suggestions/"+drive, nil); a.Text("status") != "redirected" ||
		a.Text("tool_id") != docs {
		t.Errorf("Drive: %s", a.Body)
	}
	p.stop()
	p.verify()
}

// TestANameOfTwoSites: the same name elsewhere is another product, and a tool's name is unique.
func TestANameOfTwoSites(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, one := admin.mustAgent("One")
	two, key := admin.mustAgent("Two")
	mercury := func(name, site string) object {
		return object{
			"name": name, "url": "https://" + site, "auth_type": "api_key", "credential_mode": "shared",
			"credential": "x",
		}
	}
	bank := p.with(one).suggest("Mercury", "https://mercury.com", "to pay")
	parser := p.with(key).suggest("Mercury", "https://mercury.dev", "to parse")
	if bank == parser {
		t.Fatal("two sites are one suggestion")
	}
	if oldest := p.with(key).suggest("mercury", "", "to do something"); oldest != bank {
		t.Errorf("without an address it is not the oldest but %s", oldest)
	}
	if a := admin.must(200, "GET", "/api/admin/suggestions/"+bank, nil); fmt.Sprint(a.At("related")) != fmt.Sprint(
		[]any{map[string]any{"suggestion_id": parser, "name": "Mercury", "backer_count": 1.0}},
	) {
		t.Errorf("the bank: %s", a.Body)
	}
	admin.must(201, "POST", "/api/admin/tools", mercury("Mercury", "mercury.com"))
	taken := admin.refused(
		409, "tool_exists", "POST", "/api/admin/suggestions/"+parser+"/accept",
		object{"tool": mercury("Mercury", "mercury.dev")}, admin.read("/api/admin/suggestions/"+parser)...,
	)
	if !strings.Contains(taken.Text("hint"), "POST /api/admin/suggestions/"+parser+"/accept") ||
		!strings.Contains(taken.Text("hint"), "another tool.name") {
		t.Errorf("the name is taken: %s", taken.Body)
	}
	a := admin.accept(parser, object{"tool": mercury("Mercury (mercury.dev)", "mercury.dev")})
	if outcomes(a)[two] != "granted" {
		t.Errorf("under another name: %s", a.Body)
	}
	for body, field := range map[string]object{
		"not_found": {"also": []string{two}}, "validation_failed": {"also": []string{parser, parser}},
		"already_decided": {"also": []string{bank}},
	} {
		other := p.with(one).suggest("Other "+body, "", "to test it")
		field["tool"] = mercury("Other "+body, "example.com")
		if body == "validation_failed" {
			field["also"] = []string{other}
		}
		if a := admin.call(
			"POST", "/api/admin/suggestions/"+other+"/accept", field, admin.read("/api/admin/suggestions/"+other)...,
		); a.Text("code") != body {
			t.Errorf("%s: %s", body, a.Body)
		} else if body == "already_decided" { // which is not the one in the path
			admin.namesTheDecision("suggestion", "/api/admin/suggestions/"+bank, a)
		}
	}
}

// TestNoAgentChangesAnothersSuggestion: its name and site are those of the agent that made it; what
// others say of it is shown with them.
func TestNoAgentChangesAnothersSuggestion(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	_, one := p.admin().mustAgent("One")
	_, two := p.admin().mustAgent("Two")
	id := p.with(one).suggest("Notion", "https://notion.so", "to write")
	if other := p.with(two).suggest("Notion", "https://notion.evil.example.com", "to phish"); other == id {
		t.Error("a suggestion was pointed elsewhere")
	}
	if same := p.with(two).suggest("NOTION", "https://www.notion.so/phish", "to phish"); same != id {
		t.Error("another page of the site is another suggestion")
	}
	if a := p.admin().must(200, "GET", "/api/admin/suggestions/"+id, nil); a.Text("name") != "Notion" ||
		a.Text("url") != "https://notion.so" || a.At("backer_count") != 2.0 ||
		!strings.Contains(string(a.Body), `"name":"NOTION"`) ||
		!strings.Contains(string(a.Body), `"url":"https://www.notion.so/phish"`) {
		t.Errorf("it is now %s", a.Body)
	}
	bare := p.with(one).suggest("Figma", "", "to draw")
	if same := p.with(two).suggest("figma", "https://figma.com", "to draw"); same != bare {
		t.Error("an address makes it another suggestion")
	}
	if a := p.admin().must(200, "GET", "/api/admin/suggestions/"+bare, nil); a.Text("name") != "Figma" ||
		a.Text("url") != "" || a.At("backer_count") != 2.0 {
		t.Errorf("it is now %s", a.Body)
	}
}

// TestTwoAtOnceMakeOneSuggestion lets agents suggest the same together.
func TestTwoAtOnceMakeOneSuggestion(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 16, 1)
	var wait sync.WaitGroup
	ids := make([]string, len(f.keys))
	for i, key := range f.keys {
		wait.Go(func() {
			ids[i] = p.with(key).suggest("Linear", []string{"https://linear.app", ""}[i%2], "to file issues")
		})
	}
	wait.Wait()
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != 1 {
		t.Errorf("they made %d suggestions", len(ids))
	}
	if a := p.admin().must(200, "GET", "/api/admin/suggestions", nil).Items(); len(a) != 1 ||
		a[0]["backer_count"] != float64(len(f.keys)) {
		t.Errorf("there is %v", a)
	}
}

// TestADismissedSuggestionCoolsDown: for a day it can't be made again, then it comes back with its
// backers, and people are told again.
func TestADismissedSuggestionCoolsDown(t *testing.T) {
	t.Parallel()
	hook := startHook(t, nil)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	admin.mustChannel("webhook", hook.URL, "tool_suggested")
	_, one := admin.mustAgent("One")
	two, key := admin.mustAgent("Two")
	id := p.with(one).suggest("Linear", "https://linear.app", "to file issues")
	if a := admin.must(
		200, "POST", "/api/admin/suggestions/"+id+"/dismiss", object{"reason": "we use Jira"},
	); a.Text("status") != "dismissed" || a.Text("dismissal_reason") != "we use Jira" || a.At("backer_count") != 1.0 {
		t.Errorf("dismissed: %s", a.Body)
	}
	for range 2 {
		a := p.with(key).refused(
			409, "suggestion_cooling_down", "POST", "/api/tools/suggest",
			object{"name": "linear", "reason": "to file issues"},
		)
		until, err := time.Parse(time.RFC3339, a.Text("retry_after"))
		if left := time.Until(until); a.Text("suggestion_id") != id || err != nil || left < 23*time.Hour ||
			left > 24*time.Hour || a.Header.Get("Retry-After") == "" {
			t.Errorf("too early: %s", a.Body)
		}
	}
	if a := admin.must(200, "GET", "/api/admin/audit?action=suggestion.cooldown_refused", nil).Items(); len(a) != 1 ||
		a[0]["agent_id"] != two {
		t.Errorf("the audit has %v", a)
	}
	p.stop()
	p.office(func(ctx context.Context, o *office) error { // a day later
		o.env.Clock = func() time.Time { return time.Now().Add(24*time.Hour + time.Minute) }
		tools := &commands.Tools{
			Catalogs: commands.NewCatalogLoop(o.env), Agents: commands.NewAgentLoop(o.env), Clock: o.env.Clock,
		}
		m := o.meta(o.inst.Begun.OrganizationID)
		m.Actor = domain.Actor{Type: domain.ActorAgent, ID: two}
		back, err := (&commands.Suggestions{Tools: tools}).Suggest(ctx, m, two, "linear", "", "still")
		if err == nil &&
			(back.ID != id || len(back.State.Suggestions[id].Backers) != 2 ||
				back.State.Suggestions[id].Status != catalog.StatusPending) {
			t.Errorf("it came back as %+v", back.State.Suggestions[id])
		}
		return err
	})
	p.run()
	wait.Until(t, "told again", func() bool { return len(hook.about("still")) == 1 })
	if told := hook.all(); len(told) != 2 || !strings.Contains(string(told[1].Body), "Linear") {
		t.Errorf("told %d times, of %s", len(told), told[len(told)-1].Body)
	}
	if a := p.admin().must(200, "GET", "/api/admin/suggestions?status=pending", nil).Items(); len(a) != 1 ||
		a[0]["id"] != id || a[0]["backer_count"] != 2.0 {
		t.Errorf("the list: %v", a)
	}
	p.stop()
	p.verify()
}

// TestWhatAHumanTookAwayStaysSo: no answer to a suggestion gives an agent what a human denied or
// revoked.
func TestWhatAHumanTookAwayStaysSo(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	denied, deniedKey := admin.mustAgent("Denied")
	revoked, revokedKey := admin.mustAgent("Revoked")
	fresh, freshKey := admin.mustAgent("Fresh")
	tool := admin.must(
		201, "POST", "/api/admin/tools",
		object{"name": "Issues", "auth_type": "api_key", "credential_mode": "shared", "credential": "x"},
	).Text("id")
	request := p.with(deniedKey).mustRequest(tool)
	admin.must(200, "POST", "/api/admin/requests/"+request+"/deny", object{"reason": "no"})
	admin.mustAssign(revoked, tool)
	admin.must(204, "DELETE", "/api/admin/agents/"+revoked+"/grants/"+tool, nil)
	var id string
	for _, key := range []string{deniedKey, revokedKey, freshKey} {
		id = p.with(key).suggest("Linear", "https://linear.app", "to file issues")
	}
	// The tool turns out to be the one: renamed, it answers the suggestion, with requests.
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"name": "Linear"})
	wait.Until(t, "a request of the agent that had nothing", func() bool {
		return len(admin.must(200, "GET", "/api/admin/requests?status=pending&tool_id="+tool, nil).Items()) == 1
	})
	p.reacted("answered_suggestions", 1)
	if a := admin.must(200, "GET", "/api/admin/suggestions/"+id, nil); a.Text("status") != "redirected" ||
		a.Text("tool_id") != tool {
		t.Errorf("the suggestion is %s", a.Body)
	}
	for agent, want := range map[string]string{denied: "denied", revoked: "revoked", fresh: "pending"} {
		a := admin.must(200, "GET", "/api/admin/grants?agent_id="+agent, nil).Items()
		if len(a) != 1 || a[0]["status"] != want {
			t.Errorf("%s has %v", want, a)
		}
	}
	if a := admin.must(200, "GET", "/api/admin/grants?agent_id="+fresh, nil).Items(); a[0]["origin"] != "suggestion" ||
		a[0]["reason"] != "to file issues" {
		t.Errorf("the request is %v", a)
	}
}

// TestAPerAgentCredentialIsNotGivenToAFleet: where each agent needs its own, the backers get
// requests.
func TestAPerAgentCredentialIsNotGivenToAFleet(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	agent, key := admin.mustAgent("One")
	id := p.with(key).suggest("Linear", "", "to file issues")
	a := admin.accept(
		id, object{"tool": object{"name": "Linear", "auth_type": "api_key", "credential_mode": "per_agent"}},
	)
	if got := outcomes(a)[agent]; got != "pending" || !strings.Contains(string(a.Body), "credential of its own") {
		t.Errorf("accepted: %s", a.Body)
	}
	requests := admin.must(200, "GET", "/api/admin/requests?status=pending", nil).Items()
	if len(requests) != 1 || requests[0]["reason"] != "to file issues" {
		t.Fatalf("the queue: %v", requests)
	}
	admin.must(200, "POST", "/api/admin/requests/"+requests[0]["id"].(string)+"/approve", object{"credential": "own"})
	if f := p.with(key).fetch(a.Text("tool.id")); f.Text("credential") != "own" {
		t.Errorf("the fetch: %s", f.Body)
	}
	// Asked for by the admin: requests although the credential is shared. What is wrong in the tool is
	// named within it.
	second := p.with(key).suggest("Notion", "", "to write things")
	wrong := admin.refused(
		400, "validation_failed", "POST", "/api/admin/suggestions/"+second+"/accept",
		object{"tool": object{"name": "N", "credential_mode": "shared"}},
	)
	for _, field := range []string{`"tool.name"`, `"tool.auth_type"`} {
		if !strings.Contains(string(wrong.Body), field) {
			t.Errorf("%s is not named: %s", field, wrong.Body)
		}
	}
	b := admin.must(201, "POST", "/api/admin/suggestions/"+second+"/accept", object{
		"tool": object{
			"name": "Notion", "auth_type": "api_key", "credential_mode": "shared", "credential": "x",
		},
		"grant_backers": false,
	}, "Idempotency-Key", "once")
	if outcomes(b)[agent] != "pending" {
		t.Errorf("accepted: %s", b.Body)
	}
	again := admin.must(201, "POST", "/api/admin/suggestions/"+second+"/accept", object{
		"tool": object{
			"name": "Notion", "auth_type": "api_key", "credential_mode": "shared", "credential": "x",
		},
		"grant_backers": false,
	}, "Idempotency-Key", "once")
	if diff := cmp.Diff(string(b.Body), string(again.Body)); diff != "" {
		t.Errorf("again (-first +second):\n%s", diff)
	}
}

// TestAnAcceptedSuggestionIsFinishedAfterACrash accepts as a process does that dies after a part
// of the backers. The next one gives the others what was decided, each once, and a further start
// writes nothing.
func TestAnAcceptedSuggestionIsFinishedAfterACrash(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 12, 1)
	var id, tool string
	for _, key := range f.keys {
		id = p.with(key).suggest("Linear", "https://linear.app", "to file issues")
	}
	p.stop()
	p.office(func(ctx context.Context, o *office) error {
		agents, catalogs := commands.NewAgentLoop(o.env), commands.NewCatalogLoop(o.env)
		standings := map[string]catalog.Standing{}
		for _, agent := range f.ids {
			standings[agent] = catalog.Standing{}
		}
		m := o.meta(o.inst.Begun.OrganizationID)
		tool = newID().String()
		done, err := catalogs.Do(ctx, m.Organization, m, func(s catalog.State, _ time.Time) (catalog.Command, error) {
			return catalog.AcceptSuggestion{
				SuggestionID: id, Seen: domain.Seen{s.Digest(id)}, GrantBackers: true,
				Tool: catalog.AddTool{
					ToolID: tool, Name: "Linear", FoldedName: "linear", AuthType: "api_key", Mode: catalog.Shared,
					SecretID: newID().String(), Standings: standings,
				},
			}, nil
		})
		if err != nil {
			return err
		}
		accepted := done.Events[len(done.Events)-1].(catalog.SuggestionAccepted)
		grants := &commands.Grants{
			Agents: agents, Catalogs: catalogs, Secrets: o.inst.Secrets, Log: o.inst.Log, Clock: time.Now,
		}
		for _, d := range accepted.Decisions[:5] {
			if _, err := grants.Seed(ctx, m, id, tool, d); err != nil {
				return err
			}
		}
		// Meanwhile: one is suspended and let in again, one was given it by hand and lost it.
		suspended := &commands.Agents{
			Loop: agents, Catalogs: catalogs, Secrets: o.inst.Secrets, Log: o.inst.Log, Clock: time.Now,
		}
		if _, err := suspended.Suspend(ctx, o.meta(m.Organization), f.ids[6]); err != nil {
			return err
		}
		if _, err := grants.Assign(ctx, o.meta(m.Organization), f.ids[7], tool, commands.Terms{}); err != nil {
			return err
		}
		_, err = grants.Revoke(ctx, o.meta(m.Organization), f.ids[7], tool, "admin")
		return err
	})
	p.run()
	p.admin().must(200, "POST", "/api/admin/agents/"+f.ids[6]+"/reactivate", nil)
	p.reacted("answered_suggestions", 1)
	given := func() []map[string]any {
		return p.admin().must(200, "GET", "/api/admin/audit?limit=200&action=grant.assigned&tool_id="+tool, nil).Items()
	}
	wait.Until(t, "given to everybody else", func() bool { return len(given()) >= len(f.ids)-1 })
	events := map[string]int{}
	for _, e := range given() {
		events[e["agent_id"].(string)]++
	}
	want := map[string]int{}
	for i, agent := range f.ids {
		if i != 6 {
			want[agent] = 1 // the seventh by hand
		}
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("given to (-want +got):\n%s", diff)
	}
	if a := p.admin().must(
		200, "GET", "/api/admin/grants?status=approved&limit=200&tool_id="+tool, nil,
	).Items(); len(a) != len(f.ids)-2 {
		t.Errorf("%d have it", len(a))
	}
	p.restart()
	p.stop()
	head := p.head()
	p.run()
	p.stop()
	if now := p.head(); now != head {
		t.Errorf("an idle start moved the log from %d to %d", head, now)
	}
	p.verify()
}

// TestPagesOfSuggestionsKeepTheirOrder reads the list page by page while what comes later in it
// gains backers.
func TestPagesOfSuggestionsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	agents := make([]client, 4)
	for i := range agents {
		_, key := admin.mustAgent(fmt.Sprint("Agent ", i))
		agents[i] = p.with(key)
	}
	want := map[string]bool{}
	names := []string{"Asana", "Basecamp", "ClickUp", "Drift", "Eventbrite"}
	for i, name := range names {
		id := agents[0].suggest(name, "", "to plan work")
		want[id] = true
		if i == 0 {
			agents[1].suggest(name, "", "to plan work")
		}
	}
	seen, next := map[string]int{}, ""
	for page := 0; ; page++ {
		path := "/api/admin/suggestions?status=pending&limit=2"
		if next != "" {
			path += "&cursor=" + next
		}
		a := admin.must(200, "GET", path, nil)
		for _, item := range a.Items() {
			seen[fmt.Sprint(item["id"])]++
		}
		if next = a.Text("next_cursor"); next == "" {
			break
		}
		// The last of the list rises above everything, the first is suggested again, and a new one comes.
		if page < 2 {
			agents[2+page].suggest(names[0], "", "to plan more")
			for _, agent := range agents[1:] {
				agent.suggest(names[page+1], "", "to plan more")
			}
			agents[0].suggest(fmt.Sprint("New ", page), "", "to plan less")
		}
	}
	for id := range want {
		if seen[id] != 1 {
			t.Errorf("%s is on %d pages", id, seen[id])
		}
	}
	if len(seen) != len(want) {
		t.Errorf("the pages have %d suggestions, not %d", len(seen), len(want))
	}
	for _, cursor := range []string{"x", "e30", "bnVsbA"} {
		admin.refused(400, "validation_failed", "GET", "/api/admin/suggestions?cursor="+cursor, nil)
	}
}

// TestOneAgentLeavesRoomInTheQueue suggests tools and notes until the agent's share is full. The
// refusal blames no field, and another agent is still heard.
func TestOneAgentLeavesRoomInTheQueue(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_READS=off", "AGENTKEY_LIMIT_REQUESTS=off")
	eagerID, eager := p.admin().mustAgent("Eager")
	otherID, other := p.admin().mustAgent("Other")
	tool := p.admin().must(201, "POST", "/api/admin/tools", linear).Text("id")
	for _, id := range []string{eagerID, otherID} {
		p.admin().must(201, "POST", "/api/admin/agents/"+id+"/grants", object{"tool_id": tool})
	}
	wish := func(i int) object {
		return object{"name": fmt.Sprintf("Tool %d", i), "reason": "I need it"}
	}
	lesson := func(i int) object {
		return object{"learned": fmt.Sprintf("Page %d is empty.", i), "why": "I saw it"}
	}
	notes := "/api/tools/" + tool + "/instructions/suggest"
	for path, body := range map[string]func(int) object{"/api/tools/suggest": wish, notes: lesson} {
		sent := 0
		for ; sent < 60; sent++ {
			a := p.with(eager).call("POST", path, body(sent))
			if a.Status == 201 {
				continue
			}
			if a.Status != 409 || a.Code() != "too_many_waiting" || a.At("details") != nil || a.Text("hint") == "" {
				t.Errorf("number %d: %s", sent, a.Body)
			}
			break
		}
		if sent == 0 || sent == 60 {
			t.Errorf("%s took %d", path, sent)
		}
		p.with(other).must(201, "POST", path, body(99))
		p.with(eager).must(201, "POST", path, body(99)) // backing needs no room
	}
}
