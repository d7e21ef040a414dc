package contract

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"agentkey/domain"
)

// Operation is one call as the document describes it.
// Nothing else defines its caller, tier and permission.
type Operation struct {
	Method, Path string // Path has the document's {parameters}
	ID, Summary  string
	Responses    map[string]string // descriptions, by status

	Caller     string // agent, admin or anyone
	Tier       string
	Permission string
	Self       bool // on their own id a caller who may read may call it too
	Command    bool
	StrictCORS bool
	Compress   bool // its answers hold no secret, and are worth compressing

	Body      *jsonschema.Schema // nil: it takes no body
	NeedsBody bool
	TakesYAML bool
	MaxBody   int64 // bytes; no valid body is larger, however it is encoded

	TakesIfMatch bool // it has the effect only if the resource is as the header says
	AnswersETag  bool // its success does
	Revalidates  bool // it answers 304 to a client that has what its ETag names

	HasWebAddress bool // its body has a URL, which Settle rewrites

	// Clears has the members that a PATCH clears with null or an empty text, and what each is then;
	// nil for other methods.
	Clears map[string]any

	query []parameter // sorted by name
	codes []string    // of refusals that few calls have
}

// parameter is a query parameter.
type parameter struct {
	name     string
	schema   *jsonschema.Schema
	required bool
	repeats  bool // a list whose items are given one after another, under the same name
}

// TakesParameter reports whether the query may contain a parameter.
func (o *Operation) TakesParameter(name string) bool {
	return slices.ContainsFunc(o.query, func(p parameter) bool { return p.name == name })
}

// Repeats reports whether the query may contain a parameter several times.
func (o *Operation) Repeats(name string) bool {
	return slices.ContainsFunc(o.query, func(p parameter) bool { return p.name == name && p.repeats })
}

// TakesInput reports whether the operation takes a body or a query.
func (o *Operation) TakesInput() bool { return o.Body != nil || len(o.query) > 0 }

// Mistakes lists what is wrong with a query and a body; body is nil if the request has none.
// The caller has refused parameters that the operation doesn't take.
func (o *Operation) Mistakes(query url.Values, body any) []domain.Field {
	var out []domain.Field
	for _, p := range o.query {
		switch {
		case query.Has(p.name):
			found := mistakes(p.schema, p.typed(query[p.name]), p.name)
			if len(found) > 0 { // an item of a list has no name of its own
				found = found[:1]
				found[0].Field = p.name
			}
			if len(found) > 0 && lostPlus(p.schema, query.Get(p.name)) {
				found[0].Message = "the + of its time zone arrived as a blank; write it as %2B in a query, or use Z"
			}
			out = append(out, found...)
		case p.required:
			out = append(out, domain.Field{Field: p.name, Message: required})
		}
	}
	if o.Body != nil && body != nil {
		out = append(out, mistakes(o.Body, body, "body")...)
	}
	return out
}

// Place returns the path of a field from the root of the body. A rule that knows only a part of the
// body, such as the tool of a suggestion, names a field from the root of that part.
func (o *Operation) Place(field string) string {
	body := target(o.Body)
	first := field
	if end := strings.IndexAny(field, ".["); end >= 0 {
		first = field[:end]
	}
	if body == nil || body.Properties[first] != nil || o.TakesParameter(first) {
		return field
	}
	for name, part := range body.Properties {
		if part = target(part); typeOf(part) == "object" && part.Properties[first] != nil {
			return name + "." + field
		}
	}
	return field
}

// lostPlus reports whether a text would be a time if its blank were a +, which a query without
// escapes makes of it.
func lostPlus(schema *jsonschema.Schema, text string) bool {
	s := target(schema)
	return s != nil && s.Format != nil && s.Format.Name == "date-time" &&
		strings.Contains(text, " ") && checkTime(strings.Replace(text, " ", "+", 1)) == nil
}

// typed converts what a query has of a parameter.
func (p parameter) typed(texts []string) any {
	if !p.repeats {
		return typed(p.schema, texts[0])
	}
	items := make([]any, len(texts))
	for i, text := range texts {
		items[i] = text
	}
	return items
}

// typed converts a parameter to the type that its schema wants, by the rules that bind it later.
// The items of a list, which are texts, have commas between them. Text that can't be converted
// stays text, which the schema then refuses.
func typed(schema *jsonschema.Schema, text string) any {
	switch typeOf(target(schema)) {
	case "integer":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case "boolean":
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	case "array":
		items := []any{}
		for item := range strings.SplitSeq(text, ",") {
			items = append(items, item)
		}
		return items
	}
	return text
}

// Member is a field of a body, in the few words with which a GET describes the POST on its path.
type Member struct {
	Name                 string
	Type                 string
	Required             bool
	MinLength, MaxLength *int
	Description, Example string
}

// Members lists the fields of the body that an operation takes.
func (o *Operation) Members() []Member {
	body := target(o.Body)
	out := make([]Member, 0, len(body.Properties))
	for name, schema := range body.Properties {
		schema = target(schema)
		m := Member{
			Name: name, Type: typeOf(schema), Required: slices.Contains(body.Required, name),
			MinLength: schema.MinLength, MaxLength: schema.MaxLength, Description: schema.Description,
		}
		if len(schema.Examples) > 0 {
			m.Example = fmt.Sprint(schema.Examples[0])
		}
		out = append(out, m)
	}
	return out
}
