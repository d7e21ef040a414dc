package contract

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestTheDocumentIntroducesEachCall reads what a page of the document shows first: where a call
// belongs, its title and what it does.
func TestTheDocumentIntroducesEachCall(t *testing.T) {
	t.Parallel()
	var document struct {
		Tags []struct {
			Name, Description string
		}
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(indented, &document); err != nil {
		t.Fatal(err)
	}
	calls := map[string]int{}
	for path, item := range document.Paths {
		for method, raw := range item {
			if method == "parameters" {
				continue
			}
			var o struct {
				Tags                 []string
				Summary, Description string
			}
			if err := json.Unmarshal(raw, &o); err != nil {
				t.Fatal(err)
			}
			if len(o.Tags) != 1 {
				t.Errorf("%s %s has the tags %v", method, path, o.Tags)
				continue
			}
			calls[o.Tags[0]]++
			if len(o.Summary) > 40 || strings.HasSuffix(o.Summary, ".") || o.Summary == "" {
				t.Errorf("%s %s has the title %q", method, path, o.Summary)
			}
			if !strings.HasSuffix(strings.TrimSpace(o.Description), ".") {
				t.Errorf("%s %s has the description %q", method, path, o.Description)
			}
		}
	}
	for _, tag := range document.Tags {
		if tag.Description == "" || calls[tag.Name] == 0 {
			t.Errorf("%q has %d calls and the description %q", tag.Name, calls[tag.Name], tag.Description)
		}
		delete(calls, tag.Name)
	}
	if len(calls) > 0 {
		t.Errorf("nothing describes the tags %v", calls)
	}
}

// TestTheServedDocumentSaysWhatACallNeeds: which permission, which limit counts it, and with which
// codes it may be refused.
func TestTheServedDocumentSaysWhatACallNeeds(t *testing.T) {
	t.Parallel()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	var served struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal(c.JSON, &served); err != nil {
		t.Fatal(err)
	}
	for _, op := range c.Operations {
		said, _ := inside(served.Paths[op.Path][strings.ToLower(op.Method)])["description"].(string)
		for what, is := range map[string]string{"Permission": op.Permission, "Limit": op.Tier} {
			if known := strings.Contains(said, what+": `"+is+"`"); known != (is != "" && op.Caller != "anyone") {
				t.Errorf("%s: %s %q in %q", op.ID, what, is, said)
			}
		}
		listed := slices.Concat(slices.Collect(maps.Values(op.Refusals()))...)
		for _, code := range op.codes {
			if !slices.Contains(listed, code) {
				t.Errorf("%s: no status is known for %s", op.ID, code)
			}
		}
		for _, code := range listed {
			if !strings.Contains(said, "`"+code+"`") {
				t.Errorf("%s: %s isn't in %q", op.ID, code, said)
			}
		}
	}
}

// Generators of clients make a member with a default one that the caller must give.
func TestNoBodyHasDefaults(t *testing.T) {
	t.Parallel()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[*jsonschema.Schema]bool{}
	var walk func(at string, s *jsonschema.Schema)
	walk = func(at string, s *jsonschema.Schema) {
		if s = target(s); s == nil || seen[s] {
			return
		}
		seen[s] = true
		if s.Default != nil {
			t.Errorf("%s has a default", at)
		}
		walk(at+"[]", s.Items2020)
		for name, member := range s.Properties {
			walk(at+"."+name, member)
		}
	}
	for _, op := range c.Operations {
		walk(op.ID, op.Body)
	}
	if len(seen) < 50 {
		t.Errorf("only %d schemas", len(seen))
	}
}
