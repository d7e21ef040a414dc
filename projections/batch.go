package projections

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// EventError names the event that a projection can't get past.
type EventError struct {
	Stream   string
	Revision uint64
	Err      error
}

// Error implements error.
func (e *EventError) Error() string { return fmt.Sprintf("%s@%d: %v", e.Stream, e.Revision, e.Err) }

// Unwrap implements errors.Unwrap.
func (e *EventError) Unwrap() error { return e.Err }

// Batch is what one Watermill message carries: events in the order of the log, to be applied
// together with the move of the position from From to To. Without events only the position moves.
type Batch struct {
	From, To uint64
	Events   []codec.Verified

	StoreID string // of the log
	Mark    string // of the newest event that the log keeps for good, for the checkpoint; "" for none

	// Ends are those of the guarded streams that the events are of, for the place.
	Ends []readmodels.StreamEnd
}

// handover is a batch on its way, and what came of it: Watermill tells a subscriber that a message
// failed, but not why.
type handover struct {
	Batch
	err error // written before the message is refused, read after
}

type handoverKey struct{}

func (d *handover) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, handoverKey{}, d)
}

// BatchOf returns the batch that a message of a Feed carries in its context.
func BatchOf(msg *message.Message) (Batch, bool) {
	d, ok := msg.Context().Value(handoverKey{}).(*handover)
	if !ok {
		return Batch{}, false
	}
	return d.Batch, true
}
