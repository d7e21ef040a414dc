package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// apiDocument is the OpenAPI document as the program serves it.
func (p *program) apiDocument() answer {
	p.t.Helper()
	a := p.anyone().must(200, "GET", "/openapi.json", nil)
	if a.Header.Get("Content-Type") != "application/json" || a.JSON == nil {
		p.t.Fatalf("the document is %s: %.200s", a.Header.Get("Content-Type"), a.Body)
	}
	return a
}

// schemas calls fn for every schema object within v, with the place where it is.
func schemas(v any, at string, fn func(at string, schema object)) {
	switch v := v.(type) {
	case object:
		if _, typed := v["type"].(string); typed || v["oneOf"] != nil || v["properties"] != nil {
			fn(at, v)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			schemas(v[name], at+"/"+name, fn)
		}
	case []any:
		for i := range v {
			schemas(v[i], fmt.Sprintf("%s/%d", at, i), fn)
		}
	}
}

// resolve follows a reference within the document.
func resolve(doc answer, v any) object {
	o, _ := v.(object)
	if ref, _ := o["$ref"].(string); ref != "" {
		return resolve(doc, doc.At(strings.ReplaceAll(strings.TrimPrefix(ref, "#/"), "/", ".")))
	}
	return o
}

// TestTheDocumentStatesEveryLimit holds the served document to what the rest relies on: no request
// has a field that it does not name, every text has an upper bound, and every call says who may
// make it.
func TestTheDocumentStatesEveryLimit(t *testing.T) {
	t.Parallel()
	p := start(t)
	doc := p.apiDocument()
	if version := doc.Text("openapi"); !strings.HasPrefix(version, "3.1.") {
		t.Errorf("it is OpenAPI %s", version)
	}
	paths, _ := doc.JSON["paths"].(object)
	ids, bodies := map[string]bool{}, 0
	for path, item := range paths {
		item, _ := item.(object)
		for method, operation := range item {
			if method == "parameters" {
				continue
			}
			o, _ := operation.(object)
			name := strings.ToUpper(method) + " " + path
			rules, _ := o["x-agentkey"].(object)
			caller := fmt.Sprint(rules["caller"])
			if !slices.Contains([]string{"agent", "admin", "anyone"}, caller) ||
				(rules["tier"] == nil) != (caller == "anyone") ||
				(rules["permission"] == nil) == (caller == "admin") ||
				(rules["effect"] == "query") != (method == "get" && !slices.ContainsFunc(
					[]string{"/credentials", "/auth/callback", "/auth/link"},
					func(end string) bool { return strings.HasSuffix(path, end) },
				) || o["operationId"] == "streamSetupGuide" || o["operationId"] == "simulateRule") {
				t.Errorf("%s is for %v", name, rules)
			}
			security, _ := json.Marshal(o["security"])
			if string(security) != map[string]string{
				"anyone": `[]`, "agent": `null`, "admin": `[{"bearer":[]},{"session":[]}]`,
			}[caller] {
				t.Errorf("%s is for %s and has security %v", name, caller, o["security"])
			}
			operationID := fmt.Sprint(o["operationId"])
			if ids[operationID] || o["summary"] == nil {
				t.Errorf("%s has the name %s and the summary %v", name, operationID, o["summary"])
			}
			ids[operationID] = true
			responses, _ := o["responses"].(object)
			problem, _ := json.Marshal(responses["default"])
			if caller != "anyone" && !strings.Contains(string(problem), "/responses/Problem") {
				t.Errorf("%s does not say how it refuses", name)
			}
			body, _ := o["requestBody"].(object)
			if body == nil {
				continue
			}
			bodies++
			content, _ := body["content"].(object)
			media, _ := content["application/json"].(object)
			if media == nil || len(content) != 1 && (len(content) != 2 || content["application/yaml"] == nil) {
				t.Errorf("%s takes %v", name, content)
				continue
			}
			schema := resolve(doc, media["schema"])
			required, _ := schema["required"].([]any)
			if schema["type"] != "object" || schema["additionalProperties"] != false ||
				(len(required) > 0) != (body["required"] == true) {
				t.Errorf("%s takes %v", name, schema)
			}
			properties, _ := schema["properties"].(object)
			for field, of := range properties {
				of := resolve(doc, of)
				bounded := of["maxLength"] != nil || of["enum"] != nil || of["pattern"] != nil || of["format"] != nil ||
					of["maximum"] != nil ||
					of["type"] == "boolean" || of["maxItems"] != nil || of["additionalProperties"] == false ||
					of["maxProperties"] != nil ||
					field == "credential"
				if !bounded {
					t.Errorf("%s: %s has no bound: %v", name, field, of)
				}
			}
		}
	}
	if bodies < 12 {
		t.Errorf("only %d calls take a body", bodies)
	}
	// Every reference leads somewhere.
	refs := 0
	var follow func(v any)
	follow = func(v any) {
		switch v := v.(type) {
		case object:
			if _, is := v["$ref"]; is {
				if refs++; resolve(doc, v) == nil {
					t.Errorf("%v leads nowhere", v["$ref"])
				}
			}
			for _, inner := range v {
				follow(inner)
			}
		case []any:
			for _, inner := range v {
				follow(inner)
			}
		}
	}
	if follow(doc.JSON); refs < 50 {
		t.Errorf("only %d references", refs)
	}
	// Everything that an answer must have, its schema names.
	schemas(doc.JSON, "", func(at string, schema object) {
		properties, _ := schema["properties"].(object)
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if properties[fmt.Sprint(name)] == nil {
				t.Errorf("%s requires %v and does not describe it", at, name)
			}
		}
	})
	// The codes are the contract's.
	problem := resolve(doc, object{"$ref": "#/components/schemas/Problem"})
	code, _ := problem["properties"].(object)["code"].(object)
	var codes []string
	listed, _ := code["enum"].([]any)
	for _, c := range listed {
		codes = append(codes, fmt.Sprint(c))
	}
	want := slices.Clone(contractCodes)
	slices.Sort(want)
	if slices.Sort(codes); !slices.Equal(codes, want) {
		t.Errorf("the document has the codes %v, the contract %v", codes, want)
	}
	p.takeExamples(doc)
}

// takeExamples sends each example of a body. Its ids may be those of nothing, but it is valid.
func (p *program) takeExamples(doc answer) {
	p.t.Helper()
	_, key := p.admin().mustAgent("Release bot")
	sent, routes := 0, p.routes()
	// Those of agents first, so that nothing is told to the channel of an example.
	slices.SortFunc(routes, func(a, b route) int {
		return cmp.Or(cmp.Compare(len(a.permission), len(b.permission)), strings.Compare(a.path, b.path))
	})
	for _, r := range routes {
		o := inside(doc.JSON, "paths", r.path, strings.ToLower(r.method))
		body, has := inside(o, "requestBody", "content", "application/json")["example"]
		if !has || strings.HasSuffix(r.path, "/cosignatures") { // no note but a signed one is valid
			continue
		}
		sent++
		caller := map[string]client{"agent": p.with(key), "admin": p.admin(), "anyone": p.anyone()}[r.caller]
		a := caller.call(r.method, r.at(newID().String(), newID().String()), body)
		if a.Status == 400 || a.Status >= 500 {
			p.t.Errorf("%s doesn't take its example: %s", r, a.Body)
		}
	}
	if sent < 35 {
		p.t.Errorf("only %d examples of bodies", sent)
	}
}

// TestGetOnAPostPathTellsWhatValidates makes, from what GET answers, the shortest and longest
// bodies that are taken and those just beyond.
func TestGetOnAPostPathTellsWhatValidates(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	path := func() string { return "/api/tools/" + admin.mustTool(newID().String(), "x") + "/request" }
	a := agent.must(200, "GET", path(), nil)
	if a.Text("schema.method") != "POST" || a.Text("schema.path") != "/api/tools/{id}/request" ||
		a.Text("schema.description") == "" || a.Text("schema.responses.201") == "" {
		t.Errorf("the schema: %s", a.Body)
	}
	fields, _ := a.At("schema.body").(object)
	if len(fields) != 2 || fields["requested_seconds"] == nil {
		t.Fatalf("the fields: %v", fields)
	}
	reason, _ := fields["reason"].(object)
	least, most := int(reason["min_length"].(float64)), int(reason["max_length"].(float64))
	if reason["type"] != "string" || reason["required"] != true || reason["description"] == "" || least != 5 ||
		most != 500 {
		t.Errorf("reason: %v", reason)
	}
	for _, tt := range []struct {
		body   object
		status int
	}{
		{object{"reason": reason["example"]}, 201},
		{object{"reason": strings.Repeat("ä", least)}, 201},
		{object{"reason": strings.Repeat("ä", most)}, 201},
		{object{"reason": strings.Repeat("ä", least-1)}, 400},
		{object{"reason": strings.Repeat("ä", most+1)}, 400},
		{object{}, 400},
		{object{"reason": reason["example"], "more": "x"}, 400},
	} {
		agent.must(tt.status, "POST", path(), tt.body)
	}
	// It is the same for a tool that there is not: the path is described, not the tool.
	agent.must(200, "GET", "/api/tools/"+newID().String()+"/request", nil)
	agent.must(200, "GET", "/api/tools/suggest", nil)
	agent.must(200, "GET", "/api/tools/"+newID().String()+"/instructions/suggest", nil)
}
