package codec

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"agentkey/eventstore"
	"agentkey/eventstore/pae"
)

// Link is the SHA-256 of what is signed of an event. The event after it in the stream names it, so
// a link stands for the whole history of the stream up to its event.
type Link [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler: base64url without padding.
func (l Link) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, l[:]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Link) UnmarshalText(text []byte) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil || len(raw) != len(l) {
		return fmt.Errorf("a link has %d bytes in base64url", len(l))
	}
	copy(l[:], raw)
	return nil
}

// End is an event of a stream after which something is appended or read on.
type End struct {
	Revision int64 // eventstore.NoStream: the stream's beginning, whose link is not looked at
	Link     Link
}

// Begin is the end of a stream without an event.
var Begin = End{Revision: eventstore.NoStream}

// Beginning is what the first event of a stream names.
func (k *Keyring) Beginning(stream string) Link {
	return sha256.Sum256(pae.Encode([]byte(streamFormat), []byte(k.storeID), []byte(stream)))
}

// Chained reports whether each event of a stream of the category names the one before it. Streams
// that the store cuts at their beginning aren't chained: an idempotency key expires, and a snapshot
// replaces the one before it. A removed secret loses its stream as a whole.
func (c Category) Chained() bool {
	return c.Lifetime() != Expiring && c.Lifetime() != Replaced
}

func chained(stream string) bool {
	category, _ := Split(stream)
	return category.Chained()
}

// follows checks that an event names the one before it.
func (v Verified) follows(before Link) error {
	if v.Signed.Prev == before {
		return nil
	}
	return &ForgedError{
		Stream: v.Stream, Revision: v.Revision,
		Reason: "it names another event before it than the one that is there, as in another history of the stream",
	}
}

// joined checks each pair of neighbours, in either order: the younger one must name the older.
func joined(events []Verified) error {
	for i := 1; i < len(events); i++ {
		older, younger := events[i-1], events[i]
		if older.Revision > younger.Revision {
			older, younger = younger, older
		}
		if older.Stream != younger.Stream || older.Revision+1 != younger.Revision || !chained(older.Stream) {
			continue
		}
		if err := younger.follows(older.Link); err != nil {
			return err
		}
	}
	return nil
}

// End is the event as the one after which another comes.
func (v Verified) End() End { return End{Revision: int64(v.Revision), Link: v.Link} } //nolint:gosec // revisions fit

// Before is the end of the stream before the event.
func (v Verified) Before() End { return End{Revision: int64(v.Revision) - 1, Link: v.Signed.Prev} } //nolint:gosec // as above

// ReadOn reads up to count events of a stream after an event and verifies them: that they are ours,
// and that each follows the one before it, the first one the given event.
func (l *Log) ReadOn(ctx context.Context, stream string, after End, count uint64) ([]Verified, error) {
	events, err := l.ReadForward(ctx, stream, uint64(after.Revision+1), count) //nolint:gosec // never below -1
	if err != nil || len(events) == 0 || after.Revision == eventstore.NoStream || !chained(stream) {
		return events, err
	}
	if err := events[0].follows(after.Link); err != nil {
		return nil, err
	}
	return events, nil
}

// ReadBack reads up to count events of a stream from a known one back, newest first, and verifies
// them: the newest is the known one, and each that follows is the one that its successor names.
func (l *Log) ReadBack(ctx context.Context, stream string, from End, count uint64) ([]Verified, error) {
	if from.Revision < 0 {
		return nil, nil
	}
	recorded, err := l.Client.ReadBackwardFrom(ctx, stream, uint64(from.Revision), count)
	if err != nil {
		return nil, err
	}
	events, err := l.Verify(recorded)
	if err != nil || len(events) == 0 || !chained(stream) {
		return events, err
	}
	if first := events[0]; first.End() != from {
		return nil, &ForgedError{
			Stream: stream, Revision: first.Revision, Reason: "another event was there when the stream was read before",
		}
	}
	return events, nil
}

// Chain verifies events as they come in the order of the whole log, or of a part of it: that each
// is ours, and follows the one before it in its stream. It knows the ends of the streams that it
// saw last; where it doesn't know one it reads the event before. It isn't safe for concurrent use.
type Chain struct {
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

// Next verifies the next event. A *ForgedError says why not; the chain may then continue with the
// event after it.
func (c *Chain) Next(ctx context.Context, r eventstore.Recorded) (Verified, error) {
	signed, link, err := c.verify(r)
	if err != nil {
		return Verified{}, err
	}
	v := Verified{Recorded: r, Signed: signed, Link: link}
	if v.Event, err = Decode(r.Type, r.Data); err != nil {
		return Verified{}, err
	}
	if !chained(r.Stream) {
		return v, nil
	}
	if r.Revision > 0 {
		if err := c.follows(ctx, v); err != nil {
			return Verified{}, err
		}
	}
	c.keep(r.Stream, v.End())
	return v, nil
}

func (c *Chain) follows(ctx context.Context, v Verified) error {
	end, known := c.newer[v.Stream]
	if !known {
		end, known = c.older[v.Stream]
	}
	if known && end.Revision == v.Before().Revision {
		return v.follows(end.Link)
	}
	before, err := c.log.Client.ReadForward(ctx, v.Stream, v.Revision-1, 1)
	category, _ := Split(v.Stream)
	switch {
	case errors.Is(err, eventstore.ErrStreamDeleted) && category.Lifetime() == Removable:
		return nil // it was removed since
	case err != nil && !errors.Is(err, eventstore.ErrStreamNotFound):
		return fmt.Errorf("read the event before %d@%s: %w", v.Revision, v.Stream, err)
	case len(before) == 0 || before[0].Revision+1 != v.Revision:
		return &ForgedError{Stream: v.Stream, Revision: v.Revision, Reason: "the event before it is gone"}
	}
	_, link, err := c.verify(before[0])
	if err != nil {
		return err
	}
	return v.follows(link)
}

func (c *Chain) keep(stream string, end End) {
	if len(c.newer) >= knownEnds {
		c.newer, c.older = map[string]End{}, c.newer
	}
	c.newer[stream] = end
}
