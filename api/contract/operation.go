package contract

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"agentkey/domain"
)

// Operation is what the document says of one call: the one place where caller, tier and permission stand.
type Operation struct {
	Method, Path string // as in the document
	ID, Summary  string
	Responses    map[string]string // descriptions, by status

	Caller     string // agent, admin or anyone
	Tier       string
	Permission string
	Command    bool
	StrictCORS bool

	Body      *jsonschema.Schema // nil: it takes none
	NeedsBody bool
	TakesYAML bool
	MaxBody   int64 // bytes; 0: what callers of its kind may send

	query []parameter // by name
}

// parameter is one of the query.
type parameter struct {
	name     string
	schema   *jsonschema.Schema
	required bool
}

// TakesParameter reports whether the query may have a parameter of this name.
func (o *Operation) TakesParameter(name string) bool {
	return slices.ContainsFunc(o.query, func(p parameter) bool { return p.name == name })
}

// Mistakes are what the contract objects to in a query, whose names must be known, and in a body, which is nil when
// there is none.
func (o *Operation) Mistakes(query url.Values, body any) []domain.Field {
	var out []domain.Field
	for _, p := range o.query {
		switch {
		case query.Has(p.name):
			out = append(out, mistakes(p.schema, typed(p.schema, query.Get(p.name)), p.name)...)
		case p.required:
			out = append(out, domain.Field{Field: p.name, Message: required})
		}
	}
	if o.Body != nil && body != nil {
		out = append(out, mistakes(o.Body, body, "body")...)
	}
	return out
}

// typed reads a parameter as the type that its schema wants, by the rules by which it is bound. Text that can't be read
// so stays text, to which the schema objects.
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
	}
	return text
}

// Member is a field of a body, as GET on the path of a POST describes it.
type Member struct {
	Name                 string
	Type                 string
	Required             bool
	MinLength, MaxLength *int
	Description, Example string
}

// Members are the fields of the body that an operation takes.
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
