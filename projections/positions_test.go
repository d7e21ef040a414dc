package projections_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/projections"
)

func TestWaitingForAPosition(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		id, tool := w.agent("bot"), w.tool("github")
		if err := w.model.WaitFor(t.Context(), w.head()); err != nil {
			t.Errorf("for what was reached: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := w.model.WaitFor(ctx, w.head()+1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("for what has not happened: %v", err)
		}
		// A position beyond the head is awaited before an event has reached it, and what was written is
		// there when the wait is over.
		for n := 1; n <= 20; n++ {
			next := w.head() + 1
			waited := make(chan error, 1)
			go func() { waited <- w.model.WaitFor(t.Context(), next) }()
			w.happened(
				"agent-"+id, admin, agent.GrantAssigned{ToolID: tool},
				agent.GrantRevoked{ToolID: tool, Cause: agent.CauseAdmin}, agent.Updated{Name: new(fmt.Sprint(n))},
			)
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			w.reached(w.head())
			a, err := w.db.Agent(t.Context(), org, id, w.now)
			if err != nil || a.Name != fmt.Sprint(n) {
				t.Fatalf("after %d the name is %q: %v", w.head(), a.Name, err)
			}
		}
	})
}

// A command answers with the position of its last event, whatever stream that is in. The feed hears
// of each: it is never idle here, so it does not find out by looking for the end of the log.
func TestEveryPositionOfACommandIsReachedAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.stop()
		w.idle = time.Hour
		w.run()
		for _, of := range []struct {
			category codec.Category
			event    any
		}{
			{codec.Requests, codec.RequestOpened{}},
			{codec.Secrets, codec.SecretSealed{}},
			{codec.Secrets, codec.SecretRewrapped{}},
			{codec.Keys, codec.OnceReserved{}},
			{codec.Keys, codec.OnceCompleted{}},
			{codec.Reactions, codec.ReactionHandled{}},
		} {
			w.then(of.category.Stream(w.id()), admin, of.event)
		}
	})
}

// What the store or another application writes for itself, and our snapshots, aren't events for a
// projection; they must not make it look as if it were behind.
func TestThePositionMovesOverForeignEvents(t *testing.T) {
	others := func(w *world) {
		for range 3 {
			w.raw("snapshot-agent", eventstore.Event{Type: codec.Snapshot, Data: []byte(`{}`), Metadata: []byte(`{}`)})
		}
		w.raw("orders-1", eventstore.Event{Type: "OrderPlaced", Data: []byte(`[1]`), Metadata: []byte(`not ours`)})
		w.raw("agents", eventstore.Event{Type: "agent.registered.v1", Data: []byte(`{}`), Metadata: []byte(`{}`)})
		if err := w.store.Client.SetStreamMetadata(
			w.t.Context(), "snapshot-agent", eventstore.StreamMetadata{MaxCount: 1},
		); err != nil {
			w.t.Fatal(err)
		}
		secret := "secret-" + w.id()
		w.happened(secret, admin, codec.SecretSealed{})
		if err := w.store.Client.Tombstone(w.t.Context(), secret); err != nil {
			w.t.Fatal(err)
		}
	}
	stored := func(w *world) uint64 {
		c, err := w.db.ReadCheckpoint(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		return c.Position
	}
	everywhere(t, func(t *testing.T, w *world) {
		w.stop()
		others(w)
		w.run()
		w.reached(w.head())
		w.eventually(
			"stores the position", func(s projections.Status) bool { return s.Distance == 0 && stored(w) == w.head() },
		)

		others(w)
		w.reached(w.head())
		w.eventually(
			"stores the position", func(s projections.Status) bool { return s.Distance == 0 && stored(w) == w.head() },
		)
		if s := w.model.Status(t.Context()); s.State != projections.Running {
			t.Errorf("while nothing happens: %+v", s)
		}
	})
}

func TestStatusTellsHowFarItIs(t *testing.T) {
	began := time.Now().Add(-time.Second) // of a clock of the log that counts coarsely
	everywhere(t, func(t *testing.T, w *world) {
		w.story()
		w.stop()
		if s := w.model.Status(t.Context()); s.State != projections.Stopped {
			t.Errorf("stopped: %+v", s)
		}
		for range 5 {
			w.happened("organization-"+org, admin, codec.RequestOpened{})
		}
		w.model = w.newModel(w.db)
		head := w.head()
		want := projections.Status{Name: "read_model", Head: head, Distance: head, State: projections.Stopped}
		got := w.model.Status(t.Context())
		if got.Lag <= 0 || got.Lag > time.Since(began) {
			t.Errorf("it is behind by %v, and the log is %v old", got.Lag, time.Since(began))
		}
		got.Lag = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("before it runs (-want +got):\n%s", diff)
		}
		w.stop = runModel(t, w.model)
		w.reached(w.head())
		want = projections.Status{
			Name: "read_model", Position: head, Head: head, EverCaughtUp: true, State: projections.Running,
		}
		if diff := cmp.Diff(
			want, w.eventually("runs", func(s projections.Status) bool { return s.State == projections.Running }),
		); diff != "" {
			t.Errorf("when it has caught up (-want +got):\n%s", diff)
		}
	})
}

func TestNothingIsWrittenToTheLog(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.story()
		head, before := w.head(), w.dump()
		idle := func() {
			t.Helper()
			w.reached(head)
			w.eventually(
				"is idle", func(s projections.Status) bool { return s.State == projections.Running && s.Distance == 0 },
			)
			if w.head() != head {
				t.Fatalf("the log went from %d to %d", head, w.head())
			}
			if diff := cmp.Diff(before.rows(), w.dump().rows()); diff != "" {
				t.Fatalf("the tables (-before +after):\n%s", diff)
			}
		}
		for range 5 {
			w.stop()
			w.run()
			idle()
		}
		w.close()
		w.place.drop(t)
		w.open()
		idle()
		if err := w.model.Rebuild(t.Context()); err != nil {
			t.Fatal(err)
		}
		idle()
	})
}
