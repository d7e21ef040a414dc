package eventstore

import (
	"context"
	"fmt"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/metadata"
)

// Item is one message of a subscription: an event, a position that the server has passed, or the
// news that everything written so far was sent.
type Item struct {
	Event      *Recorded // nil in the other two
	Checkpoint uint64    // 0 in the other two
	CaughtUp   bool
}

// Subscription follows the whole log. It is not resumed when it drops: subscribe again from what
// was handled.
type Subscription struct {
	inner  *esdb.Subscription
	client *Client
	link   *link
	ctx    context.Context //nolint:containedctx // a subscription lives as long as its context
	end    func()
}

// checkpointEvery is how many windows of 32 considered events pass between two positions from the
// server.
const checkpointEvery = 32

// Filter says which events of the whole log are sent: those whose stream's name or whose type
// matches a plain regular expression without look-around. The server takes one of the two. The zero
// Filter lets all pass.
type Filter struct{ Streams, Types string }

// SubscribeAll follows the log after a position, 0 for all of it. The context ends the
// subscription.
func (c *Client) SubscribeAll(ctx context.Context, after uint64, filter Filter) (*Subscription, error) {
	opts := esdb.SubscribeToAllOptions{From: esdb.Start{}}
	if after > 0 {
		opts.From = esdb.Position{Commit: after, Prepare: after}
	}
	switch {
	case filter.Streams != "":
		opts.Filter = &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Regex: filter.Streams}
	case filter.Types != "":
		opts.Filter = &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Regex: filter.Types}
	}
	if opts.Filter != nil {
		opts.CheckpointInterval = checkpointEvery
	}
	ctx, cancel := context.WithCancelCause(ctx)
	// The attempt is bounded by its own context, but the subscription must outlive it.
	sub, err := call(ctx, c, func(_ context.Context, l *link) (*Subscription, error) {
		inner, err := l.inner.SubscribeToAll(metadata.AppendToOutgoingContext(ctx, "requires-leader", "true"), opts)
		if err != nil {
			return nil, err
		}
		l.uses.Add(1)                                                  // beside the call's own
		stop := context.AfterFunc(l.left, func() { cancel(errHangs) }) //nolint:contextcheck // the link outlives the call
		context.AfterFunc(ctx, func() {                                // also where nobody waited for the subscription
			stop()
			l.uses.Done()
		})
		return &Subscription{inner: inner, client: c, link: l, ctx: ctx, end: func() { cancel(nil) }}, nil
	})
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("subscribe to the log: %w", err)
	}
	return sub, nil
}

// Next returns the next message. Its error says why the subscription ended: the context's, or
// ErrUnavailable.
func (s *Subscription) Next() (Item, error) {
	for {
		e := s.inner.Recv()
		switch {
		case e.EventAppeared != nil && e.EventAppeared.Event != nil:
			r := recordedOf(e.EventAppeared.OriginalEvent())
			return Item{Event: &r}, nil
		case e.CheckPointReached != nil:
			return Item{Checkpoint: e.CheckPointReached.Commit}, nil
		case e.CaughtUp != nil:
			return Item{CaughtUp: true}, nil
		case e.SubscriptionDropped != nil:
			if err := context.Cause(s.ctx); err != nil {
				return Item{}, err
			}
			s.client.ended(s.link, e.SubscriptionDropped.Error)
			return Item{}, fmt.Errorf("the subscription dropped: %w", classify(e.SubscriptionDropped.Error))
		}
	}
}

// Close ends the subscription.
func (s *Subscription) Close() error {
	s.end()
	return s.inner.Close()
}
