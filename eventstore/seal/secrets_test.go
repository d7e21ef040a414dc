package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

var signingKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))

var signed = codec.Signed{
	Organization: "org-1", Actor: domain.Actor{Type: domain.ActorSystem, ID: "test"}, CommandID: "command-1",
	Time: clock(),
}

func clock() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

func openLog(t testing.TB) *codec.Log {
	t.Helper()
	return &codec.Log{
		Client: eventstoretest.Start(t).Client, Keys: codec.NewKeyring("store-1", "key-1", signingKey, nil),
	}
}

// wrapKeyOf derives what a master key wraps with.
func wrapKeyOf(t *testing.T, raw string) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, []byte(raw), nil, "agentkey.master.wrap.v1", 32)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func bound(n int) seal.Binding {
	b := binding
	b.SecretID = fmt.Sprintf("secret-%d", n)
	return b
}

func put(t *testing.T, s *seal.Secrets, b seal.Binding, plain string) {
	t.Helper()
	if err := s.Put(wait.Context(t), signed, b, domain.NewSecret([]byte(plain))); err != nil {
		t.Fatal(err)
	}
}

func opens(t *testing.T, s *seal.Secrets, b seal.Binding, want string) {
	t.Helper()
	if plain, err := s.Open(wait.Context(t), b); err != nil || string(plain.Reveal()) != want {
		t.Errorf("secret %s opens as %q, not %q: %v", b.SecretID, plain.Reveal(), want, err)
	}
}

func TestASecretIsWrittenOnceAndReadByEveryProcess(t *testing.T) {
	log := openLog(t)
	one, other := seal.NewSecrets(log, ring(t, text(1))), seal.NewSecrets(log, ring(t, text(1)))
	put(t, one, binding, "first")
	put(t, one, binding, "second") // the same command repeated: what was written first stays
	opens(t, one, binding, "first")
	opens(t, one, binding, "first") // from memory
	opens(t, other, binding, "first")
	elsewhere := binding
	elsewhere.Owner = "tool-2"
	for _, s := range []*seal.Secrets{one, seal.NewSecrets(log, ring(t, text(1)))} { // from memory and from the log
		if _, err := s.Open(wait.Context(t), elsewhere); !errors.Is(err, seal.ErrDoesNotOpen) {
			t.Errorf("for another owner: %v", err)
		}
	}
	if _, err := one.Open(wait.Context(t), bound(9)); !errors.Is(err, seal.ErrGone) {
		t.Errorf("one that never was: %v", err)
	}
	for range 2 {
		if err := one.Remove(wait.Context(t), binding.SecretID); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	for _, s := range []*seal.Secrets{one, seal.NewSecrets(log, ring(t, text(1)))} {
		if _, err := s.Open(wait.Context(t), binding); !errors.Is(err, seal.ErrGone) {
			t.Errorf("after its removal: %v", err)
		}
	}
	if err := one.Put(wait.Context(t), signed, binding, domain.NewSecret([]byte("third"))); err == nil {
		t.Error("it came back")
	}
}

// TestACiphertextCopiedInTheStoreDoesNotOpen copies over a connection to the store, as an attacker
// with our signing key too.
func TestACiphertextCopiedInTheStoreDoesNotOpen(t *testing.T) {
	log := openLog(t)
	s := seal.NewSecrets(log, ring(t, text(1)))
	put(t, s, bound(1), "one")
	stored, err := log.ReadForward(wait.Context(t), "secret-secret-1", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	e := stored[0]
	if _, err := log.Client.Append(
		wait.Context(t), "secret-secret-2", eventstore.NoStream,
		eventstore.Event{ID: e.ID, Type: e.Type, Data: e.Data, Metadata: e.Metadata},
	); err != nil {
		t.Fatal(err)
	}
	found := ""
	log.Found = func(e *codec.ForgedError) { found = e.Stream }
	if _, err := s.Open(wait.Context(t), bound(2)); !errors.Is(err, seal.ErrGone) || found != "secret-secret-2" {
		t.Errorf("a copied event, found in %q: %v", found, err)
	}
	copied := e.Event.(codec.SecretSealed)
	copied.SecretID = "secret-3"
	if _, err := log.Write(wait.Context(t), "secret-secret-3", codec.Begin, copied, signed); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(wait.Context(t), bound(3)); !errors.Is(err, seal.ErrDoesNotOpen) {
		t.Errorf("a copied text that is signed: %v", err)
	}
	copied.SecretID = "secret-1"
	if _, err := log.Write(wait.Context(t), "secret-secret-4", codec.Begin, copied, signed); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(wait.Context(t), bound(4)); !errors.Is(err, seal.ErrGone) {
		t.Errorf("a stream without a text of its own: %v", err)
	}
}

// sealedTexts are the data of the first event of each secret, and the id of the key that wraps it
// last.
func sealedTexts(t *testing.T, log *codec.Log, n int) (texts, wrappedBy map[string]string) {
	t.Helper()
	texts, wrappedBy = map[string]string{}, map[string]string{}
	for i := range n {
		id := bound(i).SecretID
		events, err := log.ReadForward(wait.Context(t), "secret-"+id, 0, 100)
		if errors.Is(err, eventstore.ErrStreamDeleted) || errors.Is(err, eventstore.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			switch e := e.Event.(type) {
			case codec.SecretSealed:
				texts[id], wrappedBy[id] = e.Sealed, e.Wrapping.MasterKeyID
			case codec.SecretRewrapped:
				wrappedBy[id] = e.Wrapping.MasterKeyID
			}
		}
	}
	return texts, wrappedBy
}

// TestRollingUnderWriters rolls while others still write with the old key, remove, and roll too.
func TestRollingUnderWriters(t *testing.T) {
	log := openLog(t)
	old := seal.NewSecrets(log, ring(t, text(1), text(2)))
	const before, during = 60, 40
	for i := range before {
		put(t, old, bound(i), fmt.Sprintf("plain-%d", i))
	}
	opens(t, old, bound(0), "plain-0") // in memory with its first wrapping
	was, _ := sealedTexts(t, log, before)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range during {
			if err := old.Put(
				wait.Context(t), signed, bound(before+i), domain.NewSecret(fmt.Appendf(nil, "plain-%d", before+i)),
			); err != nil {
				t.Errorf("a writer: %v", err)
			}
		}
	})
	wg.Go(func() {
		for i := 10; i < 20; i++ {
			if err := old.Remove(wait.Context(t), bound(i).SecretID); err != nil {
				t.Errorf("a removal: %v", err)
			}
		}
	})
	rolling := make([]*seal.Secrets, 2)
	counts := make([]int, 2)
	for n := range rolling {
		rolling[n] = seal.NewSecrets(log, ring(t, text(2), text(1)))
		wg.Go(func() {
			command := signed
			command.CommandID = uuid.NewString()
			var err error
			if counts[n], err = rolling[n].Roll(wait.Context(t), command); err != nil {
				t.Errorf("a roll: %v", err)
			}
		})
	}
	wg.Wait()
	last, err := rolling[0].Roll(wait.Context(t), signed) // of what was still written with the old key after the passes
	if err != nil {
		t.Fatal(err)
	}
	if none, err := rolling[0].Roll(wait.Context(t), signed); err != nil || none != 0 {
		t.Errorf("a roll with nothing left changed %d: %v", none, err)
	}
	now, by := sealedTexts(t, log, before+during)
	for id, text := range was {
		if kept, alive := now[id]; alive && kept != text {
			t.Errorf("the text of %s changed", id)
		}
	}
	if len(now) != before+during-10 {
		t.Errorf("%d secrets are left", len(now))
	}
	for id, key := range by {
		if key != ring(t, text(2)).Current().ID() {
			t.Errorf("%s is still wrapped by %s", id, key)
		}
	}
	// Removals race with the roll, so up to ten may have been wrapped before they went.
	if total := counts[0] + counts[1] + last; total < len(now) || total > len(now)+10 {
		t.Errorf("%d and %d and %d rolled, of %d", counts[0], counts[1], last, len(now))
	}
	// The old key can be dropped: what is in memory and what is in the log opens without it.
	dropped := seal.NewSecrets(log, ring(t, text(2)))
	for i := range before + during {
		if i >= 10 && i < 20 {
			if _, err := dropped.Open(wait.Context(t), bound(i)); !errors.Is(err, seal.ErrGone) {
				t.Errorf("secret %d was removed: %v", i, err)
			}
			continue
		}
		for _, s := range []*seal.Secrets{dropped, rolling[1], old} {
			opens(t, s, bound(i), fmt.Sprintf("plain-%d", i))
		}
	}
}

// TestARollPassesAgainUntilNoneIsLeft writes with the old key when a roll has begun to change the
// ones before.
func TestARollPassesAgainUntilNoneIsLeft(t *testing.T) {
	log := openLog(t)
	old := seal.NewSecrets(log, ring(t, text(1)))
	const before = 300
	for i := range before {
		put(t, old, bound(i), "plain")
	}
	sub, err := log.Client.SubscribeAll(wait.Context(t), 0, eventstore.Filter{Types: `^secret\.rewrapped\.`})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Close() }()
	rolled := make(chan int, 1)
	go func() {
		n, err := seal.NewSecrets(log, ring(t, text(2), text(1))).Roll(wait.Context(t), signed)
		if err != nil {
			t.Error(err)
		}
		rolled <- n
	}()
	for begun := false; !begun; {
		item, err := sub.Next()
		if err != nil {
			t.Fatal(err)
		}
		begun = item.Event != nil
	}
	put(t, old, bound(before), "late")
	if n := <-rolled; n != before+1 {
		t.Errorf("%d of %d changed", n, before+1)
	}
	opens(t, seal.NewSecrets(log, ring(t, text(2))), bound(before), "late")
}

func TestARollWithoutTheFormerKeySaysWhichIsMissing(t *testing.T) {
	log := openLog(t)
	put(t, seal.NewSecrets(log, ring(t, text(1))), bound(1), "one")
	changed, err := seal.NewSecrets(log, ring(t, text(2))).Roll(wait.Context(t), signed)
	if changed != 0 || !errors.Is(err, seal.ErrMasterKeyMissing) ||
		!strings.Contains(err.Error(), ring(t, text(1)).Current().ID()) {
		t.Errorf("%d changed: %v", changed, err)
	}
	opens(t, seal.NewSecrets(log, ring(t, text(1))), bound(1), "one")
}

func TestARollSkipsOtherStreams(t *testing.T) {
	log := openLog(t)
	s := seal.NewSecrets(log, ring(t, text(1)))
	put(t, s, bound(1), "one")
	stored, err := log.ReadForward(wait.Context(t), "secret-secret-1", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Write(wait.Context(t), "x", codec.Begin, stored[0].Event, signed); err != nil {
		t.Fatal(err)
	}
	if n, err := seal.NewSecrets(log, ring(t, text(2), text(1))).Roll(wait.Context(t), signed); n != 1 || err != nil {
		t.Errorf("%d changed: %v", n, err)
	}
}
