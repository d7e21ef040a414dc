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

// TokenLifetime is how long a service token works if nobody says how long.
const TokenLifetime = 90 * 24 * time.Hour

// NewToken is a service token that somebody wants. Its name and note are as they were typed.
type NewToken struct {
	Name, Note string
	Role       domain.Role
	ExpiresAt  *time.Time // nil: after TokenLifetime
	Never      bool       // it does not expire, whatever ExpiresAt says
	Alone      bool       // every other one ends with it
	By         organization.Giver
}

// IssuedToken is a service token. The call that drew it shows its text once; it is empty where an
// earlier call drew it.
type IssuedToken struct {
	OrganizationResult
	Token organization.Token
	Text  string
}

// CreateToken makes a service token of the organization of m.
func (o *Organizations) CreateToken(ctx context.Context, m loop.Meta, wanted NewToken) (IssuedToken, error) {
	name, err := operatorName(wanted.Name)
	if err != nil {
		return IssuedToken{}, err
	}
	note, err := tokenNote(wanted.Note)
	if err != nil {
		return IssuedToken{}, err
	}
	carried, err := o.carried(m.Organization)
	if err != nil {
		return IssuedToken{}, err
	}
	draft, err := keys.Draw()
	if err != nil {
		return IssuedToken{}, err
	}
	tokenID := loop.DerivedID(m.CommandID, "token").String()
	create := func(sealed string) loop.Build[organization.State, organization.Command] {
		return func(s organization.State, at time.Time) (organization.Command, error) {
			_, key, err := draft.Key(keys.Service, carried, s.NextToken)
			return organization.CreateToken{
				Number: s.NextToken, TokenID: tokenID, Sealed: sealed, Role: wanted.Role, Hash: key.Hash(),
				ExpiresAt: wanted.end(at), Alone: wanted.Alone, By: wanted.By, At: at,
			}, err
		}
	}
	if m.Since == 0 { // what was carried out before must not be refused now
		if err := o.Loop.Check(ctx, m.Organization, create("")); err != nil {
			return IssuedToken{}, err
		}
	}
	done, err := sealingName(ctx, o.Privacy, m.Organization, tokenID, seal.Named{Name: name, Note: note},
		func(sealed string) (OrganizationResult, error) {
			return o.Loop.Do(ctx, m.Organization, m, create(sealed))
		})
	if err != nil {
		return IssuedToken{}, err
	}
	out := IssuedToken{OrganizationResult: done, Token: done.State.Tokens[tokenID]}
	text, key, err := draft.Key(keys.Service, carried, out.Token.Number)
	if err != nil {
		return IssuedToken{}, err
	}
	if key.Matches(out.Token.Hash) {
		out.Text = text
	}
	return out, nil
}

// Until reads when the token shall expire: a time in RFC 3339, never, or "" for TokenLifetime.
func (n *NewToken) Until(typed string) error {
	n.Never = typed == "never"
	if n.Never || typed == "" {
		return nil
	}
	at, err := words.Time(typed)
	if err != nil {
		return domain.Invalid("expires_at", "it must be a time in RFC 3339, such as 2026-12-31T00:00:00Z, or never")
	}
	n.ExpiresAt = new(at.Truncate(time.Microsecond))
	return nil
}

// end is when the token that is wanted stops working, nil for never.
func (n NewToken) end(now time.Time) *time.Time {
	switch {
	case n.Never:
		return nil
	case n.ExpiresAt == nil:
		return new(now.Add(TokenLifetime).Truncate(time.Second))
	}
	return n.ExpiresAt
}

func tokenNote(typed string) (string, error) {
	note := strings.TrimSpace(typed)
	if err := words.Line(note); err != nil {
		return "", domain.Invalid("note", err.Error())
	}
	if utf8.RuneCountInString(note) > 500 {
		return "", domain.Invalid("note", "it must have at most 500 characters")
	}
	return note, nil
}

// carried is the id that the tokens of an organization carry: none for the first one.
func (o *Organizations) carried(organization string) (uuid.UUID, error) {
	id, err := uuid.Parse(organization)
	if err != nil {
		return uuid.Nil, domain.Invalid("organization", "it must be the id of an organization")
	}
	if id.String() == o.First {
		return uuid.Nil, nil
	}
	return id, nil
}

// Prefix is how the text of a service token begins, which tells it apart from the others that work.
func (o *Organizations) Prefix(organization string, t organization.Token) string {
	id, err := o.carried(organization)
	if err != nil {
		return string(keys.Service)
	}
	return keys.Prefix(keys.Service, id, t.Number)
}

// RevokeToken ends a service token of the organization of m at once, on every process.
func (o *Organizations) RevokeToken(
	ctx context.Context, m loop.Meta, tokenID string, by organization.Giver,
) (OrganizationResult, error) {
	return o.Loop.Do(ctx, m.Organization, m, func(_ organization.State, at time.Time) (organization.Command, error) {
		return organization.RevokeToken{TokenID: tokenID, By: by, At: at}, nil
	})
}
