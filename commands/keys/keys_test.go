package keys_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"agentkey/commands/keys"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var (
	agentID = uuid.MustParse("0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")
	shape   = regexp.MustCompile(`^sk_(agent|admin)_([0-9A-Za-z]+)_([0-9A-Za-z]+)$`)
)

func mustKey(t testing.TB, kind keys.Kind, id uuid.UUID, number int) (string, keys.Key) {
	t.Helper()
	text, key, err := keys.New(kind, id, number)
	if err != nil {
		t.Fatal(err)
	}
	return text, key
}

// checksum is the contract's, written a second time: the CRC-32 of IEEE 802.3 as six digits of
// base62.
func checksum(body string) string {
	sum := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(body))))
	out := ""
	for range 6 {
		digit := new(big.Int)
		sum.DivMod(sum, big.NewInt(62), digit)
		out = string(base62[digit.Int64()]) + out
	}
	return out
}

func TestAKeyHasTheShapeThatScannersKnow(t *testing.T) {
	for _, tt := range []struct {
		kind   keys.Kind
		id     uuid.UUID
		number int
		prefix string
	}{
		{keys.Agent, agentID, 1, "sk_agent_"},
		{keys.Agent, agentID, 12345, "sk_agent_"},
		{keys.Service, agentID, 7, "sk_admin_"},
		{keys.Service, uuid.Nil, 0, "sk_admin_0_"},
	} {
		text, _ := mustKey(t, tt.kind, tt.id, tt.number)
		parts := shape.FindStringSubmatch(text)
		if parts == nil || !strings.HasPrefix(text, tt.prefix) {
			t.Fatalf("a key of %q looks like %s", tt.prefix, shape)
		}
		secret := parts[3][:len(parts[3])-6]
		if space := new(big.Int).Exp(big.NewInt(62), big.NewInt(int64(len(secret))), nil); space.BitLen() <= 192 {
			t.Errorf("the secret has %d characters: %d bits", len(secret), space.BitLen())
		}
		if want := checksum(text[:len(text)-6]); text[len(text)-6:] != want {
			t.Errorf("the checksum is %s, want %s", text[len(text)-6:], want)
		}
	}
}

func TestAnySingleMistypedCharacterIsToldApart(t *testing.T) {
	for _, tt := range []struct {
		kind   keys.Kind
		id     uuid.UUID
		number int
	}{{keys.Agent, agentID, 1}, {keys.Service, uuid.Nil, 0}} {
		text, _ := mustKey(t, tt.kind, tt.id, tt.number)
		for i := range len(text) {
			for c := range 256 {
				if byte(c) == text[i] {
					continue
				}
				typo := text[:i] + string([]byte{byte(c)}) + text[i+1:]
				if _, err := keys.Parse(typo); !errors.Is(err, keys.ErrMalformed) {
					t.Fatalf("character %d as %q is taken: %v", i, byte(c), err)
				}
			}
			if _, err := keys.Parse(text[:i] + text[i+1:]); !errors.Is(err, keys.ErrMalformed) {
				t.Fatalf("without character %d it is taken: %v", i, err)
			}
			if _, err := keys.Parse(text[:i] + text[i:i+1] + text[i:]); !errors.Is(err, keys.ErrMalformed) {
				t.Fatalf("with character %d twice it is taken: %v", i, err)
			}
			if i > 0 && text[i] != text[i-1] {
				if _, err := keys.Parse(
					text[:i-1] + text[i:i+1] + text[i-1:i] + text[i+1:],
				); !errors.Is(err, keys.ErrMalformed) {
					t.Fatalf("with characters %d and %d exchanged it is taken: %v", i-1, i, err)
				}
			}
		}
	}
}

// TestOtherTextIsAMalformedKey includes texts whose checksum is right but whose owner no key of
// ours would have.
func TestOtherTextIsAMalformedKey(t *testing.T) {
	secret := strings.Repeat("s", 33)
	owner := strings.Repeat("0", 21) + "1"
	signed := func(body string) string { return body + checksum(body) }
	if _, err := keys.Parse(signed("sk_agent_" + owner + "1_" + secret)); err != nil {
		t.Fatalf("the texts below differ from no key: %v", err)
	}
	for _, text := range []string{
		"", "sk_agent_", "sk_agent__", "Bearer x", "sk_other_" + owner + "1_" + secret,
		signed("sk_agent_" + owner + "_" + secret),                            // no number
		signed("sk_agent_" + owner + "01_" + secret),                          // another way to write 1
		signed("sk_agent_" + owner + "x_" + secret),                           // no number
		signed("sk_agent_" + owner + "99999999999999999999_" + secret),        // no number that we count to
		signed("sk_agent_" + strings.Repeat("z", 22) + "1_" + secret),         // more than 128 bits
		signed("sk_agent_1_" + secret),                                        // too short for an id
		signed("sk_agent_" + owner + "1_" + secret[1:]),                       // a secret too short
		signed("sk_agent_" + owner + "1_" + secret + "s"),                     // too long
		signed("sk_agent_" + owner + "1_" + secret[:16] + "_" + secret[17:]),  // a further underscore
		signed("sk_agent_" + owner + "1_" + secret[:16] + "-" + secret[17:]),  // not base62
		signed("sk_agent_" + owner + strings.Repeat("1", 100) + "_" + secret), // longer than any key
		signed("sk_agent_"+owner+"1_"+secret) + "\n", " " + signed("sk_agent_"+owner+"1_"+secret),
	} {
		if _, err := keys.Parse(text); !errors.Is(err, keys.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAKeyIsReadBackAsItWasMade(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id uuid.UUID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		number := rapid.IntRange(0, 1<<31).Draw(t, "number")
		kind := rapid.SampledFrom([]keys.Kind{keys.Agent, keys.Service}).Draw(t, "kind")
		text, made, err := keys.New(kind, id, number)
		if err != nil {
			t.Fatal(err)
		}
		read, err := keys.Parse(text)
		if err != nil || read != made || read.Kind != kind || read.ID != id || read.Number != number {
			t.Fatalf("read %v %s %d: %v", read.Kind, read.ID, read.Number, err)
		}
		if !read.Matches(made.Hash()) {
			t.Fatal("it does not match its own hash")
		}
	})
}

func TestTheFirstOrganizationsTokenCarriesNoID(t *testing.T) {
	text, key := mustKey(t, keys.Service, uuid.Nil, 0)
	if !strings.HasPrefix(text, "sk_admin_0_") || key.ID != uuid.Nil || key.Number != 0 || key.Kind != keys.Service {
		t.Errorf("it reads as %s %d", key.ID, key.Number)
	}
}

func TestNoTwoKeysAreAlike(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		text, key := mustKey(t, keys.Agent, agentID, 1)
		if seen[text] || seen[key.Hash()] {
			t.Fatal("a key was drawn twice")
		}
		seen[text], seen[key.Hash()] = true, true
	}
}

func TestOnlyItsOwnHashMatches(t *testing.T) {
	_, key := mustKey(t, keys.Agent, agentID, 1)
	_, other := mustKey(t, keys.Agent, agentID, 1)
	for _, hash := range []string{"", other.Hash(), key.Hash()[1:], key.Hash() + "0", strings.ToUpper(key.Hash())} {
		if key.Matches(hash) {
			t.Errorf("%q matches", hash)
		}
	}
}

func TestAKeyDoesNotHoldItsText(t *testing.T) {
	text, key := mustKey(t, keys.Agent, agentID, 1)
	secret := text[strings.LastIndexByte(text, '_')+1:]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if shown := fmt.Sprintf(verb, key); strings.Contains(shown, secret) ||
			strings.Contains(shown, fmt.Sprintf("%x", secret)) {
			t.Errorf("%s shows the secret", verb)
		}
	}
	_, err := keys.Parse(text[:len(text)-1] + "!")
	if err == nil || strings.Contains(err.Error(), secret[:8]) {
		t.Errorf("the error shows the secret: %v", err)
	}
}
