package main

import (
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestAnybodyMayAskHowItIs(t *testing.T) {
	p := start(t, "AGENTKEY_LIMIT_PREAUTH=1/24h")
	admin := p.admin()
	p.with("sk_agent_x").must(401, "GET", "/api/me", nil)
	p.with("sk_agent_x").must(429, "GET", "/api/me", nil) // this address is refused everywhere else
	if a := p.anyone().must(200, "GET", "/healthz", nil); strings.TrimSpace(string(a.Body)) != `{"status":"alive"}` {
		t.Errorf("health: %s", a.Body)
	}
	a := p.anyone().must(200, "GET", "/readyz", nil)
	if a.Text("status") != "ready" || len(a.JSON) != 3 {
		t.Errorf("ready: %s", a.Body)
	}
	checks, _ := a.JSON["checks"].([]any)
	var names []string
	for _, c := range checks {
		c, _ := c.(object)
		names = append(names, c["name"].(string))
		if c["status"] != "ok" {
			t.Errorf("a check: %v", c)
		}
	}
	for _, name := range []string{"event_log", "limits", "master_keys", "read_model"} {
		if !slices.Contains(names, name) {
			t.Errorf("nothing checks %s: %v", name, names)
		}
	}
	projections, _ := a.JSON["projections"].([]any)
	if len(projections) == 0 {
		t.Fatalf("no projections: %s", a.Body)
	}
	for _, v := range projections {
		v, _ := v.(object)
		if position, _ := v["position"].(float64); v["name"] == "" || position < 1 || v["lag_events"].(float64) < 0 || v["status"] == "" {
			t.Errorf("a projection: %v", v)
		}
	}
	// It tells nothing that is of one organization, and asks nobody who he is.
	p.with("nonsense").must(200, "GET", "/readyz", nil)
	admin.must(429, "GET", "/api/admin/me", nil)
}

// TestACallerWhoLeavesIsNotWaitedFor leaves while the read model is waited for. The handler's context is the
// request's own, so the call ends long before the two seconds that it would have waited.
func TestACallerWhoLeavesIsNotWaitedFor(t *testing.T) {
	p := start(t, unlimited...)
	p.admin().must(200, "GET", "/api/admin/agents", nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = conn.Write([]byte(head("GET", "/api/admin/requests", p.Token) + "X-Wait-For-Position: " + strconv.Itoa(1<<40) + "\r\n\r\n"))
	if err == nil {
		err = conn.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var took time.Duration
	eventually(t, "over", func() bool {
		for line := range strings.SplitSeq(p.stderr.String(), "\n") {
			var record struct {
				Route    string
				Duration time.Duration
			}
			if json.Unmarshal([]byte(line), &record) == nil && record.Route == "/api/admin/requests" {
				took = record.Duration
				return true
			}
		}
		return false
	})
	if took > 1900*time.Millisecond {
		t.Errorf("the call went on for %s, %s after its caller left", took, time.Since(began))
	}
}
