package actions

import (
	"fmt"

	"agentkey/domain/catalog"
	"agentkey/domain/guide"
)

var ofTheCatalog = []row{
	told("tool.added", Catalog, "A tool was added to the catalog.",
		ada, catalog.ToolAdded{}, func(e entry, _ catalog.ToolAdded) string {
			return e.who() + " added " + e.target("tool")
		}),
	told("tool.updated", Catalog, "What the catalog says of a tool changed.",
		ada, catalog.ToolUpdated{Name: new("GitHub"), URL: new("https://github.com")},
		func(e entry, d catalog.ToolUpdated) string {
			return e.who() + " changed " + list(changesOf(d)) + " of " + e.target("tool")
		}),
	told("tool.credential_rotated", Catalog, "A tool got another credential, which agents fetch from then on.",
		ada, catalog.ToolCredentialRotated{CredentialVersion: 3}, func(e entry, d catalog.ToolCredentialRotated) string {
			return e.who() + " rotated the credential of " + e.target("tool") + version(d.CredentialVersion)
		}),
	told("tool.instructions_revised", Catalog, "The usage guide of a tool has another version.",
		ada, catalog.ToolInstructionsRevised{Version: 4}, func(e entry, d catalog.ToolInstructionsRevised) string {
			sentence := e.who() + " revised the usage guide of " + e.target("tool") + version(d.Version)
			if d.RestoredFrom > 0 {
				sentence += fmt.Sprintf(", restoring version %d", d.RestoredFrom)
			}
			return sentence
		}),
	told("tool.removed", Catalog, "A tool was removed for good, and all access to it ended.",
		ada, catalog.ToolRemoved{}, func(e entry, _ catalog.ToolRemoved) string {
			return e.who() + " removed " + e.target("tool")
		}),
	told("tool.frozen", Access, "All access to a tool ended, and no more is granted until it is unfrozen.",
		ada, catalog.ToolFrozen{}, func(e entry, _ catalog.ToolFrozen) string {
			return e.who() + " froze " + e.target("tool")
		}),
	told("tool.unfrozen", Access, "Access to a tool may be granted again.",
		ada, catalog.ToolUnfrozen{}, func(e entry, _ catalog.ToolUnfrozen) string {
			return e.who() + " unfroze " + e.target("tool")
		}),
	told("suggestion.made", Catalog, "An agent suggested a tool that the catalog lacks.",
		bot, catalog.SuggestionMade{}, func(e entry, _ catalog.SuggestionMade) string {
			return e.who() + " suggested " + e.target("tool")
		}),
	told("suggestion.backed", Catalog, "An agent backed a suggestion, or gave another reason for it.",
		bot, catalog.SuggestionBacked{}, func(e entry, d catalog.SuggestionBacked) string {
			sentence := e.who() + " backed " + e.target("suggestion")
			if d.Reopens {
				sentence += " and reopened it"
			}
			return sentence
		}),
	told("suggestion.dismissed", Decision, "A suggestion was dismissed.",
		ada, catalog.SuggestionDismissed{}, func(e entry, _ catalog.SuggestionDismissed) string {
			return e.who() + " dismissed " + e.target("suggestion")
		}),
	told("suggestion.accepted", Decision, "A suggestion was accepted: its tool was added.",
		ada, catalog.SuggestionAccepted{}, func(e entry, _ catalog.SuggestionAccepted) string {
			return e.who() + " accepted " + e.target("suggestion") + " with the tool " + e.tool()
		}),
	told("suggestion.redirected", Decision, "A suggestion ended because a tool of the catalog answers it.",
		ada, catalog.SuggestionRedirected{}, func(e entry, _ catalog.SuggestionRedirected) string {
			return e.who() + " answered " + e.target("suggestion") + " with the tool " + e.tool()
		}),
	told("suggestion.cooldown_refused", Catalog, "An agent suggested again what had just been dismissed, and was refused.",
		bot, catalog.SuggestionCooldownRefused{}, func(e entry, _ catalog.SuggestionCooldownRefused) string {
			return e.who() + " repeated " + e.target("suggestion") + " too soon after it was dismissed, and was refused"
		}),
	told("catalog.change_planned", Catalog, "A change of the catalog in more than one part, such as an import, began.",
		ada, catalog.ChangePlanned{Parts: []catalog.ChangePart{{Events: 512}, {Events: 88}}},
		func(e entry, d catalog.ChangePlanned) string {
			n := 0
			for _, part := range d.Parts {
				n += part.Events
			}
			return e.who() + " began a change of the catalog with " + counted(n, "event", "events")
		}),
	told("catalog.change_completed", Catalog, "A change of the catalog in more than one part was completed.",
		ada, catalog.ChangeCompleted{}, func(e entry, _ catalog.ChangeCompleted) string {
			return e.who() + " completed a change of the catalog"
		}),
	told("instruction_suggestion.made", Catalog, "An agent suggested a note for the usage guide of a tool.",
		bot, guide.NoteMade{}, func(e entry, _ guide.NoteMade) string {
			return e.who() + " suggested " + e.note()
		}),
	told("instruction_suggestion.backed", Catalog, "An agent backed a note, or gave another reason for it.",
		bot, guide.NoteBacked{}, func(e entry, _ guide.NoteBacked) string {
			return e.who() + " backed " + e.note()
		}),
	told("instruction_suggestion.accepted", Decision, "A note was taken up in the usage guide of its tool.",
		ada, guide.NoteAccepted{GuideVersion: 4}, func(e entry, d guide.NoteAccepted) string {
			return e.who() + " accepted " + e.note() + version(d.GuideVersion)
		}),
	told("instruction_suggestion.dismissed", Decision, "A note was dismissed.",
		ada, guide.NoteDismissed{}, func(e entry, _ guide.NoteDismissed) string {
			return e.who() + " dismissed " + e.note()
		}),
}

// note is what an agent learned about a tool.
func (e entry) note() string {
	return "the note “" + e.Target.Label + "” for the usage guide of " + e.tool()
}

func changesOf(d catalog.ToolUpdated) (changed []string) {
	for _, c := range []struct {
		is   bool
		what string
	}{
		{d.Name != nil, "the name"},
		{d.Description != nil, "the description"},
		{d.URL != nil, "the address"},
		{d.DocsURL != nil, "the address of the documentation"},
		{d.AuthType != nil, "the kind of credential"},
		{d.MaxGrantSeconds != nil, "the longest access"},
		{d.Approval != nil, "the rules of approval"},
		{d.Labels != nil, "the labels"},
	} {
		if c.is {
			changed = append(changed, c.what)
		}
	}
	if len(changed) == 0 {
		return []string{"nothing"}
	}
	return changed
}
