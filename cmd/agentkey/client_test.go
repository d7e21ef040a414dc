package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// client calls the API with one key. Every answer is validated against the OpenAPI document.
type client struct {
	t    testing.TB
	base string
	key  string
	http *http.Client
	seen *atomic.Uint64 // the newest position that this client, or one made from the same program, was told
}

// answer is what came back, read to its end.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
	JSON   map[string]any // nil if the body is not a JSON object
}

// Code is the code of a problem document, "" on success.
func (a answer) Code() string { return a.Text("code") }

// Text is one string member, reached by a dotted path.
func (a answer) Text(path string) string {
	text, _ := a.At(path).(string)
	return text
}

// At is one member, reached by a dotted path.
func (a answer) At(path string) any {
	var v any = a.JSON
	for step := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[step]
	}
	return v
}

// Items are the items of a list.
func (a answer) Items() []map[string]any {
	list, _ := a.JSON["items"].([]any)
	if list == nil {
		list, _ = a.JSON["tools"].([]any)
	}
	out := make([]map[string]any, len(list))
	for i := range list {
		out[i], _ = list[i].(map[string]any)
	}
	return out
}

func (p *program) anyone() client {
	return client{
		t: p.t, base: p.URL,
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 2 * time.Second}},
		seen: &p.seen,
	}
}

func (p *program) admin() client { return p.with(p.Token) }

func (p *program) with(key string) client {
	c := p.anyone()
	c.key = key
	return c
}

// call sends body, a string as it is and anything else as JSON. headers are name and value by
// turns. A query waits for what earlier calls have written.
func (c client) call(method, path string, body any, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, body, headers...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try is call for a server that may be gone. It sends a query again, for up to a minute, while the
// read model is behind what this client has written: a busy machine may need longer than one wait.
func (c client) try(method, path string, body any, headers ...string) (answer, error) {
	c.t.Helper()
	waits := method == http.MethodGet && c.seen.Load() > 0 && !slices.Contains(headers, "X-Wait-For-Position")
	for end := time.Now().Add(time.Minute); ; {
		a, err := c.once(method, path, body, headers...)
		if err != nil || !waits || a.Code() != "read_model_behind" || time.Now().After(end) {
			return a, err
		}
	}
}

func (c client) once(method, path string, body any, headers ...string) (answer, error) {
	c.t.Helper()
	var raw io.Reader = http.NoBody
	switch body := body.(type) {
	case nil:
	case string:
		raw = strings.NewReader(body)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		raw = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, c.base+path, raw)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	if position := c.seen.Load(); position > 0 && method == http.MethodGet {
		request.Header.Set("X-Wait-For-Position", strconv.FormatUint(position, 10))
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			request.Header.Del(headers[i])
		}
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	a := answer{Status: response.StatusCode, Header: response.Header}
	if position, err := strconv.ParseUint(a.Header.Get("X-Event-Position"), 10, 64); err == nil {
		c.note(position)
	}
	if method == http.MethodGet && a.Header.Get("Content-Type") == "text/event-stream" { // it has no end
		a.Body, err = bufio.NewReader(response.Body).ReadBytes('\n')
		return a, err
	}
	if a.Body, err = io.ReadAll(response.Body); err != nil {
		return a, err
	}
	if json.Unmarshal(a.Body, &a.JSON) != nil {
		a.JSON = nil
	}
	return a, c.conforms(request, a)
}

func (c client) note(position uint64) {
	for old := c.seen.Load(); position > old && !c.seen.CompareAndSwap(old, position); old = c.seen.Load() {
	}
}

// must is call with the status that must come.
func (c client) must(status int, method, path string, body any, headers ...string) answer {
	c.t.Helper()
	a := c.call(method, path, body, headers...)
	if a.Status != status {
		c.t.Fatalf("%s %s: status %d, not %d: %s", method, path, a.Status, status, a.Body)
	}
	return a
}

// refused is call with the status and the code that must come.
func (c client) refused(status int, code, method, path string, body any, headers ...string) answer {
	c.t.Helper()
	a := c.call(method, path, body, headers...)
	if a.Status != status || a.Code() != code {
		c.t.Errorf(
			"%s %s: status %d and code %q, not %d and %q: %s", method, path, a.Status, a.Code(), status, code, a.Body,
		)
	}
	return a
}

type object = map[string]any

// mustTool adds a tool with a shared credential and returns its id.
func (c client) mustTool(name, credential string) string {
	c.t.Helper()
	return c.must(201, "POST", "/api/admin/tools", object{
		"name": name, "auth_type": "api_key", "credential_mode": "shared", "credential": credential,
	}).Text("id")
}

// mustAgent registers an agent and returns its id and its key.
func (c client) mustAgent(name string) (id, key string) {
	c.t.Helper()
	a := c.must(201, "POST", "/api/admin/agents", object{"name": name})
	return a.Text("agent.id"), a.Text("api_key")
}

// mustAssign gives an agent access to a tool.
func (c client) mustAssign(agent, tool string) {
	c.t.Helper()
	c.must(201, "POST", "/api/admin/agents/"+agent+"/grants", object{"tool_id": tool})
}

// mustRequest asks for a tool and returns the request's id.
func (c client) mustRequest(tool string) string {
	c.t.Helper()
	return c.must(
		201, "POST", "/api/tools/"+tool+"/request", object{"reason": "to open pull requests"},
	).Text("request_id")
}

func (c client) fetch(tool string) answer {
	c.t.Helper()
	return c.call("GET", "/api/tools/"+tool+"/credentials", nil)
}

// userAgent makes every call name a program.
func userAgent(name string, next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		r.Header.Set("User-Agent", name)
		return next.RoundTrip(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
