package projections

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// FeedConfig says what a feed follows. Zero durations and sizes take defaults.
type FeedConfig struct {
	Name   string
	Log    *codec.Log
	Logger *slog.Logger

	// Begin returns the stored position, after which the next session begins.
	Begin func(context.Context) (uint64, error)
	// Lead returns when this process is the one that handles the events, with a context that ends when
	// it no longer is, and a function that gives the lead back. nil: there is no other process.
	Lead func(context.Context) (context.Context, func(), error)
	// Known returns where a stream ended for the one that handles the events; see codec.Chain. nil:
	// that isn't kept.
	Known func(ctx context.Context, stream string) (codec.End, bool, error)
	// CaughtUp is called once in a session, when everything written so far was handled; nil: nothing
	// is.
	CaughtUp func(context.Context) error

	MaxBatch           int           // events in one message
	Idle               time.Duration // how long a position without events of ours may wait to be stored
	MinDelay, MaxDelay time.Duration // between a session that failed and the next
	MaxOutage          time.Duration // the same while the log can't be reached
	// from one to four of it pass between two batches when nobody waits: what comes meanwhile
	// shares a transaction
	Pace time.Duration
}

// ours matches the streams whose events a feed hands on. What the store, or another application on
// the same cluster, writes for itself isn't even sent, and neither are our snapshots.
var ours = codec.Pattern(wanted)

func wanted(c codec.Category) bool { return c != codec.Unknown && c != codec.Snapshots }

// isOurs is false of the store's own events too, which may be in streams of ours: a tombstone is.
func isOurs(r eventstore.Recorded) bool {
	category, _ := codec.Split(r.Stream)
	return wanted(category) && !strings.HasPrefix(r.Type, "$")
}

// Feed is a Watermill subscriber that follows the whole log. Each message is one batch of events in
// order; the next is sent when the one before it was acknowledged. Whatever goes wrong, a refused
// message or a dropped connection, ends a session; the next begins, after a growing pause, at the
// position that was stored. No event of ours is ever passed over, and the channel is closed only
// when the feed is.
type Feed struct {
	FeedConfig
	*progress

	closing context.CancelFunc
	closed  context.Context //nolint:containedctx // ends every subscription of the feed
	running sync.WaitGroup
}

// NewFeed returns a feed that is stopped until Watermill subscribes to it.
func NewFeed(c FeedConfig) *Feed {
	if c.MaxBatch == 0 {
		c.MaxBatch = 1000
	}
	if c.Idle == 0 {
		c.Idle = 5 * time.Second
	}
	if c.MinDelay == 0 {
		c.MinDelay = 50 * time.Millisecond
	}
	if c.MaxDelay == 0 {
		c.MaxDelay = 30 * time.Second
	}
	if c.Pace == 0 {
		c.Pace = 25 * time.Millisecond
	}
	if c.MaxOutage == 0 {
		c.MaxOutage = 200 * time.Millisecond
	}
	f := &Feed{FeedConfig: c, progress: newProgress()}
	f.closed, f.closing = context.WithCancel(context.Background())
	return f
}

// Subscribe implements message.Subscriber. The topic is only a name.
func (f *Feed) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(f.closed, cancel)
	out := make(chan *message.Message)
	f.running.Go(func() {
		defer close(out)
		defer cancel()
		defer stop()
		f.run(ctx, out)
	})
	return out, nil
}

// Close implements message.Subscriber: it ends the subscriptions and waits for them.
func (f *Feed) Close() error {
	f.closing()
	f.running.Wait()
	return nil
}

// How long a session that failed is left at most while an installation that owns the database shows
// no life, and while the database can't be reached.
const (
	vacantDelay = 5 * time.Second
	storeDelay  = 5 * time.Second
)

func (f *Feed) run(ctx context.Context, out chan<- *message.Message) {
	backoff := eventstore.Backoff{Min: f.MinDelay}
	for {
		progressed, err := f.session(ctx, out)
		if ctx.Err() != nil {
			f.enter(Stopped, "")
			return
		}
		if progressed {
			backoff.Reset()
		}
		backoff.Max = f.MaxDelay
		if errors.Is(err, eventstore.ErrUnavailable) {
			backoff.Max = min(f.MaxDelay, f.MaxOutage)
		}
		if occupied, ok := errors.AsType[*readmodels.OccupiedError](err); ok && occupied.Left > 0 {
			backoff.Max = min(f.MaxDelay, vacantDelay, occupied.Left) // the owner may return
		}
		if errors.Is(err, readmodels.ErrUnavailable) {
			backoff.Max = min(f.MaxDelay, storeDelay)
		}
		delay := backoff.Next()
		f.report(ctx, err, delay)
		if !eventstore.Pause(ctx, delay) {
			f.enter(Stopped, "")
			return
		}
	}
}

// report says why a session ended: an event that can't be applied loudly, a connection that was
// lost in passing.
func (f *Feed) report(ctx context.Context, err error, delay time.Duration) {
	attrs := []any{
		slog.String("projection", f.Name), slog.String("error", err.Error()), slog.Duration("retry_in", delay),
	}
	switch {
	case errors.Is(err, errConfirmed):
		f.enter(CatchingUp, errConfirmed.Error())
		f.Logger.DebugContext(ctx, "projection starts again", attrs...)
	case errors.Is(err, errOutpaced):
		f.enter(CatchingUp, "another worker is ahead")
		f.Logger.DebugContext(ctx, "projection starts again after another worker", attrs...)
	case errors.Is(err, eventstore.ErrUnavailable):
		f.enter(CatchingUp, "the event log is unavailable")
		f.Logger.WarnContext(ctx, "projection waits for the event log", attrs...)
	case errors.Is(err, readmodels.ErrUnavailable):
		f.enter(Failed, readmodels.ErrUnavailable.Error())
		f.Logger.WarnContext(ctx, "projection waits for the store of its tables", attrs...)
	default:
		f.enter(Failed, err.Error())
		f.Logger.ErrorContext(ctx, "projection stopped", attrs...)
	}
}

// errSilent ends a subscription that sent nothing although the log holds an event that it should
// have sent; another follows at once.
var errSilent = errors.New("the subscription has not sent what the log holds")

// skip returns the position up to which the log holds only what is not ours. A server
// reports such events rarely, after a thousand and more, so they are read here while nothing else
// happens. Without the log nothing is skipped. Its error is errSilent where an event of ours
// follows.
func (f *Feed) skip(ctx context.Context, passed uint64) (uint64, error) {
	for pages, more := 0, true; more && pages < 32; pages++ {
		var events []eventstore.Recorded
		var err error
		if events, more, err = f.Log.Client.ReadAfter(ctx, passed, 64); err != nil {
			return passed, nil //nolint:nilerr // the subscription reports an outage
		}
		for _, e := range events {
			if isOurs(e) {
				return passed, errSilent
			}
			passed = e.Position
		}
	}
	return passed, nil
}

// errOutpaced marks a batch that another worker has applied meanwhile.
var errOutpaced = errors.New("another worker was faster")

// session follows the log, while this process leads, until something goes wrong, and says whether
// it got anywhere.
func (f *Feed) session(ctx context.Context, out chan<- *message.Message) (progressed bool, err error) {
	if f.Lead != nil {
		lead, release, err := f.Lead(ctx)
		if err != nil {
			return false, err
		}
		defer release()
		ctx = lead
	}
	settled := f.CaughtUp == nil
	for err = errSilent; errors.Is(err, errSilent); {
		var more bool
		more, err = f.follow(ctx, out, &settled)
		progressed = progressed || more
	}
	return progressed, err
}

// follow is one subscription, from the stored position on.
func (f *Feed) follow(ctx context.Context, out chan<- *message.Message, settled *bool) (progressed bool, err error) {
	stored, err := f.Begin(ctx)
	if err != nil {
		return false, err
	}
	f.restart(stored) // the tables may have been lost meanwhile
	f.resume(Stopped)
	f.resume(Standby)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connection := f.Log.Client.Generation()
	head, err := f.Log.Client.Head(ctx)
	if err != nil {
		return false, err
	}
	sub, err := f.Log.Client.SubscribeAll(ctx, stored, eventstore.Filter{Streams: ours})
	if err != nil {
		return false, err
	}
	defer func() { _ = sub.Close() }() // it ends with its context
	if f.Log.Client.Generation() != connection {
		head = 0 // it is another node's
	}
	items := make(chan item, 2*f.MaxBatch)
	chain := f.Log.NewChain()
	chain.Complete, chain.Known = true, f.Known
	go receive(ctx, sub, chain, items)

	idle := time.NewTicker(f.Idle)
	defer idle.Stop()
	passed, heard, live := stored, true, false
	for {
		var b gathered
		select {
		case first := <-items:
			b, heard = f.gather(first, items, passed, head), true
		case <-idle.C:
			if !heard {
				if passed, err = f.skip(ctx, passed); err != nil {
					return progressed, err
				}
			}
			b, heard = gathered{passed: passed, store: passed > stored}, false
		case <-ctx.Done():
			return progressed, context.Cause(ctx)
		}
		if len(b.events) > 0 || b.store {
			if err := f.deliver(ctx, out, Batch{From: stored, To: b.passed, Events: b.events}); err != nil {
				return progressed, err
			}
			stored, progressed = b.passed, true
			f.resume(Failed)
		}
		passed = b.passed
		f.reach(passed)
		if b.caughtUp {
			if !*settled {
				if err := f.CaughtUp(ctx); err != nil {
					return progressed, err
				}
			}
			progressed, *settled, live = true, true, true
			f.enter(Running, "")
		}
		if b.err != nil {
			return progressed, b.err
		}
		if live && len(b.events) > 0 && len(b.events) < f.MaxBatch {
			f.rest(ctx, len(b.events))
		}
	}
}

// rest lets events gather, unless a query waits for them: the longer, the more of them the last
// batch had.
func (f *Feed) rest(ctx context.Context, events int) {
	pace := time.NewTimer(f.Pace * time.Duration(1+min(events, 48)/16))
	defer pace.Stop()
	select {
	case <-pace.C:
	case <-f.awaited():
	case <-ctx.Done():
	}
}

// deliver hands a batch to the handler and waits for what comes of it, also when ctx, which the
// handler works with, ends meanwhile: no session begins while the last one's handler works.
func (f *Feed) deliver(ctx context.Context, out chan<- *message.Message, b Batch) error {
	d := &handover{Batch: b}
	msg := message.NewMessage(watermill.NewUUID(), nil)
	msg.SetContext(d.in(ctx))
	select {
	case out <- msg:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-msg.Acked():
		return nil
	case <-msg.Nacked():
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case d.err == nil:
		return errors.New("the handler refused the batch without a reason")
	}
	return d.err
}
