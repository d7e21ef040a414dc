package commands

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// Without one of the installation's own secrets nothing can be signed, so each is in the log twice,
// in two streams. Both copies are rewrapped and removed together; the second one is read where the
// first is gone or doesn't open.

// twin is the binding of the second copy of a secret.
func twin(b seal.Binding) seal.Binding {
	b.SecretID = twinID(b.SecretID)
	return b
}

func twinID(secretID string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("agentkey.twin/"+secretID)).String()
}

func putTwins(
	ctx context.Context, secrets *seal.Secrets, signed codec.Signed, b seal.Binding, plaintext domain.Secret,
) error {
	if err := secrets.Put(ctx, signed, b, plaintext); err != nil {
		return err
	}
	return secrets.Put(ctx, signed, twin(b), plaintext)
}

// openTwin opens one of the two copies. Its error is that of the first.
func openTwin(b seal.Binding, open func(seal.Binding) (domain.Secret, error)) (domain.Secret, error) {
	secret, err := open(b)
	if err == nil || errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, context.Canceled) {
		return secret, err
	}
	second, other := open(twin(b))
	if other != nil {
		return domain.Secret{}, err
	}
	return second, nil
}

func removeTwins(ctx context.Context, secrets *seal.Secrets, secretID string) error {
	return errors.Join(secrets.Remove(ctx, secretID), secrets.Remove(ctx, twinID(secretID)))
}

// LostCopies names the secrets of the installation of which one copy is gone or doesn't open. The
// other one is in use.
func (i *Installation) LostCopies(ctx context.Context) ([]string, error) {
	key := i.SigningKeys.set().SigningKey
	var lost []string
	for _, b := range []seal.Binding{
		signingBinding(i.Begun, key), macBinding(i.Begun, key), macBinding(i.Begun, i.Begun.SigningKey),
		checkpointBinding(i.Begun),
	} {
		for _, b := range []seal.Binding{b, twin(b)} {
			_, err := i.Secrets.OpenStored(ctx, b)
			if errors.Is(err, eventstore.ErrUnavailable) {
				return lost, err
			}
			if err != nil {
				lost = append(lost, b.SecretID)
			}
		}
	}
	return lost, nil
}
