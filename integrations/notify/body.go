package notify

import (
	"encoding/json"
	"time"

	"agentkey/domain"
)

// slack is the body for an incoming webhook of Slack.
func (p Post) slack(d Dashboard) ([]byte, error) {
	return json.Marshal(map[string]any{
		"text": p.text(d, slackReader), "mrkdwn": false, "parse": "none", "link_names": false,
		"unfurl_links": false, "unfurl_media": false,
	})
}

// discord returns the body for a Discord webhook. It mentions no user, whatever the text says.
func (p Post) discord(d Dashboard) ([]byte, error) {
	const suppressEmbeds = 1 << 2
	return json.Marshal(map[string]any{
		"content": p.text(d, discordReader), "allowed_mentions": map[string]any{"parse": []string{}},
		"flags": suppressEmbeds,
	})
}

// notification is one message for programs.
type notification struct {
	ID        string       `json:"id,omitempty"` // within a digest: the id that it would have alone
	Type      domain.Topic `json:"type"`
	Timestamp time.Time    `json:"timestamp"`
	Data      facts        `json:"data"`
}

type facts struct {
	OrganizationID string     `json:"organization_id"`
	AgentID        string     `json:"agent_id,omitempty"`
	AgentName      string     `json:"agent_name,omitempty"`
	ToolID         string     `json:"tool_id,omitempty"`
	ToolName       string     `json:"tool_name,omitempty"`
	RequestID      string     `json:"request_id,omitempty"`
	SuggestionID   string     `json:"suggestion_id,omitempty"`
	Reason         string     `json:"reason,omitempty"`
	EndsAt         *time.Time `json:"ends_at,omitempty"`
	DashboardURL   string     `json:"dashboard_url,omitempty"`
	Message        string     `json:"message"`
}

// webhook is the body for programs, in the shape of the Standard Webhooks. A digest holds the
// notifications as they would have come alone.
func (p Post) webhook(d Dashboard) ([]byte, error) {
	if !p.isDigest() {
		return json.Marshal(p.notification(d, p.Messages[0]))
	}
	type digest struct {
		OrganizationID string         `json:"organization_id"`
		DashboardURL   string         `json:"dashboard_url,omitempty"`
		Message        string         `json:"message"`
		Notifications  []notification `json:"notifications"`
	}
	body := digest{OrganizationID: p.Organization, DashboardURL: d.Link(Message{}), Message: p.summary() + "."}
	for _, m := range p.Messages {
		n := p.notification(d, m)
		n.ID = m.ID
		body.Notifications = append(body.Notifications, n)
	}
	return json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      digest    `json:"data"`
	}{"digest", p.At.UTC(), body})
}

func (p Post) notification(d Dashboard, m Message) notification {
	n := notification{Type: m.Topic, Timestamp: m.At.UTC(), Data: facts{
		OrganizationID: p.Organization, AgentID: m.AgentID, AgentName: flat(m.Agent, maxName),
		ToolID: m.ToolID, ToolName: flat(m.Tool, maxName), RequestID: m.RequestID, SuggestionID: m.SuggestionID,
		Reason: flat(m.Reason, maxReason), DashboardURL: d.Link(m), Message: m.line(plainReader, plainReader.limit),
	}}
	if !m.EndsAt.IsZero() {
		ends := m.EndsAt.UTC()
		n.Data.EndsAt = &ends
	}
	return n
}

// mail is the subject and the text of an e-mail.
func (p Post) mail(d Dashboard) (subject, text string) {
	const why = "You receive this e-mail because a notification channel in AgentKey lists your address."
	subject = p.summary()
	if !p.isDigest() {
		subject = p.Messages[0].line(plainReader, plainReader.limit)
	}
	return flat("AgentKey: "+subject, maxSubject), p.text(d, plainReader) + "\n\n-- \n" + why + "\n"
}
