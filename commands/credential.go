package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

const (
	maxCredentialBytes  = 16_384
	maxCredentialFields = 16
)

// NewCredential checks a credential as it was given, a string or an object of named strings, and returns it as
// the JSON text that comes back on a fetch.
func NewCredential(raw []byte) (domain.Secret, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		if len(text) < 1 || len(text) > maxCredentialBytes {
			return domain.Secret{}, domain.Invalid("credential", fmt.Sprintf("it must have 1 to %d bytes", maxCredentialBytes))
		}
		return encodeSecret(text)
	}
	var fields map[string]string
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return domain.Secret{}, domain.Invalid("credential", "it must be a string or an object of named strings")
	}
	size := 0
	for name, value := range fields {
		if name == "" || value == "" {
			return domain.Secret{}, domain.Invalid("credential", "its fields must have a name and a value")
		}
		size += len(name) + len(value)
	}
	if len(fields) == 0 || len(fields) > maxCredentialFields || size > maxCredentialBytes {
		return domain.Secret{}, domain.Invalid("credential", fmt.Sprintf("it must have 1 to %d fields and at most %d bytes", maxCredentialFields, maxCredentialBytes))
	}
	return encodeSecret(fields)
}

func encodeSecret(v any) (domain.Secret, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return domain.Secret{}, errors.New("encode a credential")
	}
	return domain.NewSecret(raw), nil
}

// vault writes and removes the secrets that commands refer to.
type vault struct {
	secrets *seal.Secrets
	clock   func() time.Time
}

// between writes a secret between two decisions: check decides without effect, then the secret is written, then do decides
// for good on its id. One whose event was refused after all is removed. Without a secret there is only do, with "".
func (v vault) between(ctx context.Context, m loop.Meta, owner string, secret domain.Secret, check, do func(secretID string) error) error {
	if secret.Empty() {
		return do("")
	}
	if m.Since == 0 {
		if err := check(loop.DerivedID(m.CommandID, "secret").String()); err != nil {
			return err
		}
	}
	id, err := v.put(ctx, m, owner, secret)
	if err != nil {
		return err
	}
	err = do(id)
	if isRefusal(err) {
		v.drop(ctx, id)
	}
	return err
}

// put writes a credential before the event that refers to it, and returns its id. A command that is carried out
// again finds what it wrote; where that was removed, because the command was refused before, it writes another.
func (v vault) put(ctx context.Context, m loop.Meta, owner string, credential domain.Secret) (string, error) {
	signed := codec.Signed{
		Organization: m.Organization, Actor: m.Actor, CommandID: m.CommandID.String(), RequestID: m.RequestID,
		Time: loop.Later(v.clock(), time.Time{}),
	}
	for what := "secret"; ; what += " again" {
		id := loop.DerivedID(m.CommandID, what).String()
		err := v.secrets.Put(ctx, signed, credentialBinding(m.Organization, owner, id), credential)
		if m.Since == 0 || !errors.Is(err, eventstore.ErrStreamDeleted) {
			return id, loop.Refusal(err)
		}
	}
}

// drop removes a secret whose event was refused after all. What can't be removed now is unreferenced and will be
// removed later.
func (v vault) drop(ctx context.Context, id string) {
	_ = v.secrets.Remove(context.WithoutCancel(ctx), id)
}
