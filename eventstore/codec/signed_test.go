package codec_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// key is an Ed25519 key that is the same in every run.
func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// keyring writes and checks MACs, all under the same key.
func keyring(
	t testing.TB, storeID, keyID string, private ed25519.PrivateKey, trusted map[string]ed25519.PublicKey,
) *codec.Keyring {
	t.Helper()
	k, err := codec.NewKeyring(storeID, keyID, private, trusted).WithMAC(domain.NewSecret(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func publicOf(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

var signed = codec.Signed{
	Organization: "org-1", Actor: domain.Actor{Type: domain.ActorHuman, ID: "person-1", Label: "never stored"},
	CommandID: "command-1", Correlation: "correlation-1", Causation: "event-1", RequestID: "request-1", Time: at,
	Schema: codec.Schema, Prev: codec.Link{1, 2, 3}, Private: "2026-03-04:c2VhbGVk",
}

// recorded is an event as the store gives it back.
func recorded(t testing.TB, k *codec.Keyring, s codec.Signed) eventstore.Recorded {
	t.Helper()
	r := eventstore.Recorded{
		Stream: "agent-1", Revision: 7, Position: 1000, ID: uuid.MustParse("018f2b6a-7c2d-7a3b-9c4d-1234567890ab"),
		Type: "grant.expired.v1", Data: []byte(`{"tool_id":"tool-1"}`),
	}
	var err error
	if r.Metadata, _, err = k.Sign(r.Stream, r.Revision, r.ID, r.Type, r.Data, s); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestGoldenMetadata says that signatures made ever verify forever, and that the same input gives
// the same bytes.
func TestGoldenMetadata(t *testing.T) {
	k := keyring(t, "store-1", "key-1", key(1), nil)
	r := recorded(t, k, signed)
	stored := golden(t, "metadata.json", r.Metadata)
	if string(stored) != string(r.Metadata) {
		t.Errorf("it is signed as\n%s\nand was\n%s", r.Metadata, stored)
	}
	r.Metadata = stored
	got, _, err := k.Verify(r)
	want := signed
	want.Actor.Label = ""
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s%v", diff, err)
	}
}

// TestAnyChangeOfASignedEventIsNamed changes each thing that the signature covers, and the
// signature.
func TestAnyChangeOfASignedEventIsNamed(t *testing.T) {
	k := keyring(t, "store-1", "key-1", key(1), nil)
	type parts struct {
		Signed string `json:"signed"`
		Key    string `json:"key"`
		Sig    string `json:"sig"`
		MAC    string `json:"mac,omitempty"`
	}
	meta := func(change func(*parts)) func(*eventstore.Recorded) {
		return func(r *eventstore.Recorded) {
			var p parts
			if err := json.Unmarshal(r.Metadata, &p); err != nil {
				t.Fatal(err)
			}
			change(&p)
			var err error
			if r.Metadata, err = json.Marshal(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, change := range map[string]func(*eventstore.Recorded){
		"stream":                  func(r *eventstore.Recorded) { r.Stream = "agent-2" },
		"revision":                func(r *eventstore.Recorded) { r.Revision++ },
		"id":                      func(r *eventstore.Recorded) { r.ID[15]++ },
		"type":                    func(r *eventstore.Recorded) { r.Type = "tool.removed.v1" },
		"data":                    func(r *eventstore.Recorded) { r.Data = []byte(`{"tool_id":"tool-2"}`) },
		"white space in the data": func(r *eventstore.Recorded) { r.Data = append(r.Data, ' ') },
		"type and data together": func(r *eventstore.Recorded) {
			r.Type, r.Data = r.Type+string(r.Data[:1]), r.Data[1:]
		},
		"no metadata":        func(r *eventstore.Recorded) { r.Metadata = nil },
		"metadata of others": func(r *eventstore.Recorded) { r.Metadata = []byte(`{"$correlationId":"1"}`) },
		"signed text": meta(
			func(p *parts) { p.Signed = strings.Replace(p.Signed, "person-1", "person-2", 1) },
		),
		"a field more in it":  meta(func(p *parts) { p.Signed = strings.Replace(p.Signed, "{", `{"x":1,`, 1) }),
		"no signed text":      meta(func(p *parts) { p.Signed = "" }),
		"another key":         meta(func(p *parts) { p.Key = "key-2" }),
		"no key":              meta(func(p *parts) { p.Key = "" }),
		"no signature":        meta(func(p *parts) { p.Sig = "" }),
		"half a signature":    meta(func(p *parts) { p.Sig = p.Sig[:len(p.Sig)/2] }),
		"signature of others": meta(func(p *parts) { p.Sig = strings.Repeat("A", len(p.Sig)) }),
		"no MAC":              meta(func(p *parts) { p.MAC = "" }),
		"MAC of others":       meta(func(p *parts) { p.MAC = strings.Repeat("A", len(p.MAC)) }),
	} {
		t.Run(name, func(t *testing.T) {
			r := recorded(t, k, signed)
			change(&r)
			_, _, err := k.Verify(r)
			var forged *codec.ForgedError
			if !errors.As(err, &forged) || forged.Stream != r.Stream || forged.Revision != r.Revision ||
				forged.Reason == "" || !strings.Contains(err.Error(), r.Stream) {
				t.Errorf("got %v", err)
			}
		})
	}
	// Who holds the MAC key and not the signing key can't make what others can check.
	stranger := recorded(t, keyring(t, "store-1", "key-1", key(2), nil), signed)
	var forged *codec.ForgedError
	if _, _, err := k.VerifyWhole(stranger); !errors.As(err, &forged) {
		t.Errorf("with our MAC alone: %v", err)
	}
	// Who holds the public keys alone can check what we wrote.
	if _, _, err := codec.NewKeyring("store-1", "key-1", key(1), nil).Verify(recorded(t, k, signed)); err != nil {
		t.Errorf("by its signature: %v", err)
	}
	// What the store adds is not signed, so that a log may be copied into another store.
	r := recorded(t, k, signed)
	r.Position, r.Created = 1, at
	if _, _, err := k.Verify(r); err != nil {
		t.Errorf("a copied event: %v", err)
	}
}

// TestEveryBitOfASignedEventCounts flips drawn bits.
func TestEveryBitOfASignedEventCounts(t *testing.T) {
	k := keyring(t, "store-1", "key-1", key(1), nil)
	whole := recorded(t, k, signed)
	rapid.Check(t, func(rt *rapid.T) {
		r := whole
		r.Data, r.Metadata = bytes.Clone(whole.Data), bytes.Clone(whole.Metadata)
		field := rapid.SampledFrom([]*[]byte{&r.Data, &r.Metadata}).Draw(rt, "field")
		at := rapid.IntRange(0, len(*field)-1).Draw(rt, "byte")
		(*field)[at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		if got, _, err := k.Verify(r); err == nil {
			// The names of JSON members may change their case; nothing that they hold may change.
			want, _, _ := k.Verify(whole)
			if got != want || !strings.EqualFold(string(r.Metadata), string(whole.Metadata)) {
				rt.Fatalf("a flipped bit at %d went through: %s", at, r.Metadata)
			}
		}
	})
}

func TestFormerKeysVerifyAndOthersDoNot(t *testing.T) {
	old := keyring(t, "store-1", "key-1", key(1), nil)
	now := keyring(t, "store-1", "key-2", key(2), map[string]ed25519.PublicKey{"key-1": publicOf(key(1))})
	if _, _, err := now.Verify(recorded(t, old, signed)); err != nil {
		t.Errorf("signed by a former key: %v", err)
	}
	if _, _, err := now.Verify(recorded(t, now, signed)); err != nil {
		t.Errorf("signed by this key: %v", err)
	}
	for name, foreign := range map[string]*codec.Keyring{
		"a key that is not ours":         keyring(t, "store-1", "key-3", key(3), nil),
		"another key by a former's name": keyring(t, "store-1", "key-1", key(3), nil),
		"another key by this one's name": keyring(t, "store-1", "key-2", key(3), nil),
		"our key in another store":       keyring(t, "store-2", "key-2", key(2), nil),
	} {
		var forged *codec.ForgedError
		if _, _, err := now.VerifyWhole(recorded(t, foreign, signed)); !errors.As(err, &forged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var forged *codec.ForgedError
	if _, _, err := old.Verify(recorded(t, now, signed)); !errors.As(err, &forged) {
		t.Errorf("a key that is not known yet: %v", err)
	}
	if now.StoreID() != "store-1" {
		t.Errorf("the store is %s", now.StoreID())
	}
}

func TestANewerSchemaIsRefusedAndNotCalledForged(t *testing.T) {
	k := keyring(t, "store-1", "key-1", key(1), nil)
	newer := signed
	newer.Schema = codec.Schema + 1
	_, _, err := k.Verify(recorded(t, k, newer))
	var forged *codec.ForgedError
	if !errors.Is(err, codec.ErrUnknownEvent) || errors.As(err, &forged) {
		t.Errorf("got %v", err)
	}
}
