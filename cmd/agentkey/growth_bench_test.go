package main

import (
	"context"
	"database/sql"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

// apart is how far apart the events are that benchmarks make: ten a second.
const apart = 100 * time.Millisecond

// BenchmarkGrowth measures what one fetch takes of the disk, and one request with its approval: in
// the embedded log, in the read model, its indexes of the audit included, and in the ledger. They
// are filled as they are in service, not by a rebuild.
func BenchmarkGrowth(b *testing.B) {
	for name, kind := range map[string]struct {
		times int
		seed  func(testing.TB, *program, fleet, int)
	}{"fetch": {50_000, seed}, "request_and_approval": {5_000, seedRequests}} {
		for _, engine := range []string{"embedded", "postgres"} {
			b.Run(name+"/"+engine, func(b *testing.B) {
				var env []string
				if engine == "postgres" {
					env = []string{"AGENTKEY_DATABASE_URL=" + readmodelstest.Postgres(b)}
				}
				for b.Loop() { // once: it takes longer than a benchmark
					p := startProcess(b, append(env, unlimited...)...)
					f := mustFleet(p, 64, 10)
					p.stop()
					before := p.sizes()
					kind.seed(b, p, f, kind.times)
					p.run()
					p.followed()
					p.stop()
					after := p.sizes()
					reportGrowth(b, before, after, float64(kind.times))
				}
			})
		}
	}
}

func reportGrowth(b *testing.B, before, after map[string]int64, times float64) {
	var readModel, audit float64
	for object, size := range after {
		grew := float64(size-before[object]) / times
		ofAudit := strings.Contains(object, "audit_")
		if ofAudit {
			audit += grew
		}
		if ofAudit || object == "log" || object == "ledger" {
			b.ReportMetric(grew, object+"-B")
		}
		if object != "log" && object != "ledger" {
			readModel += grew
		}
	}
	b.ReportMetric(readModel, "read-model-B")
	b.ReportMetric(readModel-audit, "beside-audit-B")
	b.ReportMetric(0, "ns/op") // how long it takes says nothing
}

// seedRequests appends requests and their approvals to a stopped program's log, as if they had been
// made.
func seedRequests(t testing.TB, p *program, f fleet, times int) {
	t.Helper()
	p.run()
	agents, tool := len(f.ids), p.admin().mustTool("Wiki "+newID().String(), "credential")
	requests := make([]string, agents)
	for i, key := range f.keys {
		requests[i] = p.with(key).mustRequest(tool)
		p.admin().must(200, "POST", "/api/admin/requests/"+requests[i]+"/approve", nil)
	}
	p.stop()
	p.office(func(ctx context.Context, o *office) error {
		began := time.Now().UTC().Truncate(time.Microsecond)
		for i, id := range f.ids {
			opened, err := o.inst.Log.First(ctx, "request-"+requests[i])
			if err != nil {
				return err
			}
			made, end, err := o.inst.Log.Newest(ctx, "agent-"+id, 2)
			if err != nil {
				return err
			}
			var entries []codec.Entry
			for n := range times / agents {
				request, at := newID().String(), began.Add(time.Duration(n*agents+i)*apart)
				asked, approved := made[1].Event.(agent.GrantRequested), made[0].Event.(agent.GrantApproved)
				asked.RequestID, approved.RequestID = request, request
				entries = append(entries, again(t, made[1], at, asked), again(t, made[0], at, approved))
				if _, err := o.inst.Log.Append(
					ctx, "request-"+request, codec.Begin, again(t, opened, at, opened.Event),
				); err != nil {
					return err
				}
			}
			if _, err := o.inst.Log.Append(ctx, "agent-"+id, end, entries...); err != nil {
				return err
			}
		}
		return nil
	})
}

// again is an event as if the same call had been made once more.
func again(t testing.TB, was codec.Verified, at time.Time, event any) codec.Entry {
	t.Helper()
	signed := was.Signed
	signed.CommandID, signed.RequestID = newID().String(), newID().String()
	signed.Time = at
	entry, err := codec.NewEntry(event, signed, 0)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// followed waits until everything that follows the log is at its end.
func (p *program) followed() {
	p.t.Helper()
	wait.Until(p.t, "followed", func() bool {
		a := p.anyone().call("GET", "/readyz", nil)
		following, _ := a.At("projections").([]any)
		for _, f := range following {
			if f.(map[string]any)["distance"] != 0.0 {
				return false
			}
		}
		return len(following) > 1
	})
}

// sizes is what a stopped program takes of the disk, in bytes: the log, the ledger, and each table
// and index of the read model.
func (p *program) sizes() map[string]int64 {
	p.t.Helper()
	out := map[string]int64{"log": p.fileSize("events.db")}
	for _, e := range p.env {
		if url, found := strings.CutPrefix(e, "AGENTKEY_DATABASE_URL="); found {
			maps.Copy(out, p.objects("pgx", url, `SELECT CASE WHEN n.nspname LIKE '%ledger%' THEN 'ledger' ELSE c.relname END,
				sum(pg_relation_size(c.oid) + CASE c.relkind WHEN 'r' THEN coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
				ELSE 0 END)
				FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
				WHERE n.nspname ~ '^agentkey' AND c.relkind IN ('r', 'i') GROUP BY 1`))
			return out
		}
	}
	out["ledger"] = p.fileSize("ledger.db")
	maps.Copy(out, p.objects(
		"sqlite", "file:"+filepath.Join(p.Dir, "read-model.db"), "SELECT name, sum(pgsize) FROM dbstat GROUP BY name",
	))
	return out
}

func (p *program) fileSize(name string) (all int64) {
	p.t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		if at, err := os.Stat(filepath.Join(p.Dir, name+suffix)); err == nil {
			all += at.Size()
		}
	}
	return all
}

func (p *program) objects(driver, source, query string) map[string]int64 {
	p.t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(p.t.Context(), query)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	out := map[string]int64{}
	for rows.Next() {
		var name string
		var size int64
		if err := rows.Scan(&name, &size); err != nil {
			p.t.Fatal(err)
		}
		out[name] = size
	}
	if err := rows.Err(); err != nil {
		p.t.Fatal(err)
	}
	return out
}
