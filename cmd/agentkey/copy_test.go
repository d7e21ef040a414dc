package main

import (
	"strings"
	"testing"

	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestALogMovesToAnotherStore moves an installation from its data folder to a server: signatures
// verify there, the agents' keys open the same credentials, and what was removed stays removed.
func TestALogMovesToAnotherStore(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 3, 3)
	for _, key := range f.keys {
		for _, tool := range f.tools {
			p.with(key).fetch(tool)
		}
	}
	p.admin().must(201, "POST", "/api/admin/agents", map[string]any{"name": "Once"}, "Idempotency-Key", "once")
	p.admin().must(204, "DELETE", "/api/admin/tools/"+f.tools[2], nil)
	p.admin().must(200, "POST", "/api/admin/agents/"+f.ids[2]+"/suspend", nil)
	if code, _, said := runCommand(
		t, nil, "eventstore", "copy", "--from", p.Dir, "--to", "esdb://127.0.0.1:1?tls=false",
	); code != exitFault || !strings.Contains(said, "in use by process") {
		t.Errorf("copied while it is served: %d %s", code, said)
	}
	p.stop()

	log := ownLog(t, "a copy needs an empty log")
	to := log.url()
	code, out, said := runCommand(t, nil, "eventstore", "copy", "--from", p.Dir, "--to", to)
	if code != exitOK || !strings.Contains(out, "Both logs hold the same") {
		t.Fatalf("copy: %d %s%s", code, out, said)
	}
	if code, out, said := runCommand(t, nil, "eventstore", "copy", "--from", p.Dir, "--to", to); code != exitOK ||
		!strings.Contains(out, " 0 were copied in this run") {
		t.Errorf("copied again: %d %s%s", code, out, said)
	}

	q := newProgram(
		t,
		append(
			[]string{"AGENTKEY_EVENTSTORE_URL=" + to, "AGENTKEY_MASTER_KEYS_FILE=" + p.Dir + "/" + masterKeyFile},
			unlimited...,
		),
	)
	q.Token = p.Token
	q.run()
	if a := q.with(f.keys[0]).fetch(f.tools[1]); a.Text("credential") == "" {
		t.Errorf("a fetch: %s", a.Body)
	}
	q.with(f.keys[0]).refused(404, "not_found", "GET", "/api/tools/"+f.tools[2]+"/credentials", nil)
	q.with(f.keys[2]).refused(403, "agent_suspended", "GET", "/api/tools/"+f.tools[0]+"/credentials", nil)
	if a := q.admin().call(
		"POST", "/api/admin/agents", map[string]any{"name": "Once"}, "Idempotency-Key", "once",
	); a.Status != 201 || a.Header.Get("Idempotency-Replayed") == "" {
		t.Errorf("an idempotency key: %d %v %s", a.Status, a.Header, a.Body)
	}
	// The destination has changed, so a copy into it must fail.
	if code, _, said := runCommand(t, nil, "eventstore", "copy", "--from", p.Dir, "--to", to); code != exitFault ||
		!strings.Contains(said, "holds another log, or has gone on") {
		t.Errorf("copied onto a log in use: %d %s", code, said)
	}
}

// TestAnInterruptedCopyContinues stops the destination while it is being filled.
func TestAnInterruptedCopyContinues(t *testing.T) {
	t.Parallel()
	p := startProcess(t, unlimited...)
	f := mustFleet(p, 4, 2)
	p.stop()
	seed(t, p, f, 20_000)
	log := ownLog(t, "it stops the log")
	to := log.url()
	client, err := eventstore.Open(eventstore.Config{URL: to})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ended := make(chan int, 1)
	go func() {
		code, _, _ := runCommand(t, nil, "eventstore", "copy", "--from", p.Dir, "--to", to)
		ended <- code
	}()
	wait.Until(t, "half full", func() bool {
		head, err := client.Head(t.Context())
		return err == nil && head > 5000
	})
	log.stop()
	if code := wait.For(t, "the end of a copy without a destination", ended); code != exitFault {
		t.Errorf("the copy that was broken off ended with %d", code)
	}
	log.start()
	if code, out, said := runCommand(t, nil, "eventstore", "copy", "--from", p.Dir, "--to", to); code != exitOK {
		t.Errorf("the second time: %d %s%s", code, out, said)
	}
}
