package readmodels

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How often a process that doesn't lead looks how far the tables are: while somebody waits for
// that, and otherwise.
const (
	awaitedTime = 20 * time.Millisecond
	idleTime    = 250 * time.Millisecond
)

// lead waits for the lease of the process that fills the tables.
func (s *schema) lead(
	ctx context.Context, db *Store, is Origin, standby func(Checkpoint) <-chan struct{},
) (context.Context, func(), error) {
	if s.build != nil {
		return ctx, func() {}, nil // no other process knows of these tables
	}
	fail := func(err error) (context.Context, func(), error) {
		if occupied, ok := errors.AsType[*OccupiedError](err); ok {
			db.trust.withdraw(occupied)
			return nil, nil, occupied
		}
		s.watched = watched{} // meanwhile the owner couldn't show that it lives
		return nil, nil, fmt.Errorf("lead the filling of %s: %w: %w", s.model.Title, ErrUnavailable, err)
	}
	if err := s.prepare(ctx); err != nil {
		return fail(err)
	}
	l, err := s.lease(ctx, "lead "+s.name, s.holder)
	if err != nil {
		return fail(err)
	}
	l.installation = is.String()
	l.renewed = func() { db.trust.give(s.clock().Add(leaseTime + s.vacancy)) } // nobody takes it over earlier
	for {
		at, err := db.ReadCheckpoint(ctx)
		if err == nil {
			err = s.own(ctx, l, at, is)
		}
		taken := false
		if err == nil {
			l.renewed() // a process that stands by learns here that its installation still leads
			taken, err = l.take(ctx)
		}
		if err == nil && !taken {
			err = watch(ctx, db, standby)
		}
		if err != nil {
			l.giveBack(ctx)
			return fail(err)
		}
		if taken {
			return l.hold(ctx), func() { l.giveBack(ctx) }, nil
		}
	}
}

// watch tells standby how far the tables are, until it is time to try to lead again.
func watch(ctx context.Context, db *Store, standby func(Checkpoint) <-chan struct{}) error {
	due := time.NewTimer(renewTime)
	defer due.Stop()
	for {
		at, err := db.ReadCheckpoint(ctx)
		if err != nil {
			return err
		}
		select {
		case <-standby(at):
		case <-time.After(idleTime - awaitedTime):
		case <-due.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-time.After(awaitedTime):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
