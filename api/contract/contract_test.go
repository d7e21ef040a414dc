package contract

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"agentkey/domain"
)

// operation finds an operation by its id.
func operation(t *testing.T, id string) *Operation {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range c.Operations {
		if op.ID == id {
			return op
		}
	}
	t.Fatalf("the document has no operation %s", id)
	return nil
}

func value(t *testing.T, text string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAMistakeIsNamedByItsPathFromTheRoot(t *testing.T) {
	const tool = `{"name": "Linear", "auth_type": "api_key", "credential_mode": "shared"}`
	file := func(tools ...string) string {
		return `{"agentkey_catalog": 1, "tools": [` + strings.Join(tools, ",") + `]}`
	}
	many := make([]string, 237)
	for i := range many {
		many[i] = tool
	}
	for _, i := range []int{9, 10, 236} {
		many[i] = `{"name": "Linear", "auth_type": "password", "credential_mode": "shared"}`
	}
	const (
		authTypes   = "it must be one of api_key, oauth_token, bot_token, other"
		credential  = "it must be a string, or an object of 1 to 16 named strings, of at most 16384 bytes"
		agentFields = "; the fields here are description, labels, name, owner"
		topics      = "it must be one of access_requested, tool_suggested, note_suggested, credential_expiring, " +
			"grant_expiring"
	)
	for _, tt := range []struct {
		name, operation, body string
		want                  []domain.Field
	}{
		{"nothing wrong", "importCatalog", file(tool), nil},
		{
			"fields within an object", "acceptSuggestion",
			`{"tool": {"name": "L", "credential": 1, "auth_type": "other", "Credential_mode": "shared"}}`,
			[]domain.Field{
				{Field: "tool.Credential_mode", Message: Unknown + "; write credential_mode"},
				{Field: "tool.credential", Message: credential},
				{Field: "tool.credential_mode", Message: required + "; it must be one of shared, per_agent"},
				{Field: "tool.name", Message: "it must be text of 2 to 120 characters"},
			},
		},
		{
			"a part of a value with several possible shapes", "replaceGrantCredential", `{"credential": {"user": 1}}`,
			[]domain.Field{{Field: "credential", Message: credential}},
		},
		{
			"a value of another type than an object", "acceptSuggestion", `{"tool": "Linear"}`,
			[]domain.Field{{Field: "tool", Message: "it must be an object"}},
		},
		{
			"fields of items, in the order of the list", "importCatalog", file(many...),
			[]domain.Field{
				{Field: "tools[9].auth_type", Message: authTypes},
				{Field: "tools[10].auth_type", Message: authTypes},
				{Field: "tools[236].auth_type", Message: authTypes},
			},
		},
		{
			"missing and unknown members of items", "importCatalog",
			file(tool, `{"name": "Linear", "x": 1, "auth_type": "other"}`),
			[]domain.Field{
				{Field: "tools[1].credential_mode", Message: required + "; it must be one of shared, per_agent"},
				{Field: "tools[1].x", Message: Unknown + "; the fields here are approval, auth_type, credential_mode, " +
					"description, docs_url, id, " +
					"instructions, labels, max_grant_seconds, name, url"},
			},
		},
		{
			"an item", "importCatalog", file("1"),
			[]domain.Field{{Field: "tools[0]", Message: "it must be an object"}},
		},
		{
			"an item that is text", "updateChannel",
			`{"topics": ["access_requested", "x"], "recipients": ["a@b.example", ""]}`,
			[]domain.Field{
				{Field: "recipients[1]", Message: "it must be text of 3 to 254 characters"},
				{Field: "topics[1]", Message: topics},
			},
		},
		{
			"a list that is too short", "updateChannel", `{"topics": []}`,
			[]domain.Field{{Field: "topics", Message: "it must be a list of 1 to 5 items"}},
		},
		{
			"a list without a minimum length", "importCatalog", `{"agentkey_catalog": 2, "tools": {}}`,
			[]domain.Field{
				{Field: "agentkey_catalog", Message: "it must be 1"},
				{Field: "tools", Message: "it must be a list of at most 2000 items"},
			},
		},
		{
			"two keywords at one place", "suggestTool", `{"name": "\u0007", "reason": "to file issues"}`,
			[]domain.Field{
				{Field: "name", Message: "character 1 is U+0007, a control character; remove it"},
			},
		},
		{
			"members that look like numbers", "registerAgent",
			`{"name": "Bot", "2": 1, "10": 1, "1a": 1, "01": 1, "1": 1}`,
			[]domain.Field{
				{Field: "01", Message: Unknown + agentFields},
				{Field: "1", Message: Unknown + agentFields},
				{Field: "2", Message: Unknown + agentFields},
				{Field: "10", Message: Unknown + agentFields},
				{Field: "1a", Message: Unknown + agentFields},
			},
		},
		{
			"a member without a name", "registerAgent", `{"name": "Bot", "": 1}`,
			[]domain.Field{{Field: "", Message: Unknown + agentFields}},
		},
		{
			"members with any names", "addTool",
			`{"name": "Linear", "auth_type": "other", "credential_mode": "per_agent", "labels": {"B": 1, "a": "\n", "b": "c"}}`,
			[]domain.Field{
				{Field: "labels.B", Message: "its name must be lower-case letters and digits, and between them also dots, " +
					"slashes, hyphens and underscores, of 1 to 63 characters"},
				{Field: "labels.a", Message: "character 1 is U+000A, a line break; write it in one line"},
			},
		},
		{
			"the body itself", "registerAgent", `[]`,
			[]domain.Field{{Field: "body", Message: "it must be an object"}},
		},
	} {
		for range 5 { // always in one order
			if diff := cmp.Diff(tt.want, operation(t, tt.operation).Mistakes(nil, value(t, tt.body))); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", tt.name, diff)
			}
		}
	}
}

func TestAParameterIsReadAsTheTypeOfItsSchema(t *testing.T) {
	const limit = "it must be a whole number from 1 to 200"
	for _, tt := range []struct {
		operation, query string
		want             []domain.Field
	}{
		{"listAgents", "", nil},
		{"listAgents", "limit=200&status=active&q=", nil},
		{"listAgents", "limit=201&status=Active", []domain.Field{
			{Field: "limit", Message: limit}, {Field: "status", Message: "it must be one of active, suspended, retired"},
		}},
		{"listAgents", "limit=5.0", []domain.Field{{Field: "limit", Message: limit}}},
		{"listAgents", "limit=", []domain.Field{{Field: "limit", Message: limit}}},
		{"importCatalog", "dry_run=true", nil},
		{"importCatalog", "dry_run=yes", []domain.Field{{Field: "dry_run", Message: "it must be true or false"}}},
		{"listAudit", "from=2030-01-31T12:00:00Z&actor_id=12", nil},
		{"listAudit", "from=2030-01-31", []domain.Field{
			{Field: "from", Message: "it must be a time such as 2030-01-31T12:00:00Z"},
		}},
		{"listAudit", "from=2030-01-31T12:00:00%2B02:00", nil},
		{"listAudit", "from=2030-01-31T12:00:00+02:00&to=2030-01-31+12:00:00Z", []domain.Field{
			{Field: "from", Message: "the + of its time zone arrived as a blank; write it as %2B in a query, or use Z"},
			{Field: "to", Message: "it must be a time such as 2030-01-31T12:00:00Z"},
		}},
	} {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, operation(t, tt.operation).Mistakes(query, nil)); diff != "" {
			t.Errorf("%s?%s (-want +got):\n%s", tt.operation, tt.query, diff)
		}
	}
}

// TestNoObjectOfABodyTakesUnknownMembers protects the binding, which ignores the case of letters.
func TestNoObjectOfABodyTakesUnknownMembers(t *testing.T) {
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	objects := 0
	var walk func(at string, s *jsonschema.Schema)
	walk = func(at string, s *jsonschema.Schema) {
		s = target(s)
		if s.OneOf != nil { // the credential, which is bound unread
			return
		}
		switch typeOf(s) {
		case "":
			t.Errorf("%s has no type", at)
		case "array":
			walk(at+"[]", s.Items2020)
		case "object":
			objects++
			if _, named := s.AdditionalProperties.(*jsonschema.Schema); named && len(s.Properties) == 0 {
				return // bound to a map, whose names stay as they are
			}
			if s.AdditionalProperties != false {
				t.Errorf("%s takes unknown members", at)
			}
			for name, property := range s.Properties {
				walk(at+"."+name, property)
			}
		}
	}
	for _, op := range c.Operations {
		if op.Body != nil {
			walk(op.ID, op.Body)
		}
	}
	if objects < 20 {
		t.Errorf("only %d objects", objects)
	}
}

func TestADocumentThatCannotGuardACallIsRefused(t *testing.T) {
	call := func(more string) string {
		return `{"paths": {"/x": {"post": {"x-agentkey": {"caller": "agent", "effect": "command"}` + more + `}}}}`
	}
	body := func(schema string) string {
		return call(`, "requestBody": {"content": {"application/json": {"schema": ` + schema + `}}}`)
	}
	if _, err := load([]byte(body(`{"type": "object", "additionalProperties": false}`))); err != nil {
		t.Error(err)
	}
	for name, tt := range map[string]struct{ document, want string }{
		"a body without a largest size": {body(`{"type": "object"}`), "takes members that it does not name"},
		"a text without a longest": {
			body(`{"type": "object", "additionalProperties": false, "properties": {"a": {"type": "string"}}}`),
			"has no maxLength",
		},
		"a list without a longest":        {body(`{"type": "array", "items": {"type": "boolean"}}`), "has no maxItems"},
		"a call without a caller":         {`{"paths": {"/x": {"get": {}}}}`, "GET /x: x-agentkey does not say"},
		"a schema with an unknown type":   {body(`{"type": "text"}`), "POST /x: "},
		"an object of any members":        {body(`{"type": "object"}`), "takes members that it does not name"},
		"a reference that leads nowhere":  {body(`{"$ref": "#/components/schemas/X"}`), "POST /x: "},
		"a pattern that Go can't compile": {body(`{"type": "string", "pattern": "(?=x)"}`), "POST /x: "},
		"a parameter that leads nowhere": {
			call(`, "parameters": [{"$ref": "#/components/parameters/x"}]`), "POST /x: ",
		},
		"a parameter without a schema": {call(`, "parameters": [{"name": "q", "in": "query"}]`), "POST /x: "},
		"a body of another media type": {call(`, "requestBody": {"content": {"text/plain": {}}}`), "POST /x: "},
		"text that isn't JSON":         {`openapi: 3.1.0`, "invalid character"},
	} {
		if _, err := load([]byte(tt.document)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
