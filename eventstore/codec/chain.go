package codec

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"agentkey/audit/formats"
	"agentkey/eventstore"
)

// Link is the SHA-256 of what is signed of an event. The event after it in the stream names it, so
// a link stands for the whole history of the stream up to its event.
type Link [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler: base64url without padding.
func (l Link) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, l[:]), nil
}

func (l Link) String() string { return base64.RawURLEncoding.EncodeToString(l[:]) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Link) UnmarshalText(text []byte) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil || len(raw) != len(l) {
		return fmt.Errorf("a link has %d bytes in base64url", len(l))
	}
	copy(l[:], raw)
	return nil
}

// End is the last event of ours in a stream, after which something is appended or read on.
type End struct {
	Revision int64 // eventstore.NoStream: there is none, and the link is not looked at
	Link     Link

	// Foreign is how many revisions after it events have that aren't ours: the next event of ours
	// follows behind them, and names the last one of ours.
	Foreign int64
}

// Begin is the end of a stream without an event.
var Begin = End{Revision: eventstore.NoStream}

// last is the revision of the stream's last event, ours or not.
func (e End) last() int64 { return e.Revision + e.Foreign }

// next is the link that the next event of ours names.
func (k *Keyring) next(stream string, e End) Link {
	if e.Revision == eventstore.NoStream {
		return k.Beginning(stream)
	}
	return e.Link
}

// Beginning is what the first event of a stream names.
func (k *Keyring) Beginning(stream string) Link {
	return formats.Beginning(k.storeID, stream)
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

// Guarded reports whether credentials are vended on what streams of the category say. Where such a
// stream ended is kept outside of the log too, so that it can't lose its end unnoticed.
func (c Category) Guarded() bool {
	switch c { //nolint:exhaustive // the others aren't
	case Installation, Organizations, Agents, Catalogs:
		return true
	}
	return false
}

// End is the event as the one after which another comes.
func (v Verified) End() End { return End{Revision: int64(v.Revision), Link: v.Link} } //nolint:gosec // revisions fit
