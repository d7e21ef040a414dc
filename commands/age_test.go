package commands_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest/wait"
)

// aged is an agent with about n fetches behind it. The last ones go through the loop, so that a
// snapshot is where it would be.
func aged(b *testing.B, n int) (o *office, id, tool string, number int) {
	b.Helper()
	o = open(b)
	tool = o.MustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.MustAgent("Onboarding")
	for i := range 9 {
		o.MustAssign(id, o.MustTool(fmt.Sprint("tool ", i), catalog.Shared, "x"))
	}
	o.MustAssign(id, tool)
	own := min(n, 3*loop.SnapshotEvery)
	if n > own {
		o.Seed(id, n-own)
	}
	o.MustFresh(id)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range own/8 + min(1, max(0, own%8-i)) {
				o.MustFetch(id, tool, key.Number)
			}
		})
	}
	wg.Wait()
	if n > loop.SnapshotEvery {
		wait.Until(b, "there is a snapshot", func() bool {
			return o.MustFresh(id).Revision-o.snapshotted(id) < 2*loop.SnapshotEvery
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
			o.MustFetch(id, tool, number)
			for b.Loop() {
				o.MustFetch(id, tool, number)
			}
		})
	}
}

// BenchmarkFirstFetchAfterRestart is the first fetch by a process that has just joined and has
// nothing in memory.
func BenchmarkFirstFetchAfterRestart(b *testing.B) {
	for _, n := range ages {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			o, id, tool, number := aged(b, n)
			var took []time.Duration
			for b.Loop() {
				b.StopTimer()
				other := openOn(b, o.Server, o.Ring)
				b.StartTimer()
				began := time.Now()
				other.MustFetch(id, tool, number)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/op")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			o.NoFault()
		})
	}
}

// snapshotted is the revision at which the newest snapshot of an agent stands.
func (o *office) snapshotted(id string) int64 {
	o.T.Helper()
	stored, err := o.Server.Client.ReadBackward(o.T.Context(), "snapshot-agent-"+id, 1)
	if errors.Is(err, eventstore.ErrStreamNotFound) {
		return eventstore.NoStream
	}
	var s struct {
		Revision int64 `json:"revision"`
	}
	if err == nil {
		err = json.Unmarshal(stored[0].Data, &s)
	}
	if err != nil {
		o.T.Fatal(err)
	}
	return s.Revision
}
