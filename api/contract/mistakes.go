package contract

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"agentkey/commands/words"
	"agentkey/domain"
)

const (
	required = "it is required"
	invalid  = "it is not valid"
)

// Unknown begins what is wrong with a member that its object doesn't take.
const Unknown = "there is no such field here"

// mistakes lists each place where a value breaks its schema and says what it must be there, in the
// order of the places. whole names the value itself. A message never repeats what was sent, which
// may be a credential in the wrong place.
func mistakes(schema *jsonschema.Schema, value any, whole string) []domain.Field {
	err := schema.Validate(value)
	if err == nil {
		return nil
	}
	refused, known := errors.AsType[*jsonschema.ValidationError](err)
	if !known {
		return []domain.Field{{Field: whole, Message: invalid}}
	}
	var found []mistake
	collect(refused, func(m mistake) { found = append(found, m) })
	found = append(found, misnamed(schema, value, nil)...)
	slices.SortStableFunc(found, func(a, b mistake) int {
		return cmp.Or(slices.CompareFunc(a.at, b.at, byStep), cmp.Compare(len(b.message), len(a.message)))
	})
	var out []domain.Field
	for _, m := range found {
		field, of := place(schema, m.at)
		if len(m.at) == 0 {
			field = whole
		}
		message := cmp.Or(m.message, mustBe(of))
		switch m.message {
		case required:
			message += "; " + mustBe(of)
		case Unknown:
			_, object := place(schema, m.at[:len(m.at)-1])
			message += taken(object, m.at[len(m.at)-1])
		}
		f := domain.Field{Field: field, Message: message}
		if last := len(out) - 1; last < 0 || out[last] != f && (m.message != "" || out[last].Field != field) {
			out = append(out, f)
		}
	}
	return out
}

// mistake is a place in a value that breaks its schema.
type mistake struct {
	at      []string // from the root of the value
	message string   // "": the schema there says what it must be
}

// collect walks the tree of errors to its leaves. A value that matches none of several shapes is
// one mistake, because nobody knows which shape was meant.
func collect(e *jsonschema.ValidationError, add func(mistake)) {
	members := func(names []string, message string) {
		for _, name := range names {
			add(mistake{append(slices.Clone(e.InstanceLocation), name), message})
		}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Schema, *kind.Reference, *kind.Group, *kind.AllOf:
		for _, cause := range e.Causes {
			collect(cause, add)
		}
	case *kind.Required:
		members(k.Missing, required)
	case *kind.AdditionalProperties:
		members(k.Properties, Unknown)
	case *kind.PropertyNames: // misnamed finds them
	case *kind.Format:
		unfit, _ := errors.AsType[*words.Unfit](k.Err)
		if unfit == nil {
			add(mistake{at: e.InstanceLocation})
			return
		}
		add(mistake{e.InstanceLocation, unfit.Error()})
	default:
		add(mistake{at: e.InstanceLocation})
	}
}

// misnamed lists the members whose names break a rule of their object. The validator says of a
// wrong name in which object it is, but the place may be another by the time it returns.
func misnamed(schema *jsonschema.Schema, value any, at []string) (all []mistake) {
	schema = target(schema)
	if schema == nil {
		return nil
	}
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			within := append(slices.Clone(at), name)
			if names := target(schema.PropertyNames); names != nil && names.Validate(name) != nil {
				all = append(all, mistake{within, "its name must be " + text(names)})
			}
			all = append(all, misnamed(schema.Properties[name], member, within)...)
		}
	case []any:
		for i, item := range value {
			all = append(all, misnamed(schema.Items2020, item, append(slices.Clone(at), strconv.Itoa(i)))...)
		}
	}
	return all
}

// taken names the member that was probably meant, or else all that an object takes.
func taken(object *jsonschema.Schema, sent string) string {
	if object == nil || len(object.Properties) == 0 {
		return ""
	}
	names := slices.Sorted(maps.Keys(object.Properties))
	for _, name := range names {
		if bare.Replace(strings.ToLower(sent)) == bare.Replace(name) {
			return "; write " + name
		}
	}
	return "; the fields here are " + strings.Join(names, ", ")
}

var bare = strings.NewReplacer("_", "", "-", "", " ", "")

// byStep sorts item 9 of a list before item 10. A member of an object may look like a number too,
// so numbers come before names.
func byStep(a, b string) int {
	m, merr := strconv.Atoi(a)
	n, nerr := strconv.Atoi(b)
	switch {
	case merr == nil && nerr == nil:
		return cmp.Or(cmp.Compare(m, n), strings.Compare(a, b))
	case merr == nil:
		return -1
	case nerr == nil:
		return 1
	}
	return strings.Compare(a, b)
}

// place writes a path from the root of a value, such as tools[2].name, and finds the schema there,
// nil if there is none.
func place(schema *jsonschema.Schema, steps []string) (string, *jsonschema.Schema) {
	var path strings.Builder
	for _, step := range steps {
		switch of := target(schema); {
		case of != nil && of.Items2020 != nil:
			path.WriteString("[" + step + "]")
			schema = of.Items2020
			continue
		case of != nil:
			member, is := of.Properties[step]
			if !is {
				member, _ = of.AdditionalProperties.(*jsonschema.Schema)
			}
			schema = member
		}
		if path.Len() > 0 {
			path.WriteString(".")
		}
		path.WriteString(step)
	}
	return path.String(), target(schema)
}

// target follows references.
func target(s *jsonschema.Schema) *jsonschema.Schema {
	for s != nil && s.Ref != nil {
		s = s.Ref
	}
	return s
}

// typeOf is the type that a schema wants beside null, "" if it wants none or several.
func typeOf(s *jsonschema.Schema) string {
	if s == nil || s.Types == nil {
		return ""
	}
	types := slices.DeleteFunc(s.Types.ToStrings(), func(name string) bool { return name == null })
	if len(types) != 1 {
		return ""
	}
	return types[0]
}

const null = "null"

// nullable reports whether a schema takes null beside its type.
func nullable(s *jsonschema.Schema) bool {
	return s != nil && s.Types != nil && slices.Contains(s.Types.ToStrings(), null)
}

// mustBe describes a schema in words.
func mustBe(s *jsonschema.Schema) string {
	if nullable(s) {
		return described(s) + ", or null to clear it"
	}
	return described(s)
}

func described(s *jsonschema.Schema) string {
	if s == nil {
		return invalid
	}
	if s.Enum != nil {
		values := make([]string, len(s.Enum.Values))
		for i, v := range s.Enum.Values {
			values[i] = fmt.Sprint(v)
		}
		return "it must be one of " + strings.Join(values, ", ")
	}
	if s.OneOf != nil { // only the credential has two shapes
		return "it must be a string, or an object of 1 to 16 named strings, of at most 16384 bytes"
	}
	switch typeOf(s) {
	case "object":
		return "it must be an object" + within(" of ", number(s.MinProperties), number(s.MaxProperties), " members")
	case "boolean":
		return "it must be true or false"
	case "array":
		return "it must be a list" + within(" of ", number(s.MinItems), number(s.MaxItems), " items")
	case "integer":
		if s.Minimum != nil && s.Maximum != nil && s.Minimum.Cmp(s.Maximum) == 0 {
			return "it must be " + ratio(s.Minimum)
		}
		return "it must be a whole number" + within(" from ", ratio(s.Minimum), ratio(s.Maximum), "")
	case "string":
		return "it must be " + text(s)
	}
	return invalid
}

// text describes the schema of a string. The description of a pattern says what it matches.
func text(s *jsonschema.Schema) string {
	if s.Format != nil && s.Format.Name == "date-time" {
		return "a time such as 2030-01-31T12:00:00Z"
	}
	what := "text"
	if about := strings.TrimSuffix(s.Description, "."); s.Pattern != nil && about != "" {
		what = strings.ToLower(about[:1]) + about[1:]
	}
	if s.Format != nil && s.Format.Name == webAddress {
		what = "an http or https URL without a user"
	}
	bounds := within(" of ", number(s.MinLength), number(s.MaxLength), " characters")
	if what != "text" && bounds != "" {
		return what + "," + bounds
	}
	return what + bounds
}

// within describes bounds, "" if there are none.
func within(before, least, most, after string) string {
	switch {
	case least != "" && most != "":
		return before + least + " to " + most + after
	case most != "":
		return " of at most " + most + after
	case least != "":
		return " of at least " + least + after
	}
	return ""
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func ratio(r *big.Rat) string {
	if r == nil {
		return ""
	}
	return r.RatString()
}
