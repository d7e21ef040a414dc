package projections_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
)

// TestFetchesAreCounted compares the rows with what the events say, added up one by one: fetches
// over two months, refused ones that were counted together, and some of a tool that doesn't exist.
func TestFetchesAreCounted(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		one, two, github, linear := w.agent("one"), w.agent("two"), w.tool("github"), w.tool("linear")
		want := stored{}
		add := func(at time.Time, column string, count int, ids ...string) {
			hour := at.Unix() / 3600
			for _, hours := range []int64{1, 24, 192, 1536} {
				name := fmt.Sprintf("fetch_counts %s/%s/%d/%d", org, strings.Join(ids, "/"), hours, hour-hour%hours)
				if hours > 1 && (ids[0] == "") == (ids[1] == "") {
					continue
				}
				columns := []string{column}
				for m := 15; hours == 1 && m <= at.Minute(); m += 15 {
					columns = append(columns, fmt.Sprint(column, "_", m))
				}
				if want[name] == nil {
					want[name] = map[string]string{"last_vended_at": "0"}
					for _, c := range []string{"vended", "refused"} {
						want[name][c], want[name][c+"_15"], want[name][c+"_30"], want[name][c+"_45"] = "0", "0", "0", "0"
					}
				}
				for _, c := range columns {
					var n int
					_, _ = fmt.Sscan(want[name][c], &n)
					want[name][c] = fmt.Sprint(n + count)
				}
				if column == "vended" {
					want[name]["last_vended_at"] = fmt.Sprint(at.UnixMicro())
				}
			}
		}
		count := func(at time.Time, column string, count int, agentID, toolID string) {
			add(at, column, count, "", "")
			add(at, column, count, agentID, "")
			if toolID == github || toolID == linear {
				add(at, column, count, "", toolID)
				add(at, column, count, agentID, toolID)
			}
		}
		for _, agentID := range []string{one, two} {
			for i := range 40 {
				toolID := []string{github, linear}[i%2]
				w.happened("agent-"+agentID, self(agentID), vendOf(toolID, 1))
				count(w.now, "vended", 1, agentID, toolID)
				w.now = w.now.Add(time.Duration(i*i) * 7 * time.Minute)
			}
		}
		refused := func(agentID, toolID string, times int) {
			last := w.now.Add(-20 * time.Minute)
			w.happened("refusals-"+agentID, self(agentID), codec.CredentialRefused{
				AgentID: agentID, ToolID: toolID, Reason: "access_not_approved", Count: times, LastAt: last,
			})
			count(last, "refused", times, agentID, toolID)
		}
		refused(one, github, 1)
		refused(one, github, 317)
		refused(two, "made up", 5)
		w.happened("catalog-"+org, admin, catalog.ToolRemoved{ToolID: linear})
		refused(two, linear, 2) // it is still known
		w.reached(w.head())
		live := w.dump()
		if diff := cmp.Diff(want, live.only("fetch_counts")); diff != "" {
			t.Errorf("the counts (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(w.afresh().rows(), live.rows()); diff != "" {
			t.Errorf("the tables (-afresh +live):\n%s", diff)
		}
	})
}
