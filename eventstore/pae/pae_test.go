package pae_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"agentkey/eventstore/pae"
)

// TestVectors are those of PASETO's specification and its test suite.
func TestVectors(t *testing.T) {
	for _, tt := range []struct {
		pieces []string
		want   string
	}{
		{nil, "0000000000000000"},
		{[]string{""}, "01000000000000000000000000000000"},
		{[]string{"", ""}, "020000000000000000000000000000000000000000000000"},
		{[]string{"test"}, "0100000000000000040000000000000074657374"},
		{[]string{"Paragon"}, "0100000000000000070000000000000050617261676f6e"},
		{
			[]string{"Paragon", "Initiative"},
			"0200000000000000070000000000000050617261676f6e0a00000000000000496e6974696174697665",
		},
		{
			[]string{"Paragon\n\x00\x00\x00\x00\x00\x00\x00Initiative"},
			"0100000000000000190000000000000050617261676f6e0a00000000000000496e6974696174697665",
		},
	} {
		pieces := make([][]byte, len(tt.pieces))
		for i, p := range tt.pieces {
			pieces[i] = []byte(p)
		}
		if got := hex.EncodeToString(pae.Encode(pieces...)); got != tt.want {
			t.Errorf("%q is %s, want %s", tt.pieces, got, tt.want)
		}
	}
}

// TestTheEncodingCanBeTakenApart, hence two lists of pieces never encode to the same bytes.
func TestTheEncodingCanBeTakenApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "pieces")
		raw := pae.Encode(pieces...)
		next := func() uint64 {
			n := binary.LittleEndian.Uint64(raw)
			raw = raw[8:]
			return n
		}
		if n := next(); n != uint64(len(pieces)) {
			t.Fatalf("it says %d pieces of %d", n, len(pieces))
		}
		for _, p := range pieces {
			n := next()
			if !bytes.Equal(raw[:n], p) {
				t.Fatalf("%x came back as %x", p, raw[:n])
			}
			raw = raw[n:]
		}
		if len(raw) != 0 {
			t.Fatalf("%x is left", raw)
		}
	})
}
