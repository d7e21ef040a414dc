package commands

import (
	"context"
	"errors"

	"agentkey/commands/loop"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Newest returns the position of the newest event by which anything is decided, of whatever process
// wrote it. A read model that has reached it knows of every decision that was acknowledged before
// the call.
func (g *Grants) Newest(ctx context.Context) (uint64, error) {
	newest, found, err := g.Log.Client.Newest(ctx, func(r eventstore.Recorded) bool {
		category, _ := codec.Split(r.Stream)
		return category.Deciding()
	})
	if err == nil && !found {
		err = errors.New("the log has not begun")
	}
	return newest.Position, loop.Refusal(err)
}
