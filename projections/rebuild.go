package projections

import (
	"context"
	"errors"
	"fmt"

	"agentkey/readmodels"
)

// Rebuild fills new tables from the whole log beside the live ones, then puts them in their place
// in one step. It works with and without Run, here or in another process, and writes nothing to the
// log. When it fails, the live tables stay.
func (m *ReadModel) Rebuild(ctx context.Context) error {
	m.building.Lock()
	defer m.building.Unlock()
	beside, err := m.DB.Beside(ctx)
	if err != nil {
		return fmt.Errorf("rebuild the read model: %w", err)
	}
	if err := m.fill(ctx, beside); err != nil {
		return errors.Join(fmt.Errorf("rebuild the read model: %w", err), beside.Discard())
	}
	reached := uint64(0)
	err = m.DB.Replace(ctx, beside, func(ctx context.Context, was readmodels.Checkpoint) (err error) {
		reached, err = m.finish(ctx, beside, was)
		return err
	})
	if err != nil {
		return fmt.Errorf("rebuild the read model: %w", err)
	}
	m.feed.reach(reached)
	return nil
}

// finish lets the new tables take in the little that came meanwhile, while the live ones stand
// still, and returns how far they are.
func (m *ReadModel) finish(ctx context.Context, beside *readmodels.DB, was readmodels.Checkpoint) (uint64, error) {
	if err := m.fill(ctx, beside); err != nil {
		return 0, err
	}
	is, err := beside.ReadCheckpoint(ctx)
	if err != nil {
		return 0, err
	}
	// The live position may lie on events that are not for us; the new tables know everything up to
	// there too.
	if !was.Of(is.StoreID, is.StoreCreated) || was.Position <= is.Position {
		return is.Position, nil
	}
	return was.Position, beside.Write(
		ctx, func(tx *readmodels.Tx) error { return tx.Move(ctx, is.StoreID, is.Position, was.Position, "") },
	)
}

// fill applies the log to tables until they have everything.
func (m *ReadModel) fill(ctx context.Context, db *readmodels.DB) error {
	c := m.ReadModelConfig
	c.DB = db
	b := named("read_model_rebuild", c)
	run, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(run) }()
	var failure error
	err := b.feed.until(ctx, func() bool {
		if b.feed.state == Failed {
			failure = errors.New(b.feed.detail)
		}
		return b.feed.caughtUp || failure != nil
	})
	stop()
	return errors.Join(err, failure, <-ended)
}
