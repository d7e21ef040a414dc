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
func openTwin(
	ctx context.Context, b seal.Binding, open func(context.Context, seal.Binding) (domain.Secret, error),
) (domain.Secret, error) {
	secret, err := open(ctx, b)
	if err == nil || errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, context.Canceled) {
		return secret, err
	}
	second, other := open(ctx, twin(b))
	if other != nil {
		return domain.Secret{}, err
	}
	return second, nil
}

func removeTwins(ctx context.Context, secrets *seal.Secrets, secretID string) error {
	return errors.Join(secrets.Remove(ctx, secretID), secrets.Remove(ctx, twinID(secretID)))
}

// LostCopies names the streams of the installation's own secrets that are gone or don't open. Of
// those in one the other copy is in use; of those in both neither opens.
func (i *Installation) LostCopies(ctx context.Context) (one, both []string, err error) {
	key := i.SigningKeys.set().SigningKey
	looked := map[string]bool{} // the first MAC key may be that of the key that signs
	for _, b := range []seal.Binding{
		signingBinding(i.Begun, key), macBinding(i.Begun, key), macBinding(i.Begun, i.Begun.SigningKey),
		checkpointBinding(i.Begun),
	} {
		if looked[b.SecretID] {
			continue
		}
		looked[b.SecretID] = true
		var lost []string
		for _, b := range []seal.Binding{b, twin(b)} {
			_, err := i.Secrets.OpenStored(ctx, b)
			if errors.Is(err, eventstore.ErrUnavailable) {
				return one, both, err
			}
			if err != nil {
				lost = append(lost, codec.Secrets.Stream(b.SecretID))
			}
		}
		if len(lost) == 2 {
			both = append(both, lost...)
		} else {
			one = append(one, lost...)
		}
	}
	return one, both, nil
}
