package contract

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// served is the document as clients get it, and a compiler of its schemas.
func served(t *testing.T) (document any, schemas compiler) {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if document, err = jsonschema.UnmarshalJSON(bytes.NewReader(c.JSON)); err != nil {
		t.Fatal(err)
	}
	if schemas, err = newCompiler(c.JSON); err != nil {
		t.Fatal(err)
	}
	return document, schemas
}

// TestEachCallHasExamples: of its body, and of each answer that is JSON or a stream of events. Each
// is valid, has no member that its schema doesn't know, and calls each thing by one name.
func TestEachCallHasExamples(t *testing.T) {
	t.Parallel()
	document, schemas := served(t)
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	names, found := map[string]string{}, 0
	check := func(at, place string, media any) {
		example, has := inside(media)["example"]
		if !has {
			t.Errorf("%s has no example", at)
			return
		}
		found++
		schema, err := schemas.at(place + pointer("schema"))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(example); err != nil {
			t.Errorf("the example of %s isn't valid: %v", at, err)
		}
		unknownMembers(t, at, schema, example)
		sameNames(t, at, names, example)
	}
	for _, op := range c.Operations {
		at := pointer("paths", op.Path, strings.ToLower(op.Method))
		o := inside(document, "paths", op.Path, strings.ToLower(op.Method))
		for name, media := range inside(o, "requestBody", "content") {
			check("the body of "+op.ID, at+pointer("requestBody", "content", name), media)
		}
		for status, response := range inside(o, "responses") {
			if !success(status) {
				continue
			}
			for name, media := range inside(response, "content") {
				if name == "application/json" || name == "text/event-stream" {
					check(op.ID+" "+status+" "+name, at+pointer("responses", status, "content", name), media)
				}
			}
		}
	}
	if found < 120 {
		t.Errorf("only %d examples", found)
	}
}

// unknownMembers looks for members that an answer would not have, although its schema, which lets
// clients take those of later versions, allows them.
func unknownMembers(t *testing.T, at string, schema *jsonschema.Schema, value any) {
	t.Helper()
	schema = target(schema)
	if schema == nil {
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			known := schema.Properties[name]
			if known == nil && len(schema.Properties) > 0 && schema.AdditionalProperties == nil {
				t.Errorf("the example of %s has the unknown member %s", at, name)
			}
			unknownMembers(t, at+"."+name, known, member)
		}
	case []any:
		for _, item := range value {
			unknownMembers(t, at+"[]", schema.Items2020, item)
		}
	}
}

// sameNames remembers what each id is called, and reports another name.
func sameNames(t *testing.T, at string, names map[string]string, value any) {
	t.Helper()
	switch value := value.(type) {
	case map[string]any:
		for _, of := range [][2]string{
			{"id", "name"},
			{"id", "label"},
			{"agent_id", "agent_name"},
			{"tool_id", "tool_name"},
			{"channel_id", "channel_name"},
		} {
			id, _ := value[of[0]].(string)
			name, _ := value[of[1]].(string)
			if id == "" || name == "" {
				continue
			}
			if known := names[id]; known != "" && known != name {
				t.Errorf("the example of %s calls %s %q, another one %q", at, id, name, known)
			}
			names[id] = name
		}
		for _, member := range value {
			sameNames(t, at, names, member)
		}
	case []any:
		for _, item := range value {
			sameNames(t, at, names, item)
		}
	}
}

// TestTheExamplesOfStreamsAreValid reads the data of each event of their text.
func TestTheExamplesOfStreamsAreValid(t *testing.T) {
	t.Parallel()
	document, schemas := served(t)
	events := 0
	for _, call := range []struct{ path, method string }{
		{"/api/admin/events", "get"}, {"/api/me/events", "get"}, {"/api/admin/tools/setup-guide", "post"},
	} {
		media := inside(
			document, "paths", call.path, call.method, "responses", "200", "content", "text/event-stream",
		)
		text, _ := media["example"].(string)
		name, data := "", ""
		for line := range strings.SplitSeq(text, "\n") {
			switch {
			case strings.HasPrefix(line, "event: "):
				name = strings.TrimPrefix(line, "event: ")
			case strings.HasPrefix(line, "data: "):
				data = strings.TrimPrefix(line, "data: ")
			case line == "" && data != "":
				events++
				checkEvent(t, schemas, name, data)
				name, data = "", ""
			}
		}
		if data != "" {
			t.Errorf("%s: the last event of %q is cut off", call.path, text)
		}
	}
	if events < 5 {
		t.Errorf("only %d events", events)
	}
}

func checkEvent(t *testing.T, schemas compiler, name, data string) {
	t.Helper()
	of := "Happening"
	if steps := []string{"meta", "delta", "done"}; slices.Contains(steps, name) {
		of = "SetupGuide" + strings.ToUpper(name[:1]) + name[1:]
	}
	schema, err := schemas.at(pointer("components", "schemas", of))
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal([]byte(data), &value); err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if action, is := inside(value)["action"]; is && action != name {
		t.Errorf("the event %s has the action %v", name, action)
	}
}
