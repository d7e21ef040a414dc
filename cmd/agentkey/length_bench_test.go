package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// The lengths of the logs that BenchmarkLength compares, in events, and how many are appended
// between two starts: a start waits until the read model has caught up.
const (
	shortLog = 100_000
	longLog  = 3_000_000
	stretch  = 500_000
)

// BenchmarkLength compares what a fetch and the lists of the audit take on a long log with what
// they take on a short one, both in service at the same time and asked in turns. The logs are
// filled without HTTP.
func BenchmarkLength(b *testing.B) {
	logs := [2]*program{startProcess(b, unlimited...), startProcess(b, unlimited...)}
	var fleets [2]fleet
	for i, events := range []int{shortLog, longLog} {
		p := logs[i]
		fleets[i] = mustFleet(p, 64, 10)
		for events > 0 {
			p.stop()
			seed(b, p, fleets[i], min(events, stretch))
			events -= stretch
			p.run()
			p.followed()
		}
	}
	then := time.Now().UTC().Format(time.RFC3339)
	for _, call := range []struct{ name, path string }{
		{"fetch", ""},
		{"audit", "/api/admin/audit?limit=50"},
		{"audit_of_an_agent", "/api/admin/audit?limit=50&agent_id={agent}"},
		{"audit_of_a_tool_and_an_action", "/api/admin/audit?limit=50&action=credential.vended&tool_id={tool}"},
		{"audit_until_then", "/api/admin/audit?limit=50&to=" + then},
		{"audit_searched", "/api/admin/audit?limit=50&q=registered"},
		{"tools", "/api/admin/tools"},
		{"tools_as_of_then", "/api/admin/tools?as_of=" + then},
		{"grants_as_of_then", "/api/admin/grants?status=approved&as_of=" + then},
	} {
		b.Run(call.name, func(b *testing.B) {
			var times [2][]time.Duration
			for range max(b.N/2, 50) {
				for i, p := range logs {
					c := p.admin()
					path := strings.NewReplacer("{agent}", fleets[i].ids[0], "{tool}", fleets[i].tools[0]).Replace(call.path)
					if path == "" {
						c, path = p.with(fleets[i].keys[0]), "/api/tools/"+fleets[i].tools[0]+"/credentials"
					}
					began := time.Now()
					a := c.call("GET", path, nil)
					times[i] = append(times[i], time.Since(began))
					if a.Status != http.StatusOK {
						b.Fatalf("%s: %d %s", path, a.Status, a.Body)
					}
				}
			}
			var median [2]time.Duration
			for i := range times {
				slices.Sort(times[i])
				median[i] = times[i][len(times[i])/2]
				b.ReportMetric(milliseconds(median[i]), fmt.Sprintf("p50-ms-of-%d", []int{shortLog, longLog}[i]))
			}
			b.ReportMetric(float64(median[1])/float64(median[0]), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}
