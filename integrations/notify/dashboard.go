package notify

import (
	"errors"
	"net/url"
	"strings"

	"agentkey/domain"
)

// Dashboard is the web page where people decide. The zero value is none.
type Dashboard struct{ base string }

// maxDashboard keeps a link from filling a message.
const maxDashboard = 300

// ParseDashboard reads the URL of a dashboard, which may be in a folder of its host.
func ParseDashboard(text string) (Dashboard, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return Dashboard{}, errors.New(
			"it must be a URL such as https://agentkey.example.com, without a user, a query or a fragment",
		)
	}
	base := strings.TrimRight((&url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: u.Path}).String(), "/")
	if len(base) > maxDashboard {
		return Dashboard{}, errors.New("it is too long to be part of a message")
	}
	return Dashboard{base: base}, nil
}

// Link returns the page about a notification, "" where there is no dashboard. Its paths are those
// of the API.
func (d Dashboard) Link(m Message) string {
	if d.base == "" {
		return ""
	}
	page := func(kind, id string) string {
		if id == "" {
			return d.base
		}
		return d.base + "/" + kind + "/" + url.PathEscape(id)
	}
	switch m.Topic {
	case domain.AccessRequested:
		return page("requests", m.RequestID)
	case domain.ToolSuggested:
		return page("suggestions", m.SuggestionID)
	case domain.NoteSuggested:
		return page("instruction-suggestions", m.SuggestionID)
	case domain.CredentialExpiring:
		if m.AgentID == "" {
			return page("tools", m.ToolID)
		}
		return page("agents", m.AgentID)
	case domain.GrantExpiring:
		return page("agents", m.AgentID)
	case domain.BreakGlass:
		return d.base + "/audit"
	case domain.Test:
	}
	return d.base
}

// Origin is the scheme and the host of the dashboard, "" where there is none.
func (d Dashboard) Origin() string {
	u, err := url.Parse(d.base)
	if err != nil || d.base == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
