package codec

import (
	"context"
	"runtime"
	"strconv"
	"sync"

	"github.com/google/uuid"

	"agentkey/eventstore"
)

// Log is the event log with signatures: what it appends is signed, and what it reads was verified.
type Log struct {
	Client *eventstore.Client
	Keys   *Keyring
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
func (e Entry) Size() int { return len(e.data) + len(e.Signed.Private) + 700 }

// Verified is a stored event whose signature is ours.
type Verified struct {
	eventstore.Recorded
	Signed Signed
	Event  any
}

// EventID derives the id of an event from its command, so that a repeated command repeats its ids.
func EventID(commandID, stream string, index int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("agentkey.event/"+commandID+"/"+stream+"/"+strconv.Itoa(index)))
}

// Append signs the entries for the revisions after expected and appends them in one atomic write.
// On return without an error they are durable. Errors are those of eventstore.Client.Append.
func (l *Log) Append(
	ctx context.Context, stream string, expected int64, entries ...Entry,
) (eventstore.Appended, error) {
	events := make([]eventstore.Event, len(entries))
	for i, e := range entries {
		id := EventID(e.Signed.CommandID, stream, e.index)
		meta, err := l.Keys.Sign(stream, uint64(expected+1)+uint64(i), id, e.name, e.data, e.Signed) //nolint:gosec // expected is -1 or a revision
		if err != nil {
			return eventstore.Appended{}, err
		}
		events[i] = eventstore.Event{ID: id, Type: e.name, Data: e.data, Metadata: meta}
	}
	return l.Client.Append(ctx, stream, expected, events...)
}

// Write encodes and appends one event of a stream on which no aggregate decides; see Append.
func (l *Log) Write(
	ctx context.Context, stream string, expected int64, event any, signed Signed,
) (eventstore.Appended, error) {
	entry, err := NewEntry(event, signed, int(expected+1))
	if err != nil {
		return eventstore.Appended{}, err
	}
	return l.Append(ctx, stream, expected, entry)
}

// ReadForward reads up to count events of a stream from a revision on and verifies them.
func (l *Log) ReadForward(ctx context.Context, stream string, from, count uint64) ([]Verified, error) {
	recorded, err := l.Client.ReadForward(ctx, stream, from, count)
	if err != nil {
		return nil, err
	}
	return l.Verify(recorded)
}

// ReadBackward reads up to count events of a stream from its end, newest first, and verifies them.
func (l *Log) ReadBackward(ctx context.Context, stream string, count uint64) ([]Verified, error) {
	recorded, err := l.Client.ReadBackward(ctx, stream, count)
	if err != nil {
		return nil, err
	}
	return l.Verify(recorded)
}

// parallel is the number of events from which verifying them on all cores pays.
const parallel = 16

// Verify checks and decodes stored events, all or none.
func (l *Log) Verify(recorded []eventstore.Recorded) ([]Verified, error) {
	out := make([]Verified, len(recorded))
	verify := func(i int) error {
		signed, err := l.Keys.Verify(recorded[i])
		if err != nil {
			return err
		}
		event, err := Decode(recorded[i].Type, recorded[i].Data)
		if err != nil {
			return err
		}
		out[i] = Verified{Recorded: recorded[i], Signed: signed, Event: event}
		return nil
	}
	workers := 1
	if len(recorded) >= parallel {
		workers = runtime.GOMAXPROCS(0)
	}
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		work := func() {
			for i := w; i < len(recorded) && errs[w] == nil; i += workers {
				errs[w] = verify(i)
			}
		}
		if workers == 1 {
			work()
			break
		}
		wg.Go(work)
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
