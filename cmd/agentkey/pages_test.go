package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const html = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"

// TestTheFirstPageSaysWhatRuns asks / as a browser and as a program, before and after a dashboard
// and an identity provider are there.
func TestTheFirstPageSaysWhatRuns(t *testing.T) {
	t.Parallel()
	p := start(t)
	a := p.anyone().must(200, "GET", "/", nil)
	if a.Text("name") != "AgentKey" || a.Text("status") != "ready" || a.Text("version") == "" ||
		a.Text("reference") != "/docs" || a.At("sign_in") != nil || !slices.Contains(a.Header.Values("Vary"), "Accept") {
		t.Errorf("a program gets %s with %v", a.Body, a.Header)
	}
	p.anyone().must(200, "GET", a.Text("document"), nil)
	stranger := p.anyone().must(200, "GET", "/", nil, "X-Forwarded-For", "192.0.2.1")
	if stranger.At("version") != nil {
		t.Errorf("a stranger gets %s", stranger.Body)
	}
	a = p.anyone().must(200, "GET", "/", nil, "Accept", html)
	for _, want := range []string{"AgentKey is running", "Ready.", "/docs", "No dashboard is installed", "Version"} {
		if !strings.Contains(string(a.Body), want) {
			t.Errorf("the page lacks %q: %s", want, a.Body)
		}
	}
	if policy := a.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("the policy of / is %q", policy)
	}
	p.anyone().must(405, "POST", "/", object{})

	dir := t.TempDir()
	put(t, dir, "index.html", "<title>A dashboard</title>")
	with := start(t, "AGENTKEY_DASHBOARD_DIR="+dir)
	if a := with.anyone().must(200, "GET", "/", nil, "Accept", html); !strings.Contains(string(a.Body), "A dashboard") {
		t.Errorf("with a dashboard: %s", a.Body)
	}
	if a := with.anyone().must(200, "GET", "/", nil, "Accept", "application/json"); a.Text("name") != "AgentKey" {
		t.Errorf("a program gets %s", a.Body)
	}
}

// put writes a file into a folder.
func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTheReferencePageAsksNobodyElse opens it in a browser that records each request. So that the
// record is known to be whole, it first opens a page that does ask somebody else.
func TestTheReferencePageAsksNobodyElse(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<script>fetch("` + other.URL + `/telemetry")</script>`))
	}))
	defer bad.Close()
	if _, asked := browse(t, bad.URL+"/"); !slices.Contains(asked, other.URL+"/telemetry") {
		t.Fatalf("the record lacks a request: %q", asked)
	}
	p := start(t)
	dom, asked := browse(t, p.URL+"/docs")
	for _, want := range []string{"Read your own writes", `data-path="/api/tools"`, `data-path="/api/admin/agents"`} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, want := range []string{"/docs/swagger-ui-bundle.js", "/openapi.json"} {
		if !slices.Contains(asked, p.URL+want) {
			t.Errorf("the page didn't ask for %s: %q", want, asked)
		}
	}
	for _, to := range asked {
		if !strings.HasPrefix(to, p.URL+"/") && !strings.HasPrefix(to, "data:") && !strings.HasPrefix(to, "blob:"+p.URL) {
			t.Errorf("the page asked %s", to)
		}
	}
	for _, name := range []string{"nothing.js", "", "page.css/", "../api/pages/front.html", "reference.js.gz"} {
		p.anyone().must(404, "GET", "/docs/"+name, nil)
	}
}

// browse opens a page in a browser and returns its document once its scripts have run, and the URLs
// that it asked for.
func browse(t *testing.T, url string) (dom string, asked []string) {
	t.Helper()
	record := filepath.Join(t.TempDir(), "requests.json")
	out, err := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=20000", "--timeout=60000", "--log-net-log="+record,
		"--dump-dom", url).Output()
	if err != nil {
		t.Fatalf("the browser: %v", err)
	}
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	var log struct {
		Events []struct {
			Params struct {
				URL       string `json:"url"`
				Initiator string `json:"initiator"`
			} `json:"params"`
		} `json:"events"`
	}
	if err := json.Unmarshal(text, &log); err != nil {
		t.Fatalf("the record of the browser: %v", err)
	}
	for _, event := range log.Events { // what the browser asks for itself has another initiator, or none
		if event.Params.URL != "" && strings.HasPrefix(url, event.Params.Initiator+"/") {
			asked = append(asked, event.Params.URL)
		}
	}
	return string(out), asked
}
