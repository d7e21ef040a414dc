package domain

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Labels are what people sort agents and tools by: values by their keys. They are neither secret
// nor about a person. They are held as JSON with its keys in order, so that equal ones are equal
// texts; "" is none. An agent's calls change none.
type Labels string

// NewLabels returns labels. The contract has checked how many there are, and their characters.
func NewLabels(of map[string]string) Labels {
	if len(of) == 0 {
		return ""
	}
	raw, _ := json.Marshal(of) // of texts
	return Labels(raw)
}

// Map returns the values by their keys.
func (l Labels) Map() map[string]string {
	of := map[string]string{}
	if l != "" {
		_ = json.Unmarshal([]byte(l), &of) // that NewLabels wrote
	}
	return of
}

// MarshalJSON implements json.Marshaler.
func (l Labels) MarshalJSON() ([]byte, error) {
	if l == "" {
		return []byte("{}"), nil
	}
	return []byte(l), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Labels) UnmarshalJSON(raw []byte) error {
	var of map[string]string
	if err := json.Unmarshal(raw, &of); err != nil {
		return err
	}
	*l = NewLabels(of)
	return nil
}

// String describes the labels for the plan of an import, "" where there are none.
func (l Labels) String() string {
	of := l.Map()
	var all []string
	for _, key := range slices.Sorted(maps.Keys(of)) {
		all = append(all, key+": "+of[key])
	}
	return strings.Join(all, ", ")
}
