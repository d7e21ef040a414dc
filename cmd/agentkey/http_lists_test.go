package main

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
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

// TestAnAgentIsFoundByItsOwner shows and finds agents by a name that no row holds, now and as it
// was, to those who may read agents alone.
func TestAnAgentIsFoundByItsOwner(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	keys := map[string]string{}
	for name, owner := range map[string]string{"One": "Åsa Holm", "Two": "asa holm", "Asa": "", "Four": "Bo"} {
		made := admin.must(201, "POST", "/api/admin/agents", object{"name": name, "owner": owner})
		keys[made.Text("agent.id")] = made.Text("api_key")
	}
	_, viewer := admin.newToken("Screen", "viewer")
	find := func(query string) []string {
		t.Helper()
		return p.with(viewer).pages(
			"/api/admin/agents?sort=name&"+query, 1, func(a object) string { return fmt.Sprint(a["name"]) }, func() {},
		)
	}
	for query, want := range map[string][]string{
		"q=ASA": {"Asa", "One", "Two"}, "q=sa+h": {"One", "Two"}, "q=bo": {"Four"}, "q=bob": nil,
		"q=bo&status=suspended": nil, "q=%25": nil,
	} {
		if got := find(query); !slices.Equal(got, want) {
			t.Errorf("%s finds %q, not %q", query, got, want)
		}
	}
	counted := admin.must(200, "GET", "/api/admin/agents?q=holm&count=true", nil)
	one := id(counted.Items()[0])
	if counted.At("total") != 2.0 {
		t.Errorf("counted: %s", counted.Body)
	}
	before := fmt.Sprint(p.seen.Load())
	admin.must(200, "PATCH", "/api/admin/agents/"+one, object{"owner": nil})
	if now, then := find("q=holm"), find("q=holm&as_of="+before); len(now) != 1 || len(then) != 2 {
		t.Errorf("now there are %q, and before %q", now, then)
	}
	if got := p.organization("Another", "owner").must(200, "GET", "/api/admin/agents?q=holm", nil); len(got.Items()) > 0 {
		t.Errorf("another organization is shown %s", got.Body)
	}
	for _, key := range keys {
		me := p.with(key).must(200, "GET", "/api/me", nil)
		if me.At("owner") != nil || strings.Contains(string(me.Body), "olm") {
			t.Errorf("an agent is shown its owner: %s", me.Body)
		}
		p.with(key).refused(403, "wrong_caller", "GET", "/api/admin/agents?q=holm", nil)
	}
}

// TestListsAreSortedNarrowedAndCounted reads lists in orders that change between pages, and asks
// only for what a screen shows.
func TestListsAreSortedNarrowedAndCounted(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	github, own := admin.mustTool("GitHub", "ghp_secret"), admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Notion", "auth_type": "api_key", "credential_mode": "per_agent",
	}).Text("id")
	admin.must(200, "PATCH", "/api/admin/tools/"+github, object{
		"url": "https://github.com/Acme", "description": "Where the 100% Übercode_lives",
	})
	admin.must(200, "PUT", "/api/admin/tools/"+github+"/credential", object{
		"credential": "ghp_new", "expires_at": "2099-01-01T00:00:00Z",
	})
	zoe, zoeKey := admin.mustAgent("Zoe")
	adam, adamKey := admin.mustAgent("adam")
	mia, _ := admin.mustAgent("Mia")
	pending := p.with(zoeKey).mustRequest(own)
	admin.mustAssign(zoe, github)
	denied := p.with(adamKey).mustRequest(github)
	admin.must(200, "POST", "/api/admin/requests/"+denied+"/deny", nil)
	p.with(zoeKey).must(200, "GET", "/api/tools/"+github+"/credentials", nil)
	admin.must(204, "DELETE", "/api/admin/agents/"+mia, nil)
	suggested := p.with(zoeKey).must(201, "POST", "/api/tools/suggest", object{
		"name": "Figma", "url": "https://figma.com", "reason": "to draw CIRCLES",
	}).Text("suggestion_id")
	note := p.with(zoeKey).must(201, "POST", "/api/tools/"+github+"/instructions/suggest", object{
		"learned": "Send a User-Agent", "why": "else it says 403",
	}).Text("suggestion_id")
	grant := func(g object) string { return fmt.Sprint(g["agent_id"], " ", g["tool_id"]) }
	for _, tt := range []struct {
		path string
		of   func(object) string
		want []string
	}{
		{"agents?sort=name", id, []string{adam, zoe}},
		{"agents?sort=-name", id, []string{zoe, adam}},
		{"agents?sort=-fetch_count", id, []string{zoe, adam}},
		{"agents?sort=-created_at&status=active,retired", id, []string{mia, adam, zoe}},
		{"agents?status=retired", id, []string{mia}},
		{"agents?unused_since=2099-01-01T00:00:00Z&q=A", id, []string{adam}},
		{"agents?last_seen_before=0001-01-01T00:00:00Z", id, nil},
		{"tools?q=100%25%20U", id, []string{github}},
		{"tools?q=e_lives", id, []string{github}},
		{"tools?q=com/ACME", id, []string{github}},
		{"tools?q=1%25b", id, nil},
		{"tools?has_credential=false", id, []string{own}},
		{"tools?credential_mode=shared", id, []string{github}},
		{"tools?expires_before=2099-01-01T00:00:01Z&sort=credential_expires_at", id, []string{github}},
		{"tools?sort=credential_expires_at", id, []string{github, own}},
		{"tools?unused_since=2099-01-01T00:00:00Z&sort=last_fetched_at", id, []string{own, github}},
		{"requests?status=pending,denied&sort=tool_name", id, []string{denied, pending}},
		{"requests?q=ADA", id, []string{denied}},
		{"requests?credential_mode=per_agent", id, []string{pending}},
		{"grants?status=approved,denied&sort=agent_name", grant, []string{adam + " " + github, zoe + " " + github}},
		{"grants?unused_since=2099-01-01T00:00:00Z", grant, []string{zoe + " " + github}},
		{"suggestions?q=circles&sort=-last_activity_at&status=pending,dismissed", id, []string{suggested}},
		{"suggestions?q=FIGMA.com&sort=name", id, []string{suggested}},
		{"suggestions?status=accepted", id, nil},
		{"instruction-suggestions?q=user-agent&sort=tool_name&status=pending,accepted", id, []string{note}},
		{"instruction-suggestions?q=else%20IT", id, []string{note}},
	} {
		a := admin.must(200, "GET", "/api/admin/"+tt.path+"&count=true&limit=1", nil)
		if a.At("total") != float64(len(tt.want)) || a.At("total_at_least") != nil {
			t.Errorf("%s has %v items, at least %v", tt.path, a.At("total"), a.At("total_at_least"))
		}
		for limit := 1; limit <= 3; limit++ {
			if got := admin.pages("/api/admin/"+tt.path, limit, tt.of, func() {}); !slices.Equal(got, tt.want) {
				t.Errorf("%s, %d a page: %v, not %v", tt.path, limit, got, tt.want)
			}
		}
	}
	for path, want := range map[string]object{
		"agents/" + zoe:   {"fetch_count": 1.0, "last_fetched_at": true},
		"agents/" + adam:  {"fetch_count": 0.0, "last_fetched_at": false},
		"tools/" + github: {"fetch_count": 1.0, "last_fetched_at": true, "credential_rotated_at": true},
		"tools/" + own:    {"fetch_count": 0.0, "last_fetched_at": false, "credential_rotated_at": false},
		"tools/" + github + "?as_of=" + fmt.Sprint(admin.seen.Load()): {"fetch_count": nil, "last_fetched_at": false},
	} {
		a := admin.must(200, "GET", "/api/admin/"+path, nil)
		for field, value := range want {
			if is, asked := value.(bool); asked && (a.JSON[field] != nil) != is || !asked && a.JSON[field] != value {
				t.Errorf("%s of %s is %v", field, path, a.JSON[field])
			}
		}
	}
	if by := admin.must(200, "GET", "/api/admin/tools/"+github, nil).At("credential_rotated_by.type"); by != "service" {
		t.Errorf("the credential was rotated by %v", by)
	}
	for _, g := range admin.must(200, "GET", "/api/admin/grants", nil).Items() {
		if (g["requested_at"] != nil) != (g["origin"] == "request") {
			t.Errorf("the grant %v", g)
		}
	}
	if a := admin.refused(400, "validation_failed", "GET", "/api/admin/tools?sort=price", nil); !strings.Contains(
		string(a.Body), "it must be one of created_at, -created_at, name",
	) {
		t.Errorf("the sorts are not named: %s", a.Body)
	}
	// A page of the past stays there, whatever is renamed in between.
	path := fmt.Sprint("/api/admin/agents?sort=name&as_of=", admin.seen.Load())
	if got := admin.pages(path, 1, id, func() {
		admin.must(200, "PATCH", "/api/admin/agents/"+zoe, object{"name": "Aaron"})
	}); !slices.Equal(got, []string{adam, zoe}) {
		t.Errorf("with one that was renamed in between: %v", got)
	}
}

// TestAListThatIsTheSameIsNotSentAgain reads lists again with their tags.
func TestAListThatIsTheSameIsNotSentAgain(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	viewer := p.with(admin.must(201, "POST", "/api/admin/service-tokens", object{
		"name": "screen", "role": "viewer",
	}).Text("secret"))
	tool := admin.mustTool("GitHub", "ghp_secret")
	for i := range 20 {
		agent, _ := admin.mustAgent(fmt.Sprint("Agent ", i))
		admin.mustAssign(agent, tool)
	}
	tag := func(c client, path string, headers ...string) string {
		t.Helper()
		a := c.must(200, "GET", path, nil, headers...)
		if tag := a.Header.Get("ETag"); strings.HasPrefix(tag, `W/"`) && a.Header.Get("Cache-Control") == "no-store" {
			return tag
		}
		t.Fatalf("%s has %v", path, a.Header)
		return ""
	}
	// Names of people are read again each minute, so a list may be another one once.
	same := func(c client, path, of string) bool {
		t.Helper()
		for range 2 {
			held := tag(c, path)
			a := c.call("GET", path, nil, "If-None-Match", strings.NewReplacer(
				"WEAK", held, "STRONG", strings.TrimPrefix(held, "W/"),
			).Replace(of))
			if a.Status == 304 && len(a.Body) == 0 && a.Header.Get("ETag") == held {
				return true
			}
		}
		return false
	}
	const agents, grants = "/api/admin/agents?limit=15", "/api/admin/grants?count=true"
	for _, path := range []string{
		agents, grants, "/api/admin/tools", "/api/admin/requests", "/api/admin/suggestions",
		"/api/admin/instruction-suggestions", "/api/admin/agents?as_of=" + fmt.Sprint(admin.seen.Load()),
	} {
		for of, want := range map[string]bool{
			"WEAK": true, "STRONG": true, `"x", W/"y" , WEAK`: true, "*": true, "": false, ",": false, `"WEAK"`: false,
			`W/"x"`: false,
		} {
			if got := same(admin, path, of); got != want {
				t.Errorf("%s with %s is the same: %v", path, of, got)
			}
		}
	}
	held := tag(admin, agents)
	for name, a := range map[string]answer{
		"another page": admin.must(200, "GET", agents+"&cursor="+
			admin.must(200, "GET", agents, nil).Text("next_cursor"), nil, "If-None-Match", held),
		"another list": admin.must(200, "GET", grants, nil, "If-None-Match", held),
		"another role": viewer.must(200, "GET", agents, nil, "If-None-Match", held),
	} {
		if a.Header.Get("ETag") == held {
			t.Errorf("%s has the same tag", name)
		}
	}
	held = tag(admin, grants)
	admin.must(204, "DELETE", "/api/admin/tools/"+tool, nil)
	if a := admin.must(200, "GET", grants, nil, "If-None-Match", held); a.Items()[0]["status"] != "revoked" {
		t.Errorf("after the tool was removed: %s", a.Body)
	}
	packed := raw(t, admin, grants, "gzip")
	if packed.Header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(packed.Header.Get("ETag"), `W/"`) {
		t.Errorf("compressed: %v", packed.Header)
	}
	if a := admin.refused(400, "validation_failed", "GET", agents+"&cursor=x", nil, "If-None-Match", `"x"`); a.Header.Get(
		"ETag",
	) != "" {
		t.Errorf("a refusal has a tag: %v", a.Header)
	}
}
