package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Restore carries out what an operator decides about a log that was restored.
type Restore struct {
	Fence  *Fence
	Agents *AgentLoop
}

// Confirm lets credentials be vended again. With suspend it first suspends every agent of every
// organization, and returns how many it suspended. marks are events that somebody has seen: it
// looks for them first, because the log may not have been opened since it was restored. m names the
// actor.
func (r *Restore) Confirm(
	ctx context.Context, m loop.Meta, suspend bool, marks ...eventstore.Mark,
) (suspended int, err error) {
	restored, err := r.Fence.Restored(ctx, marks...)
	if err != nil {
		return 0, err
	}
	if suspend && restored {
		if suspended, err = r.suspendAll(ctx, m); err != nil {
			return suspended, err
		}
	}
	m.Organization = r.Fence.Organization
	_, err = r.Fence.Installation.Do(ctx, "", m, func(installation.State, time.Time) (installation.Command, error) {
		return installation.ConfirmRestore{SuspendedAgents: suspended}, nil
	})
	return suspended, err
}

func (r *Restore) suspendAll(ctx context.Context, m loop.Meta) (n int, err error) {
	sub, err := r.Fence.Log.Client.SubscribeAll(ctx, 0, eventstore.Filter{Types: `^agent\.registered\.`})
	if err != nil {
		return 0, err
	}
	defer func() { _ = sub.Close() }() // it was only read
	chain := r.Fence.Log.NewChain()
	for {
		item, err := sub.Next()
		if err != nil {
			return n, fmt.Errorf("list the agents: %w", err)
		}
		if item.CaughtUp {
			return n, nil
		}
		if item.Event == nil {
			continue
		}
		event, err := chain.Next(ctx, *item.Event)
		if _, foreign := errors.AsType[*codec.ForgedError](err); foreign {
			continue
		}
		if err != nil {
			return n, fmt.Errorf("read %s: %w", item.Event.Stream, err)
		}
		category, id := codec.Split(item.Event.Stream)
		registered, ok := event.Event.(agent.Registered)
		if !ok || category != codec.Agents {
			continue
		}
		m.Organization, m.CommandID = registered.OrganizationID, r.Fence.NewID()
		done, err := r.Agents.Do(
			ctx, id, m, func(agent.State, time.Time) (agent.Command, error) { return agent.Suspend{}, nil },
		)
		refusal, refused := errors.AsType[*domain.Error](err)
		if refused && (refusal.Kind == domain.KindNotFound || refusal.Code == loop.Restored().Code) {
			continue // it is retired, or its stream is broken and gives nothing
		}
		if err != nil {
			return n, fmt.Errorf("suspend %s: %w", item.Event.Stream, err)
		}
		if done.Changed {
			n++
		}
	}
}
