package codec

import (
	"context"
	"errors"
	"fmt"

	"agentkey/eventstore"
)

// Chain verifies events as they come in the order of the whole log, or of a part of it: that each
// is ours, and follows the last one of ours in its stream. It knows the ends of the streams that it
// saw last; where it doesn't know one it asks Known, and then the log. It isn't safe for concurrent
// use.
type Chain struct {
	// Complete says that every event of the streams comes by, so that what the chain knows of a stream
	// is all there was.
	Complete bool
	// Known returns where a stream ended for the one that uses the chain, and false if that isn't
	// kept; nil: nothing is.
	Known func(ctx context.Context, stream string) (End, bool, error)

	log    *Log
	verify func(eventstore.Recorded) (Signed, Link, error)

	// The ends of streams. When the newer map is full it takes the place of the older one.
	newer, older map[string]End
}

// knownEnds is how many ends of streams a Chain keeps, or twice as many.
const knownEnds = 20_000

// NewChain returns a chain that checks the MAC of each event.
func (l *Log) NewChain() *Chain {
	return &Chain{log: l, verify: l.Keys.Verify, newer: map[string]End{}}
}

// NewWholeChain returns a chain that checks the MAC and the signature of each event.
func (l *Log) NewWholeChain() *Chain {
	return &Chain{log: l, verify: l.Keys.VerifyWhole, newer: map[string]End{}}
}

// Next verifies the next event. A *ForgedError says why it isn't one of ours at its place: it is to
// be passed over, and the log's Found was told. Other errors are those of the log, and
// ErrUnknownEvent.
func (c *Chain) Next(ctx context.Context, r eventstore.Recorded) (Verified, error) {
	if moved := c.log.Keys.hooks.Moved; moved != nil && r.Stream == SigningKeys.Stream("") {
		if err := moved(r.Revision); err != nil {
			return Verified{}, err
		}
	}
	signed, link, err := c.verify(r)
	forged, isForged := errors.AsType[*ForgedError](err)
	if err != nil && !isForged {
		return Verified{}, err
	}
	chained := chained(r.Stream)
	if chained {
		end, err := c.end(ctx, r, signed.Prev)
		if err != nil {
			return Verified{}, err
		}
		prev := c.log.Keys.next(r.Stream, end)
		switch {
		case isForged:
			forged.suspect(r, prev)
		case signed.Prev != prev:
			forged = strayed(r, end)
		}
	}
	if forged != nil {
		c.log.found(forged)
		return Verified{}, forged
	}
	v := Verified{Recorded: r, Signed: signed, Link: link}
	if v.Event, err = Decode(r.Type, r.Data); err != nil {
		return Verified{}, err
	}
	if chained {
		c.keep(r.Stream, v.End())
	}
	return v, nil
}

// end returns the last event of ours in a stream before an event that names a predecessor.
func (c *Chain) end(ctx context.Context, r eventstore.Recorded, prev Link) (End, error) {
	if r.Revision == 0 {
		return Begin, nil
	}
	before := int64(r.Revision) - 1 //nolint:gosec // revisions fit
	end, known := c.newer[r.Stream]
	if !known {
		end, known = c.older[r.Stream]
	}
	if !known && c.Known != nil {
		var err error
		if end, known, err = c.Known(ctx, r.Stream); err != nil {
			return end, err
		}
	}
	switch {
	case !known || end.Revision > before:
		return c.search(ctx, r, prev, Begin)
	case c.Complete || end.Revision == before:
		return end, nil
	}
	return c.search(ctx, r, prev, end)
}

// farthest bounds how many events a chain reads back for a predecessor.
const farthest = 4096

// search reads back from an event for the one that it names, to a known one before it. Where it
// isn't there it returns the last one of ours.
func (c *Chain) search(ctx context.Context, r eventstore.Recorded, prev Link, known End) (End, error) {
	last, found := known, false
	count := uint64(1)                                                                         // nearly always enough
	for at := int64(r.Revision) - 1; at > known.Revision && at > int64(r.Revision)-farthest; { //nolint:gosec // revisions fit
		page, err := c.log.Client.ReadBackwardFrom(ctx, r.Stream, uint64(at), count) //nolint:gosec // it isn't below 0
		category, _ := Split(r.Stream)
		switch {
		case errors.Is(err, eventstore.ErrStreamDeleted) && category.Lifetime() == Removable:
			return End{Revision: int64(r.Revision) - 1, Link: prev}, nil //nolint:gosec // it was removed since
		case errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrStreamDeleted):
			return last, nil
		case err != nil:
			return last, fmt.Errorf("read the event before %d@%s: %w", r.Revision, r.Stream, err)
		case len(page) == 0:
			return last, nil
		}
		for _, e := range page {
			at = int64(e.Revision) - 1 //nolint:gosec // revisions fit
			_, link, err := c.verify(e)
			if err != nil || at < known.Revision {
				continue
			}
			end := End{Revision: at + 1, Link: link}
			if link == prev {
				return end, nil
			}
			if !found {
				last, found = end, true
			}
		}
		count = 64
	}
	return last, nil
}

func (c *Chain) keep(stream string, end End) {
	if len(c.newer) >= knownEnds {
		c.newer, c.older = map[string]End{}, c.newer
	}
	c.newer[stream] = end
}
