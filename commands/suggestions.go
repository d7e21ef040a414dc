package commands

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"agentkey/commands/loop"
	"agentkey/commands/names"
	"agentkey/domain"
	"agentkey/domain/catalog"
)

// Suggestions carries out what agents suggest and what becomes of it.
type Suggestions struct {
	Tools  *Tools
	Grants *Grants
}

// SuggestionResult is a suggestion as an agent sees it.
type SuggestionResult struct {
	CatalogResult
	ID       string
	Existing bool // somebody had made it before
	Similar  []SimilarTool
}

// SimilarTool is a tool that the agent may have meant: of the same site, or of the same name at
// another one.
type SimilarTool struct{ ID, Name string }

// Suggest suggests a tool for an agent, or backs the suggestion that means the same. Refusals:
// tool_exists; suggestion_cooling_down, whose first for each agent is an event, with the result
// beside the refusal.
func (s *Suggestions) Suggest(
	ctx context.Context, m loop.Meta, agentID, name, address, reason string,
) (SuggestionResult, error) {
	c := catalog.Suggest{
		SuggestionID: loop.DerivedID(m.CommandID, "suggestion").String(), AgentID: agentID, Name: name,
		FoldedName: names.FoldProduct(name), URL: address, Site: names.Site(address), Reason: reason,
	}
	done, err := s.Tools.Catalogs.Do(ctx, m.Organization, m, func(_ catalog.State, at time.Time) (catalog.Command, error) {
		c := c
		c.At = at
		return c, nil
	})
	if err != nil {
		return SuggestionResult{}, err
	}
	id, known := done.State.Suggested(c.FoldedName, c.Site)
	if !known {
		// it was decided between its first call and this repeat
		return SuggestionResult{}, domain.NotFound("suggestion")
	}
	if x := done.State.Suggestions[id]; x.Status == catalog.StatusDismissed {
		return SuggestionResult{CatalogResult: done, ID: id, Existing: true}, catalog.CoolingDown(
			x, id, loop.Later(s.Tools.Clock(), time.Time{}),
		)
	}
	out := SuggestionResult{CatalogResult: done, ID: id, Existing: id != c.SuggestionID}
	for _, tool := range done.State.Similar(c.FoldedName, c.Site) {
		out.Similar = append(out.Similar, SimilarTool{ID: tool, Name: done.State.Tools[tool].Name})
	}
	return out, nil
}

// Dismiss says no, for now.
func (s *Suggestions) Dismiss(ctx context.Context, m loop.Meta, id, reason string) (CatalogResult, error) {
	return s.Tools.Catalogs.Do(ctx, m.Organization, m, func(catalog.State, time.Time) (catalog.Command, error) {
		return catalog.DismissSuggestion{SuggestionID: id, Reason: reason, Seen: m.Seen}, nil
	})
}

// InProgress is the outcome of a decision that is made and not carried out yet; a reaction does
// that.
const InProgress catalog.Outcome = "in_progress"

// carryOutTime is how long an accepted suggestion is carried out within its request.
const carryOutTime = 5 * time.Second

// AcceptedSuggestion is an accepted suggestion: its tool, and its backers in the order in which
// they came.
type AcceptedSuggestion struct {
	CatalogResult
	ToolID  string
	Backers []SeededGrant
}

// Accept adds the tool that a suggestion asks for and decides for every backer, of that suggestion
// and of those in also, in one append; then it carries the decisions out for at most five seconds.
// What is left is in progress.
func (s *Suggestions) Accept(
	ctx context.Context, m loop.Meta, id string, also []string, tool catalog.AddTool, credential domain.Secret,
	grantBackers bool,
) (AcceptedSuggestion, error) {
	tool.ToolID = loop.DerivedID(m.CommandID, "tool").String()
	tool.FoldedName, tool.Site = names.FoldProduct(tool.Name), names.Site(tool.URL)
	tool.CredentialFields = partsOf(credential)
	done, err := s.Tools.propose(ctx, m, tool.ToolID, credential,
		func(known standings, secretID string, _ time.Time) catalog.Command {
			add := tool
			add.SecretID, add.Standings = secretID, known
			return catalog.AcceptSuggestion{
				SuggestionID: id, Also: also, Seen: m.Seen, Tool: add, GrantBackers: grantBackers,
			}
		})
	if err != nil {
		return AcceptedSuggestion{}, err
	}
	out := AcceptedSuggestion{CatalogResult: done, ToolID: tool.ToolID}
	m.Causation = done.EventID.String()
	var accepted []catalog.SuggestionAccepted
	for _, e := range done.Events {
		if e, is := e.(catalog.SuggestionAccepted); is {
			accepted = append(accepted, e)
		}
	}
	out.Backers = s.seed(ctx, m, accepted)
	for _, b := range out.Backers {
		out.Position = max(out.Position, b.position) // waiting for it shows what the backers got, too
	}
	return out, nil
}

func (s *Suggestions) seed(ctx context.Context, m loop.Meta, accepted []catalog.SuggestionAccepted) []SeededGrant {
	ctx, cancel := context.WithTimeout(ctx, carryOutTime)
	defer cancel()
	n := 0
	for _, a := range accepted {
		n += len(a.Decisions)
	}
	out := make([]SeededGrant, 0, n)
	var workers errgroup.Group
	workers.SetLimit(16)
	for _, a := range accepted {
		for _, d := range a.Decisions {
			out = append(out, SeededGrant{AgentID: d.AgentID, Outcome: InProgress})
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
