package contract

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"agentkey/commands/words"
	"agentkey/domain"
)

// webAddress is the format of a URL that people may follow.
const webAddress = "web-address"

// texts are the formats of everything that people read.
var texts = map[string]func(string) error{
	"name": words.Name, "text": words.Text, "line": words.Line,
	webAddress: func(text string) error {
		_, err := words.URL(text)
		return err
	},
}

func ofText(check func(string) error) func(any) error {
	return func(v any) error {
		text, ok := v.(string)
		if !ok {
			return nil
		}
		return check(text)
	}
}

func isWebAddress(schema *jsonschema.Schema) bool {
	return schema.Format != nil && schema.Format.Name == webAddress
}

// hasWebAddress reports whether a value of a schema may hold a URL.
func hasWebAddress(schema *jsonschema.Schema) bool {
	schema = target(schema)
	if schema == nil {
		return false
	}
	for _, member := range schema.Properties {
		if hasWebAddress(member) {
			return true
		}
	}
	return isWebAddress(schema) || hasWebAddress(schema.Items2020)
}

// Settle replaces each URL of a valid body by the form that is stored, and lists those that are too
// long in it.
func (o *Operation) Settle(body any) []domain.Field { return settle(o.Body, body, "") }

func settle(schema *jsonschema.Schema, value any, at string) (wrong []domain.Field) {
	schema = target(schema)
	if schema == nil {
		return nil
	}
	switch value := value.(type) {
	case map[string]any:
		for name, member := range schema.Properties {
			within := name
			if at != "" {
				within = at + "." + name
			}
			text, is := value[name].(string)
			if of := target(member); !is || !isWebAddress(of) {
				wrong = append(wrong, settle(member, value[name], within)...)
				continue
			} else if written, err := words.URL(text); err == nil {
				value[name] = written
				if n := utf8.RuneCountInString(written); of.MaxLength != nil && n > *of.MaxLength {
					wrong = append(wrong, domain.Field{Field: within, Message: fmt.Sprintf(
						"in ASCII, as it is stored, it has %d characters, and at most %d fit", n, *of.MaxLength,
					)})
				}
			}
		}
	case []any:
		for i, item := range value {
			wrong = append(wrong, settle(schema.Items2020, item, at+"["+strconv.Itoa(i)+"]")...)
		}
	}
	return wrong
}
