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
	events := make([]eventstore.Event, len(entries))
	links, prev := chained(stream), after.Link
	if after.Revision == eventstore.NoStream {
		prev = l.Keys.Beginning(stream)
	}
	for i, e := range entries {
		id := EventID(e.Signed.CommandID, stream, e.index)
		signed := e.Signed
		signed.Prev = Link{}
		if links {
			signed.Prev = prev
		}
		meta, link, err := l.Keys.Sign(stream, uint64(after.Revision+1)+uint64(i), id, e.name, e.data, signed) //nolint:gosec // it is -1 or a revision
		if err != nil {
			return Appended{}, err
		}
		events[i], prev = eventstore.Event{ID: id, Type: e.name, Data: e.data, Metadata: meta}, link
	}
	appended, err := l.Client.Append(ctx, stream, after.Revision, events...)
	return Appended{Appended: appended, Link: prev}, err
}

// Write encodes and appends one event of a stream on which no aggregate decides; see Append.
func (l *Log) Write(ctx context.Context, stream string, after End, event any, signed Signed) (Appended, error) {
	entry, err := NewEntry(event, signed, int(after.Revision+1))
	if err != nil {
		return Appended{}, err
	}
	return l.Append(ctx, stream, after, entry)
}

// ReadForward reads up to count events of a stream from a revision on and verifies them. Whether
// the first one follows what is before it is left open; see ReadOn.
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

// Verify checks and decodes stored events, all or none: that each is ours, and that neighbours in a
// stream follow each other.
func (l *Log) Verify(recorded []eventstore.Recorded) ([]Verified, error) {
	out := make([]Verified, len(recorded))
	verify := func(i int) error {
		signed, link, err := l.Keys.Verify(recorded[i])
		if err != nil {
			return err
		}
		event, err := Decode(recorded[i].Type, recorded[i].Data)
		if err != nil {
			return err
		}
		out[i] = Verified{Recorded: recorded[i], Signed: signed, Link: link, Event: event}
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
	if err := joined(out); err != nil {
		return nil, err
	}
	return out, nil
}
