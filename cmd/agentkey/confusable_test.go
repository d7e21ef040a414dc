package main

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWhatLooksLikeAToolIsMarked suggests and adds names that look like that of a tool.
func TestWhatLooksLikeAToolIsMarked(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Onboarding")
	tool := admin.mustTool("GitHub", "ghp_secret")
	marked := func(what string, a object, want ...any) {
		t.Helper()
		got, _ := a["confusable_with"].([]any)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	named := func(id, name string) any { return object{"id": id, "name": name} }
	suggest := func(name string) string {
		return p.with(key).must(
			201, "POST", "/api/tools/suggest", object{"name": name, "reason": "to open pull requests"},
		).Text("suggestion_id")
	}
	shown := func(list, id string) object {
		for _, item := range admin.must(200, "GET", list, nil).Items() {
			if item["id"] == id {
				return item
			}
		}
		t.Fatalf("%s does not list %s", list, id)
		return nil
	}
	const suggestions, tools = "/api/admin/suggestions", "/api/admin/tools"
	fake := suggest("GitНub")
	marked("the suggestion", admin.must(200, "GET", suggestions+"/"+fake, nil).JSON, named(tool, "GitHub"))
	marked("the suggestion in the list", shown(suggestions, fake), named(tool, "GitHub"))
	other := suggest("Linear")
	marked("another suggestion", admin.must(200, "GET", suggestions+"/"+other, nil).JSON)
	marked("another suggestion in the list", shown(suggestions, other))
	marked("a tool that nothing is like", admin.must(200, "GET", tools+"/"+tool, nil).JSON)

	second := admin.must(201, "POST", tools, object{
		"name": "GlТНUВ", "auth_type": "other", "credential_mode": "per_agent",
	})
	id := second.Text("id")
	marked("the added tool", second.JSON, named(tool, "GitHub"))
	marked("the first tool", admin.must(200, "GET", tools+"/"+tool, nil).JSON, named(id, "GlТНUВ"))
	marked("the second tool", admin.must(200, "GET", tools+"/"+id, nil).JSON, named(tool, "GitHub"))
	marked("the second tool in the list", shown(tools, id), named(tool, "GitHub"))
	marked(
		"the suggestion beside two", shown(suggestions, fake), named(tool, "GitHub"), named(id, "GlТНUВ"),
	)
	for _, item := range p.with(key).must(200, "GET", "/api/tools", nil).At("tools").([]any) {
		marked(fmt.Sprintf("an agent's view %v", item), item.(object))
	}
	marked("the renamed tool", admin.must(200, "PATCH", tools+"/"+id, object{"name": "Builds"}).JSON)
	marked("the first tool after that", admin.must(200, "GET", tools+"/"+tool, nil).JSON)
	admin.must(204, "DELETE", tools+"/"+tool, nil)
	marked("the suggestion without the tool", admin.must(200, "GET", suggestions+"/"+fake, nil).JSON)
	marked("the suggestion without the tool in the list", shown(suggestions, fake))
}
