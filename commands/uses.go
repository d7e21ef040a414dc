package commands

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"agentkey/commands/loop"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// useEvery is how exactly the log knows when a service token was used last, or a member called.
const useEvery = time.Hour

// Uses writes down when service tokens were used last, and when members called, a moment after the
// call, so that no call waits for it.
type Uses struct {
	log     *codec.Log
	clock   func() time.Time
	newID   func() uuid.UUID
	onFault func(string, error)

	mu      sync.Mutex
	written map[string]time.Time // by token or member, as far as this process knows
	waiting map[string]use
}

type use struct {
	by Caller
	at time.Time
}

// NewUses returns the record of uses. Run must be running for anything to be written.
func NewUses(
	log *codec.Log, clock func() time.Time, newID func() uuid.UUID, onFault func(string, error),
) *Uses {
	return &Uses{
		log: log, clock: clock, newID: newID, onFault: onFault,
		written: map[string]time.Time{}, waiting: map[string]use{},
	}
}

// note remembers a use that may have to be written.
func (u *Uses) note(by Caller) {
	now := u.clock().UTC().Truncate(time.Microsecond)
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.written[by.Actor.ID]) >= useEvery {
		u.waiting[by.Actor.ID] = use{by: by, at: now}
	}
}

// Run writes what waits at every tick until ctx ends; then it writes the rest.
func (u *Uses) Run(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-tick:
			u.flush(context.WithoutCancel(ctx))
		case <-ctx.Done():
			u.flush(context.WithoutCancel(ctx))
			return
		}
	}
}

// flush writes what waits. What can't be written while the log can't be reached waits on. What
// can't be written for another reason is reported, and its caller is left alone for an hour.
func (u *Uses) flush(ctx context.Context) {
	u.mu.Lock()
	waiting := u.waiting
	u.waiting = map[string]use{}
	u.mu.Unlock()
	for actor, is := range waiting {
		last, err := u.write(ctx, actor, is)
		if errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			u.keep(waiting)
			return // the others would wait as long for the same answer
		}
		if err != nil {
			u.onFault("the last use of a service token, or call of a member, is not written", err)
			last = is.at
		}
		delete(waiting, actor)
		u.mu.Lock()
		u.written[actor] = last
		u.mu.Unlock()
	}
}

// keep puts uses back that were not written, unless there are newer ones.
func (u *Uses) keep(waiting map[string]use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for actor, is := range waiting {
		if _, again := u.waiting[actor]; !again {
			u.waiting[actor] = is
		}
	}
}

// write returns when the caller was seen last as the log has it afterwards: another process may
// have written it.
func (u *Uses) write(ctx context.Context, actor string, is use) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, loop.Deadline)
	defer cancel()
	name := codec.Uses.Stream(actor)
	past, end, err := u.log.Newest(ctx, name, 1)
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		return time.Time{}, err
	}
	if len(past) > 0 && is.at.Sub(past[0].Signed.Time) < useEvery {
		return past[0].Signed.Time, nil
	}
	if len(past) == 0 {
		if err := u.log.Client.SetStreamMetadata(ctx, name, eventstore.StreamMetadata{MaxCount: 1}); err != nil {
			return time.Time{}, err
		}
	}
	_, err = u.log.Write(ctx, name, end, codec.UseNoted{ActorID: actor}, codec.Signed{
		Organization: is.by.Organization, Actor: is.by.Actor, CommandID: u.newID().String(), Time: is.at,
	})
	if errors.Is(err, eventstore.ErrWrongRevision) {
		err = nil // another process wrote it just now
	}
	return is.at, err
}

// Last returns when each of some tokens was used last, and each of some members called, to the
// hour. One that never was is absent, and so is one whose use can't be read, which is reported: a
// list is worth more than one time in it. An error is that the log can't be reached.
func (u *Uses) Last(ctx context.Context, actors []string) (map[string]time.Time, error) {
	var mu sync.Mutex
	last := map[string]time.Time{}
	readers, ctx := errgroup.WithContext(ctx)
	readers.SetLimit(16)
	for _, actor := range actors {
		readers.Go(func() error {
			past, _, err := u.log.Newest(ctx, codec.Uses.Stream(actor), 1)
			if errors.Is(err, eventstore.ErrStreamNotFound) || err == nil && len(past) == 0 {
				return nil
			}
			if errors.Is(err, eventstore.ErrUnavailable) || ctx.Err() != nil {
				return loop.Refusal(err)
			}
			if err != nil {
				u.onFault("the last use of a service token, or call of a member, can't be read", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			last[actor] = past[0].Signed.Time
			return nil
		})
	}
	return last, readers.Wait()
}
