package body

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"agentkey/domain"
)

// place is a position in a text. Line and column count from 1; a column is a character.
type place struct{ line, column int }

func placeOf(text []byte, at int) place {
	before := text[:min(at, len(text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return place{bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1}
}

func (p place) String() string { return fmt.Sprintf("line %d, column %d", p.line, p.column) }

// fault is a place where a text can't be read, and what is probably wrong there.
type fault struct {
	place
	cause string
}

func (f fault) Error() string { return f.cause }

func (f fault) field(name string) domain.Field {
	return domain.Field{Field: name, Message: f.cause, Line: f.line, Column: f.column}
}

// malformed is the refusal of a text that isn't one object of a language.
func malformed(language string, f fault) error {
	return &domain.Error{
		Kind: domain.KindInvalid, Code: "malformed_json",
		Detail: fmt.Sprintf("The body is not valid %s at %s: %s.", language, f.place, f.cause),
		Hint:   hints[language], Fields: []domain.Field{f.field("body")},
	}
}

var hints = map[string]string{
	"JSON": "Correct that place and send exactly one JSON object in UTF-8, each member once, as described in GET " +
		"/openapi.json.",
	"YAML": "Correct that place and send one YAML document that says what JSON could say, as GET " +
		"/api/admin/catalog/export answers it.",
}
