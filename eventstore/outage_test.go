package eventstore_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// attempts counts what the client says about looking for a node.
type attempts struct {
	slog.Handler
	n *atomic.Int32
}

func (a attempts) Enabled(context.Context, slog.Level) bool { return true }

func (a attempts) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(attr slog.Attr) bool {
		if strings.HasPrefix(attr.Value.String(), "discovery attempt") {
			a.n.Add(1)
		}
		return true
	})
	return nil
}

func dial(t *testing.T, cfg eventstore.Config) *eventstore.Client {
	t.Helper()
	c, err := eventstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the client: %v", err)
		}
	})
	return c
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestAClientOutlivesALongOutage keeps the store away for longer than the client's own patience,
// ten attempts, after which it would be dead for good.
func TestAClientOutlivesALongOutage(t *testing.T) {
	t.Parallel()
	s := eventstoretest.Start(t)
	var n atomic.Int32
	c := dial(
		t, eventstore.Config{Socket: s.Socket, Logger: slog.New(attempts{n: &n}), Timeout: 500 * time.Millisecond},
	)
	mustAppend(t, c, "s", eventstore.NoStream, event(0))
	before := c.Generation()
	s.Stop()
	pending := make(chan error, 1)
	later := event(1)
	go func() { // a call that has the time waits for the end of the outage
		_, err := c.Append(wait.Context(t), "s", 0, later)
		pending <- err
	}()
	already := n.Load()
	wait.Until(t, "the client to have tried often", func() bool { return n.Load() > already+12 })
	eventstoretest.StartWith(t, embedded.Options{Dir: s.Dir})
	if err := <-pending; err != nil {
		t.Errorf("the call during the outage: %v", err)
	}
	mustAppend(t, c, "s", 1, event(2))
	out, err := c.ReadForward(wait.Context(t), "s", 0, 10)
	if err != nil || len(out) != 3 || out[1].ID != later.ID {
		t.Errorf("afterwards there are %d events: %v", len(out), err)
	}
	if c.Generation() == before {
		t.Error("a new connection was not counted")
	}
}

func TestCallsInAnOutageEndByTheirContext(t *testing.T) {
	t.Parallel()
	c := dial(t, eventstore.Config{Socket: filepath.Join(t.TempDir(), "nobody"), Timeout: time.Second})
	calls := map[string]func(context.Context) error{
		"append": func(ctx context.Context) error {
			_, err := c.Append(ctx, "s", eventstore.Any, event(1))
			return err
		},
		"read":      func(ctx context.Context) error { _, err := c.ReadForward(ctx, "s", 0, 1); return err },
		"backward":  func(ctx context.Context) error { _, err := c.ReadBackward(ctx, "s", 1); return err },
		"head":      func(ctx context.Context) error { _, err := c.Head(ctx); return err },
		"first":     func(ctx context.Context) error { _, _, err := c.First(ctx); return err },
		"tombstone": func(ctx context.Context) error { return c.Tombstone(ctx, "s") },
		"metadata": func(ctx context.Context) error {
			return c.SetStreamMetadata(ctx, "s", eventstore.StreamMetadata{MaxCount: 1})
		},
		"subscribe": func(ctx context.Context) error { _, err := c.SubscribeAll(ctx, 0, eventstore.Filter{}); return err },
	}
	var wg sync.WaitGroup
	for name, call := range calls {
		for range 20 {
			wg.Go(func() {
				err := call(deadline(t, 200*time.Millisecond))
				if !errors.Is(err, eventstore.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	wg.Wait()
}

// TestClosingDuringFailingCallsDoesNotPanic closes clients while the store goes away under their
// calls.
func TestClosingDuringFailingCallsDoesNotPanic(t *testing.T) {
	t.Parallel()
	for range eventstoretest.Rounds(10) {
		s := eventstoretest.Start(t)
		c, err := eventstore.Open(eventstore.Config{Socket: s.Socket, Timeout: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var made, failed atomic.Int32
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for ctx.Err() == nil {
					short, done := context.WithTimeout(ctx, time.Duration(1+rand.IntN(20))*time.Millisecond)
					if _, err := c.Append(short, "s", eventstore.Any, event(1)); err != nil {
						failed.Add(1)
					}
					made.Add(1)
					done()
				}
			})
		}
		wait.Until(t, "calls", func() bool { return made.Load() > 50 })
		before := failed.Load()
		s.Stop()
		wait.Until(t, "failing calls", func() bool { return failed.Load() > before })
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if _, err := c.Head(t.Context()); !errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("after closing: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close twice: %v", err)
		}
		cancel()
		wg.Wait()
	}
}

// proxy stands between a client and a store. Armed, it withholds the answers of the next connection
// that asks for something, and cuts it once the store has committed.
type proxy struct {
	store *embedded.Store
	to    string
	armed atomic.Int32 // how many more answers get lost
}

func startProxy(t *testing.T, s *eventstoretest.Server) (*proxy, string) {
	t.Helper()
	p := &proxy{store: s.Store, to: s.Socket}
	path := filepath.Join(t.TempDir(), "p")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", p.to)
			if err != nil {
				_ = client.Close()
				continue
			}
			go p.pass(client, server)
		}
	}()
	return p, path
}

func (p *proxy) pass(client, server net.Conn) {
	defer func() { _ = client.Close() }()
	defer func() { _ = server.Close() }()
	head := p.store.Head()
	go func() {
		defer func() { _ = server.Close() }()
		buffer := make([]byte, 32<<10)
		for {
			n, err := client.Read(buffer)
			if err != nil {
				return
			}
			if _, err := server.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		if p.armed.Load() > 0 && p.store.Head() > head {
			p.armed.Add(-1)
			return // committed, and nobody is told
		}
		head = p.store.Head()
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// TestAnAppendWhoseAnswerIsLostIsWrittenOnce cuts the connection between the commit and the answer,
// several times in a row.
func TestAnAppendWhoseAnswerIsLostIsWrittenOnce(t *testing.T) {
	s := eventstoretest.Start(t)
	p, path := startProxy(t, s)
	c := dial(t, eventstore.Config{Socket: path})
	for _, tt := range []struct {
		name     string
		expected int64
	}{{"new", eventstore.NoStream}, {"old", 1}, {"whatever", eventstore.Any}} {
		t.Run(tt.name, func(t *testing.T) {
			first := 0
			if tt.expected >= 0 {
				mustAppend(t, c, tt.name, eventstore.NoStream, events(2)...)
				first = 2
			}
			p.armed.Store(1)
			in := events(3)
			a := mustAppend(t, c, tt.name, tt.expected, in...)
			if p.armed.Load() != 0 {
				t.Fatal("no answer was lost")
			}
			out, err := c.ReadForward(wait.Context(t), tt.name, uint64(first), 100)
			if err != nil || len(out) != 3 {
				t.Fatalf("%d events were written: %v", len(out), err)
			}
			if last := out[2]; a.Revision != last.Revision || a.Position != last.Position || last.ID != in[2].ID ||
				int(last.Revision) != first+2 {
				t.Errorf("answered %+v for %+v", a, last)
			}
		})
	}
}

func TestARemovalWhoseAnswerIsLostIsDone(t *testing.T) {
	s := eventstoretest.Start(t)
	p, path := startProxy(t, s)
	c := dial(t, eventstore.Config{Socket: path})
	mustAppend(t, c, "secret-1", eventstore.NoStream, event(1))
	p.armed.Store(1)
	if err := c.Tombstone(wait.Context(t), "secret-1"); err != nil || p.armed.Load() != 0 {
		t.Errorf("tombstone: %v", err)
	}
	if _, err := c.ReadForward(wait.Context(t), "secret-1", 0, 1); !errors.Is(err, eventstore.ErrStreamDeleted) {
		t.Errorf("got %v", err)
	}
}

func TestADroppedSubscriptionSaysSoAndTheNextResumes(t *testing.T) {
	s := eventstoretest.Start(t)
	c := dial(t, eventstore.Config{Socket: s.Socket, Timeout: 500 * time.Millisecond})
	subscribe := func(after uint64) *eventstore.Subscription {
		t.Helper()
		var sub *eventstore.Subscription
		wait.Until(t, "a subscription", func() bool {
			var err error
			sub, err = c.SubscribeAll(t.Context(), after, eventstore.Filter{Types: "^[^$~]"})
			if err != nil && !errors.Is(err, eventstore.ErrUnavailable) {
				t.Fatal(err)
			}
			return err == nil
		})
		return sub
	}
	var position uint64
	var got []uint64
	take := func(sub *eventstore.Subscription, n int) {
		t.Helper()
		for len(got) < n {
			item, err := sub.Next()
			if err != nil {
				t.Fatal(err)
			}
			if item.Event != nil {
				got, position = append(got, item.Event.Revision), item.Event.Position
			}
		}
	}
	mustAppend(t, c, "s", eventstore.NoStream, events(5)...)
	sub := subscribe(0)
	take(sub, 5)
	for round := range 3 {
		s.Restart()
		var err error
		for err == nil {
			_, err = sub.Next() // the news that it had caught up may come first
		}
		if !errors.Is(err, eventstore.ErrUnavailable) {
			t.Fatalf("it dropped with %v", err)
		}
		if _, again := sub.Next(); again == nil {
			t.Error("it went on after it dropped")
		}
		n := int64(len(got))
		mustAppend(t, c, "s", n-1, events(5)...)
		sub = subscribe(position)
		take(sub, int(n)+5)
		if got[len(got)-1] != uint64(n)+4 {
			t.Fatalf("round %d: %v", round, got)
		}
	}
	for i, r := range got {
		if r != uint64(i) {
			t.Fatalf("not each once and in order: %v", got)
		}
	}
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
	if _, err := sub.Next(); err == nil {
		t.Error("it went on after it was closed")
	}
}

func TestASubscriptionOutlivesTheAttemptAndEndsByItsContext(t *testing.T) {
	s := eventstoretest.Start(t)
	c := dial(t, eventstore.Config{Socket: s.Socket, Timeout: 200 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sub, err := c.SubscribeAll(ctx, 0, eventstore.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if item, err := sub.Next(); err != nil || !item.CaughtUp {
		t.Fatalf("%+v %v", item, err)
	}
	attempt := time.After(400 * time.Millisecond)
	<-attempt // longer than an attempt may take
	mustAppend(t, c, "s", eventstore.NoStream, event(1))
	if item, err := sub.Next(); err != nil || item.Event == nil {
		t.Fatalf("%+v %v", item, err)
	}
	cancel()
	if _, err := sub.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
