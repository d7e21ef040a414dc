package seal

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"agentkey/domain"
	"agentkey/domain/installation"
)

// ErrMasterKeyMissing marks a secret whose wrapping names a master key that is not configured.
var ErrMasterKeyMissing = errors.New("the master key that wraps this secret is not configured")

// MasterKey wraps data keys. What wraps, what names it and what recognises it are derived from it
// apart (HKDF, RFC 5869), so that the id and the check value say nothing about the key.
type MasterKey struct {
	id, check string
	wrap      domain.Secret
}

// NewMasterKeyText draws a master key and returns its text: 32 bytes as standard base64.
func NewMasterKeyText() (string, error) {
	key, err := randomKey()
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(key), nil
}

// ParseMasterKey reads the text of a master key: 32 bytes as base64, standard or URL alphabet, with
// or without padding. The error never repeats the text.
func ParseMasterKey(text string) (MasterKey, error) {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(strings.TrimSpace(text), "="))
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return MasterKey{}, errors.New("a master key must be base64; make one with: openssl rand -base64 32")
	}
	if len(raw) != keySize {
		return MasterKey{}, fmt.Errorf(
			"a master key must have 32 bytes, not %d; make one with: openssl rand -base64 32", len(raw),
		)
	}
	derive := func(info string, size int) []byte {
		out, derr := hkdf.Key(sha256.New, raw, nil, info, size)
		err = errors.Join(err, derr)
		return out
	}
	key := MasterKey{
		id:    hex.EncodeToString(derive("agentkey.master.id.v1", 8)),
		check: hex.EncodeToString(derive("agentkey.master.check.v1", 16)),
		wrap:  domain.NewSecret(derive("agentkey.master.wrap.v1", keySize)),
	}
	return key, err
}

// ID names the key; it is safe to print.
func (k MasterKey) ID() string { return k.id }

// Public is what the log holds of the key.
func (k MasterKey) Public() installation.MasterKey {
	return installation.MasterKey{ID: k.id, Check: k.check}
}

// String is the id, so that no print verb shows more.
func (k MasterKey) String() string { return k.id }

// GoString is the id, so that no print verb shows more.
func (k MasterKey) GoString() string { return k.id }

// Ring is the configured master keys: the current one, which wraps, first; then former ones, which
// may still open.
type Ring struct{ keys []MasterKey }

// NewRing returns a ring of at least one key.
func NewRing(keys ...MasterKey) (Ring, error) {
	if len(keys) == 0 {
		return Ring{}, errors.New("no master key is configured")
	}
	return Ring{keys: keys}, nil
}

// Current is the key that wraps.
func (r Ring) Current() MasterKey { return r.keys[0] }

// Public lists what the log should hold of each key.
func (r Ring) Public() []installation.MasterKey {
	out := make([]installation.MasterKey, len(r.keys))
	for i, k := range r.keys {
		out[i] = k.Public()
	}
	return out
}

// Has reports whether the ring has a key.
func (r Ring) Has(id string) bool {
	_, err := r.find(id)
	return err == nil
}

func (r Ring) find(id string) (MasterKey, error) {
	i := slices.IndexFunc(r.keys, func(k MasterKey) bool { return k.id == id })
	if i < 0 {
		return MasterKey{}, fmt.Errorf("%w: %s", ErrMasterKeyMissing, id)
	}
	return r.keys[i], nil
}

// Check compares the ring with what the installation knows. The error names key ids and what to do.
func (r Ring) Check(known []installation.MasterKey) error {
	for _, k := range r.keys {
		i := slices.IndexFunc(known, func(m installation.MasterKey) bool { return m.ID == k.id })
		if i < 0 {
			var ids []string
			for _, m := range known {
				ids = append(ids, m.ID)
			}
			return fmt.Errorf("master key %s does not belong to this installation, which knows %s: "+
				"configure the right key, or add a new one with: agentkey keys add", k.id, strings.Join(ids, ", "))
		}
		if subtle.ConstantTimeCompare([]byte(known[i].Check), []byte(k.check)) != 1 {
			return fmt.Errorf("master key %s is not the one that this installation knows by that id", k.id)
		}
	}
	return nil
}
