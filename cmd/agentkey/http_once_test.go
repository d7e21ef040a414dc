package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest/wait"
)

// TestEachCommandHasOneEffectUnderOneKey gives every command twice with one key, and once more
// after a restart. The repeats get what the first got, but for what is shown once, and the log has
// nothing more.
func TestEachCommandHasOneEffectUnderOneKey(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	each := admin.must(
		201, "POST", "/api/admin/tools", object{"name": "Each", "auth_type": "other", "credential_mode": "per_agent"},
	).Text("id")
	agentID, key := admin.mustAgent("Onboarding")
	gone, _ := admin.mustAgent("Gone")
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"instructions": "First"})
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"instructions": "Second"})
	one := "/api/admin/agents/" + agentID
	asked := ""
	type call struct {
		by           string
		method, path string
		body         any
		status       int
		first        answer
	}
	calls := []*call{
		{by: p.Token, method: "POST", path: "/api/admin/agents", body: object{"name": "Once"}, status: 201},
		{by: p.Token, method: "POST", path: "/api/admin/tools", status: 201, body: object{
			"name": "Once", "auth_type": "other", "credential_mode": "shared", "credential": "x",
		}},
		{by: p.Token, method: "POST", path: "/api/admin/tools", status: 409, body: object{
			"name": "ONCE", "auth_type": "other", "credential_mode": "shared", "credential": "x",
		}},
		{by: p.Token, method: "PATCH", path: one, body: object{"description": "Once"}, status: 200},
		{
			by: p.Token, method: "PATCH", path: "/api/admin/tools/" + tool, body: object{"instructions": "Once"},
			status: 200,
		},
		{by: p.Token, method: "POST", path: "/api/admin/tools/" + tool + "/instructions/1/restore", status: 200},
		{
			by: p.Token, method: "PUT", path: "/api/admin/tools/" + tool + "/credential",
			body: object{"credential": "new"}, status: 200,
		},
		{by: p.Token, method: "POST", path: one + "/rotate-key", body: object{"overlap_seconds": 3600}, status: 200},
		{
			by: key, method: "POST", path: "/api/tools/" + tool + "/request",
			body: object{"reason": "to open pull requests"}, status: 201,
		},
		{by: p.Token, method: "POST", path: "approve", status: 200},
		{
			by: p.Token, method: "POST", path: one + "/grants", body: object{"tool_id": each, "credential": "own"},
			status: 201,
		},
		{
			by: p.Token, method: "PUT", path: one + "/grants/" + each + "/credential",
			body: object{"credential": "newer"}, status: 200,
		},
		{by: p.Token, method: "DELETE", path: one + "/grants/" + tool, status: 204},
		{by: p.Token, method: "POST", path: one + "/suspend", status: 200},
		{by: p.Token, method: "POST", path: one + "/reactivate", status: 200},
		{by: p.Token, method: "DELETE", path: "/api/admin/agents/" + gone, status: 204},
		{by: p.Token, method: "DELETE", path: "/api/admin/tools/" + each, status: 204},
		{by: p.Token, method: "DELETE", path: "/api/admin/tools/" + each, status: 404},
		{by: key, method: "DELETE", path: "/api/tools/" + tool + "/request", status: 204},
	}
	for i, c := range calls {
		if c.path == "approve" {
			c.path = "/api/admin/requests/" + asked + "/approve"
		}
		c.first = p.with(c.by).must(c.status, c.method, c.path, c.body, "Idempotency-Key", fmt.Sprint("key-", i))
		if c.first.Header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s %s: the first call is a repeat: %v", c.method, c.path, c.first.Header)
		}
		if strings.HasSuffix(c.path, "/request") && c.method == "POST" {
			asked = c.first.Text("request_id")
		}
	}
	admin.must(200, "GET", "/api/admin/audit", nil)
	last := p.entries()
	repeat := func() {
		for i, c := range calls {
			again := p.with(c.by).must(c.status, c.method, c.path, c.body, "Idempotency-Key", fmt.Sprint("key-", i))
			want := c.first.JSON
			if shown := c.first.Text("api_key"); shown != "" {
				want = object{"agent": c.first.JSON["agent"], "instructions": c.first.JSON["instructions"]}
				if bytes.Contains(again.Body, []byte(shown)) {
					t.Errorf("%s %s shows the key once more", c.method, c.path)
				}
			} else if !bytes.Equal(again.Body, c.first.Body) {
				t.Errorf("%s %s: the body differs: %s and %s", c.method, c.path, c.first.Body, again.Body)
			}
			if diff := cmp.Diff(want, again.JSON); diff != "" || again.Header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("%s %s: %v %s", c.method, c.path, again.Header, diff)
			}
			for _, name := range []string{"Content-Type", "ETag", "Location", "X-Event-Position"} {
				if again.Header.Get(name) != c.first.Header.Get(name) {
					t.Errorf(
						"%s %s: %s was %q and is %q", c.method, c.path, name, c.first.Header.Get(name),
						again.Header.Get(name),
					)
				}
			}
		}
	}
	repeat()
	p.restart()
	repeat()
	if now := p.entries(); now != last {
		t.Errorf("the audit had %s at its end and has %s", last, now)
	}
}

// entries is the newest entry of the audit that a call caused.
func (p *program) entries() string {
	p.t.Helper()
	return id(p.admin().must(200, "GET", "/api/admin/audit?limit=1&actor_type=service", nil).Items()[0])
}

// TestOfManyEqualCallsOneHasAnEffect sends the same call many times at once with one key. Each gets
// the one answer, or is told that the first still runs.
func TestOfManyEqualCallsOneHasAnEffect(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	for round := range 5 {
		name, key := fmt.Sprint("Round ", round), fmt.Sprint("round-", round)
		got := make([]answer, 16)
		var all sync.WaitGroup
		for i := range got {
			all.Go(
				func() {
					got[i] = admin.call("POST", "/api/admin/agents", object{"name": name}, "Idempotency-Key", key)
				},
			)
		}
		all.Wait()
		ids, shown := map[string]bool{}, 0
		for _, a := range got {
			if a.Code() == "idempotency_in_progress" {
				continue
			}
			if a.Status != 201 {
				t.Errorf("%s: %d %s", name, a.Status, a.Body)
			}
			ids[a.Text("agent.id")] = true
			shown += btoi(a.Text("api_key") != "")
		}
		if made := admin.must(
			200, "GET", "/api/admin/agents?q="+strings.ReplaceAll(name, " ", "%20"), nil,
		).Items(); len(ids) != 1 || shown != 1 || len(made) != 1 {
			t.Errorf("%s: %d ids, %d keys were shown, %d agents", name, len(ids), shown, len(made))
		}
	}
}

// TestATemporaryRefusalIsNotKept repeats, with one key, a call that was refused for a reason that
// passes.
func TestATemporaryRefusalIsNotKept(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_REQUESTS=1/1s", "AGENTKEY_LIMIT_ADMIN=off")
	admin := p.admin()
	first, second := admin.mustTool("GitHub", "x"), admin.mustTool("GitLab", "x")
	_, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	ask := func(tool string) answer {
		return agent.call(
			"POST", "/api/tools/"+tool+"/request", object{"reason": "to open pull requests"}, "Idempotency-Key",
			"ask "+tool[30:],
		)
	}
	if a := ask(first); a.Status != 400 { // a space is not visible
		t.Errorf("a key with a space: %d %s", a.Status, a.Body)
	}
	ask = func(tool string) answer {
		return agent.call(
			"POST", "/api/tools/"+tool+"/request", object{"reason": "to open pull requests"}, "Idempotency-Key",
			"ask-"+tool,
		)
	}
	wait.Until(t, "asked", func() bool { return ask(first).Status == 201 })
	limited := false
	wait.Until(t, "asked", func() bool {
		a := ask(second)
		limited = limited || a.Status == 429
		return a.Status == 201 && a.Header.Get("Idempotency-Replayed") == ""
	})
	wait.Until(t, "told again", func() bool { return ask(second).Header.Get("Idempotency-Replayed") == "true" })
	if !limited {
		t.Log("the second request was never limited")
	}
	// What is wrong with a request is told before the key is taken, so it may be put right under the
	// same key.
	body := object{"name": "x"}
	admin.refused(400, "validation_failed", "POST", "/api/admin/agents", body, "Idempotency-Key", "put-right")
	body["name"] = "Put right"
	admin.must(201, "POST", "/api/admin/agents", body, "Idempotency-Key", "put-right")
}

// TestAnAnswerThatIsTooLargeToKeepIsMadeAgain: the log can't hold it, and a repeat at once gets it
// nevertheless, because the command is found done.
func TestAnAnswerThatIsTooLargeToKeepIsMadeAgain(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	file := func(guide string) object {
		tools := make([]object, 150)
		for i := range tools {
			tools[i] = object{
				"name": fmt.Sprint("Tool ", i), "auth_type": "api_key", "credential_mode": "shared",
				"instructions": strings.Repeat(guide, 390),
			}
		}
		return object{"agentkey_catalog": 1, "tools": tools}
	}
	admin.must(200, "PUT", importPath, file("0123456789"))
	first := admin.must(200, "PUT", importPath, file("abcdefghij"), "Idempotency-Key", "large")
	if len(first.Body) < 1<<20 {
		t.Fatalf("the answer has %d bytes", len(first.Body))
	}
	again := admin.must(200, "PUT", importPath, file("abcdefghij"), "Idempotency-Key", "large")
	if diff := cmp.Diff(planned(first), planned(again)); diff != "" {
		t.Errorf("again (-first +second):\n%.2000s", diff)
	}
	admin.refused(409, "idempotency_key_reused", "PUT", importPath, file("9876543210"), "Idempotency-Key", "large")
	if said := p.stderr.String(); strings.Contains(said, "left reserved") {
		t.Errorf("the log: %s", tail(said))
	}
}
