package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
	"agentkey/integrations/oidc/oidctest"
)

// someone is a person with an account at an identity provider.
func someone(p *oidctest.Provider, subject, email string, more ...any) string {
	claims := map[string]any{
		"sub": subject, "aud": "agentkey", "email": email, "email_verified": true, "name": "The " + subject,
	}
	for i := 0; i < len(more); i += 2 {
		claims[more[i].(string)] = more[i+1] //nolint:forcetypeassert // the tests name them
	}
	return p.Token(claims)
}

func signsInAt(p *oidctest.Provider, more ...string) []string {
	return append([]string{"AGENTKEY_OIDC_ISSUER=" + p.URL, "AGENTKEY_OIDC_AUDIENCE=agentkey"}, more...)
}

// decider is who did what the one entry of a list is about.
func decider(list answer) map[string]any {
	for _, item := range list.Items() {
		actor, _ := item["actor"].(map[string]any)
		return actor
	}
	return nil
}

// TestAMemberComesAndGoes invites a person, who decides something and is removed, at two replicas.
func TestAMemberComesAndGoes(t *testing.T) {
	t.Parallel()
	server := ownLog(t, "two processes share a log of their own")
	master, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	provider := oidctest.New(t)
	shared := append([]string{"AGENTKEY_EVENTSTORE_URL=" + server.url(), "AGENTKEY_MASTER_KEYS=" + master}, unlimited...)
	shared = append(shared, signsInAt(provider)...)
	p, other := start(t, shared...), start(t, shared...)
	owner := p.admin()

	ada := p.with(someone(provider, "ada", "Ada@Example.com"))
	ada.refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	invitation := owner.must(201, "POST", "/api/admin/invitations", object{"email": " ada@EXAMPLE.com", "role": "admin"})
	if got := invitation.Text("email"); got != "ada@EXAMPLE.com" {
		t.Errorf("the invitation is for %q", got)
	}
	for name, claims := range map[string][]any{
		"of another address": {"email", "eve@example.com"},
		"not verified":       {"email_verified", false},
		"of no address":      {"email", nil},
		"alike":              {"email", "ad\u0430@example.com"}, // a Cyrillic letter
	} {
		p.with(someone(provider, "mallory", "ada@example.com", claims...)).
			refused(403, "not_a_member", "GET", "/api/admin/me", nil, "X-Case", name)
	}
	me := ada.must(200, "GET", "/api/admin/me", nil)
	id := me.Text("actor.id")
	if me.Text("actor.type") != "human" || me.Text("actor.label") != "The ada" || me.Text("role") != "admin" {
		t.Errorf("Ada is %s", me.Body)
	}
	if got := owner.must(200, "GET", "/api/admin/invitations", nil).Items(); len(got) != 0 {
		t.Errorf("an accepted invitation is still there: %v", got)
	}
	again := other.with(someone(provider, "ada", "ada@example.com")).must(200, "GET", "/api/admin/me", nil)
	if again.Text("actor.id") != id {
		t.Errorf("Ada is %s, and %s at the second sign-in", id, again.Text("actor.id"))
	}
	listed := owner.must(200, "GET", "/api/admin/members", nil).Items()
	if len(listed) != 1 || listed[0]["id"] != id || listed[0]["email"] != "ada@example.com" ||
		listed[0]["status"] != "active" {
		t.Errorf("the members are %v", listed)
	}
	wait.Until(t, "her call is noted", func() bool {
		seen, _ := owner.must(200, "GET", "/api/admin/members", nil).Items()[0]["last_seen_at"].(string)
		at, err := time.Parse(time.RFC3339, seen)
		return err == nil && time.Since(at).Abs() < time.Hour
	})

	agent, key := owner.mustAgent("Builder")
	tool := owner.mustTool("GitHub", "ghp_1")
	request := p.with(key).mustRequest(tool)
	ada.must(200, "POST", "/api/admin/requests/"+request+"/approve", object{})
	entry := owner.must(200, "GET", "/api/admin/audit?action=grant.approved&agent_id="+agent, nil)
	if got := decider(entry); got["label"] != "The ada" || got["type"] != "human" || got["id"] != id {
		t.Errorf("the audit says of the decision: %s", entry.Body)
	}

	ada.refused(403, "not_a_member", "GET", "/api/admin/me", nil, "X-Organization", newID().String())
	ada.refused(403, "not_a_member", "GET", "/api/admin/me", nil, "X-Organization", "our competitors")
	ada.must(200, "GET", "/api/admin/me", nil, "X-Organization", me.Text("organization.id"))

	then := strconv.FormatUint(p.seen.Load(), 10)

	// Her role counts from the next call on, wherever that is.
	elsewhere := other.with(someone(provider, "ada", "ada@example.com"))
	elsewhere.must(200, "GET", "/api/admin/audit", nil)
	owner.must(200, "PATCH", "/api/admin/members/"+id, object{"role": "viewer"})
	elsewhere.refused(403, "role_insufficient", "GET", "/api/admin/audit", nil)
	elsewhere.must(200, "GET", "/api/admin/agents", nil)
	elsewhere.refused(
		403, "role_insufficient", "POST", "/api/admin/invitations", object{"email": "x@example.com", "role": "viewer"},
	)

	// A membership that has ended lets nobody in whose token is still valid.
	owner.must(204, "DELETE", "/api/admin/members/"+id, nil)
	elsewhere.refused(403, "not_a_member", "GET", "/api/admin/agents", nil)
	owner.must(204, "DELETE", "/api/admin/members/"+id, nil)
	owner.must(201, "POST", "/api/admin/invitations", object{"email": "ada@example.com", "role": "auditor"})
	back := elsewhere.must(200, "GET", "/api/admin/me", nil)
	if back.Text("actor.id") != id || back.Text("role") != "auditor" {
		t.Errorf("Ada comes back as %s", back.Body)
	}
	elsewhere.must(204, "DELETE", "/api/admin/members/"+id, nil) // she leaves

	if got := owner.must(200, "GET", "/api/admin/members", nil).Items(); len(got) != 0 {
		t.Errorf("the members are %v", got)
	}
	past := owner.must(200, "GET", "/api/admin/members?as_of="+then, nil).Items()
	if len(past) != 1 || past[0]["id"] != id || past[0]["role"] != "admin" {
		t.Errorf("the members were %v", past)
	}

	// What is known of her goes; what she decided stays.
	owner.must(204, "DELETE", "/api/admin/people/"+id, nil)
	p.restart() // no process remembers a key for a minute
	entry = p.admin().must(200, "GET", "/api/admin/audit?action=grant.approved&agent_id="+agent, nil)
	if got := decider(entry); got["id"] != id || got["label"] != "Someone who was erased" ||
		strings.Contains(string(entry.Body), "127.0.0.1") {
		t.Errorf("the audit says of who was erased: %s", entry.Body)
	}
	p.admin().must(201, "POST", "/api/admin/invitations", object{"email": "ada@example.com", "role": "viewer"})
	newcomer := p.with(someone(provider, "ada", "ada@example.com")).must(200, "GET", "/api/admin/me", nil)
	if newcomer.Text("actor.id") == id || newcomer.Text("actor.label") != "The ada" {
		t.Errorf("who was erased comes back as %s", newcomer.Body)
	}
}

// TestTheLastOwnerStays tries every way to leave an organization without an owner.
func TestTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	for _, name := range []string{"ada", "bob"} {
		p.admin().must(201, "POST", "/api/admin/invitations", object{"email": name + "@example.com", "role": "owner"})
	}
	ada, bob := p.with(someone(provider, "ada", "ada@example.com")), p.with(someone(provider, "bob", "bob@example.com"))
	me := "/api/admin/members/" + ada.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	ada.refused(409, "last_owner", "DELETE", me, nil)
	bobs := "/api/admin/members/" + bob.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	bob.must(204, "DELETE", bobs, nil)
	ada.refused(409, "last_owner", "DELETE", me, nil)
	ada.refused(409, "last_owner", "PATCH", me, object{"role": "admin"})
	p.admin().refused(409, "last_owner", "DELETE", me, nil)
	p.admin().refused(409, "last_owner", "DELETE", "/api/admin/people/"+strings.TrimPrefix(me, "/api/admin/members/"), nil)
	ada.must(200, "GET", "/api/admin/me", nil)
}

// TestAnIssuerMakesMembers lets a verified claim for the organization make members.
func TestAnIssuerMakesMembers(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(
		provider, "AGENTKEY_OIDC_CLAIM_ORGANIZATION=o.id", "AGENTKEY_OIDC_CLAIM_ROLE=o.rol",
		"AGENTKEY_OIDC_ROLES=boss=owner,dev=approver", "AGENTKEY_OIDC_PROVISION=true", "AGENTKEY_OIDC_DEFAULT_ROLE=viewer",
	), unlimited...)...)
	owner := p.admin()
	at := time.Now().Add(-time.Minute)
	as := func(subject, organization, role string) client {
		at = at.Add(time.Second)
		return p.with(someone(
			provider, subject, subject+"@example.com", "iat", at.Unix(), "o", map[string]any{"id": organization, "rol": role},
		))
	}
	as("ada", "org_acme", "dev").refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	owner.must(200, "PATCH", "/api/admin/organization", object{"external_id": "org_acme"})
	old := as("ada", "org_acme", "dev")
	me := old.must(200, "GET", "/api/admin/me", nil)
	if me.Text("role") != "approver" {
		t.Errorf("Ada is %s", me.Body)
	}
	as("eve", "org_other", "boss").refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	as("eve", "Org_Acme", "boss").refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	as("ada", "org_other", "dev").refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	nameless := p.with(someone(provider, "ada", "ada@example.com"))
	if a := nameless.call("GET", "/api/admin/me", nil); a.Status != 401 && a.Status != 403 {
		t.Errorf("a member's token that names no organization is answered %d: %s", a.Status, a.Body)
	}
	if got := as("bob", "org_acme", "intern").must(200, "GET", "/api/admin/me", nil).Text("role"); got != "viewer" {
		t.Errorf("who has no role of ours is %s", got)
	}

	// The role follows the provider, and an older token doesn't bring it back.
	if got := as("ada", "org_acme", "boss").must(200, "GET", "/api/admin/me", nil).Text("role"); got != "owner" {
		t.Errorf("the boss is %s", got)
	}
	if got := old.must(200, "GET", "/api/admin/me", nil).Text("role"); got != "owner" {
		t.Errorf("with an older token the boss is %s", got)
	}
	bob := owner.must(200, "GET", "/api/admin/members", nil).Items()
	i := slices.IndexFunc(bob, func(m map[string]any) bool { return m["name"] == "The bob" })
	if i < 0 || bob[i]["provisioned"] != true {
		t.Fatalf("the members are %v", bob)
	}
	path := "/api/admin/members/" + bob[i]["id"].(string) //nolint:forcetypeassert // an id
	owner.must(200, "PATCH", path, object{"role": "auditor"})
	if got := as("bob", "org_acme", "boss").must(200, "GET", "/api/admin/me", nil).Text("role"); got != "auditor" {
		t.Errorf("who was made an auditor by hand is %s", got)
	}
	owner.must(204, "DELETE", path, nil)
	as("bob", "org_acme", "boss").refused(403, "not_a_member", "GET", "/api/admin/me", nil)
}

// TestOneExternalIDOneOrganization has two organizations of two claims.
func TestOneExternalIDOneOrganization(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(
		provider, "AGENTKEY_OIDC_CLAIM_ORGANIZATION=org_id", "AGENTKEY_OIDC_PROVISION=true",
		"AGENTKEY_OIDC_DEFAULT_ROLE=admin",
	), unlimited...)...)
	second := strings.TrimSpace(p.shell("organization", "create", "Second"))
	there := p.with(p.shell("token", "create", "--organization", second, "--name", "CI", "--role", "owner"))
	p.admin().must(200, "PATCH", "/api/admin/organization", object{"external_id": "one"})
	there.refused(400, "validation_failed", "PATCH", "/api/admin/organization", object{"external_id": "one"})
	there.must(200, "PATCH", "/api/admin/organization", object{"external_id": "two", "name": "Renamed"})
	ada := p.with(someone(provider, "ada", "ada@example.com", "org_id", "two"))
	me := ada.must(200, "GET", "/api/admin/me", nil)
	if me.Text("organization.id") != second || me.Text("organization.name") != "Renamed" {
		t.Errorf("Ada is in %s", me.Body)
	}
	here := p.with(someone(provider, "ada", "ada@example.com", "org_id", "one")).must(200, "GET", "/api/admin/me", nil)
	if here.Text("organization.id") == second || here.Text("actor.id") == me.Text("actor.id") {
		t.Errorf("with another claim Ada is %s", here.Body)
	}
	p.admin().must(200, "PATCH", "/api/admin/organization", object{"external_id": nil})
	p.with(someone(provider, "ada", "ada@example.com", "org_id", "one")).
		refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	there.must(200, "PATCH", "/api/admin/organization", object{"external_id": "one"})
	moved := p.with(someone(provider, "ada", "ada@example.com", "org_id", "one")).must(200, "GET", "/api/admin/me", nil)
	if moved.Text("organization.id") != second {
		t.Errorf("the claim that moved leads to %s", moved.Body)
	}
}

// TestTokensThatAreNotTaken has the errors of tokens that aren't taken.
func TestTokensThatAreNotTaken(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	p.admin().must(201, "POST", "/api/admin/invitations", object{"email": "ada@example.com", "role": "owner"})
	for name, token := range map[string]string{
		"of another audience": someone(provider, "ada", "ada@example.com", "aud", "other"),
		"of a stranger":       someone(oidctest.New(t), "ada", "ada@example.com"),
		"no token":            "hello",
	} {
		a := p.with(token).call("GET", "/api/admin/me", nil)
		if a.Status != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("a token %s: status %d: %s", name, a.Status, a.Body)
		}
	}
	late := someone(
		provider, "ada", "ada@example.com", "exp", time.Now().Add(-time.Hour).Unix(), "iat",
		time.Now().Add(-2*time.Hour).Unix(),
	)
	p.with(late).refused(401, "credentials_expired", "GET", "/api/admin/me", nil)
	provider.Down(true)
	p.with(someone(provider, "ada", "ada@example.com")).must(200, "GET", "/api/admin/me", nil) // its keys are known
	p.with(someone(provider, "ada", "ada@example.com")).refused(403, "wrong_caller", "GET", "/api/me", nil)

	gone := oidctest.New(t)
	gone.Down(true)
	p = start(t, append(signsInAt(gone), unlimited...)...)
	p.with(someone(gone, "ada", "ada@example.com")).refused(503, "issuer_unavailable", "GET", "/api/admin/me", nil)
	p.admin().must(200, "GET", "/api/admin/me", nil)
}

// TestNoIssuerSpeaksForAnothersOrganization has two issuers that call an organization the same.
func TestNoIssuerSpeaksForAnothersOrganization(t *testing.T) {
	t.Parallel()
	ours, theirs := oidctest.New(t), oidctest.New(t)
	config := filepath.Join(t.TempDir(), "agentkey.yaml")
	text := "oidc:\n"
	for _, issuer := range []string{ours.URL, theirs.URL} {
		text += "  - {issuer: \"" + issuer + "\", audience: agentkey, claim_organization: org_id, claim_role: role, " +
			"roles: boss=owner, provision: true}\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, append([]string{"AGENTKEY_CONFIG=" + config}, unlimited...)...)
	owner := p.admin()
	owner.refused(400, "validation_failed", "PATCH", "/api/admin/organization", object{"external_id": "acme"})
	owner.refused(
		400, "validation_failed", "PATCH", "/api/admin/organization",
		object{"external_id": "acme", "external_issuer": "https://other.example"},
	)
	is := owner.must(
		200, "PATCH", "/api/admin/organization", object{"external_id": "acme", "external_issuer": ours.URL},
	)
	if is.Text("external_issuer") != ours.URL {
		t.Errorf("the organization is %s", is.Body)
	}
	claims := []any{"org_id", "acme", "role", "boss"}
	p.with(someone(theirs, "ada", "ada@example.com", claims...)).refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	p.with(someone(ours, "ada", "ada@example.com", claims...)).must(200, "GET", "/api/admin/me", nil)
	p.with(someone(theirs, "ada", "ada@example.com", claims...)).refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	owner.must(201, "POST", "/api/admin/invitations", object{"email": "bob@example.com", "role": "owner"})
	p.with(someone(theirs, "bob", "bob@example.com", claims...)).refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	p.with(someone(ours, "bob", "bob@example.com", claims...)).must(200, "GET", "/api/admin/me", nil)
}

// TestAPersonHasSeveralOrganizations chooses among them, by token and by cookie.
func TestAPersonHasSeveralOrganizations(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	p.admin().must(201, "POST", "/api/admin/invitations", object{"email": "ada@example.com", "role": "owner"})
	second := p.organization("Second", "owner")
	second.must(201, "POST", "/api/admin/invitations", object{"email": "ada@example.com", "role": "viewer"})
	ada := p.with(someone(provider, "ada", "ada@example.com"))
	first, there := p.admin().at("organization.id"), second.at("organization.id")
	a := ada.refused(403, "not_a_member", "GET", "/api/admin/me", nil)
	if !strings.Contains(a.Text("detail"), first) || !strings.Contains(a.Text("detail"), there) {
		t.Errorf("who was invited twice is told %s", a.Body)
	}
	ada.must(200, "GET", "/api/admin/me", nil, "X-Organization", first)
	if role := ada.must(200, "GET", "/api/admin/me", nil, "X-Organization", there).Text("role"); role != "viewer" {
		t.Errorf("in the second one Ada is %s", role)
	}
	ada.must(200, "GET", "/api/admin/me", nil)
	third := ada.must(201, "POST", "/api/admin/organizations", object{"name": "Third"}).Text("id")
	ada.refused(
		403, "role_insufficient", "POST", "/api/admin/organizations", object{"name": "Fourth"}, "X-Organization", third,
	)
	if role := ada.must(200, "GET", "/api/admin/me", nil, "X-Organization", third).Text("role"); role != "owner" {
		t.Errorf("in the one that she made Ada is %s", role)
	}
	b := p.page()
	b.must(204, "POST", "/auth/session", object{"token": someone(provider, "ada", "ada@example.com")})
	var names []string
	for _, o := range b.must(200, "GET", "/api/admin/organizations", nil).Items() {
		names = append(names, o["name"].(string)) //nolint:forcetypeassert // a name
	}
	if !slices.Equal(names, []string{"Default", "Second", "Third"}) {
		t.Errorf("her organizations are %v", names)
	}
	if id := b.must(200, "GET", "/api/admin/me", nil, "X-Organization", third).Text("organization.id"); id != third {
		t.Errorf("the cookie leads to %s", id)
	}
	b.refused(403, "not_a_member", "GET", "/api/admin/me", nil, "X-Organization", newID().String())
	if got := p.admin().must(200, "GET", "/api/admin/organizations", nil).Items(); len(got) != 1 {
		t.Errorf("the organizations of a token are %v", got)
	}
}

// at is a part of what the caller is.
func (c client) at(path string) string {
	c.t.Helper()
	return c.must(200, "GET", "/api/admin/me", nil).Text(path)
}
