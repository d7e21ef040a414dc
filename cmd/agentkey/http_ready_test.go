package main

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

const securityPath = "/.well-known/security.txt"

// TestAnyoneLearnsWhereToReportAVulnerability reads the file as RFC 9116 defines it.
func TestAnyoneLearnsWhereToReportAVulnerability(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_SECURITY_CONTACT=security@example.com, https://example.com/report?a=b")
	now := time.Now()
	a := p.anyone().must(200, "GET", securityPath, nil)
	contacts, expires, found := strings.Cut(string(a.Body), "Expires: ")
	if !found || contacts != "Contact: mailto:security@example.com\nContact: https://example.com/report?a=b\n" ||
		a.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%v %s", a.Header, a.Body)
	}
	until, err := time.Parse(time.RFC3339+"\n", expires)
	if left := until.Sub(now); err != nil || left <= 29*24*time.Hour || left > 30*24*time.Hour {
		t.Errorf("it expires %q: %v", expires, err)
	}
}

func TestAnybodyMayAskHowItIs(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_PREAUTH=1/24h")
	admin := p.admin()
	p.with("sk_agent_x").must(401, "GET", "/api/me", nil)
	p.with("sk_agent_x").must(429, "GET", "/api/me", nil) // this address is refused everywhere else
	if a := p.anyone().must(200, "GET", "/healthz", nil); strings.TrimSpace(string(a.Body)) != `{"status":"alive"}` {
		t.Errorf("health: %s", a.Body)
	}
	if a := p.anyone().refused(404, "not_found", "GET", securityPath, nil); !strings.Contains(
		a.Text("hint"), "AGENTKEY_SECURITY_CONTACT",
	) {
		t.Errorf("without a contact: %s", a.Body)
	}
	a := p.anyone().must(200, "GET", "/readyz", nil)
	if a.Text("status") != "ready" || len(a.JSON) != 5 {
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
	for _, name := range []string{"clock", "event_log", "ledger", "limits", "log_integrity", "master_keys", "read_model"} {
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
		if position, _ := v["position"].(float64); v["name"] == "" || position < 1 ||
			v["lag_seconds"].(float64) < 0 || v["distance"].(float64) < 0 || v["status"] == "" {
			t.Errorf("a projection: %v", v)
		}
	}
	// It shows nothing of an organization and needs no key.
	p.with("nonsense").must(200, "GET", "/readyz", nil)
	admin.must(200, "GET", "/api/admin/me", nil) // a valid key never waits for others' failures
}

// becomes waits until a look that begins from now on has a status and says all of the texts.
func (p *program) becomes(status int, says ...string) {
	p.t.Helper()
	began := time.Now()
	wait.Until(p.t, fmt.Sprint("readiness is ", status, " ", says), func() bool {
		if time.Since(began) < lookEvery {
			return false
		}
		a := p.anyone().call("GET", "/readyz", nil)
		return a.Status == status && !slices.ContainsFunc(says, func(text string) bool {
			return !strings.Contains(string(a.Body), text)
		})
	})
}

// TestReadinessIsLookedAtOnceASecond lets many ask a log that counts what it is asked.
func TestReadinessIsLookedAtOnceASecond(t *testing.T) {
	t.Parallel()
	p := start(t)
	began, asked, seen := time.Now(), 0, map[string]bool{}
	var mu sync.Mutex
	wait.Until(t, "they asked for two seconds", func() bool {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				a := p.anyone().must(200, "GET", "/readyz", nil)
				mu.Lock()
				defer mu.Unlock()
				asked++
				// Another look sees another place of a log that grows.
				seen[string(a.Body)] = true
			})
		}
		all.Wait()
		p.admin().mustTool(fmt.Sprint("Tool ", asked), "ghp_secret")
		return time.Since(began) > 2*lookEvery
	})
	if most := int(time.Since(began)/lookEvery) + 2; len(seen) > most {
		t.Errorf("%d asked and made it look %d times, more than %d", asked, len(seen), most)
	}
	if len(seen) < 2 {
		t.Error("it never looked again")
	}
}

// TestOnlyThisMachineAndAdminsLearnHowItIs asks as a proxy does, a trusted one and another.
func TestOnlyThisMachineAndAdminsLearnHowItIs(t *testing.T) {
	t.Parallel()
	trusting, plain := start(t, "AGENTKEY_TRUSTED_PROXIES=127.0.0.1/32"), start(t, "AGENTKEY_LIMIT_PREAUTH=2/24h")
	_, agent := trusting.admin().mustAgent("Onboarding")
	organization := trusting.admin().must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	auditor := trusting.shell("token", "create", "--organization", organization, "--name", "audit", "--role", "auditor")
	const far = "203.0.113.7"
	for _, tt := range []struct {
		by     client
		sends  []string
		learns bool
	}{
		{trusting.anyone(), nil, true},
		{trusting.anyone(), []string{"X-Forwarded-For", "127.0.0.1"}, true},
		{trusting.anyone(), []string{"X-Forwarded-For", far}, false},
		{trusting.anyone(), []string{"X-Forwarded-For", "127.0.0.1, " + far}, false},
		{trusting.anyone(), []string{"X-Forwarded-For", far + ", 127.0.0.1"}, false},
		{trusting.anyone(), []string{"X-Forwarded-For", "unknown"}, false},
		{trusting.anyone(), []string{"Forwarded", "for=" + far}, false},
		{trusting.with(agent), []string{"X-Forwarded-For", far}, false},
		{trusting.with("nonsense"), []string{"X-Forwarded-For", far}, false},
		{trusting.with(auditor), []string{"X-Forwarded-For", far}, true},
		{trusting.admin(), []string{"X-Forwarded-For", far}, true},
		{plain.anyone(), nil, true},
		{plain.anyone(), []string{"X-Forwarded-For", "127.0.0.1"}, false}, // that proxy isn't trusted
		{plain.anyone(), []string{"Via", "1.1 somewhere"}, false},
		{plain.admin(), []string{"X-Forwarded-For", far}, true},
	} {
		a := tt.by.must(200, "GET", "/readyz", nil, tt.sends...)
		if a.Text("status") != "ready" || len(a.JSON) != 1 && !tt.learns || len(a.JSON) != 5 && tt.learns {
			t.Errorf("%q with %q: %s", tt.sends, tt.by.key, a.Body)
		}
	}
	for range 3 { // a failure counts here too, and the status is answered all the same
		wrong := strings.Replace(plain.Token, "sk_", "sk_x", 1)
		plain.with(wrong).must(200, "GET", "/readyz", nil, "Via", "1.1 somewhere")
	}
	plain.with("sk_agent_x").must(429, "GET", "/api/me", nil)
}

// startOnClock runs the program on a log whose clock is ahead of ours as far as the test says.
func startOnClock(t *testing.T) (*program, *atomic.Int64) {
	t.Helper()
	off := &atomic.Int64{}
	log := eventstoretest.StartWith(
		t, embedded.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(off.Load())) }},
	)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = log.Store.Serve(listener, embedded.ServeOptions{}) }() // it ends with the store
	return start(t, (&logServer{t: t}).replicasAt(listener.Addr().String())...), off
}

// TestAClockThatIsOffIsFoundByTheFirstEvent lets the log's clock be ahead, right, and behind.
func TestAClockThatIsOffIsFoundByTheFirstEvent(t *testing.T) {
	t.Parallel()
	p, off := startOnClock(t)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, key := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	for _, c := range []struct {
		off    time.Duration
		status int
		says   string
	}{
		{0, 200, `"ready"`},
		{1500 * time.Millisecond, 200, `"ready"`},
		{3 * time.Second, 503, "behind the log's"},
		{0, 200, `"ready"`},
		{-1500 * time.Millisecond, 200, `"ready"`},
		{-3 * time.Second, 503, "ahead of the log's"},
		{0, 200, `"ready"`},
	} {
		off.Store(int64(c.off))
		if a := p.with(key).fetch(tool); a.Status != 200 {
			t.Fatalf("the log is %s off: %s", c.off, a.Body)
		}
		p.becomes(c.status, c.says)
	}
}

// TestACallerThatLeavesIsNotWaitedFor leaves while the read model is waited for. The handler's
// context is the request's own, so the call takes a fraction of what it takes with a caller who
// stays for the two seconds. A machine that stalls may spoil a try, and never makes one succeed.
func TestACallerThatLeavesIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	const list = "/api/admin/requests"
	p.admin().must(200, "GET", list, nil)
	ask := head("GET", list, p.Token) + "X-Wait-For-Position: " + strconv.Itoa(1<<40) + "\r\n\r\n"
	// took is how long a call took, as the program says when it is over.
	took := func(call func()) time.Duration {
		t.Helper()
		before := len(p.durations(list))
		call()
		wait.Until(t, "the call is over", func() bool { return len(p.durations(list)) > before })
		return p.durations(list)[before]
	}
	stayed := took(func() { p.raw(1, ask, false) })
	for range 10 {
		left := took(func() {
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
			if err == nil {
				_, err = conn.Write([]byte(ask))
			}
			if err == nil {
				err = conn.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		if left < stayed/2 {
			return
		}
		t.Logf("a call whose caller left took %s, one whose caller stayed %s", left, stayed)
	}
	t.Error("the calls went on after their callers had left")
}

// durations is how long the calls of a route took, as far as they are over.
func (p *program) durations(route string) []time.Duration {
	var out []time.Duration
	for line := range strings.SplitSeq(p.stderr.String(), "\n") {
		var record struct{ Route, Duration string }
		if json.Unmarshal([]byte(line), &record) != nil || record.Route != route {
			continue
		}
		if took, err := time.ParseDuration(record.Duration); err == nil {
			out = append(out, took)
		}
	}
	return out
}
