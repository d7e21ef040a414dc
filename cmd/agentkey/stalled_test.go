package main

import (
	"slices"
	"sync"
	"testing"
	"time"

	"agentkey/readmodels/readmodelstest"
)

// TestAStalledPostgresSlowsNoFetch lets Postgres keep its connections and say nothing. The slowest
// fetches aren't slower than otherwise.
//
// 1.2 times is the promise, and 0.5 ms beside it for what the clock of a shared machine is worth.
// The 99th of a hundred fetches is whatever else the machine did meanwhile, so normal and stalled
// phases alternate and their medians are compared; and as long as that says too slow, more pairs of
// phases are taken, because chance levels out and a fetch that waits for Postgres does not.
func TestAStalledPostgresSlowsNoFetch(t *testing.T) {
	const fewest, most, allowed = 5, 25, 1.2
	wire := readmodelstest.NewWire(t, readmodelstest.Postgres(t))
	log := ownLog(t, "its many fetches would be read by each test that shares them").replicas()
	replicas := startReplicasOn(t, 1, log, wire.URL, sharedRedis(t))
	f := mustFleet(replicas[0], 4, 2)
	var normal, stalled []time.Duration
	within := false
	for len(normal) < fewest || !within && len(normal) < most {
		at(t, replicas, "read_model", "ready", "ok")
		replicas[0].admin().must(200, "GET", "/api/admin/tools", nil) // what the last phase has left is done
		normal = append(normal, slowest(t, replicas[0], f))
		wire.Stall()
		stalled = append(stalled, slowest(t, replicas[0], f))
		wire.Mend()
		within = float64(median(stalled)) <= allowed*float64(median(normal))+float64(time.Millisecond/2)
	}
	usual, without := median(normal), median(stalled)
	t.Logf(
		"the 99th of a hundred fetches takes %s, and %s while Postgres is stalled, in %d phases each", usual, without,
		len(normal),
	)
	if !within {
		t.Errorf("while Postgres is stalled the 99th of a hundred fetches takes %s, otherwise %s", without, usual)
	}
}

// slowest lets every agent of a fleet fetch, and returns the 99th percentile of how long that took.
func slowest(t testing.TB, p *program, f fleet) time.Duration {
	t.Helper()
	took := make([][]time.Duration, len(f.keys))
	var agents sync.WaitGroup
	for i, key := range f.keys {
		agents.Go(func() {
			fetch, err := get(p.URL, "/api/tools/"+f.tools[i%len(f.tools)]+"/credentials", key)
			for n := 0; n < 150 && err == nil; n++ {
				start := time.Now()
				err = fetch()
				took[i] = append(took[i], time.Since(start))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	agents.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return measured{times: slices.Sorted(slices.Values(slices.Concat(took...)))}.quantile(0.99)
}

func median(of []time.Duration) time.Duration {
	return measured{times: slices.Sorted(slices.Values(of))}.quantile(0.5)
}
