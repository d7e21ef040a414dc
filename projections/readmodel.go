package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/spans"
	"agentkey/readmodels"
)

// ErrForeignCheckpoint says that the rows were not made from this log, or from a longer one.
var ErrForeignCheckpoint = errors.New("the read model was not made from this log")

// ReadModelConfig is what the projection of the read model works with. Zero durations take the feed's defaults.
type ReadModelConfig struct {
	Client *eventstore.Client
	DB     *readmodels.DB
	Logger *slog.Logger
	Tracer trace.Tracer // makes a span of every batch of events; nil: nothing is traced

	// OnLost is told of an event that the rows know and the log has lost, before they are filled again; nil: nobody is.
	OnLost func(context.Context, eventstore.Mark) error

	Idle, MinDelay, MaxDelay time.Duration
}

// ReadModel fills the tables that the API joins: one projection with one checkpoint.
type ReadModel struct {
	ReadModelConfig
	feed *Feed

	log      origin     // known since the first session; read by its batches
	building sync.Mutex // one rebuild at a time
}

// NewReadModel returns the projection; Run sets it going.
func NewReadModel(c ReadModelConfig) *ReadModel {
	m := &ReadModel{ReadModelConfig: c}
	m.feed = NewFeed(FeedConfig{
		Name: "read_model", Client: c.Client, Logger: c.Logger, Begin: m.begin, Lead: m.lead, CaughtUp: c.DB.Settle,
		Idle: c.Idle, MinDelay: c.MinDelay, MaxDelay: c.MaxDelay,
	})
	return m
}

// Run applies what happens until ctx ends. It is called once.
func (m *ReadModel) Run(ctx context.Context) error { return Run(ctx, m.feed, m.apply) }

// WaitFor returns when everything up to a position is in the tables, or with the context's error.
func (m *ReadModel) WaitFor(ctx context.Context, position uint64) error {
	return m.feed.wait(ctx, position)
}

// Status is where the projection stands.
type Status struct {
	Name         string
	Position     uint64 // everything up to here is in the tables
	Head         uint64 // the newest event of the log, 0 when it can't be reached
	Lag          uint64 // Head less Position, in the log's own measure; what the store writes for itself counts
	CaughtUpOnce bool   // since this process began
	State        State
	Detail       string // of a failure: the event as stream@revision, and what is wrong
}

// Status asks the log for its head; when that fails the rest still holds.
func (m *ReadModel) Status(ctx context.Context) Status {
	head, err := m.Client.Head(ctx)
	m.feed.mu.Lock()
	defer m.feed.mu.Unlock()
	s := Status{
		Name: m.feed.Name, Position: m.feed.position, State: m.feed.state, Detail: m.feed.detail, CaughtUpOnce: m.feed.caughtUp,
	}
	if err == nil {
		s.Head = head
		s.Lag = max(head, s.Position) - s.Position
	}
	return s
}

// origin is what tells one log from another, copies included: a copied log keeps the id, not the time.
type origin struct {
	storeID string
	created time.Time
}

func readOrigin(ctx context.Context, client *eventstore.Client) (origin, error) {
	first, err := client.ReadForward(ctx, codec.Installation.Stream(""), 0, 1)
	if err != nil {
		return origin{}, fmt.Errorf("read the beginning of the log: %w", err)
	}
	if len(first) == 0 {
		return origin{}, errors.New("the log has no installation")
	}
	event, err := codec.Decode(first[0].Type, first[0].Data)
	if err != nil {
		return origin{}, &EventError{Stream: first[0].Stream, Revision: first[0].Revision, Err: err}
	}
	begun, ok := event.(installation.Begun)
	if !ok {
		return origin{}, fmt.Errorf("the log begins with %s", first[0].Type)
	}
	return origin{storeID: begun.StoreID, created: first[0].Created.Truncate(time.Microsecond).UTC()}, nil
}

// check refuses a checkpoint that belongs to another log or lies beyond the end of this one, after which the
// subscription would silently pass over new events.
func (o origin) check(c readmodels.Checkpoint, head uint64) error {
	switch {
	case c.StoreID == "":
		return nil
	case c.StoreID != o.storeID:
		return fmt.Errorf("%w: it is of the store %s, the log is %s", ErrForeignCheckpoint, c.StoreID, o.storeID)
	case !c.StoreCreated.Equal(o.created):
		return fmt.Errorf("%w: it is of a log begun at %s, this copy was begun at %s", ErrForeignCheckpoint, c.StoreCreated, o.created)
	case c.Position > head:
		return fmt.Errorf("%w: it is at position %d, the log ends at %d", ErrForeignCheckpoint, c.Position, head)
	}
	return nil
}

// mark returns the newest event of a batch that the log keeps for good, as the checkpoint holds it; "" for none.
func mark(events []Event) string {
	for _, e := range slices.Backward(events) {
		if category, _ := codec.Split(e.Stream); category.Deciding() {
			text, err := json.Marshal(eventstore.Mark{Stream: e.Stream, Revision: e.Revision, Position: e.Position, ID: e.ID, At: e.Signed.Time})
			if err == nil {
				return string(text)
			}
		}
	}
	return ""
}

// Mark returns the newest event that the rows know of those that the log keeps for good; the zero Mark for none.
func (m *ReadModel) Mark(ctx context.Context) (eventstore.Mark, error) {
	stored, err := m.DB.ReadCheckpoint(ctx)
	if err != nil || stored.Mark == "" {
		return eventstore.Mark{}, err
	}
	var seen eventstore.Mark
	err = json.Unmarshal([]byte(stored.Mark), &seen)
	seen.StoreID = stored.StoreID
	return seen, err
}

// sameHistory refuses rows that know an event which the log has lost: other events may be there now.
func (m *ReadModel) sameHistory(ctx context.Context, stored readmodels.Checkpoint) error {
	if !stored.Of(m.log.storeID, m.log.created) {
		return nil // they are not of this log at all
	}
	seen, err := m.Mark(ctx)
	if err != nil || seen.Stream == "" {
		return err
	}
	lost, err := m.Client.Lost(ctx, seen)
	if err != nil || !lost {
		return err
	}
	if m.OnLost != nil {
		if err := m.OnLost(ctx, seen); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: it knows the revision %d of %s, which is not there", ErrForeignCheckpoint, seen.Revision, seen.Stream)
}

// lead waits until this process fills the tables. Until then it tells how far they are, which is all that callers
// who wait for a position need.
func (m *ReadModel) lead(ctx context.Context) (context.Context, func(), error) {
	log, err := readOrigin(ctx, m.Client)
	if err != nil {
		return nil, nil, err
	}
	m.log = log
	caughtUp := false
	return m.DB.Lead(ctx, func(at readmodels.Checkpoint) {
		if !at.Of(log.storeID, log.created) {
			m.feed.restart(0) // the leader refills them
			return
		}
		m.feed.reach(at.Position)
		if !caughtUp {
			head, err := m.Client.Head(ctx)
			caughtUp = err == nil && at.Position >= head
		}
		if caughtUp {
			m.feed.enter(Standby, "")
		}
	})
}

// begin returns the stored position. Tables that don't belong to this log are emptied.
func (m *ReadModel) begin(ctx context.Context) (uint64, error) {
	stored, err := m.DB.ReadCheckpoint(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", readmodels.ErrUnavailable, err)
	}
	head, err := m.Client.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the end of the log: %w", err)
	}
	err = m.sameHistory(ctx, stored)
	if err == nil {
		err = m.log.check(stored, head)
	}
	if errors.Is(err, ErrForeignCheckpoint) {
		m.Logger.WarnContext(ctx, "the read model is filled again from the beginning", slog.String("reason", err.Error()))
		if err := m.DB.Reset(ctx); err != nil {
			return 0, err
		}
		m.feed.restart(0)
		stored, err = readmodels.Checkpoint{}, nil
	}
	if err != nil {
		return 0, err
	}
	if stored.StoreID == "" {
		err := m.DB.Write(ctx, func(tx *readmodels.Tx) error { return tx.Claim(ctx, m.log.storeID, m.log.created) })
		if err != nil {
			return 0, err
		}
	}
	return stored.Position, nil
}

// apply writes a batch in one transaction. When that fails and neither a faster worker nor the store is the reason,
// the events are applied one by one, so that everything before the one at fault is there and that one is named.
func (m *ReadModel) apply(ctx context.Context, b Batch) (err error) {
	if m.Tracer != nil && len(b.Events) > 0 {
		var span trace.Span
		ctx, span = m.Tracer.Start(ctx, "apply "+m.feed.Name, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			semconv.MessagingSystemKey.String("eventstoredb"), semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("apply"),
			semconv.MessagingBatchMessageCount(len(b.Events)),
		))
		defer func() { spans.End(span, classOf(err)) }()
	}
	innocent := func(err error) bool {
		return errors.Is(err, errOutpaced) || errors.Is(err, readmodels.ErrUnavailable) || ctx.Err() != nil
	}
	err = m.write(ctx, b)
	if err == nil || innocent(err) || len(b.Events) == 0 {
		return err
	}
	from := b.From
	for _, e := range b.Events {
		err := m.write(ctx, Batch{From: from, To: e.Position, Events: []Event{e}})
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
	case err == nil, errors.Is(err, errOutpaced):
		return ""
	case errors.Is(err, readmodels.ErrUnavailable):
		return "unavailable"
	}
	return spans.Other
}

func (m *ReadModel) write(ctx context.Context, b Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
	}()
	return m.DB.Write(ctx, func(tx *readmodels.Tx) error {
		err := tx.Move(ctx, m.log.storeID, b.From, b.To, mark(b.Events))
		if errors.Is(err, readmodels.ErrMoved) {
			return fmt.Errorf("%w: %w", errOutpaced, err)
		}
		if err != nil {
			return err
		}
		return newRows(tx).apply(ctx, b.Events)
	})
}
