package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	maxBatch  = 512 // requests in one commit
	queueSize = 4096
)

// second is how many ticks a second has: of 100 ns, in which created counts.
const second = int64(time.Second / (100 * time.Nanosecond))

// ticks is a time as created has it. Nanoseconds would reach from 1678 to 2262 only.
func ticks(t time.Time) int64 { return t.Unix()*second + int64(t.Nanosecond())/100 }

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

	maintenance func(context.Context, *sql.Conn) (forgotten []string, err error) // instead of all the above
	between     func(context.Context, *sql.Conn) error                           // instead, outside of a transaction

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

// writer is the one goroutine that writes. It takes whatever waits, decides each request on the
// heads as the batch leaves them, and commits all in one transaction.
type writer struct {
	store    *Store
	requests chan *request
	sweep    chan struct{} // told when a secret- stream was tombstoned
	conn     *sql.Conn
	lookup   *sql.Stmt
	insert   *sql.Stmt
	addTo    *sql.Stmt // streams: insert
	move     *sql.Stmt // streams: update
	idsFrom  *sql.Stmt
	recent   *recentIDs
	last     int64        // position of the newest event
	unsaved  atomic.Int64 // bytes that the WAL grew by since it was copied into the file, about
}

func newWriter(ctx context.Context, s *Store) (*writer, error) {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the writer: %w", err)
	}
	w := &writer{store: s, requests: make(chan *request, queueSize), sweep: make(chan struct{}, 1), conn: conn, recent: newRecentIDs(), last: int64(s.head.Load())} //nolint:gosec // positions fit
	for text, stmt := range map[string]**sql.Stmt{
		`select sid, head, tombstoned, before_rev, max_count, max_age from streams where name =
		$1`: &w.lookup,
		`insert into events (pos, sid, rev, id, type, json, created, data, meta) values ($1, $2, $3, $4, $5, $6, $7, $8,
		$9)`: &w.insert,
		`insert into streams (name, head, tombstoned, before_rev, max_count, max_age) values ($1, $2, $3, $4, $5,
		$6)`: &w.addTo,
		`update streams set head = $2, tombstoned = $3, before_rev = $4, max_count = $5, max_age = $6 where sid =
		$1`: &w.move,
		`select rev, pos, id from events where sid = $1 and rev >= $2 order by rev limit
		$3`: &w.idsFrom,
	} {
		if *stmt, err = conn.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // it closes with the connection
			return nil, fmt.Errorf("open the writer: %w", err)
		}
	}
	return w, nil
}

// run ends when the channel of requests is closed and empty.
func (w *writer) run() {
	batch := make([]*request, 0, maxBatch)
	for r := range w.requests {
		var alone *request
		if batch = append(batch[:0], r); !r.alone() {
			batch, alone = w.gather(batch)
		}
		w.carryOut(batch)
		if alone != nil {
			w.carryOut([]*request{alone})
		}
	}
	// Open statements would keep the connection, and the WAL would stay beside the file.
	for _, stmt := range []*sql.Stmt{w.lookup, w.insert, w.addTo, w.move, w.idsFrom} {
		_ = stmt.Close()
	}
	_ = w.conn.Close() // the store closes the database behind it
}

// alone is true of what shares no transaction: it must not fail with others, nor they with it.
func (r *request) alone() bool { return r.maintenance != nil || r.between != nil }

// carryOut answers a batch.
func (w *writer) carryOut(batch []*request) {
	if between := batch[0].between; between != nil {
		batch[0].reply.err = between(context.Background(), w.conn)
	} else {
		w.commit(batch)
	}
	for _, r := range batch {
		close(r.done)
	}
}

// gather adds what waits to a batch, up to a request that is carried out alone, which it returns
// apart.
func (w *writer) gather(batch []*request) ([]*request, *request) {
	for len(batch) < maxBatch {
		select {
		case more, open := <-w.requests:
			switch {
			case !open:
				return batch, nil
			case more.alone():
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
	t := &transaction{
		writer: w, changed: map[string]info{}, ids: map[[16]byte]writtenID{}, last: w.last,
		created: ticks(w.store.opts.Clock()),
	}
	var err error
	var forgotten []string
	for _, r := range batch {
		if r.maintenance != nil {
			forgotten, err = r.maintenance(ctx, w.conn)
		} else {
			r.reply, err = t.decide(ctx, r)
		}
		if err != nil {
			break
		}
	}
	if err == nil && t.last > w.last {
		err = t.saveStreams(ctx)
	}
	if err == nil {
		_, err = w.conn.ExecContext(ctx, `commit`)
		if err != nil && !isFull(err) {
			w.store.opts.Fatal(fmt.Errorf("commit: %w", err))
		}
	}
	if err != nil {
		if _, rerr := w.conn.ExecContext(ctx, `rollback`); rerr != nil &&
			!strings.Contains(rerr.Error(), "no transaction") {
			w.store.opts.Logger.Warn("roll back", slog.String("error", rerr.Error()))
		}
		fail(err)
		return
	}
	if batch[0].maintenance != nil {
		w.store.tail.clear() // what was deleted may be in it
	}
	w.store.infos.forget(forgotten)
	if t.last == w.last {
		return // nothing new
	}
	w.recent.add(t.written)
	w.store.tail.add(w.last, t.records)
	w.last = t.last
	w.unsaved.Add(t.walGrowth())
	w.store.infos.publish(t.changed)
	w.store.head.Store(uint64(w.last)) //nolint:gosec // positions are positive
	w.store.changed.broadcast()
	if t.removed {
		select {
		case w.sweep <- struct{}{}:
		default:
		}
	}
}

func isFull(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}
