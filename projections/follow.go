package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/spans"
	"agentkey/readmodels"
)

// Place is where a follower keeps its checkpoint, beside what it makes of the events.
type Place interface {
	ReadCheckpoint(ctx context.Context) (readmodels.Checkpoint, error)
	// ReadEnd returns where a guarded stream ended by the events that were handled, the zero End if
	// none was of it.
	ReadEnd(ctx context.Context, stream string) (readmodels.StreamEnd, error)
	// ReadEnds returns some of them, in the order of the streams' names after one, none at the end.
	ReadEnds(ctx context.Context, after string) ([]readmodels.StreamEnd, error)
	// Claim binds an empty place to a log, as it was when a restore of it was confirmed last. It does
	// nothing where the place is bound to that log already.
	Claim(ctx context.Context, storeID string, created, confirmed time.Time) error
	// Reset empties the place, with everything that was made of the events.
	Reset(ctx context.Context) error
}

// FollowerConfig says what a follower is: a name, a place for its checkpoint, a lead and a handler.
// The rest may be left out; zero durations take the feed's defaults.
type FollowerConfig struct {
	Name   string
	Log    *codec.Log
	Logger *slog.Logger
	Clock  func() time.Time
	Place  Place

	// Lead returns when this process is the one that handles the events; see readmodels.DB. Until
	// then standby learns how far the leader is. nil: there is no other process.
	Lead func(
		ctx context.Context, is readmodels.Origin, standby func(readmodels.Checkpoint) <-chan struct{},
	) (lead context.Context, release func(), err error)

	// Handle stores what a batch means together with the move of the checkpoint, or neither. Its
	// error wraps readmodels.ErrMoved where the checkpoint is no longer at Batch.From, and
	// readmodels.ErrUnavailable where the place is at fault and not an event. After any error it
	// gets the same events again.
	Handle func(context.Context, Batch) error

	CaughtUp func(context.Context) error // called once in a session, when everything written so far was handled
	Tracer   trace.Tracer                // makes a span of every batch of events

	// OnLost receives an event that the place knows and the log has lost, before it is filled
	// again.
	OnLost func(context.Context, eventstore.Mark) error

	Idle, MinDelay, MaxDelay time.Duration
	Pace                     time.Duration // see FeedConfig
}

// Follower follows the log from a checkpoint, one batch after another, and starts over when the
// checkpoint is of another log.
type Follower struct {
	FollowerConfig
	feed *Feed
	log  origin // known since the first session; read by its batches
}

// NewFollower returns a follower; Run sets it going.
func NewFollower(c FollowerConfig) *Follower {
	f := &Follower{FollowerConfig: c}
	feed := FeedConfig{
		Name: c.Name, Log: c.Log, Logger: c.Logger, Begin: f.begin, CaughtUp: c.CaughtUp,
		Idle: c.Idle, MinDelay: c.MinDelay, MaxDelay: c.MaxDelay, Pace: c.Pace, Lead: f.lead,
		Known: f.known,
	}
	f.feed = NewFeed(feed)
	return f
}

// Run applies what happens until ctx ends. It is called once.
func (f *Follower) Run(ctx context.Context) error { return Run(ctx, f.feed, f.apply) }

// WaitFor returns when everything up to a position is handled, or with the context's error.
func (f *Follower) WaitFor(ctx context.Context, position uint64) error {
	return f.feed.wait(ctx, position)
}

// Moved returns the position once it is beyond after, or the context's error. Unlike WaitFor it
// doesn't hurry the projection, so under load it still works in large batches.
func (f *Follower) Moved(ctx context.Context, after uint64) (position uint64, err error) {
	err = f.feed.until(ctx, func() bool {
		position = f.feed.position
		return position > after
	})
	return position, err
}

// Status is where the projection stands.
type Status struct {
	Name         string
	Position     uint64 // everything up to here was handled
	Head         uint64 // the newest event of the log, 0 when it can't be reached
	Distance     uint64 // Head less Position, in the log's own measure, which promises no unit
	EverCaughtUp bool   // since this process began

	// Lag is the age of the oldest event that was not handled; 0 where there is none or the log can't
	// be reached.
	Lag    time.Duration
	State  State
	Detail string // of a failure: the event as stream@revision, and what is wrong
}

// Status asks the log for its head; when that fails the rest still holds.
func (f *Follower) Status(ctx context.Context) Status {
	head, err := f.Log.Client.Head(ctx)
	f.feed.mu.Lock()
	s := Status{
		Name: f.Name, Position: f.feed.position, State: f.feed.state, Detail: f.feed.detail,
		EverCaughtUp: f.feed.caughtUp,
	}
	f.feed.mu.Unlock()
	if err == nil {
		s.Head = head
		s.Distance = max(head, s.Position) - s.Position
		s.Lag = f.lag(ctx, s)
	}
	return s
}

// State is what the projection is doing.
func (f *Follower) State() State {
	f.feed.mu.Lock()
	defer f.feed.mu.Unlock()
	return f.feed.state
}

// Failure is the Detail of a projection that has failed, "" for any other.
func (f *Follower) Failure() string {
	f.feed.mu.Lock()
	defer f.feed.mu.Unlock()
	if f.feed.state != Failed {
		return ""
	}
	return f.feed.detail
}

// lag looks a little beyond the position. What isn't for us there doesn't count, as far as it can
// be seen.
func (f *Follower) lag(ctx context.Context, s Status) time.Duration {
	if s.Distance == 0 {
		return 0
	}
	events, more, err := f.Log.Client.ReadAfter(ctx, s.Position, 16)
	if err != nil {
		return 0
	}
	for i, e := range events {
		if isOurs(e) || more && i == len(events)-1 {
			return max(f.Clock().Sub(e.Created), 0)
		}
	}
	return 0
}

// Mark returns the newest event that the rows know of those that the log keeps for good; the zero
// Mark for none.
func (f *Follower) Mark(ctx context.Context) (eventstore.Mark, error) {
	stored, err := f.Place.ReadCheckpoint(ctx)
	if err != nil || stored.Mark == "" {
		return eventstore.Mark{}, err
	}
	var seen eventstore.Mark
	err = json.Unmarshal([]byte(stored.Mark), &seen)
	seen.StoreID = stored.StoreID
	return seen, err
}

// known returns where a stream ended by the events that were handled.
func (f *Follower) known(ctx context.Context, stream string) (codec.End, bool, error) {
	if category, _ := codec.Split(stream); !category.Guarded() {
		return codec.End{}, false, nil
	}
	end, err := f.readEnd(ctx, stream)
	if err != nil {
		return end, false, fmt.Errorf("%w: %w", readmodels.ErrUnavailable, err)
	}
	return end, end != codec.Begin, nil
}

func (f *Follower) readEnd(ctx context.Context, stream string) (codec.End, error) {
	stored, err := f.Place.ReadEnd(ctx, stream)
	if err != nil || stored == (readmodels.StreamEnd{}) {
		return codec.Begin, err
	}
	return endOf(stored)
}

func endOf(stored readmodels.StreamEnd) (codec.End, error) {
	end := codec.End{Revision: stored.Revision}
	return end, end.Link.UnmarshalText([]byte(stored.Link))
}

// StreamEnd is where a stream ends.
type StreamEnd struct {
	Stream string
	End    codec.End
}

// SeenEnds returns some of the ends that SeenEnd would, in the order of the streams' names after
// one, none at the end.
func (f *Follower) SeenEnds(ctx context.Context, after, storeID string, confirmed time.Time) ([]StreamEnd, error) {
	at, err := f.Place.ReadCheckpoint(ctx)
	if err != nil || at.StoreID != storeID || !at.Confirmed.Equal(confirmed) {
		return nil, err
	}
	stored, err := f.Place.ReadEnds(ctx, after)
	out := make([]StreamEnd, len(stored))
	for i, e := range stored {
		end, bad := endOf(e)
		out[i], err = StreamEnd{Stream: e.Stream, End: end}, errors.Join(err, bad)
	}
	return out, err
}

// SeenEnd returns where a guarded stream ended by the events that were handled, codec.Begin if that
// says nothing about the log: none was of the stream, or a restore was confirmed since.
func (f *Follower) SeenEnd(ctx context.Context, stream, storeID string, confirmed time.Time) (codec.End, error) {
	stored, err := f.Place.ReadCheckpoint(ctx)
	if err != nil || stored.StoreID != storeID || !stored.Confirmed.Equal(confirmed) {
		return codec.Begin, err
	}
	return f.readEnd(ctx, stream)
}

// sameHistory refuses rows that know an event which the log has lost: other events may be there
// now.
func (f *Follower) sameHistory(ctx context.Context, stored readmodels.Checkpoint) error {
	if !stored.Of(f.log.storeID, f.log.created) {
		return nil // they are not of this log at all
	}
	seen, err := f.Mark(ctx)
	if err != nil || seen.Stream == "" {
		return err
	}
	lost, err := f.Log.Client.Lost(ctx, seen)
	if err != nil || !lost {
		return err
	}
	if f.OnLost != nil {
		if err := f.OnLost(ctx, seen); err != nil {
			return err
		}
	}
	return fmt.Errorf(
		"%w: it knows the revision %d of %s, which is not there", ErrForeignCheckpoint, seen.Revision, seen.Stream,
	)
}

// lead waits until this process fills the tables. Until then it tells how far they are, which is
// all that callers who wait for a position need.
func (f *Follower) lead(ctx context.Context) (context.Context, func(), error) {
	log, err := readOrigin(ctx, f.Log)
	if err != nil {
		return nil, nil, err
	}
	f.log = log
	if f.Lead == nil {
		return ctx, func() {}, nil
	}
	var end uint64 // of the log when it began to stand by: under traffic the tables are always a bit behind
	is := readmodels.Origin{StoreID: log.storeID, Created: log.created}
	return f.Lead(ctx, is, func(at readmodels.Checkpoint) <-chan struct{} {
		if !at.Of(log.storeID, log.created) {
			f.feed.restart(0) // the leader refills them
			return f.feed.awaited()
		}
		f.feed.reach(at.Position)
		if end == 0 {
			if head, err := f.Log.Client.Head(ctx); err == nil {
				end = head
			}
		}
		if end != 0 && at.Position >= end {
			f.feed.enter(Standby, "")
		}
		return f.feed.awaited()
	})
}

// begin returns the stored position. Tables that don't belong to this log are emptied.
func (f *Follower) begin(ctx context.Context) (uint64, error) {
	stored, err := f.Place.ReadCheckpoint(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", readmodels.ErrUnavailable, err)
	}
	head, err := f.Log.Client.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the end of the log: %w", err)
	}
	err = f.sameHistory(ctx, stored)
	if err == nil {
		err = f.log.check(stored, head)
	}
	if errors.Is(err, ErrForeignCheckpoint) {
		f.Logger.WarnContext(
			ctx, "the projection is filled again from the beginning", slog.String("projection", f.Name),
			slog.String("reason", err.Error()),
		)
		if err := f.Place.Reset(ctx); err != nil {
			return 0, err
		}
		f.feed.restart(0)
		stored, err = readmodels.Checkpoint{}, nil
	}
	if err != nil {
		return 0, err
	}
	if stored.StoreID == "" {
		if err := f.Place.Claim(ctx, f.log.storeID, f.log.created, f.log.confirmed); err != nil {
			return 0, err
		}
	}
	return stored.Position, nil
}

// apply writes a batch in one transaction. When that fails and neither a faster worker nor the
// store is the reason, the events are applied one by one, so that everything before the one at
// fault is there and that one is named.
func (f *Follower) apply(ctx context.Context, b Batch) (err error) {
	if f.Tracer != nil && len(b.Events) > 0 {
		var span trace.Span
		ctx, span = f.Tracer.Start(ctx, "apply "+f.Name, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			semconv.MessagingSystemKey.String("eventstoredb"), semconv.MessagingOperationTypeProcess,
			semconv.MessagingOperationName("apply"),
			semconv.MessagingBatchMessageCount(len(b.Events)),
		))
		defer func() { spans.End(span, classOf(err)) }()
	}
	innocent := func(err error) bool {
		return errors.Is(err, errOutpaced) || errors.Is(err, errConfirmed) || errors.Is(err, readmodels.ErrUnavailable) ||
			ctx.Err() != nil
	}
	err = f.handle(ctx, b)
	if err == nil || innocent(err) || len(b.Events) == 0 {
		return err
	}
	from := b.From
	for _, e := range b.Events {
		err := f.handle(ctx, Batch{From: from, To: e.Position, Events: []codec.Verified{e}})
		if err != nil && innocent(err) {
			return err
		}
		if err != nil {
			return &EventError{Stream: e.Stream, Revision: e.Revision, Err: err}
		}
		from = e.Position
	}
	return nil
}

// classOf names what sort of fault an error is, for spans.
func classOf(err error) string {
	switch {
	case err == nil, errors.Is(err, errOutpaced), errors.Is(err, errConfirmed):
		return ""
	case errors.Is(err, readmodels.ErrUnavailable):
		return "unavailable"
	}
	return spans.Other
}

// handle hands a batch to the handler, with what its checkpoint is to say.
func (f *Follower) handle(ctx context.Context, b Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
	}()
	if f.log.confirmedSince(b.Events) {
		return errConfirmed
	}
	b.StoreID, b.Mark, b.Ends = f.log.storeID, mark(b.Events), ends(b.Events)
	if err = f.Handle(ctx, b); errors.Is(err, readmodels.ErrMoved) {
		return fmt.Errorf("%w: %w", errOutpaced, err)
	}
	return err
}
