package commands

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// keySet is what the log says of the keys that sign it.
type keySet struct {
	installation.Keys
	end  codec.End // of the event that says so; Begin: it is the installation's first
	ring *codec.Keyring
}

// keySet reads the keys that sign a log, which is in an epoch. heads are what ended keys had
// signed, by id, as far as they were read already.
func (b Beginning) keySet(
	ctx context.Context, begun installation.Begun, epoch string, heads map[string]*codec.Heads,
) (keySet, error) {
	set, private, err := b.stated(ctx, begun, epoch)
	if err != nil {
		return keySet{}, err
	}
	trusted := map[string]ed25519.PublicKey{}
	for _, k := range set.Former {
		if trusted[k.ID], err = publicKey(k.PublicKey); err != nil {
			return keySet{}, fmt.Errorf("read the former signing keys: %w", err)
		}
	}
	ring := codec.NewKeyring(begun.StoreID, set.SigningKey.ID, private, trusted)
	for _, k := range set.Former {
		if k.EndedAt.IsZero() {
			continue
		}
		if heads[k.Heads.ID] == nil {
			heads[k.Heads.ID], err = codec.ReadHeads(ctx, b.Client, k.Heads.ID, k.Heads.Digest, k.Heads.Streams)
			if err != nil {
				return keySet{}, fmt.Errorf("read what the former signing key %s had signed: %w", k.ID, err)
			}
		}
		ring = ring.WithEnded(k.ID, heads[k.Heads.ID])
	}
	// The MAC keys are read by signature alone.
	secrets := seal.NewSecrets(&codec.Log{Client: b.Client, Keys: ring}, b.Ring)
	for _, k := range append([]installation.FormerKey{{SigningKey: set.SigningKey}}, set.Former...) {
		mac, err := openTwin(ctx, macBinding(begun, k.SigningKey), secrets.Open)
		if errors.Is(err, seal.ErrGone) && k.ID != set.SigningKey.ID {
			continue // its signatures still say what is ours
		}
		if err == nil {
			ring, err = ring.WithMACOf(k.ID, mac)
		}
		if err != nil {
			return keySet{}, fmt.Errorf("open the MAC key of the signing key %s: %w", k.ID, err)
		}
	}
	set.ring = ring
	return set, nil
}

// stated returns what the log says of the keys that sign it, and the private half of the present
// one. An event of signing-keys is ours if its key opens under our master key and signed it: what
// somebody else put there opens under none. The newest such event counts, but a key that another
// one lists as a former key doesn't come back. Without one it is the installation's first.
//
// A restored or copied log holds the master key too, so what a drill says of its keys would open
// here if somebody put it here, with the secrets. Therefore only what the log's own epoch says
// counts, as soon as it has said anything.
func (b Beginning) stated(
	ctx context.Context, begun installation.Begun, epoch string,
) (keySet, ed25519.PrivateKey, error) {
	type statement struct {
		keySet
		private ed25519.PrivateKey
	}
	var ours []statement
	var passed []error                         // why others don't count
	entered := begun.SigningKey.Epoch == epoch // the log's own epoch has said something
	last := codec.Begin.Revision
	page, err := b.Client.ReadBackward(ctx, codec.SigningKeys.Stream(""), pageSize)
	for len(page) > 0 && err == nil {
		last = max(last, int64(page[0].Revision)) //nolint:gosec // revisions fit
		for _, e := range page {
			keys, ok := keysOf(e)
			if !ok {
				continue
			}
			private, err := b.private(ctx, begun, keys.SigningKey)
			var link codec.Link
			if err == nil {
				_, link, err = codec.NewKeyring(begun.StoreID, keys.SigningKey.ID, private, nil).Verify(e)
			}
			if errors.Is(err, eventstore.ErrUnavailable) {
				return keySet{}, nil, err
			}
			if err != nil {
				passed = append(passed[:min(len(passed), maxPassed)], err)
				continue
			}
			entered = entered || keys.SigningKey.Epoch == epoch
			end := codec.End{Revision: int64(e.Revision), Link: link} //nolint:gosec // revisions fit
			ours = append(ours, statement{keySet{Keys: keys, end: end}, private})
		}
		oldest := page[len(page)-1].Revision
		if oldest == 0 {
			break
		}
		page, err = b.Client.ReadBackwardFrom(ctx, codec.SigningKeys.Stream(""), oldest-1, pageSize)
	}
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		return keySet{}, nil, fmt.Errorf("read the signing keys: %w", err)
	}
	former := map[string]bool{}
	ours = slices.DeleteFunc(ours, func(s statement) bool { return entered && s.SigningKey.Epoch != epoch })
	for _, s := range ours {
		for _, k := range s.Former {
			former[k.ID] = true
		}
	}
	if i := slices.IndexFunc(ours, func(s statement) bool { return !former[s.SigningKey.ID] }); i >= 0 {
		ours[i].end.Foreign = last - ours[i].end.Revision
		return ours[i].keySet, ours[i].private, nil
	}
	private, err := b.private(ctx, begun, begun.SigningKey)
	if err != nil {
		return keySet{}, nil, errors.Join(append(passed, err)...)
	}
	end := codec.Begin
	end.Foreign = last - end.Revision
	return keySet{Keys: installation.Keys{SigningKey: begun.SigningKey}, end: end}, private, nil
}

// maxPassed bounds how many events of others an error names.
const maxPassed = 8

// keysOf returns the keys that an event of the stream of the signing keys holds, verified or not.
func keysOf(e eventstore.Recorded) (installation.Keys, bool) {
	event, _ := codec.Decode(e.Type, e.Data)
	switch event := event.(type) {
	case installation.SigningKeyAdded:
		return event.Keys, true
	case installation.SigningKeyEnded:
		return event.Keys, true
	}
	return installation.Keys{}, false
}
