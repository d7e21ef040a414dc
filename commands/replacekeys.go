package commands

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Replaced is what a replacement has done.
type Replaced struct {
	KeyID   string   // that signs from now on
	Ended   []string // the former keys that count no more for what is new
	Streams int      // in which they had signed
}

// errKeysMoved is the answer to one of two replacements at the same time.
var errKeysMoved = errors.New(
	"another process replaces the signing keys at the same time: wait until it is done, then look at the audit and run " +
		"agentkey keys sign again if you need another key",
)

// Replace adds a signing key, waits until every process must know it, and ends the former ones. A
// replacement that was broken off is finished without another key. meta makes the command of each
// step; wait waits.
func (k *SigningKeys) Replace(
	ctx context.Context, office *InstallationLoop, meta func() loop.Meta, wait func(context.Context, time.Duration) error,
) (Replaced, error) {
	if err := k.Refresh(ctx); err != nil {
		return Replaced{}, err
	}
	if len(k.lasting()) == 0 {
		if err := k.add(ctx, meta(), k.set().SigningKey.Epoch); err != nil {
			return Replaced{}, err
		}
	}
	return k.finish(ctx, office, meta, wait)
}

// finish waits until every process must know the key that signs, and ends the former ones. It adds
// none: without a former key that lasts nothing is left to do.
func (k *SigningKeys) finish(
	ctx context.Context, office *InstallationLoop, meta func() loop.Meta, wait func(context.Context, time.Duration) error,
) (Replaced, error) {
	if err := k.record(ctx, office, meta()); err != nil {
		return Replaced{}, err
	}
	if err := wait(ctx, k.replacement.Load().Patience); err != nil {
		return Replaced{}, err
	}
	done := Replaced{KeyID: k.set().SigningKey.ID}
	for _, former := range k.lasting() {
		streams, err := k.end(ctx, office, meta, former)
		if err != nil {
			return done, err
		}
		done.Ended, done.Streams = append(done.Ended, former.ID), done.Streams+streams
	}
	// Nothing needs them any more, and who cuts the streams of the keys can't revive them. One that
	// ended before may have been left when its replacement was broken off.
	for _, former := range k.set().Former {
		if err := removeTwins(ctx, k.secrets, former.SecretID); err != nil {
			return done, err
		}
	}
	return done, nil
}

// lasting returns the former keys that haven't ended.
func (k *SigningKeys) lasting() []installation.FormerKey {
	return slices.DeleteFunc(slices.Clone(k.set().Former), func(f installation.FormerKey) bool {
		return !f.EndedAt.IsZero()
	})
}

func (k *SigningKeys) metadata(m loop.Meta, at time.Time) codec.Signed {
	return codec.Signed{
		Organization: k.begun.OrganizationID, Actor: m.Actor, CommandID: m.CommandID.String(),
		Time: loop.Later(k.beginning.Clock(), at),
	}
}

// clocks is how far the clock of another process may be behind this one's.
const clocks = time.Minute

func (k *SigningKeys) add(ctx context.Context, m loop.Meta, epoch string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make the signing key: %w", err)
	}
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return fmt.Errorf("make the MAC key: %w", err)
	}
	before := k.set()
	mac, signed, id := domain.NewSecret(raw), k.metadata(m, before.SigningKey.Since), k.beginning.NewID
	next := installation.SigningKey{
		PublicKey: installation.PublicKey{
			ID: id().String(), SecretID: id().String(), Public: base64.RawURLEncoding.EncodeToString(public),
		},
		MACSecretID: id().String(), Since: signed.Time.Add(-clocks), Epoch: epoch,
	}
	seed := domain.NewSecret(private.Seed())
	if err := putTwins(ctx, k.secrets, signed, signingBinding(k.begun, next), seed); err != nil {
		return err
	}
	if err := putTwins(ctx, k.secrets, signed, macBinding(k.begun, next), mac); err != nil {
		return err
	}
	ring, err := codec.NewKeyring(k.begun.StoreID, next.ID, private, nil).WithMAC(mac)
	if err != nil {
		return err
	}
	added := installation.SigningKeyAdded{Keys: installation.Keys{
		SigningKey: next, Former: append(slices.Clip(before.Former), installation.FormerKey{SigningKey: before.SigningKey}),
	}}
	log := codec.Log{Client: k.log.Client, Keys: ring}
	_, err = k.write(ctx, &log, before, added, signed)
	if errors.Is(err, errKeysMoved) {
		return errors.Join(
			err, removeTwins(ctx, k.secrets, next.SecretID), removeTwins(ctx, k.secrets, next.MACSecretID),
		)
	}
	if err != nil {
		return fmt.Errorf("add a signing key: %w", err)
	}
	return k.Refresh(ctx)
}

// write appends to the stream of the keys after the event that says what is known of them, and
// after what others put behind it.
func (k *SigningKeys) write(
	ctx context.Context, log *codec.Log, known keySet, event any, signed codec.Signed,
) (codec.Appended, error) {
	for {
		appended, err := log.Write(ctx, codec.SigningKeys.Stream(""), known.end, event, signed)
		if !errors.Is(err, eventstore.ErrWrongRevision) {
			return appended, err
		}
		if err := k.Refresh(ctx); err != nil {
			return appended, err
		}
		now := k.set()
		if now.end.Revision != known.end.Revision || now.end.Foreign == known.end.Foreign {
			return appended, errKeysMoved
		}
		known = now
	}
}

// end ends a former key at the place of the event that says so: what it signed between the heads
// and that event is added by a second one.
func (k *SigningKeys) end(
	ctx context.Context, office *InstallationLoop, meta func() loop.Meta, former installation.FormerKey,
) (int, error) {
	pass, known := k.log.NewHeadsPass(former.ID), ""
	for until := uint64(math.MaxUint64); ; {
		if err := pass.Advance(ctx, until); err != nil {
			return 0, err
		}
		rows := pass.Rows()
		heads := installation.Heads{
			ID: k.beginning.NewID().String(), Digest: codec.HeadsDigest(rows), Streams: codec.HeadsCount(rows),
		}
		if heads.Digest == known {
			return heads.Streams, nil
		}
		if err := k.keep(ctx, meta(), heads.ID, rows); err != nil {
			return 0, err
		}
		before, signed := k.set(), k.metadata(meta(), pass.Latest())
		former.EndedAt, former.Heads = signed.Time, heads
		keys := installation.Keys{SigningKey: before.SigningKey, Former: slices.Clone(before.Former)}
		for i, f := range keys.Former {
			if f.ID == former.ID {
				keys.Former[i] = former
			}
		}
		ended, err := k.write(ctx, k.log, before, installation.SigningKeyEnded{Keys: keys, KeyID: former.ID}, signed)
		if err != nil {
			return 0, fmt.Errorf("end the signing key %s: %w", former.ID, err)
		}
		if err := k.Refresh(ctx); err != nil {
			return 0, err
		}
		if err := k.record(ctx, office, meta()); err != nil {
			return 0, err
		}
		if known != "" {
			return heads.Streams, nil
		}
		known, until = heads.Digest, ended.Position
	}
}

// keep writes what a key had signed last in each stream.
func (k *SigningKeys) keep(ctx context.Context, m loop.Meta, id string, rows []byte) error {
	end := codec.Begin
	for _, part := range codec.HeadsParts(rows) {
		appended, err := k.log.Write(ctx, codec.HeadsOfKeys.Stream(id), end, part, k.metadata(m, time.Time{}))
		if err != nil {
			return fmt.Errorf("keep what the former signing key had signed: %w", err)
		}
		end = appended.End()
	}
	return nil
}

// record lets the installation's stream name the last event of the stream of the keys.
func (k *SigningKeys) record(ctx context.Context, office *InstallationLoop, m loop.Meta) error {
	set := k.set()
	if set.end.Revision < 0 {
		return nil
	}
	m.Organization = k.begun.OrganizationID
	_, err := office.Do(ctx, "", m, func(installation.State, time.Time) (installation.Command, error) {
		return installation.RecordSigningKeys{Recorded: installation.SigningKeysRecorded{
			KeyID: set.SigningKey.ID, Revision: set.end.Revision, Link: set.end.Link.String(),
		}}, nil
	})
	return err
}
