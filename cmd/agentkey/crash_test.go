package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestNothingAcknowledgedIsLostWhenItIsKilled kills the program at random moments under load. What
// it acknowledged is there afterwards, whole, and the read model that went on from its checkpoint
// is the one that a rebuild makes.
func TestNothingAcknowledgedIsLostWhenItIsKilled(t *testing.T) {
	t.Parallel()
	p := startProcess(t, unlimited...)
	f := mustFleet(p, 8, 2)
	acknowledged := map[string]bool{} // ids of events and names of tools
	for round := range eventstoretest.Rounds(10) {
		for id := range p.killUnderLoad(f, round) {
			acknowledged[id] = true
		}
		p.run()
	}
	p.settled()
	p.stop()
	found := 0
	p.office(func(ctx context.Context, o *office) error {
		return walk(ctx, o.client, func(r eventstore.Recorded) error {
			if acknowledged[r.ID.String()] {
				found++
			}
			if r.Type == "tool.added.v1" {
				for name := range acknowledged {
					if strings.Contains(string(r.Data), `"name":"`+name+`"`) {
						found++
					}
				}
			}
			return nil
		})
	})
	t.Logf("%d writes were acknowledged", len(acknowledged))
	if found != len(acknowledged) || found == 0 {
		t.Errorf("%d of %d acknowledged writes are in the log", found, len(acknowledged))
	}
	p.compareWithRebuild()
}

// TestALargeImportIsWholeWhenItIsKilled kills the program at random moments of imports that take
// several appends. After each start a file is in the catalog as a whole or not at all, without
// anybody sending it again.
func TestALargeImportIsWholeWhenItIsKilled(t *testing.T) {
	t.Parallel()
	p := startProcess(t, unlimited...)
	const each = 320
	var took time.Duration
	whole := 0
	for round := range eventstoretest.Rounds(6) {
		tools := make([]object, each)
		for i := range tools {
			tools[i] = object{
				"name": fmt.Sprintf("Round %d tool %d", round, i), "auth_type": "api_key", "credential_mode": "shared",
				"instructions": strings.Repeat("0123456789", 390),
			}
		}
		file := object{"agentkey_catalog": 1, "tools": tools}
		began := time.Now()
		imported := make(chan error, 1)
		go func() {
			_, err := p.admin().try("PUT", importPath, file)
			imported <- err
		}()
		if round == 0 {
			if err := <-imported; err != nil {
				t.Fatal(err)
			}
			took = time.Since(began)
		} else {
			<-time.After(rand.N(took))
			p.kill()
			if err := <-imported; err == nil {
				t.Logf("round %d was answered before it was killed", round)
			}
			p.run()
		}
		var plan answer
		wait.Until(t, "the catalog is settled", func() bool {
			plan = p.admin().call("PUT", importPath+"?dry_run=true", file)
			return plan.Text("code") != "busy"
		})
		switch changes := len(planned(plan)); {
		case plan.Status != 200 || changes != 0 && changes != each || round == 0 && changes != 0:
			t.Errorf("round %d: of %d tools %d are missing: %.500s", round, each, changes, plan.Body)
		case changes == 0:
			whole++
		}
	}
	t.Logf("%d files are in the catalog", whole)
	p.settled()
	p.stop()
	p.verify()
	p.compareWithRebuild()
}

// settled returns when the read model and the ledger have everything that is in the log.
func (p *program) settled() {
	p.t.Helper()
	began := time.Now()
	wait.Until(p.t, "everything is in the read model", func() bool {
		if time.Since(began) < lookEvery { // it might be of before
			return false
		}
		list, _ := p.anyone().call("GET", "/readyz", nil).At("projections").([]any)
		return len(list) > 0 && !slices.ContainsFunc(list, func(one any) bool {
			s, _ := one.(object)
			return s["distance"] != 0.0 || s["status"] != "running" && s["status"] != "standby"
		})
	})
}

// compareWithRebuild fills a stopped program's read model again and compares.
func (p *program) compareWithRebuild() {
	p.t.Helper()
	live := p.tables()
	p.shell("projections", "rebuild")
	if diff := cmp.Diff(p.tables(), live); diff != "" {
		p.t.Errorf("the read model is not what a rebuild makes (-rebuilt +live):\n%s", diff)
	}
}

// killUnderLoad lets agents fetch and an admin add tools until the process is killed at a random
// moment, and returns what was acknowledged before.
func (p *program) killUnderLoad(f fleet, round int) map[string]bool {
	p.t.Helper()
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	note := func(id string) {
		mu.Lock()
		defer mu.Unlock()
		acknowledged[id] = true
	}
	var load sync.WaitGroup
	enough := make(chan struct{})
	var once sync.Once
	for i, key := range f.keys {
		agent := p.with(key)
		load.Go(func() {
			for n := 0; ; n++ {
				a, err := agent.try("GET", "/api/tools/"+f.tools[n%len(f.tools)]+"/credentials", nil)
				if err != nil {
					return // it was killed
				}
				if a.Status != 200 {
					p.t.Errorf("a fetch under load: %d %s", a.Status, a.Body)
					return
				}
				note(a.Text("receipt.event_id"))
				if n == 3 && i == 0 {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	admin := p.admin()
	load.Go(func() {
		for n := 0; ; n++ {
			name := fmt.Sprintf("Round %d tool %d", round, n)
			a, err := admin.try(
				"POST", "/api/admin/tools",
				object{"name": name, "auth_type": "api_key", "credential_mode": "shared", "credential": "x"},
			)
			if err != nil || a.Status != 201 {
				return
			}
			note(name)
		}
	})
	<-enough
	<-time.After(rand.N(300 * time.Millisecond))
	p.kill()
	load.Wait()
	return acknowledged
}

// tables is every row of a stopped program's read model. How far it has come is left out: what
// reactions note down at the very end may be read by the next start.
func (p *program) tables() map[string][]string {
	p.t.Helper()
	for _, e := range p.env {
		if database, found := strings.CutPrefix(e, "AGENTKEY_DATABASE_URL="); found {
			return tablesIn(p.t, database)
		}
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.Dir, readModelFile)+"?_pragma=query_only(1)")
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	out := map[string][]string{}
	for _, table := range column(p.t, db, `select name from sqlite_master where type = 'table'
		and name <> 'checkpoints' and name not like 'sqlite%'`) {
		names := column(p.t, db, `select name from pragma_table_info('`+table+`')`)
		out[table] = column(p.t, db, `select `+strings.Join(quoted(names), ` || ' ' || `)+` from `+table+` order by 1`)
	}
	return out
}

// tablesIn is tables of a database on Postgres.
func tablesIn(t testing.TB, database string) map[string][]string {
	t.Helper()
	db, err := sql.Open("pgx", database+"&default_query_exec_mode=exec") // also through a pooler
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	out := map[string][]string{}
	for _, table := range column(t, db, `select format('%I.%I', schemaname, tablename) from pg_tables
		where schemaname like 'agentkey\_%' and tablename <> 'checkpoints'`) {
		out[table] = column(t, db, `select one::text from `+table+` as one order by 1`)
	}
	if len(out) == 0 {
		t.Error("there is no read model in the database")
	}
	return out
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "coalesce(" + n + ",'')"
	}
	return out
}

func column(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestALostReadModelIsFilledAgain drops the read model of a program with a history: the next start
// has the same rows and writes no event.
func TestALostReadModelIsFilledAgain(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 2, 2)
	p.with(f.keys[0]).fetch(f.tools[0])
	p.admin().must(200, "POST", "/api/admin/agents/"+f.ids[1]+"/suspend", nil)
	p.admin().must(204, "DELETE", "/api/admin/tools/"+f.tools[1], nil)
	p.reacted("removed_tools", 1)
	p.restart()
	p.stop()
	before, head := p.tables(), p.head()
	p.loseReadModel()
	p.run()
	p.stop()
	if diff := cmp.Diff(before, p.tables()); diff != "" {
		t.Errorf("other rows came back (-before +after):\n%s", diff)
	}
	if now := p.head(); now != head {
		t.Errorf("the log went from position %d to %d", head, now)
	}
}

// head returns the position of the last event that isn't a checkpoint of the ledger or the use of a
// token: those come by the clock.
func (p *program) head() uint64 {
	p.t.Helper()
	var last eventstore.Recorded
	p.office(func(ctx context.Context, o *office) (err error) {
		last, _, err = o.client.Newest(ctx, func(r eventstore.Recorded) bool {
			category, _ := codec.Split(strings.TrimPrefix(r.Stream, "$$"))
			return category != codec.Checkpoints && category != codec.Uses
		})
		return err
	})
	return last.Position
}
