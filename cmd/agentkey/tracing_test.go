package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is an OTLP receiver of traces over HTTP.
type receiver struct {
	t     *testing.T
	URL   string
	mu    sync.Mutex
	raw   []byte
	spans []*otlp.Span
	who   []*common.KeyValue
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var sent collector.ExportTraceServiceRequest
	if err != nil || request.URL.Path != "/v1/traces" || proto.Unmarshal(body, &sent) != nil {
		r.t.Errorf("the receiver got %s with %d bytes: %v", request.URL.Path, len(body), err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw = append(r.raw, body...)
	for _, resource := range sent.GetResourceSpans() {
		r.who = resource.GetResource().GetAttributes()
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
}

// trace returns the spans of one trace by their names.
func (r *receiver) trace(id string) map[string][]*otlp.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string][]*otlp.Span{}
	for _, s := range r.spans {
		if hex.EncodeToString(s.GetTraceId()) == id {
			out[s.GetName()] = append(out[s.GetName()], s)
		}
	}
	return out
}

func attributeOf(attributes []*common.KeyValue, key string) any {
	for _, a := range attributes {
		if a.GetKey() != key {
			continue
		}
		if n, is := a.GetValue().GetValue().(*common.AnyValue_IntValue); is {
			return n.IntValue
		}
		return a.GetValue().GetStringValue()
	}
	return nil
}

const (
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	parentID = "b7ad6b7169203331"
)

// TestAFetchIsOneTraceThatTellsNothing fetches below a span of the agent's own, and stops:
// everything was sent by then.
func TestAFetchIsOneTraceThatTellsNothing(t *testing.T) {
	// Not parallel: what fails is told to one handler of the process.
	const canary, person, program = "canary-credential-91ab", "canary-owner@example.com", "canary-agent/1.0"
	r := startReceiver(t)
	p := start(t, append(unlimited, "OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL+"/")...)
	tool := p.admin().mustTool("Canary-Tool", canary)
	a := p.admin().must(201, "POST", "/api/admin/agents", object{"name": "Canary-Agent", "owner": person})
	id, key := a.Text("agent.id"), a.Text("api_key")
	p.admin().mustAssign(id, tool)
	agent := p.with(key)
	agent.http.Transport = userAgent(program, agent.http.Transport)
	if a := agent.must(200, "GET", "/api/tools/"+tool+"/credentials", nil, "traceparent", "00-"+traceID+"-"+parentID+"-01",
		"tracestate", "canary=state"); a.Text("credential") != canary {
		t.Fatalf("the fetch: %s", a.Body)
	}
	agent.refused(
		400, "validation_failed", "GET", "/api/tools/"+id+"/credentials?canary=query", nil, "traceparent", "nonsense",
	)
	p.with(key+"x").refused(401, "credentials_malformed", "GET", "/api/me", nil)
	p.anyone().call("GET", "/canary-path", nil)
	p.admin().must(200, "GET", "/api/admin/agents", nil)
	p.stop()

	const root = "GET /api/tools/:id/credentials"
	spans := r.trace(traceID)
	ids := map[string]string{}
	for name, of := range spans {
		for _, s := range of {
			ids[string(s.GetSpanId())] = name
		}
	}
	for name, parent := range map[string]string{
		root: "", "authenticate agent": root, "command agent": root, "append agent": "command agent",
		"refresh catalog": root, "read catalog": "refresh catalog",
		"open credential": root,
	} {
		of := spans[name]
		if len(of) == 0 {
			t.Errorf("%s is not a step: %v", name, ids)
			continue
		}
		if above := of[0].GetParentSpanId(); ids[string(above)] != parent ||
			parent == "" && hex.EncodeToString(above) != parentID {
			t.Errorf("%s stands below %q (%x)", name, ids[string(above)], above)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	for key, want := range map[string]any{
		"http.request.method": "GET", "http.route": "/api/tools/:id/credentials",
		"http.response.status_code": int64(200), "url.scheme": "http",
		"network.protocol.version": "1.1",
	} {
		if got := attributeOf(spans[root][0].GetAttributes(), key); got != want {
			t.Errorf("%s is %v", key, got)
		}
	}
	appended := spans["append agent"][0]
	if appended.GetKind() != otlp.Span_SPAN_KIND_CLIENT ||
		attributeOf(appended.GetAttributes(), "db.operation.name") != "append" ||
		attributeOf(appended.GetAttributes(), "db.collection.name") != "agent" ||
		attributeOf(r.who, "service.name") != "agentkey" {
		t.Errorf("the append is %v of %v", appended, r.who)
	}
	names := func(name string) bool {
		return slices.ContainsFunc(r.spans, func(s *otlp.Span) bool { return s.GetName() == name })
	}
	for name, want := range map[string]bool{
		"apply read_model": true, "POST /api/admin/agents": true, "GET": true, "GET /api/me": true,
		"GET /readyz": false, "GET /healthz": false,
	} {
		if names(name) != want {
			t.Errorf("that there is a span %s is %v", name, !want)
		}
	}
	for what, value := range map[string]string{
		"credential, a header, a query or a path": "canary", "tool's name": "Canary-Tool",
		"agent's name": "Canary-Agent", "agent key": key[len("sk_agent_"):], "admin token": p.Token, "agent": id,
		"tool": tool, "address": "127.0.0.1",
	} {
		if bytes.Contains(r.raw, []byte(value)) {
			t.Errorf("the %s %q is in the traces", what, value)
		}
	}
	if !strings.Contains(p.stderr.String(), `"trace_id":"`+traceID+`"`) {
		t.Error("the record of the fetch does not name its trace")
	}
}

// TestAReceiverOfTracesThatIsGoneStopsNothing names one that nobody serves, and one that never
// answers.
func TestAReceiverOfTracesThatIsGoneStopsNothing(t *testing.T) {
	// Not parallel: what fails is told to one handler of the process.
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hangs.Close()
	defer close(release)
	for _, url := range []string{"http://user:canary@127.0.0.1:1/v1/traces", hangs.URL} {
		p := start(t, append(unlimited, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+url)...)
		tool := p.admin().mustTool("GitHub", "ghp_secret")
		id, key := p.admin().mustAgent("Onboarding")
		p.admin().mustAssign(id, tool)
		if a := p.with(key).fetch(tool); a.Text("credential") != "ghp_secret" {
			t.Errorf("the fetch: %s", a.Body)
		}
		p.stop() // while the receiver still says nothing
		if text := p.stderr.String(); !strings.Contains(text, "traces") || strings.Contains(text, "canary") {
			t.Errorf("it is not told, or with its password:\n%s", text)
		}
	}
}

func TestNothingIsTracedUnlessItIsAskedFor(t *testing.T) {
	t.Parallel()
	for want, env := range map[string][]string{
		"":                        {"OTEL_SERVICE_NAME=x", "OTEL_EXPORTER_OTLP_HEADERS=a=b"},
		"http://a:4318/v1/traces": {"OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4318"},
		"http://b/x": {
			"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://b/x", "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4318",
		},
	} {
		c, err := LoadConfig(env)
		if err != nil || c.TracesURL != want {
			t.Errorf("%v: %q %v", env, c.TracesURL, err)
		}
		if c, err = LoadConfig(append(env, "OTEL_SDK_DISABLED=true")); err != nil || c.TracesURL != "" {
			t.Errorf("%v, but disabled: %q %v", env, c.TracesURL, err)
		}
	}
	_, err := LoadConfig([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317"})
	if err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_ENDPOINT: it must begin with http://") {
		t.Errorf("of an address without a scheme: %v", err)
	}
}
