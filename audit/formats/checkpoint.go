package formats

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint says what the tree of an organization was at one size. Its signed form is a C2SP
// tlog-checkpoint (https://c2sp.org/tlog-checkpoint).
type Checkpoint struct {
	Origin string // of the tree; also the name of the key in the signature's line
	Size   int64
	Root   tlog.Hash
}

// service is the first part of every origin.
const service = "agentkey"

// Origin names the tree of an organization.
func Origin(organization string) string { return service + "/" + organization }

// IsOrigin reports whether a text can be an origin: words that hold nothing but what can be seen.
func IsOrigin(text string) bool { return plain(text) && strings.HasPrefix(text, service+"/") }

// Text is what is signed.
func (c Checkpoint) Text() string { return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root) }

// Sign returns the signed note. The same checkpoint and key give the same bytes.
func (c Checkpoint) Sign(key ed25519.PrivateKey) ([]byte, error) {
	verifier, err := verifierOf(c.Origin, key.Public().(ed25519.PublicKey)) //nolint:forcetypeassert // what crypto/ed25519 documents
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: c.Text()}, signer{
		Verifier: verifier, sign: func(text []byte) []byte { return ed25519.Sign(key, text) },
	})
}

type signer struct {
	note.Verifier

	sign func([]byte) []byte // holds the private key, out of reach of every print verb
}

// Sign implements note.Signer.
func (s signer) Sign(text []byte) ([]byte, error) { return s.sign(text), nil }

func verifierOf(origin string, key ed25519.PublicKey) (note.Verifier, error) {
	text, err := note.NewEd25519VerifierKey(origin, key)
	if err != nil {
		return nil, fmt.Errorf("the key of the checkpoints of %q: %w", origin, err)
	}
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("the key of the checkpoints of %q: %w", origin, err)
	}
	return verifier, nil
}

// ErrNotSigned is the answer to a checkpoint that none of the keys has signed.
var ErrNotSigned = errors.New("none of the known keys has signed the checkpoint")

// OpenCheckpoint checks a signed note: that it is of the origin, and that one of the keys has
// signed it. Signatures of others, such as witnesses, are not looked at.
func OpenCheckpoint(signed []byte, origin string, keys ...ed25519.PublicKey) (Checkpoint, error) {
	opened, err := Open(signed, origin, keys, nil)
	return opened.Checkpoint, err
}

// ParseCheckpoint reads the text of a checkpoint, or a whole note; who signed it is not looked at.
// Lines of extensions, which we don't write, are passed over as the specification has it.
func ParseCheckpoint(text string) (Checkpoint, error) {
	text, _, _ = strings.Cut(text, "\n\n")
	lines := strings.Split(text, "\n")
	if len(lines) < 3 || lines[0] == "" {
		return Checkpoint{}, errors.New("a checkpoint has an origin, a size and a root, each on a line of its own")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, errors.New("the size of a checkpoint is a decimal number without leading zeros")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, errors.New("the root of a checkpoint is 32 bytes in base64")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}, nil
}
