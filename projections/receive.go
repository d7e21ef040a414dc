package projections

import (
	"context"
	"errors"
	"fmt"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// item is one thing a subscription says: an event, a position that was passed, the end of what is
// there, or why it ended.
type item struct {
	event    *codec.Verified
	passed   uint64
	caughtUp bool
	err      error
}

// receive passes on what a subscription says, verified, until it or the context ends. An event that
// isn't ours at its place is passed over; one of ours that can't be decoded ends it.
func receive(ctx context.Context, sub *eventstore.Subscription, chain *codec.Chain, items chan<- item) {
	for {
		it := next(ctx, sub, chain)
		select {
		case items <- it:
		case <-ctx.Done():
			return
		}
		if it.err != nil {
			return
		}
	}
}

func next(ctx context.Context, sub *eventstore.Subscription, chain *codec.Chain) item {
	said, err := sub.Next()
	switch {
	case err != nil:
		return item{err: fmt.Errorf("follow the log: %w", err)}
	case said.Event == nil:
		return item{passed: said.Checkpoint, caughtUp: said.CaughtUp}
	case !isOurs(*said.Event):
		return item{passed: said.Event.Position}
	}
	event, err := chain.Next(ctx, *said.Event)
	if _, foreign := errors.AsType[*codec.ForgedError](err); foreign {
		return item{passed: said.Event.Position}
	}
	if err != nil {
		return item{err: &EventError{Stream: said.Event.Stream, Revision: said.Event.Revision, Err: err}}
	}
	return item{event: &event}
}

// gathered is what was there without waiting.
type gathered struct {
	events   []codec.Verified
	passed   uint64
	caughtUp bool
	store    bool // the position, though there is no event
	err      error
}

// gather begins with an item and adds what has already arrived. When the subscription has caught
// up, everything up to the head from before it began was considered: a server may send no position
// that says so.
func (f *Feed) gather(it item, items <-chan item, passed, head uint64) gathered {
	g := gathered{passed: passed}
	for {
		switch {
		case it.err != nil:
			g.err = it.err
			return g
		case it.event != nil:
			g.events = append(g.events, *it.event)
			g.passed = it.event.Position
		case it.caughtUp:
			g.caughtUp, g.passed = true, max(g.passed, head)
		default:
			g.passed = max(g.passed, it.passed)
		}
		if len(g.events) == f.MaxBatch {
			return g
		}
		select {
		case it = <-items:
		default:
			return g
		}
	}
}
