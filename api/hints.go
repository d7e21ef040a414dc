package api

import (
	"regexp"
	"strings"

	"agentkey/api/contract"
	"agentkey/domain"
)

// terms are the slots of a refusal's texts that HTTP has a header for.
var terms = map[string]string{
	"wait":         "Retry-After",
	"condition":    "If-Match",
	"tag":          "ETag",
	"once":         "Idempotency-Key",
	"key":          "Authorization: Bearer sk_agent_…",
	"organization": "X-Organization",
}

var (
	slots      = regexp.MustCompile(`\{\{|\{[a-z][A-Za-z]*\}`)
	parameters = regexp.MustCompile(`\{[a-z_]+\}`)
)

// say puts methods, paths and headers into the slots of a text. What is not a slot stays as it is,
// and so do the words of callers, in which a brace is doubled.
func (r routes) say(text string, next []domain.Next) string {
	return slots.ReplaceAllStringFunc(text, func(slot string) string {
		if slot == "{{" {
			return "{"
		}
		name := strings.Trim(slot, "{}")
		if term, known := terms[name]; known {
			return term
		}
		for _, n := range next {
			if op := r.byID[n.Op]; op != nil && n.Op == name {
				return op.Method + " " + pathOf(op, n.IDs)
			}
		}
		return slot
	})
}

// pathOf is an operation's path for ids, in order; a parameter without one stays.
func pathOf(op *contract.Operation, ids []string) string {
	return parameters.ReplaceAllStringFunc(op.Path, func(parameter string) string {
		var id string
		if len(ids) > 0 {
			id, ids = ids[0], ids[1:]
		}
		if id == "" {
			return parameter
		}
		return id
	})
}
