package codec

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/eventstore"
)

// format names what is signed; a change of the encoding is a new name.
const format = "agentkey.event.v1"

// Schema is the version of the signed text below.
const Schema = 1

// Signed is what the metadata of every event says, signed together with the event. Private holds
// the caller's address, user agent and label, sealed: see package seal.
type Signed struct {
	Organization string       `json:"organization,omitempty"`
	Actor        domain.Actor `json:"actor"`
	CommandID    string       `json:"command_id"`
	Correlation  string       `json:"correlation,omitempty"`
	Causation    string       `json:"causation,omitempty"`
	RequestID    string       `json:"request_id,omitempty"`
	Time         time.Time    `json:"time"`
	Schema       int          `json:"schema"`
	Private      string       `json:"private,omitempty"`
}

type metadata struct {
	Signed string `json:"signed"` // the JSON text of Signed, byte for byte as it was signed
	Key    string `json:"key"`
	Sig    string `json:"sig"` // Ed25519 (RFC 8032), base64url without padding
}

// ForgedError names an event that does not carry a valid signature of ours. Whatever depends on its
// stream is refused.
type ForgedError struct {
	Stream   string
	Revision uint64
	Reason   string
}

// Error implements error.
func (e *ForgedError) Error() string {
	return fmt.Sprintf("event %d@%s is not signed by this installation: %s", e.Revision, e.Stream, e.Reason)
}

// Keyring signs with one key and trusts that one and the former ones.
type Keyring struct {
	storeID string
	keyID   string
	sign    func(message []byte) []byte // holds the private key, out of reach of every print verb
	public  map[string]ed25519.PublicKey
}

// NewKeyring returns a keyring of one store. trusted holds the former public keys by id.
func NewKeyring(storeID, keyID string, private ed25519.PrivateKey, trusted map[string]ed25519.PublicKey) *Keyring {
	public := map[string]ed25519.PublicKey{}
	maps.Copy(public, trusted)
	public[keyID] = private.Public().(ed25519.PublicKey) //nolint:forcetypeassert // what crypto/ed25519 documents
	sign := func(message []byte) []byte { return ed25519.Sign(private, message) }
	return &Keyring{storeID: storeID, keyID: keyID, sign: sign, public: public}
}

// StoreID is the id of the store whose events the keyring signs.
func (k *Keyring) StoreID() string { return k.storeID }

func (k *Keyring) message(
	stream string, revision uint64, id uuid.UUID, name string, data []byte, signed string,
) []byte {
	return PAE(
		[]byte(format), []byte(k.storeID), []byte(stream), strconv.AppendUint(nil, revision, 10), id[:], []byte(name),
		data, []byte(signed),
	)
}

// Sign returns the metadata of one event at the place where it is about to be appended. The same
// input gives the same bytes.
func (k *Keyring) Sign(
	stream string, revision uint64, id uuid.UUID, name string, data []byte, s Signed,
) ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the metadata of %s: %w", name, err)
	}
	sig := k.sign(k.message(stream, revision, id, name, data, string(text)))
	return json.Marshal(metadata{Signed: string(text), Key: k.keyID, Sig: base64.RawURLEncoding.EncodeToString(sig)})
}

// Verify checks the signature of a stored event and returns what its metadata says. A *ForgedError
// says why not.
func (k *Keyring) Verify(r eventstore.Recorded) (Signed, error) {
	forged := func(reason string) (Signed, error) {
		return Signed{}, &ForgedError{Stream: r.Stream, Revision: r.Revision, Reason: reason}
	}
	var m metadata
	if err := json.Unmarshal(r.Metadata, &m); err != nil {
		return forged("its metadata is not ours")
	}
	key, known := k.public[m.Key]
	if !known {
		return forged("its key is not ours")
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(m.Sig)
	if err != nil || !ed25519.Verify(key, k.message(r.Stream, r.Revision, r.ID, r.Type, r.Data, m.Signed), sig) {
		return forged("the signature does not match")
	}
	var s Signed
	if err := json.Unmarshal([]byte(m.Signed), &s); err != nil {
		return forged("the signed text is not ours")
	}
	if s.Schema > Schema {
		return Signed{}, fmt.Errorf("%w: metadata schema %d", ErrUnknownEvent, s.Schema)
	}
	return s, nil
}

// ReadSigned returns what the metadata of an event says without checking the signature: enough for
// a read model, never for a decision.
func ReadSigned(raw []byte) (Signed, error) {
	var m metadata
	if err := json.Unmarshal(raw, &m); err != nil {
		return Signed{}, fmt.Errorf("read the metadata: %w", err)
	}
	var s Signed
	if err := json.Unmarshal([]byte(m.Signed), &s); err != nil {
		return Signed{}, fmt.Errorf("read the signed text: %w", err)
	}
	return s, nil
}
