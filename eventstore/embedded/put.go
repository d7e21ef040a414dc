package embedded

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

const (
	tombstoneType = "$streamDeleted"
	metadataType  = "$metadata"
)

// lastRevision is that of a tombstone: the largest there is.
const lastRevision = math.MaxInt64

// transaction is one batch as it is written.
type transaction struct {
	*writer
	changed map[string]info
	written []writtenID
	ids     map[[16]byte]writtenID // of written
	last    int64                  // position
	created int64
	removed bool // a stream was tombstoned whose bytes must go
	records []record
}

func (t *transaction) info(ctx context.Context, name string) (info, error) {
	if i, changed := t.changed[name]; changed {
		return i, nil
	}
	return t.store.infos.of(ctx, t.lookup, name)
}

// put writes events at the end of a stream.
func (t *transaction) put(ctx context.Context, name string, i info, events []proposal) (outcome, error) {
	i, err := t.add(ctx, name, i)
	if err != nil {
		return outcome{}, err
	}
	for _, e := range events {
		if i.head++; i.tombstoned {
			i.head = lastRevision
		}
		r := record{
			stream: name, rev: i.head, id: e.id, typ: e.typ, json: e.json, created: t.created, data: e.data, meta: e.meta,
		}
		r.pos = t.last + int64(r.size())
		if _, err := t.insert.ExecContext(
			ctx, r.pos, i.sid, i.head, e.id[:], e.typ, e.json, t.created, nonNil(e.data), nonNil(e.meta),
		); err != nil {
			return outcome{}, fmt.Errorf("write event %d@%s: %w", i.head, name, err)
		}
		w := writtenID{id: e.id, sid: i.sid, rev: i.head, pos: r.pos}
		t.written = append(t.written, w)
		t.ids[e.id] = w
		t.records = append(t.records, r)
		t.last = r.pos
	}
	t.changed[name] = i
	if target, isMeta := strings.CutPrefix(name, "$$"); isMeta {
		of, err := t.info(ctx, target)
		if err != nil {
			return outcome{}, err
		}
		if of, err = t.add(ctx, target, of); err != nil {
			return outcome{}, err
		}
		t.changed[target] = of.bounded(events[len(events)-1].data)
	}
	return outcome{revision: i.head, position: uint64(t.last)}, nil //nolint:gosec // positions are positive
}

// add gives a stream that is not in the database its row.
func (t *transaction) add(ctx context.Context, name string, i info) (info, error) {
	if i.sid != 0 {
		return i, nil
	}
	result, err := t.addTo.ExecContext(ctx, name, i.head, i.tombstoned, i.before, i.maxCount, i.maxAge)
	if err == nil {
		i.sid, err = result.LastInsertId()
	}
	if err != nil {
		return i, fmt.Errorf("add stream %s: %w", name, err)
	}
	return i, nil
}

// saveStreams brings the rows of the changed streams to what the batch left.
func (t *transaction) saveStreams(ctx context.Context) error {
	for name, i := range t.changed {
		if _, err := t.move.ExecContext(ctx, i.sid, i.head, i.tombstoned, i.before, i.maxCount, i.maxAge); err != nil {
			return fmt.Errorf("move stream %s: %w", name, err)
		}
	}
	return nil
}

// walGrowth is about what the batch added to the WAL: its data, the page of each stream's row and
// of its last index entry, and the last page of the events.
func (t *transaction) walGrowth() int64 {
	grown := int64(1+2*len(t.changed)) * pageBytes
	for _, r := range t.records {
		grown += int64(r.size())
	}
	return grown
}

// softDelete hides a stream by setting its $tb beyond every revision. Its other bounds are gone
// with it, as they are on a cluster.
func (t *transaction) softDelete(ctx context.Context, name string) (outcome, error) {
	before := int64(softDeleted)
	return t.setBounds(ctx, name, bounds{Before: &before})
}

// bring makes a soft-deleted stream visible again from its next event on.
func (t *transaction) bring(ctx context.Context, name string, i info) (info, error) {
	before := i.head + 1
	b := bounds{Before: &before}
	if i.maxCount > 0 {
		b.MaxCount = &i.maxCount
	}
	if i.maxAge > 0 {
		b.MaxAge = &i.maxAge
	}
	_, err := t.setBounds(ctx, name, b)
	return t.changed[name], err
}

func (t *transaction) setBounds(ctx context.Context, name string, b bounds) (outcome, error) {
	data, err := json.Marshal(b)
	if err != nil {
		return outcome{}, fmt.Errorf("hide stream %s: %w", name, err)
	}
	meta, err := t.info(ctx, "$$"+name)
	if err != nil {
		return outcome{}, err
	}
	return t.put(ctx, "$$"+name, meta, []proposal{{typ: metadataType, json: true, data: data, id: newID()}})
}

func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
