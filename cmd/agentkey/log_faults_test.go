package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

// outage is calls to two replicas while the event log comes and goes.
type outage struct {
	t        *testing.T
	replicas []*program
	admins   []client // one of each replica
	f        fleet
	times    atomic.Int64 // that the log went or came; odd: it is away
	over     chan struct{}
	running  sync.WaitGroup

	mu       sync.Mutex
	receipts map[string]bool // of the fetches that succeeded
	refused  int             // fetches, for want of the log
}

// TestTheLogOfTwoReplicasMayStopAndStart is TestTheLogMayStopAndStart on the production engines.
// Calls that were under way or tried again meanwhile are done whole, once, or not at all.
func TestTheLogOfTwoReplicasMayStopAndStart(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "it stops the log")
	o := &outage{
		t: t, replicas: startReplicasOn(t, 2, log.replicas(), readmodelstest.Postgres(t), sharedRedis(t)),
		over: make(chan struct{}), receipts: map[string]bool{},
	}
	for _, p := range o.replicas {
		o.admins = append(o.admins, p.admin())
	}
	o.f = mustFleet(o.replicas[0], 6, 2)
	end := sync.OnceFunc(func() {
		close(o.over)
		o.running.Wait()
	})
	t.Cleanup(end)
	for i := range o.f.keys[:4] {
		o.running.Go(func() { o.fetch(i) })
	}
	for i := range o.replicas {
		o.running.Go(func() { o.addTools(i) })
		o.running.Go(func() { o.suspend(i, o.f.ids[4+i]) })
		o.replicas[i].with(o.f.keys[0]).must(200, "GET", "/api/tools", nil)
	}
	// a refusal takes as long as the log is hoped for, so once it is away for a moment only
	for _, refusals := range []int{4, 0} {
		o.await("vended", 20, func() int { return len(o.receipts) })
		log.stop()
		o.times.Add(1)
		at(t, o.replicas, "event_log", "not_ready", "down")
		o.await("refused", refusals, func() int { return o.refused })
		for _, p := range o.replicas {
			p.with(o.f.keys[0]).must(200, "GET", "/api/tools", nil, "X-Wait-For-Position", "")
		}
		o.times.Add(1)
		log.start()
		at(t, o.replicas, "event_log", "ready", "ok")
	}
	o.await("vended", 20, func() int { return len(o.receipts) })
	end()
	for _, admin := range o.admins {
		wait.Until(
			t, "in the read model", func() bool { return admin.call("GET", "/api/admin/tools", nil).Status == 200 },
		)
	}
	stopAll(o.replicas)
	holdAgainstLog(t, o.replicas[0], o.receipts)
	o.holdWhole()
	o.replicas[0].compareWithRebuild()
}

// await waits until a count has grown by n.
func (o *outage) await(what string, n int, count func() int) {
	o.t.Helper()
	locked := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return count()
	}
	before := locked()
	wait.Until(o.t, what, func() bool { return locked() >= before+n || o.t.Failed() })
}

// tries calls, on all replicas by turns, until the answer has a status. Others may only say that
// the log is away, or that an earlier try is still under way.
func (o *outage) tries(n, status int, method, path string, body any, headers ...string) answer {
	for ; ; n++ {
		a, err := o.admins[n%len(o.admins)].try(method, path, body, headers...)
		if err == nil && a.Status == status {
			return a
		}
		if err != nil || a.Code() != "event_log_unavailable" && a.Code() != "idempotency_in_progress" ||
			a.Header.Get("Retry-After") == "" {
			o.t.Errorf("%s %s: %d %s %v", method, path, a.Status, a.Body, err)
			return a
		}
	}
}

// going waits for the next call of a load, and reports whether another comes.
func (o *outage) going(next <-chan time.Time) bool {
	select {
	case <-o.over:
		return false
	case <-next:
		return !o.t.Failed()
	}
}

// fetch vends nothing to an agent while the log is away.
func (o *outage) fetch(i int) {
	agent := []client{o.replicas[0].with(o.f.keys[i]), o.replicas[1].with(o.f.keys[i])}
	next := pace(o.t)
	for n := i; o.going(next); n++ {
		before := o.times.Load()
		a, err := agent[n%2].try("GET", "/api/tools/"+o.f.tools[n%len(o.f.tools)]+"/credentials", nil)
		away := before%2 == 1 && o.times.Load() == before
		o.mu.Lock()
		switch {
		case err == nil && a.Status == 200 && !away:
			o.receipts[a.Text("receipt.event_id")] = true
		case err == nil && a.Code() == "event_log_unavailable" && a.Header.Get("Retry-After") != "" &&
			!bytes.Contains(a.Body, []byte(`"credential"`)):
			o.refused++
		default:
			o.t.Errorf("a fetch, with the log away: %v, got %d %v: %s %v", away, a.Status, a.Header, a.Body, err)
		}
		o.mu.Unlock()
	}
}

// addTools adds tools of names that can't be added twice, each until it is told that it did.
func (o *outage) addTools(i int) {
	next := pace(o.t)
	for n := 0; o.going(next); n++ {
		name := fmt.Sprintf("Tool %d of %d", n, i)
		o.tries(n, 201, "POST", "/api/admin/tools", object{
			"name": name, "auth_type": "api_key", "credential_mode": "shared", "credential": "x",
		}, "Idempotency-Key", fmt.Sprintf("%d/%d", n, i))
	}
}

// suspend ends all access of an agent and gives it again.
func (o *outage) suspend(i int, id string) {
	next := pace(o.t)
	for n := i; o.going(next); n++ {
		for _, step := range []string{"suspend", "reactivate"} {
			o.tries(n, 200, "POST", "/api/admin/agents/"+id+"/"+step, nil)
		}
		for _, tool := range o.f.tools {
			key := fmt.Sprintf("%d/%s/%s", n, id, tool)
			o.tries(n, 201, "POST", "/api/admin/agents/"+id+"/grants", object{"tool_id": tool}, "Idempotency-Key", key)
		}
	}
}

// holdWhole finds each suspension in the log together with the end of all access, in one command.
func (o *outage) holdWhole() {
	o.t.Helper()
	open, suspendedBy, suspensions := map[string]map[string]bool{}, map[string]string{}, 0
	o.replicas[0].office(func(ctx context.Context, of *office) error {
		chain := of.inst.Log.NewChain()
		return walk(ctx, of.client, func(r eventstore.Recorded) error {
			if !strings.HasPrefix(r.Stream, "agent-") {
				return nil
			}
			verified, err := chain.Next(ctx, r)
			if err != nil {
				return err
			}
			by := suspendedBy[r.Stream]
			if by != "" && by != verified.Signed.CommandID && len(open[r.Stream]) > 0 {
				o.t.Errorf("before %d@%s the agent is suspended and has access", r.Revision, r.Stream)
			}
			switch e := verified.Event.(type) {
			case agent.Registered:
				open[r.Stream] = map[string]bool{}
			case agent.GrantAssigned:
				open[r.Stream][e.ToolID] = true
			case agent.GrantRevoked:
				delete(open[r.Stream], e.ToolID)
			case agent.Suspended:
				suspendedBy[r.Stream] = verified.Signed.CommandID
				suspensions++
			case agent.Reactivated:
				delete(suspendedBy, r.Stream)
			}
			return nil
		})
	})
	if suspensions == 0 {
		o.t.Error("no agent was suspended")
	}
}
