package contract

import (
	"encoding/json"
	"fmt"
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

// A list of values without a name becomes one type for each place that has it, and nobody sees that
// they are the same.
func TestEveryListOfValuesThatSeveralPlacesHaveHasAName(t *testing.T) {
	t.Parallel()
	var document any
	if err := json.Unmarshal(indented, &document); err != nil {
		t.Fatal(err)
	}
	places := map[string][]string{}
	var walk func(path []string, node any)
	walk = func(path []string, node any) {
		switch node := node.(type) {
		case map[string]any:
			if values, listed := node["enum"].([]any); listed && (len(path) != 3 || path[1] != "schemas") {
				places[fmt.Sprint(values)] = append(places[fmt.Sprint(values)], strings.Join(path, "/"))
			}
			for name, child := range node {
				walk(append(slices.Clip(path), name), child)
			}
		case []any:
			for i, child := range node {
				walk(append(slices.Clip(path), fmt.Sprint(i)), child)
			}
		}
	}
	walk(nil, document)
	for values, of := range places {
		if len(of) > 1 {
			t.Errorf("%s: give them one name in components/schemas: %s", values, of)
		}
	}
	for name, schema := range inside(document, "components", "schemas") {
		values, _ := inside(schema)["enum"].([]any)
		if of := places[fmt.Sprint(values)]; of != nil && values != nil {
			t.Errorf("%s is in components/schemas as %s", of, name)
		}
	}
	if len(places) < 20 {
		t.Errorf("only %d lists", len(places))
	}
}
