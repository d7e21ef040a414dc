package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// handed is a file as its owner and mode make it.
type handed struct {
	fs.FileInfo
	mode fs.FileMode
	uid  uint32
}

func (h handed) Mode() fs.FileMode { return h.mode }
func (h handed) Sys() any          { return &syscall.Stat_t{Uid: h.uid} }

func TestWhoMayHaveTheMasterKeys(t *testing.T) {
	const root, ours, theirs = 0, 65532, 1000
	for _, tt := range []struct {
		mode fs.FileMode
		uid  uint32
		user int
		says string // empty: it is taken
	}{
		{0o400, ours, ours, ""},
		{0o600, ours, ours, ""},
		{0o700, ours, ours, ""},
		{0o600, root, root, ""},
		{0o400, root, ours, ""},                   // with an access list
		{0o440, root, ours, ""},                   // Kubernetes with fsGroup, systemd
		{0o640, root, ours, ""},                   // Kubernetes with fsGroup and the mode 0600
		{0o440, root, root, "its group can read"}, // nobody hands it over
		{0o440, ours, ours, "its group can read"},
		{0o640, ours, ours, "its group can read"},
		{0o640, theirs, ours, "its group can read"},
		{0o660, root, ours, "its group can change"},
		{0o620, ours, ours, "its group can change"},
		{0o444, root, ours, "every user of this machine can read"},
		{0o644, ours, ours, "every user of this machine can read"},
		{0o604, ours, ours, "every user of this machine can read"},
		{0o602, ours, ours, "every user of this machine can change"},
		{0o666, theirs, ours, "every user of this machine can change"},
		{fs.ModeNamedPipe | 0o666, ours, ours, ""},
	} {
		err := onlyOurs("/keys", handed{mode: tt.mode, uid: tt.uid}, tt.user)
		if (err == nil) != (tt.says == "") || err != nil && !strings.HasPrefix(err.Error(), tt.says) {
			t.Errorf("mode %v of %d for %d: %v", tt.mode, tt.uid, tt.user, err)
		}
	}
}

// TestAMasterKeyThatOthersCanReadStopsTheStart gives the keys in each of the places they can be in.
func TestAMasterKeyThatOthersCanReadStopsTheStart(t *testing.T) {
	t.Parallel()
	const tells = "chmod 0400 "
	p := start(t)
	p.stop()
	key := filepath.Join(p.Dir, masterKeyFile)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(key, link); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o606, 0o660} {
		for _, env := range [][]string{
			nil,
			{"AGENTKEY_MASTER_KEYS_FILE=" + key},
			{"AGENTKEY_MASTER_KEYS_FILE=" + link},
			{"AGENTKEY_CONFIG=" + write(t, "agentkey.yaml", "master_keys_file: "+link+"\n")},
		} {
			if err := os.Chmod(key, mode); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"serve", "keys"} {
				args := []string{command}
				if command == "keys" {
					args = append(args, "roll")
				}
				code, _, stderr := runCommand(t, append(p.env, env...), args...)
				if code == exitOK || !strings.Contains(stderr, tells) || !strings.Contains(stderr, "master keys") {
					t.Errorf("%v with mode %v and %q: exit %d: %s", args, mode, env, code, stderr)
				}
			}
		}
	}
	for _, mode := range []fs.FileMode{0o400, 0o600} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		p.run()
		p.stop()
	}
}
