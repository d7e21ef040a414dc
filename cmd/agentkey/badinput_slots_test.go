package main

import (
	"maps"
	"net/url"
	"strings"
	"testing"
)

// TestWordsOfACallerAreNeverFilledIn sends, wherever a refusal repeats something, what our own
// texts have in the places of headers and calls. It comes back as it was sent.
func TestWordsOfACallerAreNeverFilledIn(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	suggestion := agent.must(201, "POST", "/api/tools/suggest", object{
		"name": "{wait} {{tag}}", "url": "https://one.example", "reason": "to see it",
	}).Text("suggestion_id")
	admin.must(201, "POST", "/api/admin/tools", object{
		"name": "{wait} {{tag}}", "url": "https://other.example",
		"auth_type": "api_key", "credential_mode": "shared", "credential": "x",
	})
	tool := object{
		"name":            "{wait} {{tag}}",
		"url":             "https://one.example",
		"auth_type":       "api_key",
		"credential_mode": "shared",
		"credential":      "x",
	}
	with := func(o object, name string) object {
		o = maps.Clone(o)
		o[name] = 1
		return o
	}
	for _, c := range []struct {
		caller       client
		method, path string
		body         any
		said         string
	}{
		{
			admin, "POST", "/api/admin/suggestions/" + suggestion + "/accept",
			object{"tool": tool, "grant_backers": false},
			"“{wait} {{tag}} (one.example)”",
		},
		{admin, "POST", "/api/admin/tools", with(tool, "{wait}"), "{wait}"},
		{admin, "POST", "/api/admin/tools", with(tool, "{{condition}}"), "{{condition}}"},
		{admin, "POST", "/api/admin/suggestions/" + suggestion + "/accept", object{"tool": with(tool, "{once}")}, "{once}"},
		{admin, "GET", "/api/admin/tools?" + url.QueryEscape("{wait}") + "=1", nil, "{wait}"},
		{
			admin, "PUT", "/api/admin/catalog/import?dry_run=true",
			object{"agentkey_catalog": 1, "tools": []object{}, "{wait}": 1},
			"{wait}",
		},
		{agent, "DELETE", "/api/tools/" + url.PathEscape("{wait}") + "/credentials", nil, "/api/tools/{wait}/credentials"},
		{agent, "GET", "/API/tools/" + url.PathEscape("{wait}"), nil, ""},
	} {
		a := c.caller.call(c.method, c.path, c.body)
		if a.Status < 400 || !strings.Contains(a.Text("detail")+a.Text("hint"), c.said) {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.Status, a.Body)
		}
		for _, filled := range []string{"Retry-After", "ETag", "If-Match", "Idempotency-Key"} {
			if strings.Contains(a.Text("detail")+a.Text("hint"), filled) {
				t.Errorf("%s %s: %s is filled in: %s", c.method, c.path, filled, a.Body)
			}
		}
	}
}
