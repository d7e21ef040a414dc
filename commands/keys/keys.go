// Package keys makes and reads the keys that callers present: agent keys, service tokens, and what
// browsers hold for a session. Their text carries a checksum, so that a mistyped one is told apart
// before any look-up and scanners can recognise one, and the id of whom they belong to, so that
// nothing has to be searched. It stores nothing.
package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Kind is whose key it is.
type Kind string

// The kinds, with the words by which scanners find them.
const (
	Agent   Kind = "sk_agent_"
	Service Kind = "sk_admin_"
	Session Kind = "sk_session_" // in a cookie
	Link    Kind = "sk_link_"    // in the address of a sign-in link, for one use
)

var kinds = []Kind{Agent, Service, Session, Link}

const (
	alphabet     = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	idChars      = 22 // base62 digits of 128 bits
	secretChars  = 33 // base62 digits drawn at random: 196 bits
	checkChars   = 6  // base62 digits of a CRC-32
	maxKeyLength = 128
)

// ErrMalformed is the answer to a text that isn't a key: wrong shape or wrong checksum.
var ErrMalformed = errors.New("not a key, or mistyped: the checksum does not match")

// Key is a key as it was presented. It holds the hash, not the text.
type Key struct {
	Kind   Kind
	ID     uuid.UUID // of the agent or the organization; zero for the first organization's
	Number int       // among the keys of that agent or organization
	hash   [sha256.Size]byte
}

// Hash is the SHA-256 of the whole key in hex, the only form in which it is stored.
func (k Key) Hash() string { return hex.EncodeToString(k.hash[:]) }

// Matches compares with a stored hash in constant time.
func (k Key) Matches(hash string) bool {
	return subtle.ConstantTimeCompare([]byte(k.Hash()), []byte(hash)) == 1
}

// Draft is the part of a key that is drawn. A key can be made of it before its number is known.
type Draft struct{ secret string }

// Draw draws a key.
func Draw() (Draft, error) {
	secret, err := randomDigits(secretChars)
	return Draft{secret: secret}, err
}

// Key returns the key's text, to be shown once, beside what is stored. The same draft makes the
// same key. The zero id with number 0 is the first organization's token made before there is an
// organization.
func (d Draft) Key(kind Kind, id uuid.UUID, number int) (string, Key, error) {
	text := Prefix(kind, id, number) + d.secret
	text += checksum(text)
	key, err := Parse(text)
	return text, key, err
}

// Prefix is the part of a key's text before its secret, with the underscore, without which that of
// number 1 would be that of number 12 too. It may be shown.
func Prefix(kind Kind, id uuid.UUID, number int) string {
	if id == uuid.Nil && number == 0 {
		return string(kind) + "0_"
	}
	return string(kind) + digits(new(big.Int).SetBytes(id[:]), idChars) + strconv.Itoa(number) + "_"
}

// New draws a key whose number is known.
func New(kind Kind, id uuid.UUID, number int) (string, Key, error) {
	draft, err := Draw()
	if err != nil {
		return "", Key{}, err
	}
	return draft.Key(kind, id, number)
}

// Parse reads a key. Anything else, mistyped keys included, is ErrMalformed.
func Parse(text string) (Key, error) {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return strings.HasPrefix(text, string(k)) })
	if i < 0 || len(text) > maxKeyLength {
		return Key{}, ErrMalformed
	}
	kind := kinds[i]
	owner, rest, found := strings.Cut(text[len(kind):], "_")
	if !found || len(rest) != secretChars+checkChars || strings.Trim(owner+rest, alphabet) != "" {
		return Key{}, ErrMalformed
	}
	body := text[:len(text)-checkChars]
	if checksum(body) != text[len(body):] {
		return Key{}, ErrMalformed
	}
	key := Key{Kind: kind, hash: sha256.Sum256([]byte(text))}
	if owner == "0" {
		return key, nil
	}
	if len(owner) <= idChars {
		return Key{}, ErrMalformed
	}
	number, err := strconv.Atoi(owner[idChars:])
	if err != nil || strconv.Itoa(number) != owner[idChars:] {
		return Key{}, ErrMalformed
	}
	id := new(big.Int)
	for _, c := range owner[:idChars] {
		id.Mul(id, big.NewInt(int64(len(alphabet)))).Add(id, big.NewInt(int64(strings.IndexRune(alphabet, c))))
	}
	if id.BitLen() > 128 {
		return Key{}, ErrMalformed
	}
	id.FillBytes(key.ID[:])
	key.Number = number
	return key, nil
}

func checksum(body string) string {
	return digits(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), checkChars)
}

// digits writes n in base62, padded on the left to a width.
func digits(n *big.Int, width int) string {
	out := make([]byte, width)
	base, rest := big.NewInt(int64(len(alphabet))), new(big.Int)
	n = new(big.Int).Set(n)
	for i := width - 1; i >= 0; i-- {
		n.DivMod(n, base, rest)
		out[i] = alphabet[rest.Int64()]
	}
	return string(out)
}

func randomDigits(n int) (string, error) {
	out := make([]byte, n)
	for i := range out {
		digit, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("draw a key: %w", err)
		}
		out[i] = alphabet[digit.Int64()]
	}
	return string(out), nil
}
