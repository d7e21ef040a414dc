package projections_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/readmodels"
)

// history is a drawn story of one organization: what was decided on its streams, and what is folded
// from them.
type history struct {
	w        *world
	org      string
	now      time.Time
	tools    []string
	catalog  catalog.State
	removed  map[string]time.Time // tools
	called   map[string]string    // tools, also those that were removed
	fetches  map[string]tally     // of tools
	agents   map[string]agent.State
	requests map[string]string    // status by id
	decided  map[access]called    // what both were called when it was decided last about a grant
	frozen   map[access]time.Time // when a freeze ended a grant
	ids      []string             // of the agents
	position uint64
}

// tally counts fetches.
type tally struct {
	count int64
	last  time.Time
}

func newHistory(w *world) *history {
	h := &history{
		w: w, org: uuid.NewString(), now: start, agents: map[string]agent.State{}, requests: map[string]string{},
		decided: map[access]called{}, frozen: map[access]time.Time{}, removed: map[string]time.Time{},
		called: map[string]string{}, fetches: map[string]tally{},
	}
	for range 3 {
		h.tools, h.ids = append(h.tools, uuid.NewString()), append(h.ids, uuid.NewString())
	}
	return h
}

type (
	access struct{ agentID, toolID string }
	called struct{ agent, tool string }
)

func (h *history) append(t *rapid.T, stream string, by domain.Actor, events []any) {
	signed := make([]codec.Signed, len(events))
	command := uuid.NewString()
	for i := range events {
		signed[i] = codec.Signed{Organization: h.org, Actor: by, CommandID: command, Time: h.now}
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	var err error
	if h.position, err = h.w.appendSigned(stream, events, signed); err != nil {
		t.Fatal(err)
	}
}

func (h *history) onCatalog(t *rapid.T, c catalog.Command) {
	events, err := catalog.Decide(h.catalog, c)
	if err != nil || len(events) == 0 {
		return
	}
	var stored []any
	for _, e := range events {
		h.catalog = catalog.Evolve(h.catalog, domain.Fact[catalog.Event]{Event: e, At: h.now, By: admin})
		if gone, is := e.(catalog.ToolRemoved); is {
			h.removed[gone.ToolID] = h.now
		}
		if f, is := e.(catalog.ToolFrozen); is {
			h.freeze(f.ToolID)
		}
		for id, tool := range h.catalog.Tools {
			h.called[id] = tool.Name
		}
		stored = append(stored, e)
	}
	h.append(t, "catalog-"+h.org, admin, stored)
}

// freeze notes what a freeze ends: what is open now and wasn't ended by an earlier one.
func (h *history) freeze(tool string) {
	for id, s := range h.agents {
		g, was := s.Grants[tool], access{id, tool}
		if _, ended := h.frozen[was]; !g.Open() || ended {
			continue
		}
		h.frozen[was], h.decided[was] = h.now, called{s.Name, h.called[tool]}
		if g.Status == agent.Pending {
			h.requests[g.RequestID] = "withdrawn"
		}
	}
}

// late notes a decision that was made before a freeze and written after it.
func (h *history) late(id, tool string, freezes int) {
	delete(h.frozen, access{id, tool})
	if freezes < h.catalog.Tools[tool].Freezes {
		h.frozen[access{id, tool}] = h.now
		h.decided[access{id, tool}] = called{h.agents[id].Name, h.called[tool]}
	}
}

func (h *history) onAgent(t *rapid.T, id string, by domain.Actor, c agent.Command) {
	events, err := agent.Decide(h.agents[id], c)
	if err != nil || len(events) == 0 {
		return
	}
	var stored []any
	for _, e := range events {
		h.note(id, e)
		h.agents[id] = agent.Evolve(h.agents[id], domain.Fact[agent.Event]{Event: e, At: h.now, By: by})
		stored = append(stored, e)
	}
	h.append(t, "agent-"+id, by, stored)
}

// note keeps the requests, of which an agent's state knows only the newest for each tool, and the
// names at each decision.
func (h *history) note(id string, e agent.Event) {
	before := h.agents[id]
	decided := func(tool string) {
		h.decided[access{id, tool}] = called{before.Name, h.called[tool]}
	}
	switch e := e.(type) {
	case agent.CredentialVended:
		h.fetches[e.ToolID] = tally{h.fetches[e.ToolID].count + 1, h.now}
	case agent.GrantRequested:
		delete(h.decided, access{id, e.ToolID})
		h.requests[e.RequestID] = "pending"
		if h.late(id, e.ToolID, e.ToolFreezes); !h.frozen[access{id, e.ToolID}].IsZero() {
			h.requests[e.RequestID] = "withdrawn"
		}
	case agent.GrantAssigned:
		decided(e.ToolID)
		h.late(id, e.ToolID, e.ToolFreezes)
	case agent.GrantApproved:
		decided(e.ToolID)
		h.late(id, e.ToolID, e.ToolFreezes)
		if h.requests[e.RequestID] == "pending" { // or a freeze took it out of the queue
			h.requests[e.RequestID] = "approved"
		}
	case agent.GrantDenied:
		delete(h.frozen, access{id, e.ToolID})
		decided(e.ToolID)
		if h.requests[e.RequestID] == "pending" {
			h.requests[e.RequestID] = "denied"
		}
	case agent.GrantWithdrawn:
		delete(h.frozen, access{id, e.ToolID})
		decided(e.ToolID)
		h.requests[e.RequestID] = "withdrawn"
	case agent.GrantRevoked:
		if e.Cause == agent.CauseToolFrozen {
			return
		}
		delete(h.frozen, access{id, e.ToolID})
		decided(e.ToolID)
		if before.Grants[e.ToolID].Status == agent.Pending {
			h.requests[e.RequestID] = "withdrawn"
		}
	}
}

func (h *history) step(t *rapid.T) {
	h.now = h.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute)
	id, tool := rapid.SampledFrom(h.ids).Draw(t, "agent"), rapid.SampledFrom(h.tools).Draw(t, "tool")
	text := rapid.SampledFrom([]string{"", "a", "B", "Straße 1"}).Draw(t, "text")
	var ends *time.Time
	if rapid.Bool().Draw(t, "ends") {
		ends = new(h.now.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "hours")) * time.Hour))
	}
	offered, s := h.catalog.Tools[tool], h.agents[id]
	known := agent.Tool{
		ID: tool, Exists: offered.Name != "", PerAgent: offered.Mode == catalog.PerAgent, SecretID: offered.SecretID,
		CredentialVersion: offered.CredentialVersion, MaxGrant: time.Duration(offered.MaxGrantSeconds) * time.Second,
		Frozen: offered.FrozenAt != nil, Freezes: offered.Freezes,
	}
	current := known
	if known.Freezes > 0 && rapid.IntRange(0, 3).Draw(t, "late") == 0 { // decided before the last freeze
		known.Frozen = false
		known.Freezes--
	}
	own := ""
	if known.PerAgent {
		own = uuid.NewString()
	}
	switch rapid.IntRange(0, 30).Draw(t, "command") {
	case 0:
		tool = h.unused(tool)
		h.onCatalog(
			t,
			catalog.AddTool{
				ToolID: tool, Name: tool, FoldedName: tool, AuthType: "other", Mode: catalog.Shared,
				SecretID: uuid.NewString(), Instructions: text,
			},
		)
	case 1:
		tool = h.unused(tool)
		h.onCatalog(
			t,
			catalog.AddTool{
				ToolID: tool, Name: tool, FoldedName: tool, Description: text, AuthType: "api_key",
				Mode: catalog.PerAgent, MaxGrantSeconds: 7200,
			},
		)
	case 2:
		h.onCatalog(
			t,
			catalog.UpdateTool{
				ToolID: tool, Name: new(tool + text), FoldedName: new(tool + text), Description: &text,
				URL: &text, Instructions: &text,
				MaxGrantSeconds: new(int64(len(text)) * 3600),
			},
		)
	case 3:
		h.onCatalog(t, catalog.RotateCredential{At: h.now, ToolID: tool, SecretID: uuid.NewString(), ExpiresAt: ends})
	case 4:
		h.onCatalog(t, catalog.RestoreInstructions{ToolID: tool, Version: 1, Instructions: text})
	case 5:
		if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
			h.onCatalog(t, catalog.RemoveTool{ToolID: tool})
		}
	case 6:
		h.onAgent(t, id, admin, agent.Update{Name: &text, OwnerID: &text})
	case 7:
		h.onAgent(
			t, id, admin,
			agent.RotateKey{
				At: h.now, Key: agent.Key{Number: s.NextKey, ID: uuid.NewString()},
				Overlap: time.Duration(len(text)) * time.Hour,
				Force:   true,
			},
		)
	case 8:
		h.onAgent(t, id, admin, agent.Suspend{})
	case 9:
		h.onAgent(t, id, admin, agent.Reactivate{})
	case 10:
		if rapid.IntRange(0, 5).Draw(t, "really") == 0 {
			h.onAgent(t, id, admin, agent.Retire{})
		}
	case 11, 12, 13:
		h.onAgent(t, id, self(id), agent.Request{At: h.now, Tool: known, RequestID: uuid.NewString(), Reason: text})
	case 14:
		h.onAgent(t, id, self(id), agent.Withdraw{ToolID: tool})
	case 15, 16:
		h.onAgent(
			t, id, admin,
			agent.Approve{At: h.now, Tool: known, RequestID: s.Grants[tool].RequestID, SecretID: own, ExpiresAt: ends},
		)
	case 17:
		h.onAgent(t, id, admin, agent.Deny{Tool: known, RequestID: s.Grants[tool].RequestID, Reason: text})
	case 18, 19:
		h.onAgent(t, id, admin, agent.Assign{At: h.now, Tool: known, SecretID: own, ExpiresAt: ends})
	case 20:
		h.onAgent(t, id, admin, agent.Revoke{ToolID: tool, Cause: agent.CauseAdmin})
	case 21:
		h.onAgent(t, id, system, agent.Expire{At: h.now, Tool: current})
	case 23:
		h.onCatalog(t, catalog.FreezeTool{ToolID: tool})
	case 24, 25:
		h.onCatalog(t, catalog.UnfreezeTool{ToolID: tool})
	case 26:
		if offered.Freezes > 0 {
			h.onAgent(t, id, system, agent.Revoke{ToolID: tool, Cause: agent.CauseToolFrozen, Freeze: offered.Freezes})
		}
	case 22:
		h.onAgent(t, id, admin, agent.ReplaceCredential{At: h.now, Tool: known, SecretID: own})
	default:
		h.onAgent(t, id, self(id), agent.Vend{At: h.now, Tool: known, KeyNumber: max(s.NextKey-1, 1)})
	}
}

// unused is the tool if it is offered, so that adding it changes nothing, else a new one: no id is
// used twice.
func (h *history) unused(tool string) string {
	if _, offered := h.catalog.Tools[tool]; !offered {
		tool = uuid.NewString()
		h.tools = append(h.tools, tool)
	}
	return tool
}

func TestTheRowsAreTheFoldOfTheStreams(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		rapid.Check(t, func(t *rapid.T) {
			h := newHistory(w)
			for i, id := range h.ids {
				h.onCatalog(
					t,
					catalog.AddTool{
						ToolID: h.tools[i], Name: h.tools[i], FoldedName: h.tools[i], AuthType: "other",
						Mode: catalog.Shared, SecretID: uuid.NewString(),
					},
				)
				h.onAgent(
					t, id, admin,
					agent.Register{OrganizationID: h.org, Name: "n", Key: agent.Key{Number: 1, ID: uuid.NewString()}},
				)
			}
			var moments []seen
			for range rapid.IntRange(1, eventstoretest.Rounds(60)).Draw(t, "steps") {
				h.step(t)
				if rapid.IntRange(0, 9).Draw(t, "look") == 0 {
					moments = append(moments, h.look(t))
				}
			}
			w.reached(h.position)
			for _, now := range []time.Time{
				h.now, h.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "later")) * time.Minute),
			} {
				h.checkAgents(t, now)
				h.checkTools(t, now)
				h.checkGrants(t, now)
			}
			h.checkRequests(t)
			for _, then := range moments {
				h.checkPast(t, then)
			}
		})
	})
}

// seen is what the lists showed at some moment.
type seen struct {
	readmodels.Moment

	agents   []readmodels.Agent
	tools    []readmodels.Tool
	grants   []readmodels.Grant
	requests []readmodels.Request
}

// look reads the lists as they are now.
func (h *history) look(t *rapid.T) seen {
	h.w.reached(h.position)
	return h.read(t, h.w.db, readmodels.Moment{Position: h.position, Time: h.now})
}

func (h *history) read(t *rapid.T, db *readmodels.DB, at readmodels.Moment) seen {
	agents, err := db.Agents(t.Context(), h.org, readmodels.AgentFilter{}, at.Time, everything)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := db.Tools(t.Context(), h.org, readmodels.ToolFilter{}, at.Time, everything)
	if err != nil {
		t.Fatal(err)
	}
	grants, err := db.Grants(t.Context(), h.org, readmodels.GrantFilter{}, at.Time, everything)
	if err != nil {
		t.Fatal(err)
	}
	requests, err := db.Requests(t.Context(), h.org, readmodels.RequestFilter{}, everything)
	if err != nil {
		t.Fatal(err)
	}
	return seen{at, agents.Items, tools.Items, grants.Items, requests.Items}
}

// checkPast compares what the lists showed at a moment with what they say of it now, but for
// fetches, of which the past knows nothing.
func (h *history) checkPast(t *rapid.T, then seen) {
	for i := range then.agents {
		then.agents[i].LastSeenAt, then.agents[i].LastFetchedAt, then.agents[i].FetchCount = time.Time{}, time.Time{}, 0
		for k := range then.agents[i].Keys {
			then.agents[i].Keys[k].LastUsedAt = time.Time{}
		}
	}
	for i := range then.tools {
		then.tools[i].LastFetchedAt, then.tools[i].FetchCount = time.Time{}, 0
	}
	for i := range then.grants {
		then.grants[i].FetchCount, then.grants[i].LastFetchedAt = 0, time.Time{}
	}
	now := h.read(t, h.w.db.At(then.Moment), then.Moment)
	if diff := cmp.Diff(then, now, cmp.AllowUnexported(seen{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("at %d (-then +as of then):\n%s", then.Position, diff)
	}
}

var everything = readmodels.Page{Limit: 1000}

// access is what a folded grant counts as: of a removed tool nothing is open any more.
func (h *history) access(g agent.Grant, tool string, now time.Time) agent.GrantStatus {
	if _, offered := h.catalog.Tools[tool]; !offered && g.Open() {
		return agent.Revoked
	}
	return g.Of(agent.Tool{Freezes: h.catalog.Tools[tool].Freezes}, now)
}

func (h *history) count(status agent.GrantStatus, now time.Time, match func(agentID, toolID string) bool) int {
	n := 0
	for id, s := range h.agents {
		for tool, g := range s.Grants {
			if match(id, tool) && h.access(g, tool, now) == status {
				n++
			}
		}
	}
	return n
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func (h *history) checkAgents(t *rapid.T, now time.Time) {
	list, err := h.w.db.Agents(t.Context(), h.org, readmodels.AgentFilter{}, now, everything)
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]readmodels.Agent{}, map[string]readmodels.Agent{}
	for _, a := range list.Items {
		a.Position = 0
		got[a.ID] = a
	}
	for id, s := range h.agents {
		if !s.Exists() {
			continue
		}
		of := func(agentID, _ string) bool { return agentID == id }
		a := readmodels.Agent{
			ID: id, Name: s.Name, Description: s.Description, OwnerID: s.OwnerID, Status: string(s.Status),
			CreatedAt: s.CreatedAt, CreatedBy: s.CreatedBy, LastSeenAt: s.LastSeenAt, Revision: s.Revision,
			Approved: h.count(agent.Approved, now, of), Pending: h.count(agent.Pending, now, of),
			FetchCount: s.FetchCount, LastFetchedAt: s.LastFetchedAt,
		}
		for _, k := range s.Keys {
			a.Keys = append(a.Keys, readmodels.Key{
				ID: k.ID, Number: k.Number, CreatedAt: k.CreatedAt, ExpiresAt: timeOf(k.ExpiresAt), LastUsedAt: k.LastUsedAt,
			})
		}
		want[id] = a
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the agents (-fold +rows):\n%s", diff)
	}
}

func (h *history) checkTools(t *rapid.T, now time.Time) {
	list, err := h.w.db.Tools(t.Context(), h.org, readmodels.ToolFilter{}, now, everything)
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]readmodels.Tool{}, map[string]readmodels.Tool{}
	for _, tool := range list.Items {
		tool.Position = 0
		got[tool.ID] = tool
	}
	for id, s := range h.catalog.Tools {
		of := func(_, toolID string) bool { return toolID == id }
		want[id] = readmodels.Tool{
			ID: id, Name: s.Name, Description: s.Description, URL: s.URL, DocsURL: s.DocsURL,
			AuthType: string(s.AuthType), CredentialMode: string(s.Mode), CredentialVersion: s.CredentialVersion,
			CredentialExpiresAt: timeOf(s.CredentialExpiresAt), CredentialSince: s.CredentialAt,
			CredentialBy: s.CredentialBy, Instructions: s.Instructions,
			FetchCount: h.fetches[id].count, LastFetchedAt: h.fetches[id].last,
			InstructionsVersion: s.InstructionsVersion, MaxGrantSeconds: s.MaxGrantSeconds, CreatedAt: s.CreatedAt,
			UpdatedAt: s.UpdatedAt, Revision: s.Revision, FrozenAt: timeOf(s.FrozenAt),
			Approved: h.count(agent.Approved, now, of), Pending: h.count(agent.Pending, now, of),
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tools (-fold +rows):\n%s", diff)
	}
}

func (h *history) checkGrants(t *rapid.T, now time.Time) {
	for id, s := range h.agents {
		list, err := h.w.db.Grants(t.Context(), h.org, readmodels.GrantFilter{AgentID: id}, now, everything)
		if err != nil {
			t.Fatal(err)
		}
		got, want := map[string]readmodels.Grant{}, map[string]readmodels.Grant{}
		for _, g := range list.Items {
			g.Position, g.DecidedPosition = 0, 0
			got[g.ToolID] = g
		}
		for tool, g := range s.Grants {
			if g.Status == agent.Withdrawn || g.Status == agent.None {
				continue
			}
			w := readmodels.Grant{
				AgentID: id, ToolID: tool, Status: string(h.access(g, tool, now)), Origin: string(g.Origin),
				RequestID: g.RequestID, Reason: g.Reason, RequestedAt: g.RequestedAt, DenialReason: g.DenialReason,
				DecidedAt: g.DecidedAt,
				ExpiresAt: timeOf(g.ExpiresAt), FetchCount: g.FetchCount, LastFetchedAt: g.LastFetchedAt,
			}
			w.ApprovedAt, w.EndedAt = g.ApprovedAt, g.EndedAt
			w.AgentName, w.ToolName = s.Name, h.called[tool]
			if then, is := h.decided[access{id, tool}]; is && then.agent != s.Name {
				w.AgentName, w.CurrentAgentName = then.agent, s.Name
			}
			if then, is := h.decided[access{id, tool}]; is && then.tool != h.called[tool] {
				w.ToolName, w.CurrentToolName = then.tool, h.called[tool]
			}
			for of, by := range map[*domain.Actor]*domain.Actor{
				&w.DecidedBy: g.DecidedBy, &w.ApprovedBy: g.ApprovedBy, &w.EndedBy: g.EndedBy,
			} {
				if by != nil {
					*of = *by
				}
			}
			switch gone := h.removed[tool]; {
			case w.Status == string(agent.Expired):
				w.EndedAt = w.ExpiresAt
			case !h.frozen[access{id, tool}].IsZero():
				at := h.frozen[access{id, tool}]
				w.DecidedAt, w.DecidedBy, w.EndedAt, w.EndedBy = at, admin, at, admin
			case !gone.IsZero() && g.Open():
				w.DecidedAt, w.DecidedBy, w.EndedAt, w.EndedBy = gone, admin, gone, admin
			}
			want[tool] = w
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the grants of %s at %v (-fold +rows):\n%s", id, now, diff)
		}
		h.checkCatalog(t, id, now)
	}
}

func (h *history) checkCatalog(t *rapid.T, id string, now time.Time) {
	offers, err := h.w.db.Catalog(t.Context(), h.org, id, readmodels.OfferFilter{}, now)
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]string{}, map[string]string{}
	for _, o := range offers {
		got[o.ID] = o.Access
	}
	for tool := range h.catalog.Tools {
		want[tool] = string(agent.Shown(h.access(h.agents[id].Grants[tool], tool, now)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the catalog of %s at %v (-fold +rows):\n%s", id, now, diff)
	}
}

func (h *history) checkRequests(t *rapid.T) {
	list, err := h.w.db.Requests(t.Context(), h.org, readmodels.RequestFilter{}, everything)
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]string{}, maps.Clone(h.requests)
	for _, r := range list.Items {
		got[r.ID] = r.Status
		if _, offered := h.catalog.Tools[r.ToolID]; !offered && want[r.ID] == "pending" {
			want[r.ID] = "withdrawn"
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the requests (-fold +rows):\n%s", diff)
	}
	if !slices.IsSortedFunc(list.Items, func(a, b readmodels.Request) int { return b.CreatedAt.Compare(a.CreatedAt) }) {
		t.Error("the newest request is not first")
	}
}
