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
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// Join opens the keys of an installation that has begun, and writes nothing. It fails when a master
// key is wrong or unknown. The current signing key is trusted because its private half opens under
// our master key and matches the public one; it vouches for the former ones.
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
	keyring, err := b.signing(ctx, begun)
	if err != nil {
		return nil, err
	}
	log, mac, err := b.open(ctx, begun, keyring)
	if err != nil {
		return nil, err
	}
	known = nil
	for _, category := range []codec.Category{codec.Installation, codec.SigningKeys} {
		for reader, more := log.Reader(category.Stream(""), codec.Begin), true; more; {
			var events []codec.Verified
			if events, more, err = reader.Next(ctx, pageSize); err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
				return nil, fmt.Errorf("read %s: %w", category, err)
			}
			for _, e := range events {
				known = append(known, masterKeysOf(e.Event)...)
			}
		}
	}
	if err := b.Ring.Check(known); err != nil { // now that it is known which of them are ours
		return nil, err
	}
	return &Installation{Begun: begun, Log: log, Secrets: seal.NewSecrets(log, b.Ring), MACKey: mac}, nil
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

// open returns the log with its MAC key, which itself is read by signature alone.
func (b Beginning) open(
	ctx context.Context, begun installation.Begun, keyring *codec.Keyring,
) (*codec.Log, domain.Secret, error) {
	mac, err := seal.NewSecrets(&codec.Log{Client: b.Client, Keys: keyring}, b.Ring).Open(ctx, macBinding(begun))
	if err == nil {
		keyring, err = keyring.WithMAC(mac)
	}
	if err != nil {
		return nil, domain.Secret{}, fmt.Errorf("open the MAC key: %w", err)
	}
	return &codec.Log{Client: b.Client, Keys: keyring}, mac, nil
}

// signing returns the keyring of the current signing key and of those that it vouches for. The
// newest event of signing-keys says which it is whose key opens, and which that key signed: what
// somebody else put there opens under none of our master keys. Without one it is the installation's
// first.
func (b Beginning) signing(ctx context.Context, begun installation.Begun) (*codec.Keyring, error) {
	page, err := b.Client.ReadBackward(ctx, codec.SigningKeys.Stream(""), pageSize)
	var passed []error
	for len(page) > 0 && err == nil {
		for _, e := range page {
			event, _ := codec.Decode(e.Type, e.Data)
			added, ok := event.(installation.SigningKeyAdded)
			if !ok {
				continue
			}
			keyring, err := b.keyring(ctx, begun, added.SigningKey, added.Former)
			if errors.Is(err, eventstore.ErrUnavailable) {
				return nil, err
			}
			if err == nil {
				_, _, err = keyring.Verify(e)
			}
			if err == nil {
				return keyring, nil
			}
			passed = append(passed, err)
		}
		oldest := page[len(page)-1].Revision
		if oldest == 0 {
			break
		}
		page, err = b.Client.ReadBackwardFrom(ctx, codec.SigningKeys.Stream(""), oldest-1, pageSize)
	}
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	keyring, err := b.keyring(ctx, begun, begun.SigningKey, nil)
	if err != nil {
		return nil, errors.Join(append(passed, err)...)
	}
	return keyring, nil
}

// keyring opens a signing key and trusts former ones.
func (b Beginning) keyring(
	ctx context.Context, begun installation.Begun, key installation.PublicKey, former []installation.PublicKey,
) (*codec.Keyring, error) {
	private, err := b.private(ctx, begun, key)
	if err != nil {
		return nil, err
	}
	trusted := map[string]ed25519.PublicKey{}
	for _, k := range former {
		if trusted[k.ID], err = publicKey(k); err != nil {
			return nil, fmt.Errorf("read the former signing keys: %w", err)
		}
	}
	return codec.NewKeyring(begun.StoreID, key.ID, private, trusted), nil
}

// private opens the private half of a signing key. The sealed text is authenticated by the master
// key alone, because no signature can be checked before there is a key: a wrapping that doesn't
// open isn't ours.
func (b Beginning) private(
	ctx context.Context, begun installation.Begun, key installation.PublicKey,
) (ed25519.PrivateKey, error) {
	stored, err := b.Client.ReadForward(ctx, codec.Secrets.Stream(key.SecretID), 0, pageSize)
	if err != nil {
		return nil, fmt.Errorf("read the signing key %s: %w", key.ID, err)
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
	var seed domain.Secret
	err = seal.ErrGone
	for _, sealed.Wrapping = range slices.Backward(wrappings) {
		if seed, err = b.Ring.OpenSecret(signingBinding(begun, key), sealed); err == nil {
			break
		}
	}
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

func signingBinding(b installation.Begun, key installation.PublicKey) seal.Binding {
	return seal.Binding{
		SecretID: key.SecretID, Organization: b.OrganizationID, Purpose: seal.SigningKey, Owner: b.StoreID,
	}
}

func checkpointBinding(b installation.Begun) seal.Binding {
	return seal.Binding{
		SecretID: b.CheckpointKey.SecretID, Organization: b.OrganizationID, Purpose: seal.Checkpoint, Owner: b.StoreID,
	}
}

func macBinding(b installation.Begun) seal.Binding {
	return seal.Binding{SecretID: b.MACSecretID, Organization: b.OrganizationID, Purpose: seal.MACKey, Owner: b.StoreID}
}
