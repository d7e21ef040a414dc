package commands

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"agentkey/audit/formats"
	"agentkey/domain/installation"
)

// CheckpointKey returns the key that signs checkpoints. It is opened whenever it is needed, so that
// nothing but the ledger depends on it.
func (i *Installation) CheckpointKey(ctx context.Context) (ed25519.PrivateKey, error) {
	seed, err := openTwin(ctx, checkpointBinding(i.Begun), i.Secrets.Open)
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
// time of the log in which it signs, as of the last look at the log. While keys are replaced, two
// sign at the same time.
func (i *Installation) VerificationKeys() (formats.Keys, error) {
	signing, first := i.SigningKeys.set().Keys, i.Begun.SigningKey.Since
	var out formats.Keys
	add := func(use formats.KeyUse, key installation.PublicKey, from, until time.Time) error {
		public, err := publicKey(key)
		out.Keys = append(out.Keys, formats.Key{
			ID: key.ID, Use: use, Algorithm: "Ed25519", PublicKey: public, NotBefore: from.UTC(), NotAfter: until.UTC(),
		})
		return err
	}
	err := add(formats.CheckpointKey, i.Begun.CheckpointKey, first, time.Time{})
	for _, k := range signing.Former {
		err = errors.Join(err, add(formats.EventKey, k.PublicKey, k.Since, k.EndedAt))
	}
	current := signing.SigningKey
	return out, errors.Join(err, add(formats.EventKey, current.PublicKey, current.Since, time.Time{}))
}

func publicKey(k installation.PublicKey) (ed25519.PublicKey, error) {
	raw, err := base64.RawURLEncoding.DecodeString(k.Public)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the public key %s is not a key", k.ID)
	}
	return raw, nil
}
