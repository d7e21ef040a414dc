package embedded

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
)

const (
	tombstoneType = "$streamDeleted"
	metadataType  = "$metadata"
)

func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// softDelete hides a stream by setting its $tb beyond every revision.
func (t *transaction) softDelete(ctx context.Context, r *request, i info) (outcome, error) {
	if i.sid == 0 || i.head < 0 || !matches(r.expected, i) {
		return outcome{verdict: wrong, revision: i.head}, nil
	}
	return t.setBefore(ctx, r.stream, i, softDeleted)
}

// bring makes a soft-deleted stream visible again from its next event on.
func (t *transaction) bring(ctx context.Context, name string, i info) (info, error) {
	if _, err := t.setBefore(ctx, name, i, i.head+1); err != nil {
		return info{}, err
	}
	return t.changed[name], nil
}

// setBefore writes a $metadata event with another $tb and the bounds that there are.
func (t *transaction) setBefore(ctx context.Context, name string, i info, before int64) (outcome, error) {
	b := bounds{Before: &before}
	if i.maxCount > 0 {
		b.MaxCount = &i.maxCount
	}
	if i.maxAge > 0 {
		b.MaxAge = &i.maxAge
	}
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

// writtenID is where an event with an id was written.
type writtenID struct {
	id  [16]byte
	sid int64
	rev int64
	pos int64
}

// maxRecent bounds the ids that are known to have been written lately.
const maxRecent = 65_536

// recentIDs belongs to the writer's goroutine.
type recentIDs struct {
	known map[[16]byte]writtenID
	order [][16]byte
}

func newRecentIDs() *recentIDs { return &recentIDs{known: map[[16]byte]writtenID{}} }

func (r *recentIDs) add(ids []writtenID) {
	for _, w := range ids {
		r.known[w.id] = w
		r.order = append(r.order, w.id)
	}
	for len(r.order) > maxRecent {
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
}

func (r *recentIDs) find(id [16]byte) (writtenID, bool) {
	w, ok := r.known[id]
	return w, ok
}
