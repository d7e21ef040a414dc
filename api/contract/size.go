package contract

import (
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bytes that JSON (RFC 8259) may take in its most wasteful encoding.
const (
	perCharacter = 12     // beyond U+FFFF: two escapes of six bytes
	perByte      = 6      // of UTF-8: \u0041 for A
	numeral      = 32     // as clients write the numbers of this contract
	word         = 5      // false
	around       = 1 << 8 // white space and punctuation about one value
)

// credentialBytes bounds a credential: all its names and values together, in UTF-8.
const credentialBytes = 16_384

// largest returns how many bytes a valid value of a schema may take in its most wasteful encoding.
// It fails where the schema has no bound.
func largest(s *jsonschema.Schema) (int64, error) {
	s = target(s)
	if strings.HasSuffix(s.Location, "/schemas/Credential") {
		return credentialBytes*perByte + 17*around, nil
	}
	if s.Enum != nil {
		most := 0
		for _, v := range s.Enum.Values {
			most = max(most, len(fmt.Sprint(v)))
		}
		return int64(most*perByte + around), nil
	}
	if most, found, err := largestOf(s.AllOf, s.AnyOf, s.OneOf); found || err != nil {
		return most, err
	}
	switch typeOf(s) {
	case "string":
		return largestString(s)
	case "object":
		return largestObject(s)
	case "array":
		if s.MaxItems == nil || s.Items2020 == nil {
			return 0, fmt.Errorf("%s has no maxItems", s.Location)
		}
		item, err := largest(s.Items2020)
		return item*int64(*s.MaxItems) + around, err
	case "boolean":
		return word + around, nil
	case "integer", "number":
		return numeral + around, nil
	}
	return 0, fmt.Errorf("%s has no type whose size is known", s.Location)
}

func largestOf(choices ...[]*jsonschema.Schema) (most int64, found bool, err error) {
	for _, list := range choices {
		for _, choice := range list {
			if choice.Types != nil && choice.Types.String() == "[null]" {
				continue
			}
			size, err := largest(choice)
			if err != nil {
				return 0, true, err
			}
			most, found = max(most, size), true
		}
	}
	return most, found, nil
}

func largestString(s *jsonschema.Schema) (int64, error) {
	switch {
	case s.MaxLength != nil:
		return int64(*s.MaxLength)*perCharacter + around, nil
	case s.Format != nil, s.Pattern != nil: // a time or an id
		return 64*perByte + around, nil
	}
	return 0, fmt.Errorf("%s has no maxLength", s.Location)
}

func largestObject(s *jsonschema.Schema) (int64, error) {
	most := int64(around)
	for name, member := range s.Properties {
		size, err := largest(member)
		if err != nil {
			return 0, err
		}
		most += size + int64(len(name))*perByte + around
	}
	other, open := s.AdditionalProperties.(*jsonschema.Schema)
	if open && s.MaxProperties != nil && s.PropertyNames != nil {
		name, err := largest(s.PropertyNames)
		if err != nil {
			return 0, err
		}
		size, err := largest(other)
		return most + int64(*s.MaxProperties)*(name+size+around), err
	}
	if closed, ok := s.AdditionalProperties.(bool); !ok || closed {
		return 0, fmt.Errorf("%s takes members that it does not name", s.Location)
	}
	return most, nil
}
