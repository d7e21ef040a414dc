package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shows compares what a command answered, a resource as JSON, with GET of its path, "" where there
// is none, and with its element in a list.
func (c client) shows(what string, answered []byte, path, list string) {
	c.t.Helper()
	answered = bytes.TrimSpace(answered)
	if path != "" {
		got := bytes.TrimSpace(c.must(200, "GET", path, nil).Body)
		if got = contextOfRequest.ReplaceAll(got, []byte("$1")); !bytes.Equal(got, answered) {
			c.t.Errorf("%s:\nanswered %s\nGET      %s", what, answered, got)
		}
	}
	var page struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(c.must(200, "GET", list, nil).Body, &page); err != nil {
		c.t.Fatal(err)
	}
	for _, element := range page.Items {
		if bytes.Equal(element, answered) {
			return
		}
	}
	c.t.Errorf("%s:\nanswered %s\nthe list has %s", what, answered, page.Items)
}

// contextOfRequest is what GET of one request has beside the request.
var contextOfRequest = regexp.MustCompile(`"context":\{.*\},("created_at":[^}]*"credential_mode")`)

// part is a member of an answer, as it was sent.
func part(t *testing.T, a answer, name string) []byte {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(a.Body, &members); err != nil {
		t.Fatal(err)
	}
	return members[name]
}

// TestAResourceLooksTheSameEverywhere makes and changes one of each resource, and compares each
// answer byte by byte with what queries say afterwards.
func TestAResourceLooksTheSameEverywhere(t *testing.T) {
	t.Parallel()
	// The receiver asks to be left alone, so what is queued for it stays as it is.
	busy := startHook(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()

	const agents = "/api/admin/agents"
	registered := admin.must(201, "POST", agents, object{"name": "Bot", "description": "Opens pull requests."})
	id, path := registered.Text("agent.id"), registered.Header.Get("Location")
	admin.shows("a registered agent", part(t, registered, "agent"), path, agents)
	admin.shows("a renamed agent", admin.must(200, "PATCH", path, object{"name": "Café bot"}).Body, path, agents)
	admin.shows("a suspended agent", admin.must(200, "POST", path+"/suspend", nil).Body, path, agents)
	admin.shows("a reactivated agent", admin.must(200, "POST", path+"/reactivate", nil).Body, path, agents)
	rotated := admin.must(200, "POST", path+"/rotate-key", object{"overlap_seconds": 3600})
	admin.shows("an agent with a new key", part(t, rotated, "agent"), path, agents)
	bot := p.with(rotated.Text("api_key"))

	const tools = "/api/admin/tools"
	added := admin.must(201, "POST", tools, object{
		"name": "GitHub", "url": "https://github.com", "auth_type": "api_key", "credential_mode": "shared",
		"credential": "s3cret", "instructions": "Be kind.",
	})
	tool, toolPath := added.Text("id"), added.Header.Get("Location")
	admin.shows("an added tool", added.Body, toolPath, tools)
	admin.shows(
		"a changed tool",
		admin.must(
			200, "PATCH", toolPath, object{"description": "Code & issues <here>", "max_grant_seconds": 7200},
		).Body,
		toolPath, tools,
	)
	ends := time.Now().UTC().Add(30 * 24 * time.Hour).Format(time.RFC3339)
	admin.shows(
		"a rotated credential",
		admin.must(200, "PUT", toolPath+"/credential", object{"credential": "n3w", "expires_at": ends}).Body, toolPath,
		tools,
	)

	const requests, grants = "/api/admin/requests", "/api/admin/grants"
	request := requests + "/" + bot.mustRequest(tool)
	admin.shows(
		"a denied request", admin.must(200, "POST", request+"/deny", object{"reason": "Say why."}).Body, request,
		requests,
	)
	request = requests + "/" + bot.mustRequest(tool)
	until := time.Now().UTC().Add(time.Hour).Format(time.RFC3339)
	admin.shows(
		"an approved request", admin.must(200, "POST", request+"/approve", object{"expires_at": until}).Body, request,
		requests,
	)
	own := admin.must(
		201, "POST", tools, object{"name": "Mail", "auth_type": "api_key", "credential_mode": "per_agent"},
	).Text("id")
	assigned := admin.must(
		201, "POST", path+"/grants", object{"tool_id": own, "credential": "first", "expires_at": until},
	)
	admin.shows("an assigned tool", assigned.Body, "", grants)
	if a := bot.fetch(own); a.Status != 200 {
		t.Fatalf("a fetch: %s", a.Body)
	}
	admin.shows(
		"a replaced credential",
		admin.must(200, "PUT", path+"/grants/"+own+"/credential", object{"credential": "second"}).Body, "", grants,
	)

	const notes = "/api/admin/instruction-suggestions"
	taken := notes + "/" + bot.noteOn(tool, learned, "A page was missing.")
	admin.shows(
		"an accepted note",
		admin.must(200, "POST", taken+"/accept", object{"instructions": "Be kind. " + learned}).Body, taken, notes,
	)
	left := notes + "/" + bot.noteOn(tool, "Search finds closed issues too.", "A list was too long.")
	admin.shows(
		"a dismissed note", admin.must(200, "POST", left+"/dismiss", object{"reason": "It is in the manual."}).Body,
		left, notes,
	)

	versions := admin.must(200, "GET", toolPath+"/instructions", nil).Items()
	if len(versions) != 2 {
		t.Fatalf("versions of the usage guide: %v", versions)
	}
	restored := admin.must(200, "POST", toolPath+"/instructions/1/restore", nil)
	if got := restored.Text("instructions"); got != "Be kind." {
		t.Errorf("restored: %q", got)
	}
	admin.shows("a tool with a restored usage guide", restored.Body, toolPath, tools)

	const suggestions = "/api/admin/suggestions"
	suggestion := suggestions + "/" + bot.suggest("Linear", "https://linear.app", "to file issues")
	admin.shows(
		"a dismissed suggestion", admin.must(200, "POST", suggestion+"/dismiss", object{"reason": "We use Jira."}).Body,
		suggestion, suggestions,
	)
	wanted := suggestions + "/" + bot.suggest("Notion", "https://notion.so", "to read pages")
	accepted := admin.must(201, "POST", wanted+"/accept", object{"tool": object{
		"name": "Notion", "auth_type": "api_key", "credential_mode": "shared", "credential": "s3cret",
	}}, "If-Match", admin.must(200, "GET", wanted, nil).Header.Get("ETag"))
	admin.shows("a tool that was suggested", part(t, accepted, "tool"), accepted.Header.Get("Location"), tools)

	channel := admin.mustChannel("webhook", busy.URL)
	channelPath := channelsPath + "/" + channel.Text("id")
	shown := bytes.Replace(channel.Body, []byte(`,"signing_secret":"`+channel.Text("signing_secret")+`"`), nil, 1)
	admin.shows("an added channel", shown, channelPath, channelsPath)
	admin.shows(
		"a renamed channel", admin.must(200, "PATCH", channelPath, object{"name": "On call"}).Body, channelPath,
		channelsPath,
	)
	failed := admin.must(200, "POST", channelPath+"/test", nil)
	const deliveries = "/api/admin/notification-deliveries"
	resent := admin.must(200, "POST", deliveries+"/"+failed.Text("delivery_id")+"/resend", nil)
	admin.shows("a resent delivery", resent.Body, "", deliveries)
	if !strings.Contains(string(registered.Body), id) {
		t.Error("the agent has no id")
	}
}
