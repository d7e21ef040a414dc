package actions

import "agentkey/domain/rulebook"

var ofRules = []row{
	told("rule.added", Organization, "A rule was added that decides requests.",
		ada, rulebook.Added{}, func(e entry, _ rulebook.Added) string {
			return e.who() + " added " + e.target("rule")
		}),
	told("rule.changed", Organization, "A rule that decides requests changed.",
		ada, rulebook.Changed{Version: 2}, func(e entry, d rulebook.Changed) string {
			return e.who() + " changed " + e.target("rule") + version(d.Version)
		}),
	told("rule.removed", Organization, "A rule that decided requests was removed.",
		ada, rulebook.Removed{}, func(e entry, _ rulebook.Removed) string {
			return e.who() + " removed " + e.target("rule")
		}),
	told("rule.failed", Organization, "A rule failed on a request, which waits for a human.",
		part, rulebook.Failed{Problem: "it takes too long"}, func(e entry, d rulebook.Failed) string {
			return e.who() + " couldn't apply " + e.target("rule") + ": " + d.Problem
		}),
}
