package formats_test

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
)

// TestACosignatureIsThatOfTheSpecification opens the example of C2SP tlog-cosignature, whose keys
// aren't published, and checks the layout of our own against it.
func TestACosignatureIsThatOfTheSpecification(t *testing.T) {
	const example = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZ" +
		"qhf5nNo0xUe+mbIUBkBIfZ+qnA=="
	service := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	w := formats.Witness{Name: "witness.example.com/w1", Key: key.Public().(ed25519.PublicKey)}
	c := formats.Checkpoint{Origin: "agentkey/org", Size: 3, Root: tlog.Hash{7}}
	note, err := c.Sign(service)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2023, 3, 20, 12, 25, 47, 0, time.UTC)
	both, err := formats.Cosign(note, w.Name, key, at)
	if err != nil || !bytes.HasPrefix(both, note) {
		t.Fatalf("%s: %v", both, err)
	}
	keys := []ed25519.PublicKey{service.Public().(ed25519.PublicKey)}
	opened, err := formats.Open(both, c.Origin, keys, []formats.Witness{w})
	if err != nil || opened.Checkpoint != c || len(opened.Cosignatures) != 1 || opened.Unknown != 0 {
		t.Fatalf("%+v: %v", opened, err)
	}
	line := opened.Cosignatures[0].Line
	if !opened.Cosignatures[0].At.Equal(at) || len(line) != len("— witness.example.com/w1 "+example) ||
		line[len("— witness.example.com/w1 ")+6:][:10] != example[6:16] { // the time, which is the same
		t.Errorf("%s at %s", line, opened.Cosignatures[0].At)
	}

	if o, err := formats.Open(both, c.Origin, keys, nil); err != nil || o.Unknown != 1 || len(o.Cosignatures) != 0 {
		t.Errorf("to somebody who doesn't know the witness: %+v: %v", o, err)
	}
	other := formats.Witness{Name: w.Name, Key: keys[0]}
	if o, err := formats.Open(both, c.Origin, keys, []formats.Witness{other}); err != nil || o.Unknown != 1 {
		t.Errorf("a witness of the same name: %+v: %v", o, err)
	}
	for i := len(note); i < len(both)-1; i++ { // each byte of the cosignature counts
		changed := bytes.Clone(both)
		changed[i] ^= 1
		if o, err := formats.Open(changed, c.Origin, keys, []formats.Witness{w}); err == nil && len(o.Cosignatures) > 0 {
			t.Errorf("the byte %d can be %q", i, changed[i])
		}
	}
	moved := bytes.Replace(both, []byte("\n3\n"), []byte("\n4\n"), 1)
	if _, err := formats.Open(moved, c.Origin, keys, []formats.Witness{w}); err == nil {
		t.Error("the cosignature is good for another checkpoint")
	}

	text := w.String()
	if back, err := formats.ParseWitness(text); err != nil || back.Name != w.Name || !back.Key.Equal(w.Key) {
		t.Errorf("%s: %v", text, err)
	}
	for _, bad := range []string{
		"", "w", "w+00000000", text + "x", strings.ToUpper(text), "x" + text, strings.Replace(text, "+", "+0", 1),
		strings.Replace(text, "witness", "wit ness", 1),
	} {
		if _, err := formats.ParseWitness(bad); err == nil {
			t.Errorf("%q is a witness", bad)
		}
	}
}
