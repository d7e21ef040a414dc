package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agentkey/readmodels/readmodelstest"
)

// TestALogThatIsGoneIsNotBegunAgain loses the log of an installation in each way in which it gets
// lost, and keeps one thing that remembers it.
func TestALogThatIsGoneIsNotBegunAgain(t *testing.T) {
	t.Parallel()
	database := readmodelstest.Postgres(t)
	for _, c := range []struct {
		name, keeps, says string
		env               []string
	}{
		{"an empty folder for the log", installationFile, "the data folder", nil},
		{"only the mark is left", markFile, "the high-water mark", nil},
		{"only the read model's file is left", readModelFile, "the read model in", nil},
		{"only the ledger is left", ledgerFile, "the ledger in", nil},
		{
			"only the read model's database is left", "", "AGENTKEY_DATABASE_URL",
			[]string{"AGENTKEY_DATABASE_URL=" + database},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, append(unlimited, c.env...)...)
			_, key := p.admin().mustAgent("Onboarding")
			p.admin().must(200, "GET", "/api/admin/audit", nil)
			p.stop()
			id := strings.TrimSpace(readFile(t, filepath.Join(p.Dir, installationFile)))
			left, err := os.ReadDir(p.Dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range left {
				if f.Name() != c.keeps {
					if err := os.RemoveAll(filepath.Join(p.Dir, f.Name())); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 2 { // a restart doesn't give in
				code, _, stderr := runCommand(t, p.env, "serve")
				if code != exitFault || !strings.Contains(stderr, "AGENTKEY_ABANDON="+id) || !strings.Contains(stderr, c.says) {
					t.Errorf("exit %d: %s", code, stderr)
				}
			}
			if _, said, _ := runCommand(t, p.env, "doctor"); !strings.Contains(said, "AGENTKEY_ABANDON="+id) {
				t.Errorf("the doctor: %s", said)
			}
			if code, _, stderr := runCommand(t, append(p.env, "AGENTKEY_ABANDON=another"), "serve"); code != exitFault {
				t.Errorf("with another id: exit %d: %s", code, stderr)
			}
			p.env, p.Token = append(p.env, "AGENTKEY_ABANDON="+id), ""
			p.launch()
			p.begun()
			p.with(key).refused(401, "credentials_unknown", "GET", "/api/tools", nil)
			p.admin().mustAgent("Another")
			p.stop()
			if now := strings.TrimSpace(readFile(t, filepath.Join(p.Dir, installationFile))); now == id || now == "" {
				t.Errorf("%q is remembered", now)
			}
		})
	}
}

// TestAStartThatWasKilledHalfWayStartsByItself: the first start made a key, and nothing else.
func TestAStartThatWasKilledHalfWayStartsByItself(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.stop()
	key := readFile(t, filepath.Join(p.Dir, masterKeyFile))
	half := newProgram(t, nil)
	if err := writePrivate(filepath.Join(half.Dir, masterKeyFile), key); err != nil {
		t.Fatal(err)
	}
	half.run()
	half.admin().mustAgent("Onboarding")
	if got := readFile(t, filepath.Join(half.Dir, masterKeyFile)); got != key {
		t.Error("it made another key")
	}
}
