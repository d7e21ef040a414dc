package main

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"testing"
)

// pages reads a list to its end and returns what name says of each item. between runs before each
// page but the first.
func (c client) pages(path string, limit int, name func(object) string, between func()) []string {
	c.t.Helper()
	var out []string
	for cursor := ""; ; {
		query := url.Values{"limit": {strconv.Itoa(limit)}}
		if cursor != "" {
			between()
			query.Set("cursor", cursor)
		}
		a := c.must(200, "GET", path+"&"+query.Encode(), nil)
		for _, item := range a.Items() {
			out = append(out, name(item))
		}
		next, more := a.JSON["next_cursor"]
		if !more {
			if len(a.Items()) == 0 && cursor != "" {
				c.t.Errorf("%s: the page before promised another", path)
			}
			return out
		}
		if cursor = a.Text("next_cursor"); cursor == "" || url.QueryEscape(cursor) != cursor ||
			len(a.Items()) != limit {
			c.t.Fatalf("%s: next_cursor %v after %d items", path, next, len(a.Items()))
		}
	}
}

func id(item object) string { return fmt.Sprint(item["id"]) }

// TestAListIsReadPageByPageWhileItGrows pages through every list with every size of page. What is
// written meanwhile neither hides nor repeats what was there before.
func TestAListIsReadPageByPageWhileItGrows(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	const n = 7
	var tools, agents, requests, grants []string
	guide := admin.mustTool("Guided", "x")
	asker, askerKey := admin.mustAgent("Asker")
	for i := range n {
		tools = append(tools, admin.mustTool(fmt.Sprint("Tool ", i), "x"))
		requests = append(requests, p.with(askerKey).mustRequest(tools[i]))
		holder, _ := admin.mustAgent(fmt.Sprint("Holder ", i))
		agents = append(agents, holder)
		admin.mustAssign(holder, guide)
		grants = append(grants, holder)
		admin.must(200, "PATCH", "/api/admin/tools/"+guide, object{"instructions": fmt.Sprint("Version ", i+1)})
	}
	made := 0
	grow := func() {
		made++
		tool := admin.mustTool(fmt.Sprint("Tool later ", made), "x")
		admin.must(
			201, "POST", "/api/tools/"+tool+"/request", object{"reason": "to open pull requests"}, "Authorization",
			"Bearer "+askerKey,
		)
		holder, _ := admin.mustAgent(fmt.Sprint("Holder later ", made))
		admin.mustAssign(holder, guide)
		admin.must(200, "PATCH", "/api/admin/tools/"+guide, object{"instructions": fmt.Sprint("Later ", made)})
	}
	versions := []string{"1", "2", "3", "4", "5", "6", "7"}
	audit := admin.must(200, "GET", "/api/admin/audit?limit=200", nil).Items()
	var entries []string
	for _, e := range slices.Backward(audit) {
		entries = append(entries, id(e))
	}
	for _, tt := range []struct {
		name, path string
		of         func(object) string
		want       []string // oldest first, all of what was there before it grew
	}{
		{"agents", "/api/admin/agents?q=holder", id, agents},
		{"tools", "/api/admin/tools?q=TOOL", id, tools},
		{"requests", "/api/admin/requests?agent_id=" + asker, id, requests},
		{"the queue", "/api/admin/requests?status=pending", id, requests},
		{
			"grants", "/api/admin/grants?tool_id=" + guide, func(g object) string { return fmt.Sprint(g["agent_id"]) },
			grants,
		},
		{
			"the usage guide", "/api/admin/tools/" + guide + "/instructions?",
			func(v object) string { return fmt.Sprint(v["version"]) }, versions,
		},
		{"the audit", "/api/admin/audit?", id, entries},
	} {
		for limit := 1; limit <= n+2; limit++ {
			if limit == 1 && tt.name == "the audit" {
				continue
			}
			grew := false // once for each run is enough
			got := admin.pages(tt.path, limit, tt.of, func() {
				if !grew {
					grow()
				}
				grew = true
			})
			slices.Reverse(got)
			at := slices.Index(got, tt.want[0])
			if at < 0 || len(got) < at+len(tt.want) || !slices.Equal(got[at:at+len(tt.want)], tt.want) {
				t.Errorf("%s, %d a page: %v does not have %v in order", tt.name, limit, got, tt.want)
			}
			if slices.Sort(got); len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Errorf("%s, %d a page: something came twice", tt.name, limit)
			}
		}
	}
}

// TestAPageHasFiftyItemsUnlessItIsSaid holds the sizes to the contract.
func TestAPageHasFiftyItemsUnlessItIsSaid(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	if a := admin.must(200, "GET", "/api/admin/agents", nil); string(a.Body) != `{"items":[]}`+"\n" &&
		string(a.Body) != `{"items":[]}` {
		t.Errorf("an empty list is %q", a.Body)
	}
	for i := range 51 {
		admin.mustAgent(fmt.Sprint("Agent ", i))
	}
	for limit, want := range map[string]int{"": 50, "?limit=50": 50, "?limit=51": 51, "?limit=200": 51, "?limit=1": 1} {
		a := admin.must(200, "GET", "/api/admin/agents"+limit, nil)
		if _, more := a.JSON["next_cursor"]; len(a.Items()) != want || more != (want < 51) {
			t.Errorf("%q: %d items, next_cursor %v", limit, len(a.Items()), a.JSON["next_cursor"])
		}
	}
	// A cursor says where a list continues, and nothing about who may read what.
	next := admin.must(200, "GET", "/api/admin/agents?limit=1", nil).Text("next_cursor")
	if a := p.organization("Another", "owner").must(
		200, "GET", "/api/admin/agents?cursor="+next, nil,
	); len(a.Items()) != 0 {
		t.Errorf("another organization's cursor: %s", a.Body)
	}
}

// TestASearchDisregardsCaseAccentsAndWidth finds names by what a person would type for them.
func TestASearchDisregardsCaseAccentsAndWidth(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	names := []string{"Café", "Cafe\u0301 Noir", "Straße", "Ångström", "Ｌｉｎｅａｒ", "がんばる", "Ёлка", "Đuka"}
	for _, name := range names {
		admin.mustTool(name, "s3cret")
		admin.mustAgent(name)
	}
	for q, want := range map[string][]string{
		"cafe": {"Café", "Cafe\u0301 Noir"}, "CAFÉ": {"Café", "Cafe\u0301 Noir"}, "cafe\u0301 n": {"Cafe\u0301 Noir"},
		"strasse": {"Straße"}, "angstrom": {"Ångström"}, "linear": {"Ｌｉｎｅａｒ"}, "елка": {"Ёлка"}, "か": nil,
		"が": {"がんばる"}, "caffe": nil, "cafés": nil,
	} {
		for _, list := range []string{"tools", "agents"} {
			var got []string
			for _, item := range admin.must(200, "GET", "/api/admin/"+list+"?q="+url.QueryEscape(q), nil).Items() {
				got = append(got, fmt.Sprint(item["name"]))
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q finds %q, not %q", list, q, got, want)
			}
		}
	}
}
