package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/installation"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

var binding = seal.Binding{SecretID: "secret-1", Organization: "org-1", Purpose: seal.Credential, Owner: "tool-1"}

// text is a master key that is the same in every run.
func text(n byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32))
}

func ring(t testing.TB, texts ...string) seal.Ring {
	t.Helper()
	keys := make([]seal.MasterKey, len(texts))
	for i, text := range texts {
		var err error
		if keys[i], err = seal.ParseMasterKey(text); err != nil {
			t.Fatal(err)
		}
	}
	r, err := seal.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func drawKey(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, label)
}

func TestASecretOpensOnlyWithItsKeyAndItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, other := drawKey(t, "key"), drawKey(t, "other key")
		plain := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "plain")
		associated := rapid.SliceOf(rapid.Byte()).Draw(t, "associated")
		elsewhere := rapid.SliceOf(rapid.Byte()).Draw(t, "elsewhere")
		sealed, err := seal.Seal(key, plain, associated)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := seal.Open(key, sealed, associated); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opened as %x: %v", got, err)
		}
		if raw, err := base64.RawURLEncoding.DecodeString(sealed); err != nil || len(raw) != 12+16+len(plain) {
			t.Fatalf("it has %d bytes: %v", len(raw), err)
		}
		if _, err := seal.Open(other, sealed, associated); !bytes.Equal(key, other) &&
			!errors.Is(err, seal.ErrDoesNotOpen) {
			t.Fatalf("another key: %v", err)
		}
		if _, err := seal.Open(key, sealed, elsewhere); !bytes.Equal(associated, elsewhere) &&
			!errors.Is(err, seal.ErrDoesNotOpen) {
			t.Fatalf("another place: %v", err)
		}
	})
}

func TestEachSealingHasItsOwnIV(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	seen := map[string]bool{}
	for range 10_000 {
		sealed, err := seal.Seal(key, []byte("the same"), nil)
		if err != nil {
			t.Fatal(err)
		}
		iv := sealed[:16] // twelve bytes
		if seen[iv] {
			t.Fatalf("the IV %s came twice", iv)
		}
		seen[iv] = true
	}
}

func TestAnyChangeOfASealedTextDoesNotOpen(t *testing.T) {
	key, place := bytes.Repeat([]byte{1}, 32), []byte("place")
	for _, plain := range []string{"", "x", "xy", "xyz", "a longer secret"} {
		sealed, err := seal.Seal(key, []byte(plain), place)
		if err != nil {
			t.Fatal(err)
		}
		changed := map[string]bool{
			"": true, "====": true, sealed + "A": true, sealed + "=": true, sealed + sealed: true,
		}
		for i := range sealed {
			for _, with := range []string{"A", "_", "+", "/", "=", "\n", "\r", " ", "\x00", "é"} {
				changed[sealed[:i]+with+sealed[i+1:]] = true
				changed[sealed[:i]+with+sealed[i:]] = true
			}
			changed[sealed[:i]] = true
			changed[sealed[:i]+sealed[i+1:]] = true
		}
		changed[sealed+"\n"] = true
		raw, err := base64.RawURLEncoding.DecodeString(sealed)
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			for bit := range 8 {
				flipped := bytes.Clone(raw)
				flipped[i] ^= 1 << bit
				changed[base64.RawURLEncoding.EncodeToString(flipped)] = true
			}
		}
		delete(changed, sealed)
		for c := range changed {
			if got, err := seal.Open(key, c, place); !errors.Is(err, seal.ErrDoesNotOpen) || got != nil {
				t.Fatalf("%q for %q opened as %q: %v", c, sealed, got, err)
			}
		}
	}
}

func TestKeysOfAnotherSizeAreRefused(t *testing.T) {
	for _, size := range []int{0, 16, 24, 31, 33} {
		if _, err := seal.Seal(make([]byte, size), nil, nil); err == nil {
			t.Errorf("sealed with %d bytes", size)
		}
		if _, err := seal.Open(make([]byte, size), strings.Repeat("A", 100), nil); err == nil ||
			errors.Is(err, seal.ErrDoesNotOpen) {
			t.Errorf("opening with %d bytes: %v", size, err)
		}
	}
}

func TestASecretOpensForItsBindingOnly(t *testing.T) {
	r := ring(t, text(1))
	secret, err := r.SealSecret(binding, domain.NewSecret([]byte("sk_live")))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := r.OpenSecret(binding, secret); err != nil || string(plain.Reveal()) != "sk_live" {
		t.Fatalf("opened as %q: %v", plain.Reveal(), err)
	}
	for name, change := range map[string]func(*seal.Binding){
		"secret":       func(b *seal.Binding) { b.SecretID = "secret-2" },
		"organization": func(b *seal.Binding) { b.Organization = "org-2" },
		"purpose":      func(b *seal.Binding) { b.Purpose = seal.MACKey },
		"owner":        func(b *seal.Binding) { b.Owner = "tool-2" },
		"no owner":     func(b *seal.Binding) { b.Owner = "" },
		"fields moved": func(b *seal.Binding) { b.Organization, b.Owner = b.Owner, b.Organization },
	} {
		b := binding
		change(&b)
		if _, err := r.OpenSecret(b, secret); !errors.Is(err, seal.ErrDoesNotOpen) {
			t.Errorf("%s: %v", name, err)
		}
		// Nor does its text open beside a wrapping that belongs there, nor its wrapping beside another
		// text.
		own, err := r.SealSecret(b, domain.NewSecret([]byte("another")))
		if err != nil {
			t.Fatal(err)
		}
		text, wrapping := own, own
		text.Sealed, wrapping.Wrapping = secret.Sealed, secret.Wrapping
		for part, moved := range map[string]codec.SecretSealed{"text": text, "wrapping": wrapping} {
			if _, err := r.OpenSecret(b, moved); !errors.Is(err, seal.ErrDoesNotOpen) {
				t.Errorf("the %s moved to another %s: %v", part, name, err)
			}
		}
	}
	// What the stored event claims is not believed.
	claims := secret
	claims.SecretID, claims.OrganizationID, claims.Owner = "secret-2", "org-2", "tool-2"
	if _, err := r.OpenSecret(binding, claims); err != nil {
		t.Errorf("other claims: %v", err)
	}
	newer := secret
	newer.Format = "agentkey.secret.v2"
	if _, err := r.OpenSecret(binding, newer); !errors.Is(err, codec.ErrUnknownEvent) {
		t.Errorf("a newer format: %v", err)
	}
}

func TestRewrappingChangesTheWrappingAlone(t *testing.T) {
	old, both, now := ring(t, text(1)), ring(t, text(2), text(1)), ring(t, text(2))
	secret, err := old.SealSecret(binding, domain.NewSecret([]byte("sk_live")))
	if err != nil {
		t.Fatal(err)
	}
	if _, fresh, err := old.Rewrap(binding, secret.Wrapping); fresh || err != nil {
		t.Errorf("with the same key: %t %v", fresh, err)
	}
	wrapping, fresh, err := both.Rewrap(binding, secret.Wrapping)
	if !fresh || err != nil || wrapping.MasterKeyID != now.Current().ID() {
		t.Fatalf("%t %v %v", fresh, wrapping, err)
	}
	rolled := secret
	rolled.Wrapping = wrapping
	if plain, err := now.OpenSecret(binding, rolled); err != nil || string(plain.Reveal()) != "sk_live" {
		t.Errorf("the new key: %v", err)
	}
	_, err = old.OpenSecret(binding, rolled)
	if !errors.Is(err, seal.ErrMasterKeyMissing) || !strings.Contains(err.Error(), now.Current().ID()) {
		t.Errorf("the old key alone: %v", err)
	}
	if _, err = now.OpenSecret(binding, secret); !errors.Is(err, seal.ErrMasterKeyMissing) ||
		!strings.Contains(err.Error(), old.Current().ID()) {
		t.Errorf("the new key alone, on what was not rolled: %v", err)
	}
	elsewhere := binding
	elsewhere.SecretID = "secret-2"
	if _, _, err := both.Rewrap(elsewhere, secret.Wrapping); !errors.Is(err, seal.ErrDoesNotOpen) {
		t.Errorf("a wrapping of another secret: %v", err)
	}
	renamed := secret
	renamed.Wrapping.MasterKeyID = now.Current().ID()
	if _, err := both.OpenSecret(binding, renamed); !errors.Is(err, seal.ErrDoesNotOpen) {
		t.Errorf("a wrapping by another key's name: %v", err)
	}
}

func TestMasterKeyTexts(t *testing.T) {
	raw := bytes.Repeat([]byte{0xfb, 0xff}, 16) // has characters that differ between the alphabets
	want, err := seal.ParseMasterKey(base64.StdEncoding.EncodeToString(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, same := range []string{
		base64.RawStdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw),
		base64.RawURLEncoding.EncodeToString(raw), " " + base64.StdEncoding.EncodeToString(raw) + "\n",
	} {
		if got, err := seal.ParseMasterKey(same); err != nil || got.ID() != want.ID() || got.Public() != want.Public() {
			t.Errorf("%q: %v %v", same, got, err)
		}
	}
	for _, bad := range []string{
		"", "needle", "needle!needle!needle!needle!needle!needle!!", text(1)[:40], text(1) + text(1),
		"needle" + text(1),
	} {
		if _, err := seal.ParseMasterKey(bad); err == nil || strings.Contains(err.Error(), "needle") ||
			!strings.Contains(err.Error(), "openssl rand -base64 32") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	one, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	other, err := seal.NewMasterKeyText()
	if err != nil || one == other || ring(t, one).Current().ID() == ring(t, other).Current().ID() {
		t.Errorf("drew the same key twice: %v", err)
	}
	if _, err := seal.NewRing(); err == nil {
		t.Error("a ring of no key")
	}
	// They are kept in the log of every installation, so the derivation is frozen.
	if got := ring(
		t, text(1),
	).Current().Public(); got != (installation.MasterKey{
		ID:    "d60e65cd03245a21",
		Check: "0b0f71ecf5570587e781985bf3575020",
	}) {
		t.Errorf("the key is known as %+v", got)
	}
}

func TestMasterKeysAreComparedWithWhatTheInstallationKnows(t *testing.T) {
	first, second, third := ring(t, text(1)), ring(t, text(2)), ring(t, text(3))
	known := append(first.Public(), second.Public()...)
	for _, good := range []seal.Ring{first, second, ring(t, text(2), text(1)), ring(t, text(1), text(2))} {
		if err := good.Check(known); err != nil {
			t.Errorf("%v: %v", good.Public(), err)
		}
	}
	for name, bad := range map[string]seal.Ring{
		"a wrong key": third, "a wrong one behind": ring(t, text(1), text(3)),
		"a wrong one before": ring(t, text(3), text(1)),
	} {
		err := bad.Check(known)
		if err == nil {
			t.Errorf("%s was taken", name)
			continue
		}
		for _, id := range []string{
			third.Current().ID(), first.Current().ID(), second.Current().ID(), "agentkey keys add",
		} {
			if !strings.Contains(err.Error(), id) {
				t.Errorf("%s: %v does not name %s", name, err, id)
			}
		}
		for n := range byte(3) {
			if strings.Contains(err.Error(), text(n+1)) {
				t.Errorf("%s: %v tells a key", name, err)
			}
		}
	}
	changed := first.Public()
	changed[0].Check = second.Public()[0].Check
	if err := first.Check(changed); err == nil || !strings.Contains(err.Error(), first.Current().ID()) {
		t.Errorf("another check value: %v", err)
	}
	if err := first.Check(nil); err == nil {
		t.Error("an installation that knows none")
	}
}

// TestNothingPrintsAKeyOrASecret prints what holds them in every way that a mistake could.
func TestNothingPrintsAKeyOrASecret(t *testing.T) {
	const plain = "needle-needle-needle-needle-need"
	r := ring(t, base64.StdEncoding.EncodeToString([]byte(plain)))
	log := openLog(t)
	secrets := seal.NewSecrets(log, r)
	privacy := seal.NewPrivacy(secrets, clock)
	if err := secrets.Put(wait.Context(t), signed, binding, domain.NewSecret([]byte(plain))); err != nil {
		t.Fatal(err)
	}
	opened, err := secrets.Open(wait.Context(t), binding)
	if err != nil || string(opened.Reveal()) != plain {
		t.Fatalf("%q %v", opened.Reveal(), err)
	}
	sealedPrivate, err := privacy.Seal(wait.Context(t), "org-1", seal.Personal{Label: plain})
	if err != nil {
		t.Fatal(err)
	}
	type inside struct {
		Secret  domain.Secret
		private domain.Secret
		Key     seal.MasterKey
		key     seal.MasterKey
		ring    seal.Ring
		secrets *seal.Secrets
		keyring *codec.Keyring
		Map     map[string]any
	}
	holder := inside{
		opened, opened, r.Current(), r.Current(), r, secrets, log.Keys, map[string]any{"secret": opened, "ring": r},
	}
	needles := []string{
		plain, base64.StdEncoding.EncodeToString([]byte(plain)), base64.RawURLEncoding.EncodeToString([]byte(plain)),
		fmt.Sprintf("%x", plain), fmt.Sprintf("%X", plain),
	}
	for _, raw := range [][]byte{[]byte(plain), wrapKeyOf(t, plain), signingKey} {
		needles = append(
			needles, strings.Trim(fmt.Sprintf("%d", raw[:8]), "[]"),
			strings.Trim(fmt.Sprintf("%#v", raw[:4]), "[]byte{}"), fmt.Sprintf("%x", raw[:8]),
		)
	}
	for name, v := range map[string]any{
		"secret": opened, "pointer": &opened, "inside": holder, "pointer inside": &holder, "ring": r,
		"key": r.Current(), "slice": []domain.Secret{opened}, "secrets": secrets, "privacy": privacy,
		"keyring": log.Keys, "personal": sealedPrivate, "error": fmt.Errorf("about %v", opened),
	} {
		var all strings.Builder
		for _, verb := range []string{
			"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "%e",
		} {
			fmt.Fprintf(&all, verb+"\n", v)
		}
		fmt.Fprintln(&all, v)
		if data, err := json.Marshal(v); err == nil {
			all.Write(data)
		}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&all, nil), slog.NewJSONHandler(&all, nil)} {
			slog.New(handler).Info("it", slog.Any("value", v), slog.Group("group", slog.Any("value", v)))
		}
		for _, needle := range needles {
			if strings.Contains(all.String(), needle) {
				t.Errorf("%s prints %q", name, needle)
			}
		}
	}
}
