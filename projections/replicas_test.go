package projections_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/agent"
	"agentkey/eventstore/eventstoretest"
	"agentkey/projections"
	"agentkey/readmodels"
	"agentkey/readmodels/readmodelstest"
)

// replica is another process on the same log and tables.
func (w *world) replica() *world {
	w.t.Helper()
	r := &world{t: w.t, store: w.store, log: w.log, engine: w.engine, place: w.place, idle: idle}
	r.open()
	return r
}

// On Postgres one process fills the tables; the others know how far they are, and one of them
// continues.
func TestAnotherReplicaTakesOver(t *testing.T) {
	onPostgres(t, func(t *testing.T, w *world) {
		agents, tools := w.story()
		other := w.replica()
		standby := func(s projections.Status) bool {
			return s.State == projections.Standby && s.EverCaughtUp && s.Distance == 0
		}
		other.eventually("stands by", standby)
		for range 20 {
			other.reached(
				w.happened("agent-"+agents[0], self(agents[0]), vendOf(tools[0], 2)),
			)
		}
		if s := w.model.Status(t.Context()); s.State != projections.Running {
			t.Errorf("who leads: %+v", s)
		}
		w.close()
		other.eventually("leads", func(s projections.Status) bool { return s.State == projections.Running })
		third := w.replica()
		third.eventually("stands by", standby)
		w.happened("agent-"+agents[0], self(agents[0]), vendOf(tools[0], 2))
		other.reached(w.head())
		third.reached(w.head())
		if diff := cmp.Diff(w.afresh().rows(), w.dump().rows()); diff != "" {
			t.Errorf("after the change (-afresh +live):\n%s", diff)
		}
	})
}

// traffic goes on until the function that it returns is called.
func (w *world) traffic(agents []string, toolID string) (quiet func()) {
	ctx, stop := context.WithCancel(w.t.Context())
	var writers sync.WaitGroup
	for _, id := range agents {
		writers.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				_, err := w.append(
					"agent-"+id, self(id), vendOf(toolID, 2),
					agent.Updated{Name: new(fmt.Sprint(n))},
				)
				if err != nil {
					w.t.Error(err)
					return
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return func() {
		stop()
		writers.Wait()
	}
}

// unblemished compares the tables with new ones, and checks that no event was blamed.
func (w *world) unblemished() {
	w.t.Helper()
	w.reached(w.head())
	if diff := cmp.Diff(w.afresh().rows(), w.dump().rows()); diff != "" {
		w.t.Errorf("the tables (-afresh +live):\n%s", diff)
	}
	for _, r := range w.said.of("projection stopped") {
		w.t.Errorf("it called an outage its own failure: %v", r["error"])
	}
}

func TestPostgresIsAwayForAWhile(t *testing.T) {
	url := readmodelstest.Postgres(t)
	wire := readmodelstest.NewWire(t, url)
	w := newWorld(t, func(t testing.TB) place { return postgresAt(t, url, wire.URL) })
	w.engine = postgres
	agents, tools := w.story()
	quiet := w.traffic(agents, tools[1])
	for range 3 {
		wire.Cut()
		s := w.eventually(
			"waits for the store", func(s projections.Status) bool { return s.State == projections.Failed },
		)
		if s.Detail != readmodels.ErrUnavailable.Error() || s.Head == 0 || !s.EverCaughtUp {
			t.Errorf("without Postgres: %+v", s)
		}
		if _, err := w.db.Agent(t.Context(), org, agents[0], start); err == nil {
			t.Error("a query was answered without Postgres")
		}
		wire.Mend()
		w.eventually(
			"runs again", func(s projections.Status) bool { return s.State == projections.Running && s.Detail == "" },
		)
	}
	quiet()
	w.unblemished()
}

// As when a replica is killed: what was sent of a batch is gone or whole.
func TestConnectionsEndInTheMiddle(t *testing.T) {
	onPostgres(t, func(t *testing.T, w *world) {
		agents, tools := w.story()
		quiet := w.traffic(agents, tools[1])
		for range eventstoretest.Rounds(60) {
			w.sql(
				"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid " +
					"<> pg_backend_pid() ORDER BY random() LIMIT 2",
			)
			position := w.model.Status(t.Context()).Position
			w.eventually("gets on", func(s projections.Status) bool { return s.Position > position })
		}
		quiet()
		w.unblemished()
	})
}

func TestTablesThatAreDroppedUnderItAreFilledAgain(t *testing.T) {
	w := newWorld(t, postgres)
	agents, tools := w.story()
	w.place.drop(t)
	w.happened("agent-"+agents[0], self(agents[0]), vendOf(tools[0], 2))
	w.eventually("fills them again", func(s projections.Status) bool {
		c, err := w.db.ReadCheckpoint(t.Context())
		return err == nil && c.Position == s.Head && s.State == projections.Running
	})
	w.unblemished()
}

// What reports see is of the tables that the projection fills, before and after they are refilled.
func TestReportsShowEveryTable(t *testing.T) {
	w := newWorld(t, postgres)
	agents, tools := w.story()
	count := func() (n int) {
		w.place.ask(t, func(db *sql.DB) {
			const query = "SELECT fetch_count FROM reporting.grants WHERE agent_id = $1 AND tool_id = $2 AND status " +
				"= 'approved'"
			if err := db.QueryRowContext(t.Context(), query, agents[0], tools[0]).Scan(&n); err != nil {
				t.Fatal(err)
			}
		})
		return n
	}
	for n := 5; n < 8; n++ {
		if got := count(); got != n {
			t.Errorf("reports count %d fetches, not %d", got, n)
		}
		if err := w.model.Rebuild(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.then("agent-"+agents[0], self(agents[0]), vendOf(tools[0], 2))
	}
	w.place.ask(t, func(db *sql.DB) {
		var schemas string
		if err := db.QueryRowContext(
			t.Context(), "SELECT string_agg(nspname, ' ') FROM pg_namespace WHERE nspname ~ '^(agentkey_|reporting)'",
		).Scan(&schemas); err != nil || len(strings.Fields(schemas)) != 2 {
			t.Errorf("the schemas are %s: %v", schemas, err)
		}
	})
}
