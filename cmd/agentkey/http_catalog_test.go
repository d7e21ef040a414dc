package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest/wait"
)

// names are the names of a list's items, in its order.
func (a answer) names() []string {
	out := []string{}
	for _, item := range a.Items() {
		out = append(out, fmt.Sprint(item["name"]))
	}
	return out
}

// TestAnAgentReadsALargeCatalogInShort compares the sizes of both views, and what each says.
func TestAnAgentReadsALargeCatalogInShort(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Reader")
	agent := p.with(key)
	const n = 300
	var ids []string // oldest first
	for i := range n {
		ids = append(ids, admin.must(201, "POST", "/api/admin/tools", object{
			"name": fmt.Sprint("Tool ", i), "description": strings.Repeat("It reads and writes issues. ", 8),
			"url": fmt.Sprintf("https://tool%d.example", i), "auth_type": "api_key", "credential_mode": "shared",
			"credential": "x",
		}).Text("id"))
	}
	agent.mustRequest(ids[0])

	whole := agent.must(200, "GET", "/api/tools", nil)
	short := agent.must(200, "GET", "/api/tools?view=short", nil)
	if len(whole.JSON) != 1 || len(whole.Items()) != n || len(short.JSON) != 1 || len(short.Items()) != n {
		t.Fatalf("%d tools whole, %d in short: %.300s", len(whole.Items()), len(short.Items()), short.Body)
	}
	for i, item := range whole.Items() {
		want := object{"id": item["id"], "name": item["name"], "your_access": item["your_access"]}
		if diff := cmp.Diff(want, short.Items()[i]); diff != "" {
			t.Errorf("tool %d in short: %s", i, diff)
		}
		if i%100 == 0 || i == n-1 {
			one := agent.must(200, "GET", "/api/tools/"+id(item), nil)
			if diff := cmp.Diff(item, one.JSON); diff != "" {
				t.Errorf("tool %d alone: %s", i, diff)
			}
		}
	}
	if ratio := float64(len(whole.Body)) / float64(len(short.Body)); ratio < 3 {
		t.Errorf("%d bytes in short are only %.1f times smaller than %d", len(short.Body), ratio, len(whole.Body))
	} else {
		t.Logf("%d bytes whole, %d in short: %.1f times smaller", len(whole.Body), len(short.Body), ratio)
	}

	slices.Reverse(ids)
	added := 0
	for _, tt := range []struct {
		query string
		limit int
		want  []string
	}{
		{"view=short", 7, ids},
		{"view=short&q=tool", 200, ids},
		{"access=none", 50, ids[:n-1]},
		{"access=none&view=short&q=TOOL", 149, ids[:n-1]},
		{"access=pending", 1, ids[n-1:]},
	} {
		got := agent.pages("/api/tools?"+tt.query, tt.limit, id, func() {
			added++
			admin.mustTool(fmt.Sprint("Late tool ", added), "x")
		})
		at := slices.Index(got, tt.want[0]) // what earlier runs added is newer
		if at < 0 || !slices.Equal(got[at:], tt.want) {
			t.Errorf("%s, %d a page: %d tools, not each of the %d once", tt.query, tt.limit, len(got), len(tt.want))
		}
		if slices.Sort(got); len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("%s, %d a page: a tool came twice", tt.query, tt.limit)
		}
	}
	if added < 40 {
		t.Errorf("only %d tools were added while the pages were read", added)
	}
	first := agent.must(200, "GET", "/api/tools?limit=1", nil)
	next := agent.must(200, "GET", "/api/tools?cursor="+first.Text("next_cursor"), nil)
	if len(next.Items()) != 50 || next.Text("next_cursor") == "" {
		t.Errorf("a cursor without limit: %d tools", len(next.Items()))
	}
}

// TestAnAgentFindsToolsByNameAndAccess combines the filters of the catalog.
func TestAnAgentFindsToolsByNameAndAccess(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	agentID, key := admin.mustAgent("Reader")
	agent := p.with(key)
	tools := map[string]string{}
	for _, name := range []string{
		"Café none", "Cafe pending", "CAFÉ approved", "Cafe\u0301 denied", "Cafe revoked", "Café expired", "Straße",
	} {
		tools[name] = admin.mustTool(name, "x")
	}
	agent.mustRequest(tools["Cafe pending"])
	admin.must(
		200, "POST", "/api/admin/requests/"+agent.mustRequest(tools["Cafe\u0301 denied"])+"/deny",
		object{"reason": "not needed"},
	)
	grants := "/api/admin/agents/" + agentID + "/grants"
	admin.mustAssign(agentID, tools["CAFÉ approved"])
	admin.mustAssign(agentID, tools["Cafe revoked"])
	admin.must(204, "DELETE", grants+"/"+tools["Cafe revoked"], nil)
	admin.must(201, "POST", grants, object{
		"tool_id": tools["Café expired"], "expires_at": time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339Nano),
	})
	wait.Until(t, "expired", func() bool {
		return agent.must(200, "GET", "/api/tools/"+tools["Café expired"], nil).Text("your_access") == "expired"
	})

	everything := agent.must(200, "GET", "/api/tools", nil).names()
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{"q=cafe", everything[1:]},
		{"q=" + url.QueryEscape("CAFÉ"), everything[1:]},
		{"q=strasse", []string{"Straße"}},
		{"q=", everything},
		{"q=%25", []string{}},
		{"access=none", []string{"Straße", "Café none"}},
		{"access=pending", []string{"Cafe pending"}},
		{"access=approved", []string{"CAFÉ approved"}},
		{"access=denied", []string{"Cafe\u0301 denied"}},
		{"access=revoked", []string{"Cafe revoked"}},
		{"access=expired", []string{"Café expired"}},
		{"q=cafe&access=none", []string{"Café none"}},
		{"q=strasse&access=approved", []string{}},
		{"q=cafe&access=none&limit=1", []string{"Café none"}},
	} {
		for _, view := range []string{"", "&view=short"} {
			a := agent.must(200, "GET", "/api/tools?"+tt.query+view, nil)
			if diff := cmp.Diff(tt.want, a.names()); diff != "" || a.JSON["next_cursor"] != nil {
				t.Errorf("%s%s: %s%s", tt.query, view, diff, a.Body)
			}
		}
	}
	_, other := admin.mustAgent("Other")
	if found := p.with(other).must(200, "GET", "/api/tools?access=approved", nil).names(); len(found) != 0 {
		t.Errorf("another agent's access is %v", found)
	}

	for query, field := range map[string]string{
		"access=": "access", "access=Approved": "access", "access=withdrawn": "access", "view=": "view",
		"view=full": "view", "limit=0": "limit", "limit=201": "limit", "limit=x": "limit", "cursor=x": "cursor",
		"cursor=": "cursor", "cursor=%00": "cursor", "q=" + strings.Repeat("x", 121): "q", "q=a&q=b": "q",
		"status=approved": "status", "view=short&access=all": "access",
	} {
		a := agent.call("GET", "/api/tools?"+query, nil)
		if a.Status != 400 || a.Code() != "validation_failed" || !namesField(a, field) {
			t.Errorf("%.40s: %d %s", query, a.Status, a.Body)
		}
	}
}
