package formats_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
)

var sample = formats.Event{
	Stream: "agent-1", Revision: 7, ID: uuid.MustParse("0190b2c0-0000-7000-8000-000000000001"),
	Type: "agent.suspended.v1", Data: []byte(`{"a":1}`), Metadata: []byte(`{"signed":"{}"}`),
}

// TestTheEntryOfAnEvent calculates it from the description alone.
func TestTheEntryOfAnEvent(t *testing.T) {
	var text []byte
	pieces := []string{
		"agentkey.audit.entry.v1", "agent-1", "7", string(sample.ID[:]), "agent.suspended.v1", `{"a":1}`, `{"signed":"{}"}`,
	}
	text = binary.LittleEndian.AppendUint64(text, uint64(len(pieces)))
	for _, p := range pieces {
		text = append(binary.LittleEndian.AppendUint64(text, uint64(len(p))), p...)
	}
	entry := sha256.Sum256(text)
	if sample.Entry() != entry {
		t.Fatalf("it is %x, want %x", sample.Entry(), entry)
	}
	if leaf := sha256.Sum256(append([]byte{0}, entry[:]...)); sample.Entry().Leaf() != leaf {
		t.Fatalf("the leaf is %x, want %x", sample.Entry().Leaf(), leaf)
	}
	for name, change := range map[string]func(*formats.Event){
		"stream":   func(e *formats.Event) { e.Stream = "agent-2" },
		"revision": func(e *formats.Event) { e.Revision++ },
		"id":       func(e *formats.Event) { e.ID[15]++ },
		"type":     func(e *formats.Event) { e.Type = "agent.reactivated.v1" },
		"data":     func(e *formats.Event) { e.Data = []byte(`{"a": 1}`) },
		"metadata": func(e *formats.Event) { e.Metadata = []byte(`{"signed":"{ }"}`) },
		"border":   func(e *formats.Event) { e.Data, e.Metadata = []byte(`{"a":1}{`), []byte(`"signed":"{}"}`) },
	} {
		other := sample
		if change(&other); other.Entry() == sample.Entry() {
			t.Errorf("%s: another event has the same entry", name)
		}
	}
	raw, err := json.Marshal(sample.Entry())
	var back formats.Entry
	if err != nil || json.Unmarshal(raw, &back) != nil || back != sample.Entry() {
		t.Errorf("%s doesn't come back", raw)
	}
}

func keyOf(seed byte) (ed25519.PublicKey, ed25519.PrivateKey) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return private.Public().(ed25519.PublicKey), private
}

// TestACheckpointIsASignedNote reads the note by hand, as its two specifications describe it.
func TestACheckpointIsASignedNote(t *testing.T) {
	public, private := keyOf(1)
	c := formats.Checkpoint{Origin: formats.Origin("o1"), Size: 12, Root: tlog.Hash{1, 2, 3}}
	signed, err := c.Sign(private)
	if err != nil {
		t.Fatal(err)
	}
	root := base64.StdEncoding.EncodeToString(c.Root[:])
	text, line, _ := strings.Cut(string(signed), "\n\n")
	text += "\n"
	if want := "agentkey/o1\n12\n" + root + "\n"; text != want {
		t.Fatalf("the text is %q, want %q", text, want)
	}
	name, blob, _ := strings.Cut(strings.TrimPrefix(line, "— "), " ")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(blob, "\n"))
	if err != nil || name != "agentkey/o1" || len(raw) != 4+ed25519.SignatureSize {
		t.Fatalf("the line of the signature is %q", line)
	}
	id := sha256.Sum256(append([]byte("agentkey/o1\n\x01"), public...))
	if !bytes.Equal(raw[:4], id[:4]) || !ed25519.Verify(public, []byte(text), raw[4:]) {
		t.Error("the signature isn't that of the key")
	}

	other, _ := keyOf(2)
	for _, keys := range [][]ed25519.PublicKey{{public}, {other, public}} {
		if opened, err := formats.OpenCheckpoint(signed, c.Origin, keys...); err != nil || opened != c {
			t.Errorf("it opens as %v: %v", opened, err)
		}
	}
	for name, keys := range map[string][]ed25519.PublicKey{"another key": {other}, "no key": nil} {
		if _, err := formats.OpenCheckpoint(signed, c.Origin, keys...); !errors.Is(err, formats.ErrNotSigned) {
			t.Errorf("%s opens it: %v", name, err)
		}
	}
	if _, err := formats.OpenCheckpoint(signed, formats.Origin("o2"), public); err == nil {
		t.Error("it opens as another organization's")
	}
	for i := range signed {
		altered := bytes.Clone(signed)
		altered[i] ^= 1
		if _, err := formats.OpenCheckpoint(altered, c.Origin, public); err == nil {
			t.Errorf("it opens with another byte at %d: %q", i, altered)
		}
	}
}

func TestWhatIsNoCheckpoint(t *testing.T) {
	root := strings.Repeat("A", 43) + "="
	for name, text := range map[string]string{
		"nothing": "", "no root": "o\n1\n", "no origin": "\n1\n" + root + "\n", "a size with zeros": "o\n01\n" + root + "\n",
		"a negative size": "o\n-1\n" + root + "\n", "a short root": "o\n1\nAAAA\n", "no size": "o\nx\n" + root + "\n",
	} {
		if c, err := formats.ParseCheckpoint(text); err == nil {
			t.Errorf("%s: %q is %v", name, text, c)
		}
	}
	if c, err := formats.ParseCheckpoint("o\n1\n" + root + "\nextension\n"); err != nil || c.Size != 1 {
		t.Errorf("a line of an extension is refused: %v", err)
	}
}

func TestReceiptsAreChecked(t *testing.T) {
	public, private := keyOf(1)
	leaves := []formats.Entry{{1}, sample.Entry(), {3}}
	hashes := map[int64]tlog.Hash{}
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			out[i] = hashes[at]
		}
		return out, nil
	})
	for i, e := range leaves {
		more, err := tlog.StoredHashes(int64(i), e[:], reader)
		if err != nil {
			t.Fatal(err)
		}
		at := tlog.StoredHashIndex(0, int64(i))
		for j, h := range more {
			hashes[at+int64(j)] = h
		}
	}
	root, _ := tlog.TreeHash(3, reader)
	path, _ := tlog.ProveRecord(3, 1, reader)
	c := formats.Checkpoint{Origin: formats.Origin("o1"), Size: 3, Root: root}
	signed, _ := c.Sign(private)
	good := formats.Receipt{
		EventID: sample.ID.String(), Stream: sample.Stream, Revision: sample.Revision, Entry: sample.Entry(),
		Proof: formats.Proof{Index: 1, Size: 3, Leaf: sample.Entry().Leaf(), Hashes: path, Checkpoint: string(signed)},
	}
	if err := good.Check(c.Origin, public); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*formats.Receipt){
		"another entry": func(r *formats.Receipt) { r.Entry[0]++ },
		"another leaf":  func(r *formats.Receipt) { r.Entry[0]++; r.Proof.Leaf = r.Entry.Leaf() },
		"another index": func(r *formats.Receipt) { r.Proof.Index = 0 },
		"beyond":        func(r *formats.Receipt) { r.Proof.Index = 3 },
		"another size":  func(r *formats.Receipt) { r.Proof.Size = 4 },
		"a hash less":   func(r *formats.Receipt) { r.Proof.Hashes = r.Proof.Hashes[1:] },
		"no checkpoint": func(r *formats.Receipt) { r.Proof.Checkpoint = "" },
	} {
		bad := good
		change(&bad)
		if bad.Check(c.Origin, public) == nil {
			t.Errorf("%s: it is accepted", name)
		}
	}
}

// TestPathsOfTiles are examples of the specification's rules.
func TestPathsOfTiles(t *testing.T) {
	for path, want := range map[string]tlog.Tile{
		"tile/0/000":                  {H: 8, L: 0, N: 0, W: 256},
		"tile/2/x001/234":             {H: 8, L: 2, N: 1234, W: 256},
		"tile/0/x001/x234/067.p/8":    {H: 8, L: 0, N: 1234067, W: 8},
		"tile/entries/000.p/5":        {H: 8, L: -1, N: 0, W: 5},
		"tile/entries/x001/x234/067":  {H: 8, L: -1, N: 1234067, W: 256},
		"tile/entries/x009/999.p/255": {H: 8, L: -1, N: 9999, W: 255},
	} {
		if got, err := formats.ParseTilePath(path); err != nil || got != want || formats.TilePath(got) != path {
			t.Errorf("%s is %+v: %v", path, got, err)
		}
	}
	for _, path := range []string{
		"", "tile", "tile/0", "tile/0/0", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/x000/000", "tile/00/000",
		"tile/-1/000", "tile/data/000", "tile/8/0/000", "tile/0/000/", "/tile/0/000", "tile/6/000", "tile/0/000.p/01",
	} {
		if got, err := formats.ParseTilePath(path); err == nil {
			t.Errorf("%q is %+v", path, got)
		}
	}
}

func TestBundlesComeBack(t *testing.T) {
	bundle := formats.AppendBundle(nil, formats.Entry{1}, formats.Entry{2})
	if entries, err := formats.ParseBundle(bundle); err != nil || len(entries) != 2 || entries[1] != (formats.Entry{2}) {
		t.Errorf("%v: %v", entries, err)
	}
	for _, bad := range [][]byte{bundle[:33], bundle[:67], append(bytes.Clone(bundle), 0), make([]byte, 34)} {
		if entries, err := formats.ParseBundle(bad); err == nil {
			t.Errorf("%x is %v", bad, entries)
		}
	}
}
