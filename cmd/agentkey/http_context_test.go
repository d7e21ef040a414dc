package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pastOf is what the context of a request says was before it, each in a few words.
func pastOf(request answer) (list []string) {
	all, _ := request.At("context.history").([]any)
	for _, h := range all {
		one := answer{JSON: h.(map[string]any)} //nolint:forcetypeassert // the document says so
		says := []string{one.Text("action"), one.Text("by.label"), one.Text("reason"), one.Text("denial_reason")}
		list = append(list, strings.Join(slices.DeleteFunc(says, func(s string) bool { return s == "" }), " "))
	}
	return list
}

// TestARequestComesWithWhatHelpsToDecide gives an agent a past and looks at its next request, alone
// and in the list.
func TestARequestComesWithWhatHelpsToDecide(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	github := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "GitHub", "description": "Code.", "url": "https://github.com", "auth_type": "other",
		"credential_mode": "shared", "credential": object{"user": "u", "password": "p"}, "max_grant_seconds": 3600,
	}).Text("id")
	linear := admin.mustTool("Linear", "lin_1")
	made := admin.must(201, "POST", "/api/admin/agents", object{
		"name": "Builder", "description": "Builds.", "owner": "ada@example.com",
	})
	builder, agent := made.Text("agent.id"), p.with(made.Text("api_key"))
	other, _ := admin.mustAgent("Other")
	admin.mustAssign(other, github)
	admin.mustAssign(builder, linear)
	grants := "/api/admin/agents/" + builder + "/grants"
	first := agent.mustRequest(github)
	if got := pastOf(admin.must(200, "GET", "/api/admin/requests/"+first, nil)); len(got) > 0 {
		t.Errorf("before the first request was %q", got)
	}
	admin.must(200, "POST", "/api/admin/requests/"+first+"/deny", object{"reason": "Not now."})
	second := agent.mustRequest(github)
	admin.must(200, "POST", "/api/admin/requests/"+second+"/approve", nil)
	admin.must(204, "DELETE", grants+"/"+github, nil)
	admin.must(201, "POST", grants, object{"tool_id": github})
	admin.must(204, "DELETE", grants+"/"+github, nil)
	agent.mustRequest(github)
	agent.must(204, "DELETE", "/api/tools/"+github+"/request", nil)
	request := agent.mustRequest(github)
	alone := agent.mustRequest(admin.mustTool("Jira", "j_1"))

	one := admin.must(200, "GET", "/api/admin/requests/"+request, nil)
	decided, _ := one.At("context.history").([]any)[2].(map[string]any)["by"].(map[string]any)
	by := fmt.Sprint(decided["label"]) // the token's name
	want := []string{
		"withdrawn Builder", "requested Builder to open pull requests", "revoked " + by, "assigned " + by, "revoked " + by,
		"approved " + by, "requested Builder to open pull requests", "denied " + by + " Not now.",
		"requested Builder to open pull requests",
	}
	if diff := cmp.Diff(want, pastOf(one)); diff != "" || one.At("context.more") != nil || by == "" {
		t.Errorf("before it was: %s\n%s", diff, one.Body)
	}
	for path, want := range map[string]any{
		"context.agent.name": "Builder", "context.agent.description": "Builds.", "context.agent.status": "active",
		"context.agent.owner.label": "ada@example.com", "context.agent.approved": 1.0,
		"context.tool.url":      "https://github.com",
		"context.tool.approved": 1.0, "context.tool.has_credential": true,
		"context.tool.credential_fields": []any{"password", "user"},
	} {
		if got := one.At(path); !cmp.Equal(got, want) {
			t.Errorf("%s is %v", path, got)
		}
	}
	latest, err := time.Parse(time.RFC3339, one.Text("context.tool.max_expires_at"))
	if in := time.Until(latest); err != nil || in > time.Hour || in < 50*time.Minute {
		t.Errorf("it may end at %s: %v", latest, err)
	}
	seen, err := time.Parse(time.RFC3339, one.Text("context.agent.last_seen_at"))
	if err != nil || time.Since(seen) > time.Hour {
		t.Errorf("it was seen at %s: %v", seen, err)
	}
	// What a decision is about doesn't depend on what is beside it.
	tag := admin.must(200, "GET", "/api/admin/requests/"+alone, nil).Header.Get("ETag")
	admin.must(200, "PATCH", "/api/admin/agents/"+builder, object{"description": "Builds all."})
	admin.must(200, "POST", "/api/admin/requests/"+alone+"/approve", nil, "If-Match", tag)

	// The list says the same of each, and of now alone.
	_, viewer := admin.newToken("Screen", "viewer")
	listed := p.with(viewer).must(200, "GET", "/api/admin/requests?expand=context", nil, "X-Wait-For-Position",
		fmt.Sprint(p.seen.Load()))
	if n := len(listed.Items()); n != 5 {
		t.Errorf("the list has %d", n)
	}
	for _, item := range listed.Items() {
		single := admin.must(200, "GET", "/api/admin/requests/"+id(item), nil)
		for _, said := range []map[string]any{item, single.JSON} {
			if tool, is := said["context"].(map[string]any)["tool"].(map[string]any); is { //nolint:forcetypeassert // it has one
				delete(tool, "max_expires_at") // of this moment
			}
		}
		if want := single.Header.Get("ETag"); item["status"] == "pending" && item["etag"] != want ||
			item["status"] != "pending" && item["etag"] != nil {
			t.Errorf("%s has the ETag %v, alone %s", item["status"], item["etag"], want)
		}
		delete(item, "etag")
		if diff := cmp.Diff(single.JSON, item); diff != "" {
			t.Errorf("in the list (-alone +list): %s", diff)
		}
	}
	for _, item := range admin.must(200, "GET", "/api/admin/requests", nil).Items() {
		if item["context"] != nil {
			t.Errorf("nobody asked for the context of %v", item)
		}
	}
	now := fmt.Sprint(p.seen.Load())
	admin.refused(400, "validation_failed", "GET", "/api/admin/requests?expand=context&as_of="+now, nil)
	admin.refused(400, "validation_failed", "GET", "/api/admin/requests?expand=agent", nil)
	if a := admin.must(200, "GET", "/api/admin/requests/"+request+"?as_of="+now, nil); a.At("context") != nil {
		t.Errorf("of the past: %s", a.Body)
	}
	theirs := p.organization("Globex", "owner").must(200, "GET", "/api/admin/requests?expand=context", nil)
	if len(theirs.Items()) > 0 {
		t.Errorf("another organization sees %s", theirs.Body)
	}

	// It is bounded, and a name that was erased is absent, not blank.
	admin.must(204, "DELETE", "/api/admin/people/"+one.Text("context.agent.owner.id"), nil)
	admin.must(200, "PATCH", "/api/admin/agents/"+builder, object{"name": "Fixer"})
	agent.must(204, "DELETE", "/api/tools/"+github+"/request", nil)
	one = admin.must(200, "GET", "/api/admin/requests/"+agent.mustRequest(github), nil)
	if got := pastOf(one); len(got) != 10 || got[0] != "withdrawn Fixer" || one.At("context.more") != true {
		t.Errorf("before it was %q, and more: %v", got, one.At("context.more"))
	}
	if owner, _ := one.At("context.agent.owner").(map[string]any); owner["id"] == nil || len(owner) != 2 {
		t.Errorf("an erased owner is %v", owner)
	}
}
