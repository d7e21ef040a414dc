package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"agentkey/eventstore/eventstoretest/wait"
)

// TestACallWaitsForTheDecision lets an agent wait until its request is approved, denied or ended,
// until its time is up, it leaves, or the server stops.
func TestACallWaitsForTheDecision(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	events := admin.follow(adminEvents)
	_, key := admin.mustAgent("Builder")
	agent := p.with(key)
	// asks begins a call that waits, and returns when the request is there.
	asks := func(ctx context.Context, tool string, headers ...string) (request string, answered chan answer) {
		answered = make(chan answer, 1)
		c := agent
		c.http = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return agent.http.Transport.RoundTrip(r.WithContext(ctx))
		})}
		go func() {
			a, _ := c.try("POST", "/api/tools/"+tool+"/request?wait=30", object{"reason": "to open pull requests"}, headers...)
			answered <- a
		}()
		told := events.until("grant.requested")
		request, _ = told[len(told)-1].Data["request_id"].(string)
		return request, answered
	}
	gets := func(answered chan answer, status, says string) answer {
		t.Helper()
		a := <-answered
		if a.Status != 201 || a.Text("status") != status || !strings.Contains(a.Text("message"), says) {
			t.Errorf("it is %d %s, not %s", a.Status, a.Body, status)
		}
		return a
	}
	began := time.Now()
	github := admin.mustTool("GitHub", "ghp_1")
	request, answered := asks(t.Context(), github)
	approved := admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	a := gets(answered, "approved", "GET /api/tools/"+github+"/credentials")
	if a.Text("request_id") != request || a.Header.Get("X-Event-Position") != approved.Header.Get("X-Event-Position") {
		t.Errorf("it is %v %s", a.Header, a.Body)
	}
	agent.must(200, "GET", "/api/tools/"+github+"/credentials", nil)

	request, answered = asks(t.Context(), admin.mustTool("Linear", "lin_1"))
	admin.must(200, "POST", "/api/admin/requests/"+request+"/deny", object{"reason": "Use GitHub."})
	gets(answered, "denied", "Use GitHub.")

	jira := admin.mustTool("Jira", "j_1")
	_, answered = asks(t.Context(), jira)
	admin.must(204, "DELETE", "/api/admin/tools/"+jira, nil)
	gets(answered, "withdrawn", "ended")

	// One that leaves ends its wait. A repeat asks for nothing again, and waits at once. Whether the
	// first got as far as its answer, or the first repeat finishes it, is the machine's pace.
	slack, once := admin.mustTool("Slack", "s_1"), []string{"Idempotency-Key", "ask-slack"}
	ctx, leave := context.WithCancel(t.Context())
	request, answered = asks(ctx, slack, once...)
	leave()
	if a := <-answered; a.Status != 0 {
		t.Errorf("one that left got %s", a.Body)
	}
	repeated := make(chan answer, 2)
	for range 2 {
		go func() {
			repeated <- agent.call("POST", "/api/tools/"+slack+"/request?wait=29", object{"reason": "to open pull requests"},
				once...)
		}()
	}
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	replayed := 0
	for range 2 {
		if a := gets(repeated, "approved", "given"); a.Header.Get("Idempotency-Replayed") == "true" {
			replayed++
		}
	}
	if replayed == 0 {
		t.Error("no repeat was answered with the answer of another")
	}
	if n := len(admin.must(200, "GET", "/api/admin/audit?action=grant.requested&tool_id="+slack, nil).Items()); n != 1 {
		t.Errorf("it was requested %d times", n)
	}
	wait.Until(t, "each call has ended", func() bool {
		return strings.Count(p.stderr.String(), `"route":"/api/tools/:id/request"`) == 6
	})
	if took := time.Since(began); took > 29*time.Second {
		t.Errorf("they took %s, so one waited for its time", took)
	}

	sentry := admin.mustTool("Sentry", "y_1")
	for _, wrong := range []string{"31", "-1", "x", "1.5"} {
		if a := agent.refused(400, "validation_failed", "POST", "/api/tools/"+sentry+"/request?wait="+wrong,
			object{"reason": "to open pull requests"}); !namesField(a, "wait") {
			t.Errorf("wait=%s: %s", wrong, a.Body)
		}
	}
	began = time.Now()
	a = agent.must(201, "POST", "/api/tools/"+sentry+"/request?wait=1", object{"reason": "to open pull requests"})
	if took := time.Since(began); a.Text("status") != "pending" || took < time.Second {
		t.Errorf("after %s it is %s", took, a.Body)
	}
	agent.refused(409, "already_pending", "POST", "/api/tools/"+sentry+"/request?wait=30",
		object{"reason": "to open pull requests"})
	events.until("grant.requested")
	_, answered = asks(t.Context(), admin.mustTool("Zed", "z_1"))
	p.stop()
	gets(answered, "pending", "A human will decide")
}
