package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/domain/organization"
)

type tokenCommand struct {
	New    tokenNew    `cmd:"" help:"Print a token for AGENTKEY_ADMIN_TOKEN. It isn't stored."`
	Create tokenCreate `cmd:"" help:"Create a service token and print it once."`
	List   tokenList   `cmd:"" help:"List the service tokens of an organization, newest first."`
	Revoke tokenRevoke `cmd:"" help:"Revoke a service token. It stops working at once, in every process."`
}

// byOperator gives what is done at the command line.
var byOperator = organization.Giver{Operator: true}

type tokenNew struct{}

// Run prints a fresh token.
func (tokenNew) Run(sh *shell) error {
	text, _, err := keys.New(keys.Service, uuid.Nil, organization.ConfiguredToken)
	if err == nil {
		_, err = fmt.Fprintln(sh.stdout, text)
	}
	return err
}

// ofOrganization chooses an organization for a command.
type ofOrganization struct {
	Organization string `help:"The organization's id. Without it, the first organization."`
}

func (c ofOrganization) id(o *office) string {
	return cmp.Or(c.Organization, o.inst.Begun.OrganizationID)
}

type tokenCreate struct {
	ofOrganization
	Name    string `required:"" help:"Who or what uses the token."`
	Role    string `required:"" enum:"owner,admin,approver,auditor,viewer" help:"owner, admin, approver, auditor or viewer."`
	Note    string `help:"What the token is for."`
	Expires string `default:"90d" help:"When it expires: after so long, such as 90d or 12h, at a time in RFC 3339, or never."`
}

// Run creates a service token.
func (c *tokenCreate) Run(sh *shell) error {
	wanted := commands.NewToken{Name: c.Name, Note: c.Note, Role: domain.Role(c.Role), By: byOperator}
	if err := expiring(&wanted, c.Expires, time.Now()); err != nil {
		return err
	}
	return inOffice(sh, func(ctx context.Context, o *office) error {
		made, err := o.organizations().CreateToken(ctx, o.meta(c.id(o)), wanted)
		if err == nil {
			_, err = fmt.Fprintln(sh.stdout, made.Text)
		}
		return misused(err)
	})
}

// expiring reads the flag that says when a token expires.
func expiring(n *commands.NewToken, typed string, now time.Time) error {
	after, err := time.ParseDuration(typed)
	if count, days := strings.CutSuffix(typed, "d"); days {
		var n int
		n, err = strconv.Atoi(count)
		after = time.Duration(n) * 24 * time.Hour
		if n < 0 || n > 36500 {
			err = errors.New("out of range")
		}
	}
	if err == nil {
		if after <= 0 {
			return usageError{errors.New("--expires must be in the future")}
		}
		n.ExpiresAt = new(now.Add(after).UTC().Truncate(time.Second))
		return nil
	}
	if err := n.Until(typed); err != nil {
		return usageError{fmt.Errorf(
			"--expires %q is neither a length such as 90d or 12h, nor a time such as 2026-12-31T00:00:00Z, nor never", typed,
		)}
	}
	return nil
}

type tokenRevoke struct {
	ofOrganization
	ID string `arg:"" help:"The token's id, as agentkey token list prints it."`
}

// Run revokes a service token.
func (c *tokenRevoke) Run(sh *shell) error {
	return inOffice(sh, func(ctx context.Context, o *office) error {
		done, err := o.organizations().RevokeToken(ctx, o.meta(c.id(o)), c.ID, byOperator)
		if refusal, refused := errors.AsType[*domain.Error](err); refused && refusal.Kind == domain.KindNotFound {
			return usageError{fmt.Errorf(
				"there is no token %s; agentkey token list prints those of an organization", c.ID,
			)}
		}
		if err != nil {
			return misused(err)
		}
		word := "Revoked"
		if !done.Changed {
			word = "It was revoked before:"
		}
		_, err = fmt.Fprintf(sh.stdout, "%s %s\n", word, c.ID)
		return err
	})
}

type tokenList struct {
	ofOrganization
	JSON bool `help:"Print JSON."`
}

// listedToken is a service token as the list prints it.
type listedToken struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"` // empty: erased, or it can't be opened
	Note       string      `json:"note,omitempty"`
	Role       domain.Role `json:"role"`
	Prefix     string      `json:"prefix"`
	CreatedAt  time.Time   `json:"created_at"`
	CreatedBy  listedBy    `json:"created_by"`
	LastUsedAt time.Time   `json:"last_used_at,omitzero"`
	ExpiresAt  time.Time   `json:"expires_at,omitzero"`
	RevokedAt  time.Time   `json:"revoked_at,omitzero"`

	unread bool // its name can't be opened
}

// listedBy is who created a token.
type listedBy struct {
	domain.Actor
	Name string `json:"name,omitempty"` // of a service token
}

// Run lists the service tokens.
func (c *tokenList) Run(sh *shell) error {
	return inOffice(sh, func(ctx context.Context, o *office) error {
		listed, err := o.tokens(ctx, c.id(o))
		if err != nil {
			return err
		}
		if c.JSON {
			encoder := json.NewEncoder(sh.stdout)
			encoder.SetIndent("", "  ")
			return encoder.Encode(listed)
		}
		return printTokens(sh.stdout, listed, time.Now())
	})
}

func (o *office) tokens(ctx context.Context, id string) ([]listedToken, error) {
	organizations := o.organizations()
	head, err := organizations.Loop.Fresh(ctx, id)
	if err != nil {
		return nil, err
	}
	if !head.State.Exists {
		return nil, usageError{fmt.Errorf("there is no organization %s", id)}
	}
	all := head.State.AllTokens()
	slices.Reverse(all)
	ids := make([]string, len(all))
	for i, t := range all {
		ids[i] = t.ID
	}
	warn := func(what string, err error) {
		o.logger.WarnContext(
			ctx, "something of a service token can't be read", slog.String("what", what), slog.String("error", err.Error()),
		)
	}
	used, err := commands.NewUses(o.inst.Log, time.Now, newID, warn).Last(ctx, ids)
	if err != nil {
		return nil, err
	}
	listed := make([]listedToken, len(all))
	names := map[string]string{}
	for i, t := range all {
		named, err := o.privacy.OpenName(ctx, id, t.ID, t.Sealed)
		if err != nil { // the list still says which tokens work
			warn("the name of the service token "+t.ID+" can't be read", err)
		}
		names[t.ID] = named.Name
		listed[i] = listedToken{
			ID: t.ID, Name: named.Name, Note: named.Note, Role: t.Role, Prefix: organizations.Prefix(id, t),
			CreatedAt: t.CreatedAt, CreatedBy: listedBy{Actor: t.CreatedBy}, LastUsedAt: used[t.ID],
			ExpiresAt: t.ExpiresAt, RevokedAt: t.RevokedAt, unread: err != nil,
		}
	}
	for i, t := range all {
		listed[i].CreatedBy.Name = names[t.CreatedBy.ID]
	}
	return listed, nil
}

func printTokens(w io.Writer, listed []listedToken, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tNAME\tROLE\tPREFIX\tCREATED\tBY\tLAST USED\tSTATUS") // Flush says what fails
	for _, t := range listed {
		status := "works, never expires"
		switch {
		case !t.RevokedAt.IsZero():
			status = "revoked " + minute(t.RevokedAt)
		case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
			status = "expired " + minute(t.ExpiresAt)
		case !t.ExpiresAt.IsZero():
			status = "works until " + minute(t.ExpiresAt)
		}
		name := cmp.Or(t.Name, "(erased)")
		if t.unread {
			name = "(unreadable)"
		}
		_, _ = fmt.Fprintf(
			table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, name, t.Role, t.Prefix, minute(t.CreatedAt),
			cmp.Or(t.CreatedBy.Name, t.CreatedBy.ID), minute(t.LastUsedAt), status,
		)
	}
	return table.Flush()
}

// minute prints a time for people.
func minute(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

type adminCommand struct {
	Login   adminLogin   `cmd:"" help:"Print a link that signs a browser in as an owner, once and within five minutes."`
	Recover adminRecover `cmd:"" help:"Create an owner token and print it once, as when no token of an owner is left."`
}

type adminRecover struct {
	ofOrganization
	RevokeOthers bool   `help:"Revoke every other service token of the organization, as after a theft."`
	Expires      string `default:"90d" help:"When it expires: after so long, such as 90d or 12h, at a time in RFC 3339, or never."`
}

// Run creates an owner token.
func (c *adminRecover) Run(sh *shell) error {
	wanted := commands.NewToken{Name: "recovered", Role: domain.RoleOwner, Alone: c.RevokeOthers, By: byOperator}
	if err := expiring(&wanted, c.Expires, time.Now()); err != nil {
		return err
	}
	return inOffice(sh, func(ctx context.Context, o *office) error {
		made, err := o.organizations().CreateToken(ctx, o.meta(c.id(o)), wanted)
		if err != nil {
			return misused(err)
		}
		if _, err := fmt.Fprintln(sh.stdout, made.Text); err != nil || !c.RevokeOthers {
			return err
		}
		ended := 0
		for _, e := range made.Events {
			if _, is := e.(organization.TokenRevoked); is {
				ended++
			}
		}
		_, err = fmt.Fprintf(sh.stderr, "Revoked %d other tokens.\n", ended)
		return err
	})
}
