package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"agentkey/eventstore/eventstoretest/wait"
)

var registered = regexp.MustCompile(`AGENTKEY_WITNESSES=(\S+)`)

// TestAWitnessSignsThatHistoryOnlyGrew lets a witness watch a service, and then a copy of it that
// went another way.
func TestAWitnessSignsThatHistoryOnlyGrew(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	state := filepath.Join(t.TempDir(), "witness.json")
	witness := func(of *program, want int, says string) string {
		t.Helper()
		code, out, failed := of.audit("witness", state, "--url", of.URL, "--once", "--name", "audit.example.com/w1")
		if code != want || !strings.Contains(out+failed, says) {
			t.Errorf("the witness ends with %d, not %d and %q: %s%s", code, want, says, out, failed)
		}
		return out
	}
	created := registered.FindStringSubmatch(witness(p, 1, "No checkpoint of the ledger covers this yet"))
	if created == nil {
		t.Fatal("the witness doesn't say how it is registered")
	}
	p.admin().mustBeCovered("Here")
	witness(p, 1, "no registered witness signed it")
	p.env = append(p.env, "AGENTKEY_WITNESSES="+created[1])
	p.restart()
	witness(p, 0, "the history only grew")
	witness(p, 0, "the history only grew") // it hands in the same
	admin := p.admin()
	cosigned := func() string {
		var note string
		wait.Until(t, "cosigned", func() bool {
			note = string(admin.must(200, "GET", checkpointPath, nil).Body)
			return strings.Contains(note, "\n— audit.example.com/w1 ")
		})
		return note
	}
	note := cosigned()
	const path = "/api/admin/audit/cosignatures"
	first := admin.must(204, "POST", path, object{"note": note}).Header.Get("X-Event-Position")
	if again := admin.must(204, "POST", path, object{"note": note}).Header.Get("X-Event-Position"); again != first {
		t.Errorf("the same cosignature is at %s and at %s", first, again)
	}
	for _, bad := range []any{
		object{},
		object{"note": ""},
		object{"note": "x"},
		object{"note": strings.Replace(note, "\n— audit", "\n— other", 1)},
		object{"note": strings.Join(strings.SplitAfter(note, "\n")[:5], "")},
		object{"note": note, "more": 1},
	} {
		admin.refused(400, "validation_failed", "POST", path, bad)
	}
	stranger := p.organization("Another", "owner")
	stranger.refused(400, "validation_failed", "POST", path, object{"note": note})
	_, key := admin.mustAgent("Nobody's witness")
	p.with(key).refused(403, "wrong_caller", "POST", path, object{"note": note})

	p.stop()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(p.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(folder, "master-key"), 0o400); err != nil {
		t.Fatal(err)
	}
	p.run()
	admin = p.admin()
	admin.mustBeCovered("Here and on")
	witness(p, 0, "the history only grew")
	cosigned()
	admin.mustBeCovered("No witness looks")
	bundle, keys := filepath.Join(folder, "bundle.zip"), filepath.Join(folder, "keys.json")
	answer := p.with("").must(200, "GET", "/.well-known/agentkey-keys.json", nil)
	if err := os.WriteFile(keys, answer.Body, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		code int
		says string
		args []string
	}{
		{0, "Exported ", []string{"export", bundle, "--url", p.URL}},
		{0, "No witness was named", []string{"verify", bundle, "--keys", keys}},
		{0, "audit.example.com/w1 saw the last", []string{"verify", bundle, "--keys", keys, "--witness", created[1]}},
		{0, "they begin with these", []string{"verify", bundle, "--witness", created[1], "--live", p.URL}},
		{0, "saw the last", []string{"verify", bundle, "--witness", created[1], "--witness", created[1]}},
		{2, "leave out --name", []string{"witness", state, "--name", "else", "--url", p.URL}},
		{2, "leave out --keys", []string{"witness", state, "--keys", keys, "--url", p.URL}},
		{2, "must begin with http", []string{"export", bundle + "2", "--url", "127.0.0.1"}},
		{2, "a witness is its name", []string{"verify", bundle, "--witness", "x"}},
		{2, "at least 1s", []string{"witness", state, "--every", "1ms"}},
		{1, "has not signed the last", []string{"verify", bundle, "--witness", strangerWitness}},
	} {
		if code, out, failed := p.audit(tt.args...); code != tt.code || !strings.Contains(out+failed, tt.says) {
			t.Errorf("%v: %d, not %d and %q: %s%s", tt.args, code, tt.code, tt.says, out, failed)
		}
	}

	fork := newProgram(t, append([]string{"AGENTKEY_DATA_DIR=" + folder}, unlimited...))
	fork.Token = p.Token
	fork.run()
	fork.admin().mustBeCovered("There")
	witness(fork, 1, "FORK")
	fork.admin().mustBeCovered("There and on")
	witness(fork, 1, "FORK")
	witness(p, 1, "FORK") // until somebody has looked
}

// strangerWitness is a witness that has never signed anything here.
const strangerWitness = "other.example.com+785d37ac+BAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
