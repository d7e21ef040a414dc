package main

import (
	"maps"
	"strings"
	"testing"
)

// TestAFieldIsNamedFromTheRootOfTheBody is refused by the schema, by what reads credentials and by
// the rules of tools, for the same fields alone and within another body.
func TestAFieldIsNamedFromTheRootOfTheBody(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Onboarding")
	id := p.with(key).must(
		201, "POST", "/api/tools/suggest", object{"name": "Linear", "reason": "to plan the work"},
	).Text("suggestion_id")
	accept := "/api/admin/suggestions/" + id + "/accept"
	tag := admin.must(200, "GET", "/api/admin/suggestions/"+id, nil).Header.Get("ETag")
	tool := func(mode string, more object) object {
		out := object{"name": "Linear", "auth_type": "api_key", "credential_mode": mode}
		maps.Copy(out, more)
		return out
	}
	for _, tt := range []struct {
		name, field string
		tool        object
	}{
		{"the schema", "url", tool("shared", object{"url": "x", "credential": "x"})},
		{"an unknown field", "colour", tool("shared", object{"colour": "red", "credential": "x"})},
		{"the credential's size", "credential", tool("shared", object{"credential": strings.Repeat("x", 16_385)})},
		{"a credential without a value", "credential", tool("shared", object{"credential": object{"user": ""}})},
		{"a shared tool without a credential", "credential", tool("shared", nil)},
		{"a tool per agent with one", "credential", tool("per_agent", object{"credential": "x"})},
	} {
		alone := admin.refused(400, "validation_failed", "POST", "/api/admin/tools", tt.tool)
		within := admin.refused(
			400, "validation_failed", "POST", accept, object{"tool": tt.tool}, "If-Match", tag,
		)
		if !namesField(alone, tt.field) || !namesField(within, "tool."+tt.field) ||
			!strings.Contains(within.Text("detail"), "The field tool."+tt.field+" is") {
			t.Errorf("%s: %s and %s", tt.name, alone.Body, within.Body)
		}
	}
	a := admin.refused(
		400, "validation_failed", "POST", accept, object{"tool": tool("shared", object{"credential": "x"}), "also": "x"},
		"If-Match", tag,
	)
	if !namesField(a, "also") {
		t.Errorf("a field at the root: %s", a.Body)
	}
}
