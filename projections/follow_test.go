package projections_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/projections"
	"agentkey/readmodels"
)

// ledger is another follower's place: what it has read, in memory.
type ledger struct {
	mu     sync.Mutex
	at     readmodels.Checkpoint
	types  []string
	resets int
	asked  int // for its checkpoint
}

func (l *ledger) ReadCheckpoint(context.Context) (readmodels.Checkpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return l.at, nil
}

func (l *ledger) ReadEnd(context.Context, string) (readmodels.StreamEnd, error) {
	return readmodels.StreamEnd{}, nil
}

func (l *ledger) ReadEnds(context.Context, string) ([]readmodels.StreamEnd, error) { return nil, nil }

func (l *ledger) Claim(_ context.Context, storeID string, created, confirmed time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at.StoreID, l.at.StoreCreated, l.at.Confirmed = storeID, created, confirmed
	return nil
}

func (l *ledger) Reset(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at, l.types = readmodels.Checkpoint{}, nil
	l.resets++
	return nil
}

func (l *ledger) take(_ context.Context, b projections.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.Position != b.From || l.at.StoreID != b.StoreID {
		return readmodels.ErrMoved
	}
	l.at.Position = b.To
	if b.Mark != "" {
		l.at.Mark = b.Mark
	}
	for _, e := range b.Events {
		l.types = append(l.types, e.Type)
	}
	return nil
}

// followed runs a follower until it has the whole log, and returns how it stands then.
func (w *world) followed(l *ledger, handle func(context.Context, projections.Batch) error) projections.Status {
	w.t.Helper()
	f := projections.NewFollower(projections.FollowerConfig{
		Name: "ledger", Log: w.log, Logger: slog.New(slog.DiscardHandler), Clock: time.Now, Place: l,
		Handle:   handle,
		MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	if err := f.WaitFor(w.t.Context(), w.head()); err != nil {
		w.t.Fatal(err)
	}
	s := f.Status(w.t.Context())
	stop()
	if err := <-ended; err != nil {
		w.t.Fatal(err)
	}
	return s
}

func TestASecondFollowerNeedsANameAPlaceAndAHandler(t *testing.T) {
	w := newWorld(t, embedded)
	w.story()
	var l ledger
	if s := w.followed(&l, l.take); s.Name != "ledger" || s.Distance != 0 || s.Lag != 0 {
		t.Errorf("it stands at %+v", s)
	}
	var want []string
	for _, b := range w.batches(0) {
		for _, e := range b.Events {
			want = append(want, e.Type)
		}
	}
	if diff := cmp.Diff(want, l.types); diff != "" || len(want) == 0 {
		t.Errorf("read (-log +follower):\n%s", diff)
	}
	at, read := l.at, len(l.types)
	if w.followed(&l, l.take); l.at != at || len(l.types) != read || l.resets != 0 {
		t.Errorf("started again, it read %d events more and stands at %+v after %+v", len(l.types)-read, l.at, at)
	}
	if at.Mark == "" {
		t.Error("its checkpoint has no mark to know the log by")
	}
}

func TestAFollowerRepeatsWhatItsHandlerDidNotTake(t *testing.T) {
	w := newWorld(t, embedded)
	w.story()
	var l ledger
	calls := 0
	w.followed(&l, func(ctx context.Context, b projections.Batch) error {
		switch calls++; calls {
		case 1:
			return errors.New("the disk is full")
		case 2:
			panic("nobody expects this")
		case 3:
			return readmodels.ErrMoved
		}
		return l.take(ctx, b)
	})
	types := l.types
	l = ledger{}
	w.followed(&l, l.take)
	if diff := cmp.Diff(l.types, types); diff != "" || calls < 4 {
		t.Errorf("after %d calls (-undisturbed +disturbed):\n%s", calls, diff)
	}
}

// TestNoSessionBeginsWhileAHandlerIsInItsBatch ends the lead while the handler works, which returns
// a while later.
func TestNoSessionBeginsWhileAHandlerIsInItsBatch(t *testing.T) {
	w := newWorld(t, embedded)
	w.story()
	var l ledger
	var handling atomic.Bool
	var depose context.CancelFunc
	leads, calls := 0, 0
	f := projections.NewFollower(projections.FollowerConfig{
		Name: "ledger", Log: w.log, Logger: slog.New(slog.DiscardHandler), Clock: time.Now, Place: &l,
		Lead: func(
			ctx context.Context, _ readmodels.Origin, _ func(readmodels.Checkpoint) <-chan struct{},
		) (context.Context, func(), error) {
			if leads++; handling.Load() {
				t.Errorf("lead %d begins while the handler of the last one works", leads)
			}
			ctx, depose = context.WithCancel(ctx)
			return ctx, depose, nil
		},
		Handle: func(ctx context.Context, b projections.Batch) error {
			if calls++; calls > 1 {
				return l.take(ctx, b)
			}
			handling.Store(true)
			defer handling.Store(false)
			depose()
			time.Sleep(50 * time.Millisecond)
			return ctx.Err()
		},
		MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	err := f.WaitFor(t.Context(), w.head())
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	if leads < 2 || len(l.types) == 0 {
		t.Errorf("%d leads, and %d events were taken", leads, len(l.types))
	}
}

func TestAFollowerStartsOverWhereItsCheckpointIsOfAnotherLog(t *testing.T) {
	for name, change := range map[string]func(*readmodels.Checkpoint){
		"of another store":         func(c *readmodels.Checkpoint) { c.StoreID = "another" },
		"of a copy of this log":    func(c *readmodels.Checkpoint) { c.StoreCreated = c.StoreCreated.Add(-time.Hour) },
		"beyond the end":           func(c *readmodels.Checkpoint) { c.Position += 1 << 20 },
		"with an event it has not": func(c *readmodels.Checkpoint) { c.Mark = `{"stream":"agent-lost","revision":3}` },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, embedded)
			w.story()
			var l ledger
			w.followed(&l, l.take)
			want := l.types
			change(&l.at)
			w.followed(&l, l.take)
			if diff := cmp.Diff(want, l.types); diff != "" || l.resets != 1 {
				t.Errorf("after %d resets:\n%s", l.resets, diff)
			}
		})
	}
}

// TestForeignEventsArePassedWithinOneSubscription writes a few events of another application and
// then nothing. A server reports no position for so few, before the subscription or during it.
func TestForeignEventsArePassedWithinOneSubscription(t *testing.T) {
	w := newWorld(t, embedded)
	w.story()
	foreign := func(n int) {
		for i := range n {
			w.raw("orders-1", eventstore.Event{Type: "OrderPlaced", Data: fmt.Append(nil, i), Metadata: []byte("x")})
		}
	}
	foreign(3)
	var l ledger
	f := projections.NewFollower(projections.FollowerConfig{
		Name: "ledger", Log: w.log, Logger: slog.New(slog.DiscardHandler), Clock: time.Now, Place: &l,
		Handle: l.take, Idle: 20 * time.Millisecond,
	})
	stop := runModel(t, f)
	defer stop()
	there := func() int {
		t.Helper()
		if err := f.WaitFor(wait.Context(t), w.head()); err != nil {
			t.Fatal(err)
		}
		wait.Until(t, "stores the position", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.at.Position == w.head()
		})
		if s := f.Status(t.Context()); s.Distance != 0 || s.Lag != 0 || s.State != projections.Running {
			t.Errorf("it is at %+v", s)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.asked
	}
	asked := there()
	for _, n := range []int{3, 1, 700, 3000} {
		foreign(n)
		if again := there(); again != asked {
			t.Errorf("after %d foreign events it subscribed again", n)
		}
	}
}
