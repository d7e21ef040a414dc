package codec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"agentkey/domain/installation"
	"agentkey/eventstore"
)

// batchBytes is how much is appended at once, half of what an append may hold.
const batchBytes = 512 << 10

// ErrAnotherLog says that a destination holds events that are not the source's, or more than it: it
// is in use.
var ErrAnotherLog = errors.New("the destination holds another log, or has gone on")

// ErrRestored says that a log came from a backup and that nobody has found that out. The note of it
// is the store's own and doesn't travel, so a copy would not hold credentials back.
var ErrRestored = errors.New(
	"the source was restored from a backup and not started since: start agentkey serve on it first, and stop it again",
)

// Copied is what a copy has done.
type Copied struct {
	Events  int // that both logs have now
	Written int // of them by this call
}

// copied is what is copied of a log: everything but what a store writes for itself, and but
// snapshots, which are made again. The bounds of streams are copied too.
const copied = `^([^$~]|\$metadata)`

// Copy appends the events of one log to another: the same ids and bytes under the same names at the
// same revisions, in the same order, so that signatures still verify. Positions and the times of
// storing do not travel. A copy that was broken off is gone on with. At the end both logs are read
// again and compared. Idempotency keys whose beginning has expired are left out; nothing else may
// lack its beginning. Nothing may write to either log during the copy.
func Copy(ctx context.Context, from, to *eventstore.Client, progress func(Copied)) (Copied, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &copying{from: from, to: to, progress: progress, left: map[string]bool{}}
	if err := c.noted(ctx); err != nil {
		return Copied{}, err
	}
	done, err := c.resume(ctx)
	if err != nil {
		return Copied{}, err
	}
	if err := c.note(ctx); err != nil {
		return Copied{}, err
	}
	if err := c.append(ctx, done); err != nil {
		return c.Copied, err
	}
	return c.Copied, c.compare(ctx)
}

type copying struct {
	Copied
	from, to *eventstore.Client
	progress func(Copied)
	left     map[string]bool       // secrets and caches: whether they are left out
	batch    []eventstore.Recorded // of one stream
	size     int                   // of the batch, in bytes
}

// noted refuses a source whose log doesn't say yet that it came from a backup.
func (c *copying) noted(ctx context.Context) error {
	note, restored, err := c.from.Backup(ctx)
	if err != nil || !restored {
		return err
	}
	for from := uint64(0); ; {
		events, err := c.from.ReadForward(ctx, Installation.Stream(""), from, 256)
		if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
			return err
		}
		for _, e := range events {
			event, _ := Decode(e.Type, e.Data)
			if found, ok := event.(installation.RestoreFound); ok && found.BackupID == note.ID.String() {
				return nil
			}
			from = e.Revision + 1
		}
		if len(events) < 256 {
			return ErrRestored
		}
	}
}

// resume returns the newest event that the destination has, the zero one when it has none. An
// idempotency key says nothing about the copy: it may have expired at the source since.
func (c *copying) resume(ctx context.Context) (eventstore.Recorded, error) {
	last, found, err := c.to.Newest(
		ctx, func(r eventstore.Recorded) bool { return !reserved(r.Type) && !expiring(r.Stream) },
	)
	if err != nil || !found {
		return eventstore.Recorded{}, err
	}
	there, err := c.from.ReadForward(ctx, last.Stream, last.Revision, 1)
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		return eventstore.Recorded{}, err
	}
	if len(there) != 1 || !same(there[0], last) {
		return eventstore.Recorded{}, fmt.Errorf(
			"%w: it ends with the revision %d of %s", ErrAnotherLog, last.Revision, last.Stream,
		)
	}
	return last, nil
}

// reserved reports whether a type is one of those that stores write for themselves, or of a note.
// An event of somebody else may have none.
func reserved(typ string) bool { return strings.HasPrefix(typ, "$") || strings.HasPrefix(typ, "~") }

// note lets the destination say that it is a copy, before it has anything else.
func (c *copying) note(ctx context.Context) error {
	_, noted, err := c.to.CopyNote(ctx)
	if err != nil || noted {
		return err
	}
	_, err = c.to.Append(ctx, eventstore.CopyStream, eventstore.NoStream, eventstore.Event{
		ID: uuid.New(), Type: eventstore.CopyNote, Data: []byte("{}"), Metadata: []byte("{}"),
	})
	return err
}

// append copies what comes after an event.
func (c *copying) append(ctx context.Context, done eventstore.Recorded) error {
	reached := done.Stream == ""
	err := each(ctx, c.from, func(r eventstore.Recorded) error {
		if left, err := c.skip(ctx, r); err != nil || left {
			return err
		}
		if r.Type != "$metadata" {
			c.Events++
		}
		if !reached {
			reached = same(r, done)
			return nil
		}
		if r.Type == "$metadata" {
			return errors.Join(c.flush(ctx), c.bound(ctx, r))
		}
		size := len(r.Data) + len(r.Metadata) + 2*len(r.Type)
		if len(c.batch) > 0 && (c.batch[0].Stream != r.Stream || len(c.batch) == 500 || c.size+size > batchBytes) {
			if err := c.flush(ctx); err != nil {
				return err
			}
		}
		c.batch, c.size = append(c.batch, r), c.size+size
		return nil
	})
	return errors.Join(err, c.flush(ctx))
}

// skip reports what is left out: snapshots, secrets that were removed and are only not yet swept,
// and idempotency keys whose beginning has expired.
func (c *copying) skip(ctx context.Context, r eventstore.Recorded) (bool, error) {
	name := strings.TrimPrefix(r.Stream, "$$")
	left, known := c.left[name]
	if known {
		return left, nil
	}
	category, _ := Split(name)
	switch lifetime := category.Lifetime(); {
	case strings.HasPrefix(name, "$"), lifetime == Replaced:
		left = true
	case r.Type == "$metadata":
		return false, nil // its first event will tell
	case lifetime == Expiring:
		left = r.Revision > 0
	case lifetime == Removable:
		_, err := c.from.ReadForward(ctx, name, 0, 1)
		if left = errors.Is(err, eventstore.ErrStreamDeleted); err != nil && !left {
			return false, err
		}
	default:
		return false, nil
	}
	c.left[name] = left
	return left, nil
}

func (c *copying) flush(ctx context.Context) error {
	if len(c.batch) == 0 {
		return nil
	}
	first := c.batch[0]
	events := make([]eventstore.Event, len(c.batch))
	for i, r := range c.batch {
		events[i] = eventstore.Event{ID: r.ID, Type: r.Type, Data: r.Data, Metadata: r.Metadata}
	}
	_, err := c.to.Append(ctx, first.Stream, int64(first.Revision)-1, events...) //nolint:gosec // revisions fit
	if err != nil {
		return fmt.Errorf("copy the revision %d of %s: %w", first.Revision, first.Stream, err)
	}
	c.Written += len(c.batch)
	c.batch, c.size = c.batch[:0], 0
	c.progress(c.Copied)
	return nil
}

// bound sets the bounds of a stream as a metadata event does.
func (c *copying) bound(ctx context.Context, r eventstore.Recorded) error {
	var m struct {
		MaxCount uint64 `json:"$maxCount"`
		MaxAge   int64  `json:"$maxAge"` // seconds
	}
	if err := json.Unmarshal(r.Data, &m); err != nil {
		return fmt.Errorf("read the bounds of %s: %w", r.Stream, err)
	}
	if m.MaxCount == 0 && m.MaxAge == 0 {
		return nil
	}
	return c.to.SetStreamMetadata(
		ctx, strings.TrimPrefix(r.Stream, "$$"),
		eventstore.StreamMetadata{MaxCount: m.MaxCount, MaxAge: time.Duration(m.MaxAge) * time.Second},
	)
}

func same(a, b eventstore.Recorded) bool {
	return a.Stream == b.Stream && a.Revision == b.Revision && a.ID == b.ID && a.Type == b.Type &&
		bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Metadata, b.Metadata)
}

// compare reads both logs to their ends. Idempotency keys may have expired meanwhile, so they do
// not count.
func (c *copying) compare(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	counts := func(r eventstore.Recorded) (bool, error) {
		if r.Type == "$metadata" || expiring(r.Stream) {
			return false, nil
		}
		left, err := c.skip(ctx, r)
		return !left, err
	}
	source := make(chan eventstore.Recorded, 1000)
	read := make(chan error, 1)
	go func() {
		defer close(source)
		read <- each(ctx, c.from, func(r eventstore.Recorded) error {
			if yes, err := counts(r); err != nil || !yes {
				return err
			}
			select {
			case source <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err := each(ctx, c.to, func(r eventstore.Recorded) error {
		if r.Type == "$metadata" || expiring(r.Stream) {
			return nil
		}
		if want, more := <-source; !more || !same(want, r) {
			return fmt.Errorf(
				"%w: the revision %d of %s is not what the source has there", ErrAnotherLog, r.Revision, r.Stream,
			)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r, more := <-source; more {
		return fmt.Errorf("%w: the revision %d of %s is missing", ErrAnotherLog, r.Revision, r.Stream)
	}
	return <-read
}

// expiring reports whether a stream may lose its beginning at any time.
func expiring(stream string) bool {
	category, _ := Split(stream)
	return category.Lifetime() == Expiring
}

// each hands fn what is copied of a log, in order, up to its present end.
func each(ctx context.Context, c *eventstore.Client, fn func(eventstore.Recorded) error) error {
	sub, err := c.SubscribeAll(ctx, 0, eventstore.Filter{Types: copied})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }() // it was only read
	for {
		item, err := sub.Next()
		if err != nil {
			return err
		}
		if item.CaughtUp {
			return nil
		}
		if item.Event == nil {
			continue
		}
		if err := fn(*item.Event); err != nil {
			return err
		}
	}
}
