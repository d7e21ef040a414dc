package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

const (
	exportPath = "/api/admin/catalog/export"
	importPath = "/api/admin/catalog/import"
)

// planned is what a plan does, a line for each tool.
func planned(plan answer) []string {
	var out []string
	list, _ := plan.At("changes").([]any)
	for _, c := range list {
		c, _ := c.(map[string]any)
		line := fmt.Sprint(c["action"], " ", c["name"])
		fields, _ := c["fields"].([]any)
		for _, f := range fields {
			f, _ := f.(map[string]any)
			line += fmt.Sprintf(" %v:%v>%v", f["field"], f["from"], f["to"])
		}
		out = append(out, line)
	}
	return out
}

// TestTheCatalogIsAFile exports a catalog, imports it elsewhere and where it came from, and changes
// it by its file.
func TestTheCatalogIsAFile(t *testing.T) {
	t.Parallel()
	p, other := start(t, unlimited...), start(t, unlimited...)
	admin := p.admin()
	if a := admin.must(200, "GET", exportPath, nil); string(a.Body) != "agentkey_catalog: 1\ntools: []\n" ||
		a.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("an empty catalog is %q", a.Body)
	}
	zebra := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Zebra: \"yes\" # no", "description": "null", "url": "https://zebra.example.com", "auth_type": "other",
		"credential_mode": "per_agent", "max_grant_seconds": 60,
		"instructions": "Line one.\n\n  - indented: true\n\ttab\nlast",
	}).Text("id")
	github := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "GitHub", "docs_url": "https://docs.github.com", "auth_type": "api_key", "credential_mode": "shared",
		"credential": "ghp_secret",
	}).Text("id")
	file := admin.must(200, "GET", exportPath+"?format=yaml", nil)
	asJSON := admin.must(200, "GET", exportPath+"?format=json", nil)
	if strings.Contains(string(file.Body)+string(asJSON.Body), "ghp_secret") {
		t.Error("the file holds a secret")
	}
	if g, z := strings.Index(string(file.Body), "GitHub"), strings.Index(string(file.Body), "Zebra"); g < 0 || z < g {
		t.Errorf("the order: %s", file.Body)
	}
	if again := admin.must(200, "GET", exportPath, nil); string(again.Body) != string(file.Body) ||
		again.Header.Get("ETag") != file.Header.Get("ETag") {
		t.Error("a second export differs")
	}
	yaml := []string{"Content-Type", "application/yaml"}
	for _, c := range []struct {
		body    string
		headers []string
	}{{string(file.Body), yaml}, {string(asJSON.Body), nil}} {
		plan := admin.must(200, "PUT", importPath+"?dry_run=true", c.body, c.headers...)
		if got := planned(plan); len(got) > 0 || plan.At("unchanged") != 2.0 {
			t.Errorf("importing what was exported: %s", plan.Body)
		}
		if head := admin.must(
			200, "PUT", importPath, c.body, c.headers...,
		); head.Header.Get("ETag") != file.Header.Get("ETag") {
			t.Errorf("importing what was exported moved the catalog: %s", head.Body)
		}
	}

	// Elsewhere: the tools are new, and the one with a shared credential waits for it.
	there := other.admin()
	_, key := there.mustAgent("Bot")
	missing := other.with(key).suggest("git hub", "", "to read code")
	plan := there.must(200, "PUT", importPath+"?dry_run=true", string(file.Body), yaml...)
	if diff := cmp.Diff([]string{"add GitHub", "add Zebra: \"yes\" # no"}, planned(plan)); diff != "" ||
		!strings.Contains(string(plan.Body), "needs_credential") {
		t.Errorf("the plan (-want +got):\n%s%s", diff, plan.Body)
	}
	if want := `"answers":[{"backer_count":1,"name":"git hub","suggestion_id":"` + missing +
		`","tool_name":"GitHub"}]`; !strings.Contains(
		string(plan.Body), want,
	) {
		t.Errorf("the plan does not tell what it answers: %s", plan.Body)
	}
	if tools := there.must(200, "GET", "/api/admin/tools", nil).Items(); len(tools) != 0 {
		t.Errorf("a plan made %v", tools)
	}
	done := there.must(
		200, "PUT", importPath, string(file.Body),
		slices.Concat(yaml, []string{"If-Match", plan.Header.Get("ETag")})...,
	)
	if diff := cmp.Diff(planned(plan), planned(done)); diff != "" {
		t.Errorf("it did (-planned +done):\n%s", diff)
	}
	copied := there.must(200, "GET", "/api/admin/tools?q=github", nil).Items()
	tool := fmt.Sprint(copied[0]["id"])
	if copied[0]["has_credential"] != false || copied[0]["docs_url"] != "https://docs.github.com" {
		t.Errorf("the copy: %v", copied)
	}
	wait.Until(t, "the suggestion is answered", func() bool {
		return there.must(200, "GET", "/api/admin/suggestions/"+missing, nil).Text("tool_id") == tool
	})
	var request string
	wait.Until(t, "its backer's request", func() bool {
		queue := there.must(200, "GET", "/api/admin/requests?status=pending", nil).Items()
		if len(queue) == 1 {
			request = fmt.Sprint(queue[0]["id"])
		}
		return request != ""
	})
	there.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	if a := other.with(key).fetch(tool); a.Status != 404 || !strings.Contains(a.Text("hint"), "/credential") {
		t.Errorf("a fetch before there is a credential: %s", a.Body)
	}
	there.must(200, "PUT", "/api/admin/tools/"+tool+"/credential", object{"credential": "ghp_other"})
	if a := other.with(key).fetch(tool); a.Text("credential") != "ghp_other" {
		t.Errorf("a fetch: %s", a.Body)
	}
	if zebra := there.must(
		200, "GET", "/api/admin/tools?q=zebra", nil,
	).Items(); zebra[0]["instructions"] != "Line one.\n\n  - indented: true\n\ttab\nlast" ||
		zebra[0]["description"] != "null" {
		t.Errorf("the guide came as %q", zebra[0])
	}

	// A change by the file: a name moves from one to the other, one is new, one is not named and
	// stays.
	edited := fmt.Sprintf(
		"agentkey_catalog: 1\ntools:\n- {id: %s, name: Zebra, auth_type: other, credential_mode: per_agent, "+
			"instructions: short}\n- {name: Linear, auth_type: api_key, credential_mode: per_agent}\n",
		zebra,
	)
	plan = admin.must(200, "PUT", importPath+"?dry_run=true", edited, yaml...)
	want := []string{
		"change Zebra name:Zebra: \"yes\" # no>Zebra description:null> url:https://zebra.example.com> " +
			"instructions:Line one.\n\n  - indented: true\n\ttab\nlast>short max_grant_seconds:60>",
		"add Linear",
	}
	if diff := cmp.Diff(want, planned(plan)); diff != "" ||
		!strings.Contains(string(plan.Body), `"missing":[{"name":"GitHub","tool_id":"`+github+`"}]`) {
		t.Errorf("the plan (-want +got):\n%s%s", diff, plan.Body)
	}
	match := slices.Concat(yaml, []string{"If-Match", plan.Header.Get("ETag")})
	_, agent := admin.mustAgent("Bot")
	p.with(agent).suggest("Notion", "", "a suggestion moves no tool")
	admin.must(200, "PATCH", "/api/admin/tools/"+github, object{"description": "moved on"})
	admin.refused(412, "revision_stale", "PUT", importPath, edited, match...)
	plan = admin.must(200, "PUT", importPath+"?dry_run=true", edited, yaml...)
	p.with(agent).suggest("Figma", "", "a suggestion moves no tool")
	before := p.head()
	admin.must(
		200, "PUT", importPath, edited,
		slices.Concat(yaml, []string{"If-Match", plan.Header.Get("ETag"), "Idempotency-Key", "import"})...,
	)
	if tools := admin.must(200, "GET", "/api/admin/tools", nil).Items(); len(tools) != 3 {
		t.Errorf("afterwards there are %d tools", len(tools))
	}
	if p.head() == before {
		t.Error("nothing was written")
	}
}

// TestAnImportIsWholeOrNothing: one mistake anywhere, and nothing of a file is imported.
func TestAnImportIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	github := admin.mustTool("GitHub", "ghp_secret")
	good := "agentkey_catalog: 1\ntools:\n- {name: Linear, auth_type: api_key, credential_mode: per_agent}\n"
	for _, c := range []struct {
		name, file, field string
	}{
		{
			"a mode that changes", good + "- {name: github, auth_type: api_key, credential_mode: per_agent}",
			"tools[1].credential_mode",
		},
		{"a name twice", good + "- {name: LINEAR, auth_type: other, credential_mode: shared}", "tools[1].name"},
		{
			"a tool twice, by id and by name",
			good + "- {id: " + github + ", name: Hub, auth_type: other, credential_mode: shared}\n- {name: GitHub, " +
				"auth_type: other, credential_mode: shared}",
			"tools[2].name",
		},
		{
			"a rename to what stays",
			good + "- {id: " + github + ", name: Linear, auth_type: other, credential_mode: shared}", "",
		},
		{
			"a field that there is not",
			good + "- {name: Notion, auth_type: other, credential_mode: shared, credential: secret}",
			"tools[1].credential",
		},
		{"no name", good + "- {auth_type: other, credential_mode: shared}", "tools[1].name"},
		{"a number for a name", good + "- {name: 123, auth_type: other, credential_mode: shared}", "tools[1].name"},
		{"another version", strings.Replace(good, "1", "2", 1), "agentkey_catalog"},
		{
			"a control character",
			good + `- {name: Notion, auth_type: other, credential_mode: shared, instructions: "\e[2J"}`,
			"tools[1].instructions",
		},
	} {
		a := admin.refused(400, "validation_failed", "PUT", importPath, c.file, "Content-Type", "application/yaml")
		if !strings.Contains(string(a.Body), c.field) {
			t.Errorf("%s: %s", c.name, a.Body)
		}
	}
	for name, file := range map[string]string{
		"an alias": "agentkey_catalog: 1\ntools: [&a {name: Linear, auth_type: api_key, credential_mode: " +
			"per_agent}, *a]",
		"two documents":      good + "---\n" + good,
		"a key twice":        good + "tools: []",
		"no YAML":            "tools: [",
		"a list":             "- 1",
		"a time":             "agentkey_catalog: 2001-01-01\ntools: []",
		"a key that is none": "1: 2",
		"nothing":            "# nothing",
		"a tag":              "agentkey_catalog: !!binary aGk=\ntools: []",
	} {
		if a := admin.refused(
			400, "malformed_json", "PUT", importPath, file, "Content-Type", "application/yaml",
		); a.Text("hint") == "" {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	admin.refused(415, "unsupported_media_type", "PUT", importPath, good, "Content-Type", "text/yaml")
	admin.refused(
		413, "body_too_large", "PUT", importPath, good+"#"+strings.Repeat("x", 16<<20), "Content-Type",
		"application/yaml",
	)
	var many strings.Builder
	many.WriteString("agentkey_catalog: 1\ntools:\n")
	for i := range 2001 {
		fmt.Fprintf(&many, "- {name: Tool %d, auth_type: other, credential_mode: per_agent}\n", i)
	}
	admin.refused(400, "validation_failed", "PUT", importPath, many.String(), "Content-Type", "application/yaml")
	if tools := admin.must(200, "GET", "/api/admin/tools", nil).Items(); len(tools) != 1 {
		t.Errorf("there are %d tools", len(tools))
	}
	// A thousand at once are one append; names may change places in it.
	file := strings.Join(strings.SplitAfter(many.String(), "\n")[:1062], "")
	admin.must(200, "PUT", importPath, file, "Content-Type", "application/yaml")
	exported := string(admin.must(200, "GET", exportPath, nil).Body)
	swapped := strings.NewReplacer(
		"name: Tool 1\n", "name: Tool 2\n", "name: Tool 2\n", "name: Tool 1\n",
	).Replace(exported)
	if plan := admin.must(
		200, "PUT", importPath, swapped, "Content-Type", "application/yaml",
	); len(planned(plan)) != 2 {
		t.Errorf("two names change places: %.500s", plan.Body)
	}
	p.stop()
	p.verify()
}

// TestLargeCatalogsSurviveExportAndImport moves catalogs to another installation and back, in both
// formats.
func TestLargeCatalogsSurviveExportAndImport(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tools int
		guide string
	}{
		"251 tools with a guide": {251, "# Use it\n\n- 學: {a: \"b\"}\n\tcurl 'https://a.example' # no\n"},
		"200 long guides": {
			200, strings.Repeat("Page by cursor: 250 at most.\n  - \"offset\" is ignored\n", 60),
		},
	} {
		var tools []object
		for i := range c.tools {
			tools = append(tools, object{
				"name": fmt.Sprint("Tool: ", i), "auth_type": "api_key", "credential_mode": "shared",
				"instructions": fmt.Sprint(c.guide, i),
			})
		}
		p, other := start(t, unlimited...), start(t, unlimited...)
		from, to := p.admin(), other.admin()
		from.must(200, "PUT", importPath, object{"agentkey_catalog": 1, "tools": tools})
		yaml, asJSON := from.must(200, "GET", exportPath, nil), from.must(200, "GET", exportPath+"?format=json", nil)
		plan := to.must(200, "PUT", importPath+"?dry_run=true", string(yaml.Body), "Content-Type", "application/yaml")
		done := to.must(200, "PUT", importPath, string(yaml.Body), "Content-Type", "application/yaml")
		if diff := cmp.Diff(planned(plan), planned(done)); diff != "" || len(planned(done)) != c.tools {
			t.Errorf("%s: it did (-planned +done):\n%s", name, diff)
		}
		back := to.must(200, "GET", exportPath, nil)
		if diff := cmp.Diff(withoutIDs(string(yaml.Body)), withoutIDs(string(back.Body))); diff != "" {
			t.Errorf("%s (-exported +imported):\n%s", name, diff)
		}
		if again := from.must(200, "PUT", importPath, string(asJSON.Body)); len(planned(again)) != 0 {
			t.Errorf("%s: the export as JSON changes %v", name, planned(again))
		}
	}
}

// TestEveryDrawnCatalogSurvivesExportAndImport: what one installation exports, an empty one imports
// and exports again with the same bytes but for the ids, from either format.
func TestEveryDrawnCatalogSurvivesExportAndImport(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	n := 0
	survives := func(tools []object, formats ...string) string {
		n++
		from := p.organization(fmt.Sprint("Source ", n), "owner")
		if a, err := from.try("PUT", importPath, object{"agentkey_catalog": 1, "tools": tools}); err != nil ||
			a.Status != 200 || len(planned(a)) != len(tools) {
			return fmt.Sprintf("the first import: %d %.2000s %v", a.Status, a.Body, err)
		}
		yaml, asJSON := from.must(200, "GET", exportPath, nil), from.must(200, "GET", exportPath+"?format=json", nil)
		if diff := cmp.Diff(byName(tools), sentTools(asJSON)); diff != "" {
			return "exported (-sent +got): " + diff
		}
		for _, file := range []answer{yaml, asJSON} {
			kind := file.Header.Get("Content-Type")
			if len(formats) > 0 && !strings.Contains(kind, formats[0]) {
				continue
			}
			to := p.organization(fmt.Sprint("Copy ", n, " ", kind), "owner")
			a, err := to.try("PUT", importPath, string(file.Body), "Content-Type", kind)
			if err != nil || a.Status != 200 {
				return fmt.Sprintf("importing %s: %d %.2000s %v", kind, a.Status, a.Body, err)
			}
			for path, want := range map[string]answer{exportPath: yaml, exportPath + "?format=json": asJSON} {
				got := to.must(200, "GET", path, nil)
				if diff := cmp.Diff(anonymous(want), anonymous(got)); diff != "" {
					return fmt.Sprintf("from %s to %s (-want +got): %s", kind, path, diff)
				}
			}
		}
		return ""
	}
	rapid.Check(t, func(rt *rapid.T) {
		if wrong := survives(fileTools(6, 4000).Draw(rt, "tools")); wrong != "" {
			rt.Fatal(wrong)
		}
	})
	// As large as a catalog may be: many tools, and long guides in characters of four bytes.
	for name, c := range map[string]struct {
		tools, guide int
		format       string
	}{"many tools": {2000, 20, "yaml"}, "long guides": {524, 4000, "json"}} {
		var tools []object
		one := fileTools(1, c.guide).Filter(func(l []object) bool { return len(l) == 1 })
		drawn := make([]object, 20)
		for i := range drawn {
			drawn[i] = one.Example(i)[0]
		}
		for i := range eventstoretest.Rounds(c.tools) {
			tool := maps.Clone(drawn[i%len(drawn)])
			tool["name"] = strings.TrimSpace(fmt.Sprintf("%d %.60v", i, tool["name"]))
			if c.guide > 20 {
				tool["instructions"] = strings.Repeat("😀", c.guide-2) + fmt.Sprint(i%10)
			}
			tools = append(tools, tool)
		}
		if wrong := survives(tools, c.format); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
}

// fileTools draws the tools of a file, with what people and programs write into names and guides.
func fileTools(most, guide int) *rapid.Generator[[]object] {
	pieces := []string{
		" ", "a", "Tool", "- ", ": ", "#", " #", "'", `"`, "|", ">", "---", "...", `\`, "é", "e\u0301", "😀", "漢", "ß",
		"\u00a0", "null", "~", "yes", "n", "1", "0x1f", "1_0", "1:30", "1e3", "012", "+1", ".5", "2001-01-01", "{", "}",
		"[", "]", "&", "*", "!", "%", "@", "`", ",", "?", "=", "<<", "http://a.example", "<b>", "👩\u200d💻", "id: x",
	}
	lines := append([]string{"\n", "\n\n", "\t", "  ", "\u2028"}, pieces...)
	draw := func(rt *rapid.T, what string, of []string, runes int) string {
		n := rapid.SampledFrom([]int{1, 4, 30, runes}).Draw(rt, "length of "+what)
		seed := rapid.SliceOfN(rapid.SampledFrom(of), 1, min(n, 40)).Draw(rt, what)
		text := []rune(strings.Repeat(strings.Join(seed, ""), n/len(seed)))
		return strings.TrimSpace(string(text[:min(len(text), runes)]))
	}
	return rapid.Custom(func(rt *rapid.T) []object {
		tools := []object{}
		for i := range rapid.IntRange(0, most).Draw(rt, "how many") {
			tool := object{
				"name":            strings.TrimSpace(fmt.Sprint("T", i, " ", draw(rt, "name", pieces, 110))),
				"auth_type":       pick(rt, "auth type", []string{"api_key", "oauth_token", "bot_token", "other"}),
				"credential_mode": pick(rt, "mode", []string{"shared", "per_agent"}),
			}
			for _, field := range []struct {
				name string
				most int
			}{{"description", 500}, {"instructions", guide}} {
				text := draw(rt, field.name, lines, field.most)
				if strings.ContainsFunc(text, unicode.IsGraphic) {
					tool[field.name] = text
				}
			}
			if rapid.Bool().Draw(rt, "with URLs") {
				tool["url"] = fmt.Sprintf("https://t%d.example.com/%s", i, pick(rt, "path", []string{"", "a?b=%20#c", "-"}))
				tool["docs_url"] = "https://docs.example.com/" + pick(rt, "path", []string{"", "yes", "x"})
			}
			if rapid.Bool().Draw(rt, "with an end") {
				tool["max_grant_seconds"] = rapid.SampledFrom([]float64{1, 3600, 315360000}).Draw(rt, "seconds")
			}
			labels := object{}
			for range rapid.IntRange(0, 3).Draw(rt, "how many labels") {
				key := pick(rt, "key", []string{"team", "null", "yes", "n", "1", "0x1f", "1.5", "2001-01-01", "a/b_c.d-e"})
				labels[key] = draw(rt, "value", pieces, 63)
			}
			if len(labels) > 0 {
				tool["labels"] = labels
			}
			tools = append(tools, tool)
		}
		return tools
	})
}

// byName are tools by name, and sentTools are the tools of an export by name, without their ids.
func byName(tools []object) []object {
	out := slices.Clone(tools)
	slices.SortFunc(out, func(a, b object) int {
		return strings.Compare(fmt.Sprint(a["name"]), fmt.Sprint(b["name"]))
	})
	return out
}

func sentTools(export answer) []object {
	tools := []object{}
	for _, tool := range export.Items() {
		delete(tool, "id")
		tools = append(tools, tool)
	}
	return byName(tools)
}

var ids = regexp.MustCompile(`(  - id: |"id":")[0-9a-f-]{36}`)

// anonymous is an export with every id replaced by the same.
func anonymous(export answer) string { return ids.ReplaceAllString(string(export.Body), "${1}") }

func withoutIDs(file string) []string {
	return slices.DeleteFunc(
		strings.Split(file, "\n"), func(line string) bool { return strings.HasPrefix(line, "  - id: ") },
	)
}
