package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/embedded"
)

type backupCommand struct {
	File string `arg:"" help:"The file to create. It must not exist yet." type:"path"`
	Data string `help:"The event store's data folder; by default the one of agentkey serve." type:"path"`
}

// Run copies the embedded event store, whether or not it is being served.
func (b *backupCommand) Run(sh *shell) error {
	dir, err := storeFolder(sh, b.Data)
	if err != nil {
		return err
	}
	made, err := embedded.Backup(sh.ctx, dir, b.File, time.Now)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(
		sh.stdout, "Backed up the event log up to position %d to %s (%d bytes) and verified the copy.\n", made.Position,
		b.File, made.Bytes,
	)
	if err != nil {
		return err
	}
	return aboutKeys(
		sh, dir,
		"It doesn't contain a master key. Keep %s in another place: without it, no secret in the backup can be "+
			"decrypted.\n",
	)
}

type restoreCommand struct {
	File string `arg:"" help:"A file created by agentkey backup." type:"existingfile"`
	Data string `help:"The event store's data folder; by default the one of agentkey serve." type:"path"`
}

// Run puts a backup in the place of an event store that is gone.
func (r *restoreCommand) Run(sh *shell) error {
	dir, err := storeFolder(sh, r.Data)
	if err != nil {
		return err
	}
	made, err := embedded.Restore(sh.ctx, dir, r.File, time.Now)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(sh.stdout, "Restored the event log up to position %d into %s. It lacks what happened after "+
		"the backup, including revocations: "+
		"agentkey serve vends nothing until you review who has access and run agentkey confirm-restore. "+
		"Service tokens that were revoked since the backup work again: before you start agentkey serve, look at agentkey "+
		"token list, or run agentkey admin recover --revoke-others.\n",
		made.Position,
		dir)
	if err != nil {
		return err
	}
	return aboutKeys(sh, dir, "It needs the master key that the backup doesn't contain: %s, configured as before.\n")
}

// storeFolder is the folder of the embedded store: the one named, or that of the configuration.
func storeFolder(sh *shell, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	c, err := LoadConfig(sh.environ)
	if err != nil {
		return "", err
	}
	if c.EventStoreURL != "" {
		return "", usageError{
			errors.New(
				"the event log is at AGENTKEY_EVENTSTORE_URL, not in the data folder: pass the folder of agentkey " +
					"eventstore serve with --data, or use what EventStoreDB has for this",
			),
		}
	}
	return c.DataDir, nil
}

// aboutKeys says which master keys open the secrets of a store. format has room for their ids.
func aboutKeys(sh *shell, dir, format string) (err error) {
	log, err := OpenLog(sh.ctx, Config{DataDir: dir}, true, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	ids, err := masterKeyIDs(sh.ctx, log.Client)
	if err == nil {
		_, err = fmt.Fprintf(sh.stdout, format, strings.Join(ids, " or "))
	}
	return err
}

func masterKeyIDs(ctx context.Context, client *eventstore.Client) ([]string, error) {
	stored, err := client.ReadForward(ctx, codec.Installation.Stream(""), 0, 1000)
	if err != nil {
		return nil, fmt.Errorf("read the installation: %w", err)
	}
	var state installation.State
	for _, e := range stored {
		event, _ := codec.Decode(e.Type, e.Data) // without a key nobody can say what isn't ours
		if event, ok := event.(installation.Event); ok {
			state = installation.Evolve(state, domain.Fact[installation.Event]{Event: event})
		}
	}
	var ids []string
	for _, k := range state.MasterKeys {
		ids = append(ids, k.ID)
	}
	return ids, nil
}

type confirmRestoreCommand struct {
	SuspendAgents bool `help:"Suspend every agent first, which ends all access. Reactivate the agents that may continue."`
	KeepAgents    bool `help:"Leave the agents as the restored log has them."`
}

// Run lets credentials be vended again after a restore.
func (c *confirmRestoreCommand) Run(sh *shell) error {
	if c.SuspendAgents == c.KeepAgents {
		return usageError{
			errors.New(
				"revocations, suspensions and rotations made after the backup are lost. Pass --suspend-agents, which " +
					"is safe, or --keep-agents if you have reviewed who has access",
			),
		}
	}
	return inOffice(sh, func(ctx context.Context, o *office) error {
		kept, err := readMark(filepath.Join(o.config.DataDir, markFile))
		if err != nil {
			return err
		}
		restore := commands.Restore{
			Agents: commands.NewAgentLoop(o.env),
			Fence: commands.NewFence(commands.FenceConfig{
				Installation: commands.NewInstallationLoop(o.env), Log: o.inst.Log, StoreID: o.inst.Begun.StoreID,
				Organization: o.inst.Begun.OrganizationID, NewID: newID, Logger: o.logger,
			}),
		}
		suspended, err := restore.Confirm(ctx, o.meta(""), c.SuspendAgents, kept)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(
			sh.stdout, "Restore confirmed; credentials are vended again. Suspended agents: %d.\n", suspended,
		)
		return err
	})
}
