package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newAnswer is an answer that did not come through a client.
func newAnswer(response *http.Response, body []byte) answer {
	a := answer{Status: response.StatusCode, Header: response.Header, Body: body}
	if json.Unmarshal(body, &a.JSON) != nil {
		a.JSON = nil
	}
	return a
}

func TestFieldsAreCountedInCodePoints(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	tool := admin.mustTool("GitHub", "ghp_secret")
	request := admin.mustTool("GitLab", "glp_secret")
	agents, tools, one := "/api/admin/agents", "/api/admin/tools", "/api/admin/tools/"+tool
	added := func(more object) object {
		body := object{"name": newID().String(), "auth_type": "api_key", "credential_mode": "shared", "credential": "x"}
		maps.Copy(body, more)
		return body
	}
	long := func(n int) string { return strings.Repeat("😀", n) }
	link := func(n int) string { return "https://" + strings.Repeat("a", n-8) }
	for _, tt := range []struct {
		name         string
		client       client
		method, path string
		body         object
		field        string // "" is success
	}{
		{"a name of 1", admin, "POST", agents, object{"name": "a"}, "name"},
		{"a name of 1 in four bytes", admin, "POST", agents, object{"name": "😀"}, "name"},
		{"a name of 2", admin, "POST", agents, object{"name": "ab"}, ""},
		{"a name of 2 in eight bytes", admin, "POST", agents, object{"name": "😀😀"}, ""},
		{"a name of 120", admin, "POST", agents, object{"name": long(120)}, ""},
		{"a name of 121", admin, "POST", agents, object{"name": long(121)}, "name"},
		{"a name of 121 letters", admin, "POST", agents, object{"name": strings.Repeat("a", 121)}, "name"},
		{
			"a name of 120 with white space round it", admin, "POST", agents,
			object{"name": " \t" + long(120) + "\r\n\u00a0"},
			"",
		},
		{"a name of white space", admin, "POST", agents, object{"name": " \u3000\t "}, "name"},
		{"a name of 1 with white space round it", admin, "POST", agents, object{"name": "  a  "}, "name"},
		{"a description of 500", admin, "POST", agents, object{"name": "ab", "description": long(500)}, ""},
		{"a description of 501", admin, "POST", agents, object{"name": "ab", "description": long(501)}, "description"},
		{"a changed name of 1", admin, "PATCH", agents + "/" + id, object{"name": "a"}, "name"},
		{"a changed name of 121", admin, "PATCH", agents + "/" + id, object{"name": long(121)}, "name"},
		{
			"a changed description of 501", admin, "PATCH", agents + "/" + id,
			object{"description": long(501)},
			"description",
		},
		{
			"an overlap of -1", admin, "POST", agents + "/" + id + "/rotate-key",
			object{"overlap_seconds": -1},
			"overlap_seconds",
		},
		{
			"an overlap of 86401", admin, "POST", agents + "/" + id + "/rotate-key",
			object{"overlap_seconds": 86401},
			"overlap_seconds",
		},
		{
			"an overlap of 1.5", admin, "POST", agents + "/" + id + "/rotate-key",
			object{"overlap_seconds": 1.5},
			"overlap_seconds",
		},
		{"a force in quotes", admin, "POST", agents + "/" + id + "/rotate-key", object{"force": "true"}, "force"},
		{
			"an overlap in quotes", admin, "POST", agents + "/" + id + "/rotate-key",
			object{"overlap_seconds": "60"},
			"overlap_seconds",
		},
		{"a tool's name of 1", admin, "POST", tools, added(object{"name": "a"}), "name"},
		{"a tool's name of 120", admin, "POST", tools, added(object{"name": long(120)}), ""},
		{"a tool's name of 121", admin, "POST", tools, added(object{"name": long(121)}), "name"},
		{"a tool's description of 501", admin, "POST", tools, added(object{"description": long(501)}), "description"},
		{"a URL of 500", admin, "POST", tools, added(object{"url": link(500)}), ""},
		{"a URL of 501", admin, "POST", tools, added(object{"url": link(501)}), "url"},
		{"a URL that is none", admin, "POST", tools, added(object{"url": "javascript:alert(1)"}), "url"},
		{"a guide of 4000", admin, "POST", tools, added(object{"instructions": long(4000)}), ""},
		{"a guide of 4001", admin, "POST", tools, added(object{"instructions": long(4001)}), "instructions"},
		{"a changed guide of 4001", admin, "PATCH", one, object{"instructions": long(4001)}, "instructions"},
		{"an unknown kind of key", admin, "POST", tools, added(object{"auth_type": "password"}), "auth_type"},
		{"a kind of key in another case", admin, "POST", tools, added(object{"auth_type": "API_KEY"}), "auth_type"},
		{"an unknown mode", admin, "POST", tools, added(object{"credential_mode": "each"}), "credential_mode"},
		{"a grant of 0 seconds", admin, "POST", tools, added(object{"max_grant_seconds": 0}), "max_grant_seconds"},
		{"a changed credential", admin, "PATCH", one, object{"credential": "y"}, "credential"},
		{
			"another form in quotes", admin, "PUT", one + "/credential",
			object{"credential": "y", "replace_shape": "yes"},
			"replace_shape",
		},
		{"a changed mode", admin, "PATCH", one, object{"credential_mode": "per_agent"}, "credential_mode"},
		{
			"a tool that is not an id", admin, "POST", agents + "/" + id + "/grants",
			object{"tool_id": "GitHub"},
			"tool_id",
		},
		{
			"a tool's id in capitals", admin, "POST", agents + "/" + id + "/grants",
			object{"tool_id": strings.ToUpper(tool)},
			"tool_id",
		},
		{
			"a time that is none", admin, "POST", agents + "/" + id + "/grants",
			object{"tool_id": tool, "expires_at": "tomorrow"},
			"expires_at",
		},
		{
			"a time without a zone", admin, "POST", agents + "/" + id + "/grants",
			object{"tool_id": tool, "expires_at": "2999-01-01T00:00:00"},
			"expires_at",
		},
		{
			"a day without a time", admin, "POST", agents + "/" + id + "/grants",
			object{"tool_id": tool, "expires_at": "2999-01-01"},
			"expires_at",
		},
		{"a reason of 4", agent, "POST", "/api/tools/" + request + "/request", object{"reason": long(4)}, "reason"},
		{"a reason of 501", agent, "POST", "/api/tools/" + request + "/request", object{"reason": long(501)}, "reason"},
		{
			"a reason of 4 with white space round it", agent, "POST", "/api/tools/" + request + "/request",
			object{"reason": "   abcd   "},
			"reason",
		},
		{"a reason of 500", agent, "POST", "/api/tools/" + request + "/request", object{"reason": long(500)}, ""},
		{"a reason of 5", agent, "POST", "/api/tools/" + tool + "/request", object{"reason": " " + long(5)}, ""},
	} {
		a := tt.client.call(tt.method, tt.path, tt.body)
		switch {
		case tt.field == "" && a.Status >= 300:
			t.Errorf("%s: status %d: %.300s", tt.name, a.Status, a.Body)
		case tt.field != "" && (a.Status != 400 || a.Code() != "validation_failed" || !namesField(a, tt.field)):
			t.Errorf("%s: status %d: %.300s", tt.name, a.Status, a.Body)
		}
	}
	pending := admin.must(200, "GET", "/api/admin/requests?status=pending", nil).Items()
	admin.refused(
		400, "validation_failed", "POST", "/api/admin/requests/"+pending[0]["id"].(string)+"/deny",
		object{"reason": long(501)},
	)
	admin.must(200, "POST", "/api/admin/requests/"+pending[0]["id"].(string)+"/deny", object{"reason": long(500)})
}

// TestNumbersAndTimesAreReadAsTheyAreWritten tries what a schema may take and a parser may not.
func TestNumbersAndTimesAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	for _, tt := range []struct {
		field, value string
		status       int
	}{
		{"overlap_seconds", `60`, 200},
		{"overlap_seconds", `60.0`, 200},
		{"overlap_seconds", `6e1`, 200},
		{"overlap_seconds", `-0`, 200},
		{"overlap_seconds", `1e2000000`, 400},
		{"overlap_seconds", `1e-2000000`, 400},
		{"overlap_seconds", `99999999999999999999`, 400},
		{"overlap_seconds", `060`, 400},
		{"overlap_seconds", `NaN`, 400},
		{"expires_at", `"2999-01-01T00:00:00Z"`, 201},
		{"expires_at", `"2999-01-01T00:00:00.123456789+14:00"`, 201},
		{"expires_at", `"2999-01-01t00:00:00z"`, 400},
		{"expires_at", `"2998-12-31T23:59:60Z"`, 400},
		{"expires_at", `"2999-02-30T00:00:00Z"`, 400},
		{"expires_at", `"2999-01-01T24:00:00Z"`, 400},
		{"expires_at", `"2999-01-01T00:00:00+24:00"`, 400},
		{"expires_at", `"2999-01-01T00:00:00,5Z"`, 400},
		{"expires_at", `"9999-12-31T23:59:59-01:00"`, 400},
		{"expires_at", `"9999-12-31T23:59:59Z"`, 201},
		{"expires_at", `"99999-01-01T00:00:00Z"`, 400},
		{"expires_at", `32472144000`, 400},
	} {
		id, _ := admin.mustAgent("Onboarding")
		path, body := "/api/admin/agents/"+id+"/rotate-key", `{"`+tt.field+`":`+tt.value+`}`
		if tt.field == "expires_at" {
			path, body = "/api/admin/agents/"+id+"/grants", `{"tool_id":"`+tool+`","expires_at":`+tt.value+`}`
		}
		if a := admin.call("POST", path, body); a.Status != tt.status {
			t.Errorf("%s: status %d, not %d: %s", body, a.Status, tt.status, a.Body)
		}
	}
}

func TestAnEmptyTextCountsAsAbsent(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	made := admin.must(
		201, "POST", "/api/admin/agents", object{"name": " Onboarding ", "description": "", "owner": " "},
	)
	if made.Text("agent.name") != "Onboarding" || made.Text("agent.description") != "" {
		t.Errorf("registered: %s", made.Body)
	}
	path := "/api/admin/agents/" + made.Text("agent.id")
	admin.must(200, "PATCH", path, object{"description": "  opens pull requests "})
	a := admin.must(200, "PATCH", path, object{"description": " \n"})
	if a.Text("name") != "Onboarding" || a.Text("description") != "" {
		t.Errorf("a change leaves what it clears: %s", a.Body)
	}
	tool := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "\tGitHub\u00a0", "url": "", "docs_url": "  ", "instructions": " Send it. ", "description": " ",
		"auth_type": " api_key ", "credential_mode": "shared", "credential": "x",
	})
	_, hasURL := tool.JSON["url"]
	_, hasDocs := tool.JSON["docs_url"]
	if hasURL || hasDocs || tool.Text("name") != "GitHub" || tool.Text("instructions") != "Send it." {
		t.Errorf("added: %s", tool.Body)
	}
	admin.must(
		201, "POST", "/api/admin/agents/"+made.Text("agent.id")+"/grants",
		object{"tool_id": tool.Text("id"), "expires_at": ""},
	)
	admin.refused(400, "validation_failed", "POST", "/api/admin/agents", object{"name": ""})
}

func TestACredentialIsBoundedAndNamedFields(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	fields := func(n, size int) object {
		out := object{}
		for i := range n {
			out[fmt.Sprintf("f%02d", i)] = strings.Repeat("x", size)
		}
		return out
	}
	for _, tt := range []struct {
		name       string
		credential any
		ok         bool
	}{
		{"1 byte", "x", true},
		{"16,384 bytes", strings.Repeat("x", 16_384), true},
		{"16,385 bytes", strings.Repeat("x", 16_385), false},
		{"16,384 bytes of four a sign", strings.Repeat("😀", 4096), true},
		{"16,388 bytes of four a sign", strings.Repeat("😀", 4097), false},
		{"one field", fields(1, 1), true},
		{"16 fields", fields(16, 100), true},
		{"17 fields", fields(17, 1), false},
		{"fields of 16,384 bytes", object{"key": strings.Repeat("x", 16_381)}, true},
		{"fields of 16,385 bytes", object{"key": strings.Repeat("x", 16_382)}, false},
		{"no field", object{}, false},
		{"a field without a name", object{"": "x"}, false},
		{"a field without a value", object{"user": ""}, false},
		{"a field with a number", object{"user": 1}, false},
		{"a field with null", object{"user": nil}, false},
		{"a field with an object", object{"user": object{"name": "x"}}, false},
		{"nothing", "", false},
		{"null", nil, false},
		{"a number", 1, false},
		{"true", true, false},
		{"an array", []string{"x"}, false},
	} {
		a := admin.call("POST", "/api/admin/tools", object{
			"name": tt.name, "auth_type": "other", "credential_mode": "shared", "credential": tt.credential,
		})
		if tt.ok && a.Status != 201 ||
			!tt.ok && (a.Status != 400 || a.Code() != "validation_failed" || !namesField(a, "credential")) {
			t.Errorf("%s: status %d: %.300s", tt.name, a.Status, a.Body)
		}
	}
}

func TestACredentialComesBackByteForByte(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	id, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	for i, tt := range []struct {
		json string // as it is sent
		want any
	}{
		{`" leading and trailing "`, " leading and trailing "},
		{`"\n\t -----BEGIN PRIVATE KEY-----\r\n\n"`, "\n\t -----BEGIN PRIVATE KEY-----\r\n\n"},
		{`" "`, " "},
		{`"\u00a0\u3000\u2028\u2029\ufeff"`, "\u00a0\u3000\u2028\u2029\ufeff"},
		{`"\u0000\u0001\u001f\u007f\b\f"`, "\x00\x01\x1f\x7f\b\f"},
		{`"\u0041\u00e9\ud83d\ude00é😀"`, "Aé😀é😀"},
		{`"e\u0301 \u00e9"`, "e\u0301 \u00e9"}, // not composed
		{`"<script>&amp;</script>\/\"\\"`, `<script>&amp;</script>/"\`},
		{`"{\"json\": [1, 2]}"`, `{"json": [1, 2]}`},
		{`"123"`, "123"},
		{`"null"`, "null"},
		{`"\\u0041"`, `\u0041`},
		{
			`{" user ":" a b ","Pass-word":"\n","USER":"x","user":"y"}`,
			object{" user ": " a b ", "Pass-word": "\n", "USER": "x", "user": "y"},
		},
		{`{"credential":" x ","a":"\ud83d\ude00"}`, object{"credential": " x ", "a": "😀"}},
	} {
		name := fmt.Sprint("Tool ", i)
		tool := admin.must(
			201, "POST", "/api/admin/tools",
			`{"name":"`+name+`","auth_type":"other","credential_mode":"shared","credential":`+tt.json+`}`,
		).Text("id")
		admin.mustAssign(id, tool)
		if diff := cmp.Diff(tt.want, agent.fetch(tool).At("credential")); diff != "" {
			t.Errorf("%s after it was added: %s", tt.json, diff)
		}
		own := admin.must(
			201, "POST", "/api/admin/tools",
			object{"name": name + " each", "auth_type": "other", "credential_mode": "per_agent"},
		).Text("id")
		admin.must(201, "POST", "/api/admin/agents/"+id+"/grants", `{"tool_id":"`+own+`","credential":`+tt.json+`}`)
		if diff := cmp.Diff(tt.want, agent.fetch(own).At("credential")); diff != "" {
			t.Errorf("%s after it was given to one agent: %s", tt.json, diff)
		}
		for path, tool := range map[string]string{
			"/api/admin/tools/" + tool + "/credential":                   tool,
			"/api/admin/agents/" + id + "/grants/" + own + "/credential": own,
		} {
			admin.must(200, "PUT", path, object{"credential": "in between", "replace_shape": true})
			admin.must(200, "PUT", path, `{"replace_shape":true,"credential":`+tt.json+`}`)
			if a := agent.fetch(tool); !cmp.Equal(tt.want, a.At("credential")) || a.At("credential_version") != 3.0 {
				t.Errorf("%s after it was replaced: %s", tt.json, a.Body)
			}
		}
	}
}
