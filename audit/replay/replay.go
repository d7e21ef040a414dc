// Package replay says what an organization looked like at a moment of the past, from its events
// alone: it folds them with the same functions that decide about access, and asks no table. What
// the service answers with as_of comes from tables that a projection has filled; if both are the
// same, the tables tell the truth about the events.
package replay

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"agentkey/audit/formats"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
)

// History folds the events of one organization. The zero History is before the first one.
type History struct {
	agents      map[string]agent.State
	catalog     catalog.State
	requests    map[string]*Request
	suggestions map[string]*Suggestion
}

func signed(l formats.Line) (s codec.Signed, err error) {
	var metadata struct {
		Signed string `json:"signed"`
	}
	if err = json.Unmarshal(l.Metadata, &metadata); err == nil {
		err = json.Unmarshal([]byte(metadata.Signed), &s)
	}
	if err != nil {
		return s, fmt.Errorf("read the metadata of %s@%d: %w", l.Stream, l.Revision, err)
	}
	return s, nil
}

// Apply folds the next event. An event that changes nothing which State shows is passed over; one
// that this version doesn't know is an error.
func (h *History) Apply(l formats.Line) error {
	event, err := codec.Decode(l.Type, l.Data)
	if err != nil {
		return fmt.Errorf("read %s@%d: %w", l.Stream, l.Revision, err)
	}
	s, err := signed(l)
	if err != nil {
		return err
	}
	if h.agents == nil {
		h.agents, h.requests = map[string]agent.State{}, map[string]*Request{}
		h.suggestions = map[string]*Suggestion{}
	}
	switch e := event.(type) {
	case agent.Event:
		_, id := codec.Split(l.Stream)
		h.request(id, e, s.Time)
		h.agents[id] = agent.Evolve(h.agents[id], domain.Fact[agent.Event]{Event: e, At: s.Time, By: s.By()})
	case catalog.Event:
		h.suggestion(e)
		h.freeze(e)
		h.catalog = catalog.Evolve(h.catalog, domain.Fact[catalog.Event]{Event: e, At: s.Time, By: s.By()})
	}
	return nil
}

// request keeps every request, of which an agent's state knows only the newest for each tool.
func (h *History) request(agentID string, e agent.Event, at time.Time) {
	decide := func(id, status string) {
		if r := h.requests[id]; r != nil && r.Status == "pending" {
			r.Status = status
		}
	}
	switch e := e.(type) {
	case agent.GrantRequested:
		h.requests[e.RequestID] = &Request{
			ID: e.RequestID, AgentID: agentID, ToolID: e.ToolID, Reason: e.Reason, Status: "pending", CreatedAt: at,
		}
		if e.ToolFreezes < h.catalog.Tools[e.ToolID].Freezes { // it was frozen before this was written
			decide(e.RequestID, "withdrawn")
		}
	case agent.GrantApproved:
		decide(e.RequestID, "approved")
	case agent.GrantDenied:
		decide(e.RequestID, "denied")
	case agent.GrantWithdrawn:
		decide(e.RequestID, "withdrawn")
	case agent.GrantRevoked:
		decide(e.RequestID, "withdrawn")
	default: // it decides about no request
	}
}

// freeze takes the requests for a tool that is frozen out of the queue.
func (h *History) freeze(e catalog.Event) {
	frozen, is := e.(catalog.ToolFrozen)
	if !is {
		return
	}
	for _, r := range h.requests {
		if r.ToolID == frozen.ToolID && r.Status == "pending" {
			r.Status = "withdrawn"
		}
	}
}

// suggestion keeps what agents said, which the catalog forgets when a suggestion is answered.
func (h *History) suggestion(e catalog.Event) {
	switch e := e.(type) {
	case catalog.SuggestionMade:
		h.suggestions[e.SuggestionID] = &Suggestion{
			ID: e.SuggestionID, Name: e.Name, URL: e.URL,
			Backers: []Backer{{AgentID: e.AgentID, Name: e.Name, LatestReason: e.Reason}},
		}
	case catalog.SuggestionBacked:
		x, backer := h.suggestions[e.SuggestionID], Backer{AgentID: e.AgentID, Name: e.Name, LatestReason: e.Reason}
		if x == nil {
			return
		}
		i := slices.IndexFunc(x.Backers, func(b Backer) bool { return b.AgentID == e.AgentID })
		if i < 0 {
			x.Backers = append(x.Backers, backer)
			return
		}
		x.Backers[i] = backer
	default: // the catalog knows
	}
}

// At is the state after the events so far, at a time by which what has an end counts as
// expired.
func (h *History) At(now time.Time) State {
	out := State{
		Agents: []Agent{}, Tools: []Tool{}, Grants: []Grant{}, Requests: []Request{}, Suggestions: []Suggestion{},
	}
	for id, a := range h.agents {
		if a.Exists() {
			out.Agents = append(out.Agents, Agent{
				ID: id, Name: a.Name, Description: a.Description, Status: string(a.Status), CreatedAt: a.CreatedAt,
				Revision: a.Revision, Labels: a.Labels,
			})
		}
		for toolID, g := range a.Grants {
			if g.Status == agent.None || g.Status == agent.Withdrawn {
				continue
			}
			out.Grants = append(out.Grants, Grant{
				AgentID: id, ToolID: toolID, Status: string(h.status(toolID, g, now)), Origin: string(g.Origin),
				RequestID: g.RequestID, Reason: g.Reason, ApprovedAt: optional(g.ApprovedAt), ExpiresAt: g.ExpiresAt,
			})
		}
	}
	for id, t := range h.catalog.Tools {
		out.Tools = append(out.Tools, Tool{
			ID: id, Name: t.Name, Description: t.Description, URL: t.URL, DocsURL: t.DocsURL, AuthType: string(t.AuthType),
			CredentialMode: string(t.Mode), CredentialVersion: t.CredentialVersion, Instructions: t.Instructions,
			InstructionsVersion: t.InstructionsVersion, MaxGrantSeconds: t.MaxGrantSeconds, Approval: t.Approval,
			Labels: t.Labels, CreatedAt: t.CreatedAt,
			Revision: t.Revision, FrozenAt: t.FrozenAt,
		})
	}
	for _, r := range h.requests {
		shown := *r
		if _, offered := h.catalog.Tools[r.ToolID]; !offered && r.Status == "pending" {
			shown.Status = "withdrawn"
		}
		out.Requests = append(out.Requests, shown)
	}
	for id, x := range h.suggestions {
		shown, is := *x, h.catalog.Suggestions[id]
		shown.Status, shown.ToolID, shown.Backers = string(is.Status), is.ToolID, slices.Clone(x.Backers)
		out.Suggestions = append(out.Suggestions, shown)
	}
	return out.sorted()
}

// status is what a grant counts as: of a tool that was removed nothing is open any more, and what
// is from before a freeze has ended with it.
func (h *History) status(toolID string, g agent.Grant, now time.Time) agent.GrantStatus {
	tool, offered := h.catalog.Tools[toolID]
	if !offered && g.Open() {
		return agent.Revoked
	}
	return g.Of(agent.Tool{Frozen: tool.FrozenAt != nil, Freezes: tool.Freezes}, now)
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// State is what there was. Its JSON has the names of the API, so an answer of the API can be read
// into it; what differs between two answers about the same moment, such as labels, is left out.
type State struct {
	Agents      []Agent      `json:"agents"`
	Tools       []Tool       `json:"tools"`
	Grants      []Grant      `json:"grants"`
	Requests    []Request    `json:"requests"`
	Suggestions []Suggestion `json:"suggestions"`
}

// What there can be; see the API's document for the fields.
type (
	// Agent is one that was not retired.
	Agent struct {
		ID          string    `json:"id"`
		Name        string    `json:"name"`
		Description string    `json:"description"`
		Status      string    `json:"status"`
		CreatedAt   time.Time `json:"created_at"`
		Revision    int       `json:"revision"`

		Labels domain.Labels `json:"labels,omitempty"`
	}
	// Tool is one that was not removed.
	Tool struct {
		ID                  string               `json:"id"`
		Name                string               `json:"name"`
		Description         string               `json:"description"`
		URL                 string               `json:"url,omitempty"`
		DocsURL             string               `json:"docs_url,omitempty"`
		AuthType            string               `json:"auth_type"`
		CredentialMode      string               `json:"credential_mode"`
		CredentialVersion   int                  `json:"credential_version"`
		Instructions        string               `json:"instructions"`
		InstructionsVersion int                  `json:"instructions_version"`
		MaxGrantSeconds     int64                `json:"max_grant_seconds,omitempty"`
		Approval            domain.ApprovalRules `json:"approval,omitzero"`
		Labels              domain.Labels        `json:"labels,omitempty"`
		CreatedAt           time.Time            `json:"created_at"`
		Revision            int                  `json:"revision"`
		FrozenAt            *time.Time           `json:"frozen_at,omitempty"`
	}
	// Grant is an agent's access to a tool, also one that ended.
	Grant struct {
		AgentID    string     `json:"agent_id"`
		ToolID     string     `json:"tool_id"`
		Status     string     `json:"status"`
		Origin     string     `json:"origin"`
		RequestID  string     `json:"request_id,omitempty"`
		Reason     string     `json:"reason,omitempty"`
		ApprovedAt *time.Time `json:"approved_at,omitempty"`
		ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	}
	// Request is a request for a tool.
	Request struct {
		ID        string    `json:"id"`
		AgentID   string    `json:"agent_id"`
		ToolID    string    `json:"tool_id"`
		Reason    string    `json:"reason"`
		Status    string    `json:"status"`
		CreatedAt time.Time `json:"created_at"`
	}
	// Suggestion is a tool that agents missed.
	Suggestion struct {
		ID      string   `json:"id"`
		Name    string   `json:"name"`
		URL     string   `json:"url,omitempty"`
		Status  string   `json:"status"`
		ToolID  string   `json:"tool_id,omitempty"`
		Backers []Backer `json:"backers"`
	}
	// Backer is an agent that missed it.
	Backer struct {
		AgentID      string `json:"agent_id"`
		Name         string `json:"name"`
		LatestReason string `json:"latest_reason"`
	}
)

// sorted brings a state into its one order.
func (s State) sorted() State {
	slices.SortFunc(s.Agents, func(a, b Agent) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Tools, func(a, b Tool) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Grants, func(a, b Grant) int {
		return cmp.Or(strings.Compare(a.AgentID, b.AgentID), strings.Compare(a.ToolID, b.ToolID))
	})
	slices.SortFunc(s.Requests, func(a, b Request) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Suggestions, func(a, b Suggestion) int { return strings.Compare(a.ID, b.ID) })
	for _, x := range s.Suggestions {
		slices.SortFunc(x.Backers, func(a, b Backer) int { return strings.Compare(a.AgentID, b.AgentID) })
	}
	return s
}

// Kinds are the lists of a State, by the names that the API gives them.
func Kinds() []string { return []string{"agents", "tools", "grants", "requests", "suggestions"} }

// Digests are the SHA-256 of each list, in hexadecimal, over its JSON with the elements in the
// order of their ids.
func (s State) Digests() map[string]string {
	out := map[string]string{}
	for kind, items := range s.sorted().lists() {
		sum := sha256.New()
		for _, item := range items {
			_, _ = sum.Write(append(item, '\n')) // a hash takes everything
		}
		out[kind] = hex.EncodeToString(sum.Sum(nil))
	}
	return out
}

func (s State) lists() map[string][]json.RawMessage {
	return map[string][]json.RawMessage{
		"agents": encoded(s.Agents), "tools": encoded(s.Tools), "grants": encoded(s.Grants),
		"requests": encoded(s.Requests), "suggestions": encoded(s.Suggestions),
	}
}

func encoded[T any](items []T) []json.RawMessage {
	out := make([]json.RawMessage, len(items))
	for i, item := range items {
		out[i], _ = json.Marshal(item) // of strings, numbers and times
	}
	return out
}

// Differences lists the elements that only one of two states has, kind by kind: those of s with a
// minus, those of other with a plus.
func (s State) Differences(other State) []string {
	var out []string
	mine, theirs := s.sorted().lists(), other.sorted().lists()
	for _, kind := range Kinds() {
		of := func(list []json.RawMessage) map[string]bool {
			set := map[string]bool{}
			for _, item := range list {
				set[string(item)] = true
			}
			return set
		}
		a, b := of(mine[kind]), of(theirs[kind])
		for _, item := range slices.Sorted(maps.Keys(a)) {
			if !b[item] {
				out = append(out, "-"+kind+" "+item)
			}
		}
		for _, item := range slices.Sorted(maps.Keys(b)) {
			if !a[item] {
				out = append(out, "+"+kind+" "+item)
			}
		}
	}
	return out
}

// Add reads a page of one of the API's lists into the state.
func (s *State) Add(kind string, items json.RawMessage) error {
	switch kind {
	case "agents":
		return more(&s.Agents, items)
	case "tools":
		return more(&s.Tools, items)
	case "grants":
		return more(&s.Grants, items)
	case "requests":
		return more(&s.Requests, items)
	case "suggestions":
		return more(&s.Suggestions, items)
	}
	return fmt.Errorf("there is no list %s", kind)
}

func more[T any](list *[]T, items json.RawMessage) error {
	var page []T
	err := json.Unmarshal(items, &page)
	*list = append(*list, page...)
	return err
}
