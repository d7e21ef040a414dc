package commands

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
)

// standings are what decisions about the backers of suggestions need to know of them.
type standings = map[string]catalog.Standing

// withStandings tries a decision on the catalog until it came with the standing of every agent that
// it concerns.
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

func (t *Tools) look(
	ctx context.Context, organization string, needed *catalog.StandingsNeededError, known standings,
) error {
	offered, err := t.Catalogs.Cached(ctx, organization)
	if err != nil {
		return err
	}
	tool := ToolFacts(offered.State, needed.ToolID)
	var mu sync.Mutex
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(16)
	for _, id := range needed.AgentIDs {
		workers.Go(func() error {
			head, err := t.Agents.Fresh(ctx, id)
			if err != nil {
				return err
			}
			standing := catalog.Standing{
				Why:         agent.WhyNot(head.State, tool, loop.Later(t.Clock(), head.At)),
				Suspensions: head.State.Suspensions,
			}
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
