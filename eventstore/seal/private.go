package seal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/pae"
)

// Personal is what an event holds about the person or machine that made a call. It is only stored
// sealed.
type Personal struct {
	Label     string `json:"label,omitempty"`
	Address   string `json:"address,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

const privateFormat = "agentkey.private.v1"

// Privacy seals personal data with keys that can be removed: one for each member of an
// organization, and for what isn't a member's one for each day, so that none seals too much for its
// random nonces. Removing a key erases what it sealed, and breaks no signature.
type Privacy struct {
	secrets *Secrets
	clock   func() time.Time

	mu   sync.Mutex
	keys map[string]privateKey // by secret id
}

type privateKey struct {
	key   domain.Secret
	gone  bool
	until time.Time
}

// trusted is how long a key is used without looking whether it was removed.
const trusted = time.Minute

// NewPrivacy returns the privacy of a log's personal data.
func NewPrivacy(secrets *Secrets, clock func() time.Time) *Privacy {
	return &Privacy{secrets: secrets, clock: clock, keys: map[string]privateKey{}}
}

func daily(organization, day string) Binding {
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte("agentkey.private_key/"+organization+"/"+day))
	return Binding{SecretID: id.String(), Organization: organization, Purpose: PrivateKey, Owner: day}
}

func personal(organization, person string) Binding {
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte("agentkey.person_key/"+organization+"/"+person))
	return Binding{SecretID: id.String(), Organization: organization, Purpose: PersonKey, Owner: person}
}

// Seal returns p sealed, or "" when there is nothing to seal or the day's key was removed before
// the day was over: what shall not be known is not written again. What binds it to its event is
// the event's signature.
func (v *Privacy) Seal(ctx context.Context, organization string, p Personal) (string, error) {
	if p == (Personal{}) {
		return "", nil
	}
	plain, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encode personal data: %w", err)
	}
	return v.seal(ctx, daily(organization, v.clock().UTC().Format(time.DateOnly)), plain)
}

// SealOf is Seal of what a person's calls hold: it goes with the person's name too, whichever key
// is removed first.
func (v *Privacy) SealOf(ctx context.Context, organization, person string, p Personal) (string, error) {
	ofDay, err := v.Seal(ctx, organization, p)
	if err != nil || ofDay == "" {
		return "", err
	}
	return v.seal(ctx, personal(organization, person), []byte(ofDay))
}

func (v *Privacy) seal(ctx context.Context, b Binding, plain []byte) (string, error) {
	key, err := v.key(ctx, b, true)
	if errors.Is(err, ErrGone) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	sealed, err := Seal(key.Reveal(), plain, b.private())
	if err != nil {
		return "", err
	}
	return b.Owner + ":" + sealed, nil
}

// private binds what a key of personal data seals to the key's owner: a day, or a person.
func (b Binding) private() []byte {
	return pae.Encode([]byte(privateFormat), []byte(b.Organization), []byte(b.Owner))
}

// Open undoes Seal and SealOf for the metadata of one event. What was erased is the zero Personal.
func (v *Privacy) Open(ctx context.Context, organization, private string) (Personal, error) {
	owner, sealed, found := strings.Cut(private, ":")
	if !found {
		return Personal{}, nil
	}
	b := daily(organization, owner)
	_, err := time.Parse(time.DateOnly, owner)
	ofPerson := err != nil
	if ofPerson {
		b = personal(organization, owner)
	}
	key, err := v.key(ctx, b, false)
	if errors.Is(err, ErrGone) {
		return Personal{}, nil
	}
	if err != nil {
		return Personal{}, err
	}
	plain, err := Open(key.Reveal(), sealed, b.private())
	if err != nil {
		return Personal{}, fmt.Errorf("open personal data: %w", err)
	}
	if ofPerson {
		return v.Open(ctx, organization, string(plain))
	}
	var p Personal
	if err := json.Unmarshal(plain, &p); err != nil {
		return Personal{}, fmt.Errorf("decode personal data: %w", err)
	}
	return p, nil
}

// Named is what is kept of a person, of a service token, or of somebody who was invited.
type Named struct {
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
	Note  string `json:"note,omitempty"` // what a token is for
}

// Label is what to call them; "" when nothing is known.
func (n Named) Label() string { return cmp.Or(n.Name, n.Email) }

// SealName seals the name of a person, or of a service token, under a key of its own, and returns
// the key's id with the text. One that was erased is ErrGone.
func (v *Privacy) SealName(
	ctx context.Context, organization, person string, n Named,
) (keyID, sealed string, err error) {
	b := personal(organization, person)
	key, err := v.key(ctx, b, true)
	if err != nil {
		return "", "", err
	}
	plain, err := json.Marshal(n)
	if err != nil {
		return "", "", fmt.Errorf("encode a name: %w", err)
	}
	sealed, err = Seal(key.Reveal(), plain, b.private())
	return b.SecretID, sealed, err
}

// OpenName undoes SealName. A name that was erased, or never sealed, is the zero Named.
func (v *Privacy) OpenName(ctx context.Context, organization, person, sealed string) (n Named, err error) {
	if sealed == "" {
		return Named{}, nil
	}
	b := personal(organization, person)
	key, err := v.key(ctx, b, false)
	if errors.Is(err, ErrGone) {
		return Named{}, nil
	}
	if err != nil {
		return Named{}, err
	}
	plain, err := Open(key.Reveal(), sealed, b.private())
	if err != nil {
		return Named{}, fmt.Errorf("open a name: %w", err)
	}
	if err := json.Unmarshal(plain, &n); err != nil {
		return Named{}, fmt.Errorf("decode a name: %w", err)
	}
	return n, nil
}

// ErasePerson removes the key under which a name is sealed. Other processes show the name for as
// long as they trust the key, a minute at most. To erase it again changes nothing.
func (v *Privacy) ErasePerson(ctx context.Context, organization, person string) error {
	return v.erase(ctx, personal(organization, person))
}

// EraseDay removes the key of a day, as ErasePerson does. A day without a key gets none any more.
func (v *Privacy) EraseDay(ctx context.Context, organization, day string) error {
	return v.erase(ctx, daily(organization, day))
}

// HasDay reports whether anything that was sealed on a day can be opened.
func (v *Privacy) HasDay(ctx context.Context, organization, day string) (bool, error) {
	_, _, err := v.secrets.read(ctx, daily(organization, day).SecretID)
	if errors.Is(err, ErrGone) {
		return false, nil
	}
	return err == nil, err
}

func (v *Privacy) erase(ctx context.Context, b Binding) error {
	if err := v.secrets.bar(ctx, b.SecretID); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys[b.SecretID] = privateKey{gone: true, until: v.clock().Add(trusted)}
	return nil
}

// key finds the key of a binding, and makes it when asked to and no process has yet. All processes
// derive the same id, so the first to write decides and the others read. A key that was removed is
// ErrGone.
func (v *Privacy) key(ctx context.Context, b Binding, create bool) (domain.Secret, error) {
	now := v.clock()
	v.mu.Lock()
	known, hit := v.keys[b.SecretID]
	v.mu.Unlock()
	if hit && now.Before(known.until) && (!known.gone || !create) {
		return known.open(b)
	}
	key, err := v.secrets.OpenStored(ctx, b)
	if errors.Is(err, ErrGone) && create {
		key, err = v.create(ctx, b, now)
	}
	if hit && errors.Is(err, eventstore.ErrUnavailable) {
		return known.open(b) // what is behind it answers as far as it can without the log
	}
	gone := errors.Is(err, ErrGone)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil && !gone {
		delete(v.keys, b.SecretID)
		return domain.Secret{}, fmt.Errorf("open the key of personal data: %w", err)
	}
	if len(v.keys) >= cached {
		clear(v.keys)
	}
	v.keys[b.SecretID] = privateKey{key: key, gone: gone, until: now.Add(trusted)}
	return v.keys[b.SecretID].open(b)
}

func (k privateKey) open(b Binding) (domain.Secret, error) {
	if k.gone {
		return domain.Secret{}, fmt.Errorf("open the key of personal data: %w: %s", ErrGone, b.SecretID)
	}
	return k.key, nil
}

func (v *Privacy) create(ctx context.Context, b Binding, now time.Time) (domain.Secret, error) {
	raw, err := randomKey()
	if err != nil {
		return domain.Secret{}, err
	}
	signed := codec.Signed{
		Organization: b.Organization, Actor: domain.Actor{Type: domain.ActorSystem, ID: "privacy"},
		CommandID: b.SecretID, Time: now.UTC().Truncate(time.Microsecond),
	}
	err = v.secrets.Put(ctx, signed, b, domain.NewSecret(raw))
	if errors.Is(err, eventstore.ErrStreamDeleted) {
		return domain.Secret{}, fmt.Errorf("%w: %s", ErrGone, b.SecretID)
	}
	if err != nil {
		return domain.Secret{}, err
	}
	return v.secrets.OpenStored(ctx, b)
}
