package actions

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"agentkey/domain"
	"agentkey/readmodels"
)

// operator is who acts with a command on the server.
const operator = "operator"

// entry is an audit entry that is being told.
type entry struct{ readmodels.AuditEntry }

// Label is the label of an actor, also of one whose name was erased.
func Label(a domain.Actor) string {
	if a.Label != "" {
		return a.Label
	}
	switch a.Type {
	case domain.ActorHuman:
		return "Someone who was erased"
	case domain.ActorService:
		return "A service token whose name was erased"
	case domain.ActorAgent:
		return "Unknown agent"
	case domain.ActorSystem:
	}
	return "AgentKey"
}

// named is an actor in the middle of a sentence.
func named(a domain.Actor) string {
	switch {
	case a.Type == domain.ActorSystem && a.ID == operator:
		return "an operator"
	case a.Type == domain.ActorSystem:
		return "AgentKey"
	case a.Label != "":
		return a.Label
	case a.Type == domain.ActorAgent:
		return "an unknown agent"
	}
	text := Label(a)
	return strings.ToLower(text[:1]) + text[1:]
}

// who is the actor at the beginning of a sentence.
func (e entry) who() string {
	switch a := e.Actor; {
	case a.Type == domain.ActorSystem && a.ID == operator:
		return "An operator"
	case a.Type == domain.ActorSystem:
		return "AgentKey"
	case a.Type == domain.ActorAgent && a.Label == "":
		return "An unknown agent"
	}
	return Label(e.Actor)
}

func (e entry) agent() string { return cmp.Or(e.AgentName, "an unknown agent") }
func (e entry) tool() string  { return cmp.Or(e.ToolName, "an unknown tool") }

// subject is the agent at the beginning of a sentence.
func (e entry) subject() string { return cmp.Or(e.AgentName, "An unknown agent") }

// target is what the entry is about. kind says what it is: that stands alone where the name was
// erased or was never known.
func (e entry) target(kind string) string {
	label := e.Target.Label
	if label == "" || strings.EqualFold(label, kind) || label == "Unknown "+strings.ReplaceAll(e.Target.Type, "_", " ") {
		if strings.ContainsRune("aeiou", rune(kind[0])) {
			return "an " + kind
		}
		return "a " + kind
	}
	return "the " + kind + " " + label
}

// close ends a sentence: for whom a part of AgentKey acted, and a period.
func (e entry) close(sentence string) string {
	if e.Actor.Type == domain.ActorSystem && e.OnBehalfOf.ID != "" {
		sentence += ", on behalf of " + named(e.OnBehalfOf)
	}
	return sentence + "."
}

// until is the end of an access, which may have none.
func until(end *time.Time) string {
	if end == nil || end.IsZero() {
		return ""
	}
	return " until " + moment(*end)
}

// moment is a time as sentences have it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// times says how many calls an entry stands for.
func times(count int) string {
	if count > 1 {
		return fmt.Sprintf(" (%d times)", count)
	}
	return ""
}

// version is that of a credential or a guide, in brackets.
func version(n int) string {
	if n > 0 {
		return fmt.Sprintf(" (version %d)", n)
	}
	return ""
}

// counted is a number of things.
func counted(n int, one, many string) string {
	if n == 1 {
		return "one " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// list joins words as people do.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
