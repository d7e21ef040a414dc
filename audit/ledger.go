// Package audit is the ledger: a Merkle tree over what happened in each organization, kept by a
// follower of the log, with signed checkpoints and proofs. It decides nothing. What is in it can be
// filled again from the log, and must then give every root that was ever signed.
package audit

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/projections"
	"agentkey/readmodels"
)

// Config is what the ledger works with. Zero values of the rest take defaults.
type Config struct {
	// Owned returns nil when the read model is found to be this installation's, an *OccupiedError when
	// it is another's, and any other error as long as that isn't known; nil: there is none to ask.
	Owned func() error

	Log    *codec.Log
	Tables *Tables
	Logger *slog.Logger
	Clock  func() time.Time
	Tracer trace.Tracer
	OnLost func(context.Context, eventstore.Mark) error // see projections.FollowerConfig

	First string // the organization to which the events of the installation belong

	// Keys are those that sign or have signed checkpoints. Sign returns the private half of the
	// present one; it is asked for whenever one is signed.
	Keys []ed25519.PublicKey
	Sign func(context.Context) (ed25519.PrivateKey, error)

	// A checkpoint is signed when so many leaves came after the last one, or so long after the first
	// of them. Not before: an idle system writes nothing.
	Leaves int64
	After  time.Duration

	Pace time.Duration // see projections.FeedConfig: nobody waits for the ledger
	Idle time.Duration // see projections.FollowerConfig
}

// Ledger follows the log and keeps the trees. Of several processes on one database one does.
type Ledger struct {
	Config
	*projections.Follower

	leads atomic.Bool // this process

	mu    sync.Mutex
	known *known // nil: the tables must be read
}

// Defaults of Config: a checkpoint follows within a minute, whose rest it takes to be signed.
const (
	checkpointLeaves = 1000
	checkpointAfter  = 50 * time.Second
	ledgerPace       = 250 * time.Millisecond
)

// New returns the ledger; Run sets it going.
func New(c Config) *Ledger {
	if c.Leaves == 0 {
		c.Leaves = checkpointLeaves
	}
	if c.After == 0 {
		c.After = checkpointAfter
	}
	if c.Pace == 0 {
		c.Pace = ledgerPace
	}
	l := &Ledger{Config: c}
	l.Follower = projections.NewFollower(projections.FollowerConfig{
		Name: "ledger", Log: c.Log, Logger: c.Logger, Clock: c.Clock, Place: c.Tables, Lead: l.lead, Handle: l.Handle,
		CaughtUp: c.Tables.Settle, Tracer: c.Tracer, OnLost: c.OnLost, Pace: c.Pace, Idle: c.Idle,
	})
	return l
}

// owned waits until the database is this installation's: of two that start at once, one gets both
// the read model and the ledger.
func (l *Ledger) owned(ctx context.Context) error {
	for l.Owned != nil {
		err := l.Owned()
		if _, occupied := errors.AsType[*readmodels.OccupiedError](err); err == nil || occupied {
			return err
		}
		if !eventstore.Pause(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// lead also remembers whether this process leads: only the leader signs checkpoints.
func (l *Ledger) lead(
	ctx context.Context, is readmodels.Origin, standby func(readmodels.Checkpoint) <-chan struct{},
) (context.Context, func(), error) {
	if err := l.owned(ctx); err != nil {
		return nil, nil, err
	}
	lead, release, err := l.Tables.Lead(ctx, is, standby)
	if err != nil {
		return nil, nil, err
	}
	l.leads.Store(true)
	return lead, func() {
		l.leads.Store(false)
		release()
	}, nil
}

// Run follows the log until ctx ends, and signs checkpoints where the tick finds that one is due.
func (l *Ledger) Run(ctx context.Context, tick <-chan time.Time) error {
	var signing sync.WaitGroup
	signing.Go(func() {
		for {
			select {
			case <-tick:
				l.SignDue(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	defer signing.Wait()
	return l.Follower.Run(ctx)
}

// Conflict is a checkpoint that was signed once and that the log doesn't give any more: history was
// rewritten, or the checkpoint isn't ours.
type Conflict struct {
	Organization string
	Position     uint64 // of the checkpoint's event
	Size         int64
	Reason       string
}

// Error implements error.
func (c Conflict) Error() string {
	return fmt.Sprintf(
		"the log doesn't give the checkpoint over %d events of the organization %s, signed at position %d: %s", c.Size,
		c.Organization, c.Position, c.Reason,
	)
}

func (c Conflict) attrs() []any {
	return []any{
		slog.String("organization", c.Organization), slog.Uint64("position", c.Position), slog.Int64("size", c.Size),
		slog.String("reason", c.Reason),
	}
}

// Conflicts returns every checkpoint that the log doesn't give any more.
func (l *Ledger) Conflicts(ctx context.Context) (found []Conflict, err error) {
	err = l.Tables.Query(ctx, func(ctx context.Context, q readmodels.DBTX) error {
		return each(ctx, q, func(rows *sql.Rows) error {
			var c Conflict
			var position int64
			err := rows.Scan(&c.Organization, &position, &c.Size, &c.Reason)
			c.Position = uint64(position) //nolint:gosec // it was one
			found = append(found, c)
			return err
		}, "SELECT organization_id, position, size, reason FROM conflicts ORDER BY position")
	})
	if err != nil {
		return nil, fmt.Errorf("read the conflicts of the ledger: %w", err)
	}
	return found, nil
}
