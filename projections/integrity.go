package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Integrity reads the whole log again in the background and checks every event of ours: its MAC,
// its signature and its place in its stream; then it compares where the guarded streams end with
// what is kept of that outside of the log. Commands and projections check what they read; this
// finds what nobody reads. It decides nothing; what it finds goes to the log's Found and to OnLost.
type Integrity struct {
	Log    *codec.Log
	Logger *slog.Logger
	Clock  func() time.Time

	// Ends return where some streams end, in the order of their names after one, none at the end; see
	// Follower.SeenEnds.
	Ends []func(ctx context.Context, after string) ([]StreamEnd, error)
	// OnLost receives a stream that lacks an event of ours.
	OnLost func(ctx context.Context, lost *codec.LostError) error

	// Rest returns how long to pause after some work, so that a pass takes little of the machine.
	Rest func(worked time.Duration) time.Duration

	mu    sync.Mutex
	state IntegrityStatus
}

// IntegrityStatus is where the passes over the log stand.
type IntegrityStatus struct {
	Running  bool
	Position uint64 // up to which the present pass, or the last one, has come
	Head     uint64 // of the log when that pass began
	Events   int    // that it checked

	Completed time.Time // when the last whole pass ended; the zero time before the first

	Foreign int // events in our streams that aren't ours at their place, that the present pass or the last one met
}

// Leisurely rests for nine times as long as it worked: a pass takes a tenth of one core.
func Leisurely(worked time.Duration) time.Duration { return 9 * worked }

// Run passes over the log at once and each time that again fires, until ctx ends. An outage of the
// log delays a pass, which then continues where it was.
func (i *Integrity) Run(ctx context.Context, again <-chan time.Time) {
	for {
		i.pass(ctx)
		select {
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// Once passes over the log up to its end, and returns what it cannot read.
func (i *Integrity) Once(ctx context.Context) error {
	chain := i.Log.NewWholeChain()
	chain.Complete = true
	return i.follow(ctx, chain)
}

// Status tells where the passes stand.
func (i *Integrity) Status() IntegrityStatus {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

func (i *Integrity) update(change func(*IntegrityStatus)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.state)
}

func (i *Integrity) pass(ctx context.Context) {
	var before IntegrityStatus
	i.update(func(s *IntegrityStatus) {
		before = *s
		s.Running, s.Position, s.Head, s.Events, s.Foreign = true, 0, 0, 0, 0
	})
	chain := i.Log.NewWholeChain()
	chain.Complete = true
	backoff := eventstore.Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second}
	for {
		err := i.follow(ctx, chain)
		if err == nil {
			err = i.compare(ctx)
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, eventstore.ErrUnavailable) {
			i.Logger.WarnContext(ctx, "the check of the whole log was interrupted", slog.String("error", err.Error()))
		}
		if !eventstore.Pause(ctx, backoff.Next()) {
			return
		}
	}
	i.update(func(s *IntegrityStatus) { s.Running, s.Completed = false, i.Clock() })
	if now := i.Status(); now.Foreign > 0 || before.Foreign > 0 || before.Completed.IsZero() {
		i.Logger.InfoContext(
			ctx, "the whole log was checked", slog.Int("events", now.Events), slog.Int("foreign", now.Foreign),
		)
	}
}

// compare looks for the ends of streams that are kept outside of the log.
func (i *Integrity) compare(ctx context.Context) error {
	for _, known := range i.Ends {
		if err := i.compareWith(ctx, known); err != nil {
			return err
		}
	}
	return nil
}

func (i *Integrity) compareWith(
	ctx context.Context, known func(ctx context.Context, after string) ([]StreamEnd, error),
) error {
	for after := ""; ; {
		ends, err := known(ctx, after)
		if err != nil {
			i.Logger.WarnContext(ctx, "where the streams ended isn't known", slog.String("error", err.Error()))
			return nil
		}
		if len(ends) == 0 {
			return nil
		}
		began := i.Clock()
		for _, e := range ends {
			after = e.Stream
			lost, err := i.Log.Lacks(ctx, e.Stream, e.End)
			if err != nil {
				return fmt.Errorf("look for the end of %s: %w", e.Stream, err)
			}
			if lost != nil {
				if err := i.OnLost(ctx, lost); err != nil {
					return err
				}
			}
		}
		if i.Rest != nil && !eventstore.Pause(ctx, i.Rest(i.Clock().Sub(began))) {
			return ctx.Err()
		}
	}
}

// burst is how many events are checked between two pauses.
const burst = 64

// follow checks from where the pass is up to the end of the log.
func (i *Integrity) follow(ctx context.Context, chain *codec.Chain) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	head, err := i.Log.Client.Head(ctx)
	if err != nil {
		return err
	}
	i.update(func(s *IntegrityStatus) { s.Head = max(s.Head, head) })
	sub, err := i.Log.Client.SubscribeAll(ctx, i.Status().Position, eventstore.Filter{Streams: ours})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }() // it was only read
	worked := time.Duration(0)
	for n := 1; ; n++ {
		item, err := sub.Next()
		if err != nil {
			return err
		}
		if item.CaughtUp {
			i.update(func(s *IntegrityStatus) { s.Position = max(s.Position, s.Head) })
			return nil
		}
		if item.Event == nil {
			i.update(func(s *IntegrityStatus) { s.Position = max(s.Position, item.Checkpoint) })
			continue
		}
		began := i.Clock()
		if err := i.check(ctx, chain, *item.Event); err != nil {
			return err
		}
		if worked += i.Clock().Sub(began); n%burst == 0 && i.Rest != nil {
			if !eventstore.Pause(ctx, i.Rest(worked)) {
				return ctx.Err()
			}
			worked = 0
		}
	}
}

// check looks at one event. Its error is one of the log.
func (i *Integrity) check(ctx context.Context, chain *codec.Chain, r eventstore.Recorded) error {
	foreign := false
	if isOurs(r) {
		_, err := chain.Next(ctx, r)
		_, foreign = errors.AsType[*codec.ForgedError](err)
		if err != nil && !foreign && !errors.Is(err, codec.ErrUnknownEvent) { // a newer version of ours signed that one
			return fmt.Errorf("check %d@%s: %w", r.Revision, r.Stream, err)
		}
	}
	i.update(func(s *IntegrityStatus) {
		if s.Events, s.Position = s.Events+1, r.Position; foreign {
			s.Foreign++
		}
	})
	return nil
}
