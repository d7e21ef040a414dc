package embedded

import (
	"context"
	"fmt"

	"agentkey/eventstore/codec"
)

// decide carries out one request. Its error is the store's failure and ends the batch.
func (t *transaction) decide(ctx context.Context, r *request) (outcome, error) {
	i, err := t.info(ctx, r.stream)
	if err != nil {
		return outcome{}, err
	}
	refused := outcome{verdict: wrong, revision: i.head}
	if r.expected == streamExists && !i.tombstoned {
		switch there, err := t.there(ctx, r.stream, i); {
		case err != nil:
			return outcome{}, err
		case i.deleted():
			return outcome{verdict: deleted}, nil
		case !there:
			return refused, nil
		}
	}
	switch {
	case i.tombstoned:
		return outcome{verdict: deleted}, nil
	case r.kind != appending && r.expected != i.head && r.expected != anyRevision && r.expected != streamExists:
		return refused, nil
	case r.kind == deleting && i.head < 0:
		return refused, nil
	case r.kind == deleting:
		return t.softDelete(ctx, r.stream)
	case r.kind == tombstoning:
		i.tombstoned = true
		category, _ := codec.Split(r.stream)
		t.removed = t.removed || category.Lifetime() == codec.Removable
		return t.put(ctx, r.stream, i, []proposal{{typ: tombstoneType, json: true, data: []byte("{}"), id: newID()}})
	}
	switch ok, repeated, err := t.expected(ctx, r, i); {
	case err != nil:
		return outcome{}, err
	case repeated != nil:
		return *repeated, nil
	case !ok:
		return refused, nil
	case len(r.events) == 0:
		return outcome{revision: i.head}, nil
	}
	if i.deleted() {
		if i, err = t.bring(ctx, r.stream, i); err != nil {
			return outcome{}, err
		}
	}
	return t.put(ctx, r.stream, i, r.events)
}

// there is what stream_exists asks for: an event, or at least metadata.
func (t *transaction) there(ctx context.Context, name string, i info) (bool, error) {
	if i.head >= 0 {
		return true, nil
	}
	meta, err := t.info(ctx, "$$"+name)
	return meta.head >= 0, err
}

// expected is the decision table of EventStoreDB for what is left: whether an append may be
// written, or was written before. The check of an explicit revision is exact, from storage, so a
// repeated append with the same ids is always safe.
func (t *transaction) expected(ctx context.Context, r *request, i info) (ok bool, repeated *outcome, err error) {
	switch {
	case r.expected == anyRevision || r.expected == streamExists:
		ok, repeated = t.knownIDs(r, i)
		return ok, repeated, nil
	case r.expected == i.head:
		return true, nil, nil
	case r.expected > i.head || len(r.events) == 0:
		return false, nil, nil
	}
	there, err := t.idsAfter(ctx, r, i)
	if err != nil {
		return false, nil, err
	}
	n, last := 0, outcome{}
	for ; n < len(there) && there[n].id == r.events[n].id; n++ {
		last.revision, last.position = there[n].rev, uint64(there[n].pos) //nolint:gosec // positions are positive
	}
	if n == len(r.events) {
		return false, &last, nil
	}
	return n == 0 && r.expected == noStream && i.deleted(), nil, nil
}

// idsAfter returns as many events after the revision that an append expects as the append has. Only
// their revisions, positions and ids are sure to be there.
func (t *transaction) idsAfter(ctx context.Context, r *request, i info) ([]record, error) {
	rows, err := t.idsFrom.QueryContext(ctx, i.sid, r.expected+1, len(r.events))
	if err != nil {
		return nil, fmt.Errorf("compare ids: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err is read below
	var there []record
	for rows.Next() {
		var at record
		var id []byte
		if err := rows.Scan(&at.rev, &at.pos, &id); err != nil {
			return nil, fmt.Errorf("compare ids: %w", err)
		}
		copy(at.id[:], id)
		there = append(there, at)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("compare ids: %w", err)
	}
	if !archivable(r.stream) || begins(there, r.expected+1) {
		return there, nil
	}
	return t.store.withArchived(
		ctx, there, window{to: lastRevision, n: len(r.events)}, forwardPage, i.sid, r.expected+1, lastRevision, len(r.events),
	)
}

// knownIDs is the best effort for appends that name no revision: ids written lately to this stream
// are not written again, and an append whose first id is known and another is not, is wrong.
func (t *transaction) knownIDs(r *request, i info) (bool, *outcome) {
	var last writtenID
	for n, e := range r.events {
		at, known := t.ids[e.id]
		if !known {
			at, known = t.recent.find(e.id)
		}
		if !known || at.sid != i.sid {
			return n == 0, nil
		}
		last = at
	}
	if len(r.events) == 0 {
		return true, nil
	}
	return false, &outcome{revision: last.rev, position: uint64(last.pos)} //nolint:gosec // positions are positive
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
		if _, known := r.known[w.id]; known {
			continue // as on a server, the first stream that used an id keeps it
		}
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
