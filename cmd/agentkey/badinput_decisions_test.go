package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

func TestARequestIsDecidedOnce(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	approve := func(request, _ string) {
		admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	}
	deny := func(request, _ string) {
		admin.must(200, "POST", "/api/admin/requests/"+request+"/deny", object{"reason": "not now"})
	}
	suspend := func(_, id string) {
		admin.must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
	}
	for _, tt := range []struct {
		name   string
		first  func(request, agent string)
		access string
	}{
		{"approved", approve, "approved"},
		{"denied", deny, "denied"},
		{"suspended", suspend, ""},
		{"suspended and reactivated", func(request, id string) {
			suspend(request, id)
			admin.must(200, "POST", "/api/admin/agents/"+id+"/reactivate", nil)
		}, "none"},
	} {
		tool := admin.mustTool(tt.name, "ghp_secret")
		id, key := admin.mustAgent("Onboarding")
		request := p.with(key).mustRequest(tool)
		tt.first(request, id)
		was := admin.must(200, "GET", "/api/admin/requests/"+request, nil)
		for _, path := range []string{"/approve", "/deny", "/approve"} {
			a := admin.refused(409, "already_decided", "POST", "/api/admin/requests/"+request+path, nil)
			named := object{"id": request}
			for _, field := range []string{"status", "decided_at", "decided_by"} {
				if v, is := was.JSON[field]; is {
					named[field] = v
				}
			}
			if diff := cmp.Diff(named, a.At("access_request")); diff != "" ||
				a.Text("instance") != a.Header.Get("X-Request-Id") || a.At("request_id") != nil {
				t.Errorf("%s then %s: %s %s", tt.name, path, diff, a.Body)
			}
		}
		if now := admin.must(200, "GET", "/api/admin/requests/"+request, nil); string(now.Body) != string(was.Body) {
			t.Errorf("%s: it was %s and is %s", tt.name, was.Body, now.Body)
		}
		if tt.access == "" {
			continue
		}
		if a := p.with(key).must(200, "GET", "/api/tools/"+tool, nil); a.Text("your_access") != tt.access &&
			tt.access != "none" {
			t.Errorf("%s: %s", tt.name, a.Body)
		}
		if a := p.with(key).fetch(tool); (a.Status == 200) != (tt.access == "approved") {
			t.Errorf("%s: a fetch: %d %s", tt.name, a.Status, a.Body)
		}
	}
	admin.refused(404, "not_found", "POST", "/api/admin/requests/"+newID().String()+"/approve", nil)
	id, key := admin.mustAgent("Retired")
	request := p.with(key).mustRequest(admin.mustTool("GitHub", "ghp_secret"))
	admin.must(204, "DELETE", "/api/admin/agents/"+id, nil)
	// the agent that asked is gone
	admin.refused(404, "not_found", "POST", "/api/admin/requests/"+request+"/approve", nil)
}

// decisions reads which decision each request has in the log, and compares each with what was
// pending before it.
func decisions(t *testing.T, p *program) map[string][]string {
	t.Helper()
	type access struct{ agent, tool string }
	pending, out := map[access]string{}, map[string][]string{}
	p.office(func(ctx context.Context, o *office) error {
		return walk(ctx, o.client, func(r eventstore.Recorded) error {
			id, isAgent := strings.CutPrefix(r.Stream, "agent-")
			if !isAgent {
				return nil
			}
			decided := func(tool, request, how string) {
				if pending[access{id, tool}] != request {
					t.Errorf(
						"%d@%s: %s was %s while %q was pending", r.Revision, r.Stream, request, how,
						pending[access{id, tool}],
					)
				}
				delete(pending, access{id, tool})
				out[request] = append(out[request], how)
			}
			event, err := codec.Decode(r.Type, r.Data)
			switch e := event.(type) {
			case agent.GrantRequested:
				pending[access{id, e.ToolID}] = e.RequestID
			case agent.GrantApproved:
				decided(e.ToolID, e.RequestID, "approved")
			case agent.GrantDenied:
				decided(e.ToolID, e.RequestID, "denied")
			case agent.GrantWithdrawn:
				decided(e.ToolID, e.RequestID, "withdrawn")
			case agent.GrantRevoked:
				delete(pending, access{id, e.ToolID})
			}
			return err
		})
	})
	return out
}

// together runs two calls at once.
func together(one, two func() answer) (first, second answer) {
	var both sync.WaitGroup
	both.Go(func() { first = one() })
	both.Go(func() { second = two() })
	both.Wait()
	return first, second
}

func TestOfTwoAdminsWhoDecideAtOnceOneDecides(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	organization := admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	token := p.shell("token", "create", "--organization", organization, "--name", "an approver", "--role", "approver")
	won := map[string]string{} // how each request was decided, as the winner was told
	wins := map[string]int{}
	for round := range eventstoretest.Rounds(200) {
		request := agent.mustRequest(tool)
		verdicts := [][2]string{
			{"approve", "deny"}, {"deny", "approve"}, {"approve", "approve"}, {"deny", "deny"},
		}[round%4]
		decide := func(c client, verdict string) func() answer {
			return func() answer { return c.call("POST", "/api/admin/requests/"+request+"/"+verdict, nil) }
		}
		first, second := together(decide(admin, verdicts[0]), decide(p.with(token), verdicts[1]))
		winner, loser := first, second
		if second.Status == 200 {
			winner, loser = second, first
		}
		if winner.Status != 200 || loser.Status != 409 || loser.Code() != "already_decided" {
			t.Fatalf("round %d: %d %s and %d %s", round, first.Status, first.Body, second.Status, second.Body)
		}
		won[request] = winner.Text("status")
		wins[winner.Text("decided_by.id")]++
		if a := agent.fetch(tool); (a.Status == 200) != (won[request] == "approved") {
			t.Fatalf("round %d: it was %s, and a fetch got %d", round, won[request], a.Status)
		}
		admin.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
	}
	t.Logf("wins: %v", wins)
	for request, how := range decisions(t, p) {
		if len(how) != 1 || how[0] != won[request] {
			t.Errorf("%s: the log has %v, the winner was told %s", request, how, won[request])
		}
		delete(won, request)
	}
	if len(won) > 0 {
		t.Errorf("no decision in the log: %v", won)
	}
}

// TestApprovingNeverReachesALaterRequest races an approval with its request being withdrawn and
// made again: what is approved is the request that the admin saw, or nothing.
func TestApprovingNeverReachesALaterRequest(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	path, approvals := "/api/tools/"+tool+"/request", 0
	for round := range eventstoretest.Rounds(100) {
		old := agent.mustRequest(tool)
		approved, again := together(func() answer {
			return admin.call("POST", "/api/admin/requests/"+old+"/approve", nil)
		}, func() answer {
			agent.must(204, "DELETE", path, nil)
			return agent.call("POST", path, object{"reason": "to open issues too"})
		})
		switch {
		case approved.Status == 200:
			approvals++
			if again.Status != 409 || again.Code() != "already_approved" || agent.fetch(tool).Status != 200 {
				t.Errorf("round %d: approved, and asking again got %d %s", round, again.Status, again.Body)
			}
		case approved.Status == 409 && approved.Code() == "already_decided":
			if again.Status != 201 || again.Text("request_id") == old {
				t.Errorf("round %d: asking again got %d %s", round, again.Status, again.Body)
			}
			admin.refused(409, "already_decided", "POST", "/api/admin/requests/"+old+"/approve", nil)
			a := agent.fetch(tool)
			if a.Code() != "access_not_approved" || a.Text("your_access") != "pending" ||
				a.Text("request_id") != again.Text("request_id") {
				t.Errorf("round %d: a fetch got %d %s", round, a.Status, a.Body)
			}
		default:
			t.Errorf("round %d: the approval got %d %s", round, approved.Status, approved.Body)
		}
		admin.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
	}
	t.Logf("%d approvals came first", approvals)
	decisions(t, p)
}

// TestNothingIsLiveAfterASuspensionThatRacedWithAnApproval reactivates the agent afterwards.
func TestNothingIsLiveAfterASuspensionThatRacedWithAnApproval(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	approvals := 0
	for round := range eventstoretest.Rounds(200) {
		request := agent.mustRequest(tool)
		approved, suspended := together(func() answer {
			return admin.call("POST", "/api/admin/requests/"+request+"/approve", nil)
		}, func() answer {
			return admin.call("POST", "/api/admin/agents/"+id+"/suspend", nil)
		})
		if suspended.Status != 200 || suspended.Text("status") != "suspended" {
			t.Fatalf("round %d: suspending got %d %s", round, suspended.Status, suspended.Body)
		}
		if approved.Status == 200 {
			approvals++
		} else if approved.Code() != "already_decided" && approved.Code() != "agent_not_active" {
			t.Errorf("round %d: approving got %d %s", round, approved.Status, approved.Body)
		}
		admin.must(200, "POST", "/api/admin/agents/"+id+"/reactivate", nil)
		if a := agent.fetch(tool); a.Code() != "access_not_approved" {
			t.Errorf("round %d: a fetch after the reactivation: %d %s", round, a.Status, a.Body)
		}
		admin.refused(409, "already_decided", "POST", "/api/admin/requests/"+request+"/approve", nil)
		a := admin.must(200, "GET", "/api/admin/agents/"+id, nil)
		if a.At("grants.approved") != 0.0 || a.At("grants.pending") != 0.0 || a.Text("status") != "active" {
			t.Errorf("round %d: %s", round, a.Body)
		}
	}
	t.Logf("%d approvals came first", approvals)
	decisions(t, p)
}

func TestARepeatedChangeAnswersWithItsID(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("Git Hub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	ask, grants := "/api/tools/"+tool+"/request", "/api/admin/agents/"+id+"/grants"

	request := agent.mustRequest(tool)
	a := agent.refused(409, "already_pending", "POST", ask, object{"reason": "once more"})
	if a.Text("request_id") != request || a.Text("access_request.id") != request ||
		a.Text("access_request.status") != "pending" || a.Text("instance") != a.Header.Get("X-Request-Id") {
		t.Errorf("already pending: %s", a.Body)
	}
	admin.must(201, "POST", grants, object{"tool_id": tool}) // which approves the pending one
	if a := admin.must(200, "GET", "/api/admin/requests/"+request, nil); a.Text("status") != "approved" {
		t.Errorf("the request that was assigned: %s", a.Body)
	}
	agent.refused(409, "already_approved", "POST", ask, object{"reason": "once more"})
	admin.refused(409, "already_approved", "POST", grants, object{"tool_id": tool})

	other := admin.mustTool("GitLab", "glp_secret")
	for _, name := range []string{"Git Hub", "git hub", "GIT HUB", "  Git Hub ", "Ｇｉｔ Ｈｕｂ"} {
		a := admin.refused(
			409, "tool_exists", "POST", "/api/admin/tools",
			object{"name": name, "auth_type": "other", "credential_mode": "per_agent"},
		)
		if a.Text("tool_id") != tool || a.Text("tool_name") != "Git Hub" {
			t.Errorf("%q exists: %s", name, a.Body)
		}
		if a := admin.refused(
			409, "tool_exists", "PATCH", "/api/admin/tools/"+other, object{"name": name},
		); a.Text("tool_id") != tool {
			t.Errorf("renamed to %q: %s", name, a.Body)
		}
	}
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"name": "git hub"}) // its own name
	admin.must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
	admin.refused(409, "agent_not_active", "POST", grants, object{"tool_id": other})
	admin.must(200, "POST", "/api/admin/agents/"+id+"/reactivate", nil)
	admin.must(204, "DELETE", "/api/admin/tools/"+tool, nil)
	admin.mustTool("Git Hub", "ghp_new") // the name is free again
	admin.refused(404, "not_found", "POST", grants, object{"tool_id": tool})
}

func TestTermsMustFitTheToolAndTheClock(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	grants := "/api/admin/agents/" + id + "/grants"
	invalid := func(field, method, path string, body any) {
		t.Helper()
		if a := admin.refused(400, "validation_failed", method, path, body); !namesField(a, field) {
			t.Errorf("%s %s does not name %s: %s", method, path, field, a.Body)
		}
	}
	added := func(name, mode string, more object) answer {
		body := object{"name": name, "auth_type": "api_key", "credential_mode": mode}
		maps.Copy(body, more)
		return admin.call("POST", "/api/admin/tools", body)
	}
	for mode, more := range map[string]object{"shared": {}, "per_agent": {"credential": "x"}} {
		if a := added("Wrong", mode, more); a.Status != 400 || !namesField(a, "credential") {
			t.Errorf("a tool that is %s with %v: %d %s", mode, more, a.Status, a.Body)
		}
	}
	shared, each := added(
		"Shared", "shared", object{"credential": "x"},
	).Text("id"), added("Each", "per_agent", nil).Text("id")
	brief := added("Brief", "shared", object{"credential": "x", "max_grant_seconds": 3600}).Text("id")

	// Assigning, approving and replacing, with the credential missing where it is needed and sent
	// where it is not.
	invalid("credential", "POST", grants, object{"tool_id": shared, "credential": "own"})
	invalid("credential", "POST", grants, object{"tool_id": each})
	requests := map[string]string{shared: agent.mustRequest(shared), each: agent.mustRequest(each)}
	approve := func(tool string) string { return "/api/admin/requests/" + requests[tool] + "/approve" }
	invalid("credential", "POST", approve(shared), object{"credential": "own"})
	invalid("credential", "POST", approve(each), nil)
	invalid("credential", "POST", approve(each), object{"credential": ""})
	invalid("credential", "PUT", "/api/admin/tools/"+each+"/credential", object{"credential": "x"})
	admin.refused(404, "not_found", "PUT", grants+"/"+each+"/credential", object{"credential": "own"}) // still pending

	for _, at := range []string{
		"2001-01-01T00:00:00Z", time.Now().UTC().Add(-time.Second).Format(time.RFC3339), "0001-01-01T00:00:00Z",
	} {
		invalid("expires_at", "POST", grants, object{"tool_id": brief, "expires_at": at})
		invalid("expires_at", "POST", approve(shared), object{"expires_at": at})
		invalid(
			"expires_at", "PUT", "/api/admin/tools/"+shared+"/credential", object{"credential": "y", "expires_at": at},
		)
	}
	invalid("expires_at", "POST", grants, object{"tool_id": brief, "expires_at": time.Now().UTC().Add(2 * time.Hour)})

	// Nothing of it had an effect.
	if a := admin.must(200, "GET", "/api/admin/requests?status=pending", nil); len(a.Items()) != 2 {
		t.Errorf("pending: %s", a.Body)
	}
	admin.must(200, "POST", approve(shared), object{"expires_at": time.Now().UTC().Add(time.Hour)})
	admin.must(200, "POST", approve(each), object{"credential": object{"user": "o", "password": " p "}})
	if a := agent.fetch(each); a.Text("credential.password") != " p " {
		t.Errorf("its own: %s", a.Body)
	}
	if a := agent.fetch(shared); a.Text("credential") != "x" || a.At("credential_version") != 1.0 {
		t.Errorf("shared: %s", a.Body)
	}
	invalid("credential", "PUT", grants+"/"+shared+"/credential", object{"credential": "own"})
	invalid(
		"expires_at", "PUT", grants+"/"+each+"/credential",
		object{"credential": "own", "expires_at": "2001-01-01T00:00:00Z"},
	)
	invalid("credential", "PUT", grants+"/"+each+"/credential", object{})
	admin.must(
		201, "POST", grants,
		object{"tool_id": brief, "expires_at": fmt.Sprint(time.Now().UTC().Add(time.Second).Format(time.RFC3339Nano))},
	)
	wait.Until(t, "expired", func() bool { return agent.fetch(brief).Text("your_access") == "expired" })
}
