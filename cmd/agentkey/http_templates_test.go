package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestAToolIsAddedFromEachTemplate sends the tool of every template as it is, with a credential of
// the shape that the template asks for: it is what an agent then fetches and reads.
func TestAToolIsAddedFromEachTemplate(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	agentID, key := admin.mustAgent("Onboarding")
	items := admin.must(200, "GET", "/api/admin/tool-templates", nil).Items()
	if len(items) < 50 {
		t.Fatalf("there are only %d templates", len(items))
	}
	fielded := 0
	for _, item := range items {
		tool, _ := item["tool"].(object)
		if tool["name"] != item["name"] || tool["url"] != item["url"] || tool["docs_url"] != item["docs_url"] ||
			tool["auth_type"] != item["auth_type"] ||
			tool["credential_mode"] != "shared" || tool["credential"] != nil ||
			fmt.Sprint(tool["instructions"]) == "" || len(item["credential_usage"].([]any)) == 0 {
			t.Errorf("the template %v", item)
		}
		body := maps.Clone(tool)
		body["credential"] = "a credential"
		if fields, _ := item["credential_fields"].([]any); len(fields) > 0 {
			fielded++
			parts := object{}
			for _, f := range fields {
				parts[fmt.Sprint(f)] = "a part"
			}
			body["credential"] = parts
		}
		made := admin.must(201, "POST", "/api/admin/tools", body)
		for field, want := range tool {
			if got := made.JSON[field]; got != want {
				t.Errorf("%v was added with the %s %q, not %q", item["id"], field, got, want)
			}
		}
		if item["id"] == "twilio" {
			admin.mustAssign(agentID, made.Text("id"))
			a := p.with(key).fetch(made.Text("id"))
			if a.Text("instructions") != tool["instructions"] || a.Text("credential.account_sid") != "a part" {
				t.Errorf("fetched: %s", a.Body)
			}
		}
	}
	if fielded == 0 {
		t.Error("no credential has parts")
	}
}

// TestTheTemplatesAreForThoseWhoLook asks for them as everybody who may, and by their names.
func TestTheTemplatesAreForThoseWhoLook(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	ids := func(c client, query string) []string {
		t.Helper()
		out := []string{}
		for _, item := range c.must(200, "GET", "/api/admin/tool-templates"+query, nil).Items() {
			out = append(out, id(item))
		}
		return out
	}
	all := ids(admin, "")
	for query, want := range map[string][]string{
		"?q=": all, "?q=GIT": {"digitalocean", "github", "gitlab"}, "?q=%EF%BC%A7itHub": {"github"},
		"?q=monday.c": {"monday"}, "?q=no+such+product": {},
	} {
		if got := ids(admin, query); !slices.Equal(got, want) {
			t.Errorf("%q finds %v, not %v", query, got, want)
		}
	}
	if got := ids(p.organization("Another", "auditor"), ""); !slices.Equal(got, all) {
		t.Errorf("an auditor of another organization sees %v", got)
	}
	github := admin.must(200, "GET", "/api/admin/tool-templates?q=github", nil).Items()[0]
	usage, _ := github["credential_usage"].([]any)[0].(object)
	if usage["in"] != "header" || usage["name"] != "Authorization" || usage["value"] != "Bearer <credential>" ||
		len(github["scopes"].([]any)) == 0 || github["credential_fields"] != nil {
		t.Errorf("GitHub's: %v", github)
	}
	for _, query := range []string{"?limit=5", "?cursor=x", "?q=" + strings.Repeat("x", 121)} {
		admin.refused(400, "validation_failed", "GET", "/api/admin/tool-templates"+query, nil)
	}
	_, key := admin.mustAgent("Onboarding")
	p.with(key).refused(403, "wrong_caller", "GET", "/api/admin/tool-templates", nil)
	p.anyone().refused(401, "credentials_missing", "GET", "/api/admin/tool-templates", nil)
	admin.refused(405, "method_not_allowed", "POST", "/api/admin/tool-templates", object{})
	admin.refused(404, "not_found", "GET", "/api/admin/tool-templates/"+newID().String(), nil)
}

// TestASuggestionNamesItsTemplate looks at suggestions as they are listed and as a decision left
// them.
func TestASuggestionNamesItsTemplate(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Onboarding")
	for _, tt := range []struct {
		body     object
		template any
	}{
		{object{"name": "linear"}, "linear"},
		{object{"name": "Our wiki", "url": "https://www.notion.so/acme"}, "notion"},
		{object{"name": "In-house CRM", "url": "https://crm.example.com"}, nil},
	} {
		tt.body["reason"] = "to do what I am for"
		made := p.with(key).must(201, "POST", "/api/tools/suggest", tt.body).Text("suggestion_id")
		path := "/api/admin/suggestions/" + made
		if a := admin.must(200, "GET", path, nil); a.At("template_id") != tt.template {
			t.Errorf("%v has the template %v, not %v", tt.body, a.At("template_id"), tt.template)
		}
		for _, item := range admin.must(200, "GET", "/api/admin/suggestions", nil).Items() {
			if item["id"] == made && item["template_id"] != tt.template {
				t.Errorf("%v is listed with the template %v", tt.body, item["template_id"])
			}
		}
		if a := admin.must(200, "POST", path+"/dismiss", nil); a.At("template_id") != tt.template {
			t.Errorf("%v was dismissed with the template %v", tt.body, a.At("template_id"))
		}
	}
}
