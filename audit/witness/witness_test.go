package witness_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
	"agentkey/audit/witness"
)

const origin = "agentkey/0190b2c0-0000-7000-8000-000000000001"

// history is what a service shows: a tree of leaves that a text gives.
type history struct {
	key    ed25519.PrivateKey
	hashes []tlog.Hash
	size   int64
}

func (h *history) read(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		out[i] = h.hashes[n]
	}
	return out, nil
}

func (h *history) grow(t *testing.T, text string, n int) {
	t.Helper()
	for i := range n {
		more, err := tlog.StoredHashes(h.size, fmt.Append(nil, text, i), tlog.HashReaderFunc(h.read))
		if err != nil {
			t.Fatal(err)
		}
		h.hashes, h.size = append(h.hashes, more...), h.size+1
	}
}

// at is the signed checkpoint over a number of leaves.
func (h *history) at(t *testing.T, size int64) []byte {
	t.Helper()
	root, err := tlog.TreeHash(size, tlog.HashReaderFunc(h.read))
	if err != nil {
		t.Fatal(err)
	}
	note, err := formats.Checkpoint{Origin: origin, Size: size, Root: root}.Sign(h.key)
	if err != nil {
		t.Fatal(err)
	}
	return note
}

func (h *history) prove(from, to int64) (formats.Consistency, error) {
	hashes, err := tlog.ProveTree(to, from, tlog.HashReaderFunc(h.read))
	return formats.Consistency{From: from, To: to, Hashes: hashes}, err
}

func (h *history) keys() []formats.Key {
	public := h.key.Public().(ed25519.PublicKey)
	return []formats.Key{{ID: "c", Use: formats.CheckpointKey, Algorithm: "Ed25519", PublicKey: public}}
}

// TestAWitnessRefusesAForkForGood shows a witness histories that grow, older checkpoints, junk, and
// other histories.
func TestAWitnessRefusesAForkForGood(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "witness.json")
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	here, there := &history{key: key}, &history{key: key}
	here.grow(t, "same", 3)
	there.grow(t, "same", 3)
	here.grow(t, "here", 9)
	there.grow(t, "there", 9)
	w, err := witness.Create(file, "example.com/w")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := witness.Open(file); !errors.Is(err, witness.ErrInUse) {
		t.Errorf("two processes are one witness: %v", err)
	}
	again := func() {
		t.Helper()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if w, err = witness.Open(file); err != nil {
			t.Fatal(err)
		}
	}
	see := func(h *history, note []byte) ([]byte, error) {
		cosigned, _, err := w.See(note, here.keys(), time.Unix(1_700_000_000, 0), h.prove)
		return cosigned, err
	}
	signs := func(note []byte) {
		t.Helper()
		cosigned, err := see(here, note)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := formats.Open(
			cosigned, origin, formats.PublicKeys(here.keys(), formats.CheckpointKey), []formats.Witness{w.Public()},
		)
		if err != nil || len(opened.Cosignatures) != 1 || opened.Unknown != 0 || opened.Size != w.Size() {
			t.Errorf("%s: %v", cosigned, err)
		}
	}
	for _, bad := range [][]byte{nil, []byte("x"), []byte("agentkey/\x1b[2J\n1\nx\n\n— x y\n"), here.at(t, 2)[1:]} {
		if _, err := see(here, bad); err == nil || errors.Is(err, witness.ErrFork) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	signs(here.at(t, 2))
	again()
	signs(here.at(t, 2))
	signs(here.at(t, 3))
	// lines that look like the service's, as many as a note may have
	junk := here.at(t, 5)
	for i := range 99 {
		sig := append(binary.BigEndian.AppendUint32(nil, uint32(i+1)), make([]byte, ed25519.SignatureSize)...)
		junk = append(junk, "— "+origin+" "+base64.StdEncoding.EncodeToString(sig)+"\n"...)
	}
	signs(junk)
	again()
	if _, err := see(here, here.at(t, 3)); err == nil || errors.Is(err, witness.ErrFork) {
		t.Errorf("an older checkpoint: %v", err)
	}
	other := &history{key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))}
	other.grow(t, "same", 9)
	if _, err := see(other, other.at(t, 9)); err == nil || errors.Is(err, witness.ErrFork) {
		t.Errorf("a checkpoint of another service: %v", err)
	}
	if _, err := see(there, here.at(t, 6)); !errors.Is(err, witness.ErrFork) { // the proof is of another history
		t.Errorf("another proof: %v", err)
	}
	if _, err := see(here, here.at(t, 6)); !errors.Is(err, witness.ErrFork) {
		t.Errorf("after a fork: %v", err)
	}
	again()
	if _, err := see(here, here.at(t, 6)); !errors.Is(err, witness.ErrFork) {
		t.Errorf("after a fork and another start: %v", err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte(`"fork": "agentkey/`)) {
		t.Fatalf("%s: %v", text, err)
	}
	i := bytes.Index(text, []byte(`"fork": "`)) + len(`"fork": "`)
	end := bytes.LastIndexByte(text, '"')
	if err := os.WriteFile(file, append(text[:i:i], text[end:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	again()
	signs(here.at(t, 6))
	_, err = see(there, there.at(t, 6))
	if !errors.Is(err, witness.ErrFork) || !strings.Contains(err.Error(), "\nNow:\n"+origin) {
		t.Errorf("as many entries, and others: %v", err)
	}
	if err := errors.Join(w.Close(), os.WriteFile(file, []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.Open(file); err == nil {
		t.Error("a file of something else is a witness")
	}
	if _, err := witness.Create(file, "example.com/w"); err == nil {
		t.Error("a witness is made in the place of a file")
	}
	if _, err := witness.Create(file+"2", "two words"); err == nil {
		t.Error("a name has two words")
	}
}
