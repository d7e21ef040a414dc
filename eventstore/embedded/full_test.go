package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
)

func TestAFullDiskRefusesAppendsAndKeepsTheRest(t *testing.T) {
	dir := t.TempDir()
	w := serve(t, embedded.Options{Dir: dir, MaxBytes: 1 << 20})
	c, err := eventstore.Open(eventstore.Config{Socket: w.socket})
	if err != nil {
		t.Fatal(err)
	}
	large := func() eventstore.Event {
		return eventstore.Event{ID: uuid.New(), Type: "happened", Data: []byte(strings.Repeat("x", 10_000))}
	}
	w.wrote("s", "none", several(3)...)
	live := w.follow("", all)
	live.want("0@s", "1@s", "2@s", "caught up")
	var written atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				_, err := c.Append(within(t), "load", eventstore.Any, large())
				if errors.Is(err, eventstore.ErrDiskFull) && errors.Is(err, eventstore.ErrUnavailable) {
					return
				}
				if err != nil {
					t.Errorf("got %v", err)
					return
				}
				written.Add(1)
			}
		})
	}
	wg.Wait()
	if _, _, err := w.append("s", 2, proposed("happened", strings.Repeat("x", 100_000))); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("got %v", err)
	} else {
		refused(t, err, nil, codes.ResourceExhausted) // not Unavailable, which would make clients look for another node
	}
	whole := func(w *wire, beyond int64) {
		t.Helper()
		if got, _, err := w.read(readOptions("load")); err != nil || int64(len(got)) != written.Load()+beyond {
			t.Errorf("%d events for %d acknowledgements: %v", len(got), written.Load()+beyond, err)
		}
		if got, _, err := w.read(readOptions("", all)); err != nil || got[len(got)-1].GetEvent().GetCommitPosition() != w.store.Head() {
			t.Errorf("the log does not end at its head: %v", err)
		}
	}
	whole(w, 0)
	for range written.Load() {
		if e := live.next(); e.GetEvent() == nil {
			t.Errorf("a follower got %s", line(e))
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	closed(t, w.store)
	intact(t, dir)

	// Room is made.
	w = serve(t, embedded.Options{Dir: dir})
	w.wrote("s", 2, proposed("happened", strings.Repeat("x", 100_000)))
	w.wrote("load", "any", several(1)...)
	whole(w, 1)
	closed(t, w.store)
	intact(t, dir)
}

func TestABackupUnderAppendsIsWhole(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(500)...)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					w.wrote("s", "any", several(5)...)
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	for range 3 {
		dir := t.TempDir()
		path := filepath.Join(dir, "events.db")
		before := w.store.Head()
		if err := w.store.Backup(within(t), path); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the copy: %v %v", info.Mode(), err)
		}
		if err := w.store.Backup(within(t), path); err == nil {
			t.Error("it was written over")
		}
		intact(t, dir)
		restored := serve(t, embedded.Options{Dir: dir})
		after := restored.store.Head()
		if after < before || after%5 != 0 {
			t.Errorf("the copy ends at %d, the log was at %d", after, before)
		}
		if got, _, err := restored.read(readOptions("s")); err != nil || uint64(len(got)) != after {
			t.Errorf("%d events up to %d: %v", len(got), after, err)
		}
		if p := restored.wrote("s", int(after-1), several(1)...); p != after+1 {
			t.Errorf("it goes on at %d", p)
		}
	}
	if err := w.store.Backup(within(t), filepath.Join(t.TempDir(), "no", "folder")); err == nil {
		t.Error("it was written nowhere")
	}
}
