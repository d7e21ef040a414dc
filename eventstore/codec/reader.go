package codec

import (
	"context"
	"errors"

	"agentkey/eventstore"
)

// Reader reads a stream forward after an event of ours and verifies it: each event of ours names
// the last one of ours. What isn't ours between them is passed over. It isn't safe for concurrent
// use.
type Reader struct {
	log    *Log
	stream string
	seen   End    // where reading began
	end    End    // the last event of ours
	next   uint64 // revision
	again  bool   // the next event is the one that was seen
	doubt  *ForgedError
	passed []*ForgedError // since the last event of ours
}

// Reader returns a reader of what follows an event of ours, Begin for the whole stream. The event
// itself is read again, so that a stream which lost it is noticed.
func (l *Log) Reader(stream string, after End) *Reader {
	r := &Reader{log: l, stream: stream, seen: after, end: End{Revision: after.Revision, Link: after.Link}}
	if after.Revision >= 0 {
		r.next, r.again = uint64(after.Revision), true
	}
	return r
}

// End is the last event of ours that was read, and where the stream ended.
func (r *Reader) End() End { return r.end }

// Next returns the events of ours among the next count of the stream, and whether there may be
// more. Errors: a *ForgedError where the stream is broken, a *LostError where it lacks the event
// that reading began after, ErrUnknownEvent, and those of eventstore.Client.ReadForward.
func (r *Reader) Next(ctx context.Context, count uint64) (events []Verified, more bool, err error) {
	again := r.again
	if again {
		count++
	}
	recorded, err := r.log.Client.ReadForward(ctx, r.stream, r.next, count)
	if again && (err == nil || isGone(err)) && !r.isThere(recorded) {
		// A node that was deposed may not have it yet.
		if err := r.log.Client.Barrier(ctx); err != nil {
			return nil, false, err
		}
		if recorded, err = r.log.Client.ReadForward(ctx, r.stream, r.next, count); err == nil || isGone(err) {
			if !r.isThere(recorded) {
				return nil, false, r.lost(recorded)
			}
		}
	}
	if err != nil {
		return nil, false, err
	}
	more = uint64(len(recorded)) == count
	if n := len(recorded); n > 0 {
		r.next = recorded[n-1].Revision + 1
	}
	if again {
		recorded, r.again = recorded[1:], false
	}
	for i, c := range r.log.verifyAll(recorded) {
		v, own, err := r.take(recorded[i], c)
		if err != nil {
			return nil, false, err
		}
		if own {
			events = append(events, v)
		}
	}
	if !more && r.doubt != nil {
		r.log.found(r.doubt)
		return nil, false, r.doubt
	}
	if !more {
		r.report()
	}
	return events, more, nil
}

func isGone(err error) bool {
	return errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrStreamDeleted)
}

// isThere reports whether a page begins with the event that was seen.
func (r *Reader) isThere(recorded []eventstore.Recorded) bool {
	if len(recorded) == 0 || int64(recorded[0].Revision) != r.seen.Revision { //nolint:gosec // revisions fit
		return false
	}
	if !chained(r.stream) {
		return true
	}
	_, link, err := r.log.Keys.Verify(recorded[0])
	return err == nil && link == r.seen.Link
}

func (r *Reader) lost(recorded []eventstore.Recorded) error {
	fault := Truncated
	if len(recorded) > 0 && int64(recorded[0].Revision) == r.seen.Revision { //nolint:gosec // revisions fit
		fault = Altered
	}
	return &LostError{Stream: r.stream, Seen: End{Revision: r.seen.Revision, Link: r.seen.Link}, Fault: fault}
}

// take looks at the next event. It is one of ours at its place if own.
func (r *Reader) take(e eventstore.Recorded, c checked) (v Verified, own bool, err error) {
	forged, isForged := errors.AsType[*ForgedError](c.err)
	prev := r.log.Keys.next(r.stream, r.end)
	switch {
	case isForged:
		forged.suspect(e, prev)
	case c.err != nil:
		return Verified{}, false, c.err
	case chained(r.stream) && c.signed.Prev != prev:
		forged = strayed(e, r.end)
	default:
		event, err := Decode(e.Type, e.Data)
		if err != nil {
			return Verified{}, false, err
		}
		r.report() // this one closes the chain around them
		v = Verified{Recorded: e, Signed: c.signed, Link: c.link, Event: event}
		r.end, r.doubt = v.End(), nil
		return v, true, nil
	}
	r.end.Foreign = int64(e.Revision) - r.end.Revision //nolint:gosec // revisions fit
	settled := r.log.Settled != nil && r.log.Settled(r.stream, e.Revision)
	if r.passed = append(r.passed, forged); forged.Breaks() && r.doubt == nil && !settled {
		r.doubt = forged
	}
	return Verified{}, false, nil
}

// report hands what was passed over to the log's Found.
func (r *Reader) report() {
	for _, forged := range r.passed {
		forged.Fault = Foreign
		r.log.found(forged)
	}
	r.passed = nil
}

// ReadBack reads up to count events of ours from a known one back, newest first: the newest is the
// known one, and each that follows is the one that its successor names. What isn't ours between
// them is passed over. before is the end of the stream before the oldest of them. Errors: as Next.
func (l *Log) ReadBack(
	ctx context.Context, stream string, from End, count int,
) (events []Verified, before End, err error) {
	before = End{Revision: from.Revision, Link: from.Link}
	for len(events) < count && before.Revision >= 0 {
		page, err := l.Client.ReadBackwardFrom(ctx, stream, uint64(before.Revision), uint64(count-len(events))) //nolint:gosec // neither is below 0
		if err != nil {
			return nil, before, err
		}
		before.Revision = eventstore.NoStream // unless there is one more
		for i, c := range l.verifyAll(page) {
			before.Revision = int64(page[i].Revision) - 1 //nolint:gosec // revisions fit
			if c.err != nil || c.link != before.Link {
				if len(events) == 0 {
					return nil, before, &LostError{Stream: stream, Seen: from, Fault: Altered}
				}
				continue
			}
			v := Verified{Recorded: page[i], Signed: c.signed, Link: c.link}
			if v.Event, err = Decode(v.Type, v.Data); err != nil {
				return nil, before, err
			}
			events, before.Link = append(events, v), v.Signed.Prev
		}
	}
	if before.Revision == eventstore.NoStream && from.Revision >= 0 && before.Link != l.Keys.Beginning(stream) {
		return nil, before, &ForgedError{
			Stream: stream, Revision: events[len(events)-1].Revision, Fault: Missing,
			Reason: "the event that it names as the one before it is altered or gone",
		}
	}
	return events, before, nil
}

// Lacks returns a *LostError if a stream doesn't hold an event of ours that was seen there, and nil
// if it does.
func (l *Log) Lacks(ctx context.Context, stream string, seen End) (*LostError, error) {
	r := l.Reader(stream, seen)
	_, _, err := r.Next(ctx, 1)
	lost, isLost := errors.AsType[*LostError](err)
	_, isForged := errors.AsType[*ForgedError](err) // of what comes after it
	if isLost || isForged {
		err = nil
	}
	return lost, err
}
