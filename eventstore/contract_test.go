package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// open returns the log under test: the embedded store, or the one that TEST_EVENTSTORE_URL names.
func open(t *testing.T) *eventstore.Client {
	t.Helper()
	url := os.Getenv("TEST_EVENTSTORE_URL")
	if url == "" {
		return eventstoretest.Start(t).Client
	}
	c, err := eventstore.Open(eventstore.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// stream is a name that no other test of any run uses.
func stream(t *testing.T) string {
	return "test-" + strings.NewReplacer("/", ".", "-", ".").Replace(t.Name()) + "." + uuid.NewString()
}

func event(n int) eventstore.Event {
	return eventstore.Event{
		ID: uuid.New(), Type: "thing.happened.v1", Data: fmt.Appendf(nil, `{"n":%d}`, n), Metadata: []byte(`{"m":1}`),
	}
}

func events(n int) []eventstore.Event {
	out := make([]eventstore.Event, n)
	for i := range out {
		out[i] = event(i)
	}
	return out
}

func mustAppend(
	t *testing.T, c *eventstore.Client, stream string, expected int64, e ...eventstore.Event,
) eventstore.Appended {
	t.Helper()
	a, err := c.Append(wait.Context(t), stream, expected, e...)
	if err != nil {
		t.Fatalf("append to %s at %d: %v", stream, expected, err)
	}
	return a
}

func TestAppendAndRead(t *testing.T) {
	c, name := open(t), stream(t)
	if _, err := c.ReadForward(wait.Context(t), name, 0, 10); !errors.Is(err, eventstore.ErrStreamNotFound) {
		t.Fatalf("a stream that never was: %v", err)
	}
	in := events(600) // more than a page
	a := mustAppend(t, c, name, eventstore.NoStream, in[:599]...)
	if a.Revision != 598 || a.Position == 0 {
		t.Errorf("appended at %+v", a)
	}
	b := mustAppend(t, c, name, 598, in[599])
	if b.Position <= a.Position {
		t.Errorf("positions %d then %d", a.Position, b.Position)
	}
	out, err := c.ReadForward(wait.Context(t), name, 0, 1000)
	if err != nil || len(out) != 600 {
		t.Fatalf("read %d events: %v", len(out), err)
	}
	for i, r := range out {
		if r.Revision != uint64(i) || r.ID != in[i].ID || r.Stream != name || r.Type != in[i].Type ||
			string(r.Data) != string(in[i].Data) || string(r.Metadata) != string(in[i].Metadata) {
			t.Fatalf("event %d came back as %+v", i, r)
		}
		if i > 0 && r.Position <= out[i-1].Position {
			t.Fatalf("event %d has position %d after %d", i, r.Position, out[i-1].Position)
		}
		if age := time.Since(r.Created); age < -time.Minute || age > time.Minute {
			t.Fatalf("created %v ago", age)
		}
	}
	if tail, err := c.ReadForward(wait.Context(t), name, 598, 10); err != nil || len(tail) != 2 {
		t.Errorf("the tail has %d events: %v", len(tail), err)
	}
	if none, err := c.ReadForward(wait.Context(t), name, 600, 10); err != nil || len(none) != 0 {
		t.Errorf("beyond the end are %d events: %v", len(none), err)
	}
	back, err := c.ReadBackward(wait.Context(t), name, 3)
	if err != nil || len(back) != 3 || back[0].Revision != 599 || back[2].Revision != 597 {
		t.Errorf("backwards: %v %v", back, err)
	}
	from, err := c.ReadBackwardFrom(wait.Context(t), name, 5, 10)
	if err != nil || len(from) != 6 || from[0].Revision != 5 || from[5].Revision != 0 {
		t.Errorf("backwards from 5: %d events, %v", len(from), err)
	}
	head, err := c.Head(wait.Context(t))
	if err != nil || head < b.Position {
		t.Errorf("the head is %d, the last append %d: %v", head, b.Position, err)
	}
}

// TestExpectations is the decision table for streams that are neither deleted nor tombstoned. Each
// case has ids of its own: with any, a server looks for them in all streams.
func TestExpectations(t *testing.T) {
	c := open(t)
	const first, second, third = 0, 1, 2
	tests := []struct {
		name     string
		expected int64
		events   []int
		want     error
		revision uint64
	}{
		{"the newest revision appends", 1, []int{third}, nil, 2},
		{"an older revision with another event is wrong", 0, []int{third}, eventstore.ErrWrongRevision, 0},
		{
			"no stream with another event is wrong", eventstore.NoStream,
			[]int{third},
			eventstore.ErrWrongRevision, 0,
		},
		{"a revision that is not there yet is wrong", 9, []int{third}, eventstore.ErrWrongRevision, 0},
		{
			"the same events at the same revision were written", eventstore.NoStream,
			[]int{first, second},
			nil, 1,
		},
		{"a part of them too", 0, []int{second}, nil, 1},
		{
			"the same beginning and another end is wrong", eventstore.NoStream,
			[]int{first, third},
			eventstore.ErrWrongRevision, 0,
		},
		{"the same events and more are wrong", 0, []int{second, third}, eventstore.ErrWrongRevision, 0},
		{"any appends", eventstore.Any, []int{third}, nil, 2},
		{"any with known ids was written", eventstore.Any, []int{first, second}, nil, 1},
		{
			"any with a part of known ids is wrong", eventstore.Any,
			[]int{second, third},
			eventstore.ErrWrongRevision, 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name, own := stream(t), events(3)
			mustAppend(t, c, name, eventstore.NoStream, own[first], own[second])
			var in []eventstore.Event
			for _, n := range tt.events {
				in = append(in, own[n])
			}
			a, err := c.Append(wait.Context(t), name, tt.expected, in...)
			if !errors.Is(err, tt.want) || (err == nil && a.Revision != tt.revision) {
				t.Errorf("got revision %d and %v, want %d and %v", a.Revision, err, tt.revision, tt.want)
			}
		})
	}
}

func TestOneRacerOfManyWins(t *testing.T) {
	c, name := open(t), stream(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			_, err := c.Append(wait.Context(t), name, eventstore.NoStream, events(2)...)
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, eventstore.ErrWrongRevision):
				t.Errorf("a loser got %v", err)
			}
		})
	}
	wg.Wait()
	out, err := c.ReadForward(wait.Context(t), name, 0, 100)
	if won.Load() != 1 || len(out) != 2 || err != nil {
		t.Errorf("%d won and %d events were written: %v", won.Load(), len(out), err)
	}
}

func TestAnAppendIsAllOrNothingAndBounded(t *testing.T) {
	c, name := open(t), stream(t)
	big := event(1)
	big.Data = make([]byte, 1<<20)
	if _, err := c.Append(
		wait.Context(t), name, eventstore.NoStream, event(0), big,
	); !errors.Is(err, eventstore.ErrTooLarge) {
		t.Errorf("too much: %v", err)
	}
	if _, err := c.ReadForward(wait.Context(t), name, 0, 1); !errors.Is(err, eventstore.ErrStreamNotFound) {
		t.Errorf("a part was written: %v", err)
	}
	big.Data = make([]byte, 1<<20-2000)
	mustAppend(t, c, name, eventstore.NoStream, big)
	out, err := c.ReadForward(wait.Context(t), name, 0, 1)
	if err != nil || len(out) != 1 || len(out[0].Data) != len(big.Data) {
		t.Errorf("almost too much came back as %d events: %v", len(out), err)
	}
	for _, bad := range []eventstore.Event{{Type: "x"}, {ID: uuid.New()}, {ID: uuid.New(), Type: "$system"}} {
		if _, err := c.Append(wait.Context(t), name, eventstore.Any, bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if _, err := c.Append(wait.Context(t), "$reserved", eventstore.Any, event(1)); err == nil {
		t.Error("a reserved name was taken")
	}
}

func TestTombstone(t *testing.T) {
	c, name := open(t), stream(t)
	if err := c.Tombstone(wait.Context(t), name); err != nil {
		t.Errorf("a stream that never was: %v", err)
	}
	mustAppend(t, c, name, eventstore.NoStream, event(1))
	for range 2 {
		if err := c.Tombstone(wait.Context(t), name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.ReadForward(wait.Context(t), name, 0, 1); !errors.Is(err, eventstore.ErrStreamDeleted) {
		t.Errorf("reading it: %v", err)
	}
	for _, expected := range []int64{eventstore.NoStream, eventstore.Any, 0} {
		if _, err := c.Append(wait.Context(t), name, expected, event(2)); !errors.Is(err, eventstore.ErrStreamDeleted) {
			t.Errorf("appending at %d: %v", expected, err)
		}
	}
}

func TestABarredStreamNeverBegins(t *testing.T) {
	c, never, was := open(t), stream(t), stream(t)
	mustAppend(t, c, was, eventstore.NoStream, event(1))
	for _, name := range []string{never, was} {
		for range 2 {
			if err := c.Bar(wait.Context(t), name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.ReadForward(wait.Context(t), name, 0, 1); !errors.Is(err, eventstore.ErrStreamDeleted) {
			t.Errorf("reading it: %v", err)
		}
		for _, expected := range []int64{eventstore.NoStream, eventstore.Any, 0} {
			if _, err := c.Append(wait.Context(t), name, expected, event(2)); !errors.Is(err, eventstore.ErrStreamDeleted) {
				t.Errorf("appending at %d: %v", expected, err)
			}
		}
	}
}

func TestBoundsHideEvents(t *testing.T) {
	c, name := open(t), stream(t)
	if err := c.SetStreamMetadata(wait.Context(t), name, eventstore.StreamMetadata{MaxCount: 2}); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, c, name, eventstore.NoStream, events(5)...)
	var got []uint64
	out, err := c.ReadForward(wait.Context(t), name, 0, 10)
	for _, r := range out {
		got = append(got, r.Revision)
	}
	if diff := cmp.Diff([]uint64{3, 4}, got); diff != "" || err != nil {
		t.Errorf("visible (-want +got):\n%s%v", diff, err)
	}
	mustAppend(t, c, name, 4, event(5))
	if out, err := c.ReadBackward(wait.Context(t), name, 10); err != nil || len(out) != 2 || out[0].Revision != 5 {
		t.Errorf("after one more: %v %v", out, err)
	}
}

// follow reads a subscription in the background; the test ends it.
func follow(t *testing.T, c *eventstore.Client, after uint64, pattern string) <-chan eventstore.Item {
	t.Helper()
	sub, err := c.SubscribeAll(t.Context(), after, eventstore.Filter{Types: pattern})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Close() })
	items := make(chan eventstore.Item, 10_000)
	go func() {
		defer close(items)
		for {
			item, err := sub.Next()
			if err != nil {
				return
			}
			items <- item
		}
	}()
	return items
}

func next(t *testing.T, items <-chan eventstore.Item, want func(eventstore.Item) bool) eventstore.Item {
	t.Helper()
	for {
		item := wait.For(t, "an item of the subscription", items)
		if item == (eventstore.Item{}) {
			t.Fatal("the subscription dropped")
		}
		if want(item) {
			return item
		}
	}
}

func TestSubscriptionFollowsAndResumes(t *testing.T) {
	c, name := open(t), stream(t)
	start, err := c.Head(wait.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, c, name, eventstore.NoStream, events(700)...)
	mine := func(i eventstore.Item) bool { return i.Event != nil && i.Event.Stream == name }
	items := follow(t, c, start, "^[^$~]")
	var middle uint64
	for i := range 700 {
		e := next(t, items, mine).Event
		if e.Revision != uint64(i) {
			t.Fatalf("event %d came as %d", e.Revision, i)
		}
		if i == 349 {
			middle = e.Position
		}
	}
	next(t, items, func(i eventstore.Item) bool { return i.CaughtUp })
	mustAppend(t, c, name, 699, event(700))
	if e := next(t, items, mine).Event; e.Revision != 700 {
		t.Errorf("live came %d", e.Revision)
	}
	if e := next(t, follow(t, c, middle, "^[^$~]"), mine).Event; e.Revision != 350 {
		t.Errorf("after the position of 349 came %d", e.Revision)
	}
}

// TestSubscriptionFilterSendsPositions counts on a position only after many events that the filter
// leaves out: some versions send none for having caught up.
func TestSubscriptionFilterSendsPositions(t *testing.T) {
	c, name := open(t), stream(t)
	start, err := c.Head(wait.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	hidden := event(0)
	hidden.Type = "~snapshot.v1"
	mustAppend(t, c, name, eventstore.NoStream, event(0))
	first := mustAppend(t, c, name, 0, hidden)
	items := follow(t, c, start, "^[^$~]")
	next(t, items, func(i eventstore.Item) bool { return i.CaughtUp })
	many := make([]eventstore.Event, 1100)
	for i := range many {
		many[i] = event(i)
		many[i].Type = hidden.Type
	}
	mustAppend(t, c, name, 1, many...)
	next(t, items, func(i eventstore.Item) bool {
		if i.Event != nil && i.Event.Type == hidden.Type {
			t.Error("the filter let it through")
		}
		return i.Checkpoint > first.Position
	})
}

func TestACancelledCallEnds(t *testing.T) {
	c := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Append(ctx, stream(t), eventstore.NoStream, event(1)); !errors.Is(err, eventstore.ErrUnavailable) ||
		!errors.Is(err, context.Canceled) {
		t.Errorf("append: %v", err)
	}
	if _, err := c.ReadForward(ctx, stream(t), 0, 1); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("read: %v", err)
	}
}
