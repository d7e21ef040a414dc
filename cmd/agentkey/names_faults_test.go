package main

import (
	"bytes"
	"sync"
	"testing"
)

// TestNoAnswerLacksANameThatCouldNotBeFound takes the log away from a process that has opened no
// name yet. What shows who acted fails then; nothing shows a blank, which would mean erased.
func TestNoAnswerLacksANameThatCouldNotBeFound(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "it stops the log")
	p := newProgram(t, log.replicas())
	p.run()
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_1")
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"instructions": "Ask first."})
	id, key := admin.mustAgent("Bot")
	request := p.with(key).mustRequest(tool)
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	from := admin.now()
	admin.must(200, "PATCH", "/api/admin/agents/"+id, object{"description": "in the period"})
	to := admin.now()
	admin.must(200, "PATCH", "/api/admin/agents/"+id, object{"description": "after it"})
	admin.mustBeCovered("After")
	pack := "/api/admin/audit/evidence?from=" + from + "&to=" + to
	admin.must(200, "GET", pack, nil)
	p.restart()
	p.settled()
	admin = p.admin()
	admin.must(200, "GET", "/api/admin/tools", nil) // who asks is known from here on
	log.stop()

	var asked sync.WaitGroup
	for _, path := range []string{
		"/api/admin/me", "/api/admin/audit", "/api/admin/agents", "/api/admin/agents/" + id, "/api/admin/grants",
		"/api/admin/requests", "/api/admin/reports/access-review", "/api/admin/reports/decisions",
		"/api/admin/audit/diff?from=0&to=" + to, "/api/admin/tools/" + tool + "/instructions",
		"/api/admin/service-tokens", "/api/admin/reports/access-review?format=csv",
		"/api/admin/audit/export?format=csv", "/api/admin/audit/export?format=ocsf", pack,
	} {
		asked.Go(func() {
			a, err := admin.try("GET", path, nil)
			switch {
			case err != nil: // an answer that had begun is cut
			case a.Status != 503 || a.Code() != "event_log_unavailable":
				t.Errorf("%s: %d %s", path, a.Status, a.Body)
			case bytes.Contains(a.Body, []byte("Bot")):
				t.Errorf("%s shows a part: %s", path, a.Body)
			}
		})
	}
	asked.Wait()
	p.unverified = true
}
