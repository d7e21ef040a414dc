package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"agentkey/api/contract"
)

const unknownID = "0198c0de-0000-7000-8000-00000000dead"

// wasteful returns a value of a schema in which everything is as long as the contract allows and
// each character takes as many bytes as JSON can make of it.
func wasteful(s *jsonschema.Schema) string {
	for s.Ref != nil {
		s = s.Ref
	}
	switch {
	case strings.HasSuffix(s.Location, "/schemas/Credential"):
		return `"` + strings.Repeat(`\u0061`, 16_384) + `"`
	case s.Enum != nil:
		text, _ := json.Marshal(s.Enum.Values[len(s.Enum.Values)-1])
		return string(text)
	case len(s.AnyOf) > 0:
		return wasteful(s.AnyOf[0])
	case len(s.OneOf) > 0:
		return wasteful(s.OneOf[0])
	case s.Format != nil && s.Format.Name == "date-time":
		return `"2100-01-01T00:00:00.000000000+00:00"`
	case s.Pattern != nil:
		return `"` + unknownID + `"`
	}
	types := s.Types.ToStrings()
	switch types[len(types)-1] { // null comes first
	case "string":
		return `"` + strings.Repeat(`\ud83d\ude00`, *s.MaxLength) + `"`
	case "array":
		return "[" + strings.Repeat(wasteful(s.Items2020)+" ,\n", *s.MaxItems-1) + wasteful(s.Items2020) + "]"
	case "object":
		var members []string
		for name, member := range s.Properties {
			members = append(members, "  \""+name+"\" : "+wasteful(member))
		}
		return "{\n" + strings.Join(members, " ,\n") + "\n}"
	case "boolean":
		return "false"
	}
	return "1000000000"
}

// TestNoDocumentedLengthIsTooLarge sends each operation the largest body that its schema allows,
// and one that is larger than every such body.
func TestNoDocumentedLengthIsTooLarge(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	_, key := p.admin().mustAgent("Onboarding")
	c, err := contract.Load()
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, op := range c.Operations {
		if op.Body == nil || op.ID == "importCatalog" { // a file has a bound of its own
			continue
		}
		caller, body := p.admin(), wasteful(op.Body)
		if op.Caller == "agent" {
			caller = p.with(key)
		}
		path := route{path: op.Path}.at(unknownID, unknownID)
		if a := caller.call(op.Method, path, body); a.Status == 413 || a.Status >= 500 {
			t.Errorf("%s: %d bytes of %d: %d %s", op.ID, len(body), op.MaxBody, a.Status, a.Body)
		}
		caller.refused(413, "body_too_large", op.Method, path, strings.Repeat(" ", int(op.MaxBody)+1))
		sent++
	}
	if sent < 20 {
		t.Errorf("only %d operations take a body", sent)
	}
}

// TestTextsOfEveryScriptFit sends documented lengths as people and programs write them.
func TestTextsOfEveryScriptFit(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	id, key := p.admin().mustAgent("Onboarding")
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	p.admin().mustAssign(id, tool)
	agent := p.with(key)
	escaped := func(r string, n int) string { return strings.Repeat(r, n) }
	for name, body := range map[string]string{
		"Chinese":          `{"learned": "` + escaped("学", 2000) + `", "why": "` + escaped("习", 2000) + `"}`,
		"escaped Chinese":  `{"learned": "` + escaped(`\u5b66`, 2000) + `", "why": "` + escaped(`\u4e60`, 2000) + `"}`,
		"escaped Cyrillic": `{"learned": "` + escaped(`\u0436`, 1000) + `", "why": "` + escaped(`\u0449`, 400) + `"}`,
		"emoji":            `{"learned": "` + escaped("😀", 2000) + `", "why": "` + escaped(`\ud83d\ude00`, 2000) + `"}`,
	} {
		if a := agent.call("POST", "/api/tools/"+tool+"/instructions/suggest", body); a.Status != 201 {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	other := p.admin().mustTool("Linear", "lin_secret")
	agent.must(201, "POST", "/api/tools/"+other+"/request", `{"reason": "`+escaped(`\ud83d\ude00`, 500)+`"}`)
	agent.must(
		201, "POST", "/api/tools/suggest", `{"name": "`+escaped(`\u5b66`, 120)+`", "reason": "`+escaped("習", 500)+`"}`,
	)
	p.admin().must(
		200, "PUT", "/api/admin/tools/"+tool+"/credential", `{"credential": "`+escaped(`\u0061`, 16_384)+`"}`,
	)
	p.admin().must(200, "PATCH", "/api/admin/tools/"+tool, `{"instructions": "`+escaped(`\u5b66`, 4000)+`"}`)
}
