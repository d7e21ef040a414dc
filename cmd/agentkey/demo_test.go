package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var demoFetches = regexp.MustCompile(`curl http://[^/]+(/api/tools/\S+/credentials) -H 'Authorization: Bearer \S+'`)

var demoKey = regexp.MustCompile(`/credentials -H 'Authorization: Bearer (\S+)'`)

// TestADemoHasAMonthBehindIt makes a demo, looks at what it shows, and serves its folder once more.
func TestADemoHasAMonthBehindIt(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	p := &program{
		t: t, Dir: dir, env: []string{"AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_DASHBOARD_DIR=" + exampleDashboard},
		args:       []string{"demo", "--data", dir},
		unverified: true, // until its folder is served
	}
	t.Cleanup(p.stop)
	began := time.Now()
	p.run()
	t.Logf("it was ready after %s", time.Since(began))

	admin := p.admin()
	meta := admin.must(200, "GET", "/api/admin/meta", nil)
	if meta.At("demo") != true || meta.Header.Get("X-Agentkey-Demo") != "true" {
		t.Errorf("meta doesn't say that it is a demo: %s", meta.Body)
	}
	for _, path := range []string{"/", "/healthz", "/readyz"} {
		if a := p.anyone().must(200, "GET", path, nil, "Accept", "application/json"); a.At("demo") != true {
			t.Errorf("%s doesn't say that it is a demo: %s", path, a.Body)
		}
	}
	refused := p.anyone().refused(401, "credentials_missing", "GET", "/api/tools", nil)
	if refused.Header.Get("X-Agentkey-Demo") != "true" {
		t.Errorf("a refusal doesn't say that it is a demo: %v", refused.Header)
	}

	summary := admin.must(200, "GET", "/api/admin/summary", nil)
	for path, least := range map[string]float64{
		"agents.total": 49, "agents.suspended": 2, "tools.total": 41, "grants.approved": 100, "grants.expiring": 1,
		"pending.requests": 3, "pending.suggestions": 2, "pending.notes": 1,
	} {
		if n, _ := summary.At(path).(float64); n < least {
			t.Errorf("%s is %v, less than %v: %s", path, n, least, summary.Body)
		}
	}
	days := 0
	from := began.UTC().AddDate(0, 0, -demoDays).Format(time.RFC3339)
	usage := admin.must(200, "GET", "/api/admin/usage?from="+from, nil)
	buckets, _ := usage.At("buckets").([]any)
	for _, b := range buckets {
		if n, _ := b.(map[string]any)["vended"].(float64); n > 0 {
			days++
		}
	}
	if n, _ := usage.At("totals.vended").(float64); days < demoDays || n < 1500 {
		t.Errorf("%v fetches on %d days: %s", n, days, usage.Body)
	}
	for action, least := range map[string]int{
		"tool.frozen": 1, "tool.unfrozen": 1, "grant.expired": 1, "agent.suspended": 2, "credential.refused": 1,
		"suggestion.accepted": 1, "grant.denied": 1,
	} {
		if n := len(admin.must(200, "GET", "/api/admin/audit?action="+action, nil).Items()); n < least {
			t.Errorf("the audit has %d of %s", n, action)
		}
	}

	looksLikeAMonth(t, p)

	path, key := p.await(p.stdout, demoFetches), p.await(p.stdout, demoKey)
	p.with(key).must(200, "GET", path, nil)

	for _, args := range [][]string{{"demo", "--data", dir}, {"serve"}} {
		p.stop()
		p.args = args
		if args[0] == "serve" {
			p.env, p.unverified = append(p.env, "AGENTKEY_DATA_DIR="+dir), false
		}
		p.run()
		p.with(key).must(200, "GET", path, nil)
		if p.anyone().must(200, "GET", "/healthz", nil).At("demo") != true {
			t.Errorf("agentkey %s on its folder doesn't say that it is a demo", args[0])
		}
	}
}

// TestADemoTouchesNothingReal starts demos that are refused, and looks at what they left.
func TestADemoTouchesNothingReal(t *testing.T) {
	t.Parallel()
	real, unfinished := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(real, "events.db"): "x", filepath.Join(unfinished, demoFile): "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	fresh := filepath.Join(t.TempDir(), "fresh")
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		says []string
	}{
		{
			"settings of production",
			[]string{
				"AGENTKEY_DATABASE_URL=postgres://db/x", "AGENTKEY_SMTP_URL_FILE=/x", "OTEL_EXPORTER_OTLP_ENDPOINT=http://x",
			},
			[]string{"--data", fresh},
			exitUsage,
			[]string{"AGENTKEY_DATABASE_URL, AGENTKEY_SMTP_URL_FILE, OTEL_EXPORTER_OTLP_ENDPOINT", "--data"},
		},
		{
			"a data folder by its setting",
			[]string{"AGENTKEY_DATA_DIR=" + real},
			nil, exitUsage,
			[]string{"AGENTKEY_DATA_DIR"},
		},
		{"a configuration file", nil, []string{"--config", "x.yaml"}, exitUsage, []string{"AGENTKEY_CONFIG"}},
		{"a folder without a demo", nil, []string{"--data", real}, exitUsage, []string{real, "holds no demo"}},
		{"a demo that was broken off", nil, []string{"--data", unfinished}, exitFault, []string{unfinished, "not finished"}},
		{"an unknown flag", nil, []string{"--days", "3"}, exitUsage, []string{"--days"}},
		{
			"an address that is taken",
			[]string{"AGENTKEY_LISTEN=" + taken.Addr().String()},
			[]string{"--data", fresh},
			exitFault,
			[]string{"AGENTKEY_LISTEN"},
		},
	} {
		code, stdout, stderr := runCommand(t, c.env, append([]string{"demo"}, c.args...)...)
		if code != c.code || strings.Contains(stdout, "Making") {
			t.Errorf("%s: exit %d: %s%s", c.name, code, stdout, stderr)
		}
		for _, text := range c.says {
			if !strings.Contains(stderr, text) {
				t.Errorf("%s: %q doesn't say %s", c.name, stderr, text)
			}
		}
	}
	if _, err := os.Stat(fresh); !os.IsNotExist(err) {
		t.Errorf("a demo that was refused made its folder: %v", err)
	}
	if left, err := os.ReadDir(real); err != nil || len(left) != 1 {
		t.Errorf("a folder without a demo has %v, %v", left, err)
	}
}
