package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"agentkey/domain/organization"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestStalledReceiversOfOthersHoldUpNobody gives every lane to two organizations, where more waits,
// and notifies a third meanwhile.
func TestStalledReceiversOfOthersHoldUpNobody(t *testing.T) {
	t.Parallel()
	var called, open, seen atomic.Int32 // calls in all, under way, and under way when the third was told
	stalled := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then it is seen that the caller has left
		called.Add(1)
		open.Add(1)
		defer open.Add(-1)
		<-r.Context().Done()
	}))
	t.Cleanup(stalled.Close)
	quick := startHook(t, func(int, http.ResponseWriter) { seen.Store(open.Load()) })
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	ask := func(admin client, name string) string {
		_, key := admin.mustAgent(name)
		return p.with(key).must(
			201, "POST", "/api/tools/"+admin.mustTool(name, "x")+"/request", object{"reason": "to open issues"},
		).Text("request_id")
	}
	third := p.organization("Third", "owner")
	third.mustChannel("webhook", quick.URL)
	// A receiver has ten seconds. If the machine needs them to fill the lanes, others try.
	for try := range 3 {
		for _, name := range []string{"One", "Two"} {
			admin := p.organization(fmt.Sprint(name, try), "owner")
			for range organization.MaxChannels {
				admin.mustChannel("webhook", stalled.URL)
			}
			ask(admin, "First")
			ask(admin, "Second")
		}
		const lanes = 2 * organization.MaxChannels
		wait.Until(t, "no lane is free, or each has had a call", func() bool {
			return open.Load() == lanes || int(called.Load()) >= lanes*(try+1)
		})
		request := ask(third, fmt.Sprint("Meanwhile ", try))
		wait.Until(t, "told", func() bool { return len(quick.about(request)) == 1 })
		if seen.Load() >= lanes || eventstoretest.RaceDetector {
			return // with the detector it is too slow to fill all lanes within those ten seconds
		}
		t.Logf("when it was told %d calls were under way", seen.Load())
	}
	t.Error("the third was never told while others had every lane")
}
