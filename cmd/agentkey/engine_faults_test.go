package main

import (
	"database/sql"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

// traffic is agents that fetch on every replica while something fails.
type traffic struct {
	t       testing.TB
	fetched atomic.Int64
	stop    func()
}

// mustGoOn lets each agent of a fleet fetch, on all replicas by turns, until stop. Every fetch must
// succeed.
func mustGoOn(t testing.TB, replicas []*program, f fleet) *traffic {
	t.Helper()
	l := &traffic{t: t}
	over := make(chan struct{})
	var agents sync.WaitGroup
	for i, key := range f.keys {
		next := pace(t)
		var on []client
		for _, p := range replicas {
			on = append(on, p.with(key))
		}
		agents.Go(func() {
			for n := i; ; n++ {
				select {
				case <-over:
					return
				case <-next:
				}
				a, err := on[n%len(on)].try("GET", "/api/tools/"+f.tools[n%len(f.tools)]+"/credentials", nil)
				if err != nil || a.Status != 200 {
					t.Errorf("a fetch got %d: %s %v", a.Status, a.Body, err)
					return
				}
				l.fetched.Add(1)
			}
		})
	}
	l.stop = sync.OnceFunc(func() {
		close(over)
		agents.Wait()
	})
	t.Cleanup(l.stop)
	return l
}

// pace says when load calls next: often, and yet most of the processor is left to what the load is
// for.
func pace(t testing.TB) <-chan time.Time {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	t.Cleanup(tick.Stop)
	return tick.C
}

// more waits until so many more fetches have succeeded.
func (l *traffic) more(n int64) {
	l.t.Helper()
	before := l.fetched.Load()
	wait.Until(l.t, "vended", func() bool { return l.fetched.Load() >= before+n || l.t.Failed() })
}

// ready is what a replica says of itself: its own word, and the check of a name.
func (p *program) ready(check string) (status, checked string) {
	p.t.Helper()
	a := p.anyone().call("GET", "/readyz", nil)
	checks, _ := a.At("checks").([]any)
	for _, c := range checks {
		if c, _ := c.(object); c["name"] == check {
			checked, _ = c["status"].(string)
		}
	}
	return a.Text("status"), checked
}

// at waits until each replica says a word of itself and of a check.
func at(t testing.TB, replicas []*program, check, status, checked string) {
	t.Helper()
	for _, p := range replicas {
		wait.Until(t, status+": "+check+" is "+checked, func() bool {
			now, of := p.ready(check)
			return now == status && of == checked
		})
	}
}

// TestPostgresMayStopAndStart stops the read model's Postgres under load, once as its operator does
// and once with what it had not written lost. Fetches and commands continue, queries say that they
// can't be answered, and when it is back the rows become what they would have been.
func TestPostgresMayStopAndStart(t *testing.T) {
	t.Parallel()
	postgres := startPostgres(t)
	log := ownLog(t, "it compares every row of the installation").replicas()
	replicas := startReplicasOn(t, 2, log, postgres.URL, sharedRedis(t))
	f := mustFleet(replicas[0], 4, 2)
	load := mustGoOn(t, replicas, f)
	now := []string{"X-Wait-For-Position", ""}
	for _, end := range []func(){postgres.stop, postgres.crash} {
		load.more(50)
		end()
		for i, p := range replicas {
			for _, path := range []string{"agents", "tools", "requests", "grants", "audit"} {
				if a := p.admin().refused(
					503, "read_model_unavailable", "GET", "/api/admin/"+path, nil, now...,
				); a.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %v", path, a.Header)
				}
			}
			p.with(f.keys[i]).refused(503, "read_model_unavailable", "GET", "/api/tools", nil, now...)
			p.admin().mustAgent("Made without Postgres")
		}
		at(t, replicas, "read_model", "degraded", "degraded")
		load.more(50)
		postgres.start()
		at(t, replicas, "read_model", "ready", "ok")
	}
	load.stop()
	replicas[0].admin().mustAgent("The last")
	var counted, agents int
	for _, g := range replicas[0].admin().must(200, "GET", "/api/admin/grants?limit=200", nil).Items() {
		n, _ := g["fetch_count"].(float64)
		counted += int(n)
	}
	agents = len(replicas[0].admin().must(200, "GET", "/api/admin/agents?limit=200", nil).Items())
	if fetched := int(load.fetched.Load()); counted != fetched || agents != len(f.ids)+5 {
		t.Errorf("the read model knows of %d of %d fetches and of %d agents", counted, fetched, agents)
	}
	for _, p := range replicas {
		p.stop()
	}
	replicas[0].compareWithRebuild()
}

// TestReadinessNeedsTheLogAlone starts a process whose read model can't be reached at all: it is
// degraded, says why, and vends.
func TestReadinessNeedsTheLogAlone(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 1, 1)
	p.stop()
	p.env = append(p.env, "AGENTKEY_DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing")
	p.launch()
	p.begun()
	p.becomes(200, `"degraded"`, `"read_model","status":"degraded"`, notCaughtUp, "nothing listens on 127.0.0.1:1")
	if a := p.with(f.keys[0]).fetch(f.tools[0]); a.Status != 200 {
		t.Errorf("a fetch: %s", a.Body)
	}
	p.admin().mustAgent("Another")
	p.admin().refused(503, "read_model_unavailable", "GET", "/api/admin/agents", nil)
}

// TestAReplicaKilledInTheMiddleOfABatchIsReplaced kills the process that fills the tables while its
// transaction is open. The other one takes over within ten seconds, and nothing is missing or there
// twice.
func TestAReplicaKilledInTheMiddleOfABatchIsReplaced(t *testing.T) {
	t.Parallel()
	database := readmodelstest.Postgres(t)
	for name, way := range map[string]string{
		"directly": database, "through a pooler": readmodelstest.Pooled(t, database),
	} {
		t.Run(name, func(t *testing.T) {
			dropModels(t, database)
			killedInTheMiddle(t, database, way)
		})
	}
}

func killedInTheMiddle(t *testing.T, database, way string) {
	t.Helper()
	log := ownLog(t, "it compares every row of the installation").replicas()
	replicas := startReplicasOn(t, 2, log, way, sharedRedis(t))
	f := mustFleet(replicas[0], 4, 2)
	for range 3 {
		leads := leader(t, replicas)
		dies, lives := replicas[leads], replicas[1-leads]
		load := mustGoOn(t, replicas[1-leads:2-leads], f)
		free := holdTable(t, database, "audit_entries")
		wait.Until(t, "in the middle of a batch", func() bool { return waiting(t, database) })
		dies.kill()
		free()
		wait.Until(t, "the one that fills the tables", func() bool { return lives.filling() == "running" })
		load.more(50)
		load.stop()
		lives.admin().must(200, "GET", "/api/admin/tools", nil) // it has reached the last fetch
		dies.run()
	}
	// What one replica was told the other one knows, and the doctor finds nothing wrong.
	replicas[0].admin().mustAgent("Through the pooler")
	replicas[1].seen.Store(replicas[0].seen.Load())
	if n := len(replicas[1].admin().must(200, "GET", "/api/admin/agents?limit=200", nil).Items()); n != len(f.ids)+1 {
		t.Errorf("%d agents", n)
	}
	code, said, _ := consult(t, replicas[1].env)
	expect(t, said, map[string]string{"read model": "ok filled up to position"})
	if code != exitOK {
		t.Errorf("the doctor says %v", said)
	}
	for _, p := range replicas {
		p.stop()
	}
	replicas[0].compareWithRebuild()
}

// filling is what a replica says of the projection of the read model.
func (p *program) filling() string {
	p.t.Helper()
	list, _ := p.anyone().call("GET", "/readyz", nil).At("projections").([]any)
	one, _ := list[0].(object)
	state, _ := one["status"].(string)
	return state
}

// leader waits until one of two replicas fills the tables and the other stands by.
func leader(t testing.TB, replicas []*program) (leads int) {
	t.Helper()
	wait.Until(t, "one leader", func() bool {
		first, second := replicas[0].filling(), replicas[1].filling()
		if second == "running" {
			leads = 1
		}
		return first == "running" && second == "standby" || first == "standby" && second == "running"
	})
	return leads
}

// holdTable keeps everybody from a table of the read model until the function that it returns is
// called.
func holdTable(t testing.TB, database, table string) (free func()) {
	t.Helper()
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(t.Context(), "LOCK TABLE "+column(t, db, `select format('%I.%I', schemaname, tablename)
		from pg_tables
			where schemaname like 'agentkey\_%' and tablename = '`+table+`'`)[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// waiting reports whether a transaction has written and waits for a table that somebody holds.
func waiting(t testing.TB, database string) bool {
	t.Helper()
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return len(column(t, db, `select pid::text from pg_stat_activity
		where datname = current_database() and wait_event_type = 'Lock' and backend_xid is not null`)) > 0
}
