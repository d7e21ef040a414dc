package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// Replacement says how long the processes of an installation rely on what they know of its keys.
type Replacement struct {
	// Lease is how long a process relies on what it read of the keys. What it appends or reads later
	// than that counts only after another look.
	Lease time.Duration
	// Patience is how long a former key still counts after another was added. It must be much longer
	// than Lease, because processes measure both with clocks of their own.
	Patience time.Duration
}

// Replacing is the Replacement of every process of an installation.
var Replacing = Replacement{Lease: 15 * time.Second, Patience: time.Minute}

// SigningKeys follows and replaces the keys that sign the log. It is safe for concurrent use.
type SigningKeys struct {
	replacement atomic.Pointer[Replacement]

	beginning Beginning
	begun     installation.Begun
	epoch     string // of the log, as it was when this process joined; see Beginning.epoch
	log       *codec.Log
	secrets   *seal.Secrets

	looking sync.Mutex              // is held during a look at the log
	heads   map[string]*codec.Heads // of ended keys; belongs to the one that looks

	mu     sync.Mutex
	known  keySet
	newest map[string]time.Time // by key: when a look began that found it to be the one that signs
	theirs map[string]bool      // ids of keys that are not ours; they never will be
}

// follow makes it ready for its first look. Its methods are hooks of the log's keyring.
func (k *SigningKeys) follow(
	b Beginning, begun installation.Begun, epoch string, log *codec.Log, secrets *seal.Secrets,
) {
	replacing := Replacing
	k.replacement.Store(&replacing)
	k.beginning, k.begun, k.epoch, k.log, k.secrets = b, begun, epoch, log, secrets
	k.heads = map[string]*codec.Heads{}
	k.newest, k.theirs = map[string]time.Time{}, map[string]bool{}
}

// Run looks for replaced keys at each tick, until ctx ends. onFault receives what keeps it from
// looking.
func (k *SigningKeys) Run(ctx context.Context, tick <-chan time.Time, onFault func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if err := k.look(); err != nil && ctx.Err() == nil && !errors.Is(err, eventstore.ErrUnavailable) { //nolint:contextcheck // it is short
			onFault(err)
		}
	}
}

// Refresh looks for keys that were added or have ended, and signs with the newest one from then on.
func (k *SigningKeys) Refresh(ctx context.Context) error {
	k.looking.Lock()
	defer k.looking.Unlock()
	began, known := k.beginning.Clock(), k.set()
	if known.ring != nil {
		last, err := k.beginning.Client.ReadBackward(ctx, codec.SigningKeys.Stream(""), 1)
		if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
			return fmt.Errorf("look for new signing keys: %w", err)
		}
		if len(last) == 0 || int64(last[0].Revision) <= known.end.Revision+known.end.Foreign { //nolint:gosec // revisions fit
			k.found(known, began)
			return nil
		}
	}
	set, err := k.beginning.keySet(ctx, k.begun, k.epoch, k.heads)
	if err != nil {
		return err
	}
	if known.ring != nil && set.end.Revision < known.end.Revision {
		return fmt.Errorf(
			"the stream signing-keys has lost its end, or what it says of the key %s doesn't open", known.SigningKey.ID,
		)
	}
	k.log.Keys.Adopt(set.ring)
	k.found(set, began)
	return nil
}

// found takes note of what a look found that began at a time.
func (k *SigningKeys) found(set keySet, began time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known = set
	k.newest[set.SigningKey.ID] = began
}

func (k *SigningKeys) set() keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known
}

// look is Refresh within a deadline of its own: others wait for it.
func (k *SigningKeys) look() error {
	ctx, cancel := context.WithTimeout(context.Background(), loop.Deadline)
	defer cancel()
	return k.Refresh(ctx)
}

// maxTheirs bounds how many keys are remembered that are not ours.
const maxTheirs = 1000

// unknown looks for a key that signed an event. A process that reads an event of ours finds its key
// in the log, which was added before. So a key that isn't there then never will be ours.
func (k *SigningKeys) unknown(keyID string) error {
	k.mu.Lock()
	theirs := k.theirs[keyID]
	k.mu.Unlock()
	if theirs {
		return nil
	}
	if err := k.look(); err != nil || k.knows(keyID) {
		return err
	}
	// A node that was deposed since may not have it yet.
	ctx, cancel := context.WithTimeout(context.Background(), loop.Deadline)
	defer cancel()
	if err := k.beginning.Client.Barrier(ctx); err != nil {
		return err
	}
	if err := k.Refresh(ctx); err != nil || k.knows(keyID) {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.theirs) >= maxTheirs {
		clear(k.theirs)
	}
	k.theirs[keyID] = true
	return nil
}

func (k *SigningKeys) knows(keyID string) bool {
	set := k.set()
	known := set.SigningKey.ID == keyID
	for _, f := range set.Former {
		known = known || f.ID == keyID
	}
	return known
}

// leased reports whether a key certainly hasn't ended: it signed shortly before, and counts for
// some time after another was added. Either clock may stand still while the machine sleeps.
func (k *SigningKeys) leased(keyID string) bool {
	k.mu.Lock()
	then := k.newest[keyID]
	k.mu.Unlock()
	now := k.beginning.Clock()
	measured, shown := now.Sub(then), now.Round(0).Sub(then.Round(0))
	lease := k.replacement.Load().Lease
	return max(measured, shown) < lease && shown > -lease
}

// rely looks again unless a key certainly hasn't ended, as when the process was paused for long.
// What was read or appended before that look, and is signed with a key that hasn't ended then, was
// in the log before it ended.
func (k *SigningKeys) rely(keyID string) error {
	if k.leased(keyID) {
		return nil
	}
	return k.look()
}

// moved looks at an event of signing-keys that nobody has looked at.
func (k *SigningKeys) moved(revision uint64) error {
	if end := k.set().end; int64(revision) <= end.Revision+end.Foreign { //nolint:gosec // revisions fit
		return nil
	}
	return k.look()
}

// holds compares what the installation's stream says of signing-keys with what is there.
func (k *SigningKeys) holds(ctx context.Context, recorded installation.SigningKeysRecorded) error {
	if recorded.KeyID == "" {
		return nil
	}
	var named, found codec.Link
	if err := named.UnmarshalText([]byte(recorded.Link)); err != nil {
		return fmt.Errorf("read the installation: %w", err)
	}
	events, err := k.log.ReadForward(ctx, codec.SigningKeys.Stream(""), uint64(recorded.Revision), 1) //nolint:gosec // it isn't below 0
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		return fmt.Errorf("read the signing keys: %w", err)
	}
	if len(events) == 1 && events[0].Revision == uint64(recorded.Revision) { //nolint:gosec // as above
		found = events[0].Link
	}
	if found != named || k.set().end.Revision < recorded.Revision {
		return fmt.Errorf(
			"the stream signing-keys has lost its end: the installation knows revision %d of it, about the key %s, which "+
				"isn't there or doesn't open; put it back, or restore a backup", recorded.Revision, recorded.KeyID,
		)
	}
	return nil
}
