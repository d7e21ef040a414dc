package seal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// ErrGone marks a secret that was removed, or never written.
var ErrGone = errors.New("the secret was removed")

// cached bounds how many sealed texts are kept in memory. They are ciphertext, never plaintext.
const cached = 4096

// Secrets keeps each secret in a stream of its own.
type Secrets struct {
	log  *codec.Log
	ring Ring

	mu     sync.Mutex
	texts  map[string]codec.SecretSealed
	closed string // the last secret whose wrapping names a master key that is not configured
}

// NewSecrets returns the secrets of a log, opened and wrapped by a ring.
func NewSecrets(log *codec.Log, ring Ring) *Secrets {
	return &Secrets{log: log, ring: ring, texts: map[string]codec.SecretSealed{}}
}

// Ring returns the master keys in use.
func (s *Secrets) Ring() Ring { return s.ring }

// Put seals and writes a secret before anything refers to it. On return it is durable. An id that
// exists already is the same command repeated, and the secret written first stays.
func (s *Secrets) Put(ctx context.Context, signed codec.Signed, b Binding, plaintext domain.Secret) error {
	sealed, err := s.ring.SealSecret(b, plaintext)
	if err != nil {
		return err
	}
	_, err = s.log.Write(ctx, codec.Secrets.Stream(b.SecretID), codec.Begin, sealed, signed)
	if err != nil && !errors.Is(err, eventstore.ErrWrongRevision) {
		return fmt.Errorf("write secret %s: %w", b.SecretID, err)
	}
	return nil
}

// Open unseals a secret for the binding that the caller derived from its decision. Errors: ErrGone,
// ErrDoesNotOpen, ErrMasterKeyMissing, or those of the log.
func (s *Secrets) Open(ctx context.Context, b Binding) (domain.Secret, error) {
	s.mu.Lock()
	text, hit := s.texts[b.SecretID]
	s.mu.Unlock()
	if hit { // a former wrapping opens like the newest one
		return s.ring.OpenSecret(b, text)
	}
	return s.OpenStored(ctx, b)
}

// OpenStored is Open of what is in the log now.
func (s *Secrets) OpenStored(ctx context.Context, b Binding) (domain.Secret, error) {
	text, _, err := s.read(ctx, b.SecretID)
	if err != nil {
		return domain.Secret{}, err
	}
	plain, err := s.ring.OpenSecret(b, text)
	if err == nil {
		s.remember(text)
	}
	if errors.Is(err, ErrMasterKeyMissing) {
		s.mu.Lock()
		s.closed = b.SecretID
		s.mu.Unlock()
	}
	return plain, err
}

// Missing returns the id of a master key that a secret needed and that is not configured; empty
// when there is none, or none any more, because another process rewrapped or removed that secret.
func (s *Secrets) Missing(ctx context.Context) (string, error) {
	s.mu.Lock()
	id := s.closed
	s.mu.Unlock()
	if id == "" {
		return "", nil
	}
	text, _, err := s.read(ctx, id)
	if err != nil && !errors.Is(err, ErrGone) {
		return "", err
	}
	if err == nil {
		if _, err := s.ring.find(text.Wrapping.MasterKeyID); err != nil {
			return text.Wrapping.MasterKeyID, nil //nolint:nilerr // that it is not found is the answer
		}
	}
	s.mu.Lock()
	if s.closed == id {
		s.closed = ""
	}
	s.mu.Unlock()
	return "", nil
}

// Remove tombstones a secret: the product can't open it any more, and the embedded store deletes it
// physically. A secret that is already gone isn't an error.
func (s *Secrets) Remove(ctx context.Context, id string) error {
	return s.remove(ctx, id, s.log.Client.Tombstone)
}

// bar is Remove, also of a secret that was never written: it can't be written any more.
func (s *Secrets) bar(ctx context.Context, id string) error {
	return s.remove(ctx, id, s.log.Client.Bar)
}

func (s *Secrets) remove(ctx context.Context, id string, tombstone func(context.Context, string) error) error {
	if err := tombstone(ctx, codec.Secrets.Stream(id)); err != nil {
		return fmt.Errorf("remove secret %s: %w", id, err)
	}
	s.mu.Lock() // after the tombstone: what is read from here on is not remembered any more
	delete(s.texts, id)
	s.mu.Unlock()
	return nil
}

func (s *Secrets) remember(text codec.SecretSealed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.texts {
		if len(s.texts) < cached {
			break
		}
		delete(s.texts, id)
	}
	s.texts[text.SecretID] = text
}

// read folds a secret's stream: the sealed text with its newest wrapping, and the stream's end.
func (s *Secrets) read(ctx context.Context, id string) (codec.SecretSealed, codec.End, error) {
	var text codec.SecretSealed
	reader := s.log.Reader(codec.Secrets.Stream(id), codec.Begin)
	for more := true; more; {
		var events []codec.Verified
		var err error
		events, more, err = reader.Next(ctx, 256)
		if errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrStreamDeleted) {
			return text, codec.Begin, fmt.Errorf("%w: %s", ErrGone, id)
		}
		if err != nil {
			return text, codec.Begin, fmt.Errorf("read secret %s: %w", id, err)
		}
		for _, e := range events {
			switch e := e.Event.(type) {
			case codec.SecretSealed:
				text = e
			case codec.SecretRewrapped:
				text.Wrapping = e.Wrapping
			}
		}
	}
	end := reader.End()
	if text.SecretID != id {
		// A whole event copied here from another stream fails its signature; this is a stream without a
		// text.
		return text, end, fmt.Errorf("%w: %s", ErrGone, id)
	}
	return text, end, nil
}

// Roll wraps every live secret with the ring's current master key and returns how many it changed.
// It passes over the log until a pass finds none left. The sealed texts never change. Its error
// names secrets that were altered in the log, after the others were changed.
func (s *Secrets) Roll(ctx context.Context, signed codec.Signed) (int, error) {
	changed, damaged := 0, map[string]error{}
	for {
		ids, err := s.list(ctx)
		if err != nil {
			return changed, err
		}
		left := 0
		for _, id := range ids {
			found, wrote, err := s.rollOne(ctx, signed, id)
			if _, broken := errors.AsType[*codec.ForgedError](err); broken {
				damaged[id] = err
				continue
			}
			if err != nil {
				return changed, err
			}
			if found {
				left++
			}
			if wrote {
				changed++
			}
		}
		if left == 0 {
			return changed, errors.Join(slices.Collect(maps.Values(damaged))...)
		}
	}
}

// Wrapped counts the live secrets that a master key wraps.
func (s *Secrets) Wrapped(ctx context.Context, masterKeyID string) (n int, err error) {
	ids, err := s.list(ctx)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		text, _, err := s.read(ctx, id)
		switch {
		case errors.Is(err, ErrGone):
		case err != nil:
			return n, err
		case text.Wrapping.MasterKeyID == masterKeyID:
			n++
		}
	}
	return n, nil
}

// rollOne reports whether a secret was wrapped with another key, and whether this call changed
// that.
func (s *Secrets) rollOne(ctx context.Context, signed codec.Signed, id string) (found, wrote bool, err error) {
	text, end, err := s.read(ctx, id)
	if errors.Is(err, ErrGone) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	binding := Binding{
		SecretID: id, Organization: text.OrganizationID, Purpose: Purpose(text.Purpose), Owner: text.Owner,
	}
	wrapping, fresh, err := s.ring.Rewrap(binding, text.Wrapping)
	if err != nil || !fresh {
		return false, false, err
	}
	signed.Organization = text.OrganizationID
	_, err = s.log.Write(
		ctx, codec.Secrets.Stream(id), end, codec.SecretRewrapped{SecretID: id, Wrapping: wrapping}, signed,
	)
	switch {
	case errors.Is(err, eventstore.ErrWrongRevision): // another process rolls too: the next pass looks again
		return true, false, nil
	case errors.Is(err, eventstore.ErrStreamDeleted):
		return false, false, nil
	case err != nil:
		return true, false, fmt.Errorf("rewrap secret %s: %w", id, err)
	}
	s.mu.Lock()
	delete(s.texts, id)
	s.mu.Unlock()
	return true, true, nil
}

// list finds every secret that was ever written by walking the log up to its present end.
func (s *Secrets) list(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, err := s.log.Client.SubscribeAll(ctx, 0, eventstore.Filter{Types: `^secret\.sealed\.`})
	if err != nil {
		return nil, fmt.Errorf("list the secrets: %w", err)
	}
	defer sub.Close() //nolint:errcheck // reading is over
	var ids []string
	for {
		item, err := sub.Next()
		if err != nil {
			return nil, fmt.Errorf("list the secrets: %w", err)
		}
		if item.Event != nil {
			if category, id := codec.Split(item.Event.Stream); category == codec.Secrets {
				ids = append(ids, id)
			}
		}
		if item.CaughtUp {
			return ids, nil
		}
	}
}
