package domain

import (
	"fmt"
	"slices"
	"strings"
)

// Parts are the names of a credential's parts, sorted; none if it is one string.
type Parts []string

// Become refuses to replace a credential with one of other parts: agents that read a part which
// isn't there any more would break. call is the slot of the operation that may be told to do it.
func (p Parts) Become(sent Parts, call string, next Next) error {
	if slices.Equal(p, sent) {
		return nil
	}
	return &Error{
		Kind: KindConflict, Code: "credential_shape_differs",
		Detail: fmt.Sprintf("The credential is %s, and what you sent is %s. Agents that read it as it was would "+
			"break.", p, sent),
		Hint: fmt.Sprintf("Send %s. If the agents and the usage guide are ready for the new form, call %s again "+
			`with "replace_shape": true in the body.`, p, call),
		Next: []Next{next},
	}
}

// String describes a credential for the texts of a refusal.
func (p Parts) String() string {
	if len(p) == 0 {
		return "one string"
	}
	return "an object of " + Verbatim(strings.Join(p, ", "))
}
