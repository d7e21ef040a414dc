package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/eventstore/eventstoretest/wait"
)

const rulesPath = "/api/admin/rules"

// unused is a rule that decides nothing.
var unused = object{"name": "Unused", "when": "false", "effect": "deny", "reason": "No.", "enabled": false}

// approving is a rule that approves for a time.
func approving(name, when string, seconds int) object {
	return object{"name": name, "when": when, "effect": "approve", "max_seconds": seconds, "enabled": true}
}

func denying(name, when, reason string) object {
	return object{"name": name, "when": when, "effect": "deny", "reason": reason, "enabled": true}
}

// mustRule adds a rule that is on, after a look at what it would have decided.
func (c client) mustRule(rule object) answer {
	c.t.Helper()
	shown := c.refused(428, "simulation_required", "POST", rulesPath, rule)
	rule["simulation"] = shown.Text("simulation.digest")
	return c.must(201, "POST", rulesPath, rule)
}

// ask asks for a tool.
func (c client) ask(tool, reason string) answer {
	c.t.Helper()
	return c.must(201, "POST", "/api/tools/"+tool+"/request", object{"reason": reason})
}

// TestRulesDecideRequests has rules approve, deny and leave requests to humans, and looks where it
// says so.
func TestRulesDecideRequests(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	search, payroll := admin.mustTool("Search", "s_1"), admin.mustTool("Payroll", "p_1")
	wiki := admin.mustTool("Wiki", "w_1")
	own := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Linear", "auth_type": "api_key", "credential_mode": "per_agent",
	}).Text("id")
	id, key := admin.mustAgent("Builder")
	bot := p.with(key)

	added := admin.mustRule(approving("Search for an hour", "tool.name in ['Search', 'Linear', 'Payroll']", 3600))
	rule := rulesPath + "/" + added.Text("id")
	if added.Header.Get("Location") != rule || added.At("version") != 1.0 || added.At("revision") != 1.0 {
		t.Errorf("it is %s at %s", added.Body, added.Header.Get("Location"))
	}
	admin.mustRule(denying("No payroll", "tool.name == 'Payroll'", "Payroll is for people."))

	t.Run("approve", func(t *testing.T) {
		a := bot.must(201, "POST", "/api/tools/"+search+"/request", object{
			"reason": "to look things up", "requested_seconds": 600,
		})
		if ends, err := time.Parse(time.RFC3339Nano, a.Text("expires_at")); a.Text("status") != "approved" || err != nil ||
			time.Until(ends) > 10*time.Minute || time.Until(ends) < 8*time.Minute {
			t.Fatalf("the agent is told %s", a.Body)
		}
		if got := bot.fetch(search); got.Status != 200 {
			t.Errorf("its fetch: %s", got.Body)
		}
		request := "/api/admin/requests/" + a.Text("request_id")
		wait.Until(t, "the lists have it", func() bool {
			return len(admin.must(200, "GET", "/api/admin/requests?status=approved", nil).Items()) == 1
		})
		listed := answer{JSON: admin.must(200, "GET", "/api/admin/requests?status=approved", nil).Items()[0]}
		granted := answer{JSON: admin.must(200, "GET", "/api/admin/grants?status=approved", nil).Items()[0]}
		past := admin.must(200, "GET", request+"?as_of="+fmt.Sprint(p.seen.Load()), nil)
		for where, shown := range map[string]answer{
			"of its stream": admin.must(200, "GET", request, nil), "in the list": listed, "in the past": past,
			"as a grant": granted,
		} {
			if shown.Text("rule.id") != added.Text("id") || shown.At("rule.version") != 1.0 ||
				shown.Text("decided_by.label") != "Search for an hour" || shown.Text("decided_by.type") != "system" ||
				where != "as a grant" && shown.At("requested_seconds") != 600.0 {
				t.Errorf("%s it is %s %v", where, shown.Body, shown.JSON)
			}
		}
		entry := answer{JSON: admin.must(200, "GET", "/api/admin/audit?action=grant.approved", nil).Items()[0]}
		if entry.Text("data.rule.id") != added.Text("id") || entry.At("data.rule.version") != 1.0 ||
			entry.Text("actor.label") != "Search for an hour" || entry.At("on_behalf_of") != nil {
			t.Errorf("the audit says %v", entry.JSON)
		}
	})
	t.Run("deny", func(t *testing.T) {
		a := bot.ask(payroll, "to pay people")
		if a.Text("status") != "denied" || a.Text("denial_reason") != "Payroll is for people." {
			t.Errorf("the agent is told %s", a.Body)
		}
		got := admin.must(200, "GET", "/api/admin/requests/"+a.Text("request_id"), nil)
		if got.Text("rule.name") != "No payroll" {
			t.Errorf("the request is %s", got.Body)
		}
		refused := bot.refused(403, "access_not_approved", "GET", "/api/tools/"+payroll+"/credentials", nil)
		if refused.Text("denial_reason") != "Payroll is for people." {
			t.Errorf("its fetch: %s", refused.Body)
		}
	})
	t.Run("leave to a human", func(t *testing.T) {
		for tool, why := range map[string]string{wiki: "no rule is about it", own: "it takes a credential of its own"} {
			if a := bot.ask(tool, "to do my work"); a.Text("status") != "pending" || a.At("expires_at") != nil {
				t.Errorf("although %s: %s", why, a.Body)
			}
		}
	})
	t.Run("restricted tools", func(t *testing.T) {
		for i, rules := range []object{
			{"required_approvals": 2},
			{"separation_of_duties": true},
			{"allowed_hours": object{"time_zone": "UTC", "from": "00:00", "to": "00:01", "days": []string{
				strings.ToLower(time.Now().UTC().AddDate(0, 0, 2).Weekday().String()[:3]),
			}}},
		} {
			admin.mustRules(search, rules)
			_, key := admin.mustAgent(fmt.Sprint("Restricted ", i))
			if a := p.with(key).ask(search, "to look things up"); a.Text("status") != "pending" {
				t.Errorf("with %v it is %s", rules, a.Body)
			}
		}
		admin.must(200, "PATCH", "/api/admin/tools/"+search, object{"approval": nil, "max_grant_seconds": 300})
		_, key := admin.mustAgent("Hurried")
		a := p.with(key).ask(search, "to look things up")
		if ends, err := time.Parse(time.RFC3339Nano, a.Text("expires_at")); err != nil || time.Until(ends) > 5*time.Minute {
			t.Errorf("the tool's limit of five minutes: %s", a.Body)
		}
	})
	t.Run("a rule that fails approves nothing and says so", func(t *testing.T) {
		failing := admin.mustRule(denying("Odd ones", "int(request.reason) == 1", "No."))
		_, key := admin.mustAgent("Odd")
		a := p.with(key).ask(search, "to look things up")
		got := admin.must(200, "GET", rulesPath+"/"+failing.Text("id"), nil)
		if a.Text("status") != "pending" || got.Text("failure.request_id") != a.Text("request_id") ||
			got.Text("failure.problem") == "" || got.At("version") != 1.0 {
			t.Errorf("%s; the rule is %s", a.Body, got.Body)
		}
		wait.Until(t, "it is in the audit", func() bool {
			return len(admin.must(200, "GET", "/api/admin/audit?action=rule.failed", nil).Items()) == 1
		})
		admin.must(204, "DELETE", rulesPath+"/"+failing.Text("id"), nil)
	})
	t.Run("a freeze ends what a rule approved", func(t *testing.T) {
		frozen := admin.must(200, "POST", "/api/admin/freeze", object{
			"approved_by": added.Text("id"), "since": time.Now().Add(-time.Hour).UTC(),
		})
		if ended, _ := frozen.At("ended").([]any); len(ended) != 2 {
			t.Errorf("it ended %s", frozen.Body)
		}
		bot.refused(403, "access_not_approved", "GET", "/api/tools/"+search+"/credentials", nil)
	})
	t.Run("a removed rule keeps its name in what it decided", func(t *testing.T) {
		admin.must(200, "PATCH", rule, object{"name": "Search as it was"}, "If-Match", `"1"`)
		admin.refused(412, "revision_stale", "DELETE", rule, nil, "If-Match", `"1"`)
		admin.must(204, "DELETE", rule, nil, "If-Match", `"2"`)
		admin.refused(404, "not_found", "GET", rule, nil)
		var entries []object
		wait.Until(t, "the audit has it", func() bool {
			entries = admin.must(200, "GET", "/api/admin/audit?action=rule.removed", nil).Items()
			return len(entries) == 2
		})
		if e := (answer{JSON: entries[0]}); e.Text("target.label") != "Search as it was" {
			t.Errorf("the removal is of %v", e.JSON)
		}
		first := admin.must(200, "GET", "/api/admin/audit?action=grant.approved&agent_id="+id, nil).Items()[0]
		if e := (answer{JSON: first}); e.Text("actor.label") != "Search for an hour" {
			t.Errorf("what it decided is of %v", e.JSON)
		}
		if a := bot.ask(search, "to look things up again"); a.Text("status") != "pending" {
			t.Errorf("a rule that is gone decides: %s", a.Body)
		}
	})
}

// TestARuleIsShownBeforeItDecides tries to switch rules on without a look at what they would have
// decided, and with a look at something else.
func TestARuleIsShownBeforeItDecides(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("Search", "s_1")
	_, key := admin.mustAgent("Builder")
	p.with(key).ask(tool, "to look things up")

	hour := approving("Search", "tool.name == 'Search'", 3600)
	shown := admin.refused(428, "simulation_required", "POST", rulesPath, hour)
	if shown.At("simulation.requests") != 1.0 || shown.At("simulation.would_approve") != 1.0 ||
		shown.At("simulation.complete") != true || shown.Text("hint") == "" {
		t.Errorf("it shows %s", shown.Body)
	}
	digest := shown.Text("simulation.digest")
	asked := admin.must(200, "POST", rulesPath+"/simulate", object{"rule": object{
		"when": hour["when"], "effect": "approve", "max_seconds": 3600,
	}}).Text("digest")
	flipped := []byte(digest)
	flipped[10] ^= 1
	theirs := p.organization("Another", "owner").refused(428, "simulation_required", "POST", rulesPath, hour)
	for why, other := range map[string]string{
		"garbage": "x", "garbage with a dot": "e30.e30", "a changed one": string(flipped),
		"another organization's": theirs.Text("simulation.digest"),
	} {
		hour["simulation"] = other
		if admin.call("POST", rulesPath, hour).Code() != "simulation_required" {
			t.Errorf("%s switches it on", why)
		}
	}
	for field, value := range map[string]any{"when": "true", "max_seconds": 3601} {
		other := approving("Search", "tool.name == 'Search'", 3600)
		other[field], other["simulation"] = value, digest
		admin.refused(428, "simulation_required", "POST", rulesPath, other)
	}
	deny := denying("Search", "tool.name == 'Search'", "No.")
	deny["simulation"] = digest
	admin.refused(428, "simulation_required", "POST", rulesPath, deny)
	if got := admin.must(200, "GET", rulesPath, nil).Items(); len(got) != 0 {
		t.Fatalf("something was added: %v", got)
	}

	hour["simulation"], hour["enabled"] = asked, false
	rule := rulesPath + "/" + admin.must(201, "POST", rulesPath, hour).Text("id")
	admin.refused(428, "simulation_required", "PATCH", rule, object{"enabled": true})
	on := admin.must(200, "PATCH", rule, object{"enabled": true, "simulation": asked})
	if on.At("enabled") != true || on.At("version") != 2.0 {
		t.Errorf("it is %s", on.Body)
	}
	admin.refused(428, "simulation_required", "PATCH", rule, object{"max_seconds": 7200})
	admin.refused(428, "simulation_required", "PATCH", rule, object{"when": "true"})
	admin.must(200, "PATCH", rule, object{"name": "Search for an hour"})
	admin.must(200, "PATCH", rule, object{"enabled": false})
	var entries []object
	wait.Until(t, "the audit has it", func() bool {
		entries = admin.must(200, "GET", "/api/admin/audit?action=rule.changed", nil).Items()
		return len(entries) == 3
	})
	if e := (answer{JSON: entries[2]}); e.Text("data.simulated.digest") != asked ||
		e.At("data.simulated.would_approve") != 1.0 || e.Text("data.rule.when") != hour["when"] {
		t.Errorf("switching it on is kept as %v", e.JSON)
	}

	t.Run("mistakes are named", func(t *testing.T) {
		for _, when := range []string{"tool.nam == 'x'", "tool.name ==", "tool.name", "request.reason.matches('(')"} {
			rule := approving("Wrong", when, 60)
			for path, body := range map[string]object{
				rulesPath: rule, rulesPath + "/simulate": {"rule": object{"when": when, "effect": "approve", "max_seconds": 60}},
			} {
				a := admin.refused(400, "validation_failed", "POST", path, body)
				if d, _ := a.At("details").([]any); len(d) == 0 || d[0].(object)["line"] != 1.0 || d[0].(object)["column"] == nil ||
					!strings.Contains(a.Text("hint"), "tool.name") {
					t.Errorf("%s: %s", when, a.Body)
				}
			}
		}
		for _, wrong := range []object{
			{"name": "Search for AN hour", "when": "true", "effect": "deny", "reason": "No.", "enabled": false},
			{"name": "Endless", "when": "true", "effect": "approve", "enabled": false},
			{"name": "Mute", "when": "true", "effect": "deny", "enabled": false},
			{"name": "Both", "when": "true", "effect": "approve", "max_seconds": 1, "reason": "No.", "enabled": false},
		} {
			admin.refused(400, "validation_failed", "POST", rulesPath, wrong)
		}
		admin.refused(400, "validation_failed", "POST", rulesPath+"/simulate", object{"rule": object{"effect": "deny"}})
		admin.refused(404, "not_found", "POST", rulesPath+"/simulate", object{"rule": object{"id": newID().String()}})
	})
}

// TestASimulationSaysWhatWasDecided makes a history by a rule and by humans, and replays rules over
// it.
func TestASimulationSaysWhatWasDecided(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tools := []string{admin.mustTool("Search", "s_1"), admin.mustTool("Wiki", "w_1"), admin.mustTool("Mail", "m_1")}
	when := "tool.name == 'Search' && history.tool.approved < 2 || tool.name == 'Wiki' && history.all.fetches > 1"
	rule := admin.mustRule(approving("Some", when, 3600))
	from := time.Now().UTC()
	decided := map[string]string{}
	fetched := map[string]int{}
	for i := range 3 {
		_, key := admin.mustAgent(fmt.Sprint("Bot ", i))
		bot := p.with(key)
		self := bot.must(200, "GET", "/api/me", nil).Text("agent_id")
		for round := range 3 {
			for n, tool := range tools {
				a := bot.ask(tool, fmt.Sprint("round ", round))
				request, status := a.Text("request_id"), a.Text("status")
				switch {
				case status == "pending" && (i+round)%3 == 0:
					admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
					status = "approved by a human"
				case status == "pending" && (i+round)%3 == 1:
					admin.must(200, "POST", "/api/admin/requests/"+request+"/deny", nil)
					status = "denied"
				case status == "pending":
					bot.must(204, "DELETE", "/api/tools/"+tool+"/request", nil)
					status = "withdrawn"
				}
				decided[request] = status
				for range n + 1 {
					if bot.fetch(tool).Status == 200 {
						fetched[request]++
					}
				}
				if strings.HasPrefix(status, "approved") {
					admin.must(204, "DELETE", "/api/admin/agents/"+self+"/grants/"+tool, nil)
				}
			}
		}
	}
	approvedByRule := 0
	for _, status := range decided {
		if status == "approved" {
			approvedByRule++
		}
	}
	if approvedByRule < 5 {
		t.Fatalf("the rule has approved %d of %v", approvedByRule, decided)
	}

	// The rule that was on would decide as it did.
	same := admin.must(200, "POST", rulesPath+"/simulate", object{"rule": object{"id": rule.Text("id")}, "from": from})
	if differs, _ := same.At("differs").([]any); len(differs) != 0 || same.At("differs_total") != 0.0 ||
		same.At("requests") != float64(len(decided)) || same.At("would_approve") != float64(approvedByRule) ||
		same.At("would_deny") != 0.0 || same.At("complete") != true {
		t.Errorf("of %d, %d by the rule: %s", len(decided), approvedByRule, same.Body)
	}

	// One that denies everything differs in all that wasn't denied.
	all := admin.must(200, "POST", rulesPath+"/simulate", object{
		"rule": object{"when": "true", "effect": "deny"}, "from": from,
	})
	differs, _ := all.At("differs").([]any)
	total := 0
	for _, d := range differs {
		d := answer{JSON: d.(object)}
		was, fetches := strings.TrimSuffix(decided[d.Text("request_id")], " by a human"), fetched[d.Text("request_id")]
		if d.Text("was") != was || d.Text("would") != "denied" || d.At("fetches") != float64(fetches) {
			t.Errorf("%v was %s, with %d fetches", d.JSON, was, fetches)
		}
		total += fetches
		delete(decided, d.Text("request_id"))
	}
	for request, status := range decided {
		if status != "denied" {
			t.Errorf("%s was %s, and a denial would be the same", request, status)
		}
	}
	if all.At("fetches") != float64(total) || total == 0 || all.At("would_deny") != all.At("requests") {
		t.Errorf("%d fetches: %s", total, all.Body)
	}
	none := admin.must(200, "POST", rulesPath+"/simulate", object{
		"rule": object{"when": "true", "effect": "deny"}, "to": from,
	})
	if none.At("requests") != 0.0 {
		t.Errorf("before it all: %s", none.Body)
	}
	admin.refused(400, "validation_failed", "POST", rulesPath+"/simulate", object{
		"rule": object{"when": "true", "effect": "deny"}, "from": from, "to": from,
	})
}

// TestNoRequestIsApprovedAfterARuleWasSwitchedOff asks at two replicas while the rule is switched
// off at either of them.
func TestNoRequestIsApprovedAfterARuleWasSwitchedOff(t *testing.T) {
	t.Parallel()
	p := startReplicas(t, 2)
	admin := p[0].admin()
	tool := admin.mustTool("Search", "s_1")
	rule := rulesPath + "/" + admin.mustRule(approving("Search", "tool.name == 'Search'", 3600)).Text("id")
	for round := range 4 {
		var off atomic.Bool
		approved := make(chan struct{}, 1000)
		var wg sync.WaitGroup
		for i := range 4 {
			id, key := admin.mustAgent(fmt.Sprint("Bot ", i))
			bot := p[i%2].with(key)
			bot.must(200, "GET", "/api/me", nil)
			wg.Go(func() {
				waited := false // the last request was left to a human, as far as its answer knew
				for {
					over := off.Load()
					a := bot.call("POST", "/api/tools/"+tool+"/request", object{"reason": "to look things up"})
					switch {
					case a.Code() == "already_approved" && waited:
						// The other replica had read the rule before it was switched off, and decided that request,
						// which was made before as well.
						admin.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
						waited = false
					case a.Status != http.StatusCreated:
						t.Errorf("a request ends with %s", a.Body)
						return
					case a.Text("status") == "approved" && over:
						t.Errorf("a request that began after the rule was switched off: %s", a.Body)
						return
					case a.Text("status") == "approved":
						approved <- struct{}{}
						waited = false
						admin.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
					case over:
						return
					default: // it was decided after the switch, and asked before its answer
						bot.must(204, "DELETE", "/api/tools/"+tool+"/request", nil)
						waited = true
					}
				}
			})
		}
		for range 4 {
			<-approved
		}
		p[round%2].admin().must(200, "PATCH", rule, object{"enabled": false})
		off.Store(true)
		wg.Wait()
		shown := admin.refused(428, "simulation_required", "PATCH", rule, object{"enabled": true})
		admin.must(200, "PATCH", rule, object{"enabled": true, "simulation": shown.Text("simulation.digest")})
	}
}

// TestARequestIsDecidedOnceAfterACrash leaves a request as a process does that dies before it asks
// the rules.
func TestARequestIsDecidedOnceAfterACrash(t *testing.T) {
	t.Parallel()
	hook := startHook(t, nil)
	p := start(t, append(unlimited, toLoopback)...)
	admin := p.admin()
	admin.mustChannel("webhook", hook.URL)
	tool, wiki := admin.mustTool("Search", "s_1"), admin.mustTool("Wiki", "w_1")
	rule := admin.mustRule(approving("Search", "tool.name == 'Search'", 3600))
	id, key := admin.mustAgent("Builder")
	organization := admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	p.stop()
	p.office(func(ctx context.Context, o *office) error {
		m := loop.Meta{
			Organization: organization, Actor: domain.Actor{Type: domain.ActorAgent, ID: id}, CommandID: newID(),
		}
		_, err := commands.NewAgentLoop(o.env).Do(ctx, id, m, func(_ agent.State, at time.Time) (agent.Command, error) {
			return agent.Request{
				At: at, Tool: agent.Tool{ID: tool, Exists: true}, RequestID: newID().String(), Reason: "to look things up",
			}, nil
		})
		return err
	})
	p.run()
	bot := p.with(key)
	wait.Until(t, "the reaction has decided", func() bool { return bot.fetch(tool).Status == 200 })
	bot.ask(wiki, "to read about it") // which nobody decides
	wait.Until(t, "people hear about the other one", func() bool { return len(hook.all()) > 0 })
	p.restart()
	admin = p.admin()
	wait.Until(t, "the audit has all", func() bool {
		return len(admin.must(200, "GET", "/api/admin/audit?action=delivery.succeeded", nil).Items()) == 1
	})
	entries := admin.must(200, "GET", "/api/admin/audit?action=grant.approved", nil).Items()
	if len(entries) != 1 {
		t.Fatalf("it is decided %d times", len(entries))
	}
	if e := (answer{JSON: entries[0]}); e.Text("data.rule.id") != rule.Text("id") || e.Text("actor.label") != "Search" {
		t.Errorf("it is decided by %v", e.JSON)
	}
	if told := admin.must(200, "GET", "/api/admin/notification-deliveries", nil).Items(); len(told) != 1 {
		t.Errorf("people hear about what a rule decided: %v", told)
	}
}

// TestTheRulesOfThePageWork switches the examples of docs/rules.md on and asks for what they are
// about.
func TestTheRulesOfThePageWork(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, unlimited...)
	admin := p.admin()
	examples := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1)
	if len(examples) != 5 {
		t.Fatalf("the page has %d examples", len(examples))
	}
	for _, example := range examples {
		var rule object
		if err := json.Unmarshal(example[1], &rule); err != nil {
			t.Fatalf("%s: %v", example[1], err)
		}
		admin.mustRule(rule)
	}
	tools := map[string]string{}
	for _, name := range []string{"Search", "Grafana", "Wiki"} {
		tools[name] = admin.mustTool(name, "secret")
	}
	tools["Stripe"] = admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Stripe", "auth_type": "api_key", "credential_mode": "shared", "credential": "sk_1",
		"url": "https://dashboard.stripe.com",
	}).Text("id")
	id, key := admin.mustAgent("Builder")
	bot := p.with(key)
	for _, asked := range []struct{ tool, reason, status, rule string }{
		{"Search", "to look things up", "approved", "Search for an hour"},
		{"Grafana", "INC-2041: the queue is full", "approved", "Incidents"},
		{"Stripe", "to pay an invoice", "denied", "No payments by new agents"},
		{"Wiki", "testing", "denied", "Say why"},
		{"Wiki", "to read how deployments work", "pending", ""},
	} {
		a := bot.ask(tools[asked.tool], asked.reason)
		request := admin.must(200, "GET", "/api/admin/requests/"+a.Text("request_id"), nil)
		if a.Text("status") != asked.status || asked.rule != "" && request.Text("rule.name") != asked.rule {
			t.Errorf("%s for %q: %s", asked.tool, asked.reason, request.Body)
		}
		if asked.status == "pending" {
			admin.must(200, "POST", "/api/admin/requests/"+a.Text("request_id")+"/approve", nil)
		}
	}
	// The page's rule asks that nobody denied it before, so it takes an agent without that.
	admin.must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
	admin.must(200, "POST", "/api/admin/agents/"+id+"/reactivate", nil)
	if a := bot.ask(tools["Wiki"], "to read how deployments work"); a.Text("status") != "pending" {
		t.Errorf("what was denied once: %s", a.Body)
	}
	if a := bot.ask(tools["Grafana"], "to look at the queue again"); a.Text("status") != "approved" {
		t.Errorf("what was approved once: %s", a.Body)
	}
}
