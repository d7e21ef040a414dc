package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain/installation"
	"agentkey/eventstore"
)

// epoch returns which of its lives a log is in, "" in the first: the store leaves a note in a
// backup that is restored, and the command that copies a log leaves one in the copy. A signing key
// signs in one of them only, so that what a drill or a copy signs fits nowhere else.
func (b Beginning) epoch(ctx context.Context) (string, error) {
	var notes []string
	restored, found, err := b.Client.Backup(ctx)
	if err != nil {
		return "", fmt.Errorf("look for a backup: %w", err)
	}
	if found {
		notes = append(notes, "backup "+restored.ID.String())
	}
	copied, found, err := b.Client.CopyNote(ctx)
	if err != nil {
		return "", fmt.Errorf("look for a copy: %w", err)
	}
	if found {
		notes = append(notes, "copy "+copied.ID.String())
	}
	return strings.Join(notes, ", "), nil
}

// enter makes a signing key for the epoch of the log, unless there is one. Nothing else was signed
// in it before.
func (k *SigningKeys) enter(ctx context.Context, m loop.Meta) error {
	if k.madeFor(k.epoch) {
		return nil
	}
	err := k.add(ctx, m, k.epoch)
	if errors.Is(err, errKeysMoved) && k.madeFor(k.epoch) {
		return nil // another process was first
	}
	return err
}

func (k *SigningKeys) madeFor(epoch string) bool {
	set := k.set()
	return epoch == set.SigningKey.Epoch || slices.ContainsFunc(set.Former, func(f installation.FormerKey) bool {
		return f.Epoch == epoch
	})
}

// Leave ends the former keys of a log whose epoch this is not, after the time in which a process
// that follows the log might still sign with one. It returns when there are none, by whatever
// process, and tries until ctx ends. onFault receives what keeps it from that.
func (k *SigningKeys) Leave(
	ctx context.Context, office *InstallationLoop, meta func() loop.Meta, onFault func(error),
) {
	backoff := eventstore.Backoff{Min: time.Second, Max: time.Minute}
	for {
		err := k.leave(ctx, office, meta)
		if err == nil || ctx.Err() != nil {
			return // or the next start does it
		}
		if !errors.Is(err, errKeysMoved) { // another process is at it
			onFault(err)
		}
		if !eventstore.Pause(ctx, backoff.Next()) {
			return
		}
	}
}

func (k *SigningKeys) leave(ctx context.Context, office *InstallationLoop, meta func() loop.Meta) error {
	if err := k.Refresh(ctx); err != nil {
		return err
	}
	foreign := slices.ContainsFunc(k.lasting(), func(f installation.FormerKey) bool { return f.Epoch != k.epoch })
	if !foreign {
		return nil
	}
	_, err := k.finish(ctx, office, meta, func(ctx context.Context, d time.Duration) error {
		if !eventstore.Pause(ctx, d) {
			return ctx.Err()
		}
		return nil
	})
	return err
}
