package codec

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/pae"
)

// They name what is signed, hashed and keyed; a change of the encoding is a new name.
const (
	format       = "agentkey.event.v1"
	streamFormat = "agentkey.stream.v1"
	macFormat    = "agentkey.event.mac.v1"
)

// Schema is the version of the signed text below.
const Schema = 1

// Signed is what the metadata of every event says, signed together with the event. Private holds
// the caller's address, user agent and label, sealed: see package seal.
type Signed struct {
	Organization string       `json:"organization,omitempty"`
	Actor        domain.Actor `json:"actor"`
	OnBehalfOf   domain.Actor `json:"on_behalf_of,omitzero"` // for whom a part of the system acted
	CommandID    string       `json:"command_id"`
	Correlation  string       `json:"correlation,omitempty"`
	Causation    string       `json:"causation,omitempty"`
	RequestID    string       `json:"request_id,omitempty"`
	Time         time.Time    `json:"time"`
	Schema       int          `json:"schema"`
	Prev         Link         `json:"prev,omitzero"` // of the event before it in the stream; see Chained
	Private      string       `json:"private,omitempty"`
}

// By is who is behind the event: the actor, or for whom a part of the system acted.
func (s Signed) By() domain.Actor {
	if s.OnBehalfOf != (domain.Actor{}) {
		return s.OnBehalfOf
	}
	return s.Actor
}

type metadata struct {
	Signed string `json:"signed"` // the JSON text of Signed, byte for byte as it was signed
	Key    string `json:"key"`
	Sig    string `json:"sig"`           // Ed25519 (RFC 8032), base64url without padding
	MAC    string `json:"mac,omitempty"` // HMAC-SHA256 (RFC 2104), base64url without padding
}

// Keyring signs with one key and trusts that one and the former ones. Anyone who has the public
// keys can check a signature. The processes of the installation share a key for a MAC over the
// event and its signature, and check that instead: it proves as much to them in a fraction of the
// time.
type Keyring struct {
	storeID string
	keyID   string
	sign    func(message []byte) []byte // holds the private key, out of reach of every print verb
	mac     func(message []byte) []byte // likewise; nil: signatures alone count
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

// WithMAC returns a keyring that also writes and checks MACs, under a key derived from the
// installation's.
func (k *Keyring) WithMAC(key domain.Secret) (*Keyring, error) {
	derived, err := hkdf.Key(sha256.New, key.Reveal(), nil, macFormat, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key of MACs: %w", err)
	}
	with := *k
	with.mac = func(message []byte) []byte {
		h := hmac.New(sha256.New, derived)
		h.Write(message)
		return h.Sum(nil)
	}
	return &with, nil
}

// StoreID is the id of the store whose events the keyring signs.
func (k *Keyring) StoreID() string { return k.storeID }

func (k *Keyring) message(
	stream string, revision uint64, id uuid.UUID, name string, data []byte, signed string,
) []byte {
	return pae.Encode(
		[]byte(format), []byte(k.storeID), []byte(stream), strconv.AppendUint(nil, revision, 10), id[:], []byte(name),
		data, []byte(signed),
	)
}

// macOf covers the signature too, so that a check of the MAC alone notices when it was changed.
func (k *Keyring) macOf(link Link, m metadata) string {
	return base64.RawURLEncoding.EncodeToString(
		k.mac(pae.Encode([]byte(macFormat), link[:], []byte(m.Key), []byte(m.Sig))),
	)
}

// Sign returns the metadata of one event at the place where it is about to be appended, and the
// link that the event after it names. The same input gives the same bytes.
func (k *Keyring) Sign(
	stream string, revision uint64, id uuid.UUID, name string, data []byte, s Signed,
) ([]byte, Link, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, Link{}, fmt.Errorf("encode the metadata of %s: %w", name, err)
	}
	message := k.message(stream, revision, id, name, data, string(text))
	link := Link(sha256.Sum256(message))
	m := metadata{
		Signed: string(text), Key: k.keyID, Sig: base64.RawURLEncoding.EncodeToString(k.sign(message)),
	}
	if k.mac != nil {
		m.MAC = k.macOf(link, m)
	}
	stored, err := json.Marshal(m)
	return stored, link, err
}

// Verify checks that a stored event is ours, and returns its metadata and its link. If it isn't,
// the error is a *ForgedError with the reason. Chain and Reader also check the event before it.
func (k *Keyring) Verify(r eventstore.Recorded) (Signed, Link, error) {
	return k.verify(r, k.mac == nil)
}

// VerifyWhole is Verify that checks both the MAC and the signature.
func (k *Keyring) VerifyWhole(r eventstore.Recorded) (Signed, Link, error) { return k.verify(r, true) }

func (k *Keyring) verify(r eventstore.Recorded, signature bool) (Signed, Link, error) {
	forged := func(reason string) (Signed, Link, error) {
		return Signed{}, Link{}, &ForgedError{Stream: r.Stream, Revision: r.Revision, Fault: Foreign, Reason: reason}
	}
	m, err := parseMetadata(r.Metadata)
	if err != nil {
		return forged("its metadata is not ours")
	}
	key, known := k.public[m.Key]
	if !known {
		return forged("its key is not ours")
	}
	message := k.message(r.Stream, r.Revision, r.ID, r.Type, r.Data, m.Signed)
	link := Link(sha256.Sum256(message))
	if k.mac != nil && !hmac.Equal([]byte(k.macOf(link, m)), []byte(m.MAC)) {
		return forged("the MAC does not match")
	}
	if signature {
		sig, err := base64.RawURLEncoding.Strict().DecodeString(m.Sig)
		if err != nil || !ed25519.Verify(key, message, sig) {
			return forged("the signature does not match")
		}
	}
	s, err := parseSigned(m.Signed)
	if err != nil {
		return forged("the signed text is not ours")
	}
	if s.Schema > Schema {
		return Signed{}, Link{}, fmt.Errorf("%w: metadata schema %d", ErrUnknownEvent, s.Schema)
	}
	return s, link, nil
}
