package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

func mustCopy(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// heldBack checks that agents get nothing for want of a confirmation, while everything else works.
func heldBack(t *testing.T, p *program, tool string, agentKeys ...string) {
	t.Helper()
	for _, key := range agentKeys {
		a := p.with(key).refused(503, "log_restored", "GET", "/api/tools/"+tool+"/credentials", nil)
		if a.Header.Get("Retry-After") == "" || !strings.Contains(a.Text("hint"), "confirm-restore") {
			t.Errorf("it does not say what to do: %v %s", a.Header, a.Body)
		}
	}
	p.becomes(200, `"degraded"`, "log_restored")
	if a := p.admin().must(200, "GET", "/api/admin/meta", nil); a.At("vending.enabled") != false ||
		a.Text("vending.reason") != "log_restored" {
		t.Errorf("of a restored log: %s", a.Body)
	}
	p.admin().must(200, "GET", "/api/admin/agents", nil)
}

// mustVend fetches a credential and gets it.
func mustVend(p *program, key, tool string) {
	p.t.Helper()
	if a := p.with(key).fetch(tool); a.Status != http.StatusOK || a.Text("credential") == "" {
		p.t.Fatalf("a fetch got %d: %s", a.Status, a.Body)
	}
}

// actions are those of the newest audit entries, newest first.
func actions(p *program) []string {
	var out []string
	for _, e := range p.admin().must(200, "GET", "/api/admin/audit?limit=20", nil).Items() {
		out = append(out, e["action"].(string))
	}
	return out
}

// TestARestoreIsRehearsed loses a machine: a backup was taken while the service ran, access was
// revoked after it, and all that is left are the backup and the master key, which lay apart.
func TestARestoreIsRehearsed(t *testing.T) {
	t.Parallel()
	hook := startHook(t, nil)
	p := startProcess(t, append([]string{toLoopback}, unlimited...)...)
	p.admin().mustChannel("webhook", hook.URL, "grant_expiring")
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	revoked, key := p.admin().mustAgent("Revoked later")
	kept, keptKey := p.admin().mustAgent("Kept")
	p.admin().mustAssign(revoked, tool)
	p.admin().mustAssign(kept, tool)
	backup := filepath.Join(t.TempDir(), "backup.db")
	if said := p.shell("backup", backup); !strings.Contains(said, "doesn't contain a master key") {
		t.Errorf("it says %s", said)
	}
	p.admin().must(204, "DELETE", "/api/admin/agents/"+revoked+"/grants/"+tool, nil)
	p.stop()

	q := newProgram(t, append([]string{toLoopback}, unlimited...))
	q.command, q.Token = p.command, p.Token
	if code, out, said := runCommand(t, q.env, "restore", backup); code != exitOK ||
		!strings.Contains(out, "agentkey token list") {
		t.Fatalf("restore: %d %s", code, said)
	}
	if code, _, said := runCommand(t, q.env, "restore", backup); code != exitFault ||
		!strings.Contains(said, "move every events.db*") {
		t.Errorf("restored over a store: %d %s", code, said)
	}
	if code, _, said := runCommand(t, q.env, "serve"); code != exitFault || !strings.Contains(said, "master key") {
		t.Errorf("served without the master key: %d %s", code, said)
	}
	mustCopy(t, filepath.Join(p.Dir, masterKeyFile), filepath.Join(q.Dir, masterKeyFile))
	q.run()
	heldBack(t, q, tool, key, keptKey)
	q.restart()
	heldBack(t, q, tool, key, keptKey)
	var keys struct{ Keys []struct{ ID, Use string } }
	raw := q.anyone().must(200, "GET", "/.well-known/agentkey-keys.json", nil).Body
	if err := json.Unmarshal(raw, &keys); err != nil || len(keys.Keys) != 3 {
		t.Errorf("a restored log has no signing key of its own: %s: %v", raw, err)
	}
	if code, said, _ := runCommand(t, q.env, "doctor"); code != exitFault || !strings.Contains(said, "confirm-restore") {
		t.Errorf("the doctor says %d %s", code, said)
	}

	if code, _, said := runCommand(t, q.env, "confirm-restore"); code != exitUsage ||
		!strings.Contains(said, "--suspend-agents") {
		t.Errorf("confirmed without a word about the agents: %d %s", code, said)
	}
	if said := q.shell("confirm-restore", "--suspend-agents"); !strings.Contains(said, "Suspended agents: 2") {
		t.Errorf("it says %s", said)
	}
	wait.Until(t, "every channel hears of it", func() bool {
		return len(hook.about("confirmed what was found to be wrong with the event log")) == 1
	})
	q.with(key).refused(403, "agent_suspended", "GET", "/api/tools/"+tool+"/credentials", nil)
	q.admin().must(200, "POST", "/api/admin/agents/"+kept+"/reactivate", nil)
	q.admin().mustAssign(kept, tool)
	if a := q.with(keptKey).fetch(tool); a.Text("credential") != "ghp_secret" {
		t.Errorf("after all that: %s", a.Body)
	}
	if code, _, said := runCommand(t, q.env, "confirm-restore", "--keep-agents"); code != exitFault ||
		!strings.Contains(said, "confirmed already") {
		t.Errorf("confirmed twice: %d %s", code, said)
	}
	if got := actions(q); !slices.Contains(got, "log.restore_found") || !slices.Contains(got, "log.restore_confirmed") {
		t.Errorf("the audit tells %v", got)
	}
	q.restart()
	mustVend(q, keptKey, tool)
}

// TestAnOlderFileInPlaceIsFound puts back an older copy of the store by hand, without the marks of
// a backup. What was seen since is known beside it, and in the read model.
func TestAnOlderFileInPlaceIsFound(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]string{
		"by the mark beside it": "read-model.db*", "by the read model": markFile, "by both": "nothing",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, unlimited...)
			tool := p.admin().mustTool("GitHub", "ghp_secret")
			id, key := p.admin().mustAgent("Onboarding")
			p.admin().mustAssign(id, tool)
			mustVend(p, key, tool)
			p.stop()
			older := filepath.Join(t.TempDir(), "older")
			mustCopy(t, filepath.Join(p.Dir, "events.db"), older)
			p.run()
			p.admin().must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
			p.admin().must(200, "GET", "/api/admin/audit", nil)
			p.stop()

			mustCopy(t, older, filepath.Join(p.Dir, "events.db"))
			lost, err := filepath.Glob(filepath.Join(p.Dir, lose))
			if err != nil || len(lost) == 0 && lose != "nothing" {
				t.Fatalf("there is no %s: %v", lose, err)
			}
			for _, file := range lost {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			p.seen.Store(0)
			p.run()
			heldBack(t, p, tool, key)
			if got := p.with(key).must(200, "GET", "/api/tools", nil).Items(); got[0]["your_access"] != "approved" {
				t.Errorf("the read model does not show the access that the log now grants: %v", got)
			}
			p.restart()
			heldBack(t, p, tool, key)
			p.shell("confirm-restore", "--keep-agents")
			mustVend(p, key, tool)
			p.restart()
			mustVend(p, key, tool)
		})
	}
}

// TestAnotherLogIsNotTakenForARestoredOne uses a data folder, and the tables of a read model, with
// another installation's log.
func TestAnotherLogIsNotTakenForARestoredOne(t *testing.T) {
	t.Parallel()
	dir, database, former := t.TempDir(), readmodelstest.Postgres(t), ""
	for range 2 {
		log := ownLog(t, "each is another installation")
		p := start(t, append(
			log.replicas(), "AGENTKEY_DATA_DIR="+dir, "AGENTKEY_DATABASE_URL="+database, "AGENTKEY_ABANDON="+former,
		)...)
		f := mustFleet(p, 1, 1)
		mustVend(p, f.keys[0], f.tools[0])
		p.admin().must(200, "GET", "/api/admin/audit", nil)
		p.stop()
		former = strings.TrimSpace(readFile(t, filepath.Join(dir, installationFile)))
	}
}

// TestALogThatLosesItsEndUnderReplicas takes an older copy of the log under two running replicas,
// as a cluster does that lost its newest events. One of them wrote what is lost, the other did not.
func TestALogThatLosesItsEndUnderReplicas(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "the log loses its end")
	env := append(log.replicas(), "AGENTKEY_DATABASE_URL="+readmodelstest.Postgres(t))
	p := []*program{start(t, env...), start(t, env...)}
	tool := p[0].admin().mustTool("GitHub", "ghp_secret")
	id, key := p[0].admin().mustAgent("Onboarding")
	p[0].admin().mustAssign(id, tool)
	for _, replica := range p {
		mustVend(replica, key, tool)
	}
	log.stop()
	older := filepath.Join(t.TempDir(), "older")
	mustCopy(t, filepath.Join(log.dir, "events.db"), older)
	log.start()
	wait.Until(t, "written again", func() bool {
		return p[0].admin().call("POST", "/api/admin/agents/"+id+"/suspend", nil).Status == http.StatusOK
	})
	p[0].admin().must(200, "GET", "/api/admin/audit", nil) // the rows know
	log.stop()
	mustCopy(t, older, filepath.Join(log.dir, "events.db"))
	log.start()
	for _, replica := range p {
		wait.Until(t, "held back", func() bool {
			a, err := replica.with(key).try("GET", "/api/tools/"+tool+"/credentials", nil)
			if err == nil && a.Status == http.StatusOK {
				t.Fatalf("a suspended agent was given %s", a.Body)
			}
			return err == nil && a.Code() == "log_restored"
		})
	}
	p[1].shell("confirm-restore", "--keep-agents")
	for _, replica := range p {
		replica.seen.Store(0)
		wait.Until(t, "vending again", func() bool {
			return replica.with(key).call("GET", "/api/tools/"+tool+"/credentials", nil).Status == http.StatusOK
		})
		replica.admin().must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
		replica.with(key).refused(403, "agent_suspended", "GET", "/api/tools/"+tool+"/credentials", nil)
		replica.admin().must(200, "POST", "/api/admin/agents/"+id+"/reactivate", nil)
		replica.admin().mustAssign(id, tool)
	}
}
