package live

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"agentkey/readmodels"
)

// world is a read model whose position a test moves. In the organization org an agent changes at
// every position, and every third change is a fetch.
type world struct {
	hub    *Hub
	moves  chan uint64
	broken atomic.Bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{moves: make(chan uint64)}
	w.hub = &Hub{Logger: slog.New(slog.DiscardHandler), Moved: w.moved, Happened: w.happened}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return w
}

func (w *world) moved(ctx context.Context, _ uint64) (uint64, error) {
	select {
	case position := <-w.moves:
		return position, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (w *world) happened(
	_ context.Context, organization string, after, through uint64, fetches, _ bool,
) (out []readmodels.Happening, err error) {
	for p := after + 1; p <= through && organization == "org" && len(out) <= readmodels.MostHappened; p++ {
		one := readmodels.Happening{Position: p, Action: "agent.updated"}
		if p%3 == 0 {
			one.Action = "credential.vended"
		}
		if fetches || p%3 != 0 {
			out = append(out, one)
		}
	}
	if w.broken.Load() {
		return nil, errors.New("no connection")
	}
	return out, nil
}

// move moves the position, and returns once the round before is over.
func (w *world) move(position uint64) { w.moves <- position }

func TestAReaderThatIsSlowIsCutOffAndTheOthersAreNot(t *testing.T) {
	w := newWorld(t)
	w.move(10)
	w.move(11)
	slow, from := w.hub.Read("org", Wants{})
	if from < 10 || from > 11 {
		t.Errorf("it begins at %d", from)
	}
	quick, _ := w.hub.Read("org", Wants{})
	elsewhere, _ := w.hub.Read("other", Wants{Fetches: true})
	var got []uint64
	for at := uint64(12); at < 12+3*held; at += 30 {
		w.move(at)
		w.move(at + 1) // the round of the move before is over
		for len(quick.C) > 0 {
			one, open := <-quick.C
			if !open {
				t.Fatal("one that reads was cut off")
			}
			got = append(got, one.Position)
		}
	}
	before := from
	for _, position := range got {
		if position <= before || position%3 == 0 {
			t.Fatalf("%d comes after %d", position, before)
		}
		before = position
	}
	n := 0
	for range slow.C { // it is closed
		n++
	}
	if n != held {
		t.Errorf("one that doesn't read had %d events", n)
	}
	if len(elsewhere.C) > 0 {
		t.Error("another organization learns of it")
	}
	for _, r := range []*Reader{slow, quick} {
		w.hub.Leave("org", r)
	}
	w.hub.Leave("other", elsewhere)
	if len(w.hub.rooms) > 0 {
		t.Errorf("rooms without readers stay: %v", w.hub.rooms)
	}
}

func TestMoreThanOneReadHoldsIsTold(t *testing.T) {
	w := newWorld(t)
	w.move(1)
	w.move(2)
	all, from := w.hub.Read("org", Wants{Fetches: true, Only: func(one *readmodels.Happening) bool {
		return one.Position%100 == 0
	}})
	w.move(3 * readmodels.MostHappened)
	w.move(3*readmodels.MostHappened + 1)
	if len(all.C) != 3*readmodels.MostHappened/100 {
		t.Errorf("from %d on %d were told", from, len(all.C))
	}
}

func TestReadersAreCutOffWhenWhatHappenedCantBeRead(t *testing.T) {
	w := newWorld(t)
	w.move(1)
	w.move(2)
	r, _ := w.hub.Read("org", Wants{})
	w.broken.Store(true)
	w.move(3)
	if _, open := <-r.C; open {
		t.Error("the stream continues without what it missed")
	}
}
