package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"agentkey/eventstore/spans"
)

// What an append may expect instead of a revision.
const (
	NoStream int64 = -1 // the stream has no event
	Any      int64 = -2 // whatever; only for streams on which nothing is decided
)

// maxAppendBytes is the server's limit on data, metadata and twice the types of one append.
const maxAppendBytes = 1 << 20

// Event is an event about to be written. ID must be set, and be the same when the append is
// repeated.
type Event struct {
	ID       uuid.UUID
	Type     string
	Data     []byte
	Metadata []byte
}

// Recorded is a stored event.
type Recorded struct {
	Stream   string
	Revision uint64
	Position uint64 // in the whole log; valid for this store only
	ID       uuid.UUID
	Type     string
	Data     []byte
	Metadata []byte
	Created  time.Time // by the store's own clock
}

// Appended is where the last event of an append is, and the Generation of the client whose
// connection said so.
type Appended struct{ Revision, Position, Connection uint64 }

// StreamMetadata bounds what a stream keeps. Zero fields set no bound.
type StreamMetadata struct {
	MaxCount uint64
	MaxAge   time.Duration // in whole seconds
}

// Append writes all events or none at the expected revision. When it returns without an error they
// are durable. While the outcome is unknown it repeats the identical append until the context ends,
// or for a few attempts when it has no end: the same ids at the same revision are written once.
// Errors: ErrWrongRevision, ErrStreamDeleted, ErrTooLarge, ErrUnavailable, ErrRefused.
func (c *Client) Append(ctx context.Context, stream string, expected int64, events ...Event) (_ Appended, err error) {
	data, err := proposed(stream, events)
	if err != nil {
		return Appended{}, err
	}
	ctx, span := spans.Call(ctx, "append", category(stream), len(events))
	defer func() { spans.End(span, classOf(err)) }()
	opts := esdb.AppendToStreamOptions{ExpectedRevision: revisionOf(expected)}
	connection, again := uint64(0), false
	result, err := retry(ctx, c, func() (*esdb.WriteResult, error) {
		if again {
			// A read settles which connection comes after the one that failed, before the append goes
			// through it.
			if _, err := c.Head(ctx); errors.Is(err, ErrUnavailable) {
				return nil, err
			}
		}
		connection, again = c.Generation(), true
		return call(ctx, c, func(ctx context.Context, l *link) (*esdb.WriteResult, error) {
			return l.inner.AppendToStream(ctx, stream, opts, data...)
		})
	})
	if err != nil {
		return Appended{}, err
	}
	return Appended{Revision: result.NextExpectedVersion, Position: result.CommitPosition, Connection: connection}, nil
}

// category is the kind of a stream.
func category(stream string) string {
	name, _, _ := strings.Cut(stream, "-")
	return name
}

func proposed(stream string, events []Event) ([]esdb.EventData, error) {
	if stream == "" || strings.HasPrefix(stream, "$") {
		return nil, fmt.Errorf("append to %q: the name is reserved", stream)
	}
	size := 0
	data := make([]esdb.EventData, len(events))
	for i, e := range events {
		if e.ID == uuid.Nil || e.Type == "" || strings.HasPrefix(e.Type, "$") {
			return nil, fmt.Errorf("append to %s: event %d needs an id and a type of its own", stream, i)
		}
		size += len(e.Data) + len(e.Metadata) + 2*len(e.Type)
		data[i] = esdb.EventData{
			EventID: e.ID, EventType: e.Type, ContentType: esdb.ContentTypeJson, Data: e.Data, Metadata: e.Metadata,
		}
	}
	if size > maxAppendBytes {
		return nil, fmt.Errorf("%w: %d bytes to %s, at most %d", ErrTooLarge, size, stream, maxAppendBytes)
	}
	return data, nil
}

func revisionOf(expected int64) esdb.ExpectedRevision {
	switch {
	case expected == NoStream:
		return esdb.NoStream{}
	case expected < 0:
		return esdb.Any{}
	}
	return esdb.Revision(uint64(expected))
}

// patience is for how many attempts' time a call whose context has no end is repeated.
const patience = 3

// retry repeats what failed for want of the log until the context ends. A full disk is not waited
// for.
func retry[T any](ctx context.Context, c *Client, fn func() (T, error)) (T, error) {
	if _, ends := ctx.Deadline(); !ends {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience*c.timeout)
		defer cancel()
	}
	backoff := Backoff{Min: 10 * time.Millisecond, Max: 500 * time.Millisecond}
	for {
		value, err := fn()
		if err == nil || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrDiskFull) || ctx.Err() != nil {
			return value, err
		}
		if !Pause(ctx, backoff.Next()) {
			return value, err
		}
	}
}

// ReadForward returns up to count events from a revision on, oldest first; none when the stream
// ends before it. Errors: ErrStreamNotFound, ErrStreamDeleted, ErrUnavailable, ErrRefused.
func (c *Client) ReadForward(ctx context.Context, stream string, from, count uint64) ([]Recorded, error) {
	return c.read(ctx, stream, esdb.ReadStreamOptions{Direction: esdb.Forwards, From: esdb.Revision(from)}, count)
}

// ReadBackward returns up to count events from the stream's end, newest first. Errors as
// ReadForward.
func (c *Client) ReadBackward(ctx context.Context, stream string, count uint64) ([]Recorded, error) {
	return c.read(ctx, stream, esdb.ReadStreamOptions{Direction: esdb.Backwards, From: esdb.End{}}, count)
}

// ReadBackwardFrom returns up to count events from a revision back, newest first. Errors as
// ReadForward.
func (c *Client) ReadBackwardFrom(ctx context.Context, stream string, from, count uint64) ([]Recorded, error) {
	return c.read(ctx, stream, esdb.ReadStreamOptions{Direction: esdb.Backwards, From: esdb.Revision(from)}, count)
}

func (c *Client) read(
	ctx context.Context, stream string, opts esdb.ReadStreamOptions, count uint64,
) (_ []Recorded, err error) {
	ctx, span := spans.Call(ctx, "read", category(stream), 1)
	defer func() { spans.End(span, classOf(err)) }()
	return call(ctx, c, func(ctx context.Context, l *link) ([]Recorded, error) {
		s, err := l.inner.ReadStream(ctx, stream, opts, count)
		if err != nil {
			return nil, err
		}
		return drain(s)
	})
}

func drain(s *esdb.ReadStream) ([]Recorded, error) {
	defer s.Close()
	var out []Recorded
	for {
		e, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, recordedOf(e.OriginalEvent()))
	}
}

func recordedOf(e *esdb.RecordedEvent) Recorded {
	return Recorded{
		Stream: e.StreamID, Revision: e.EventNumber, Position: e.Position.Commit, ID: e.EventID, Type: e.EventType,
		Data: e.Data, Metadata: e.UserMetadata, Created: e.CreatedDate,
	}
}

// Head returns the position of the newest event of the whole log, 0 when there is none.
func (c *Client) Head(ctx context.Context) (uint64, error) {
	events, err := c.readAll(ctx, esdb.ReadAllOptions{Direction: esdb.Backwards, From: esdb.End{}}, 1)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	return events[0].Position, nil
}

// Newest returns the newest event of the log that is wanted, and false when there is none.
func (c *Client) Newest(ctx context.Context, wanted func(Recorded) bool) (Recorded, bool, error) {
	opts := esdb.ReadAllOptions{Direction: esdb.Backwards, From: esdb.End{}}
	for {
		events, err := c.readAll(ctx, opts, 256)
		if err != nil {
			return Recorded{}, false, err
		}
		for _, e := range events {
			if wanted(e) {
				return e, true, nil
			}
		}
		if len(events) < 256 {
			return Recorded{}, false, nil
		}
		last := events[len(events)-1].Position
		opts.From = esdb.Position{Commit: last, Prepare: last}
	}
}

// First returns the oldest event of the log that is not the store's own. Its Created tells a log
// from a copy.
func (c *Client) First(ctx context.Context) (Recorded, bool, error) {
	for after, more := uint64(0), true; more; {
		var events []Recorded
		var err error
		if events, more, err = c.ReadAfter(ctx, after, 256); err != nil {
			return Recorded{}, false, err
		}
		for _, e := range events {
			if after = e.Position; !strings.HasPrefix(e.Type, "$") {
				return e, true, nil
			}
		}
	}
	return Recorded{}, false, nil
}

// ReadAfter returns up to count events of the whole log after a position, 0 for all of it, oldest
// first, and whether there may be more. Errors: ErrUnavailable, ErrRefused.
func (c *Client) ReadAfter(ctx context.Context, position, count uint64) (_ []Recorded, more bool, err error) {
	opts := esdb.ReadAllOptions{Direction: esdb.Forwards, From: esdb.Start{}}
	if position > 0 {
		opts.From = esdb.Position{Commit: position, Prepare: position}
	}
	events, err := c.readAll(ctx, opts, count+1)
	if err != nil {
		return nil, false, err
	}
	more = uint64(len(events)) > count
	if len(events) > 0 && events[0].Position <= position { // the server reads from it on, inclusively
		events = events[1:]
	}
	return events[:min(uint64(len(events)), count)], more, nil
}

// ReadAt returns up to count events of the whole log from the position of an event on, that one
// included, oldest first. Errors: ErrUnavailable, ErrRefused.
func (c *Client) ReadAt(ctx context.Context, position, count uint64) ([]Recorded, error) {
	from := esdb.Position{Commit: position, Prepare: position}
	return c.readAll(ctx, esdb.ReadAllOptions{Direction: esdb.Forwards, From: from}, count)
}

func (c *Client) readAll(ctx context.Context, opts esdb.ReadAllOptions, count uint64) ([]Recorded, error) {
	return call(ctx, c, func(ctx context.Context, l *link) ([]Recorded, error) {
		s, err := l.inner.ReadAll(ctx, opts, count)
		if err != nil {
			return nil, err
		}
		return drain(s)
	})
}

// Tombstone removes a stream for good. A stream that is already gone, or never existed, isn't an
// error.
func (c *Client) Tombstone(ctx context.Context, stream string) error {
	return c.tombstone(ctx, stream, esdb.StreamExists{})
}

// Bar tombstones a stream that may never have existed, so that it can't begin any more.
func (c *Client) Bar(ctx context.Context, stream string) error {
	return c.tombstone(ctx, stream, esdb.Any{})
}

func (c *Client) tombstone(ctx context.Context, stream string, expected esdb.ExpectedRevision) error {
	_, err := retry(ctx, c, func() (*esdb.DeleteResult, error) {
		return call(ctx, c, func(ctx context.Context, l *link) (*esdb.DeleteResult, error) {
			return l.inner.TombstoneStream(ctx, stream, esdb.TombstoneStreamOptions{ExpectedRevision: expected})
		})
	})
	if errors.Is(err, ErrStreamDeleted) || errors.Is(err, ErrWrongRevision) || errors.Is(err, ErrStreamNotFound) {
		return nil
	}
	return err
}

// SetStreamMetadata replaces the bounds of a stream.
func (c *Client) SetStreamMetadata(ctx context.Context, stream string, m StreamMetadata) error {
	var meta esdb.StreamMetadata
	if m.MaxCount > 0 {
		meta.SetMaxCount(m.MaxCount)
	}
	if m.MaxAge > 0 {
		meta.SetMaxAge(m.MaxAge)
	}
	_, err := retry(ctx, c, func() (*esdb.WriteResult, error) {
		return call(ctx, c, func(ctx context.Context, l *link) (*esdb.WriteResult, error) {
			return l.inner.SetStreamMetadata(
				ctx, stream, esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}}, meta,
			)
		})
	})
	return err
}
