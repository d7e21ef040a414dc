package main

import (
	"bytes"
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/api"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/projections"
)

// aged puts what a stopped program has written two months back, as far as the store's own clock
// stamped it. Nothing of that is signed.
func (p *program) aged() {
	p.t.Helper()
	p.mustExec(`update events set created = created - 62 * 86400 * 10000000
		where sid not in (select sid from streams where name like 'once-%')`)
}

// mustExec changes a stopped program's log.
func (p *program) mustExec(statement string) {
	p.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.Dir, "events.db"))
	if err == nil {
		_, err = db.ExecContext(p.t.Context(), statement)
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// TestAnArchivedMonthIsStillTheLog archives what an installation did two months ago. The read model
// and the ledger, filled again from the first event, exports, bundles, replays and fetches are what
// they were; a damaged archive is named, and one that is missing lets nothing start.
func TestAnArchivedMonthIsStillTheLog(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	f := mustFleet(p, 3, 2)
	rejected := admin.mustTool("Rejected", "x")
	asker := p.with(f.keys[0])
	admin.must(200, "POST", "/api/admin/requests/"+asker.mustRequest(rejected)+"/deny", object{"reason": "no"})
	for _, key := range f.keys {
		mustVend(p, key, f.tools[0])
	}
	admin.must(200, "POST", "/api/admin/agents/"+f.ids[2]+"/suspend", nil)
	admin.mustBeCovered("long ago")
	p.settled()
	p.stop()
	p.aged()
	p.run()
	mustVend(p, f.keys[1], f.tools[1]) // this month
	admin = p.admin()
	later, laterKey := admin.mustAgent("Later")
	admin.mustAssign(later, f.tools[0])
	checkpoint := admin.mustBeCovered("now")
	p.settled()
	position, _ := admin.must(200, "GET", "/api/admin/audit?limit=1", nil).Items()[0]["position"].(float64)
	asOf := strconv.FormatInt(int64(position), 10)

	exports := func(when string) map[string]string {
		t.Helper()
		admin := p.admin()
		out := map[string]string{
			"checkpoint": string(admin.must(200, "GET", checkpointPath, nil).Body),
			"replay":     p.replays(0, "digests", "--url", p.URL, "--as-of", asOf, "--json"),
			"proof": string(admin.must(
				200, "GET", "/api/admin/audit/entries/"+id(admin.must(
					200, "GET", "/api/admin/audit?action=agent.registered", nil,
				).Items()[3])+"/proof", nil,
			).Body),
		}
		for _, format := range []string{"jsonl", "csv", "ocsf", "bundle"} {
			file := filepath.Join(t.TempDir(), "audit")
			if code, said, failed := p.audit("export", file, "--url", p.URL, "--format", format); code != exitOK {
				t.Fatalf("%s, %s: %s%s", when, format, said, failed)
			}
			if code, said, failed := p.audit("verify", file); format == "bundle" && code != exitOK {
				t.Errorf("%s: %s%s", when, said, failed)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out[format] = string(text)
		}
		return out
	}
	before := exports("before")
	if before["checkpoint"] != checkpoint || len(before["jsonl"]) < 100_000 {
		t.Fatalf("before: %s", before["checkpoint"])
	}

	this := time.Now().UTC().Format("2006-01")
	last := time.Now().UTC().AddDate(0, 0, -time.Now().UTC().Day()).Format("2006-01")
	for through, want := range map[string]struct {
		code int
		says string
	}{
		this: {exitUsage, "isn't over"}, "March": {exitUsage, "such as 2026-03"}, last: {exitFault, "in use by process"},
		time.Now().UTC().AddDate(0, 2, 0).Format("2006-01"): {exitUsage, "isn't over"},
		"2026-13": {exitUsage, "such as 2026-03"}, "2026-00": {exitUsage, "such as 2026-03"},
		"10000-01": {exitUsage, "such as 2026-03"}, "-500-01": {exitUsage, ""}, "9999-12": {exitUsage, "isn't over"},
		"0001-01": {exitUsage, "before 1970-01"}, "1600-05": {exitUsage, "before 1970-01"},
		"1969-12": {exitUsage, "before 1970-01"}, "2026-3": {exitUsage, "such as 2026-03"},
	} {
		if code, _, said := runCommand(t, p.env, "eventstore", "archive", "--through", through); code != want.code ||
			!strings.Contains(said, want.says) {
			t.Errorf("through %s: %d %s", through, code, said)
		}
	}
	p.stop()
	altered := func(from, to string) {
		t.Helper()
		p.mustExec(
			"update events set data = replace(data, '" + from + "', '" + to + "') where rev = 1 and " + of("agent-"+f.ids[1]),
		)
	}
	altered("{", "{ ")
	if code, _, said := runCommand(t, p.env, "eventstore", "archive", "--through", last); code != exitFault ||
		!strings.Contains(said, "@agent-"+f.ids[1]+" is ") || !strings.Contains(said, "nothing was archived") {
		t.Errorf("with an event that is altered: %d %s", code, said)
	}
	altered("{ ", "{")
	stray := filepath.Join(p.Dir, "archive-1-5.db")
	if err := os.WriteFile(stray, []byte("the only copy"), 0o400); err != nil {
		t.Fatal(err)
	}
	if code, _, said := runCommand(t, p.env, "eventstore", "archive", "--through", "1970-01"); code != exitOK ||
		!strings.Contains(said, stray) || !strings.Contains(said, "only copy of its events") ||
		strings.Contains(said, "emove") {
		t.Errorf("with an archive that isn't recorded: %d %s", code, said)
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	whole := p.fileSize("events.db")
	if said := p.shell("eventstore", "archive", "--through", last); !strings.Contains(said, "Moved ") {
		t.Fatal(said)
	}
	if said := p.shell("eventstore", "archive", "--through", last, "--data", p.Dir); !strings.Contains(
		said, "Nothing of the log",
	) {
		t.Error(said)
	}
	files, err := filepath.Glob(filepath.Join(p.Dir, "archive*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the archives are %v: %v", files, err)
	}
	if left := p.fileSize("events.db"); left > whole*3/4 {
		t.Errorf("the store took %d bytes and takes %d", whole, left)
	}
	p.verify()
	p.compareWithRebuild()
	if code, said, failed := runCommand(
		t, nil, "eventstore", "copy", "--from", p.Dir, "--to", t.TempDir(),
	); code != exitOK || !strings.Contains(said, "Both logs hold the same") {
		t.Errorf("a copy: %d %s%s", code, said, failed)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.RemoveAll(filepath.Join(p.Dir, "ledger.db"+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	p.run()
	p.settled()
	after := exports("after")
	for what, was := range before {
		if after[what] != was {
			t.Errorf("%s has %d bytes and had %d: %.3000s", what, len(after[what]), len(was), cmp.Diff(was, after[what]))
		}
	}
	mustVend(p, f.keys[0], f.tools[0])
	mustVend(p, laterKey, f.tools[0])
	p.with(f.keys[2]).refused(403, "agent_suspended", "GET", "/api/tools/"+f.tools[0]+"/credentials", nil)
	if code, said, _ := runCommand(t, p.env, "doctor"); code != exitOK {
		t.Errorf("the doctor: %d %s", code, said)
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	p.shell("backup", backup)
	p.stop()

	restored := newProgram(t, append([]string{"AGENTKEY_DATA_DIR=" + t.TempDir()}, unlimited...))
	restored.Token = p.Token
	restored.shell("restore", backup)
	mustCopy(t, filepath.Join(p.Dir, masterKeyFile), filepath.Join(restored.Dir, masterKeyFile))
	restored.verify()
	restored.shell("confirm-restore", "--keep-agents")
	restored.run()
	mustVend(restored, f.keys[0], f.tools[0])
	restored.stop()

	p.unverified = true // what follows can't be read
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	named := filepath.Base(files[0])
	replace := func(raw []byte) {
		t.Helper()
		err := os.Remove(files[0])
		if err == nil && raw != nil {
			err = os.WriteFile(files[0], raw, 0o400)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	replace(bytes.ReplaceAll(good, []byte(f.ids[0]), []byte(f.ids[1])))
	p.launch()
	wait.Until(t, "it is named", func() bool {
		return strings.Contains(p.stderr.String(), files[0]+" isn't the archive that was made")
	})
	select {
	case code := <-p.ended:
		p.cancel = nil
		if code != exitFault {
			t.Errorf("it ended with %d: %s", code, p.stderr)
		}
	case <-listening(p):
		p.begun()
		if a := p.with(f.keys[0]).fetch(f.tools[0]); a.Status != 503 {
			t.Errorf("a fetch from a damaged archive: %d %s", a.Status, a.Body)
		}
		p.becomes(200, `"degraded"`, `"log_integrity"`, named)
		p.stop()
	}

	replace(nil)
	for _, command := range [][]string{{"serve"}, {"doctor"}, {"backup", backup + "2"}} {
		if code, said, failed := runCommand(t, p.env, command...); code != exitFault ||
			!strings.Contains(said+failed, named) || !strings.Contains(said+failed, "missing") {
			t.Errorf("%v without the archive: %d %s%s", command, code, said, failed)
		}
	}
	if err := os.WriteFile(files[0], good, 0o400); err != nil {
		t.Fatal(err)
	}
	p.unverified = false
	p.run()
	mustVend(p, f.keys[0], f.tools[0])
}

// listening is closed when the program listens.
func listening(p *program) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		for {
			text, more := p.stdout.find(listens)
			if text != "" {
				close(done)
				return
			}
			select {
			case <-more:
			case <-p.t.Context().Done():
				return
			}
		}
	}()
	return done
}

// TestEventsOfAnotherApplicationAreArchived lets somebody write into a stream of ours. That is
// found, and breaks nothing.
func TestEventsOfAnotherApplicationAreArchived(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	p.unverified = true // that is the point
	id, _ := p.admin().mustAgent("Bot")
	p.office(func(ctx context.Context, o *office) error {
		_, err := o.client.Append(
			ctx, "agent-"+id, eventstore.Any,
			eventstore.Event{ID: newID(), Type: "order.placed.v1", Data: []byte("{}"), Metadata: []byte("{}")},
		)
		return err
	})
	p.becomes(200, `"degraded"`, `"log_integrity"`, "1@agent-"+id+" is foreign")
	p.settled()
	p.stop()
	p.aged()
	last := time.Now().UTC().AddDate(0, 0, -time.Now().UTC().Day()).Format("2006-01")
	if said := p.shell("eventstore", "archive", "--through", last); !strings.Contains(said, "Moved ") {
		t.Error(said)
	}
	p.run()
	if _, findings := p.integrity(); len(findings) != 1 || findings[0] != "foreign 1@agent-"+id {
		t.Errorf("the findings are %v", findings)
	}
}

// TestIntegrityNamesAllThatIsWrong has a finding and a damaged archive at once.
func TestIntegrityNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	found := []installation.Found{{Finding: installation.Finding{Stream: "agent-1", Revision: 4, Reason: "altered"}}}
	for _, c := range []struct {
		found  []installation.Found
		others []string
		status api.ReadinessCheckStatus
		says   string
	}{
		{nil, nil, api.ReadinessCheckStatusOk, "the log was not read yet"},
		{found, nil, api.ReadinessCheckStatusDegraded, "4@agent-1 is altered; see docs/runbook.md"},
		{nil, []string{"archive-1-5.db can't be used"}, api.ReadinessCheckStatusDegraded, "archive-1-5.db can't be used"},
		{
			found,
			[]string{"two heads", "archive-1-5.db can't be used"},
			api.ReadinessCheckStatusDegraded,
			"4@agent-1 is altered; see docs/runbook.md. Also: two heads. Also: archive-1-5.db can't be used",
		},
	} {
		status, says := describeIntegrity(c.found, projections.IntegrityStatus{}, c.others...)
		if status != c.status || says != c.says {
			t.Errorf("%v: %s", status, says)
		}
	}
}
