package codec

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/eventstore"
)

// macFormat names what is keyed; a change of the encoding is a new name. What is signed is in
// package formats, where those who check it elsewhere find it too.
const macFormat = "agentkey.event.mac.v1"

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

// Sign returns the metadata of one event at the place where it is about to be appended, and the
// link that the event after it names. The same input gives the same bytes.
func (k *Keyring) Sign(
	stream string, revision uint64, id uuid.UUID, name string, data []byte, s Signed,
) ([]byte, Link, error) {
	return k.signWith(k.set.Load(), stream, revision, id, name, data, s)
}

func (k *Keyring) signWith(
	set *keySet, stream string, revision uint64, id uuid.UUID, name string, data []byte, s Signed,
) ([]byte, Link, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, Link{}, fmt.Errorf("encode the metadata of %s: %w", name, err)
	}
	message := k.message(stream, revision, id, name, data, string(text))
	link := Link(sha256.Sum256(message))
	m := metadata{
		Signed: string(text), Key: set.current, Sig: base64.RawURLEncoding.EncodeToString(set.sign(message)),
	}
	if key := set.keys[set.current]; key.mac != nil {
		m.MAC = key.macOf(link, m)
	}
	stored, err := json.Marshal(m)
	return stored, link, err
}

// Verify checks that a stored event is ours, and returns its metadata and its link. If it isn't,
// the error is a *ForgedError with the reason. Chain and Reader also check the event before it.
// Where no MAC key is known for the event, its signature is checked instead.
func (k *Keyring) Verify(r eventstore.Recorded) (Signed, Link, error) {
	c := k.check(r, false)
	return c.signed, c.link, c.err
}

// VerifyWhole is Verify that checks both the MAC and the signature.
func (k *Keyring) VerifyWhole(r eventstore.Recorded) (Signed, Link, error) {
	c := k.check(r, true)
	return c.signed, c.link, c.err
}

// checked is what is known of one stored event.
type checked struct {
	signed Signed
	link   Link
	key    string // that signed it, if it hasn't ended
	err    error
}

func (k *Keyring) check(r eventstore.Recorded, signature bool) checked {
	forged := func(reason string) checked {
		return checked{err: &ForgedError{Stream: r.Stream, Revision: r.Revision, Fault: Foreign, Reason: reason}}
	}
	m, err := parseMetadata(r.Metadata)
	if err != nil {
		return forged("its metadata is not ours")
	}
	key, err := k.key(m.Key)
	if err != nil {
		return checked{err: fmt.Errorf("verify %d@%s: %w", r.Revision, r.Stream, err)}
	}
	if key == nil {
		return forged("its key is not ours")
	}
	message := k.message(r.Stream, r.Revision, r.ID, r.Type, r.Data, m.Signed)
	c := checked{link: sha256.Sum256(message), key: m.Key}
	if key.mac != nil && !hmac.Equal([]byte(key.macOf(c.link, m)), []byte(m.MAC)) {
		return forged("the MAC does not match")
	}
	if signature || key.mac == nil {
		sig, err := base64.RawURLEncoding.Strict().DecodeString(m.Sig)
		if err != nil || !ed25519.Verify(key.public, message, sig) {
			return forged("the signature does not match")
		}
	}
	if key.heads != nil {
		if c.key = ""; !key.heads.Cover(r.Stream, r.Revision, c.link) {
			return checked{err: &ForgedError{
				Stream: r.Stream, Revision: r.Revision, Fault: Foreign, certain: true,
				Reason: "its key had ended when it was signed",
			}}
		}
	}
	if c.signed, err = parseSigned(m.Signed); err != nil {
		return forged("the signed text is not ours")
	}
	if c.signed.Schema > Schema {
		return checked{err: fmt.Errorf("%w: metadata schema %d", ErrUnknownEvent, c.signed.Schema)}
	}
	return c
}
