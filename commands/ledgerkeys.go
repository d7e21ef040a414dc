package commands

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"time"

	"agentkey/audit/formats"
	"agentkey/domain/installation"
	"agentkey/eventstore/codec"
)

// CheckpointKey returns the key that signs checkpoints. It is opened whenever it is needed, so that
// nothing but the ledger depends on it.
func (i *Installation) CheckpointKey(ctx context.Context) (ed25519.PrivateKey, error) {
	seed, err := i.Secrets.Open(ctx, checkpointBinding(i.Begun))
	if err != nil {
		return nil, err
	}
	if len(seed.Reveal()) != ed25519.SeedSize {
		return nil, fmt.Errorf("the key %s is not a key", i.Begun.CheckpointKey.ID)
	}
	return ed25519.NewKeyFromSeed(seed.Reveal()), nil
}

// CheckpointKeys returns the public keys of checkpoints.
func (i *Installation) CheckpointKeys() ([]ed25519.PublicKey, error) {
	key, err := publicKey(i.Begun.CheckpointKey)
	return []ed25519.PublicKey{key}, err
}

// VerificationKeys returns every public key by which events or checkpoints can be checked, with the
// time of the log in which it signs.
func (i *Installation) VerificationKeys(ctx context.Context) (formats.Keys, error) {
	begun, err := i.Log.First(ctx, codec.Installation.Stream(""))
	if err != nil {
		return formats.Keys{}, fmt.Errorf("read the installation: %w", err)
	}
	var events []codec.Verified
	for reader, more := i.Log.Reader(codec.SigningKeys.Stream(""), codec.Begin), true; more; {
		var some []codec.Verified
		if some, more, err = reader.Next(ctx, pageSize); err != nil {
			return formats.Keys{}, fmt.Errorf("read the signing keys: %w", err)
		}
		events = append(events, some...)
	}
	var out formats.Keys
	add := func(use formats.KeyUse, key installation.PublicKey, from time.Time) error {
		public, err := publicKey(key)
		out.Keys = append(out.Keys, formats.Key{
			ID: key.ID, Use: use, Algorithm: "Ed25519", PublicKey: public, NotBefore: from.UTC(),
		})
		return err
	}
	if err := add(formats.CheckpointKey, i.Begun.CheckpointKey, begun.Signed.Time); err != nil {
		return formats.Keys{}, err
	}
	if err := add(formats.EventKey, i.Begun.SigningKey, begun.Signed.Time); err != nil {
		return formats.Keys{}, err
	}
	for _, e := range events {
		added, ok := e.Event.(installation.SigningKeyAdded)
		if !ok || added.SigningKey.ID == out.Keys[len(out.Keys)-1].ID {
			continue
		}
		out.Keys[len(out.Keys)-1].NotAfter = e.Signed.Time.UTC()
		if err := add(formats.EventKey, added.SigningKey, e.Signed.Time); err != nil {
			return formats.Keys{}, err
		}
	}
	return out, nil
}

func publicKey(k installation.PublicKey) (ed25519.PublicKey, error) {
	raw, err := base64.RawURLEncoding.DecodeString(k.Public)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the public key %s is not a key", k.ID)
	}
	return raw, nil
}
