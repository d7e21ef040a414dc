package main

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"
)

// BenchmarkLive measures how long after a command's answer its event reaches a reader, and what
// 2,000 readers hold in memory.
func BenchmarkLive(b *testing.B) {
	const readers = 2000
	p := startProcess(b, append([]string{"AGENTKEY_MAX_CONNECTIONS=5000"}, unlimited...)...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_1")
	one := admin.follow(adminEvents)
	var took []time.Duration
	round := func() {
		a := admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"description": fmt.Sprint("Code ", len(took))})
		answered, position := time.Now(), a.Header.Get("X-Event-Position")
		for strconv.FormatUint(one.next().ID, 10) != position {
		}
		took = append(took, time.Since(answered))
	}
	for b.Loop() {
		round()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
	before, all := p.resident(), []*watching{}
	for range readers {
		all = append(all, admin.follow(adminEvents))
	}
	b.ReportMetric(float64(p.resident()-before)/(1<<20), "MiB/2000readers")
	round()
	for _, w := range all {
		w.until("tool.updated")
	}
	b.ReportMetric(float64(p.resident()-before)/(1<<20), "MiB/2000told")
}
