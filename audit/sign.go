package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/projections"
	"agentkey/readmodels"
)

var system = domain.Actor{Type: domain.ActorSystem, ID: "ledger"}

// signTime bounds the signing of one checkpoint.
const signTime = 10 * time.Second

// SignDue signs a checkpoint of each tree that has grown enough, or long enough ago, if this
// process leads and has caught up. What fails is tried again at the next call.
func (l *Ledger) SignDue(ctx context.Context) {
	due, err := l.due(ctx)
	if err != nil {
		l.Logger.WarnContext(ctx, "no checkpoint can be signed yet", slog.String("error", err.Error()))
	}
	for _, t := range due {
		limited, cancel := context.WithTimeout(ctx, signTime)
		err := l.sign(limited, t)
		cancel()
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, eventstore.ErrWrongRevision): // another process was faster
			l.Logger.DebugContext(ctx, "another checkpoint is there", slog.String("organization", t.organization))
		default:
			l.Logger.WarnContext(
				ctx, "a checkpoint can't be signed yet", slog.String("organization", t.organization),
				slog.String("error", err.Error()),
			)
		}
	}
}

func (l *Ledger) due(ctx context.Context) (trees []tree, err error) {
	if !l.leads.Load() || l.State() != projections.Running {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil { // nothing has happened since the start
		if l.known, err = l.read(ctx); err != nil {
			return nil, err
		}
	}
	now := l.Clock()
	for _, t := range l.known.trees {
		if grown := t.size - t.signed; t.broken {
			continue
		} else if grown >= l.Leaves || grown > 0 && now.Sub(t.since) >= l.After {
			trees = append(trees, *t)
		}
	}
	return trees, nil
}

// read returns what is known of the tables. The caller keeps them from growing.
func (l *Ledger) read(ctx context.Context) (k *known, err error) {
	at, err := l.Tables.ReadCheckpoint(ctx)
	if err != nil {
		return nil, err
	}
	err = l.Tables.Query(ctx, func(ctx context.Context, q readmodels.DBTX) error {
		k, err = load(ctx, q)
		return err
	})
	if err != nil {
		return nil, err
	}
	k.position = at.Position
	return k, nil
}

// sign appends a checkpoint of a tree at its present size. It returns when the ledger knows of it.
func (l *Ledger) sign(ctx context.Context, t tree) error {
	stream := codec.Checkpoints.Stream(t.organization)
	_, after, err := l.Log.Newest(ctx, stream, 1)
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		return err
	}
	root, err := l.root(ctx, t)
	if err != nil {
		return err
	}
	key, err := l.Sign(ctx)
	if err != nil {
		return fmt.Errorf("open the key of checkpoints: %w", err)
	}
	signed, err := formats.Checkpoint{Origin: formats.Origin(t.organization), Size: t.size, Root: root}.Sign(key)
	if err != nil {
		return err
	}
	// two processes that sign the same one write the same event
	command := uuid.NewSHA1(uuid.NameSpaceOID, []byte("agentkey.checkpoint/"+stream+"/"+strconv.FormatInt(t.size, 10)))
	appended, err := l.Log.Write(ctx, stream, after, codec.CheckpointSigned{Note: string(signed)}, codec.Signed{
		Organization: t.organization, Actor: system, CommandID: command.String(),
		Time: l.Clock().UTC().Truncate(time.Microsecond),
	})
	if err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	return l.WaitFor(ctx, appended.Position)
}

// root calculates the root of a tree. It refuses where the tables no longer give the one that was
// signed last: then they, and not the log, were changed.
func (l *Ledger) root(ctx context.Context, t tree) (root tlog.Hash, err error) {
	err = l.Tables.Query(ctx, func(ctx context.Context, q readmodels.DBTX) error {
		read := hashesOf(ctx, q, t.number)
		if root, err = tlog.TreeHash(t.size, read); err != nil || t.signed == 0 {
			return err
		}
		var note string
		err := q.QueryRowContext(ctx, "SELECT note FROM notes WHERE tree = $1 AND size = $2", t.number, t.signed).Scan(&note)
		if err != nil {
			return err
		}
		last, err := formats.OpenCheckpoint([]byte(note), formats.Origin(t.organization), l.Keys...)
		if err != nil {
			return err
		}
		was, err := tlog.TreeHash(last.Size, read)
		if err == nil && was != last.Root {
			err = errors.New("the tables of the ledger were changed: remove them, so that they are filled again from the log")
		}
		return err
	})
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("calculate the root of %s: %w", t.organization, err)
	}
	return root, nil
}
