package formats

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Witness is a second party that has seen a tree grow and signs what it saw, as C2SP
// tlog-cosignature (https://c2sp.org/tlog-cosignature) has it, version 1 with Ed25519.
type Witness struct {
	Name string // one word, without +; a URL without its scheme, by custom
	Key  ed25519.PublicKey
}

// cosignatureAlgorithm is the type of such a key, and of its signatures.
const cosignatureAlgorithm = 4

// String is the witness as others register it: name, hash and key, joined by +.
func (w Witness) String() string {
	key := base64.StdEncoding.EncodeToString(append([]byte{cosignatureAlgorithm}, w.Key...))
	return fmt.Sprintf("%s+%08x+%s", w.Name, w.KeyHash(), key)
}

var errWitness = errors.New("a witness is its name, the hash of its key and the key, joined by +, as " +
	"agentkey audit witness prints it")

// ParseWitness reads what String returns.
func ParseWitness(text string) (Witness, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 || !plain(parts[0]) {
		return Witness{}, errWitness
	}
	key, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != cosignatureAlgorithm {
		return Witness{}, errWitness
	}
	w := Witness{Name: parts[0], Key: key[1:]}
	if w.String() != text {
		return Witness{}, errWitness
	}
	return w, nil
}

// KeyHash is the id of the key: the first four bytes of the SHA-256 over its name, type and bytes.
func (w Witness) KeyHash() uint32 {
	h := sha256.Sum256(append(append([]byte(w.Name), '\n', cosignatureAlgorithm), w.Key...))
	return binary.BigEndian.Uint32(h[:])
}

// cosigned is what a witness signs: when, and the text of the checkpoint.
func cosigned(at uint64, text []byte) []byte {
	out := append([]byte("cosignature/v1\ntime "), strconv.FormatUint(at, 10)...)
	return append(append(out, '\n'), text...)
}

// timeSize is the length of the time in a cosignature, in bytes.
const timeSize = 8

// verifier is a witness as package note knows keys.
type verifier struct{ Witness }

// Name implements note.Verifier.
func (v verifier) Name() string { return v.Witness.Name }

// Verify implements note.Verifier.
func (v verifier) Verify(text, sig []byte) bool {
	if len(sig) != timeSize+ed25519.SignatureSize {
		return false
	}
	return ed25519.Verify(v.Key, cosigned(binary.BigEndian.Uint64(sig), text), sig[timeSize:])
}

// Cosignature is a witness's signature on a checkpoint.
type Cosignature struct {
	Witness Witness
	At      time.Time // when the witness saw the checkpoint, by its own clock
	Line    string    // of the note, without its line break
}

// CosignedAt returns when a line says that its witness saw the checkpoint. The line is not checked.
func CosignedAt(line string) (time.Time, error) {
	raw, err := base64.StdEncoding.DecodeString(line[strings.LastIndexByte(line, ' ')+1:])
	if err != nil || len(raw) < 4+timeSize {
		return time.Time{}, errors.New("it isn't the line of a cosignature")
	}
	return time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC(), nil //nolint:gosec // any number is a time
}

// Cosign returns a signed note with the signature of a witness added. The note is not checked.
func Cosign(signed []byte, name string, key ed25519.PrivateKey, at time.Time) ([]byte, error) {
	text, _, found := strings.Cut(string(signed), "\n\n")
	if !found || !strings.HasSuffix(string(signed), "\n") {
		return nil, errors.New("a signed note is a text, an empty line and signatures")
	}
	w := Witness{name, key.Public().(ed25519.PublicKey)} //nolint:forcetypeassert // what crypto/ed25519 documents
	when := uint64(at.Unix())                            //nolint:gosec // it is after 1970
	sig := binary.BigEndian.AppendUint32(nil, w.KeyHash())
	sig = binary.BigEndian.AppendUint64(sig, when)
	sig = append(sig, ed25519.Sign(key, cosigned(when, []byte(text+"\n")))...)
	return append(slices.Clip(signed),
		"— "+name+" "+base64.StdEncoding.EncodeToString(sig)+"\n"...), nil
}

// Opened is a checkpoint with what is known of its signatures.
type Opened struct {
	Checkpoint

	Own          string        // the note with the service's own signature alone
	Cosignatures []Cosignature // of known witnesses
	Unknown      int           // signatures of others
}

// Open checks a signed note as OpenCheckpoint does, and looks at the signatures of witnesses too.
func Open(signed []byte, origin string, keys []ed25519.PublicKey, witnesses []Witness) (Opened, error) {
	known := make([]note.Verifier, 0, len(keys)+len(witnesses))
	for _, key := range keys {
		v, err := verifierOf(origin, key)
		if err != nil {
			return Opened{}, err
		}
		known = append(known, v)
	}
	for _, w := range witnesses {
		known = append(known, verifier{w})
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	if unverified, ok := errors.AsType[*note.UnverifiedNoteError](err); ok && unverified != nil {
		return Opened{}, ErrNotSigned
	}
	if err != nil {
		return Opened{}, fmt.Errorf("open a checkpoint: %w", err)
	}
	// package note passes over a second signature by the same key, whatever it is
	_, lines, _ := strings.Cut(string(signed), "\n\n")
	if strings.Count(lines, "\n") != len(n.Sigs)+len(n.UnverifiedSigs) {
		return Opened{}, errors.New("the checkpoint has two signatures of the same key")
	}
	out := Opened{Unknown: len(n.UnverifiedSigs)}
	for _, s := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return Opened{}, fmt.Errorf("a signature of the checkpoint isn't strict base64: %w", err)
		}
		line := "— " + s.Name + " " + s.Base64
		i := slices.IndexFunc(witnesses, func(w Witness) bool { return w.Name == s.Name && w.KeyHash() == s.Hash })
		if i < 0 {
			out.Own = n.Text + "\n" + line + "\n"
			continue
		}
		at, err := CosignedAt(line)
		if err != nil {
			return Opened{}, err
		}
		out.Cosignatures = append(out.Cosignatures, Cosignature{witnesses[i], at, line})
	}
	if out.Own == "" {
		return Opened{}, ErrNotSigned
	}
	if out.Checkpoint, err = ParseCheckpoint(n.Text); err == nil && out.Origin != origin {
		err = fmt.Errorf("the checkpoint is of %q and not of %q", out.Origin, origin)
	}
	return out, err
}
