package audit_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels"
)

// BenchmarkGrowth fills the ledger of one organization: how fast, and what an event takes.
func BenchmarkGrowth(b *testing.B) {
	const events = 30_000
	sizes := map[string]string{
		"embedded": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
		"postgres": "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c JOIN pg_namespace AS n " +
			"ON n.oid = c.relnamespace WHERE n.nspname ~ '^ledger_' AND c.relkind = 'r'",
	}
	for name, size := range sizes {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b, name)
				position := w.grow("one", first, events)
				b.StartTimer()
				began := time.Now()
				r := w.run()
				if err := r.WaitFor(wait.Context(b), position); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(events/time.Since(began).Seconds(), "events/s")
				var bytes sql.NullInt64
				if err := r.Tables.Query(b.Context(), func(_ context.Context, q readmodels.DBTX) error {
					return q.QueryRowContext(b.Context(), size).Scan(&bytes)
				}); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(bytes.Int64)/events, "bytes/event")
			}
		})
	}
}
