package commands

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"agentkey/commands/loop"
	"agentkey/commands/names"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Suggestions carries out what agents suggest and what becomes of it.
type Suggestions struct {
	Tools  *Tools
	Grants *Grants
}

// Suggested is a suggestion as an agent is told of it.
type Suggested struct {
	CatalogResult
	ID       string
	Existing bool // somebody had made it before
	Similar  []SimilarTool
}

// SimilarTool is a tool that the agent may have meant: of the same site, or of the same name at another one.
type SimilarTool struct{ ID, Name string }

// Suggest tells that an agent misses a tool, or backs the suggestion that means the same. Refusals: tool_exists;
// suggestion_cooling_down, whose first for each agent is an event, with the result beside the refusal.
func (s *Suggestions) Suggest(ctx context.Context, m loop.Meta, agentID, name, address, reason string) (Suggested, error) {
	c := catalog.Suggest{
		SuggestionID: loop.DerivedID(m.CommandID, "suggestion").String(), AgentID: agentID, Name: name, FoldedName: names.FoldProduct(name),
		URL: address, Site: names.Site(address), Reason: reason,
	}
	done, err := s.Tools.Catalogs.Do(ctx, m.Organization, m, func(_ catalog.State, at time.Time) (catalog.Command, error) {
		c.At = at
		return c, nil
	})
	if err != nil {
		return Suggested{}, err
	}
	id, known := done.State.Suggested(c.FoldedName, c.Site)
	if !known {
		return Suggested{}, domain.NotFound("suggestion") // it was decided between its first call and this repeat
	}
	if x := done.State.Suggestions[id]; x.Status == catalog.SuggestionDismissal {
		return Suggested{CatalogResult: done, ID: id, Existing: true}, catalog.CoolingDown(x, id, loop.Later(s.Tools.Clock(), time.Time{}))
	}
	out := Suggested{CatalogResult: done, ID: id, Existing: id != c.SuggestionID}
	for _, tool := range done.State.Similar(c.FoldedName, c.Site) {
		out.Similar = append(out.Similar, SimilarTool{ID: tool, Name: done.State.Tools[tool].Name})
	}
	return out, nil
}

// Dismiss says no, for now.
func (s *Suggestions) Dismiss(ctx context.Context, m loop.Meta, id, reason string) (CatalogResult, error) {
	return s.Tools.Catalogs.Do(ctx, m.Organization, m, func(catalog.State, time.Time) (catalog.Command, error) {
		return catalog.DismissSuggestion{SuggestionID: id, Reason: reason}, nil
	})
}

// Seeded is what became of one backer of an accepted suggestion.
type Seeded struct {
	AgentID string
	Outcome catalog.Outcome // or InProgress
	Why     string          // it is not granted

	changed  bool
	position uint64
}

// InProgress is the outcome of a decision that is made and not carried out yet; a reaction does that.
const InProgress catalog.Outcome = "in_progress"

// carryOutTime is how long an accepted suggestion is carried out within its request.
const carryOutTime = 5 * time.Second

// Accepted is an accepted suggestion: its tool, and its backers in the order in which they came.
type Accepted struct {
	CatalogResult
	ToolID  string
	Backers []Seeded
}

// Accept adds the tool that a suggestion asks for and decides for every backer, of that suggestion and of those in
// also, in one append; then it carries the decisions out for at most five seconds. What is left is in progress.
func (s *Suggestions) Accept(ctx context.Context, m loop.Meta, id string, also []string, tool catalog.AddTool, credential domain.Secret, grantBackers bool) (Accepted, error) {
	tool.ToolID = loop.DerivedID(m.CommandID, "tool").String()
	tool.FoldedName, tool.Site = names.FoldProduct(tool.Name), names.Site(tool.URL)
	done, err := s.Tools.withSecret(ctx, m, tool.ToolID, credential, func(_ catalog.State, secretID string, _ time.Time, standings standings) catalog.Command {
		tool.SecretID, tool.Standings = secretID, standings
		return catalog.AcceptSuggestion{SuggestionID: id, Also: also, Tool: tool, GrantBackers: grantBackers}
	})
	if err != nil {
		return Accepted{}, err
	}
	accepted, err := s.acceptedBy(ctx, m, done, 1+len(also))
	if err != nil {
		return Accepted{}, err
	}
	m.Causation = done.EventID.String()
	out := Accepted{CatalogResult: done, ToolID: tool.ToolID, Backers: s.carryOut(ctx, m, accepted)}
	for _, b := range out.Backers {
		out.Position = max(out.Position, b.position) // whoever waits for it sees what the backers got, too
	}
	return out, nil
}

// acceptedBy returns the last events of a command that accepted so many suggestions; of one that was found done already
// they are read from the log.
func (s *Suggestions) acceptedBy(ctx context.Context, m loop.Meta, done CatalogResult, n int) ([]catalog.SuggestionAccepted, error) {
	events := done.Events
	if len(events) == 0 {
		first := uint64(done.Revision) - uint64(n-1)                                                       //nolint:gosec // it has as many events
		read, err := s.Tools.Log.ReadForward(ctx, codec.Catalogs.Stream(m.Organization), first, uint64(n)) //nolint:gosec // a small number
		if err != nil {
			return nil, loop.Refusal(err)
		}
		for _, e := range read {
			if event, is := e.Event.(catalog.Event); is {
				events = append(events, event)
			}
		}
	}
	out := make([]catalog.SuggestionAccepted, 0, n)
	for _, e := range events[max(0, len(events)-n):] {
		if accepted, is := e.(catalog.SuggestionAccepted); is {
			out = append(out, accepted)
		}
	}
	if len(out) != n {
		return nil, fmt.Errorf("the command %s accepted %d suggestions and the log has %d", m.CommandID, n, len(out))
	}
	return out, nil
}

func (s *Suggestions) carryOut(ctx context.Context, m loop.Meta, accepted []catalog.SuggestionAccepted) []Seeded {
	ctx, cancel := context.WithTimeout(ctx, carryOutTime)
	defer cancel()
	n := 0
	for _, a := range accepted {
		n += len(a.Decisions)
	}
	out := make([]Seeded, 0, n)
	var workers errgroup.Group
	workers.SetLimit(16)
	for _, a := range accepted {
		for _, d := range a.Decisions {
			out = append(out, Seeded{AgentID: d.AgentID, Outcome: InProgress})
			mine := &out[len(out)-1]
			workers.Go(func() error {
				if seeded, err := s.Grants.Seed(ctx, m, a.SuggestionID, a.ToolID, d); err == nil {
					*mine = seeded
				}
				return nil
			})
		}
	}
	_ = workers.Wait() // none fails
	return out
}

// Changed reports whether the agent's stream got an event of it just now.
func (s Seeded) Changed() bool { return s.changed }

// Seed carries out one decision of an answered suggestion on its agent's stream. It has one effect however often and by whomever it is called: its command is derived from suggestion, tool
// and agent, and it gives only what the agent never had.
func (g *Grants) Seed(ctx context.Context, m loop.Meta, suggestionID, toolID string, d catalog.Decision) (Seeded, error) {
	if d.Outcome == catalog.Skipped {
		return Seeded{AgentID: d.AgentID, Outcome: catalog.Skipped, Why: d.Why}, nil
	}
	id, err := uuid.Parse(toolID)
	if err != nil {
		return Seeded{}, fmt.Errorf("the tool of a suggestion: %w", err)
	}
	m.CommandID, m.Since, m.IfRevision = loop.DerivedID(id, "suggestion/"+suggestionID+"/"+d.AgentID), 0, 0
	c := agent.Seed{
		At: loop.Later(g.Clock(), time.Time{}), Tool: agent.Tool{ID: toolID}, SuggestionID: suggestionID, RequestID: loop.DerivedID(m.CommandID, "request").String(), Reason: d.Reason,
		Approved: d.Outcome == catalog.Granted, Suspensions: d.Suspensions,
	}
	build, err := g.building(ctx, m, toolID, func(tool agent.Tool, _ agent.State, at time.Time) (agent.Command, error) {
		c.Tool, c.At = tool, at
		return c, nil
	})
	if err != nil {
		return Seeded{}, err
	}
	if !c.Approved {
		if err := g.open(ctx, m, c.RequestID, d.AgentID, toolID); err != nil {
			return Seeded{}, err
		}
	}
	done, err := g.Agents.Do(ctx, d.AgentID, m, owned(m, build))
	if refusal, refused := errors.AsType[*domain.Error](err); refused && refusal.Kind == domain.KindNotFound {
		return Seeded{AgentID: d.AgentID, Outcome: catalog.Skipped, Why: "the agent is retired"}, nil
	}
	if err != nil {
		return Seeded{}, err
	}
	err = g.barrier(ctx, m, d.AgentID, toolID)
	if refusal, refused := errors.AsType[*domain.Error](err); refused && refusal.Kind == domain.KindNotFound {
		return Seeded{AgentID: d.AgentID, Outcome: catalog.Skipped, Why: "the tool was removed", changed: len(done.Events) > 0, position: done.Position}, nil
	}
	if err != nil {
		return Seeded{}, err
	}
	out := Seeded{AgentID: d.AgentID, Outcome: catalog.Pending, Why: d.Why, changed: len(done.Events) > 0, position: done.Position}
	switch status, why := agent.Seeded(done.State, c); status {
	case agent.Approved:
		out.Outcome, out.Why = catalog.Granted, ""
	case agent.Pending:
	default:
		out.Outcome, out.Why = catalog.Skipped, why
	}
	return out, nil
}

// open writes the stream that finds a request, or a note, by its id.
func (g *Grants) open(ctx context.Context, m loop.Meta, requestID, agentID, toolID string) error {
	signed := codec.Signed{
		Organization: m.Organization, Actor: m.Actor, CommandID: m.CommandID.String(), RequestID: m.RequestID,
		Time: loop.Later(g.Clock(), time.Time{}),
	}
	_, err := g.Log.Write(ctx, codec.Requests.Stream(requestID), eventstore.NoStream, codec.RequestOpened{AgentID: agentID, ToolID: toolID}, signed)
	if err != nil && !isExisting(err) {
		return loop.Refusal(err)
	}
	return nil
}

// standings are what decisions about the backers of suggestions need to know of them.
type standings = map[string]catalog.Standing

// withStandings tries a decision on the catalog until it came with the standing of every agent that it concerns.
func (t *Tools) withStandings(ctx context.Context, m loop.Meta, try func(standings) error) error {
	known := standings{}
	for range 8 {
		err := try(known)
		needed, missing := errors.AsType[*catalog.StandingsNeededError](err)
		if !missing {
			return err
		}
		known = maps.Clone(known) // the former may still be looked at by a command whose caller has left
		if err := t.look(ctx, m.Organization, needed, known); err != nil {
			return err
		}
	}
	return &domain.Error{
		Kind: domain.KindUnavailable, Code: "busy", Detail: "Agents back this faster than it can be decided.",
		Hint: "Send the same request again after {wait}.", RetryAfter: time.Second,
	}
}

func (t *Tools) look(ctx context.Context, organization string, needed *catalog.StandingsNeededError, known standings) error {
	var mu sync.Mutex
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(16)
	for _, id := range needed.AgentIDs {
		workers.Go(func() error {
			head, err := t.Agents.Fresh(ctx, id)
			if err != nil {
				return err
			}
			standing := catalog.Standing{Why: agent.WhyNot(head.State, needed.ToolID, loop.Later(t.Clock(), head.At)), Suspensions: head.State.Suspensions}
			if head.State.OrganizationID != organization {
				standing.Why = "there is no such agent"
			}
			mu.Lock()
			defer mu.Unlock()
			known[id] = standing
			return nil
		})
	}
	return workers.Wait()
}
