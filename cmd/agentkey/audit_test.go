package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// audit runs a command as an auditor does, who has nothing of the installation but a token.
func (p *program) audit(args ...string) (code int, out, failed string) {
	return runCommand(p.t, []string{"AGENTKEY_ADMIN_TOKEN=" + p.Token}, append([]string{"audit"}, args...)...)
}

// auditor exports what the service has, and checks it. A checkpoint covers everything.
func (p *program) auditor(receipt []byte) {
	p.t.Helper()
	folder := p.t.TempDir()
	file := func(name string) string { return filepath.Join(folder, name) }
	save := func(name string, text []byte) string {
		if err := os.WriteFile(file(name), text, 0o600); err != nil {
			p.t.Fatal(err)
		}
		return file(name)
	}
	keys := save("keys.json", p.with("").must(200, "GET", "/.well-known/agentkey-keys.json", nil).Body)
	must := func(want int, says string, args ...string) {
		p.t.Helper()
		if code, out, failed := p.audit(args...); code != want || !strings.Contains(out+failed, says) {
			p.t.Errorf("agentkey audit %v: %d, want %d and %q: %s%s", args, code, want, says, out, failed)
		}
	}
	admin := p.admin()
	bundle, middle := file("bundle.zip"), file("middle.zip")
	must(0, "Exported ", "export", bundle, "--url", p.URL)
	must(2, "exists already", "export", bundle, "--url", p.URL)
	must(0, "agrees with itself", "verify", bundle)
	must(0, "OK: the entries 0 to ", "verify", bundle, "--keys", keys)
	must(0, "they begin with these", "verify", bundle, "--keys", keys, "--live", p.URL)
	must(0, "OK: ", "verify", "--live", p.URL, "--keys", keys)

	registered := admin.must(200, "GET", "/api/admin/audit?action=agent.registered", nil).Items()
	from := registered[0]["occurred_at"].(string)
	must(0, "Exported ", "export", middle, "--url", p.URL, "--from", from)
	must(0, "OK: the entries ", "verify", middle, "--keys", keys, "--live", p.URL)
	if _, out, _ := p.audit("verify", middle, "--keys", keys); strings.Contains(out, "entries 0 to") {
		p.t.Errorf("from %s: %s", from, out)
	}

	for format, fewest := range map[string]int{"jsonl": 2, "csv": 3, "ocsf": 2} {
		must(
			0, "Exported 2 entries", "export", file("agents."+format), "--url", p.URL, "--format", format,
			"--action", "agent.registered",
		)
		text, err := os.ReadFile(file("agents." + format))
		if err != nil || bytes.Count(text, []byte("\n")) != fewest {
			p.t.Errorf("%s: %s: %v", format, text, err)
		}
	}
	agent, _ := registered[0]["agent_id"].(string)
	must(1, "takes only from and to", "export", file("x"), "--url", p.URL, "--agent-id", agent)
	must(1, "nothing happened in this time", "export", file("x"), "--url", p.URL, "--to", "2020-01-01T00:00:00Z")
	must(1, "There is no such path", "export", file("x"), "--url", p.URL+"/nowhere")
	if code, _, _ := p.audit("export", file("x"), "--url", "http://127.0.0.1:1"); code != 1 {
		p.t.Error("nobody is there, and the command succeeds")
	}
	if _, err := os.Stat(file("x")); err == nil {
		p.t.Error("a failed export leaves a file")
	}

	raw, err := os.ReadFile(bundle)
	if err != nil {
		p.t.Fatal(err)
	}
	must(1, "a part of it is missing", "verify", save("cut.zip", raw[:len(raw)/2]), "--keys", keys)
	must(1, "isn't a bundle", "verify", save("text", []byte("x")))
	must(2, "neither a bundle nor a receipt", "verify", keys, "--keys", keys)
	must(2, "neither a bundle nor a receipt", "verify", file("agents.jsonl"), "--keys", keys)
	must(2, "with --keys alone", "verify", save("receipt.json", receipt), "--keys", keys, "--live", p.URL)
	must(2, "neither", "verify", save("receipt.json", append(bytes.Clone(receipt), "}x"...)), "--keys", keys)
	claim := bytes.Replace(receipt, []byte(`"event_id":"`), []byte(`"event_id":"\u001b[2J`), 1)
	must(1, "altered", "verify", save("receipt.json", claim), "--keys", keys)
	must(2, "isn't the answer of", "verify", bundle, "--keys", save("other.json", []byte("{}")))
	must(0, "OK: the entry ", "verify", save("receipt.json", receipt), "--keys", keys)
	must(2, "--keys", "verify", save("receipt.json", receipt))
	at := bytes.Index(receipt, []byte(`"entry":"`)) + 12
	forged := bytes.Clone(receipt)
	if forged[at]++; receipt[at] != 'A' { // another digit of base64
		forged[at] = 'A'
	}
	must(1, "altered", "verify", save("receipt.json", forged), "--keys", keys)
	must(2, "name a bundle", "verify")
}

// TestAnotherHistoryIsNotTheBundles copies a data folder, lets both installations work, and returns
// to one with a bundle of the other.
func TestAnotherHistoryIsNotTheBundles(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	p.admin().mustTool("GitHub", "x")
	p.stop()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(p.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(folder, "master-key"), 0o400); err != nil {
		t.Fatal(err)
	}
	p.run()
	p.admin().mustBeCovered("Here")
	bundle := filepath.Join(t.TempDir(), "here.zip")
	if code, out, failed := p.audit("export", bundle, "--url", p.URL); code != 0 {
		t.Fatal(out, failed)
	}
	fork := newProgram(t, append([]string{"AGENTKEY_DATA_DIR=" + folder}, unlimited...))
	fork.Token = p.Token
	fork.run()
	for _, description := range []string{"There", "There and on"} {
		fork.admin().mustBeCovered(description)
		code, out, failed := fork.audit("verify", bundle, "--live", fork.URL)
		if code != 1 || !strings.Contains(out, "altered: the ") || !strings.Contains(failed, "doesn't hold") {
			t.Errorf("%s: %d %s%s", description, code, out, failed)
		}
	}
	if code, out, failed := p.audit("verify", bundle, "--live", p.URL); code != 0 {
		t.Errorf("%d %s%s", code, out, failed)
	}
}
