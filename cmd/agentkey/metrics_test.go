package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"agentkey/commands/loop"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest/wait"
)

var metricsAt = regexp.MustCompile(`The metrics are on (\S+)`)

const scraped = "AGENTKEY_METRICS_LISTEN=127.0.0.1:0"

// scrape returns what Prometheus gets, and its samples by name and labels as they stand there.
func (p *program) scrape() (string, map[string]float64) {
	p.t.Helper()
	response, err := http.Get(p.await(p.stdout, metricsAt))
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		p.t.Fatalf("the scrape got %d: %s %v", response.StatusCode, text, err)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			p.t.Fatalf("no sample: %q", line)
		}
		samples[line[:at]] = value
	}
	return string(text), samples
}

// shows waits until samples have values. Below 0 is any value above 0.
func (p *program) shows(want map[string]float64) {
	p.t.Helper()
	for name, value := range want {
		var got float64
		var found bool
		wait.Until(p.t, fmt.Sprintf("%v: %s", value, name), func() bool {
			_, samples := p.scrape()
			got, found = samples[name]
			return found && (got == value || value < 0 && got > 0)
		})
	}
}

func TestMetricsCountEventsAndNameNoOne(t *testing.T) {
	t.Parallel()
	const canary = "canary-credential-3d7e"
	p := start(t, append(unlimited, scraped)...)
	admin := p.admin()
	tool, other := admin.mustTool("GitHub", canary), admin.mustTool("Linear", canary)
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	agent := p.with(key)
	for range 3 {
		if a := agent.fetch(tool); a.Text("credential") != canary {
			t.Fatalf("the fetch: %s", a.Body)
		}
	}
	agent.refused(403, "access_not_approved", "GET", "/api/tools/"+other+"/credentials", nil)
	p.with(key+"x").refused(401, "credentials_malformed", "GET", "/api/tools/"+tool+"/credentials", nil)
	admin.must(204, "DELETE", "/api/admin/tools/"+tool, nil)

	const route = `method="GET",route="/api/tools/:id/credentials"`
	p.shows(map[string]float64{
		`agentkey_fetches_total{outcome="vended"}`:                                           3,
		`agentkey_fetches_total{outcome="access_not_approved"}`:                              1,
		`agentkey_fetches_total{outcome="credentials_malformed"}`:                            1,
		`agentkey_http_requests_total{` + route + `,status="200"}`:                           3,
		`agentkey_http_requests_total{` + route + `,status="403"}`:                           1,
		`agentkey_http_requests_total{method="POST",route="/api/admin/agents",status="201"}`: 1,
		`agentkey_http_request_duration_seconds_count{` + route + `}`:                        5,
		`agentkey_http_request_duration_seconds_sum{` + route + `}`:                          -1,
		// registered, assigned, three vends, revoked
		`agentkey_append_duration_seconds_count{category="agent"}`:            6,
		`agentkey_append_duration_seconds_sum{category="agent"}`:              -1,
		`agentkey_append_duration_seconds_count{category="catalog"}`:          3,
		`agentkey_append_duration_seconds_count{category="refusals"}`:         1,
		`agentkey_append_commands_count`:                                      -1,
		`agentkey_append_errors_total{category="agent",reason="conflict"}`:    0,
		`agentkey_append_errors_total{category="agent",reason="unavailable"}`: 0,
		`agentkey_append_errors_total{category="catalog",reason="other"}`:     0,
		`agentkey_projection_lag_seconds{projection="read_model"}`:            0,
		`agentkey_projection_up{projection="read_model"}`:                     1,
		`agentkey_projection_up{projection="ledger"}`:                         1,
		`agentkey_ledger_conflicts`:                                           0,
		`agentkey_limiter_alone`:                                              0,
		`agentkey_event_log_up`:                                               1,
		`agentkey_ready`:                                                      1,
		`agentkey_log_integrity_findings`:                                     0,
		`agentkey_reactions_total{reaction="removed_tools"}`:                  1,
		`agentkey_reactions_total{reaction="ended_secrets"}`:                  0,
		`agentkey_data_folder_free_bytes`:                                     -1,
		`agentkey_data_folder_size_bytes`:                                     -1,
		`go_goroutines`:                                                       -1,
		`process_resident_memory_bytes`:                                       -1,
	})
	text, samples := p.scrape()
	if samples["agentkey_data_folder_free_bytes"] > samples["agentkey_data_folder_size_bytes"] {
		t.Error("more is free than there is")
	}
	for what, value := range map[string]string{
		"credential": canary, "agent": id, "agent's name": "Onboarding", "tool": tool, "tool's name": "GitHub",
		"other tool": other, "agent key": key, "admin token": p.Token,
		"organization": admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id"),
	} {
		if value == "" || strings.Contains(text, value) {
			t.Errorf("the %s %q is in the metrics", what, value)
		}
	}
}

// TestNoCallerMakesNewSeries sends what a client may make up at will.
func TestNoCallerMakesNewSeries(t *testing.T) {
	t.Parallel()
	p := start(t, append(unlimited, scraped)...)
	for i := range 20 {
		for _, path := range []string{fmt.Sprintf("/nowhere-%d", i), fmt.Sprintf("/api/tools/%d/credentials", i)} {
			request, err := http.NewRequest(fmt.Sprintf("BREW%d", i), p.URL+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
		}
		p.anyone().call("GET", fmt.Sprintf("/nowhere-%d", i), nil)
	}
	p.shows(map[string]float64{
		`agentkey_http_requests_total{method="GET",route="unknown",status="404"}`:      20,
		`agentkey_http_request_duration_seconds_count{method="other",route="unknown"}`: 40,
	})
	text, _ := p.scrape()
	if strings.Contains(text, "nowhere") || strings.Contains(text, "BREW") {
		t.Error("a path or a method of a client's own is a label")
	}
}

// TestMetricsGoOnWithoutTheLog stops the event log: the scrape is answered and says so.
func TestMetricsGoOnWithoutTheLog(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "it stops the log")
	p := start(t, append(log.replicas(), scraped)...)
	log.stop()
	p.admin().refused(503, "event_log_unavailable", "POST", "/api/admin/agents", object{"name": "Another"})
	_, samples := p.scrape()
	if _, guessed := samples[`agentkey_projection_lag_seconds{projection="read_model"}`]; guessed {
		t.Error("it tells how far the projection is behind an end that it can't know")
	}
	p.shows(map[string]float64{
		"agentkey_event_log_up": 0, "agentkey_ready": 0, `agentkey_projection_up{projection="read_model"}`: 0,
		"agentkey_data_folder_free_bytes": -1,
		`agentkey_http_requests_total{method="POST",route="/api/admin/agents",status="503"}`: 1,
	})
	log.start()
	p.shows(
		map[string]float64{
			"agentkey_event_log_up": 1, "agentkey_ready": 1, `agentkey_projection_up{projection="read_model"}`: 1,
		},
	)
}

// TestMetricsTellThatTheLimiterIsAlone names a Redis that nobody serves.
func TestMetricsTellThatTheLimiterIsAlone(t *testing.T) {
	t.Parallel()
	p := start(t, scraped, "AGENTKEY_REDIS_URL=redis://127.0.0.1:1")
	p.admin().must(200, "GET", "/api/admin/me", nil)
	p.shows(map[string]float64{"agentkey_limiter_alone": 1, "agentkey_ready": 0.5})
}

func TestFailedAppendsAreCountedByWhatTheLogSaid(t *testing.T) {
	t.Parallel()
	m := newMetrics(nil, "")
	only := prometheus.NewRegistry()
	only.MustRegister(m.appendCommands, m.appendErrors)
	for reason, said := range map[string]error{
		"conflict": eventstore.ErrWrongRevision, "unavailable": eventstore.ErrUnavailable, "other": io.ErrUnexpectedEOF,
	} {
		m.appended(
			loop.Appending{
				Category: "agent of " + reason, Commands: 1, Took: time.Millisecond,
				Err: fmt.Errorf("append: %w", said),
			},
		)
	}
	m.appended(loop.Appending{Category: "agent", Commands: 7, Took: time.Millisecond})
	families, err := only.Gather()
	if err != nil || len(families) != 2 || len(families[1].GetMetric()) != 3 {
		t.Fatalf("%v: %v", families, err)
	}
	if h := families[0].GetMetric()[0].GetHistogram(); h.GetSampleCount() != 1 || h.GetSampleSum() != 7 {
		t.Errorf("one append of seven commands is %v", h)
	}
	for _, metric := range families[1].GetMetric() {
		category, reason := metric.GetLabel()[0].GetValue(), metric.GetLabel()[1].GetValue()
		if category != "agent of "+reason || metric.GetCounter().GetValue() != 1 {
			t.Errorf("%v", metric)
		}
	}
}

func TestMetricsStopWithTheProgram(t *testing.T) {
	t.Parallel()
	p := start(t, scraped)
	url := p.await(p.stdout, metricsAt)
	p.scrape()
	for path, status := range map[string]int{"/": 404, "/api/admin/me": 404} {
		response, err := http.Get(strings.TrimSuffix(url, "/metrics") + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%s is answered with %d beside the metrics", path, response.StatusCode)
		}
	}
	if a := p.anyone().call("GET", "/metrics", nil); a.Status != 404 {
		t.Errorf("the API's own address answers /metrics with %d", a.Status)
	}
	p.stop()
	if response, err := http.Get(url); err == nil {
		_ = response.Body.Close()
		t.Error("metrics are served by a program that ended")
	}
	if text := p.stderr.String(); strings.Contains(text, "metrics ended") {
		t.Errorf("the end is a fault: %s", text)
	}
}

func TestAnInvalidOrTakenMetricsAddressIsNamed(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, exit := range map[string]int{
		"9090": exitUsage, "localhost": exitUsage, taken.Addr().String(): exitFault,
	} {
		env := []string{
			"AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_DATA_DIR=" + t.TempDir(), "AGENTKEY_METRICS_LISTEN=" + address,
		}
		code, stdout, stderr := runCommand(t, env, "serve")
		if code != exit || !strings.Contains(stderr, "AGENTKEY_METRICS_LISTEN") ||
			strings.Contains(stdout, "listens on") {
			t.Errorf("%s: exit %d: %s", address, code, stderr)
		}
	}
}
