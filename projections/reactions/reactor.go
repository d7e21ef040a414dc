package reactions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Reaction turns events into commands. The log holds how far it has come, in reaction-<name>:
// the last event that it handled with an effect, by stream and revision, so that it holds on a
// copied log too. Any number of processes may run the same reaction: its commands are decided on
// streams and derive their ids from the cause, so a second one changes nothing. An idle or
// restarting system writes nothing. What needs no record says so with FromStart.
type Reaction struct {
	Name  string
	Types string        // pattern of the types that it reacts to, a plain regular expression
	After time.Duration // how old an event must be before it is handled
	// it begins at the log's start in every process and records nothing: doing it twice changes
	// nothing
	FromStart bool

	// Handle carries out what follows from an event, and says whether there was anything to do. After
	// an error it gets the same event again.
	Handle func(ctx context.Context, cause codec.Verified) (acted bool, err error)
}

// Reactor runs reactions.
type Reactor struct {
	Log          *codec.Log
	Organization string // that the records count as: the first one
	Clock        func() time.Time
	NewID        func() uuid.UUID
	Logger       *slog.Logger

	// OnAct is told each time that a reaction had an effect and recorded it if it records. It must not
	// block, and may be nil.
	OnAct func(reaction string)
}

// Begin writes down where a reaction that never ran begins: at the end of the log. After it nothing
// is missed.
func (r *Reactor) Begin(ctx context.Context, re Reaction) error {
	if re.FromStart {
		return nil
	}
	_, _, err := r.resume(ctx, re)
	if errors.Is(err, errRecorded) {
		return nil // another process was first
	}
	return err
}

// Run carries a reaction out until ctx ends. What fails is logged and tried again after a growing
// pause.
func (r *Reactor) Run(ctx context.Context, re Reaction) {
	backoff := eventstore.Backoff{Min: 100 * time.Millisecond}
	for {
		handled, err := r.session(ctx, re)
		if ctx.Err() != nil {
			return
		}
		if handled {
			backoff.Reset()
		}
		backoff.Max = 10 * time.Second
		if errors.Is(err, eventstore.ErrUnavailable) {
			backoff.Max = 200 * time.Millisecond
		}
		pause := backoff.Next()
		if err != nil && !errors.Is(err, eventstore.ErrUnavailable) {
			r.Logger.ErrorContext(
				ctx, "reaction stopped", slog.String("reaction", re.Name), slog.String("error", err.Error()),
				slog.Duration("retry_in", pause),
			)
		}
		if !eventstore.Pause(ctx, pause) {
			return
		}
	}
}

func (r *Reactor) session(ctx context.Context, re Reaction) (handled bool, err error) {
	var position uint64
	var recorded codec.End
	if !re.FromStart {
		if position, recorded, err = r.resume(ctx, re); err != nil {
			return false, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, err := r.Log.Client.SubscribeAll(ctx, position, eventstore.Filter{Types: re.Types})
	if err != nil {
		return false, err
	}
	defer func() { _ = sub.Close() }() // it ends with its context
	chain := r.Log.NewChain()
	for {
		item, err := sub.Next()
		if err != nil {
			return handled, err
		}
		if item.Event == nil {
			continue
		}
		cause, err := chain.Next(ctx, *item.Event)
		if _, foreign := errors.AsType[*codec.ForgedError](err); foreign {
			continue // nothing of ours follows from it
		}
		if err != nil {
			return handled, err
		}
		if err := r.ripen(ctx, cause, re.After); err != nil {
			return handled, err
		}
		acted, err := re.Handle(ctx, cause)
		if err != nil {
			return handled, fmt.Errorf("react to %d@%s: %w", item.Event.Revision, item.Event.Stream, err)
		}
		if handled = true; !acted {
			continue
		}
		if !re.FromStart {
			if recorded, err = r.record(ctx, re, recorded, *item.Event); err != nil {
				return handled, err
			}
		}
		if r.OnAct != nil {
			r.OnAct(re.Name)
		}
	}
}

// Hurry handles at once, without waiting until it is old enough, everything that a reaction hasn't
// handled yet, up to the end of the log. It records nothing: the process that runs it handles that
// again, and changes nothing.
func (r *Reactor) Hurry(ctx context.Context, re Reaction) error {
	position, _, err := r.resume(ctx, re)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, err := r.Log.Client.SubscribeAll(ctx, position, eventstore.Filter{Types: re.Types})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }() // it ends with its context
	chain := r.Log.NewChain()
	for {
		item, err := sub.Next()
		if err != nil || item.CaughtUp {
			return err
		}
		if item.Event == nil {
			continue
		}
		cause, err := chain.Next(ctx, *item.Event)
		if _, foreign := errors.AsType[*codec.ForgedError](err); foreign {
			continue // as in session
		}
		if err != nil {
			return err
		}
		if _, err := re.Handle(ctx, cause); err != nil {
			return fmt.Errorf("react to %d@%s: %w", item.Event.Revision, item.Event.Stream, err)
		}
	}
}

// ripen waits until an event is old enough.
func (r *Reactor) ripen(ctx context.Context, e codec.Verified, after time.Duration) error {
	left := e.Signed.Time.Add(after).Sub(r.Clock())
	if after == 0 || left <= 0 {
		return nil
	}
	select {
	case <-time.After(left):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resume returns where the reaction continues, and the end of its record. A new reaction
// begins at the end of the log and says so, because what happens after that must not be missed.
func (r *Reactor) resume(ctx context.Context, re Reaction) (position uint64, recorded codec.End, err error) {
	last, recorded, err := r.Log.Newest(ctx, codec.Reactions.Stream(re.Name), 1)
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		return 0, codec.End{}, err
	}
	if len(last) == 0 {
		end, found, err := r.Log.Client.Newest(ctx, decidedOn)
		if err != nil || !found {
			return 0, codec.End{}, errors.Join(err, errors.New("the log has not begun"))
		}
		if recorded, err = r.record(ctx, re, recorded, end); err != nil {
			return 0, codec.End{}, err
		}
		return end.Position, recorded, nil
	}
	record, ok := last[0].Event.(codec.ReactionHandled)
	if !ok {
		return 0, codec.End{}, fmt.Errorf("%w: %s has no place in %s", codec.ErrUnknownEvent, last[0].Type, last[0].Stream)
	}
	at, err := r.Log.Client.ReadForward(ctx, record.Stream, record.Revision, 1)
	if err != nil {
		return 0, codec.End{}, fmt.Errorf("find the last event that %s handled: %w", re.Name, err)
	}
	if len(at) == 0 || at[0].Revision != record.Revision {
		return 0, codec.End{}, fmt.Errorf(
			"the log does not reach %d@%s, which %s has handled", record.Revision, record.Stream, re.Name,
		)
	}
	return at[0].Position, recorded, nil
}

var errRecorded = errors.New("another process has recorded more")

func (r *Reactor) record(
	ctx context.Context, re Reaction, after codec.End, handled eventstore.Recorded,
) (codec.End, error) {
	signed := codec.Signed{
		Organization: r.Organization, Actor: domain.Actor{Type: domain.ActorSystem, ID: re.Name},
		CommandID: r.NewID().String(), Causation: handled.ID.String(), Time: r.Clock().UTC().Truncate(time.Microsecond),
	}
	event := codec.ReactionHandled{Stream: handled.Stream, Revision: handled.Revision}
	appended, err := r.Log.Write(ctx, codec.Reactions.Stream(re.Name), after, event, signed)
	if errors.Is(err, eventstore.ErrWrongRevision) {
		return codec.End{}, fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errRecorded) // start again after it, quietly
	}
	if err != nil {
		return codec.End{}, fmt.Errorf("record what %s has handled: %w", re.Name, err)
	}
	return appended.End(), nil
}

// decidedOn reports whether an event is of a stream that is never cut short, so that it can name a
// place in the log.
func decidedOn(e eventstore.Recorded) bool {
	category, _ := codec.Split(e.Stream)
	return category.Deciding()
}
