package projections

import (
	"context"
	"errors"
	"fmt"

	"agentkey/readmodels"
)

// Rebuild fills new tables from the whole log beside the live ones, then puts them in their place in one step. It
// works with and without Run, and writes nothing to the log. When it fails, the live tables stay.
func (m *ReadModel) Rebuild(ctx context.Context) error {
	m.building.Lock()
	defer m.building.Unlock()
	beside, err := m.DB.Beside(ctx)
	if err != nil {
		return fmt.Errorf("rebuild the read model: %w", err)
	}
	if err := m.rebuild(ctx, beside); err != nil {
		return errors.Join(fmt.Errorf("rebuild the read model: %w", err), beside.Discard())
	}
	return nil
}

func (m *ReadModel) rebuild(ctx context.Context, beside *readmodels.DB) error {
	if err := m.fill(ctx, beside); err != nil {
		return err
	}
	// Now the live tables stand still while the new ones take in the little that came meanwhile.
	m.applying.Lock()
	defer m.applying.Unlock()
	if err := m.fill(ctx, beside); err != nil {
		return err
	}
	was, err := m.DB.ReadCheckpoint(ctx)
	if err != nil {
		return err
	}
	is, err := beside.ReadCheckpoint(ctx)
	if err != nil {
		return err
	}
	// The live position may lie on events that are not for us; the new tables know everything up to there too.
	sameLog := was.StoreID == is.StoreID && was.StoreCreated.Equal(is.StoreCreated)
	if sameLog && was.Position > is.Position {
		err := beside.Write(ctx, func(tx *readmodels.Tx) error { return tx.Move(ctx, is.StoreID, is.Position, was.Position) })
		if err != nil {
			return err
		}
		is.Position = was.Position
	}
	if err := m.DB.Replace(ctx, beside); err != nil {
		return err
	}
	m.feed.reach(is.Position)
	return nil
}

// fill applies the log to tables until they have everything.
func (m *ReadModel) fill(ctx context.Context, db *readmodels.DB) error {
	c := m.ReadModelConfig
	c.DB = db
	b := NewReadModel(c)
	b.feed.Name = "read_model_rebuild"
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
