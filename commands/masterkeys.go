package commands

import (
	"context"
	"fmt"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain/installation"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// MasterKeys carries out what an operator does to the keys that wrap every secret.
type MasterKeys struct {
	Loop    *InstallationLoop
	Secrets *seal.Secrets
	Clock   func() time.Time
}

// Add registers another master key with the installation.
func (k *MasterKeys) Add(ctx context.Context, m loop.Meta, key installation.MasterKey) error {
	_, err := k.Loop.Do(ctx, "", m, func(installation.State, time.Time) (installation.Command, error) {
		return installation.AddMasterKey{MasterKey: key}, nil
	})
	return err
}

// Destroyed records that no copy of a former master key is left. It is refused while a secret needs
// that key, or this process has it.
func (k *MasterKeys) Destroyed(ctx context.Context, m loop.Meta, id string) error {
	if k.Secrets.Ring().Has(id) {
		return fmt.Errorf("the master key %s is configured here: remove it first", id)
	}
	wrapped, err := k.Secrets.Wrapped(ctx, id)
	if err != nil {
		return err
	}
	if wrapped > 0 {
		return fmt.Errorf("%d secrets are wrapped with the master key %s: run agentkey keys roll", wrapped, id)
	}
	_, err = k.Loop.Do(ctx, "", m, func(installation.State, time.Time) (installation.Command, error) {
		return installation.DestroyMasterKey{ID: id}, nil
	})
	return err
}

// Roll rewraps every secret with the current master key and returns how many it rewrapped.
func (k *MasterKeys) Roll(ctx context.Context, m loop.Meta) (int, error) {
	return k.Secrets.Roll(ctx, codec.Signed{
		Organization: m.Organization, Actor: m.Actor, CommandID: m.CommandID.String(),
		Time: loop.Later(k.Clock(), time.Time{}),
	})
}
