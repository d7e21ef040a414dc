package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/integrations/oidc/oidctest"
)

const (
	adminEvents = "/api/admin/events"
	myEvents    = "/api/me/events"
)

// happened is an event of a stream; Name is "" for one that only says where the reader is.
type happened struct {
	ID   uint64
	Name string
	Data object
}

// watching reads a stream of events until it is left.
type watching struct {
	t      testing.TB
	events chan happened // closed when the stream ends
	leave  func()
}

// follow opens a stream, which has begun when it returns.
func (c client) follow(path string, headers ...string) *watching {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.key != "" { // else it has a cookie
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	request.Header.Set("X-Wait-For-Position", strconv.FormatUint(c.seen.Load(), 10))
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.http.Do(request) //nolint:bodyclose // its reader closes it
	if err != nil || response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" {
		c.t.Fatalf("GET %s: %v %v", path, err, response)
	}
	w := &watching{t: c.t, events: make(chan happened, 5000), leave: cancel}
	go func() {
		defer close(w.events)
		defer response.Body.Close()
		var e happened
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case lines.Text() == "" && e.ID+uint64(len(e.Name)) > 0:
				w.events <- e
				e = happened{}
			case name == "id":
				e.ID, _ = strconv.ParseUint(value, 10, 64)
			case name == "event":
				e.Name = value
			case name == "data":
				_ = json.Unmarshal([]byte(value), &e.Data)
			}
		}
	}()
	c.t.Cleanup(cancel)
	return w
}

// next is the next event, which must come.
func (w *watching) next() happened {
	w.t.Helper()
	select {
	case e, open := <-w.events:
		if !open {
			w.t.Fatal("the stream has ended")
		}
		return e
	case <-time.After(time.Minute):
		w.t.Fatal("nothing was told within a minute")
	}
	return happened{}
}

// until is everything up to an event of a name, with it.
func (w *watching) until(name string) (all []happened) {
	w.t.Helper()
	for {
		e := w.next()
		if all = append(all, e); e.Name == name {
			return all
		}
	}
}

func namesOf(all []happened) (list []string) {
	for _, e := range all {
		list = append(list, e.Name)
	}
	return list
}

// TestWhatHappensIsToldAtOnce follows an organization as an admin, a viewer, an agent and a
// stranger.
func TestWhatHappensIsToldAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, viewer := admin.newToken("Screen", "viewer")
	id, key := admin.mustAgent("Onboarding")
	_, otherKey := admin.mustAgent("Other")
	agent := p.with(key)
	stranger := p.organization("Stranger", "owner").follow(adminEvents)
	all, some := admin.follow(adminEvents+"?include=fetches,deliveries"), p.with(viewer).follow(adminEvents)
	mine, others := agent.follow(myEvents), p.with(otherKey).follow(myEvents)
	begun := all.next()
	if begun.ID == 0 || begun.Name != "" {
		t.Errorf("it begins with %v", begun)
	}
	tool := admin.mustTool("GitHub", "ghp_1")
	request := agent.mustRequest(tool)
	requested := all.until("grant.requested")[1]
	if diff := cmp.Diff(happened{requested.ID, "grant.requested", object{
		"action": "grant.requested", "agent_id": id, "tool_id": tool, "request_id": request,
		"position": float64(requested.ID),
	}}, requested); diff != "" {
		t.Error(diff)
	}
	// What is told is in the lists, also for one who knows no position.
	list := p.with(viewer).must(200, "GET", "/api/admin/requests?status=pending", nil, "X-Wait-For-Position", "")
	if !strings.Contains(string(list.Body), request) {
		t.Errorf("the stream has the request and the list lacks it: %s", list.Body)
	}
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	if got := mine.until("grant.approved"); got[len(got)-1].Data["request_id"] != request {
		t.Errorf("the agent is told %v", got)
	}
	agent.must(200, "GET", "/api/tools/"+tool+"/credentials", nil)
	admin.newToken("CI", "viewer")
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"description": "Code."})
	story := []string{"grant.approved", "credential.vended", "service_token.created", "tool.updated"}
	if diff := cmp.Diff(story, namesOf(all.until("tool.updated"))); diff != "" {
		t.Errorf("an owner is told: %s", diff)
	}
	story = []string{"", "tool.added", "grant.requested", "grant.approved", "tool.updated"}
	if diff := cmp.Diff(story, namesOf(some.until("tool.updated"))); diff != "" {
		t.Errorf("a viewer is told: %s", diff)
	}
	if diff := cmp.Diff([]string{"tool.updated"}, namesOf(mine.until("tool.updated"))); diff != "" {
		t.Errorf("the agent is told: %s", diff)
	}
	if diff := cmp.Diff([]string{"", "tool.added", "tool.updated"}, namesOf(others.until("tool.updated"))); diff != "" {
		t.Errorf("another agent is told: %s", diff)
	}
	stranger.leave()
	for e := range stranger.events {
		if e.Name != "" && e.Name != "organization.created" && e.Name != "service_token.created" { // of their own
			t.Errorf("a stranger is told %v", e)
		}
	}

	// One who comes back gets what they missed, once and in order.
	again := admin.follow(adminEvents, "Last-Event-ID", strconv.FormatUint(requested.ID, 10))
	story = []string{"grant.approved", "service_token.created", "tool.updated"}
	if diff := cmp.Diff(story, namesOf(again.until("tool.updated"))); diff != "" {
		t.Errorf("one who comes back is told: %s", diff)
	}
	for _, gone := range []string{"99999999999", "0"} {
		if gone == "0" {
			for i := range 1001 {
				admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"description": fmt.Sprint("Code ", i)})
			}
			admin.must(200, "GET", "/api/admin/tools/"+tool, nil)
		}
		if e := admin.follow(adminEvents, "Last-Event-ID", gone).next(); e.Name != "reset" || e.ID < requested.ID {
			t.Errorf("after %s comes %v", gone, e)
		}
	}
	admin.refused(400, "validation_failed", "GET", adminEvents, nil, "Last-Event-ID", "x")
	admin.refused(400, "validation_failed", "GET", adminEvents+"?include=all", nil)
	agent.refused(403, "wrong_caller", "GET", adminEvents, nil)
	admin.refused(403, "wrong_caller", "GET", myEvents, nil)

	// It ends with what opened it.
	admin.must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
	ended := mine.until("error")
	if last := ended[len(ended)-1]; last.Data["code"] != "agent_suspended" {
		t.Errorf("a suspended agent's stream ends with %v", last)
	}
	if _, open := <-mine.events; open {
		t.Error("the stream continues after its last event")
	}
}

// TestAStreamEndsWithWhatItsPageMay follows as pages do, which have a cookie and send no header of
// their own: one logs out, the role of one no longer includes the audit, and one is removed.
func TestAStreamEndsWithWhatItsPageMay(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	admin := p.admin()
	opens := func(name string) (b *page, member string) {
		member = p.mustMember(provider, name, "auditor").must(200, "GET", "/api/admin/me", nil).Text("actor.id")
		b = p.page()
		b.must(204, "POST", "/auth/session", object{"token": someone(provider, name, name+"@example.com")})
		return b, "/api/admin/members/" + member
	}
	ends := func(w *watching, code string) {
		t.Helper()
		told := w.until("error")
		if last := told[len(told)-1]; last.Data["code"] != code {
			t.Errorf("it ends with %v, not %s", last, code)
		}
		if _, open := <-w.events; open {
			t.Error("it continues after its last event")
		}
	}
	ada, _ := opens("ada")
	bob, bobs := opens("bob")
	eve, eves := opens("eve")
	first, second, third := ada.follow(adminEvents), bob.follow(adminEvents), eve.follow(adminEvents)
	admin.mustTool("GitHub", "ghp_1")
	for _, w := range []*watching{first, second, third} {
		w.until("tool.added")
	}
	ada.must(204, "POST", "/auth/logout", nil, "Sec-Fetch-Site", samePage)
	ends(first, "credentials_expired")
	admin.must(200, "PATCH", bobs, object{"role": "viewer"})
	ends(second, "role_insufficient")
	admin.newToken("CI", "viewer")
	third.until("service_token.created")
	admin.must(204, "DELETE", eves, nil)
	ends(third, "credentials_expired")
	again := bob.follow(adminEvents)
	admin.newToken("Deploy", "viewer")
	admin.mustTool("Linear", "lin_1")
	if diff := cmp.Diff([]string{"", "tool.added"}, namesOf(again.until("tool.added"))); diff != "" {
		t.Errorf("a viewer is told: %s", diff)
	}
}
