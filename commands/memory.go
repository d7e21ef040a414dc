package commands

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/installation"
	"agentkey/eventstore/codec"
)

// Memory is one who keeps, outside of the log, where the guarded streams ended.
type Memory struct {
	Name string

	// End returns where a stream of a store ended since a restore was confirmed last, codec.Begin if
	// that isn't known.
	End func(ctx context.Context, stream, storeID string, confirmed time.Time) (codec.End, error)

	rest *rest
}

// NewMemory returns a memory that is left alone for a while when it doesn't answer: nothing must
// wait for it.
func NewMemory(
	name string, end func(ctx context.Context, stream, storeID string, confirmed time.Time) (codec.End, error),
) Memory {
	return Memory{Name: name, End: end, rest: &rest{}}
}

const (
	memoryTime = 250 * time.Millisecond
	memoryRest = 5 * time.Second
)

type rest struct {
	mu    sync.Mutex
	until time.Time
}

func (r *rest) over(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.After(r.until)
}

func (r *rest) begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = now.Add(memoryRest)
}

// Ends returns where a guarded stream ended for those who keep that; see Env.Ends.
func (f *Fence) Ends(ctx context.Context, stream string) []codec.End {
	return f.ends(ctx, stream, f.known().ConfirmedAt)
}

func (f *Fence) ends(ctx context.Context, stream string, confirmed time.Time) (ends []codec.End) {
	for _, m := range f.Memories {
		if !m.rest.over(f.Clock()) {
			continue
		}
		asked, cancel := context.WithTimeout(ctx, memoryTime)
		end, err := m.End(asked, stream, f.StoreID, confirmed)
		cancel()
		if err != nil {
			m.rest.begin(f.Clock())
			f.Logger.WarnContext(
				ctx, "it can't be asked where a stream ended", slog.String("of", m.Name), slog.String("error", err.Error()),
			)
			continue
		}
		if end != codec.Begin {
			ends = append(ends, end)
		}
	}
	return ends
}

// ConfirmedAt is when a restore was confirmed last, the zero time for never.
func (f *Fence) ConfirmedAt() time.Time { return f.known().ConfirmedAt }

// Report writes down that a stream lacks an event of ours.
func (f *Fence) Report(ctx context.Context, lost *codec.LostError) error {
	return ignoreRestored(f.Lost(ctx, lost, time.Time{}))
}

// Lost writes down that a stream lacks an event of ours, and refuses. It returns nil if that was
// written before; see Env.OnLost.
func (f *Fence) Lost(ctx context.Context, lost *codec.LostError, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, loop.Deadline)
	defer cancel()
	f.looking.Lock()
	defer f.looking.Unlock()
	head, err := f.Installation.Fresh(ctx, "")
	if err != nil {
		return err
	}
	e := installation.Evidence{
		Stream: lost.Stream, Revision: lost.Seen.Revision, EventAt: at, Alone: true, Reason: string(lost.Fault),
	}
	if head.State.Knows(e) {
		f.keep(head.State)
		return nil
	}
	if !head.State.ConfirmedAt.Equal(f.known().ConfirmedAt) { // it was seen before a restore was confirmed
		f.keep(head.State)
		f.forget()
		return loop.Restored()
	}
	if at.IsZero() && !slices.Contains(f.ends(ctx, lost.Stream, head.State.ConfirmedAt), lost.Seen) {
		return loop.Restored() // what was kept outside of the log was asked for before that
	}
	if e.OrganizationID, err = organizationOf(ctx, f.Log, lost.Stream, f.Organization); err != nil {
		return err
	}
	state, err := f.report(ctx, e)
	if err != nil {
		return err
	}
	f.keep(state)
	return loop.Restored()
}

// Compare compares a guarded stream with what is kept of it outside of the log, and reports whether
// it lacks something. That is written down then.
func (f *Fence) Compare(ctx context.Context, stream string) (lost bool, err error) {
	if category, _ := codec.Split(stream); !category.Guarded() {
		return false, nil
	}
	for _, end := range f.Ends(ctx, stream) {
		lost, err := f.Log.Lacks(ctx, stream, end)
		if err != nil {
			return false, err
		}
		if lost != nil {
			return true, f.Report(ctx, lost)
		}
	}
	return false, nil
}

// ignoreRestored drops the refusal of a log that isn't the one that was written.
func ignoreRestored(err error) error {
	if refusal, is := errors.AsType[*domain.Error](err); is && refusal.Code == loop.Restored().Code {
		return nil
	}
	return err
}

// Settled reports whether an operator has confirmed the log since an event was found in it; see
// codec.Log.
func (f *Fence) Settled(stream string, revision uint64) bool {
	for _, found := range f.known().Findings {
		if found.Confirmed && found.Stream == stream && found.Revision == int64(revision) { //nolint:gosec // revisions fit
			return true
		}
	}
	return false
}

// organizationOf returns whose stream it is: the first organization's where that isn't known.
func organizationOf(ctx context.Context, log *codec.Log, stream, first string) (string, error) {
	switch category, id := codec.Split(stream); category { //nolint:exhaustive // the others say so in their events
	case codec.Organizations, codec.Catalogs, codec.Rules:
		return id, nil
	case codec.Installation, codec.SigningKeys:
		return first, nil
	}
	e, err := log.First(ctx, stream)
	if isUnreadable(err) || err == nil && e.Signed.Organization == "" {
		return first, nil
	}
	return e.Signed.Organization, err
}
