package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// toLoopback lets notifications go to the receivers of a test.
const toLoopback = "AGENTKEY_OUTBOUND_ALLOW=127.0.0.0/8"

// hook takes what is posted to it, and answers as the test says.
type hook struct {
	URL string

	mu     sync.Mutex
	got    []received
	answer func(n int, w http.ResponseWriter) // to the n-th call, from 1; nil: 200
}

type received struct {
	Header http.Header
	Body   []byte
}

// member is one text of the JSON body, reached by a dotted path.
func (r received) member(path string) string {
	return answer{JSON: r.decoded()}.Text(path)
}

// decoded is the JSON body.
func (r received) decoded() (body map[string]any) {
	_ = json.Unmarshal(r.Body, &body)
	return body
}

func startHook(t testing.TB, answer func(n int, w http.ResponseWriter)) *hook {
	t.Helper()
	r := &hook{answer: answer}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.got = append(r.got, received{request.Header, body})
		n := len(r.got)
		r.mu.Unlock()
		if r.answer != nil {
			r.answer(n, w)
		}
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	r.URL = server.URL
	return r
}

// all is what came so far.
func (r *hook) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received{}, r.got...)
}

// about is what came so far that says a text.
func (r *hook) about(text string) []received {
	var out []received
	for _, g := range r.all() {
		if strings.Contains(string(g.Body), text) {
			out = append(out, g)
		}
	}
	return out
}

// mustChannel adds a channel and returns its id and what else the answer has.
func (c client) mustChannel(kind, url string, topics ...string) answer {
	c.t.Helper()
	if len(topics) == 0 {
		topics = []string{"access_requested"}
	}
	return c.must(
		201, "POST", "/api/admin/notification-channels",
		object{"kind": kind, "name": "To " + kind, "url": url, "topics": topics},
	)
}

// deliveries lists what was sent or is due.
func (c client) deliveries(query string) []map[string]any {
	c.t.Helper()
	return c.must(200, "GET", "/api/admin/notification-deliveries?"+query, nil).Items()
}
