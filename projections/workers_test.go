package projections_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/agent"
	"agentkey/eventstore/eventstoretest"
	"agentkey/projections"
)

// batches reads the log after a position through a feed of its own, up to the newest event.
func (w *world) batches(after uint64) []projections.Batch {
	w.t.Helper()
	ctx, done := context.WithCancel(w.t.Context())
	defer done()
	head := w.head()
	feed := projections.NewFeed(projections.FeedConfig{
		Name: "batches", Log: w.log, Logger: slog.New(slog.DiscardHandler),
		Begin: func(context.Context) (uint64, error) { return after, nil },
	})
	var out []projections.Batch
	err := projections.Run(ctx, feed, func(_ context.Context, b projections.Batch) error {
		out = append(out, b)
		if b.To >= head {
			done()
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestABatchThatComesAgainChangesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		agents, tools := w.story()
		w.stop()
		from := w.head()
		for range 3 {
			w.happened("agent-"+agents[0], self(agents[0]), vendOf(tools[0], 2))
		}
		var late projections.Batch
		for i, b := range w.batches(from) {
			if i == 0 {
				late = b
			} else {
				late.To, late.Events = b.To, append(late.Events, b.Events...)
			}
		}
		model := w.newModel(w.db)
		if at, err := model.Begin(t.Context()); err != nil || at > from {
			t.Fatalf("begins at %d, not %d: %v", at, from, err)
		} else {
			late.From = at
		}
		if err := model.Apply(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		once := w.dump()
		if diff := cmp.Diff(w.afresh().rows(), once.rows()); diff != "" {
			t.Fatalf("applied once (-afresh +applied):\n%s", diff)
		}
		for _, again := range []projections.Batch{
			late,
			{From: late.From, To: late.Events[0].Position, Events: late.Events[:1]},
			{From: late.Events[0].Position, To: late.To, Events: late.Events[1:]},
			{From: late.From, To: late.To + 1},
		} {
			if err := model.Apply(t.Context(), again); !errors.Is(err, projections.ErrOutpaced) {
				t.Errorf("the batch after %d again: %v", again.From, err)
			}
		}
		if diff := cmp.Diff(once, w.dump()); diff != "" {
			t.Errorf("a batch came again and changed (-once +again):\n%s", diff)
		}
	})
}

func TestTwoWorkersApplyEachEventOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		agents, tools := w.story()
		otherDB := w.place.open(t)
		defer func() { _ = otherDB.Close() }()
		other := w.newModel(otherDB)
		stop := runModel(t, other)
		defer stop()

		rounds := eventstoretest.Rounds(200)
		var wg sync.WaitGroup
		for _, id := range agents {
			wg.Go(func() {
				for range rounds {
					if _, err := w.append(
						"agent-"+id, self(id), vendOf(tools[0], 2),
						vendOf(tools[1], 2),
					); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		head := w.head()
		w.reached(head)
		if err := other.WaitFor(t.Context(), head); err != nil {
			t.Fatal(err)
		}
		got := w.dump()
		for _, id := range agents {
			if n := got["grants "+id+"/"+tools[1]]["fetch_count"]; n != fmt.Sprint(rounds) {
				t.Errorf("%s fetched %s times, not %d", id, n, rounds)
			}
		}
		if diff := cmp.Diff(w.afresh().rows(), got.rows()); diff != "" {
			t.Errorf("two workers (-afresh +both):\n%s", diff)
		}
		if failures := w.said.of("projection stopped"); len(failures) > 0 {
			t.Errorf("the slower worker called it a failure: %v", failures)
		}
	})
}

func TestAWorkerContinuesWhereItStopped(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		agents, tools := w.story()
		for range 3 {
			w.close()
			for _, id := range agents {
				w.happened("agent-"+id, self(id), vendOf(tools[1], 2))
			}
			stopped, err := strconv.ParseUint(w.dump()["checkpoints read_model"]["position"], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			w.open()
			began, err := w.db.ReadCheckpoint(t.Context())
			if err != nil || began.Position < stopped {
				t.Errorf("stopped at %d, goes on at %d: %v", stopped, began.Position, err)
			}
			w.reached(w.head())
		}
		if diff := cmp.Diff(w.afresh().rows(), w.dump().rows()); diff != "" {
			t.Errorf("stopped and started (-afresh +live):\n%s", diff)
		}
		if said := slices.Concat(
			w.said.of("projection stopped"), w.said.of("the projection is filled again from the beginning"),
		); len(said) > 0 {
			t.Errorf("it did not just continue: %v", said)
		}
	})
}

func TestTheLogIsFollowedAgainAfterItWasAway(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		agents, tools := w.story()
		for range 3 {
			w.store.Restart()
			w.then("agent-"+agents[0], self(agents[0]), vendOf(tools[0], 2))
		}
		w.store.Stop()
		s := w.eventually(
			"waits for the log",
			func(s projections.Status) bool { return s.State == projections.CatchingUp && s.Detail != "" },
		)
		if s.Head != 0 || s.Distance != 0 || s.Position == 0 || !s.EverCaughtUp {
			t.Errorf("without the log: %+v", s)
		}
		w.store.Restart()
		w.then("agent-"+agents[0], self(agents[0]), vendOf(tools[0], 2))
		w.eventually(
			"runs again", func(s projections.Status) bool { return s.State == projections.Running && s.Detail == "" },
		)
		if diff := cmp.Diff(w.afresh().rows(), w.dump().rows()); diff != "" {
			t.Errorf("after outages (-afresh +live):\n%s", diff)
		}
		if failures := w.said.of("projection stopped"); len(failures) > 0 {
			t.Errorf("an outage counts as a failure of the projection: %v", failures)
		}
	})
}

// While one worker goes through a batch event by event to find the one at fault, the others do the
// same: a worker that is late notices and blames no event for it.
func TestWorkersBlameOnlyTheEventAtFault(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		id, tool := w.agent("bot"), w.tool("github")
		from := w.then("agent-"+id, admin, agent.GrantAssigned{ToolID: tool})
		w.stop()
		vend := vendOf(tool, 1)
		w.happened("agent-"+id, self(id), vend, vend, vend)
		w.happened("agent-"+id, admin, agent.Registered{OrganizationID: org, Name: "again", Key: agent.Key{Number: 9}})
		batch := projections.Batch{From: from}
		for _, b := range w.batches(from) {
			batch.To, batch.Events = b.To, append(batch.Events, b.Events...)
		}
		models, errs := make([]*projections.ReadModel, 5), make([]error, 5)
		for i := range models {
			models[i] = w.newModel(w.db)
			if at, err := models[i].Begin(t.Context()); err != nil || at != from {
				t.Fatalf("begins at %d: %v", at, err)
			}
		}
		var wg sync.WaitGroup
		for i, m := range models {
			wg.Go(func() { errs[i] = m.Apply(t.Context(), batch) })
		}
		wg.Wait()
		blamed := 0
		for _, err := range errs {
			var e *projections.EventError
			switch {
			case errors.As(err, &e) && e.Stream == "agent-"+id && e.Revision == 5:
				blamed++
			case !errors.Is(err, projections.ErrOutpaced):
				t.Errorf("one says %v", err)
			}
		}
		if blamed != 1 {
			t.Errorf("%d workers came as far as the event at fault", blamed)
		}
		if n := w.dump()["grants "+id+"/"+tool]["fetch_count"]; n != "3" {
			t.Errorf("%s fetches are in the tables", n)
		}
	})
}
