package domain

// Topic is what a notification is about.
type Topic string

// The topics that a channel may subscribe to. The first three wait for a human's decision; the
// other two warn.
const (
	AccessRequested    Topic = "access_requested"
	ToolSuggested      Topic = "tool_suggested"
	NoteSuggested      Topic = "note_suggested"
	CredentialExpiring Topic = "credential_expiring" //nolint:gosec // the name of a topic
	GrantExpiring      Topic = "grant_expiring"
)

// Topics that no channel chooses. Test is the one of what is sent only to see that a channel works.
// BreakGlass tells every channel that an operator acted on the server, past the API: nobody can
// leave it out.
const (
	Test       Topic = "test"
	BreakGlass Topic = "break_glass"
)

// Valid reports whether a channel may choose t.
func (t Topic) Valid() bool {
	switch t {
	case AccessRequested, ToolSuggested, NoteSuggested, CredentialExpiring, GrantExpiring:
		return true
	case Test, BreakGlass:
	}
	return false
}
