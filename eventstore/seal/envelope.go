package seal

import (
	"fmt"

	"agentkey/domain"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/pae"
)

// Format names the envelope of a secret; a change of it is a new name.
const Format = "agentkey.secret.v1"

// Purpose says what a secret is for; it is part of what binds it.
type Purpose string

// The purposes.
const (
	Credential Purpose = "credential"
	SigningKey Purpose = "signing_key"
	MACKey     Purpose = "mac_key"
	Checkpoint Purpose = "checkpoint_key"
	PrivateKey Purpose = "private_key" // seals what an organization's agents and tokens leave in a day
	PersonKey  Purpose = "person_key"  // seals what names one person
	Plan       Purpose = "plan"        // events of a change that takes several appends
)

// Binding is what a secret belongs to. All of it is associated data, so a sealed text that was
// moved elsewhere does not open. None of it depends on state.
type Binding struct {
	SecretID     string
	Organization string
	Purpose      Purpose
	Owner        string
}

func (b Binding) associated(use string) []byte {
	return pae.Encode(
		[]byte(Format), []byte(use), []byte(b.Organization), []byte(b.Purpose), []byte(b.Owner), []byte(b.SecretID),
	)
}

// SealSecret seals plaintext under a data key of its own, wrapped by the ring's current key.
func (r Ring) SealSecret(b Binding, plaintext domain.Secret) (codec.SecretSealed, error) {
	data, err := randomKey()
	if err != nil {
		return codec.SecretSealed{}, err
	}
	defer clear(data)
	sealed, err := Seal(data, plaintext.Reveal(), b.associated("secret"))
	if err != nil {
		return codec.SecretSealed{}, fmt.Errorf("seal secret %s: %w", b.SecretID, err)
	}
	wrapping, err := r.wrap(b, data)
	if err != nil {
		return codec.SecretSealed{}, err
	}
	return codec.SecretSealed{
		SecretID: b.SecretID, OrganizationID: b.Organization, Purpose: string(b.Purpose), Owner: b.Owner,
		Format: Format, Sealed: sealed, Wrapping: wrapping,
	}, nil
}

// OpenSecret undoes SealSecret. The binding is the caller's, not what the stored event claims: an
// event copied from another secret is ErrDoesNotOpen. A wrapping by a key that is not configured is
// ErrMasterKeyMissing.
func (r Ring) OpenSecret(b Binding, s codec.SecretSealed) (domain.Secret, error) {
	if s.Format != Format {
		return domain.Secret{}, fmt.Errorf("%w: secret format %q", codec.ErrUnknownEvent, s.Format)
	}
	data, err := r.unwrap(b, s.Wrapping)
	if err != nil {
		return domain.Secret{}, fmt.Errorf("open secret %s: %w", b.SecretID, err)
	}
	defer clear(data)
	plain, err := Open(data, s.Sealed, b.associated("secret"))
	if err != nil {
		return domain.Secret{}, fmt.Errorf("open secret %s: %w", b.SecretID, err)
	}
	return domain.NewSecret(plain), nil
}

// Rewrap wraps the data key with the ring's current key. It reports false when that is so already.
func (r Ring) Rewrap(b Binding, w codec.Wrapping) (codec.Wrapping, bool, error) {
	if w.MasterKeyID == r.Current().ID() {
		return w, false, nil
	}
	data, err := r.unwrap(b, w)
	if err != nil {
		return w, false, fmt.Errorf("open the wrapping of secret %s: %w", b.SecretID, err)
	}
	defer clear(data)
	fresh, err := r.wrap(b, data)
	return fresh, true, err
}

func (r Ring) wrap(b Binding, data []byte) (codec.Wrapping, error) {
	key := r.Current()
	wrapped, err := Seal(key.wrap.Reveal(), data, b.associated("wrapping/"+key.id))
	if err != nil {
		return codec.Wrapping{}, fmt.Errorf("wrap the key of secret %s: %w", b.SecretID, err)
	}
	return codec.Wrapping{MasterKeyID: key.id, Key: wrapped}, nil
}

func (r Ring) unwrap(b Binding, w codec.Wrapping) ([]byte, error) {
	key, err := r.find(w.MasterKeyID)
	if err != nil {
		return nil, err
	}
	return Open(key.wrap.Reveal(), w.Key, b.associated("wrapping/"+w.MasterKeyID))
}
