package codec_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/eventstore/codec"
)

// TestWhatSignWritesIsReadByHand, because a rebuild would take longer otherwise.
func TestWhatSignWritesIsReadByHand(t *testing.T) {
	r := recorded(t, keyring(t, "store-1", "key-1", key(1), nil), signed)
	if !codec.QuickIsRead(r.Metadata) {
		t.Errorf("not read by hand: %s", r.Metadata)
	}
	text, _, _, _, err := codec.ParsedFields(r.Metadata)
	want := signed
	want.Actor.Label = ""
	if got, ok := codec.QuickSigned(text); !ok || err != nil || got != want {
		t.Errorf("not read by hand: %s: %+v %v", text, got, err)
	}
}

// TestReadByHandMeansTheSame compares what is read by hand with what encoding/json reads, for texts
// that we write and for texts that are a byte off.
func TestReadByHandMeansTheSame(t *testing.T) {
	words := rapid.OneOf(
		rapid.SampledFrom([]string{"", "plain", `qu"ote`, `back\slash`, "<&>", "zwölf", "line\nbreak", "\x7f"}),
		rapid.String(),
	)
	type parts struct {
		Signed string `json:"signed"`
		Key    string `json:"key"`
		Sig    string `json:"sig"`
		MAC    string `json:"mac,omitempty"`
	}
	rapid.Check(t, func(t *rapid.T) {
		s := codec.Signed{
			Organization: words.Draw(t, "organization"), CommandID: words.Draw(t, "command"),
			Actor:     domain.Actor{Type: domain.ActorType(words.Draw(t, "type")), ID: words.Draw(t, "actor")},
			Causation: words.Draw(t, "causation"), RequestID: words.Draw(t, "request"),
			Time:   time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanos")).UTC(),
			Schema: rapid.IntRange(-1, 1000).Draw(t, "schema"), Private: words.Draw(t, "private"),
			Correlation: words.Draw(t, "correlation"),
		}
		s.Prev[3] = rapid.Byte().Draw(t, "prev")
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(parts{
			Signed: string(text), Key: words.Draw(t, "key"), Sig: words.Draw(t, "sig"), MAC: words.Draw(t, "mac"),
		})
		if err != nil {
			t.Fatal(err)
		}
		off := func(text []byte, what string) []byte {
			if rapid.Bool().Draw(t, what+" is off") {
				text[rapid.IntRange(0, len(text)-1).Draw(t, what+" at")] = rapid.Byte().Draw(t, what+" becomes")
			}
			return text
		}
		text, raw = off(text, "the text"), off(raw, "the metadata")

		var want codec.Signed
		failure := json.Unmarshal(text, &want)
		got, err := codec.ParseSigned(string(text))
		if (err == nil) != (failure == nil) || err == nil && !cmp.Equal(got, want) {
			t.Errorf("%q is read as %+v (%v), and as %+v (%v) by encoding/json", text, got, err, want, failure)
		}
		var wanted parts
		failure = json.Unmarshal(raw, &wanted)
		var read parts
		read.Signed, read.Key, read.Sig, read.MAC, err = codec.ParsedFields(raw)
		if (err == nil) != (failure == nil) || err == nil && read != wanted {
			t.Errorf("%q is read as %+v (%v), and as %+v (%v) by encoding/json", raw, read, err, wanted, failure)
		}
	})
}
