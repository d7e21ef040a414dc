package api

import (
	"path"
	"slices"
	"strings"

	verrors "github.com/pb33f/libopenapi-validator/errors"
	"go.yaml.in/yaml/v3"

	"agentkey/domain"
)

// fieldsOf says of each field that the validator objects to what it must be. What was sent is not repeated: it may be
// a credential in the wrong place.
func fieldsOf(op *operation, found []*verrors.ValidationError) []domain.Field {
	var out []domain.Field
	add := func(field, message string) {
		f := domain.Field{Field: field, Message: message}
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	must := func(field string) {
		message, known := op.musts[field]
		if !known {
			message = "it is not valid"
		}
		add(field, message)
	}
	for _, e := range found {
		if e.ParameterName != "" {
			must(e.ParameterName)
			continue
		}
		for _, v := range e.SchemaValidationErrors {
			keyword := path.Base(v.KeywordLocation)
			message, about := memberMessages[keyword]
			within := strings.Join(v.InstancePath, ".")
			switch _, known := op.musts[within]; {
			case about && v.OriginalJsonSchemaError != nil && (len(v.InstancePath) == 0 || op.objects[within]):
				for _, name := range memberNames(v.OriginalJsonSchemaError, keyword) {
					add(strings.TrimPrefix(within+"."+name, "."), message)
				}
			case known:
				must(within)
			case len(v.InstancePath) > 0:
				must(v.InstancePath[0])
			default:
				must("body")
			}
		}
		if len(e.SchemaValidationErrors) == 0 {
			add("body", "it is missing")
		}
	}
	slices.SortFunc(out, func(a, b domain.Field) int { return strings.Compare(a.Field, b.Field) })
	return out
}

// memberMessages are what is said of a member that an object lacks or has too many of, by the keyword that found it.
var memberMessages = map[string]string{"required": "it is required", "additionalProperties": "there is no such field here"}

// mustBe puts a schema of the document into words.
func mustBe(schema *yaml.Node) string {
	keyword := func(name string) string { return scalar(child(schema, name)) }
	switch {
	case child(schema, "enum") != nil:
		var values []string
		for _, v := range contents(child(schema, "enum")) {
			values = append(values, v.Value)
		}
		return "it must be one of " + strings.Join(values, ", ")
	case child(schema, "oneOf") != nil: // the credential's, which alone has two shapes
		return "it must be a string, or an object of 1 to 16 named strings, of at most 16384 bytes"
	case keyword("type") == "object":
		return "it must be an object"
	case keyword("type") == "boolean":
		return "it must be true or false"
	case keyword("type") == "array":
		return "it must be a list of " + keyword("minItems") + " to " + keyword("maxItems") + " of what the document names"
	case keyword("type") == "integer":
		return "it must be a whole number from " + keyword("minimum") + " to " + keyword("maximum")
	case keyword("format") == "date-time":
		return "it must be a time such as 2030-01-31T12:00:00Z"
	}
	kind, size := "text", ""
	if about := strings.TrimSuffix(keyword("description"), "."); child(schema, "pattern") != nil && about != "" {
		kind = strings.ToLower(about[:1]) + about[1:]
	}
	switch least, most := keyword("minLength"), keyword("maxLength"); {
	case least != "" && most != "":
		size = " of " + least + " to " + most + " characters"
	case most != "":
		size = " of at most " + most + " characters"
	}
	return "it must be " + kind + size
}
