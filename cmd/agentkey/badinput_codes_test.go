package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
)

func TestAnEditOfAnOlderRevisionIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, _ := admin.mustAgent("Onboarding")
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"instructions": "Send it."})
	for _, tt := range []struct {
		method, path string
		body         any
	}{
		{"PATCH", "/api/admin/tools/" + tool, object{"description": "Code"}},
		{"PUT", "/api/admin/tools/" + tool + "/credential", object{"credential": "new"}},
		{"POST", "/api/admin/tools/" + tool + "/instructions/1/restore", nil},
		{"DELETE", "/api/admin/tools/" + tool, nil},
		{"PATCH", "/api/admin/agents/" + id, object{"description": "Opens pull requests"}},
		{"POST", "/api/admin/agents/" + id + "/rotate-key", nil},
		{"POST", "/api/admin/agents/" + id + "/suspend", nil},
		{"POST", "/api/admin/agents/" + id + "/reactivate", nil},
		{"DELETE", "/api/admin/agents/" + id, nil},
	} {
		for _, tag := range []string{
			`"99"`, `99`, `"9,1"`, `"1" "1"`, `"1`, `*, "99"`, `W/"99"`, `w/"1"`, `W/1`, `W/W/"1"`, `"99", W/"98"`,
			`"x"`, `"x", ""`, `"0"`, `"-1"`,
		} {
			admin.refused(412, "revision_stale", tt.method, tt.path, tt.body, "If-Match", tag)
		}
	}
	for _, path := range []string{"/api/admin/tools/" + tool, "/api/admin/agents/" + id} {
		was := admin.must(200, "GET", path, nil)
		if was.Header.Get("ETag") != fmt.Sprintf(`"%v"`, was.At("revision")) {
			t.Errorf("%s: ETag %s: %s", path, was.Header.Get("ETag"), was.Body)
		}
		now := admin.must(200, "PATCH", path, object{"description": "First"}, "If-Match", was.Header.Get("ETag"))
		admin.refused(
			412, "revision_stale", "PATCH", path, object{"description": "Second"}, "If-Match", was.Header.Get("ETag"),
		)
		admin.must(200, "PATCH", path, object{"description": "Second"}, "If-Match", "W/"+now.Header.Get("ETag"))
		now = admin.must(200, "GET", path, nil)
		admin.refused(
			412, "revision_stale", "PATCH", path, object{"description": "Third"}, "If-Match",
			"W/"+was.Header.Get("ETag"),
		)
		admin.must(200, "PATCH", path, object{"description": "Third"}, "If-Match", `"x" , W/`+now.Header.Get("ETag"))
		admin.must(200, "PATCH", path, object{"description": "Fourth"}, "If-Match", "*")
		for i, list := range []string{`"999",  %s`, `%s,"999"`, `W/"998", W/%s , "999"`, `,"a,b",,%s`, `nonsense, %s`} {
			tag := admin.must(200, "GET", path, nil).Header.Get("ETag")
			admin.must(
				200, "PATCH", path, object{"description": fmt.Sprint("In a list ", i)}, "If-Match",
				fmt.Sprintf(list, tag),
			)
		}
		admin.must(204, "DELETE", path, nil)
		admin.refused(
			404, "not_found", "PATCH", path, object{"description": "Fifth"}, "If-Match", was.Header.Get("ETag"),
		)
	}
}

func TestAnIdempotencyKeyIsForOneRequest(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	id, _ := admin.mustAgent("Onboarding")
	const key = "Idempotency-Key"
	first := admin.must(201, "POST", "/api/admin/agents", object{"name": "Once"}, key, "once")
	again := admin.must(201, "POST", "/api/admin/agents", ` {"name" : "Once"}`, key, "once")
	if again.Text("agent.id") != first.Text("agent.id") || again.Header.Get("Idempotency-Replayed") != "true" ||
		again.Text("api_key") != "" ||
		again.Header.Get("X-Event-Position") != first.Header.Get("X-Event-Position") ||
		first.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("once more: %v %s", again.Header, again.Body)
	}
	for _, tt := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/api/admin/agents", object{"name": "Twice"}},
		{"POST", "/api/admin/agents", object{"name": "Once", "description": "Twice"}},
		{"POST", "/api/admin/agents/" + id + "/suspend", nil},
		{"PATCH", "/api/admin/agents/" + id, object{"name": "Once"}},
		{"DELETE", "/api/admin/agents/" + id, nil},
	} {
		admin.refused(409, "idempotency_key_reused", tt.method, tt.path, tt.body, key, "once")
	}
	for _, wrong := range []string{strings.Repeat("x", 129), "two words", "ä"} {
		if a := admin.refused(
			400, "validation_failed", "POST", "/api/admin/agents", object{"name": "Wrong"}, key, wrong,
		); !namesField(a, key) {
			t.Errorf("%q: %s", wrong, a.Body)
		}
	}
	two := head(
		"POST", "/api/admin/agents", p.Token,
	) + "Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 16\r\n\r\n{\"name\":\"Wrong\"}"
	if got := p.raw(1, two, false); len(got) != 1 || got[0].Code() != "validation_failed" {
		t.Errorf("two keys: %+v", got)
	}
	admin.must(201, "POST", "/api/admin/agents", object{"name": "Long"}, key, strings.Repeat("~", 128))
	if n := len(admin.must(200, "GET", "/api/admin/agents?q=wrong", nil).Items()); n != 0 {
		t.Errorf("%d agents came of refused calls", n)
	}
	// Another caller's key of the same text is another key, and a refusal is an answer that is kept.
	other := p.organization("Another", "owner")
	other.must(201, "POST", "/api/admin/agents", object{"name": "Theirs"}, key, "once")
	nowhere := "/api/admin/agents/" + newID().String()
	admin.refused(404, "not_found", "DELETE", nowhere, nil, key, "gone")
	if a := admin.refused(
		404, "not_found", "DELETE", nowhere, nil, key, "gone",
	); a.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a refusal once more: %v", a.Header)
	}
}

// TestACallThatStillRunsIsInProgress loses what the log says to one process while it carries out a
// call with a key. Another process refuses the same call meanwhile, and gets the first one's answer
// once there is one.
func TestACallThatStillRunsIsInProgress(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "it loses what the log answers")
	proxy := startProxy(t, log.listen)
	env := log.replicas()
	second := start(t, env...)
	first := start(
		t, append([]string{"AGENTKEY_EVENTSTORE_URL=esdb://" + proxy.address() + "?tls=false"}, env[1:]...)...,
	)
	direct, err := eventstore.Open(eventstore.Config{URL: "esdb://" + log.listen + "?tls=false"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = direct.Close() }()
	reserved := make(chan struct{}, 100)
	head, err := direct.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sub, err := direct.SubscribeAll(t.Context(), head, eventstore.Filter{Types: `^once\.reserved`})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Close() }()
	go func() {
		for item, err := sub.Next(); err == nil; item, err = sub.Next() {
			if item.Event != nil {
				reserved <- struct{}{}
			}
		}
	}()
	for attempt := range 50 {
		key, body := fmt.Sprint("attempt-", attempt), object{"name": fmt.Sprint("Attempt ", attempt)}
		call := func(p *program) answer {
			return p.admin().call("POST", "/api/admin/agents", body, "Idempotency-Key", key)
		}
		done := make(chan answer, 1)
		go func() { done <- call(first) }()
		<-reserved
		proxy.loseAnswers()
		meanwhile := call(second)
		proxy.cut()
		a := <-done
		if meanwhile.Status == 201 {
			continue // the call was over before the answers were lost
		}
		if meanwhile.Status != 409 || meanwhile.Code() != "idempotency_in_progress" ||
			meanwhile.Header.Get("Retry-After") == "" {
			t.Errorf("meanwhile: %d %s", meanwhile.Status, meanwhile.Body)
		}
		if a.Status != 201 {
			t.Errorf("the first call: %d %s", a.Status, a.Body)
		}
		after := call(second)
		if after.Status != 201 || after.Text("agent.id") != a.Text("agent.id") ||
			after.Header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("afterwards: %d %v %s", after.Status, after.Header, after.Body)
		}
		return
	}
	t.Error("no call was caught while it ran")
}

// TestAQueryThatCanNotBeAnsweredSaysSo takes the tables of the read model away from a running
// program.
func TestAQueryThatCanNotBeAnsweredSaysSo(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	agent := p.with(key)

	far := []string{"X-Wait-For-Position", "9223372036854775807"}
	if a := admin.refused(
		503, "read_model_behind", "GET", "/api/admin/tools", nil, far...,
	); a.Header.Get("Retry-After") == "" || left(a) != -1 {
		t.Errorf("behind: %v", a.Header)
	}
	// a command does not wait either
	admin.must(200, "POST", "/api/admin/agents/"+id+"/rotate-key", object{"overlap_seconds": 60}, far...)
	if a := agent.call("GET", "/api/tools/"+tool+"/credentials", nil, far...); a.Status != 200 {
		t.Errorf("a fetch does not wait for the read model: %d %s", a.Status, a.Body)
	}
	for _, wrong := range []string{"x", "-1", "1.0", "18446744073709551616", "0x10"} {
		admin.refused(400, "validation_failed", "GET", "/api/admin/tools", nil, "X-Wait-For-Position", wrong)
	}

	admin.must(200, "GET", "/api/admin/tools", nil)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.Dir, readModelFile)+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tables := column(t, db, `select name from sqlite_master where type = 'table' and name not like 'sqlite%'`)
	rename := func(from, to string) {
		t.Helper()
		for _, table := range tables {
			if _, err := db.ExecContext(
				t.Context(), `alter table "`+table+from+`" rename to "`+table+to+`"`,
			); err != nil {
				t.Fatal(err)
			}
		}
	}
	rename("", "_away")
	now := []string{"X-Wait-For-Position", ""}
	for _, path := range []string{
		"agents", "agents/" + id, "tools", "tools/" + tool, "tools/" + tool + "/instructions", "requests", "grants",
		"audit",
	} {
		if a := admin.refused(
			503, "read_model_unavailable", "GET", "/api/admin/"+path, nil, now...,
		); a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %v", path, a.Header)
		}
	}
	for _, path := range []string{"/api/me", "/api/tools", "/api/tools/" + tool} {
		agent.refused(503, "read_model_unavailable", "GET", path, nil, now...)
	}
	admin.must(200, "GET", "/api/admin/me", nil, now...)
	for _, path := range []string{"requests/", "suggestions/", "instruction-suggestions/"} { // come from the log
		admin.refused(404, "not_found", "GET", "/api/admin/"+path+newID().String(), nil, now...)
	}
	if a := agent.fetch(tool); a.Text("credential") != "ghp_secret" {
		t.Errorf("a fetch without the read model: %s", a.Body)
	}
	admin.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
	agent.refused(403, "access_not_approved", "GET", "/api/tools/"+tool+"/credentials", nil)
	rename("_away", "")
	wait.Until(t, "answered again", func() bool {
		return agent.call("GET", "/api/tools/"+tool, nil).Text("your_access") == "revoked"
	})
}

// TestAnEventOfANewerVersionStopsNobodyElse appends, with the installation's own key, what this
// version does not know.
func TestAnEventOfANewerVersionStopsNobodyElse(t *testing.T) {
	t.Parallel()
	p := newProgram(t, unlimited)
	p.unverified = true // this version can't read the log that it leaves
	p.run()
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	other, otherKey := admin.mustAgent("Another")
	admin.mustAssign(other, tool)
	p.office(func(ctx context.Context, o *office) error {
		event := eventstore.Event{ID: newID(), Type: "grant.frozen.v1", Data: []byte(`{"tool_id":"` + tool + `"}`)}
		stream := "agent-" + id
		last, err := o.inst.Log.ReadForward(ctx, stream, 1, 1)
		if err != nil {
			return err
		}
		event.Metadata, _, err = o.inst.Log.Keys.Sign(stream, 2, event.ID, event.Type, event.Data, codec.Signed{
			Organization: o.inst.Begun.OrganizationID, Actor: domain.Actor{Type: domain.ActorSystem, ID: "newer"},
			CommandID: newID().String(), Time: time.Now().UTC(), Schema: codec.Schema, Prev: last[0].Link,
		})
		if err == nil {
			_, err = o.client.Append(ctx, stream, 1, event)
		}
		return err
	})
	for _, call := range []struct {
		by           client
		method, path string
		body         any
	}{
		{p.with(key), "GET", "/api/tools/" + tool + "/credentials", nil},
		{p.with(key), "GET", "/api/me", nil},
		{p.with(key), "POST", "/api/tools/" + tool + "/request", object{"reason": "to open pull requests"}},
		{admin, "DELETE", "/api/admin/agents/" + id + "/grants/" + tool, nil},
		{admin, "POST", "/api/admin/agents/" + id + "/suspend", nil},
		{admin, "POST", "/api/admin/agents/" + id + "/grants", object{"tool_id": tool}},
	} {
		a := call.by.refused(
			503, "newer_version_required", call.method, call.path, call.body, "X-Wait-For-Position", "",
		)
		if a.Header.Get("Retry-After") == "" || strings.Contains(string(a.Body), "ghp_secret") {
			t.Errorf("%s %s: %v %s", call.method, call.path, a.Header, a.Body)
		}
	}
	if a := p.with(otherKey).fetch(tool); a.Status != 200 {
		t.Errorf("another agent's fetch: %d %s", a.Status, a.Body)
	}
	admin.must(204, "DELETE", "/api/admin/agents/"+other+"/grants/"+tool, nil)
}

// TestAProcessThatLacksAMasterKeyIsBusy lets one process seal with a key that the other was not
// given yet.
func TestAProcessThatLacksAMasterKeyIsBusy(t *testing.T) {
	t.Parallel()
	env := ownLog(t, "its master keys change").replicas()
	old := start(t, env...)
	former, isSet := strings.CutPrefix(env[1], "AGENTKEY_MASTER_KEYS=")
	if !isSet {
		t.Fatal("the configuration has another order")
	}
	rolled := append([]string{env[0], "AGENTKEY_MASTER_KEYS=" + old.shell("keys", "add") + "," + former}, env[2:]...)
	newer := start(t, rolled...)
	old.unverified = true // the newer one verifies the log
	before := old.admin().mustTool("Before", "first")
	tool := newer.admin().mustTool("GitHub", "ghp_secret")
	id, key := newer.admin().mustAgent("Onboarding")
	newer.admin().mustAssign(id, tool)
	newer.admin().mustAssign(id, before)
	if a := old.with(key).refused(
		503, "busy", "GET", "/api/tools/"+tool+"/credentials", nil,
	); a.Header.Get("Retry-After") == "" {
		t.Errorf("busy: %v", a.Header)
	}
	for _, p := range []*program{old, newer} {
		if a := p.with(key).fetch(before); a.Text("credential") != "first" {
			t.Errorf("what the former key wrapped: %d %s", a.Status, a.Body)
		}
	}
	if a := newer.with(key).fetch(tool); a.Text("credential") != "ghp_secret" {
		t.Errorf("a process that has the key: %d %s", a.Status, a.Body)
	}
}
