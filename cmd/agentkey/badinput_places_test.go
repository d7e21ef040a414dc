package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mistake is a mistake as a refusal lists it.
type mistake struct {
	Field, Message string
	Line, Column   int
}

func mistakesOf(t *testing.T, a answer) []mistake {
	t.Helper()
	var problem struct{ Details []mistake }
	if err := json.Unmarshal(a.Body, &problem); err != nil {
		t.Fatal(err)
	}
	return problem.Details
}

// TestEveryMistakeOfAFileIsLocated imports a file of 400 tools in which some are wrong.
func TestEveryMistakeOfAFileIsLocated(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin, yaml := p.admin(), []string{"Content-Type", "application/yaml"}
	const (
		authTypes = "it must be one of api_key, oauth_token, bot_token, other"
		name      = "it must be text of 2 to 120 characters"
	)
	tools := make([]string, 400)
	for i := range tools {
		tools[i] = fmt.Sprintf("  - name: Tool %d\n    auth_type: api_key\n    credential_mode: shared\n", i)
	}
	whole := func() string { return "agentkey_catalog: 1\ntools:\n" + strings.Join(tools, "") }
	good := whole()

	tools[17] = "  - name: 17\n    auth_type: api_key\n    credential_mode: shared\n"
	tools[236] = "  - name: Tool\n    auth_type: password\n    credential_mode: shared\n"
	tools[300] = "  - name: Tool 300\n    auth-type: api_key\n    credential_mode: shared\n"
	tools[399] = "  - {name: Tool 399, auth_type: other, credential_mode: shared, max_grant_seconds: 0}\n"
	a := admin.refused(400, "validation_failed", "PUT", importPath, whole(), yaml...)
	want := []mistake{
		{"tools[17].name", name, 3 + 3*17, 11},
		{"tools[236].auth_type", authTypes, 3 + 3*236 + 1, 16},
		{"tools[300].auth-type", "there is no such field here; write auth_type", 3 + 3*300 + 1, 5},
		{"tools[300].auth_type", "it is required; " + authTypes, 3 + 3*300, 5},
		{"tools[399].max_grant_seconds", "it must be a whole number from 1 to 315360000", 3 + 3*399, 84},
	}
	if diff := cmp.Diff(want, mistakesOf(t, a)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if detail := a.Text("detail"); !strings.Contains(detail, "line 54, column 11") ||
		!strings.Contains(detail, "5 mistakes") {
		t.Errorf("the detail is %q", detail)
	}

	// What only the catalog can refuse is located too, all of it.
	tools = strings.SplitAfter(strings.TrimPrefix(good, "agentkey_catalog: 1\ntools:\n"), "shared\n")
	admin.must(
		201, "POST", "/api/admin/tools", object{"name": "Tool 2", "auth_type": "other", "credential_mode": "per_agent"},
	)
	tools[8], tools[9] = tools[7], tools[7]
	a = admin.refused(400, "validation_failed", "PUT", importPath, whole(), yaml...)
	for i, at := range []mistake{
		{Field: "tools[2].credential_mode", Line: 3 + 3*2 + 2, Column: 22},
		{Field: "tools[8].name", Line: 3 + 3*8, Column: 11},
		{Field: "tools[9].name", Line: 3 + 3*9, Column: 11},
	} {
		if got := mistakesOf(t, a); len(got) != 3 || got[i].Field != at.Field || got[i].Line != at.Line ||
			got[i].Column != at.Column {
			t.Errorf("%+v: %s", at, a.Body)
		}
	}

	// What YAML has and JSON has no word for, and fields that are given twice.
	a = admin.refused(400, "malformed_json", "PUT", importPath,
		"agentkey_catalog: 1\ntools:\n- name: 2001-01-01\n  name: x\n  auth_type: &a other\n", yaml...)
	for i, at := range []mistake{
		{Field: "tools[0].name", Line: 3, Column: 9},
		{Field: "tools[0].name", Line: 4, Column: 3},
		{Field: "tools[0].auth_type", Line: 5, Column: 14},
	} {
		if got := mistakesOf(t, a); len(got) != 3 || got[i].Field != at.Field || got[i].Line != at.Line ||
			got[i].Column != at.Column {
			t.Errorf("%+v: %s", at, a.Body)
		}
	}
	a = admin.refused(400, "malformed_json", "PUT", importPath, "agentkey_catalog: 1\ntools:\n\t- name: x\n", yaml...)
	if !strings.Contains(a.Text("detail"), "line 3, column 1") || !strings.Contains(a.Text("detail"), "tab") {
		t.Errorf("a tab: %s", a.Body)
	}
}

// TestMalformedJSONIsExplainedEverywhere sends each kind of call what people paste.
func TestMalformedJSONIsExplainedEverywhere(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	_, key := admin.mustAgent("Bot")
	for _, tt := range []struct {
		by                 client
		method, path, body string
		place, cause       string
	}{
		{
			admin, "PUT", "/api/admin/tools/" + tool + "/credential",
			"{\"credential\": \"-----BEGIN PRIVATE KEY-----\nMIIEv\n-----END PRIVATE KEY-----\"}",
			"line 1, column 44", `PEM that begins at line 1, column 16; write each of its line breaks as \n`,
		},
		{
			admin, "POST", "/api/admin/agents", "{\n  \"name\": \"Bot\",\n}", "line 2, column 16",
			"comma after the last item",
		},
		{admin, "POST", "/api/admin/agents", "\ufeff{\"name\": \"Bot\"}", "line 1, column 1", "byte order mark"},
		{admin, "PUT", importPath, "{'agentkey_catalog': 1}", "line 1, column 2", "double quotes"},
		{admin, "PUT", importPath, "agentkey_catalog: 1\n", "line 1, column 1", "YAML"},
		{p.with(key), "POST", "/api/tools/suggest", "{name: \"Linear\"}", "line 1, column 2", "double quotes"},
		{p.with(key), "POST", "/api/tools/suggest", "{\"name\": \"Linear\" // x\n}", "line 1, column 19", "comments"},
		{
			p.with(key), "POST", "/api/tools/" + tool + "/request", `{"reason": "to read`, "line 1, column 12",
			"not closed",
		},
	} {
		a := tt.by.refused(400, "malformed_json", tt.method, tt.path, tt.body)
		detail := a.Text("detail")
		if !strings.Contains(detail, tt.place) || !strings.Contains(detail, tt.cause) || len(mistakesOf(t, a)) != 1 {
			t.Errorf("%q: %s", tt.body, a.Body)
		}
		if strings.Contains(string(a.Body), "MIIEv") {
			t.Errorf("the refusal repeats what was sent: %s", a.Body)
		}
	}
}
