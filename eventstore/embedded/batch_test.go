package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/eventstore/eventstoretest/wait"
)

// held is a store whose clock stops the writer inside its first commit until it is let go.
type held struct {
	*Store
	inside, release chan struct{}
}

func hold(t *testing.T) *held {
	t.Helper()
	h := &held{inside: make(chan struct{}), release: make(chan struct{})}
	var once sync.Once
	store, err := Open(Options{Dir: t.TempDir(), Clock: func() time.Time {
		once.Do(func() {
			close(h.inside)
			<-h.release
		})
		return time.Now()
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.Store = store
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func appendTo(name string, expected int64) *request {
	return &request{
		stream: name, expected: expected, done: make(chan struct{}),
		events: []proposal{{id: uuid.New(), typ: "happened", json: true, data: []byte("{}")}},
	}
}

// until waits until so many requests queue after the one that is held.
func (h *held) until(t *testing.T, n int) {
	t.Helper()
	wait.Until(t, fmt.Sprintf("%d requests wait", n), func() bool { return len(h.writer.requests) >= n })
}

func TestWhatWaitsIsCommittedTogether(t *testing.T) {
	h := hold(t)
	const waiting = 100
	requests := []*request{appendTo("first", noStream)}
	for n := range waiting { // a chain, a race and a lone one in each five
		requests = append(requests, appendTo(fmt.Sprintf("s-%d", n/5), int64(n%5)-1))
	}
	var wg sync.WaitGroup
	for n, r := range requests {
		wg.Go(func() {
			if err := h.submit(t.Context(), r); err != nil || r.reply.err != nil || r.reply.verdict != written {
				t.Errorf("request %d: %v %+v", n, err, r.reply)
			}
		})
		if n == 0 {
			<-h.inside
		} else {
			h.until(t, n)
		}
	}
	h.until(t, waiting)
	close(h.release)
	wg.Wait()
	var commits, events int
	if err := h.reads.QueryRowContext(
		t.Context(), `select count(distinct created), count(*) from events`,
	).Scan(&commits, &events); err != nil {
		t.Fatal(err)
	}
	if commits != 2 || events != waiting+1 {
		t.Errorf("%d events in %d commits", events, commits)
	}
}

// TestARepeatBesideItsFirstIsWrittenOnce commits an append and its repetition together, as happens
// when an answer took too long.
func TestARepeatBesideItsFirstIsWrittenOnce(t *testing.T) {
	h := hold(t)
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.submit(t.Context(), appendTo("s", noStream)) })
	<-h.inside
	once := appendTo("s", anyRevision)
	repeats := make([]request, 3)
	for n := range repeats {
		again := &repeats[n]
		*again = *once
		again.done = make(chan struct{})
		wg.Go(func() {
			if err := h.submit(t.Context(), again); err != nil || again.reply.err != nil || again.reply.revision != 1 {
				t.Errorf("got %v %+v", err, again.reply)
			}
		})
		h.until(t, n+1)
	}
	close(h.release)
	wg.Wait()
	for _, again := range repeats {
		if again.reply.position != h.Head() {
			t.Errorf("written at %d, and the head is %d", again.reply.position, h.Head())
		}
	}
	var events int
	if err := h.reads.QueryRowContext(t.Context(), `select count(*) from events`).Scan(&events); err != nil ||
		events != 2 {
		t.Errorf("%d events: %v", events, err)
	}
}

func TestACallerThatLeavesCancelsNoOther(t *testing.T) {
	h := hold(t)
	first, leaving, staying := appendTo("s", noStream), appendTo("s", 0), appendTo("s", 1)
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.submit(t.Context(), first) })
	<-h.inside
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if err := h.submit(ctx, leaving); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	h.until(t, 1)
	wg.Go(func() {
		if err := h.submit(t.Context(), staying); err != nil || staying.reply.revision != 2 {
			t.Errorf("got %v %+v", err, staying.reply)
		}
	})
	h.until(t, 2)
	cancel()
	h.until(t, 2)
	close(h.release)
	wg.Wait()
}

func TestAFullQueueIsSaidAndNotWaitedFor(t *testing.T) {
	h := hold(t)
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.submit(t.Context(), appendTo("s", noStream)) })
	<-h.inside
	for range queueSize {
		h.writer.requests <- &request{stream: "s", expected: anyRevision, done: make(chan struct{})}
	}
	if err := h.submit(t.Context(), appendTo("s", anyRevision)); !errors.Is(err, errBusy) {
		t.Errorf("got %v", err)
	}
	h.until(t, queueSize)
	close(h.release)
	wg.Wait()
}

// TestAForgottenStreamStartsAtZero has a reader look a stream up while its deletion is not
// committed yet: what the reader brings into memory then must not outlive it.
func TestAForgottenStreamStartsAtZero(t *testing.T) {
	h := hold(t)
	close(h.release)
	must := func(r *request, revision int64) {
		t.Helper()
		if err := h.submit(t.Context(), r); err != nil || r.reply.err != nil || r.reply.verdict != written ||
			r.reply.revision != revision {
			t.Fatalf("%s: %v %+v", r.stream, err, r.reply)
		}
	}
	must(appendTo("s", noStream), 0)
	must(appendTo("once-1", noStream), 0) // the newest row, whose id is the next to be used again
	must(appendTo("once-1", 0), 1)
	before, err := h.infos.of(t.Context(), h.pages.lookup, "once-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.maintain(t.Context(), func(ctx context.Context, conn *sql.Conn) ([]string, error) {
		if _, err := conn.ExecContext(ctx, `delete from events where sid = $1`, before.sid); err != nil {
			return nil, err
		}
		names, err := h.forgetEmpty(ctx, conn, sweeping{names: []string{"once-1"}, head: int64(h.Head()), now: 1})
		if err != nil {
			return nil, err
		}
		h.infos.forget(names)
		_, err = h.infos.of(ctx, h.pages.lookup, "once-1") // on another connection: still there
		return names, err
	}); err != nil {
		t.Fatal(err)
	}
	must(appendTo("once-1", noStream), 0)
	after, err := h.infos.of(t.Context(), h.pages.lookup, "once-1")
	if err != nil || after.sid == before.sid {
		t.Errorf("the row's id %d was used again, %d: %v", before.sid, after.sid, err)
	}
}

// TestAFailedMaintenanceChangesNothing and the appends beside it go through.
func TestAFailedMaintenanceChangesNothing(t *testing.T) {
	h := hold(t)
	broken := errors.New("broken")
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.submit(t.Context(), appendTo("s", noStream)) })
	<-h.inside
	wg.Go(func() {
		if err := h.maintain(t.Context(), func(ctx context.Context, conn *sql.Conn) ([]string, error) {
			_, err := conn.ExecContext(ctx, `delete from events`)
			return []string{"s"}, errors.Join(err, broken)
		}); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
	h.until(t, 1)
	next := appendTo("s", 0)
	wg.Go(func() {
		if err := h.submit(t.Context(), next); err != nil || next.reply.err != nil || next.reply.revision != 1 {
			t.Errorf("got %v %+v", err, next.reply)
		}
	})
	h.until(t, 2)
	close(h.release)
	wg.Wait()
	var events int
	if err := h.reads.QueryRowContext(t.Context(), `select count(*) from events`).Scan(&events); err != nil ||
		events != 2 {
		t.Errorf("%d events: %v", events, err)
	}
}

// TestAFailedWriteFailsItsBatchAndNothingElse makes the unique index, the last guard against a
// wrong head in memory, refuse a batch.
func TestAFailedWriteFailsItsBatchAndNothingElse(t *testing.T) {
	h := hold(t)
	close(h.release)
	ok := appendTo("s", noStream)
	if err := h.submit(t.Context(), ok); err != nil || ok.reply.err != nil {
		t.Fatalf("%v %+v", err, ok.reply)
	}
	i, err := h.infos.of(t.Context(), h.pages.lookup, "s")
	if err != nil {
		t.Fatal(err)
	}
	head := h.Head()
	wrong := i
	wrong.head = -1
	h.infos.publish(map[string]info{"s": wrong})
	r := appendTo("s", noStream)
	if err := h.submit(t.Context(), r); err != nil || r.reply.err == nil {
		t.Errorf("an event was written over another: %v %+v", err, r.reply)
	}
	h.infos.publish(map[string]info{"s": i})
	if h.Head() != head {
		t.Errorf("the head moved from %d to %d", head, h.Head())
	}
	r = appendTo("s", 0)
	if err := h.submit(t.Context(), r); err != nil || r.reply.err != nil || r.reply.position <= head {
		t.Errorf("the next: %v %+v", err, r.reply)
	}
}

func TestACommitThatFailsIsFatal(t *testing.T) {
	fatal := make(chan error, 1)
	store, err := Open(Options{Dir: t.TempDir(), Fatal: func(err error) { fatal <- err }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := store.maintain(t.Context(), func(ctx context.Context, conn *sql.Conn) ([]string, error) {
		_, err := conn.ExecContext(ctx, `rollback`) // leaves the commit nothing to commit
		return nil, err
	}); err == nil {
		t.Error("the caller was told that all is well")
	}
	select {
	case err := <-fatal:
		t.Log(err)
	default:
		t.Error("the store went on")
	}
}
