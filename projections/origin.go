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

// origin is what tells one log from another, copies included: a copied log keeps the id, not the
// time.
type origin struct {
	storeID string
	created time.Time
}

func readOrigin(ctx context.Context, log *codec.Log) (origin, error) {
	first, err := log.ReadForward(ctx, codec.Installation.Stream(""), 0, 1)
	if err != nil {
		return origin{}, fmt.Errorf("read the beginning of the log: %w", err)
	}
	if len(first) == 0 {
		return origin{}, errors.New("the log has no installation")
	}
	begun, ok := first[0].Event.(installation.Begun)
	if !ok {
		return origin{}, fmt.Errorf("the log begins with %s", first[0].Type)
	}
	return origin{storeID: begun.StoreID, created: first[0].Created.Truncate(time.Microsecond).UTC()}, nil
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
