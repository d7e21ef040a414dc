package commands

import (
	"context"
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

// Roll rewraps every secret with the current master key and returns how many it rewrapped.
func (k *MasterKeys) Roll(ctx context.Context, m loop.Meta) (int, error) {
	return k.Secrets.Roll(ctx, codec.Signed{
		Organization: m.Organization, Actor: m.Actor, CommandID: m.CommandID.String(),
		Time: loop.Later(k.Clock(), time.Time{}),
	})
}
