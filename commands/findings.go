package commands

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Findings writes down, once each, the events in our streams that aren't ours at their place.
type Findings struct {
	Installation *InstallationLoop
	Log          *codec.Log
	Fence        *Fence
	Organization string // the first one
	NewID        func() uuid.UUID
	Logger       *slog.Logger
	OnFound      func() // is called for each; must not block

	mu    sync.Mutex
	met   map[place]bool
	queue chan *codec.ForgedError
}

type place struct {
	stream   string
	revision uint64
}

// maxMet bounds what is known to have been met. What is met again after that is looked at again.
const maxMet = 100_000

// NewFindings completes a record of findings; Run must be running for them to be written.
func NewFindings(f *Findings) *Findings {
	f.met, f.queue = map[place]bool{}, make(chan *codec.ForgedError, 1024)
	return f
}

// Found takes note of an event; see codec.Log.
func (f *Findings) Found(e *codec.ForgedError) {
	at := place{e.Stream, e.Revision}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.met[at] {
		return
	}
	copied := *e // the reader may change its mind about its own
	select {
	case f.queue <- &copied:
	default:
		return // it is met again
	}
	if len(f.met) >= maxMet {
		clear(f.met)
	}
	f.met[at] = true
	if f.OnFound != nil {
		f.OnFound()
	}
}

// Run writes down what was found, until ctx ends.
func (f *Findings) Run(ctx context.Context) {
	for {
		select {
		case e := <-f.queue:
			f.record(ctx, e)
		case <-ctx.Done():
			return
		}
	}
}

// record tries until it succeeds: the log may be away for a while.
func (f *Findings) record(ctx context.Context, e *codec.ForgedError) {
	backoff := eventstore.Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second}
	for {
		err := f.write(ctx, e)
		if err == nil || ctx.Err() != nil {
			return
		}
		f.Logger.WarnContext(
			ctx, "what was found in the event log isn't written down yet", slog.String("found", e.Error()),
			slog.String("error", err.Error()),
		)
		if !eventstore.Pause(ctx, backoff.Next()) {
			return
		}
	}
}

func (f *Findings) write(ctx context.Context, e *codec.ForgedError) error {
	if e.Breaks() {
		// Somebody who reads in the log's order can't know yet whether the chain closes around it.
		lost, err := f.Fence.Compare(ctx, e.Stream)
		if lost || err != nil {
			return err
		}
		if e, err = f.lookAt(ctx, e); err != nil {
			return err
		}
	}
	organization, err := organizationOf(ctx, f.Log, e.Stream, f.Organization)
	if err != nil {
		return err
	}
	found := installation.Finding{
		Stream: e.Stream, Revision: int64(e.Revision), Reason: string(e.Fault), OrganizationID: organization, //nolint:gosec // revisions fit
	}
	m := loop.Meta{Organization: f.Organization, Actor: System, CommandID: f.NewID()}
	done, err := f.Installation.Do(ctx, "", m, func(installation.State, time.Time) (installation.Command, error) {
		return installation.ReportForeign{Finding: found}, nil
	})
	if err == nil && done.Changed {
		f.Logger.ErrorContext(
			ctx, "the event log holds an event that doesn't belong to it", slog.String("stream", e.Stream),
			slog.Uint64("revision", e.Revision), slog.String("fault", string(e.Fault)), slog.String("reason", e.Reason),
		)
	}
	return err
}

// lookAt reads the whole stream of an event: it is foreign unless the stream is broken.
func (f *Findings) lookAt(ctx context.Context, e *codec.ForgedError) (*codec.ForgedError, error) {
	if err := f.Log.Client.Barrier(ctx); err != nil {
		return nil, err
	}
	for reader, more := f.Log.Reader(e.Stream, codec.Begin), true; more; {
		var err error
		_, more, err = reader.Next(ctx, pageSize)
		if broken, is := errors.AsType[*codec.ForgedError](err); is {
			return broken, nil
		}
		if err != nil && !isUnreadable(err) {
			return nil, err
		}
	}
	foreign := *e
	foreign.Fault = codec.Foreign
	return &foreign, nil
}

// isUnreadable reports whether a stream has nothing that we can read.
func isUnreadable(err error) bool {
	_, forged := errors.AsType[*codec.ForgedError](err)
	return forged || errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrStreamDeleted) ||
		errors.Is(err, codec.ErrUnknownEvent)
}
