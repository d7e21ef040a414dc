package commands_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/domain/catalog"
)

// aged is an agent with about n fetches behind it. The last ones go through the loop, so that a snapshot is where
// it would be.
func aged(b *testing.B, n int) (o *office, id, tool string, number int) {
	b.Helper()
	o = open(b)
	tool = o.mustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.mustAgent("Onboarding")
	for i := range 9 {
		o.mustAssign(id, o.mustTool(fmt.Sprint("tool ", i), catalog.Shared, "x"))
	}
	o.mustAssign(id, tool)
	own := min(n, 3*commands.SnapshotEvery)
	if n > own {
		o.seed(id, n-own)
	}
	o.mustFresh(id)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range own/8 + min(1, max(0, own%8-i)) {
				o.mustFetch(id, tool, key.Number)
			}
		})
	}
	wg.Wait()
	if n > commands.SnapshotEvery {
		eventually(b, "there is a snapshot", func() bool {
			return o.mustFresh(id).Revision-o.grants.Agents.FromSnapshot(b.Context(), id).Revision < 2*commands.SnapshotEvery
		})
	}
	return o, id, tool, key.Number
}

var ages = []int{10, 100_000}

// BenchmarkFetchAtAge is one fetch by a process that knows the agent.
func BenchmarkFetchAtAge(b *testing.B) {
	for _, n := range ages {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			o, id, tool, number := aged(b, n)
			o.mustFetch(id, tool, number)
			for b.Loop() {
				o.mustFetch(id, tool, number)
			}
		})
	}
}

// BenchmarkFirstFetchAfterRestart is the first fetch by a process that has just joined and has nothing in memory.
func BenchmarkFirstFetchAfterRestart(b *testing.B) {
	for _, n := range ages {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			o, id, tool, number := aged(b, n)
			var took []time.Duration
			for b.Loop() {
				b.StopTimer()
				other := openOn(b, o.server, o.ring)
				b.StartTimer()
				began := time.Now()
				other.mustFetch(id, tool, number)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/op")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			o.noFault()
		})
	}
}
