package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// ErrForeignCheckpoint says that the rows were not made from this log, or from a longer one.
var ErrForeignCheckpoint = errors.New("the read model was not made from this log")

// errConfirmed ends a session: the log is another one since a restore of it was confirmed.
var errConfirmed = errors.New("a restore of the log was confirmed")

// origin is what tells one log from another, copies included: a copied log keeps the id, not the
// time. Where a restore was confirmed, what was seen before may be gone.
type origin struct {
	storeID   string
	created   time.Time
	confirmed time.Time // zero for never
}

func readOrigin(ctx context.Context, log *codec.Log) (o origin, err error) {
	var events []codec.Verified
	for r, more := log.Reader(codec.Installation.Stream(""), codec.Begin), true; more; {
		if events, more, err = r.Next(ctx, 512); err != nil {
			return origin{}, fmt.Errorf("read the beginning of the log: %w", err)
		}
		for _, e := range events {
			switch body := e.Event.(type) {
			case installation.Begun:
				o.storeID, o.created = body.StoreID, inMicros(e.Created)
			case installation.RestoreConfirmed:
				o.confirmed = inMicros(e.Signed.Time)
			}
		}
	}
	if o.storeID == "" {
		return origin{}, errors.New("the log has no installation")
	}
	return o, nil
}

// inMicros is a time as a place keeps it.
func inMicros(t time.Time) time.Time { return t.Truncate(time.Microsecond).UTC() }

// confirmedSince reports whether events confirm a restore after the origin was read.
func (o origin) confirmedSince(events []codec.Verified) bool {
	return slices.ContainsFunc(events, func(e codec.Verified) bool {
		_, confirmed := e.Event.(installation.RestoreConfirmed)
		return confirmed && inMicros(e.Signed.Time).After(o.confirmed)
	})
}

// ends returns where the guarded streams of a batch end.
func ends(events []codec.Verified) (out []readmodels.StreamEnd) {
	seen := map[string]bool{}
	for _, e := range slices.Backward(events) {
		if category, _ := codec.Split(e.Stream); !category.Guarded() || seen[e.Stream] {
			continue
		}
		seen[e.Stream] = true
		end := e.End()
		out = append(out, readmodels.StreamEnd{Stream: e.Stream, Revision: end.Revision, Link: end.Link.String()})
	}
	return out
}

// check refuses a checkpoint that belongs to another log or lies beyond the end of this one, after
// which the subscription would silently pass over new events.
func (o origin) check(c readmodels.Checkpoint, head uint64) error {
	switch {
	case c.StoreID == "":
		return nil
	case c.StoreID != o.storeID:
		return fmt.Errorf("%w: it is of the store %s, the log is %s", ErrForeignCheckpoint, c.StoreID, o.storeID)
	case !c.StoreCreated.Equal(o.created):
		return fmt.Errorf(
			"%w: it is of a log begun at %s, this copy was begun at %s", ErrForeignCheckpoint, c.StoreCreated,
			o.created,
		)
	case !c.Confirmed.Equal(o.confirmed):
		return fmt.Errorf("%w: %w since", ErrForeignCheckpoint, errConfirmed)
	case c.Position > head:
		return fmt.Errorf("%w: it is at position %d, the log ends at %d", ErrForeignCheckpoint, c.Position, head)
	}
	return nil
}

// mark returns the newest event of a batch that the log keeps for good, as the checkpoint holds it;
// "" for none.
func mark(events []codec.Verified) string {
	for _, e := range slices.Backward(events) {
		if category, _ := codec.Split(e.Stream); category.Deciding() {
			text, err := json.Marshal(
				eventstore.Mark{
					Stream: e.Stream, Revision: e.Revision, Position: e.Position, ID: e.ID, At: e.Signed.Time,
				},
			)
			if err == nil {
				return string(text)
			}
		}
	}
	return ""
}
