package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// examples are those of one call, by what they are of: body, answer (in JSON, or the stream of
// events), or the media type of another answer.
type examples map[string]any

// exemplify adds the examples of the files in a folder, which are by the id of the operation.
func exemplify(document any, folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	operations := operationsOf(document)
	for _, file := range files {
		raw, err := os.ReadFile(file) //nolint:gosec // named by go generate
		if err != nil {
			return err
		}
		var calls map[string]examples
		if err := yaml.Unmarshal(raw, &calls); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for id, of := range calls {
			for kind, example := range of {
				if !place(operations[id], kind, example) {
					return fmt.Errorf("%s: %s has no place for an example of %s", file, id, kind)
				}
			}
		}
	}
	return nil
}

func operationsOf(document any) map[string]any {
	all := map[string]any{}
	for _, item := range inside(document, "paths") {
		for _, operation := range inside(item) {
			if id, is := inside(operation)["operationId"].(string); is {
				all[id] = operation
			}
		}
	}
	return all
}

// place puts an example where it belongs. An operation has an example of each kind once.
func place(operation any, kind string, example any) bool {
	var media []map[string]any
	if kind == "body" {
		for _, of := range inside(operation, "requestBody", "content") {
			media = append(media, inside(of))
		}
	}
	responses := inside(operation, "responses")
	for _, status := range slices.Sorted(maps.Keys(responses)) {
		content := inside(responses[status], "content")
		for _, name := range slices.Sorted(maps.Keys(content)) {
			answer := kind == "answer" && (name == "application/json" || len(content) == 1)
			if strings.HasPrefix(status, "2") && (answer || kind == name) {
				media = append(media, inside(content[name]))
			}
		}
	}
	for _, of := range media {
		if of["example"] != nil {
			return false
		}
		of["example"] = example
	}
	return len(media) > 0
}

// inside returns the object at a path inside a value; nil if there is none.
func inside(value any, path ...string) map[string]any {
	of, _ := value.(map[string]any)
	for _, step := range path {
		of, _ = of[step].(map[string]any)
	}
	return of
}
