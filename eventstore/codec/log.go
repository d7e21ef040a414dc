package codec

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/google/uuid"

	"agentkey/eventstore"
)

// Log is the event log with signatures: what it appends is signed, and what it reads was verified.
type Log struct {
	Client *eventstore.Client
	Keys   *Keyring

	// Found receives what isn't ours in our streams, each time that it is met. It must not block, and
	// may be nil.
	Found func(*ForgedError)

	// Settled reports whether an operator has decided that an event which may be one of ours, altered,
	// is passed over at the end of its stream; nil: nobody has. It must not block.
	Settled func(stream string, revision uint64) bool
}

func (l *Log) found(e *ForgedError) {
	if l.Found != nil {
		l.Found(e)
	}
}

// Entry is one event about to be appended, with what its metadata says.
type Entry struct {
	Signed Signed

	name  string
	data  []byte
	index int
}

// NewEntry encodes an event. index counts the events that one command appends to one stream.
func NewEntry(event any, signed Signed, index int) (Entry, error) {
	name, data, err := Encode(event)
	if err != nil {
		return Entry{}, err
	}
	signed.Schema = Schema
	return Entry{Signed: signed, name: name, data: data, index: index}, nil
}

// Size is about what the entry takes in the log, in bytes.
func (e Entry) Size() int { return len(e.data) + len(e.Signed.Private) + 850 }

// Verified is a stored event that is ours.
type Verified struct {
	eventstore.Recorded
	Signed Signed
	Link   Link
	Event  any
}

// Appended is where the last event of an append is, and its link.
type Appended struct {
	eventstore.Appended
	Link Link
}

// End is the end of the stream after the append.
func (a Appended) End() End { return End{Revision: int64(a.Revision), Link: a.Link} } //nolint:gosec // revisions fit

// EventID derives the id of an event from its command, so that a repeated command repeats its ids.
func EventID(commandID, stream string, index int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("agentkey.event/"+commandID+"/"+stream+"/"+strconv.Itoa(index)))
}

// Append signs the entries for the revisions after the end of the stream, each naming the one
// before it, and appends them in one atomic write. On return without an error they are durable.
// Errors are those of eventstore.Client.Append.
func (l *Log) Append(ctx context.Context, stream string, after End, entries ...Entry) (Appended, error) {
	events, keys := make([]eventstore.Event, len(entries)), l.Keys.set.Load()
	links, prev := chained(stream), l.Keys.next(stream, after)
	for i, e := range entries {
		id := EventID(e.Signed.CommandID, stream, e.index)
		signed := e.Signed
		signed.Prev = Link{}
		if links {
			signed.Prev = prev
		}
		meta, link, err := l.Keys.signWith(keys, stream, uint64(after.last()+1)+uint64(i), id, e.name, e.data, signed) //nolint:gosec // it is -1 or a revision
		if err != nil {
			return Appended{}, err
		}
		events[i], prev = eventstore.Event{ID: id, Type: e.name, Data: e.data, Metadata: meta}, link
	}
	appended, err := l.Client.Append(ctx, stream, after.last(), events...)
	if err == nil && l.Keys.hooks.Rely != nil {
		err = l.Keys.hooks.Rely(keys.current)
	}
	if err == nil && !l.Keys.counts(keys.current, stream, appended.Revision, prev) {
		err = fmt.Errorf(
			"%w: the signing key %s had ended before the append to %s was acknowledged", eventstore.ErrUnavailable,
			keys.current, stream,
		)
	}
	return Appended{Appended: appended, Link: prev}, err
}

// Write encodes and appends one event of a stream on which no aggregate decides; see Append.
func (l *Log) Write(ctx context.Context, stream string, after End, event any, signed Signed) (Appended, error) {
	entry, err := NewEntry(event, signed, int(after.last()+1))
	if err != nil {
		return Appended{}, err
	}
	return l.Append(ctx, stream, after, entry)
}

// ReadForward reads up to count events of a stream from a revision on and returns those that are
// ours. Whether each follows the one before it is left open; see Reader.
func (l *Log) ReadForward(ctx context.Context, stream string, from, count uint64) ([]Verified, error) {
	recorded, err := l.Client.ReadForward(ctx, stream, from, count)
	if err != nil {
		return nil, err
	}
	return l.ours(recorded)
}

// Newest reads up to count events of ours of a stream from its end, newest first, and returns where
// the stream ends; not whether each follows the one before it. Errors as
// eventstore.Client.ReadBackward.
func (l *Log) Newest(ctx context.Context, stream string, count int) (events []Verified, end End, err error) {
	end = Begin
	recorded, err := l.Client.ReadBackward(ctx, stream, uint64(count)) //nolint:gosec // it isn't below 0
	if err != nil || len(recorded) == 0 {
		return nil, end, err
	}
	last := int64(recorded[0].Revision) //nolint:gosec // revisions fit
	for {
		more, err := l.ours(recorded)
		if err != nil {
			return nil, end, err
		}
		events = append(events, more...)
		oldest := recorded[len(recorded)-1].Revision
		if len(events) >= count || oldest == 0 {
			break
		}
		if recorded, err = l.Client.ReadBackwardFrom(ctx, stream, oldest-1, uint64(count)); err != nil { //nolint:gosec // as above
			return nil, end, err
		}
		if len(recorded) == 0 {
			break // its beginning has expired
		}
	}
	if events = events[:min(len(events), count)]; len(events) > 0 {
		end = events[0].End()
	}
	end.Foreign = last - end.Revision
	return events, end, nil
}

// First returns the first event of ours of a stream. Errors as eventstore.Client.ReadForward, and
// ErrStreamNotFound if there is none.
func (l *Log) First(ctx context.Context, stream string) (Verified, error) {
	for r, more := l.Reader(stream, Begin), true; more; {
		var events []Verified
		var err error
		if events, more, err = r.Next(ctx, 1); err != nil {
			return Verified{}, err
		}
		if len(events) > 0 {
			return events[0], nil
		}
	}
	return Verified{}, eventstore.ErrStreamNotFound
}

// parallel is the number of events from which verifying them on all cores pays.
const parallel = 16

// verifyAll checks stored events, each by itself.
func (l *Log) verifyAll(recorded []eventstore.Recorded) []checked {
	for {
		set := l.Keys.set.Load()
		out := l.checkAll(recorded)
		if err := l.rely(out); err != nil {
			return slices.Repeat([]checked{{err: err}}, len(out))
		}
		if l.Keys.set.Load() == set {
			return out
		}
	}
}

// rely asks whether the keys that signed some events have ended.
func (l *Log) rely(events []checked) error {
	if l.Keys.hooks.Rely == nil {
		return nil
	}
	var asked []string
	for _, c := range events {
		if c.key == "" || slices.Contains(asked, c.key) {
			continue
		}
		if err := l.Keys.hooks.Rely(c.key); err != nil {
			return err
		}
		asked = append(asked, c.key)
	}
	return nil
}

func (l *Log) checkAll(recorded []eventstore.Recorded) []checked {
	out := make([]checked, len(recorded))
	workers := 1
	if len(recorded) >= parallel {
		workers = runtime.GOMAXPROCS(0)
	}
	var wg sync.WaitGroup
	for w := range workers {
		work := func() {
			for i := w; i < len(recorded); i += workers {
				out[i] = l.Keys.check(recorded[i], false)
			}
		}
		if workers == 1 {
			work()
			break
		}
		wg.Go(work)
	}
	wg.Wait()
	return out
}

// ours returns those of some stored events that are ours.
func (l *Log) ours(recorded []eventstore.Recorded) ([]Verified, error) {
	out := make([]Verified, 0, len(recorded))
	for i, c := range l.verifyAll(recorded) {
		if forged, isForged := errors.AsType[*ForgedError](c.err); isForged {
			l.found(forged)
			continue
		}
		if c.err != nil {
			return nil, c.err
		}
		event, err := Decode(recorded[i].Type, recorded[i].Data)
		if err != nil {
			return nil, err
		}
		out = append(out, Verified{Recorded: recorded[i], Signed: c.signed, Link: c.link, Event: event})
	}
	return out, nil
}
