package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/audit/formats"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestTheSigningKeyIsReplacedWhileItServes: no fetch fails, everything still verifies for the
// service, in rows and a ledger that are filled again, for an auditor, and after a restore.
func TestTheSigningKeyIsReplacedWhileItServes(t *testing.T) {
	t.Parallel()
	p := startProcess(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Release bot")
	admin.mustAssign(id, tool)
	former := p.mustKeys(formats.EventKey)
	agent := p.with(key)
	var fetching sync.WaitGroup
	var fetched atomic.Int64
	done := make(chan struct{})
	fetching.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			if a := agent.call("GET", "/api/tools/"+tool+"/credentials", nil); a.Status != 200 {
				t.Errorf("a fetch while the key is replaced: %d %s", a.Status, a.Body)
				return
			}
			fetched.Add(1)
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	})
	code, out, said := runCommand(t, p.env, "keys", "sign")
	close(done)
	fetching.Wait()
	if code != exitOK || !strings.Contains(out, "signs the event log") {
		t.Errorf("agentkey keys sign: %d %s%s", code, out, said)
	}

	var keys formats.Keys
	wait.Until(t, "the service shows that the former key has ended", func() bool {
		text := p.anyone().must(200, "GET", "/.well-known/agentkey-keys.json", nil).Body
		keys = formats.Keys{}
		if err := json.Unmarshal(text, &keys); err != nil {
			t.Fatal(err)
		}
		return len(keys.Keys) == 3 && !keys.Keys[1].NotAfter.IsZero()
	})
	if !keys.Keys[1].PublicKey.Equal(former[0]) || !keys.Keys[2].NotAfter.IsZero() {
		t.Errorf("the keys are %+v", keys.Keys)
	}
	agent.fetch(tool)
	admin.mustBeCovered("After the replacement")
	bundle, trusted := filepath.Join(t.TempDir(), "bundle.zip"), filepath.Join(t.TempDir(), "keys.json")
	text := p.anyone().must(200, "GET", "/.well-known/agentkey-keys.json", nil).Body
	if err := os.WriteFile(trusted, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"export", bundle, "--url", p.URL}, {"verify", bundle, "--keys", trusted, "--live", p.URL},
	} {
		if code, out, failed := p.audit(args...); code != exitOK {
			t.Errorf("agentkey audit %v: %d %s%s", args, code, out, failed)
		}
	}
	if status, findings := p.integrity(); status != "ok" || len(findings) > 0 {
		t.Errorf("the log is %s: %v", status, findings)
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	p.shell("backup", backup)
	p.restart()
	p.with(key).fetch(tool)
	p.settled()
	p.stop()
	p.compareWithRebuild()

	q := newProgram(t, unlimited)
	q.command, q.Token = p.command, p.Token
	q.shell("restore", backup)
	mustCopy(t, filepath.Join(p.Dir, masterKeyFile), filepath.Join(q.Dir, masterKeyFile))
	q.run()
	q.shell("confirm-restore", "--keep-agents")
	q.with(key).fetch(tool)
	if status, findings := q.integrity(); status != "ok" || len(findings) > 0 {
		t.Errorf("the restored log is %s: %v", status, findings)
	}
	if fetched.Load() == 0 {
		t.Error("nothing was fetched")
	}
}
