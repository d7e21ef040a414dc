// Package notify puts notifications into the words of each kind of channel and sends them. Whatever
// agents wrote is made inert: it can't mention, link, break lines or sign for us. It decides
// neither whether nor when something is sent, and its errors hold nothing of where it goes or what
// was answered.
package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"agentkey/domain"
)

// The longest texts in a message, in characters.
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

	Organization                             string
	AgentID, ToolID, RequestID, SuggestionID string
	Agent, Tool                              string // names
	Reason                                   string
	EndsAt                                   time.Time
	Channel                                  string // name, of a test
}

// quotes keeps a text from ending the quotation that it stands in.
var quotes = strings.NewReplacer("“", `"`, "”", `"`)

// line returns the message in one line. show makes what others wrote safe for the place where it is
// read.
func (m Message) line(show func(string) string) string {
	quoted := func(text string, most int) string { return "“" + show(flat(quotes.Replace(text), most)) + "”" }
	name := func(text string) string { return quoted(text, maxName) }
	because := ""
	if m.Reason != "" {
		because = ": " + quoted(m.Reason, maxReason)
	}
	switch m.Topic {
	case domain.AccessRequested:
		return fmt.Sprintf("%s requests access to %s%s", name(m.Agent), name(m.Tool), because)
	case domain.ToolSuggested:
		return fmt.Sprintf("%s suggests adding %s to the catalog%s", name(m.Agent), name(m.Tool), because)
	case domain.NoteSuggested:
		return fmt.Sprintf("%s suggests a note for the usage guide of %s%s", name(m.Agent), name(m.Tool), because)
	case domain.CredentialExpiring:
		if m.AgentID != "" {
			return fmt.Sprintf(
				"The credential that %s uses for %s expires on %s", name(m.Agent), name(m.Tool), m.ends(),
			)
		}
		return fmt.Sprintf("The shared credential for %s expires on %s", name(m.Tool), m.ends())
	case domain.GrantExpiring:
		return fmt.Sprintf("The access that %s has to %s ends on %s", name(m.Agent), name(m.Tool), m.ends())
	case domain.Test:
	}
	return fmt.Sprintf("This is a test message for the notification channel %s", name(m.Channel))
}

func (m Message) ends() string { return m.EndsAt.UTC().Format("2 January 2006 at 15:04 UTC") }

// next returns what a human can do about it.
func (m Message) next() string {
	switch m.Topic {
	case domain.AccessRequested:
		return "Approve or deny it with POST /api/admin/requests/" + m.RequestID + "/approve or …/deny."
	case domain.ToolSuggested:
		return "Accept or dismiss it with POST /api/admin/suggestions/" + m.SuggestionID + "/accept or …/dismiss."
	case domain.NoteSuggested:
		return "Accept or dismiss it with POST " +
			"/api/admin/instruction-suggestions/" + m.SuggestionID + "/accept or …/dismiss."
	case domain.CredentialExpiring:
		if m.AgentID != "" {
			return "Replace it with PUT /api/admin/agents/" + m.AgentID + "/grants/" + m.ToolID + "/credential."
		}
		return "Rotate it with PUT /api/admin/tools/" + m.ToolID + "/credential."
	case domain.GrantExpiring:
		return "To extend it, grant it again after it ends with POST /api/admin/agents/" + m.AgentID + "/grants."
	case domain.Test:
	}
	return "You don't have to do anything."
}

// slack is the body for an incoming webhook of Slack.
func (m Message) slack() ([]byte, error) {
	return json.Marshal(map[string]any{
		"text": m.line(slackText) + "\n" + m.next(), "mrkdwn": false, "parse": "none", "link_names": false,
		"unfurl_links": false, "unfurl_media": false,
	})
}

// discord returns the body for a Discord webhook. It mentions no user, whatever the text says.
func (m Message) discord() ([]byte, error) {
	const suppressEmbeds = 1 << 2
	return json.Marshal(map[string]any{
		"content": m.line(discordText) + "\n" + m.next(), "allowed_mentions": map[string]any{"parse": []string{}},
		"flags": suppressEmbeds,
	})
}

// webhook is the body for programs, in the shape of the Standard Webhooks.
func (m Message) webhook() ([]byte, error) {
	type data struct {
		OrganizationID string     `json:"organization_id"`
		AgentID        string     `json:"agent_id,omitempty"`
		AgentName      string     `json:"agent_name,omitempty"`
		ToolID         string     `json:"tool_id,omitempty"`
		ToolName       string     `json:"tool_name,omitempty"`
		RequestID      string     `json:"request_id,omitempty"`
		SuggestionID   string     `json:"suggestion_id,omitempty"`
		Reason         string     `json:"reason,omitempty"`
		EndsAt         *time.Time `json:"ends_at,omitempty"`
		Message        string     `json:"message"`
	}
	body := struct {
		Type      domain.Topic `json:"type"`
		Timestamp time.Time    `json:"timestamp"`
		Data      data         `json:"data"`
	}{m.Topic, m.At.UTC(), data{
		OrganizationID: m.Organization, AgentID: m.AgentID, AgentName: flat(m.Agent, maxName), ToolID: m.ToolID,
		ToolName: flat(m.Tool, maxName), RequestID: m.RequestID, SuggestionID: m.SuggestionID,
		Reason: flat(m.Reason, maxReason), Message: m.line(plain),
	}}
	if !m.EndsAt.IsZero() {
		ends := m.EndsAt.UTC()
		body.Data.EndsAt = &ends
	}
	return json.Marshal(body)
}

// mail is the subject and the text of an e-mail.
func (m Message) mail() (subject, text string) {
	line := m.line(plain)
	return flat(
			"AgentKey: "+line, maxSubject,
		), line + "\n\n" + m.next() + "\n\n-- \nYou receive this e-mail because a notification channel in AgentKey lists " +
			"your address.\n"
}
