package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"agentkey/commands/loop"
	"agentkey/commands/words"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

const (
	maxCredentialBytes  = 16_384
	maxCredentialFields = 16
)

// NewCredential checks a credential as it was given, a string or an object of named strings, and
// returns it as the JSON text that comes back on a fetch.
func NewCredential(raw []byte) (domain.Secret, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		if len(text) < 1 || len(text) > maxCredentialBytes {
			return domain.Secret{}, domain.Invalid(
				"credential", fmt.Sprintf("it must have 1 to %d bytes", maxCredentialBytes),
			)
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
		if err := words.Name(name); err != nil {
			return domain.Secret{}, domain.Invalid("credential", "in the name of one of its fields, "+err.Error())
		}
		size += len(name) + len(value)
	}
	if len(fields) == 0 || len(fields) > maxCredentialFields || size > maxCredentialBytes {
		return domain.Secret{}, domain.Invalid(
			"credential",
			fmt.Sprintf("it must have 1 to %d fields and at most %d bytes", maxCredentialFields, maxCredentialBytes),
		)
	}
	return encodeSecret(fields)
}

// partsOf returns the names of the parts of a credential that NewCredential made.
func partsOf(credential domain.Secret) domain.Parts {
	var fields map[string]json.RawMessage
	if json.Unmarshal(credential.Reveal(), &fields) != nil {
		return nil // it is one string, or there is none
	}
	return slices.Sorted(maps.Keys(fields))
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

// proposal is a command that may bring a secret.
type proposal[S, C, E any] struct {
	loop   *loop.Loop[S, C, E]
	stream string        // the id in its name
	owner  string        // of the secret
	secret domain.Secret // empty: it brings none

	// do carries the command out as loop.Do does.
	do func(ctx context.Context, m loop.Meta, build loop.Build[S, C]) (loop.Result[S, E], error)

	// spare reports whether the events name no secret after all; nil: they always do.
	spare func(events []E) bool

	// gather finds what the decision needs beside the state that it falls on, and tries a command made
	// of that. What it finds may be too little: then it gathers more and tries again.
	gather func(ctx context.Context, try func(making[S, C]) error) error
}

// making makes a command. It runs once for each round, so it must have no effect. secretID is ""
// without a secret.
type making[S, C any] func(s S, secretID string, at time.Time) (C, error)

// carryOut decides a proposal. A secret is written between two decisions: the first has no effect,
// the second falls on the secret's id. A secret whose event was refused after all, or doesn't name
// it, is removed.
func carryOut[S, C, E any](
	ctx context.Context, v vault, m loop.Meta, p proposal[S, C, E],
) (done loop.Result[S, E], err error) {
	try := func(secretID string, do func(loop.Build[S, C]) error) error {
		return p.gather(ctx, func(command making[S, C]) error {
			return do(func(s S, at time.Time) (C, error) { return command(s, secretID, at) })
		})
	}
	secretID := ""
	if !p.secret.Empty() {
		if m.Since == 0 {
			check := func(b loop.Build[S, C]) error { return p.loop.Check(ctx, p.stream, b) }
			if err := try(loop.DerivedID(m.CommandID, "secret").String(), check); err != nil {
				return done, err
			}
		}
		secretID, err = v.put(ctx, m, "secret", p.secret, func(id string) seal.Binding {
			return credentialBinding(m.Organization, p.owner, id)
		})
		if err != nil {
			return done, err
		}
	}
	err = try(secretID, func(b loop.Build[S, C]) error {
		done, err = p.do(ctx, m, b)
		return err
	})
	if secretID != "" && (isRefusal(err) || err == nil && p.spare != nil && p.spare(done.Events)) {
		v.drop(ctx, secretID)
	}
	return done, err
}

// put writes a secret before the event that refers to it, and returns its id, which derives from
// the command and from what the secret is. A command that is carried out again finds what it wrote;
// where that was removed, because the command was refused before, it writes another.
func (v vault) put(
	ctx context.Context, m loop.Meta, what string, secret domain.Secret, binding func(id string) seal.Binding,
) (string, error) {
	signed := codec.Signed{
		Organization: m.Organization, Actor: m.Actor, OnBehalfOf: m.OnBehalfOf, CommandID: m.CommandID.String(),
		RequestID: m.RequestID, Time: loop.Later(v.clock(), time.Time{}),
	}
	for ; ; what += " again" {
		id := loop.DerivedID(m.CommandID, what).String()
		err := v.secrets.Put(ctx, signed, binding(id), secret)
		if !errors.Is(err, eventstore.ErrStreamDeleted) {
			return id, loop.Refusal(err)
		}
	}
}

// drop removes a secret whose event was refused after all. What can't be removed now is
// unreferenced and will be removed later.
func (v vault) drop(ctx context.Context, id string) {
	_ = v.secrets.Remove(context.WithoutCancel(ctx), id)
}
