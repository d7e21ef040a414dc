package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Fence holds credentials back when the log is not the one that was written: restored from a
// backup, or without the end that somebody has seen. Revocations may be gone with it. That it was
// found out, and that somebody confirmed it, are events of the installation, so every process
// knows, and keeps knowing after a restart.
type Fence struct {
	FenceConfig

	looking sync.Mutex
	end     codec.End // of the installation, as it was looked at last

	mu       sync.Mutex
	state    installation.State       // as it was looked at last
	admitted uint64                   // one more than the connection over which all was well; 0: none
	link     *eventstore.Subscription // nil while the log is not followed
	under    *look                    // nil while nobody looks for Admit
	linked   chan struct{}            // closed when it is followed again
	mark     eventstore.Mark          // the newest event that this process wrote
}

// FenceConfig is what a fence works with.
type FenceConfig struct {
	Installation *InstallationLoop
	Log          *codec.Log
	StoreID      string
	Organization string // the first one
	NewID        func() uuid.UUID
	Logger       *slog.Logger
	Forget       []func() // each drops what is known of a log that is no more

	// Memories return where a guarded stream ended for those who keep that outside of the log, since a
	// restore was confirmed last; codec.Begin if they don't know.
	Memories []Memory
	Clock    func() time.Time // for how long a memory that doesn't answer is left alone

	// Rows returns the newest event that the read model has seen; nil: there is none to ask. What
	// empties the read model because the log lost that event reports it before, with Restored.
	Rows func(context.Context) (eventstore.Mark, error)
}

// NewFence returns a fence that lets nothing through until Run follows the log.
func NewFence(c FenceConfig) *Fence {
	return &Fence{FenceConfig: c, linked: make(chan struct{}), end: codec.Begin}
}

// Seen takes note of an append; see Env.OnAppend. The streams that decide are never cut, so their
// events can be looked for later.
func (f *Fence) Seen(a loop.Appending) {
	if a.Err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.Last.Position > f.mark.Position {
		f.mark = a.Last
	}
}

// Mark returns the newest event that this process wrote, the zero Mark when it wrote none.
func (f *Fence) Mark() eventstore.Mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.mark
	if m.Stream != "" {
		m.StoreID = f.StoreID
	}
	return m
}

// Admit returns the connection over which credentials may be vended that streams decide about.
// Nothing is vended over another before the log was looked at through it. The refusals are 503
// log_restored and event_log_unavailable.
func (f *Fence) Admit(ctx context.Context, streams ...string) (uint64, error) {
	for range attempts {
		if through, well := f.well(); well {
			if f.holds(streams) {
				return 0, loop.Restored()
			}
			return through, nil
		}
		if err := f.awaitLink(ctx); err != nil {
			return 0, loop.Refusal(err)
		}
		l := f.shared() //nolint:contextcheck // it is shared, so no one caller may end it
		select {
		case <-l.done:
		case <-ctx.Done():
			return 0, loop.Refusal(ctx.Err())
		}
		if l.err != nil {
			return 0, loop.Refusal(l.err)
		}
		if l.restored {
			return 0, loop.Restored()
		}
	}
	return 0, loop.Refusal(fmt.Errorf("%w: its connection does not last", eventstore.ErrUnavailable))
}

// look is one look that several callers wait for.
type look struct {
	done     chan struct{}
	restored bool
	err      error
}

// shared returns the look that is under way, and begins one when none is.
func (f *Fence) shared() *look {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.under == nil {
		l := &look{done: make(chan struct{})}
		f.under = l
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), loop.Deadline)
			defer cancel()
			l.restored, l.err = f.Restored(ctx)
			f.mu.Lock()
			f.under = nil
			f.mu.Unlock()
			close(l.done)
		}()
	}
	return f.under
}

// well returns the present connection, and whether all was well over it.
func (f *Fence) well() (uint64, bool) {
	through := f.Log.Client.Generation()
	f.mu.Lock()
	defer f.mu.Unlock()
	return through, f.admitted == through+1
}

// awaitLink waits until the log is followed.
func (f *Fence) awaitLink(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loop.Deadline)
	defer cancel()
	for {
		f.mu.Lock()
		there, linked := f.link != nil, f.linked
		f.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-linked:
		case <-ctx.Done():
			return fmt.Errorf("%w: it is not followed: %w", eventstore.ErrUnavailable, ctx.Err())
		}
	}
}

// Restored reports whether the log was restored: by the note that a backup carries, by the newest
// event that this process wrote, and by further marks that somebody kept. What it finds is in the
// log when it returns. It reports whether credentials are held back, and lets nothing be vended
// unless all was well.
func (f *Fence) Restored(ctx context.Context, marks ...eventstore.Mark) (restored bool, err error) {
	f.looking.Lock()
	defer f.looking.Unlock()
	f.mu.Lock()
	f.admitted = 0
	over := f.link
	f.mu.Unlock()
	through := f.Log.Client.Generation()
	marks = append(marks, f.Mark(), f.rows(ctx)) // before the log: see Rows
	// it may have lost its end too, so it is read from the beginning, which is short
	f.Installation.Forget()
	head, err := f.Installation.Fresh(ctx, "")
	if err != nil {
		return false, err
	}
	evidence, err := f.evidence(ctx, head.State, marks)
	if err != nil {
		return false, err
	}
	state := head.State
	for _, e := range evidence {
		if state, err = f.report(ctx, e); err != nil {
			return false, err
		}
	}
	f.end = head.End()
	before := f.keep(state)
	if state.Restored != before.Restored || !state.ConfirmedAt.Equal(before.ConfirmedAt) {
		f.forget() // another process may have found it out
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !state.Restored && over != nil && over == f.link {
		f.admitted = through + 1
	}
	return state.Restored, nil
}

// keep takes note of how the installation is, and returns how it was.
func (f *Fence) keep(s installation.State) installation.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.state
	f.state = s
	return before
}

// known is how the installation was when it was looked at last.
func (f *Fence) known() installation.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// holds reports whether nothing may be vended on what streams say. What the installation's own
// stream has lost, nobody knows.
func (f *Fence) holds(streams []string) bool {
	s := f.known()
	return s.Held(codec.Installation.Stream("")) || slices.ContainsFunc(streams, s.Held)
}

func (f *Fence) forget() {
	for _, forget := range f.Forget {
		forget()
	}
}

// rows asks the read model, which nothing must wait for.
func (f *Fence) rows(ctx context.Context) eventstore.Mark {
	if f.Rows == nil {
		return eventstore.Mark{}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	m, err := f.Rows(ctx)
	if err != nil {
		f.Logger.WarnContext(
			ctx, "the read model could not say what it has seen of the event log", slog.String("error", err.Error()),
		)
	}
	return m
}

func (f *Fence) evidence(
	ctx context.Context, s installation.State, marks []eventstore.Mark,
) ([]installation.Evidence, error) {
	var out []installation.Evidence
	note, restored, err := f.Log.Client.Backup(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for a backup: %w", err)
	}
	if e := (installation.Evidence{BackupID: note.ID.String()}); restored && !s.Knows(e) {
		out = append(out, e)
	}
	for _, end := range append(f.ends(ctx, codec.Installation.Stream(""), s.ConfirmedAt), f.end) {
		lost, err := f.Log.Lacks(ctx, codec.Installation.Stream(""), end)
		if err != nil {
			return nil, fmt.Errorf("look for an event that was seen: %w", err)
		}
		if lost == nil {
			continue
		}
		e := installation.Evidence{
			Stream: lost.Stream, Revision: lost.Seen.Revision, Alone: true, OrganizationID: f.Organization,
			Reason: string(lost.Fault),
		}
		if !s.Knows(e) {
			out = append(out, e)
			break
		}
	}
	for _, m := range marks {
		if m.StoreID != f.StoreID {
			continue // there is none, or it is of a log that was followed here before
		}
		e := installation.Evidence{Stream: m.Stream, Revision: int64(m.Revision), EventID: m.ID.String(), EventAt: m.At} //nolint:gosec // revisions fit
		if s.Knows(e) {
			continue
		}
		lost, err := f.Log.Client.Lost(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("look for an event that was seen: %w", err)
		}
		if lost {
			out = append(out, e)
		}
	}
	return out, nil
}

func (f *Fence) report(ctx context.Context, e installation.Evidence) (installation.State, error) {
	f.forget()
	m := loop.Meta{Organization: f.Organization, Actor: System, CommandID: f.NewID()}
	done, err := f.Installation.Do(ctx, "", m, func(installation.State, time.Time) (installation.Command, error) {
		return installation.ReportRestore{Evidence: e}, nil
	})
	if err != nil {
		return installation.State{}, err
	}
	f.mu.Lock()
	f.mark = eventstore.Mark{} // the log knows; what comes now has other positions
	f.mu.Unlock()
	if done.Changed {
		f.Logger.ErrorContext(ctx, "the event log was restored from a backup or lost its end, or a stream lost its own: no "+
			"credential is vended on it until agentkey confirm-restore was run", slog.Bool("this_stream_alone", e.Alone),
			slog.String("backup", e.BackupID), slog.String("lost_stream", e.Stream), slog.Int64("lost_revision", e.Revision))
	}
	return done.State, nil
}

// Run follows the log until ctx ends, to learn at once what other processes found out and what was
// confirmed. That the subscription ends is the only sign that the connection did: the next call
// would go over another, perhaps to a log at the same address that is not the same.
func (f *Fence) Run(ctx context.Context) {
	const shortest, longest = 50 * time.Millisecond, 5 * time.Second
	for pause := shortest; ctx.Err() == nil; pause = min(2*pause, longest) {
		looked, err := f.follow(ctx)
		f.mu.Lock()
		f.link, f.admitted = nil, 0
		f.mu.Unlock()
		if looked || errors.Is(err, eventstore.ErrUnavailable) {
			pause = shortest
		} else if ctx.Err() == nil {
			f.Logger.WarnContext(ctx, "look whether the event log was restored", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (f *Fence) follow(ctx context.Context) (looked bool, err error) {
	head, err := f.Log.Client.Head(ctx)
	if err != nil {
		return looked, err
	}
	sub, err := f.Log.Client.SubscribeAll(ctx, head, eventstore.Filter{Types: `^log\.`})
	if err != nil {
		return looked, err
	}
	defer func() { _ = sub.Close() }() // it was only read
	f.mu.Lock()
	f.link = sub
	close(f.linked)
	f.linked = make(chan struct{})
	f.mu.Unlock()
	for {
		if _, err := f.Restored(ctx); err != nil {
			return looked, err
		}
		looked = true
		for item := (eventstore.Item{}); item.Event == nil; {
			if item, err = sub.Next(); err != nil {
				return looked, err
			}
		}
	}
}
