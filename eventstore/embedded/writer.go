package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	maxBatch   = 512 // requests in one commit
	queueSize  = 4096
	ticksEpoch = 100 * time.Nanosecond // of created
)

// proposal is one event about to be written.
type proposal struct {
	id   [16]byte
	typ  string
	json bool
	data []byte
	meta []byte
}

// request is one append, soft delete or tombstone that waits for the writer.
type request struct {
	stream   string
	expected int64 // a revision, or one of the constants below
	events   []proposal
	kind     kind

	maintenance func(context.Context, *sql.Conn) error // instead of all the above

	reply outcome
	done  chan struct{}
}

type kind int

const (
	appending kind = iota
	deleting
	tombstoning
)

// What an append may expect instead of a revision.
const (
	noStream     int64 = -1
	anyRevision  int64 = -2
	streamExists int64 = -4
)

// outcome is what became of a request.
type outcome struct {
	verdict  verdict
	revision int64 // of its last event; with wrong, of the stream
	position uint64
	err      error // the store failed; nothing was written
}

type verdict int

const (
	written verdict = iota
	wrong
	deleted
)

// writer is the one goroutine that writes. It takes whatever waits, decides each request on the heads as the
// batch leaves them, and commits all in one transaction.
type writer struct {
	store    *Store
	requests chan *request
	sweep    chan struct{} // told when a secret- stream was tombstoned
	conn     *sql.Conn
	lookup   *sql.Stmt
	insert   *sql.Stmt
	addTo    *sql.Stmt // streams: insert
	move     *sql.Stmt // streams: update
	ids      *sql.Stmt
	recent   *recentIDs
	next     int64 // position
}

func newWriter(ctx context.Context, s *Store) (*writer, error) {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the writer: %w", err)
	}
	w := &writer{store: s, requests: make(chan *request, queueSize), sweep: make(chan struct{}, 1), conn: conn, recent: newRecentIDs(), next: int64(s.head.Load()) + 1} //nolint:gosec // positions fit
	for text, stmt := range map[string]**sql.Stmt{
		`select sid, head, tombstoned, before_rev, max_count, max_age from streams where name = $1`:                           &w.lookup,
		`insert into events (pos, sid, rev, id, type, json, created, data, meta) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`: &w.insert,
		`insert into streams (name, head, tombstoned, before_rev, max_count, max_age) values ($1, $2, $3, $4, $5, $6)`:        &w.addTo,
		`update streams set head = $2, tombstoned = $3, before_rev = $4, max_count = $5, max_age = $6 where sid = $1`:         &w.move,
		`select rev, pos, id from events where sid = $1 and rev >= $2 order by rev limit $3`:                                  &w.ids,
	} {
		if *stmt, err = conn.PrepareContext(ctx, text); err != nil {
			return nil, fmt.Errorf("open the writer: %w", err)
		}
	}
	return w, nil
}

// run ends when the channel of requests is closed and empty.
func (w *writer) run() {
	batch := make([]*request, 0, maxBatch)
	for r := range w.requests {
		var alone *request // maintenance shares no transaction: it must not fail with others, nor they with it
		if batch = append(batch[:0], r); r.maintenance == nil {
			batch, alone = w.gather(batch)
		}
		w.commit(batch)
		for _, r := range batch {
			close(r.done)
		}
		if alone != nil {
			w.commit([]*request{alone})
			close(alone.done)
		}
	}
	_ = w.conn.Close() // the store closes the database behind it
}

// gather adds what waits to a batch, up to a maintenance request, which it returns apart.
func (w *writer) gather(batch []*request) ([]*request, *request) {
	for len(batch) < maxBatch {
		select {
		case more, open := <-w.requests:
			switch {
			case !open:
				return batch, nil
			case more.maintenance != nil:
				return batch, more
			}
			batch = append(batch, more)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// commit writes a batch. Each request has its reply when it returns.
func (w *writer) commit(batch []*request) {
	ctx := context.Background()
	fail := func(err error) {
		for _, r := range batch {
			r.reply = outcome{err: err}
		}
	}
	if _, err := w.conn.ExecContext(ctx, `begin immediate`); err != nil {
		fail(err)
		return
	}
	t := &transaction{writer: w, changed: map[string]info{}, next: w.next, created: w.store.opts.Clock().UnixNano() / int64(ticksEpoch)}
	var err error
	for _, r := range batch {
		if r.maintenance != nil {
			err = r.maintenance(ctx, w.conn)
		} else {
			r.reply, err = t.decide(ctx, r)
		}
		if err != nil {
			break
		}
	}
	if err == nil && t.next > w.next {
		err = t.saveStreams(ctx)
	}
	if err == nil {
		_, err = w.conn.ExecContext(ctx, `commit`)
		if err != nil && !isFull(err) {
			w.store.opts.Fatal(fmt.Errorf("commit: %w", err))
		}
	}
	if err != nil {
		if _, rerr := w.conn.ExecContext(ctx, `rollback`); rerr != nil && !strings.Contains(rerr.Error(), "no transaction") {
			w.store.opts.Logger.Warn("roll back", slog.String("error", rerr.Error()))
		}
		fail(err)
		return
	}
	if t.next == w.next {
		return // nothing new
	}
	w.next = t.next
	w.recent.add(t.written)
	w.store.infos.publish(t.changed)
	if t.secrets {
		select {
		case w.sweep <- struct{}{}:
		default:
		}
	}
	w.store.head.Store(uint64(w.next - 1)) //nolint:gosec // positions are positive
	w.store.changed.broadcast()
}

func isFull(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}

// transaction is one batch as it is written.
type transaction struct {
	*writer
	changed map[string]info
	written []writtenID
	next    int64
	created int64
	secrets bool // a secret- stream was tombstoned
}

func (t *transaction) info(ctx context.Context, name string) (info, error) {
	if i, changed := t.changed[name]; changed {
		return i, nil
	}
	return t.store.infos.of(ctx, t.lookup, name)
}

// decide carries out one request. Its error is the store's failure and ends the batch.
func (t *transaction) decide(ctx context.Context, r *request) (outcome, error) {
	i, err := t.info(ctx, r.stream)
	if err != nil {
		return outcome{}, err
	}
	switch {
	case i.tombstoned:
		return outcome{verdict: deleted}, nil
	case r.kind == deleting:
		return t.softDelete(ctx, r, i)
	case r.kind == tombstoning:
		if !matches(r.expected, i) {
			return outcome{verdict: wrong, revision: i.head}, nil
		}
		i.tombstoned = true
		t.secrets = t.secrets || strings.HasPrefix(r.stream, "secret-")
		return t.put(ctx, r.stream, i, []proposal{{typ: tombstoneType, json: true, data: []byte("{}"), id: newID()}})
	}
	switch ok, repeated, err := t.expected(ctx, r, i); {
	case err != nil:
		return outcome{}, err
	case repeated != nil:
		return *repeated, nil
	case !ok && i.deleted() && r.expected == streamExists:
		return outcome{verdict: deleted}, nil
	case !ok:
		return outcome{verdict: wrong, revision: i.head}, nil
	}
	if len(r.events) == 0 {
		return outcome{revision: i.head}, nil
	}
	if i.deleted() {
		if i, err = t.bring(ctx, r.stream, i); err != nil {
			return outcome{}, err
		}
	}
	return t.put(ctx, r.stream, i, r.events)
}

// matches is the expectation of a delete or a tombstone.
func matches(expected int64, i info) bool {
	switch expected {
	case anyRevision:
		return true
	case streamExists:
		return i.exists()
	}
	return expected == i.head
}

// expected is the decision table of EventStoreDB: whether an append may be written, or was written before. The
// check of an explicit revision is exact, from storage, so a repeated append with the same ids is always safe.
func (t *transaction) expected(ctx context.Context, r *request, i info) (ok bool, repeated *outcome, err error) {
	switch {
	case r.expected == anyRevision || r.expected == streamExists:
		if r.expected == streamExists && !i.exists() && (i.deleted() || i.sid == 0 || i.head < 0) {
			return false, nil, nil
		}
		return t.knownIDs(r, i)
	case r.expected == i.head:
		return true, nil, nil
	case r.expected > i.head || len(r.events) == 0:
		return false, nil, nil
	}
	rows, err := t.ids.QueryContext(ctx, i.sid, r.expected+1, len(r.events))
	if err != nil {
		return false, nil, fmt.Errorf("compare ids: %w", err)
	}
	defer rows.Close() //nolint:errcheck // read to the end below
	n, last := 0, outcome{}
	for rows.Next() {
		var id []byte
		if err := rows.Scan(&last.revision, &last.position, &id); err != nil {
			return false, nil, fmt.Errorf("compare ids: %w", err)
		}
		if string(id) != string(r.events[n].id[:]) {
			break
		}
		n++
	}
	if err := rows.Err(); err != nil {
		return false, nil, fmt.Errorf("compare ids: %w", err)
	}
	if n == len(r.events) {
		return false, &last, nil
	}
	return n == 0 && r.expected == noStream && i.deleted(), nil, nil
}

// knownIDs is the best effort for appends that name no revision: ids written lately are not written again.
func (t *transaction) knownIDs(r *request, i info) (bool, *outcome, error) {
	if len(r.events) == 0 || i.sid == 0 {
		return true, nil, nil
	}
	known := 0
	var last writtenID
	for _, e := range r.events {
		at, seen := t.recent.find(e.id)
		if seen && at.sid == i.sid {
			known++
			last = at
		}
	}
	switch known {
	case 0:
		return true, nil, nil
	case len(r.events):
		return false, &outcome{revision: last.rev, position: uint64(last.pos)}, nil //nolint:gosec // positions are positive
	}
	if at, seen := t.recent.find(r.events[0].id); !seen || at.sid != i.sid {
		return true, nil, nil
	}
	return false, nil, nil
}

// put writes events at the end of a stream.
func (t *transaction) put(ctx context.Context, name string, i info, events []proposal) (outcome, error) {
	if i.sid == 0 {
		result, err := t.addTo.ExecContext(ctx, name, i.head, i.tombstoned, i.before, i.maxCount, i.maxAge)
		if err != nil {
			return outcome{}, fmt.Errorf("add stream %s: %w", name, err)
		}
		if i.sid, err = result.LastInsertId(); err != nil {
			return outcome{}, fmt.Errorf("add stream %s: %w", name, err)
		}
	}
	rev := i.head
	for _, e := range events {
		rev++
		if e.typ == tombstoneType {
			rev = softDeleted // the revision of $streamDeleted is the largest there is
		}
		if _, err := t.insert.ExecContext(ctx, t.next, i.sid, rev, e.id[:], e.typ, e.json, t.created, nonNil(e.data), nonNil(e.meta)); err != nil {
			return outcome{}, fmt.Errorf("write event %d@%s: %w", rev, name, err)
		}
		t.written = append(t.written, writtenID{id: e.id, sid: i.sid, rev: rev, pos: t.next})
		t.next++
	}
	i.head = rev
	t.changed[name] = i
	if target, isMeta := strings.CutPrefix(name, "$$"); isMeta && len(events) > 0 {
		of, err := t.info(ctx, target)
		if err != nil {
			return outcome{}, err
		}
		t.changed[target] = of.bounded(events[len(events)-1].data)
	}
	return outcome{revision: rev, position: uint64(t.next - 1)}, nil //nolint:gosec // positions are positive
}

// saveStreams brings the rows of the changed streams to what the batch left.
func (t *transaction) saveStreams(ctx context.Context) error {
	for name, i := range t.changed {
		if i.sid == 0 { // bounds were set before the first event
			result, err := t.addTo.ExecContext(ctx, name, i.head, i.tombstoned, i.before, i.maxCount, i.maxAge)
			if err != nil {
				return fmt.Errorf("add stream %s: %w", name, err)
			}
			if i.sid, err = result.LastInsertId(); err != nil {
				return fmt.Errorf("add stream %s: %w", name, err)
			}
			t.changed[name] = i
			continue
		}
		if _, err := t.move.ExecContext(ctx, i.sid, i.head, i.tombstoned, i.before, i.maxCount, i.maxAge); err != nil {
			return fmt.Errorf("move stream %s: %w", name, err)
		}
	}
	return nil
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
