package readmodels_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

func testCheckpoint(t *testing.T, s *shelf) {
	is := func(want readmodels.Checkpoint) {
		t.Helper()
		if diff := cmp.Diff(want, must[readmodels.Checkpoint](t)(s.db.ReadCheckpoint(t.Context()))); diff != "" {
			t.Errorf("the checkpoint (-want +got):\n%s", diff)
		}
	}
	claim := func(store string) error {
		return s.db.Write(t.Context(), func(tx *readmodels.Tx) error {
			return tx.Claim(t.Context(), store, noon, time.Time{})
		})
	}
	move := func(store string, from, to uint64) error {
		return s.db.Write(
			t.Context(), func(tx *readmodels.Tx) error { return tx.Move(t.Context(), store, from, to, "") },
		)
	}
	is(readmodels.Checkpoint{})
	if err := move("", 1, 2); !errors.Is(err, readmodels.ErrMoved) {
		t.Errorf("from where it is not: %v", err)
	}
	for range 2 {
		if err := claim("s1"); err != nil {
			t.Fatal(err)
		}
		is(readmodels.Checkpoint{StoreID: "s1", StoreCreated: noon})
	}
	if err := claim("s2"); !errors.Is(err, readmodels.ErrMoved) {
		t.Errorf("claimed for another log: %v", err)
	}
	if err := move("s1", 0, 1<<50); err != nil {
		t.Fatal(err)
	}
	is(readmodels.Checkpoint{StoreID: "s1", StoreCreated: noon, Position: 1 << 50})
	for _, err := range []error{move("s1", 0, 1), move("s2", 1<<50, 1<<51), claim("s2")} {
		if !errors.Is(err, readmodels.ErrMoved) {
			t.Errorf("by somebody who is late: %v", err)
		}
	}
	is(readmodels.Checkpoint{StoreID: "s1", StoreCreated: noon, Position: 1 << 50})

	// Of many workers at the same position one gets on, round after round.
	const workers, rounds = 4, 10
	var won [rounds]int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := range uint64(rounds) {
				err := move("s1", 1<<50+n, 1<<50+n+1)
				if err == nil {
					mu.Lock()
					won[n]++
					mu.Unlock()
				} else if !errors.Is(err, readmodels.ErrMoved) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if won != [rounds]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1} {
		t.Errorf("so many got on each time: %v", won)
	}
}

func testReplace(t *testing.T, s *shelf) {
	ctx := t.Context()
	s.agent(acme, "old", "old")
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(tx.Claim(ctx, "s1", noon, time.Time{}), tx.Move(ctx, "s1", 0, 7, ""))
	})
	agents := func() []string {
		t.Helper()
		l := must[readmodels.List[readmodels.Agent]](t)(s.db.Agents(ctx, acme, readmodels.AgentFilter{}, noon, all))
		return names(l.Items, func(a readmodels.Agent) string { return a.ID })
	}
	for n := range 3 {
		beside, err := s.db.Beside(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if c := must[readmodels.Checkpoint](t)(beside.ReadCheckpoint(ctx)); c != (readmodels.Checkpoint{}) {
			t.Errorf("new tables are at %+v", c)
		}
		(&shelf{t: t, db: beside}).agent(acme, fmt.Sprint("new", n), "new")
		before := agents()
		if diff := cmp.Diff(before, agents()); diff != "" {
			t.Errorf("the live tables changed (-before +after):\n%s", diff)
		}
		if n == 1 {
			if err := beside.Discard(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, agents()); diff != "" {
				t.Errorf("after new ones were discarded (-before +after):\n%s", diff)
			}
			continue
		}
		if err := s.db.Replace(ctx, beside, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{fmt.Sprint("new", n)}, agents()); diff != "" {
			t.Errorf("replaced (-want +got):\n%s", diff)
		}
		if c := must[readmodels.Checkpoint](t)(s.db.ReadCheckpoint(ctx)); c != (readmodels.Checkpoint{}) {
			t.Errorf("replaced, at %+v", c)
		}
		s.agent(acme, fmt.Sprint("later", n), "later")
		if diff := cmp.Diff([]string{fmt.Sprint("later", n), fmt.Sprint("new", n)}, agents()); diff != "" {
			t.Errorf("written after that (-want +got):\n%s", diff)
		}
	}
	if err := s.db.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if got := agents(); len(got) != 0 {
		t.Errorf("emptied, there are %v", got)
	}
	s.agent(acme, "again", "again")
}

// testReplaceUnderReaders: in generation n every agent has the name n and there are 20 of them; a
// writer goes on in the live tables meanwhile.
func testReplaceUnderReaders(t *testing.T, s *shelf) {
	const size, generations = 20, 6
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	fill := func(db *readmodels.DB, generation int) {
		t.Helper()
		err := db.Write(t.Context(), func(tx *readmodels.Tx) error {
			for i := range size {
				err := tx.InsertAgent(
					t.Context(),
					readmodels.InsertAgentParams{
						ID: fmt.Sprint("a", i), OrganizationID: acme, Position: int64(i + 1),
						Name: fmt.Sprint(generation),
					},
				)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	fill(s.db, 0)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for asked, seen := 0, 0; ctx.Err() == nil || asked < 10; asked++ {
				list, err := s.db.Agents(t.Context(), acme, readmodels.AgentFilter{}, noon, all)
				if err != nil || len(list.Items) != size {
					t.Errorf("%d agents: %v", len(list.Items), err)
					return
				}
				for _, a := range list.Items {
					if a.Name != list.Items[0].Name {
						t.Errorf("agents of generation %s and %s", a.Name, list.Items[0].Name)
						return
					}
				}
				var generation int
				_, _ = fmt.Sscan(list.Items[0].Name, &generation)
				if generation < seen {
					t.Errorf("generation %d after %d", generation, seen)
				}
				seen = generation
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			err := s.db.Write(t.Context(), func(tx *readmodels.Tx) error {
				return errors.Join(tx.TouchAgent(t.Context(), "a1"), tx.TouchAgent(t.Context(), "a2"))
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for n := range generations {
		beside, err := s.db.Beside(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fill(beside, n+1)
		if err := s.db.Replace(t.Context(), beside, nil); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	wg.Wait()
}
