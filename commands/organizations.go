package commands

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/commands/loop"
	"agentkey/commands/words"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/eventstore/seal"
)

// Organizations carries out what an operator does to organizations and their service tokens.
type Organizations struct {
	Loop    *OrganizationLoop
	Privacy *seal.Privacy
	First   string // the id of the one whose tokens carry none
}

// Create makes an organization and returns its id.
func (o *Organizations) Create(ctx context.Context, m loop.Meta, name string) (string, error) {
	name, err := operatorName(name)
	if err != nil {
		return "", err
	}
	id := loop.DerivedID(m.CommandID, "organization").String()
	m.Organization = id
	_, err = o.Loop.Do(ctx, id, m, func(organization.State, time.Time) (organization.Command, error) {
		return organization.Create{Name: name}, nil
	})
	return id, err
}

// operatorName returns a name that an operator typed, as it is stored.
func operatorName(typed string) (string, error) {
	name := strings.TrimSpace(typed)
	if err := words.Name(name); err != nil {
		return "", domain.Invalid("name", err.Error())
	}
	if n := utf8.RuneCountInString(name); n < 2 || n > 120 {
		return "", domain.Invalid("name", "it must have 2 to 120 characters")
	}
	return name, nil
}

// IssuedToken is a service token. The call that drew it shows its text once; it is empty where an
// earlier call drew it.
type IssuedToken struct {
	OrganizationResult
	Text string
}

// CreateToken makes a service token of the organization of m.
func (o *Organizations) CreateToken(
	ctx context.Context, m loop.Meta, name string, role domain.Role,
) (IssuedToken, error) {
	name, err := operatorName(name)
	if err != nil {
		return IssuedToken{}, err
	}
	id, err := uuid.Parse(m.Organization)
	if err != nil {
		return IssuedToken{}, domain.Invalid("organization", "it must be the id of an organization")
	}
	carried := id
	if id.String() == o.First {
		carried = uuid.Nil
	}
	draft, err := keys.Draw()
	if err != nil {
		return IssuedToken{}, err
	}
	tokenID := loop.DerivedID(m.CommandID, "token").String()
	create := func(sealed string) loop.Build[organization.State, organization.Command] {
		return func(s organization.State, _ time.Time) (organization.Command, error) {
			_, key, err := draft.Key(keys.Service, carried, s.NextToken)
			return organization.CreateToken{
				Number: s.NextToken, TokenID: tokenID, Sealed: sealed, Role: role, Hash: key.Hash(),
			}, err
		}
	}
	if err := o.Loop.Check(ctx, m.Organization, create("")); err != nil {
		return IssuedToken{}, err
	}
	done, err := sealingName(ctx, o.Privacy, m.Organization, tokenID, name,
		func(sealed string) (OrganizationResult, error) {
			return o.Loop.Do(ctx, m.Organization, m, create(sealed))
		})
	if err != nil {
		return IssuedToken{}, err
	}
	out := IssuedToken{OrganizationResult: done}
	for _, e := range done.Events {
		created, ok := e.(organization.TokenCreated)
		if !ok {
			continue
		}
		text, key, err := draft.Key(keys.Service, carried, created.Number)
		if err != nil {
			return IssuedToken{}, err
		}
		if key.Matches(created.Hash) {
			out.Text = text
		}
	}
	return out, nil
}
