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
// its signature and its place in its stream. Commands and projections check what they read; this
// finds what nobody reads. It decides nothing and writes nothing.
type Integrity struct {
	Log    *codec.Log
	Logger *slog.Logger
	Clock  func() time.Time

	// Rest returns how long to pause after some work, so that a pass takes little of the machine.
	Rest func(worked time.Duration) time.Duration

	mu    sync.Mutex
	state IntegrityStatus
	found map[place]bool // by this pass
}

type place struct {
	stream   string
	revision uint64
}

// IntegrityStatus is where the passes over the log stand.
type IntegrityStatus struct {
	Running  bool
	Position uint64 // up to which the present pass, or the last one, has come
	Head     uint64 // of the log when that pass began
	Events   int    // that it checked

	Completed time.Time // when the last whole pass ended; the zero time before the first

	Findings int   // of the present pass, or of the last one where that one found more
	First    error // of them
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
		i.found = map[place]bool{}
		s.Running, s.Position, s.Head, s.Events = true, 0, 0, 0
	})
	chain := i.Log.NewWholeChain()
	backoff := eventstore.Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second}
	for {
		err := i.follow(ctx, chain)
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
	i.update(func(s *IntegrityStatus) {
		s.Running, s.Completed = false, i.Clock()
		if s.Findings = len(i.found); s.Findings == 0 {
			s.First = nil // what an earlier pass found is no more
		}
	})
	if now := i.Status(); now.Findings > 0 || before.Findings > 0 || before.Completed.IsZero() {
		i.Logger.InfoContext(
			ctx, "the whole log was checked", slog.Int("events", now.Events), slog.Int("findings", now.Findings),
		)
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

// check looks at one event. Its error is one of the log; what is wrong with the event is a finding.
func (i *Integrity) check(ctx context.Context, chain *codec.Chain, r eventstore.Recorded) error {
	if isOurs(r) {
		_, err := chain.Next(ctx, r)
		forged, found := errors.AsType[*codec.ForgedError](err)
		switch {
		case found:
			i.find(ctx, forged)
		case err != nil && !errors.Is(err, codec.ErrUnknownEvent): // a newer version of ours signed that one
			return fmt.Errorf("check %d@%s: %w", r.Revision, r.Stream, err)
		}
	}
	i.update(func(s *IntegrityStatus) { s.Events, s.Position = s.Events+1, r.Position })
	return nil
}

// find takes note of an event that isn't ours at its place. The first ones are named in the log of
// the process.
func (i *Integrity) find(ctx context.Context, err *codec.ForgedError) {
	const named = 20
	at, first := place{err.Stream, err.Revision}, false
	i.update(func(s *IntegrityStatus) {
		if first = !i.found[at] && len(i.found) < named; !i.found[at] {
			i.found[at] = true
			s.Findings = max(s.Findings, len(i.found))
		}
		if len(i.found) == 1 {
			s.First = err
		}
	})
	if first {
		i.Logger.ErrorContext(
			ctx, "the event log holds an event that doesn't belong to it", slog.String("stream", err.Stream),
			slog.Uint64("revision", err.Revision), slog.String("reason", err.Reason),
		)
	}
}
