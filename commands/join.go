package commands

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"agentkey/domain"
	"agentkey/domain/installation"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// Join opens the keys of an installation that has begun, and writes nothing. It fails when a master
// key is wrong or unknown, or when what the log says of its signing keys was cut.
func (b Beginning) Join(ctx context.Context) (*Installation, error) {
	stored, err := b.Client.ReadForward(ctx, codec.Installation.Stream(""), 0, pageSize)
	if err != nil {
		return nil, fmt.Errorf("read the installation: %w", err)
	}
	var begun installation.Begun
	known := []installation.MasterKey{}
	for i, e := range stored {
		event, err := codec.Decode(e.Type, e.Data)
		if err != nil && i == 0 {
			return nil, fmt.Errorf("read the installation: %w", err)
		}
		if b, ok := event.(installation.Begun); ok && i == 0 {
			begun = b
		}
		known = append(known, masterKeysOf(event)...) // which of them are ours is seen once there are keys
	}
	if begun.StoreID == "" {
		return nil, errors.New("the first event of the stream installation is not ours")
	}
	if begun.MinimumVersion > codec.Schema {
		return nil, fmt.Errorf("%w: it needs format %d", codec.ErrUnknownEvent, begun.MinimumVersion)
	}
	if err := b.Ring.Check(known); err != nil {
		return nil, err
	}
	epoch, err := b.epoch(ctx)
	if err != nil {
		return nil, err
	}
	keys := &SigningKeys{}
	log := &codec.Log{Client: b.Client, Keys: codec.NewFollowing(begun.StoreID, codec.Hooks{
		Unknown: keys.unknown, Rely: keys.rely, Moved: keys.moved,
	})}
	secrets := seal.NewSecrets(log, b.Ring)
	keys.follow(b, begun, epoch, log, secrets)
	if err := keys.Refresh(ctx); err != nil {
		return nil, err
	}
	known = nil
	var recorded installation.SigningKeysRecorded
	for reader, more := log.Reader(codec.Installation.Stream(""), codec.Begin), true; more; {
		var events []codec.Verified
		if events, more, err = reader.Next(ctx, pageSize); err != nil {
			return nil, fmt.Errorf("read the installation: %w", err)
		}
		for _, e := range events {
			known = append(known, masterKeysOf(e.Event)...)
			if r, ok := e.Event.(installation.SigningKeysRecorded); ok {
				recorded = r
			}
		}
	}
	if err := b.Ring.Check(known); err != nil { // now that it is known which of them are ours
		return nil, err
	}
	if err := keys.holds(ctx, recorded); err != nil {
		return nil, err
	}
	mac, err := openTwin(ctx, macBinding(begun, begun.SigningKey), secrets.Open)
	if err != nil {
		return nil, fmt.Errorf("open the MAC key: %w", err)
	}
	return &Installation{Begun: begun, Log: log, Secrets: secrets, MACKey: mac, SigningKeys: keys}, nil
}

// masterKeysOf returns the master keys that an event makes known.
func masterKeysOf(event any) []installation.MasterKey {
	switch event := event.(type) {
	case installation.Begun:
		return event.MasterKeys
	case installation.MasterKeyAdded:
		return []installation.MasterKey{event.MasterKey}
	}
	return nil
}

// private opens the private half of a signing key.
func (b Beginning) private(
	ctx context.Context, begun installation.Begun, key installation.SigningKey,
) (ed25519.PrivateKey, error) {
	seed, err := openTwin(ctx, signingBinding(begun, key), b.openUnverified)
	if err != nil {
		return nil, fmt.Errorf("open the signing key %s: %w", key.ID, err)
	}
	if len(seed.Reveal()) != ed25519.SeedSize {
		return nil, fmt.Errorf("the signing key %s is not a key", key.ID)
	}
	private := ed25519.NewKeyFromSeed(seed.Reveal())
	if base64.RawURLEncoding.EncodeToString(private.Public().(ed25519.PublicKey)) != key.Public { //nolint:forcetypeassert // what crypto/ed25519 documents
		return nil, fmt.Errorf("the signing key %s does not match its public key", key.ID)
	}
	return private, nil
}

// openUnverified opens a secret whose events can't be verified yet, because no signature can be
// checked before there is a key. The sealed text is authenticated by the master key alone: a
// wrapping that doesn't open isn't ours.
func (b Beginning) openUnverified(ctx context.Context, binding seal.Binding) (secret domain.Secret, err error) {
	stored, err := b.Client.ReadForward(ctx, codec.Secrets.Stream(binding.SecretID), 0, pageSize)
	if err != nil {
		return domain.Secret{}, fmt.Errorf("read it: %w", err)
	}
	var sealed codec.SecretSealed
	var wrappings []codec.Wrapping
	for _, e := range stored {
		event, _ := codec.Decode(e.Type, e.Data)
		switch event := event.(type) {
		case codec.SecretSealed:
			if e.Revision == 0 {
				sealed, wrappings = event, append(wrappings, event.Wrapping)
			}
		case codec.SecretRewrapped:
			wrappings = append(wrappings, event.Wrapping)
		}
	}
	err = seal.ErrGone
	for _, sealed.Wrapping = range slices.Backward(wrappings) {
		if secret, err = b.Ring.OpenSecret(binding, sealed); err == nil {
			break
		}
	}
	return secret, err
}

func signingBinding(b installation.Begun, key installation.SigningKey) seal.Binding {
	return seal.Binding{
		SecretID: key.SecretID, Organization: b.OrganizationID, Purpose: seal.SigningKey, Owner: b.StoreID,
	}
}

func macBinding(b installation.Begun, key installation.SigningKey) seal.Binding {
	return seal.Binding{
		SecretID: key.MACSecretID, Organization: b.OrganizationID, Purpose: seal.MACKey, Owner: b.StoreID,
	}
}

func checkpointBinding(b installation.Begun) seal.Binding {
	return seal.Binding{
		SecretID: b.CheckpointKey.SecretID, Organization: b.OrganizationID, Purpose: seal.Checkpoint, Owner: b.StoreID,
	}
}
