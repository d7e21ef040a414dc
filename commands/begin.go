package commands

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/installation"
	"agentkey/domain/organization"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// ErrMasterKeyRequired is the answer to a start without a master key on a log that has begun.
var ErrMasterKeyRequired = errors.New(
	"the log was begun with a master key and none is configured: set AGENTKEY_MASTER_KEYS, or put the file " +
		"master-key back into the data folder",
)

// Installation is what every process learns before it listens.
type Installation struct {
	Begun   installation.Begun
	Log     *codec.Log
	Secrets *seal.Secrets
	MACKey  domain.Secret
}

// Beginning is how an installation is begun or joined.
type Beginning struct {
	Client     *eventstore.Client
	Ring       seal.Ring
	AdminToken string // configured; empty: one is made when the installation is begun
	Clock      func() time.Time
	NewID      func() uuid.UUID

	// SaveToken keeps a token that was made, before anything refers to it; DropToken takes it back
	// when another process began the installation first.
	SaveToken func(text string) error
	DropToken func() error
}

var system = domain.Actor{Type: domain.ActorSystem, ID: "installation"}

// Exists reports whether the log has begun.
func Exists(ctx context.Context, client *eventstore.Client) (bool, error) {
	_, err := client.ReadForward(ctx, codec.Installation.Stream(""), 0, 1)
	if errors.Is(err, eventstore.ErrStreamNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Begin joins the installation of a log, and begins it when the log is empty. Of several processes
// that begin at once one wins and the others join it. It fails before anything listens when a
// master key is wrong or unknown.
func (b Beginning) Begin(ctx context.Context) (*Installation, error) {
	exists, err := Exists(ctx, b.Client)
	if err != nil {
		return nil, fmt.Errorf("read the installation: %w", err)
	}
	if !exists {
		if err := b.begin(ctx); err != nil {
			return nil, err
		}
	}
	inst, err := b.Join(ctx)
	if err != nil {
		return nil, err
	}
	return inst, b.complete(ctx, inst)
}

func (b Beginning) begin(ctx context.Context) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make the signing key: %w", err)
	}
	checkpoints, checkpointKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of checkpoints: %w", err)
	}
	mac := make([]byte, 32)
	if _, err := rand.Read(mac); err != nil {
		return fmt.Errorf("make the MAC key: %w", err)
	}
	hash, made, err := b.token()
	if err != nil {
		return err
	}
	begun := installation.Begun{
		StoreID: b.NewID().String(), OrganizationID: b.NewID().String(), MACSecretID: b.NewID().String(),
		MasterKeys: b.Ring.Public(),
		SigningKey: b.publicKey(public), CheckpointKey: b.publicKey(checkpoints),
		AdminTokenHash: hash, AdminTokenID: b.NewID().String(), MinimumVersion: codec.Schema,
	}
	keyring, err := codec.NewKeyring(begun.StoreID, begun.SigningKey.ID, private, nil).WithMAC(domain.NewSecret(mac))
	if err != nil {
		return err
	}
	log := &codec.Log{Client: b.Client, Keys: keyring}
	secrets := seal.NewSecrets(log, b.Ring)
	signed := codec.Signed{
		Organization: begun.OrganizationID, Actor: system, CommandID: b.NewID().String(),
		Time: loop.Later(b.Clock(), time.Time{}),
	}
	if err := secrets.Put(
		ctx, signed, signingBinding(begun, begun.SigningKey), domain.NewSecret(private.Seed()),
	); err != nil {
		return err
	}
	if err := secrets.Put(ctx, signed, macBinding(begun), domain.NewSecret(mac)); err != nil {
		return err
	}
	if err := secrets.Put(ctx, signed, checkpointBinding(begun), domain.NewSecret(checkpointKey.Seed())); err != nil {
		return err
	}
	_, err = log.Write(ctx, codec.Installation.Stream(""), codec.Begin, begun, signed)
	if err == nil {
		return nil
	}
	if !errors.Is(err, eventstore.ErrWrongRevision) {
		return fmt.Errorf("begin the installation: %w", err)
	}
	if made {
		err = b.DropToken()
	} else {
		err = nil
	}
	return errors.Join(err, secrets.Remove(ctx, begun.SigningKey.SecretID), secrets.Remove(ctx, begun.MACSecretID),
		secrets.Remove(ctx, begun.CheckpointKey.SecretID))
}

// publicKey names a key that was drawn.
func (b Beginning) publicKey(key ed25519.PublicKey) installation.PublicKey {
	return installation.PublicKey{
		ID: b.NewID().String(), SecretID: b.NewID().String(), Public: base64.RawURLEncoding.EncodeToString(key),
	}
}

// token returns the hash of the first organization's first token, and whether it was made just now.
func (b Beginning) token() (hash string, made bool, err error) {
	if b.AdminToken != "" {
		key, err := b.configured()
		return key.Hash(), false, err
	}
	text, key, err := keys.New(keys.Service, uuid.Nil, organization.ConfiguredToken)
	if err != nil {
		return "", false, err
	}
	if err := b.SaveToken(text); err != nil {
		return "", false, fmt.Errorf("keep the first admin token: %w", err)
	}
	return key.Hash(), true, nil
}

func (b Beginning) configured() (keys.Key, error) {
	key, err := keys.Parse(b.AdminToken)
	if err != nil || key.Kind != keys.Service || key.ID != uuid.Nil {
		return keys.Key{}, errors.New(
			"AGENTKEY_ADMIN_TOKEN is not a token for the first organization; make one with: agentkey token new",
		)
	}
	return key, nil
}

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
	current, former, listed, err := b.signingKeys(ctx, begun)
	if err != nil {
		return nil, err
	}
	private, err := b.private(ctx, begun, current)
	if err != nil {
		return nil, err
	}
	// The current key alone says which former ones count.
	alone := codec.Log{Keys: codec.NewKeyring(begun.StoreID, current.ID, private, nil)}
	for _, e := range listed {
		if _, _, err := alone.Keys.Verify(e); err != nil {
			return nil, fmt.Errorf("read the signing keys: %w", err)
		}
	}
	trusted := map[string]ed25519.PublicKey{}
	for _, k := range former {
		if trusted[k.ID], err = publicKey(k); err != nil {
			return nil, fmt.Errorf("read the former signing keys: %w", err)
		}
	}
	log, mac, err := b.open(ctx, begun, codec.NewKeyring(begun.StoreID, current.ID, private, trusted))
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

// signingKeys returns the current signing key, those it vouches for, and the event that says so,
// unverified.
func (b Beginning) signingKeys(
	ctx context.Context, begun installation.Begun,
) (installation.PublicKey, []installation.PublicKey, []eventstore.Recorded, error) {
	last, err := b.Client.ReadBackward(ctx, codec.SigningKeys.Stream(""), 1)
	if errors.Is(err, eventstore.ErrStreamNotFound) || err == nil && len(last) == 0 {
		return begun.SigningKey, nil, nil, nil
	}
	var event any
	if err == nil {
		event, err = codec.Decode(last[0].Type, last[0].Data)
	}
	if err != nil {
		return installation.PublicKey{}, nil, nil, fmt.Errorf("read the signing keys: %w", err)
	}
	added, ok := event.(installation.SigningKeyAdded)
	if !ok {
		return installation.PublicKey{}, nil, nil, fmt.Errorf(
			"%w: %s has no place in %s", codec.ErrUnknownEvent, last[0].Type, last[0].Stream,
		)
	}
	return added.SigningKey, added.Former, last, nil
}

// private opens the private half of a signing key. The sealed text is authenticated by the master
// key alone, because no signature can be checked before there is a key.
func (b Beginning) private(
	ctx context.Context, begun installation.Begun, key installation.PublicKey,
) (ed25519.PrivateKey, error) {
	stored, err := b.Client.ReadForward(ctx, codec.Secrets.Stream(key.SecretID), 0, pageSize)
	if err != nil {
		return nil, fmt.Errorf("read the signing key %s: %w", key.ID, err)
	}
	var sealed codec.SecretSealed
	for _, e := range stored {
		event, err := codec.Decode(e.Type, e.Data)
		if err != nil {
			return nil, fmt.Errorf("read the signing key %s: %w", key.ID, err)
		}
		switch event := event.(type) {
		case codec.SecretSealed:
			sealed = event
		case codec.SecretRewrapped:
			sealed.Wrapping = event.Wrapping
		}
	}
	seed, err := b.Ring.OpenSecret(signingBinding(begun, key), sealed)
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

// complete adds what a process that died while beginning left out, and carries a configured token
// over.
func (b Beginning) complete(ctx context.Context, inst *Installation) error {
	begun := inst.Begun
	command := func(what string) uuid.UUID {
		return uuid.NewSHA1(uuid.NameSpaceOID, []byte("agentkey.begin/"+begun.StoreID+"/"+what))
	}
	now := loop.Later(b.Clock(), time.Time{})
	signed := codec.Signed{
		Organization: begun.OrganizationID, Actor: system, CommandID: command(codec.SigningKeys.String()).String(),
		Time: now,
	}
	_, err := inst.Log.Write(
		ctx, codec.SigningKeys.Stream(""), codec.Begin,
		installation.SigningKeyAdded{SigningKey: begun.SigningKey, Former: []installation.PublicKey{}}, signed,
	)
	if err != nil && !isExisting(err) {
		return fmt.Errorf("write the signing keys: %w", err)
	}
	organizations := NewOrganizationLoop(inst.Env(b.Clock, nil, nil))
	m := loop.Meta{Organization: begun.OrganizationID, Actor: system, CommandID: command(codec.Organizations.String())}
	done, err := organizations.Do(ctx, begun.OrganizationID, m, func(organization.State, time.Time) (organization.Command,
		error,
	) {
		return organization.Create{Name: "Default", Token: &organization.CreateToken{
			Number: organization.ConfiguredToken, TokenID: begun.AdminTokenID, Name: "first admin token",
			Role: domain.RoleOwner, Hash: begun.AdminTokenHash,
		}}, nil
	})
	if err != nil {
		return fmt.Errorf("create the first organization: %w", err)
	}
	if b.AdminToken == "" {
		return nil
	}
	key, err := b.configured()
	if err != nil || done.State.Tokens[organization.ConfiguredToken].Hash == key.Hash() {
		return err
	}
	m.CommandID = b.NewID()
	_, err = organizations.Do(ctx, begun.OrganizationID, m, func(organization.State, time.Time) (organization.Command,
		error,
	) {
		return organization.CreateToken{
			Number: organization.ConfiguredToken, TokenID: loop.DerivedID(m.CommandID, "token").String(),
			Name: "configured admin token", Role: domain.RoleOwner, Hash: key.Hash(),
		}, nil
	})
	if err != nil {
		return fmt.Errorf("replace the configured admin token: %w", err)
	}
	return nil
}

// Env returns what the loops of this installation share. A nil sealer keeps no personal data; a nil
// onFault tells nobody.
func (i *Installation) Env(clock func() time.Time, sealer loop.Sealer, onFault func(string, error)) *loop.Env {
	if sealer == nil {
		sealer = func(context.Context, loop.Meta) (string, error) { return "", nil }
	}
	if onFault == nil {
		onFault = func(string, error) {}
	}
	return &loop.Env{Log: i.Log, Sealer: sealer, MACKey: i.MACKey, Clock: clock, OnFault: onFault}
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
