package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/eventstore/seal"
)

// TestTheOperatorRecoversAnotherOrganization gets an owner of it back, and ends its other tokens
// alone.
func TestTheOperatorRecoversAnotherOrganization(t *testing.T) {
	t.Parallel()
	p := startProcess(t, unlimited...)
	stranger := p.organization("Another", "owner")
	me := stranger.must(200, "GET", "/api/admin/me", nil)
	code, recovered, said := runCommand(
		t, p.env, "admin", "recover", "--revoke-others", "--organization", me.Text("organization.id"),
	)
	if code != exitOK || !strings.Contains(said, "Revoked 1 other tokens.") {
		t.Fatalf("recover: %d %s", code, said)
	}
	stranger.refused(401, "credentials_unknown", "GET", "/api/admin/me", nil)
	again := p.with(strings.TrimSpace(recovered)).must(200, "GET", "/api/admin/me", nil)
	if again.Text("organization.id") != me.Text("organization.id") || again.Text("role") != "owner" {
		t.Errorf("recovered: %s", again.Body)
	}
	p.admin().must(200, "GET", "/api/admin/me", nil)
	if code, _, said := runCommand(t, p.env, "admin", "recover", "--organization", newID().String()); code == exitOK ||
		!strings.Contains(said, "There is no such organ") {
		t.Errorf("of an organization that there isn't: %d %s", code, said)
	}
}

// TestTheListShowsTokensWhoseNamesDoNotOpen: which tokens work is what the operator has to know.
func TestTheListShowsTokensWhoseNamesDoNotOpen(t *testing.T) {
	t.Parallel()
	p := startProcess(t, unlimited...)
	p.office(func(ctx context.Context, o *office) error {
		id := o.inst.Begun.OrganizationID
		tokenID := newID().String()
		altered := func(s organization.State, at time.Time) (organization.Command, error) {
			return organization.CreateToken{
				Number: s.NextToken, TokenID: tokenID, Sealed: "altered", Role: domain.RoleOwner, Hash: "00",
				By: byOperator, At: at,
			}, nil
		}
		_, err := o.organizations().Loop.Do(ctx, id, o.meta(id), altered)
		if err == nil {
			_, _, err = o.privacy.SealName(ctx, id, tokenID, seal.Named{Name: "another text"})
		}
		return err
	})
	code, table, said := runCommand(t, p.env, "token", "list")
	if code != exitOK || !strings.Contains(table, "(unreadable)") || !strings.Contains(table, "first admin token") ||
		!strings.Contains(said, "can't be read") {
		t.Errorf("%d\n%s%s", code, table, said)
	}
}
