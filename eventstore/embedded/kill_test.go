package embedded_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// startChild serves a folder in a process of its own and returns once its socket is there.
func startChild(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childFolder+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if child.ProcessState == nil {
			kill(t, child)
		}
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the child did not start: %v", err)
	}
	return child
}

func kill(t *testing.T, child *exec.Cmd) {
	t.Helper()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var died *exec.ExitError
	if err := child.Wait(); !errors.As(err, &died) || died.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended by itself: %v", err)
	}
}

// database opens a closed store's file.
func database(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.Join(dir, "events.db")}).EscapedPath())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// intact has SQLite check a closed store's file.
func intact(t *testing.T, dir string) {
	t.Helper()
	db := database(t, dir)
	var said string
	if err := db.QueryRowContext(t.Context(), `pragma integrity_check`).Scan(&said); err != nil || said != "ok" {
		t.Errorf("integrity: %s %v", said, err)
	}
	var orphans int
	if err := db.QueryRowContext(
		t.Context(), `select count(*) from events where sid not in (select sid from streams)`,
	).Scan(&orphans); err != nil || orphans != 0 {
		t.Errorf("%d events belong to no stream: %v", orphans, err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// appender writes to one stream of its own, one event after another, and remembers what was
// acknowledged.
type appender struct {
	name  string
	acked map[uint64]eventstore.Recorded // by revision
}

// run appends until the context ends or the log goes away. It begins where the stream is.
func (a *appender) run(ctx context.Context, c *eventstore.Client, total *atomic.Int64) error {
	next := eventstore.NoStream
	last, err := c.ReadBackward(ctx, a.name, 1)
	switch {
	case err == nil:
		next = int64(last[0].Revision)
	case !errors.Is(err, eventstore.ErrStreamNotFound):
		return nil // killed before it began
	}
	for {
		e := eventstore.Event{ID: uuid.New(), Type: "happened", Data: []byte(strings.Repeat("x", rand.N(2000)))}
		done, err := c.Append(ctx, a.name, next, e)
		if err != nil {
			if !errors.Is(err, eventstore.ErrUnavailable) {
				return fmt.Errorf("%s at %d: %w", a.name, next, err)
			}
			return nil
		}
		if done.Revision != uint64(next+1) {
			return fmt.Errorf("%s at %d was written at %d", a.name, next, done.Revision)
		}
		next++
		a.acked[done.Revision] = eventstore.Recorded{Position: done.Position, ID: e.ID, Data: e.Data}
		total.Add(1)
	}
}

// TestKilledAtAnyMomentNothingAcknowledgedIsLost kills the process that serves the folder while 32
// appenders write, again and again, and then looks at all that was acknowledged in any round.
func TestKilledAtAnyMomentNothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	appenders := make([]*appender, 32)
	for i := range appenders {
		appenders[i] = &appender{name: fmt.Sprintf("load-%d", i), acked: map[uint64]eventstore.Recorded{}}
	}
	rounds := eventstoretest.Rounds(10)
	var total atomic.Int64
	for range rounds {
		child := startChild(t, dir)
		socket, found := embedded.FindSocket(dir)
		if !found {
			t.Fatal("the child serves nothing")
		}
		c, err := eventstore.Open(eventstore.Config{Socket: socket})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(wait.Context(t))
		var wg sync.WaitGroup
		for _, a := range appenders {
			wg.Go(func() {
				if err := a.run(ctx, c, &total); err != nil {
					t.Error(err)
				}
			})
		}
		moment := total.Load() + rand.Int64N(1500)
		wait.Until(t, "moment", func() bool { return total.Load() >= moment })
		kill(t, child)
		cancel()
		wg.Wait()
	}
	w := serve(t, embedded.Options{Dir: dir})
	c, err := eventstore.Open(eventstore.Config{Socket: w.socket})
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	for _, a := range appenders {
		stored += a.check(t, c)
	}
	if unacked := int64(stored) - total.Load(); unacked < 0 || unacked > int64(len(appenders)*rounds) {
		t.Errorf("%d events for %d acknowledgements", stored, total.Load())
	}
	page, _, err := w.read(readOptions("", all))
	if err != nil || len(page) != stored {
		t.Errorf("the log has %d events, its streams %d: %v", len(page), stored, err)
	}
	position := uint64(0)
	for _, m := range page {
		if p := m.GetEvent().GetCommitPosition(); p <= position {
			t.Fatalf("position %d after %d", p, position)
		} else {
			position = p
		}
	}
	t.Logf("%d acknowledged, %d stored", total.Load(), stored)
	closed(t, w.store)
	intact(t, dir)
}

// check compares a stream with what was acknowledged, and returns how many events it has.
func (a *appender) check(t *testing.T, c *eventstore.Client) int {
	t.Helper()
	events, err := c.ReadForward(wait.Context(t), a.name, 0, 1<<40)
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		t.Fatal(err)
	}
	for i, e := range events {
		if e.Revision != uint64(i) {
			t.Fatalf("%s: revision %d at place %d", a.name, e.Revision, i)
		}
		if ack, known := a.acked[e.Revision]; known {
			if ack.ID != e.ID || ack.Position != e.Position || string(ack.Data) != string(e.Data) {
				t.Errorf("%s: revision %d is not what was acknowledged", a.name, i)
			}
			delete(a.acked, e.Revision)
		}
	}
	if len(a.acked) != 0 {
		t.Errorf("%s lost %d acknowledged events", a.name, len(a.acked))
	}
	return len(events)
}
