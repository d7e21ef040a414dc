package codec

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"sync/atomic"

	"github.com/google/uuid"

	"agentkey/audit/formats"
	"agentkey/domain"
	"agentkey/eventstore/pae"
)

// Keyring signs with one key and trusts that one and the former ones. Anyone who has the public
// keys can check a signature. The processes of the installation share a key for a MAC over the
// event and its signature, one for each signing key, and check that instead: it proves as much to
// them in a fraction of the time. A key that has ended counts only for what the log held then.
// What a keyring holds may be replaced at any time by Adopt.
type Keyring struct {
	storeID string
	set     atomic.Pointer[keySet]
	hooks   Hooks
}

// Hooks let a keyring follow a log whose keys are replaced: they adopt what the log says of the
// keys by then. Each may be nil. Their errors are those of the log.
type Hooks struct {
	// Unknown is called with the id of a key that the keyring doesn't know.
	Unknown func(keyID string) error

	// Rely is called after events were read or appended, before anybody relies on them, with the id
	// of a key that signed some and hasn't ended as far as the keyring knows. If it had ended by the
	// time of the call, the keyring knows when it returns.
	Rely func(keyID string) error

	// Moved is called with each event of the stream of the signing keys that a Chain comes past.
	Moved func(revision uint64) error
}

// keySet is never changed.
type keySet struct {
	current string
	sign    func(message []byte) []byte // holds the private key, out of reach of every print verb
	keys    map[string]*knownKey
}

type knownKey struct {
	public ed25519.PublicKey
	mac    func(message []byte) []byte // likewise; nil: signatures alone count
	heads  *Heads                      // nil: it hasn't ended
}

// NewKeyring returns a keyring of one store. trusted holds the former public keys by id.
func NewKeyring(storeID, keyID string, private ed25519.PrivateKey, trusted map[string]ed25519.PublicKey) *Keyring {
	set := &keySet{
		current: keyID, sign: func(message []byte) []byte { return ed25519.Sign(private, message) },
		keys: map[string]*knownKey{},
	}
	for id, public := range trusted {
		set.keys[id] = &knownKey{public: public}
	}
	set.keys[keyID] = &knownKey{public: private.Public().(ed25519.PublicKey)} //nolint:forcetypeassert // what crypto/ed25519 documents
	return newKeyring(storeID, set)
}

func newKeyring(storeID string, set *keySet) *Keyring {
	k := &Keyring{storeID: storeID}
	k.set.Store(set)
	return k
}

// WithMAC returns a keyring that also writes and checks MACs for the key that signs, under a key
// derived from the installation's.
func (k *Keyring) WithMAC(key domain.Secret) (*Keyring, error) {
	return k.WithMACOf(k.set.Load().current, key)
}

// WithMACOf is WithMAC for one of the keys.
func (k *Keyring) WithMACOf(keyID string, key domain.Secret) (*Keyring, error) {
	derived, err := hkdf.Key(sha256.New, key.Reveal(), nil, macFormat, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key of MACs: %w", err)
	}
	return k.with(keyID, func(known *knownKey) {
		known.mac = func(message []byte) []byte {
			h := hmac.New(sha256.New, derived)
			h.Write(message)
			return h.Sum(nil)
		}
	}), nil
}

// WithEnded returns a keyring for which a key counts only for what the heads cover.
func (k *Keyring) WithEnded(keyID string, heads *Heads) *Keyring {
	return k.with(keyID, func(known *knownKey) { known.heads = heads })
}

func (k *Keyring) with(keyID string, change func(*knownKey)) *Keyring {
	set := *k.set.Load()
	set.keys = maps.Clone(set.keys)
	known := *set.keys[keyID]
	change(&known)
	set.keys[keyID] = &known
	return newKeyring(k.storeID, &set)
}

// NewFollowing returns a keyring with hooks. It holds nothing until something is adopted.
func NewFollowing(storeID string, h Hooks) *Keyring { return &Keyring{storeID: storeID, hooks: h} }

// Adopt replaces what the keyring holds by what another one holds.
func (k *Keyring) Adopt(other *Keyring) { k.set.Store(other.set.Load()) }

// Current is the id of the key that signs.
func (k *Keyring) Current() string { return k.set.Load().current }

// MAC returns a MAC of a message by the MAC key of a signing key; nil if there is none, or if that
// key has ended.
func (k *Keyring) MAC(keyID string, message []byte) []byte {
	if known := k.set.Load().keys[keyID]; known != nil && known.mac != nil && known.heads == nil {
		return known.mac(message)
	}
	return nil
}

// counts reports whether an event that a key signed is ours.
func (k *Keyring) counts(keyID, stream string, revision uint64, link Link) bool {
	known := k.set.Load().keys[keyID]
	return known != nil && (known.heads == nil || known.heads.Cover(stream, revision, link))
}

// key returns a known key, or nil.
func (k *Keyring) key(id string) (*knownKey, error) {
	if known := k.set.Load().keys[id]; known != nil || k.hooks.Unknown == nil {
		return known, nil
	}
	if err := k.hooks.Unknown(id); err != nil {
		return nil, err
	}
	return k.set.Load().keys[id], nil
}

// Knows reports whether a key is one of ours.
func (k *Keyring) Knows(keyID string) bool {
	known, err := k.key(keyID)
	return err == nil && known != nil
}

// StoreID is the id of the store whose events the keyring signs.
func (k *Keyring) StoreID() string { return k.storeID }

func (k *Keyring) message(
	stream string, revision uint64, id uuid.UUID, name string, data []byte, signed string,
) []byte {
	return formats.Event{Stream: stream, Revision: revision, ID: id, Type: name, Data: data}.Message(k.storeID, signed)
}

// macOf covers the signature too, so that a check of the MAC alone notices when it was changed.
func (k *knownKey) macOf(link Link, m metadata) string {
	return base64.RawURLEncoding.EncodeToString(
		k.mac(pae.Encode([]byte(macFormat), link[:], []byte(m.Key), []byte(m.Sig))),
	)
}
