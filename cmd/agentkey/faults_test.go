package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestALostAnswerIsOneEventAndOneAnswer loses the answer of an append that succeeded. The caller
// gets one answer, and the log has one event.
func TestALostAnswerIsOneEventAndOneAnswer(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "it loses what the log answers")
	proxy := startProxy(t, log.listen)
	p := start(t, log.replicasAt(proxy.address())...)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, key := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	p.with(key).fetch(tool)
	direct, err := eventstore.Open(eventstore.Config{URL: "esdb://" + log.listen + "?tls=false"})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	before := vends(t, direct, id)
	proxy.loseAnswers()
	answered := make(chan answer, 1)
	go func() { answered <- p.with(key).fetch(tool) }()
	wait.Until(t, "durable", func() bool { return len(vends(t, direct, id)) > len(before) })
	proxy.cut()
	a := <-answered
	if a.Status != 200 || a.Text("credential") != "ghp_secret" {
		t.Fatalf("the fetch got %d: %s", a.Status, a.Body)
	}
	after := vends(t, direct, id)
	if len(after) != len(before)+1 || after[len(after)-1].ID.String() != a.Text("receipt.event_id") {
		t.Errorf("%d events for one fetch", len(after)-len(before))
	}
}

func vends(t *testing.T, log *eventstore.Client, agent string) []eventstore.Recorded {
	t.Helper()
	var out []eventstore.Recorded
	events, err := log.ReadForward(t.Context(), "agent-"+agent, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Type == "credential.vended.v1" {
			out = append(out, e)
		}
	}
	return out
}

// TestTheLogMayStopAndStart stops the event log under load. Nothing is vended meanwhile, nothing is
// half done, queries answer those who were seen lately, and everything recovers by itself when the
// log is back.
func TestTheLogMayStopAndStart(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "it stops the log")
	p := start(t, log.replicas()...)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, key := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	agent := p.with(key)
	agent.fetch(tool)
	agent.must(200, "GET", "/api/tools", nil)

	var load sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		admin, next := p.admin(), pace(t)
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-next:
				}
				a := admin.call("POST", "/api/admin/tools", object{
					"name": fmt.Sprintf("Tool %d of %d", n, i), "auth_type": "api_key", "credential_mode": "shared",
					"credential": "x",
				})
				if a.Status != 201 && a.Code() != "event_log_unavailable" {
					t.Errorf("under load: %d %s", a.Status, a.Body)
				}
			}
		})
	}
	log.stop()
	for range 3 {
		a := agent.refused(503, "event_log_unavailable", "GET", "/api/tools/"+tool+"/credentials", nil)
		if a.Header.Get("Retry-After") == "" || bytes.Contains(a.Body, []byte("ghp_secret")) {
			t.Errorf("without the log: %v %s", a.Header, a.Body)
		}
	}
	agent.must(200, "GET", "/api/tools", nil, "X-Wait-For-Position", "")
	p.admin().refused(503, "event_log_unavailable", "POST", "/api/admin/agents", object{"name": "Another"})
	p.becomes(503, `"not_ready"`)
	log.start()
	p.becomes(200)
	if a := agent.fetch(tool); a.Text("credential") != "ghp_secret" {
		t.Errorf("after the outage: %s", a.Body)
	}
	close(stop)
	load.Wait()
	p.admin().must(200, "GET", "/api/admin/tools", nil)
}

// TestAFullDiskRefusesAppendsAndLosesNothing lets the log grow into its bound.
func TestAFullDiskRefusesAppendsAndLosesNothing(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "it fills the log's disk", "--max-bytes", "1000000")
	p := start(t, log.replicas()...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	guide := string(bytes.Repeat([]byte("x"), 4000))
	added := 0
	for {
		a := admin.call("POST", "/api/admin/tools", object{
			"name": fmt.Sprint("Tool ", added), "auth_type": "api_key", "credential_mode": "shared", "credential": "x",
			"instructions": guide,
		})
		if a.Status == 201 {
			added++
			continue
		}
		if a.Status != 503 || a.Code() != "event_log_unavailable" {
			t.Fatalf("on a full disk: %d %s", a.Status, a.Body)
		}
		break
	}
	if n := len(admin.must(200, "GET", "/api/admin/tools?limit=200", nil).Items()); n != added+1 || added == 0 {
		t.Errorf("%d tools were added and %d are there", added, n)
	}
	log.stop()
	log.flags = []string{"--insecure"}
	log.start()
	p.becomes(200)
	admin.mustTool("After the disk was full", "x")
	if a := p.with(key).fetch(tool); a.Text("credential") != "ghp_secret" {
		t.Errorf("after the disk was full: %s", a.Body)
	}
}

// TestAForgedEventIsPassedOverAndNamed writes to an agent's stream without our key: it gives
// nothing and stops nobody, and the log says where it is.
func TestAForgedEventIsPassedOverAndNamed(t *testing.T) {
	t.Parallel()
	p := newProgram(t, append(unlimited, scraped))
	p.unverified = true // that is the point
	p.run()
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, key := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	p.admin().must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
	p.office(func(ctx context.Context, o *office) error {
		events, err := o.client.ReadForward(ctx, "agent-"+id, 0, 10)
		if err != nil {
			return err
		}
		again := events[1] // the assignment, copied behind the revocation with its own signature
		_, err = o.client.Append(
			ctx, "agent-"+id, int64(len(events)-1),
			eventstore.Event{ID: newID(), Type: again.Type, Data: again.Data, Metadata: again.Metadata},
		)
		return err
	})
	if a := p.with(key).fetch(tool); a.Code() != "access_not_approved" {
		t.Errorf("a fetch on a forged grant: %d %s", a.Status, a.Body)
	}
	p.becomes(200, `"degraded"`, `"log_integrity"`, "3@agent-"+id+" is foreign")
	if !strings.Contains(p.stderr.String(), "agent-"+id) {
		t.Error("the log of the program doesn't name the event")
	}
	if status, findings := p.integrity(); status != "ok" || len(findings) != 1 || findings[0] != "foreign 3@agent-"+id {
		t.Errorf("%s %v", status, findings)
	}
	p.shows(map[string]float64{"agentkey_foreign_events_total": 1, "agentkey_log_integrity_findings": 1})
	if entries := p.admin().must(200, "GET", "/api/admin/audit?agent_id="+id, nil).Items(); len(entries) != 4 {
		t.Errorf("the audit has %d entries of the agent: %v", len(entries), entries)
	}
	p.admin().mustAssign(id, tool)
	if a := p.with(key).fetch(tool); a.Status != 200 {
		t.Errorf("a fetch on a grant of ours: %d %s", a.Status, a.Body)
	}
	p.restart()
	if a := p.with(key).fetch(tool); a.Status != 200 {
		t.Errorf("after a restart: %d %s", a.Status, a.Body)
	}
	p.shell("confirm-restore", "--keep-agents")
	p.becomes(200, `"ready"`)
	if status, findings := p.integrity(); status != "ok" || len(findings) != 1 ||
		findings[0] != "foreign 3@agent-"+id+" confirmed" {
		t.Errorf("once confirmed: %s %v", status, findings)
	}
}

// TestAForgedSnapshotIsRefusedAndNamed puts a snapshot with more access in the place of ours. It is
// not used.
func TestAForgedSnapshotIsRefusedAndNamed(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, key := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	agent := p.with(key)
	for range 300 {
		agent.fetch(tool)
	}
	var snapshot eventstore.Recorded
	p.office(func(ctx context.Context, o *office) error {
		wait.Until(t, "there is a snapshot", func() bool {
			events, err := o.client.ReadBackward(ctx, "snapshot-agent-"+id, 1)
			if err != nil || len(events) == 0 {
				return false
			}
			snapshot = events[0]
			return true
		})
		return nil
	})
	p.admin().must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
	p.office(func(ctx context.Context, o *office) error {
		forged := bytes.Replace(snapshot.Data, []byte(`"revision":2`), []byte(`"revision":3`), 1)
		_, err := o.client.Append(
			ctx, "snapshot-agent-"+id, eventstore.Any,
			eventstore.Event{ID: newID(), Type: snapshot.Type, Data: forged, Metadata: []byte("{}")},
		)
		return err
	})
	p.restart()
	if a := p.with(key).fetch(tool); a.Code() != "access_not_approved" {
		t.Errorf("after a forged snapshot: %s", a.Body)
	}
	if !bytes.Contains([]byte(p.stderr.String()), []byte("snapshot-agent-"+id)) {
		t.Error("the log of the program does not name the snapshot")
	}
}
