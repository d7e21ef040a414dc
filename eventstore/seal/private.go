package seal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/eventstore/codec"
)

// Personal is what an event tells of the person or machine behind a call. It is stored sealed only.
type Personal struct {
	Label     string `json:"label,omitempty"`
	Address   string `json:"address,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

const privateFormat = "agentkey.private.v1"

// Privacy seals personal data with keys that can be removed: one for each organization and month. Removing a
// key erases what it sealed and breaks no signature.
type Privacy struct {
	secrets *Secrets
	clock   func() time.Time

	mu   sync.Mutex
	keys map[string]domain.Secret // by secret id
}

// NewPrivacy returns the privacy of a log's personal data.
func NewPrivacy(secrets *Secrets, clock func() time.Time) *Privacy {
	return &Privacy{secrets: secrets, clock: clock, keys: map[string]domain.Secret{}}
}

func monthly(organization, month string) Binding {
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte("agentkey.private_key/"+organization+"/"+month))
	return Binding{SecretID: id.String(), Organization: organization, Purpose: PrivateKey, Owner: month}
}

func personal(organization, person string) Binding {
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte("agentkey.person_key/"+organization+"/"+person))
	return Binding{SecretID: id.String(), Organization: organization, Purpose: PersonKey, Owner: person}
}

// Seal returns p sealed, or "" when there is nothing to seal. What binds it to its event is the event's signature.
func (v *Privacy) Seal(ctx context.Context, organization string, p Personal) (string, error) {
	if p == (Personal{}) {
		return "", nil
	}
	plain, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encode personal data: %w", err)
	}
	month := v.clock().UTC().Format("2006-01")
	key, err := v.key(ctx, monthly(organization, month), true)
	if err != nil {
		return "", err
	}
	sealed, err := Seal(key.Reveal(), plain, codec.PAE([]byte(privateFormat), []byte(organization), []byte(month)))
	if err != nil {
		return "", err
	}
	return month + ":" + sealed, nil
}

// Open undoes Seal for the metadata of one event. What was erased is the zero Personal.
func (v *Privacy) Open(ctx context.Context, organization, private string) (Personal, error) {
	month, sealed, found := strings.Cut(private, ":")
	if !found {
		return Personal{}, nil
	}
	key, err := v.key(ctx, monthly(organization, month), false)
	if errors.Is(err, ErrGone) {
		return Personal{}, nil
	}
	if err != nil {
		return Personal{}, err
	}
	plain, err := Open(key.Reveal(), sealed, codec.PAE([]byte(privateFormat), []byte(organization), []byte(month)))
	if err != nil {
		return Personal{}, fmt.Errorf("open personal data: %w", err)
	}
	var p Personal
	if err := json.Unmarshal(plain, &p); err != nil {
		return Personal{}, fmt.Errorf("decode personal data: %w", err)
	}
	return p, nil
}

// SealPerson seals what names one person under that person's own key and returns the key's id with the text.
func (v *Privacy) SealPerson(ctx context.Context, organization, person string, plain []byte) (keyID, sealed string, err error) {
	b := personal(organization, person)
	key, err := v.key(ctx, b, true)
	if err != nil {
		return "", "", err
	}
	sealed, err = Seal(key.Reveal(), plain, codec.PAE([]byte(privateFormat), []byte(organization), []byte(person)))
	return b.SecretID, sealed, err
}

// key finds the key of a binding, and makes it when asked to and nobody has yet. All processes derive the same
// id, so whoever writes first decides and the others read.
func (v *Privacy) key(ctx context.Context, b Binding, create bool) (domain.Secret, error) {
	v.mu.Lock()
	key, hit := v.keys[b.SecretID]
	v.mu.Unlock()
	if hit {
		return key, nil
	}
	key, err := v.secrets.Open(ctx, b)
	if errors.Is(err, ErrGone) && create {
		raw, rerr := randomKey()
		if rerr != nil {
			return domain.Secret{}, rerr
		}
		now := v.clock().UTC().Truncate(time.Microsecond)
		signed := codec.Signed{
			Organization: b.Organization, Actor: domain.Actor{Type: domain.ActorSystem, ID: "privacy"},
			CommandID: b.SecretID, Time: now,
		}
		if perr := v.secrets.Put(ctx, signed, b, domain.NewSecret(raw)); perr != nil {
			return domain.Secret{}, perr
		}
		key, err = v.secrets.Open(ctx, b)
	}
	if err != nil {
		return domain.Secret{}, fmt.Errorf("open the key of personal data: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.keys) >= cached {
		clear(v.keys)
	}
	v.keys[b.SecretID] = key
	return key, nil
}
