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
	MACKey  domain.Secret // the first one: names of idempotency keys and persons are made with it for good

	SigningKeys *SigningKeys
}

// Beginning is how an installation is begun or joined.
type Beginning struct {
	Client     *eventstore.Client
	Ring       seal.Ring
	AdminToken string // configured; empty: one is made when the installation is begun
	KeepToken  bool   // no token of the configuration is created or ended, as for commands beside the service
	Clock      func() time.Time
	NewID      func() uuid.UUID

	// SaveToken keeps a token that was made, before anything refers to it; DropToken takes it back
	// when another process began the installation first.
	SaveToken func(text string) error
	DropToken func() error

	Warn func(text string) // told what the operator should know of the configured token
}

// System is who acts where nobody asked for it.
var System = domain.Actor{Type: domain.ActorSystem, ID: "installation"}

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
	m := loop.Meta{Organization: inst.Begun.OrganizationID, Actor: System, CommandID: b.NewID()}
	if err := inst.SigningKeys.enter(ctx, m); err != nil {
		return nil, fmt.Errorf("begin to sign a log that was restored or copied: %w", err)
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
	now := loop.Later(b.Clock(), time.Time{})
	begun := installation.Begun{
		StoreID: b.NewID().String(), OrganizationID: b.NewID().String(),
		MasterKeys: b.Ring.Public(),
		SigningKey: installation.SigningKey{
			PublicKey: b.publicKey(public), MACSecretID: b.NewID().String(), Since: now,
		},
		CheckpointKey:  b.publicKey(checkpoints),
		AdminTokenHash: hash, AdminTokenID: b.NewID().String(), MinimumVersion: codec.Schema,
	}
	keyring, err := codec.NewKeyring(begun.StoreID, begun.SigningKey.ID, private, nil).WithMAC(domain.NewSecret(mac))
	if err != nil {
		return err
	}
	log := &codec.Log{Client: b.Client, Keys: keyring}
	secrets := seal.NewSecrets(log, b.Ring)
	signed := codec.Signed{
		Organization: begun.OrganizationID, Actor: System, CommandID: b.NewID().String(), Time: now,
	}
	for _, own := range []struct {
		seal.Binding
		secret []byte
	}{
		{signingBinding(begun, begun.SigningKey), private.Seed()},
		{macBinding(begun, begun.SigningKey), mac},
		{checkpointBinding(begun), checkpointKey.Seed()},
	} {
		if err := putTwins(ctx, secrets, signed, own.Binding, domain.NewSecret(own.secret)); err != nil {
			return err
		}
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
	return errors.Join(
		err, removeTwins(ctx, secrets, begun.SigningKey.SecretID), removeTwins(ctx, secrets, begun.SigningKey.MACSecretID),
		removeTwins(ctx, secrets, begun.CheckpointKey.SecretID),
	)
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
	if err != nil || key.Kind != keys.Service || key.ID != uuid.Nil || key.Number != organization.ConfiguredToken {
		return keys.Key{}, errors.New(
			"AGENTKEY_ADMIN_TOKEN is not a token that can be configured; make one with agentkey token new",
		)
	}
	return key, nil
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
		Organization: begun.OrganizationID, Actor: System, CommandID: command(codec.SigningKeys.String()).String(),
		Time: now,
	}
	_, err := inst.Log.Write(
		ctx, codec.SigningKeys.Stream(""), codec.Begin,
		installation.SigningKeyAdded{Keys: installation.Keys{
			SigningKey: begun.SigningKey, Former: []installation.FormerKey{},
		}}, signed,
	)
	if err != nil && !isExisting(err) {
		return fmt.Errorf("write the signing keys: %w", err)
	}
	organizations := NewOrganizationLoop(inst.Env(b.Clock, nil, nil))
	privacy := seal.NewPrivacy(inst.Secrets, b.Clock)
	m := loop.Meta{Organization: begun.OrganizationID, Actor: System, CommandID: command(codec.Organizations.String())}
	head, err := organizations.Fresh(ctx, begun.OrganizationID)
	if err == nil && !head.State.Exists {
		first := seal.Named{Name: "first admin token"}
		_, err = sealingName(ctx, privacy, begun.OrganizationID, begun.AdminTokenID, first,
			func(sealed string) (OrganizationResult, error) {
				return organizations.Do(ctx, begun.OrganizationID, m, func(organization.State, time.Time) (organization.Command,
					error,
				) {
					return organization.Create{Name: "Default", Token: &organization.CreateToken{
						Number: organization.ConfiguredToken, TokenID: begun.AdminTokenID, Sealed: sealed,
						Role: domain.RoleOwner, Hash: begun.AdminTokenHash, Configured: b.AdminToken != "",
					}}, nil
				})
			})
	}
	if err != nil {
		return fmt.Errorf("create the first organization: %w", err)
	}
	if b.KeepToken {
		return nil
	}
	return b.carryOver(ctx, organizations, privacy, begun.OrganizationID)
}

// operating is who gives what follows from the configuration.
var operating = organization.Giver{Operator: true}

// carryOver makes the configured token work instead of the one before it, and ends that one when
// none is configured any more. One that works already, because it was made when the installation
// was begun, is marked as configured, so that it ends in the same way. A token that has ended works
// never again: a process that is started with an old configuration must not bring back what was
// replaced.
func (b Beginning) carryOver(
	ctx context.Context, organizations *OrganizationLoop, privacy *seal.Privacy, first string,
) error {
	head, err := organizations.Fresh(ctx, first)
	if err != nil {
		return fmt.Errorf("read the first organization: %w", err)
	}
	is, found := head.State.Token(organization.ConfiguredToken)
	m := loop.Meta{Organization: first, Actor: System, CommandID: b.NewID()}
	if b.AdminToken == "" {
		if !found || !is.Configured {
			return nil
		}
		_, err := organizations.Do(ctx, first, m, func(_ organization.State, at time.Time) (organization.Command, error) {
			return organization.RevokeToken{TokenID: is.ID, By: operating, At: at}, nil
		})
		if err != nil {
			return fmt.Errorf("end the token that was configured: %w", err)
		}
		b.Warn("AGENTKEY_ADMIN_TOKEN is no longer set, so the token that it named has ended")
		return nil
	}
	key, err := b.configured()
	if err != nil {
		return err
	}
	tokenID := loop.DerivedID(m.CommandID, "token").String()
	configure := func(sealed string) (OrganizationResult, error) {
		return organizations.Do(ctx, first, m, func(_ organization.State, at time.Time) (organization.Command, error) {
			return organization.CreateToken{
				Number: organization.ConfiguredToken, TokenID: tokenID, Sealed: sealed, Role: domain.RoleOwner,
				Hash: key.Hash(), Configured: true, By: operating, At: at,
			}, nil
		})
	}
	for _, t := range head.State.Tokens {
		if !key.Matches(t.Hash) {
			continue
		}
		if !t.RevokedAt.IsZero() {
			b.Warn("AGENTKEY_ADMIN_TOKEN is a token that was revoked or replaced. It works no more; set another one")
			return nil
		}
		if _, err := configure(t.Sealed); err != nil {
			return fmt.Errorf("mark the admin token as configured: %w", err)
		}
		return nil
	}
	_, err = sealingName(ctx, privacy, first, tokenID, seal.Named{Name: "configured admin token"}, configure)
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
	return &loop.Env{Log: i.Log, Sealer: sealer, Clock: clock, OnFault: onFault}
}
