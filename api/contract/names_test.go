package contract

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// An object without a name becomes a type that nobody can pass on, in the server and in each
// client.
func TestEveryObjectOfTheDocumentHasAName(t *testing.T) {
	var document any
	if err := json.Unmarshal(indented, &document); err != nil {
		t.Fatal(err)
	}
	named := 0
	var walk func(path []string, node any)
	walk = func(path []string, node any) {
		switch node := node.(type) {
		case map[string]any:
			if _, shaped := node["properties"].(map[string]any); shaped && node["type"] == "object" {
				if len(path) == 3 && path[0] == "components" && path[1] == "schemas" {
					named++
				} else {
					t.Errorf("%s has members and no name: give it one in components/schemas", strings.Join(path, "/"))
				}
			}
			for name, child := range node {
				walk(append(slices.Clip(path), name), child)
			}
		case []any:
			for _, child := range node {
				walk(append(slices.Clip(path), "[]"), child)
			}
		}
	}
	walk(nil, document)
	if named < 50 {
		t.Errorf("only %d objects have names", named)
	}
}
