package embedded_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest/wait"
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
				_, err := c.Append(wait.Context(t), "load", eventstore.Any, large())
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
	if _, _, err := w.append("s", 2, proposed("happened", strings.Repeat("x", 100_000))); err == nil ||
		!strings.Contains(err.Error(), "full") {
		t.Errorf("got %v", err)
	} else {
		refused(t, err, nil, codes.ResourceExhausted) // not Unavailable, which would make clients look for another node
	}
	whole := func(w *wire, beyond int64) {
		t.Helper()
		if got, _, err := w.read(readOptions("load")); err != nil || int64(len(got)) != written.Load()+beyond {
			t.Errorf("%d events for %d acknowledgements: %v", len(got), written.Load()+beyond, err)
		}
		if got, _, err := w.read(readOptions("", all)); err != nil ||
			got[len(got)-1].GetEvent().GetCommitPosition() != w.store.Head() {
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
