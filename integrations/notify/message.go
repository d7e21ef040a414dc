// Package notify puts notifications into the words of each kind of channel and sends them. Whatever
// agents wrote is made inert: it can't mention, link, break lines or sign for us. It decides
// neither whether nor when something is sent, and its errors hold nothing of where it goes or what
// was answered.
package notify

import (
	"fmt"
	"time"

	"agentkey/domain"
)

// The longest texts in a message, in characters as a reader sees them.
const (
	maxName    = 120
	maxReason  = 500
	maxSubject = 150
)

// Message is one notification. Its topic decides which fields are set. Names and reasons are as
// people and agents wrote them.
type Message struct {
	ID    string // the same for every attempt
	Topic domain.Topic
	At    time.Time // of the cause

	AgentID, ToolID, RequestID, SuggestionID string
	Agent, Tool                              string // names
	Reason                                   string
	EndsAt                                   time.Time
	Channel                                  string // name, of a test
	Act                                      string // what an operator did, in our words, such as "made a token"
}

// line returns the message in one line that takes about some room: names and reasons are cut, our
// own words are not.
func (m Message) line(r reader, room int) string {
	text := m.sentence(func(name string) string { return r.quote(name, maxName, room/4) })
	const quoted, least = 4, 10 // the signs around a reason, and the room that makes one worth showing
	if left := room - units(text) - quoted; m.Reason != "" && left >= least {
		text += ": " + r.quote(m.Reason, maxReason, left)
	}
	return text
}

// sentence says what happened. name shows a name.
func (m Message) sentence(name func(string) string) string {
	switch m.Topic {
	case domain.AccessRequested:
		return fmt.Sprintf("%s requests access to %s", name(m.Agent), name(m.Tool))
	case domain.ToolSuggested:
		return fmt.Sprintf("%s suggests adding %s to the catalog", name(m.Agent), name(m.Tool))
	case domain.NoteSuggested:
		return fmt.Sprintf("%s suggests a note for the usage guide of %s", name(m.Agent), name(m.Tool))
	case domain.CredentialExpiring:
		if m.AgentID != "" {
			return fmt.Sprintf(
				"The credential that %s uses for %s expires on %s", name(m.Agent), name(m.Tool), m.ends(),
			)
		}
		return fmt.Sprintf("The shared credential for %s expires on %s", name(m.Tool), m.ends())
	case domain.GrantExpiring:
		return fmt.Sprintf("The access that %s has to %s ends on %s", name(m.Agent), name(m.Tool), m.ends())
	case domain.BreakGlass:
		return fmt.Sprintf("On the server, an operator %s, on %s", m.Act, moment(m.At))
	case domain.Test:
	}
	return fmt.Sprintf("This is a test message for the notification channel %s", name(m.Channel))
}

func (m Message) ends() string { return moment(m.EndsAt) }

func moment(t time.Time) string { return t.UTC().Format("2 January 2006 at 15:04 UTC") }

// next returns what a human can do about it. Without a link it names the ids by which an admin
// finds it.
func (m Message) next(link string) string {
	do, where := "You don't have to do anything", ""
	switch m.Topic {
	case domain.AccessRequested:
		do, where = "Approve or deny it", "It is request "+m.RequestID+"."
	case domain.ToolSuggested:
		do, where = "Accept or dismiss it", "It is suggestion "+m.SuggestionID+"."
	case domain.NoteSuggested:
		do, where = "Accept or dismiss it", "It is note "+m.SuggestionID+"."
	case domain.CredentialExpiring:
		do, where = "Rotate it", "The tool is "+m.ToolID+"."
		if m.AgentID != "" {
			do, where = "Replace it", "The agent is "+m.AgentID+", the tool "+m.ToolID+"."
		}
	case domain.GrantExpiring:
		do, where = "To extend it, grant access again after it "+
			"ends", "The agent is "+m.AgentID+", the tool "+m.ToolID+"."
	case domain.BreakGlass:
		do, where = "Make sure that somebody you trust did it", "The audit has it."
	case domain.Test:
	}
	switch {
	case link != "":
		return do + ": " + link
	case m.Topic == domain.BreakGlass:
		return do + ". " + where // an admin may be who did it
	case where != "":
		return do + " as an admin. " + where
	}
	return do + "."
}
