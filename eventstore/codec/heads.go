package codec

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"agentkey/eventstore"
)

// Heads are the last events that a signing key signed in each stream before it ended. They bound
// what the key counts for. A row has a fixed size, so a million streams take 56 MB in memory.
type Heads struct{ rows []byte }

const (
	nameSize = 16 // of the SHA-256 of the stream's name
	rowSize  = nameSize + 8 + sha256.Size

	rowsInPart = 10_000
)

// NewHeads returns the heads of some rows, as a HeadsPass makes them.
func NewHeads(rows []byte) (*Heads, error) {
	sorted := len(rows)%rowSize == 0
	for i := rowSize; sorted && i < len(rows); i += rowSize {
		sorted = bytes.Compare(rows[i-rowSize:i-rowSize+nameSize], rows[i:i+nameSize]) < 0
	}
	if !sorted {
		return nil, errors.New("the heads of a signing key are not sorted rows")
	}
	return &Heads{rows: rows}, nil
}

// Cover reports whether an event that the key signed was in the log when it ended. Of an event
// before the last one, the chain of its stream says whether it is the one that was there.
func (h *Heads) Cover(stream string, revision uint64, link Link) bool {
	name := nameOf(stream)
	i := sort.Search(len(h.rows)/rowSize, func(i int) bool {
		return bytes.Compare(h.rows[i*rowSize:i*rowSize+nameSize], name[:]) >= 0
	}) * rowSize
	if i >= len(h.rows) || !bytes.Equal(h.rows[i:i+nameSize], name[:]) {
		return false
	}
	row := h.rows[i+nameSize : i+rowSize]
	last := binary.BigEndian.Uint64(row)
	return revision < last || revision == last && bytes.Equal(row[8:], link[:])
}

func nameOf(stream string) (out [nameSize]byte) {
	sum := sha256.Sum256([]byte(stream))
	copy(out[:], sum[:])
	return out
}

// HeadsDigest names some rows.
func HeadsDigest(rows []byte) string {
	sum := sha256.Sum256(rows)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// HeadsParts returns the events that keep some rows, in order.
func HeadsParts(rows []byte) []SigningKeyHeads {
	var parts []SigningKeyHeads
	for part := range slices.Chunk(rows, rowsInPart*rowSize) {
		parts = append(parts, SigningKeyHeads{Rows: part})
	}
	return parts
}

// ReadHeads reads the rows that an ended key's event names by their digest and their number. What
// others wrote behind them isn't read.
func ReadHeads(ctx context.Context, c *eventstore.Client, id, digest string, streams int) (*Heads, error) {
	var rows []byte
	for from, more := uint64(0), true; more && len(rows) < streams*rowSize; {
		page, err := c.ReadForward(ctx, HeadsOfKeys.Stream(id), from, 4) // of 750 KB each
		if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
			return nil, fmt.Errorf("read the heads of a signing key: %w", err)
		}
		for _, e := range page {
			event, err := Decode(e.Type, e.Data)
			from = e.Revision + 1
			if part, ok := event.(SigningKeyHeads); ok && err == nil && len(rows) < streams*rowSize {
				rows = append(rows, part.Rows...)
			}
		}
		more = len(page) > 0
	}
	if HeadsDigest(rows) != digest {
		return nil, fmt.Errorf("the stream %s doesn't hold what was written to it", HeadsOfKeys.Stream(id))
	}
	return NewHeads(rows)
}

// HeadsPass reads the whole log and finds the last event that a key signed in each stream: what
// verifies before the key ends verifies after it. It isn't safe for concurrent use.
type HeadsPass struct {
	log      *Log
	keys     *Keyring // as they were when the pass began
	keyID    string
	position uint64
	latest   time.Time
	rows     map[[nameSize]byte][rowSize]byte
}

// NewHeadsPass returns a pass for a key that has not ended.
func (l *Log) NewHeadsPass(keyID string) *HeadsPass {
	keys := newKeyring(l.Keys.StoreID(), l.Keys.set.Load())
	return &HeadsPass{log: l, keys: keys, keyID: keyID, rows: map[[nameSize]byte][rowSize]byte{}}
}

// Advance reads on to a position of the log without the event there, or to its present end if that
// is before it.
func (p *HeadsPass) Advance(ctx context.Context, until uint64) error {
	if err := p.log.Client.Barrier(ctx); err != nil { // a node that was deposed may lack what was appended
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signed := Pattern(func(c Category) bool { return c != Snapshots })
	sub, err := p.log.Client.SubscribeAll(ctx, p.position, eventstore.Filter{Streams: signed})
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer func() { _ = sub.Close() }() // it was only read
	for {
		item, err := sub.Next()
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if item.CaughtUp || item.Event != nil && item.Event.Position >= until {
			return nil
		}
		if item.Event == nil {
			continue
		}
		if err := p.take(*item.Event); err != nil {
			return err
		}
		p.position = item.Event.Position
	}
}

func (p *HeadsPass) take(r eventstore.Recorded) error {
	c := p.keys.check(r, false)
	if _, isForged := errors.AsType[*ForgedError](c.err); isForged || c.err == nil && c.key != p.keyID {
		return nil
	}
	if c.err != nil {
		return c.err
	}
	if p.latest.Before(c.signed.Time) {
		p.latest = c.signed.Time
	}
	row, name := [rowSize]byte{}, nameOf(r.Stream)
	binary.BigEndian.AppendUint64(append(row[:0], name[:]...), r.Revision)
	copy(row[nameSize+8:], c.link[:])
	p.rows[name] = row
	return nil
}

// Latest is the time of the latest event that the key signed.
func (p *HeadsPass) Latest() time.Time { return p.latest }

// Rows returns what was found, to be kept with HeadsParts.
func (p *HeadsPass) Rows() []byte {
	out := make([]byte, 0, len(p.rows)*rowSize)
	for _, name := range slices.SortedFunc(maps.Keys(p.rows), func(a, b [nameSize]byte) int {
		return bytes.Compare(a[:], b[:])
	}) {
		row := p.rows[name]
		out = append(out, row[:]...)
	}
	return out
}

// HeadsCount is the number of rows.
func HeadsCount(rows []byte) int { return len(rows) / rowSize }
