package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

const serviceTokens = "/api/admin/service-tokens"

// newToken makes a service token over the API.
func (c client) newToken(name, role string, more ...any) (id, secret string) {
	c.t.Helper()
	body := object{"name": name, "role": role}
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1] //nolint:forcetypeassert // the tests name them
	}
	made := c.must(http.StatusCreated, "POST", serviceTokens, body)
	return made.Text("token.id"), made.Text("secret")
}

// listedAs returns what the list says of a token.
func (c client) listedAs(id string) map[string]any {
	c.t.Helper()
	for _, item := range c.must(200, "GET", serviceTokens+"?limit=200", nil).Items() {
		if item["id"] == id {
			return item
		}
	}
	c.t.Fatalf("the token %s isn't listed", id)
	return nil
}

// TestAServiceTokenHasALife creates, lists, uses and revokes tokens at two replicas.
func TestAServiceTokenHasALife(t *testing.T) {
	t.Parallel()
	server := ownLog(t, "two processes share a log of their own")
	master, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	shared := append([]string{"AGENTKEY_EVENTSTORE_URL=" + server.url(), "AGENTKEY_MASTER_KEYS=" + master}, unlimited...)
	p := start(t, shared...)
	other := start(t, shared...)
	owner := p.admin()

	id, secret := owner.newToken("Dashboard", "admin", "note", "the page of the office")
	is := owner.listedAs(id)
	expires, _ := time.Parse(time.RFC3339, fmt.Sprint(is["expires_at"]))
	if left := time.Until(expires); left < 89*24*time.Hour || left > 90*24*time.Hour {
		t.Errorf("by default it expires in %s", left)
	}
	if prefix, _ := is["prefix"].(string); is["name"] != "Dashboard" || is["note"] != "the page of the office" ||
		is["role"] != "admin" || is["last_used_at"] != nil || is["revoked_at"] != nil || prefix == "" ||
		!strings.HasPrefix(secret, prefix) || !strings.HasSuffix(prefix, "_") {
		t.Errorf("it is listed as %v", is)
	}
	for _, p := range []*program{p, other} {
		if me := p.with(secret).must(200, "GET", "/api/admin/me", nil); me.Text("role") != "admin" ||
			me.Text("actor.label") != "Dashboard" {
			t.Errorf("its holder is %s", me.Body)
		}
	}
	wait.Until(t, "its use is noted", func() bool { return owner.listedAs(id)["last_used_at"] != nil })
	noted := owner.listedAs(id)["last_used_at"]
	p.with(secret).must(200, "GET", "/api/admin/agents", nil)
	elsewhere := p.organization("Elsewhere", "owner") // all uses are noted together
	later, its := elsewhere.newToken("Later", "viewer")
	p.with(its).must(200, "GET", "/api/admin/agents", nil)
	wait.Until(t, "a later use is noted", func() bool { return elsewhere.listedAs(later)["last_used_at"] != nil })
	if again := owner.listedAs(id)["last_used_at"]; again != noted {
		t.Errorf("a use within the hour is noted too: %v after %v", again, noted)
	}

	// Nobody makes or ends what may do more than they may.
	admin := p.with(secret)
	admin.refused(403, "role_insufficient", "POST", serviceTokens, object{"name": "x1", "role": "owner"})
	admin.refused(
		403, "role_insufficient", "POST", serviceTokens, object{"name": "x1", "role": "auditor", "expires_at": "never"},
	)
	within := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339) }
	admin.newToken("For a year", "auditor", "expires_at", within(365*24*time.Hour))
	admin.refused(403, "role_insufficient", "POST", serviceTokens, object{
		"name": "x1", "role": "auditor", "expires_at": within(367 * 24 * time.Hour),
	})
	first := owner.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	admin.refused(403, "role_insufficient", "DELETE", serviceTokens+"/"+first, nil)
	owner.refused(409, "last_owner", "DELETE", serviceTokens+"/"+first, nil)
	auditor, auditing := admin.newToken("Auditor", "auditor", "expires_at", time.Now().Add(time.Hour).Format(time.RFC3339))
	if by := owner.listedAs(auditor)["created_by"]; !strings.Contains(fmt.Sprint(by), "Dashboard") {
		t.Errorf("an admin's was made by %v", by)
	}
	p.with(auditing).must(200, "GET", serviceTokens, nil)
	p.with(auditing).refused(403, "role_insufficient", "POST", serviceTokens, object{"name": "x1", "role": "auditor"})
	p.with(auditing).refused(403, "role_insufficient", "DELETE", serviceTokens+"/"+id, nil)
	_, agentKey := owner.mustAgent("Onboarding")
	p.with(agentKey).refused(403, "wrong_caller", "GET", serviceTokens, nil)
	second, _ := owner.newToken("Second owner", "owner", "expires_at", "never")
	if is := owner.listedAs(second); is["expires_at"] != nil {
		t.Errorf("one that never expires is %v", is)
	}

	// It ends at once, everywhere, and once; so does what it follows.
	followed := other.with(auditing).follow(adminEvents)
	for range 2 {
		admin.must(204, "DELETE", serviceTokens+"/"+auditor, nil)
		for _, p := range []*program{other, p} {
			p.with(auditing).refused(401, "credentials_unknown", "GET", "/api/admin/me", nil)
		}
	}
	if told := followed.until("error"); told[len(told)-1].Data["code"] != "credentials_unknown" {
		t.Errorf("a stream of it ends with %v", told)
	}
	if is := owner.listedAs(auditor); is["revoked_at"] == nil || is["name"] != "Auditor" {
		t.Errorf("once revoked it is %v", is)
	}
	soon := time.Now().Add(2 * time.Second).Format(time.RFC3339Nano)
	_, short := owner.newToken("Soon over", "auditor", "expires_at", soon)
	p.with(short).must(200, "GET", "/api/admin/me", nil)
	wait.Until(t, "it has expired", func() bool { return p.with(short).call("GET", "/api/admin/me", nil).Status == 401 })
	other.with(short).refused(401, "credentials_expired", "GET", "/api/admin/me", nil)
	owner.must(204, "DELETE", serviceTokens+"/"+second, nil)
	owner.refused(409, "last_owner", "DELETE", serviceTokens+"/"+first, nil)

	// The list has pages, and holds no secret.
	var paged []string
	for next := serviceTokens + "?limit=2"; next != ""; {
		page := owner.must(200, "GET", next, nil)
		for _, item := range page.Items() {
			paged = append(paged, fmt.Sprint(item["name"]))
		}
		if next = ""; page.Text("next_cursor") != "" {
			next = serviceTokens + "?limit=2&cursor=" + page.Text("next_cursor")
		}
	}
	if want := []string{
		"Soon over", "Second owner", "Auditor", "For a year", "Dashboard", "first admin token",
	}; !slices.Equal(paged, want) {
		t.Errorf("page by page: %v", paged)
	}
	all := owner.must(200, "GET", serviceTokens, nil).Body
	for _, s := range []string{secret, auditing, short, p.Token} {
		if bytes.Contains(all, []byte(s[strings.LastIndex(s, "_")+1:])) {
			t.Error("the list shows a secret")
		}
	}
	stranger := p.organization("Another", "owner")
	a := stranger.refused(404, "not_found", "DELETE", serviceTokens+"/"+id, nil)
	if !strings.Contains(a.Text("hint"), "GET "+serviceTokens) {
		t.Errorf("of a token that isn't theirs they are told %s", a.Body)
	}
	if names := fmt.Sprint(stranger.must(200, "GET", serviceTokens, nil).Items()); strings.Contains(names, "Dashboard") {
		t.Errorf("another organization sees %s", names)
	}
}

// TestATokenIsShownOnce repeats the call that makes one.
func TestATokenIsShownOnce(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	body := object{"name": "CI", "role": "auditor"}
	made := p.admin().must(201, "POST", serviceTokens, body, "Idempotency-Key", "ci")
	again := p.admin().must(201, "POST", serviceTokens, body, "Idempotency-Key", "ci")
	if again.Text("token.id") != made.Text("token.id") || made.Text("secret") == "" || again.Text("secret") != "" {
		t.Errorf("again: %s", again.Body)
	}
	if made.Header.Get("Cache-Control") != "no-store, private" {
		t.Error("the answer with the secret may be stored")
	}
	for field, body := range map[string]object{
		"expires_at": {"name": "CI", "role": "auditor", "expires_at": "tomorrow"},
		"role":       {"name": "CI", "role": "janitor"},
		"name":       {"name": " ", "role": "auditor"},
		"note":       {"name": "CI", "role": "auditor", "note": strings.Repeat("x", 501)},
	} {
		a := p.admin().refused(400, "validation_failed", "POST", serviceTokens, body)
		if !strings.Contains(string(a.Body), `"field":"`+field+`"`) {
			t.Errorf("%s: %s", field, a.Body)
		}
	}
	for _, never := range []string{"9999-12-31T23:59:59-01:00", "2030-01-01T00:00:00,5Z"} {
		a := p.admin().refused(
			400, "validation_failed", "POST", serviceTokens, object{"name": "CI", "role": "auditor", "expires_at": never},
		)
		if !strings.Contains(string(a.Body), "a time in RFC 3339") {
			t.Errorf("%s: %s", never, a.Body)
		}
	}
	for _, over := range []string{
		"2020-01-01T00:00:00Z", "0001-01-01T00:00:00Z", time.Now().Add(-time.Second).Format(time.RFC3339),
	} {
		a := p.admin().refused(
			400, "validation_failed", "POST", serviceTokens, object{"name": "CI", "role": "auditor", "expires_at": over},
		)
		if !strings.Contains(string(a.Body), "must be in the future") {
			t.Errorf("%s: %s", over, a.Body)
		}
	}
}

// TestTheOperatorManagesTokens does it on the server, while the service runs and while it doesn't.
func TestTheOperatorManagesTokens(t *testing.T) {
	t.Parallel()
	p := startProcess(t, unlimited...)
	ci := p.shell("token", "create", "--name", "CI", "--role", "auditor", "--expires", "12h", "--note", "nightly")
	list := func() (all []listedToken) {
		t.Helper()
		if err := json.Unmarshal([]byte(p.shell("token", "list", "--json")), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	p.with(ci).must(200, "GET", "/api/admin/me", nil)
	all := list()
	if len(all) != 2 || all[0].Name != "CI" || all[0].Note != "nightly" || time.Until(all[0].ExpiresAt) > 12*time.Hour ||
		!strings.HasPrefix(ci, all[0].Prefix) || !all[1].ExpiresAt.IsZero() || all[0].CreatedBy.ID != "operator" {
		t.Errorf("listed: %+v", all)
	}
	for _, want := range []string{
		"CI", "auditor", "works until", "first admin token", "works, never expires", "operator", "installation",
	} {
		if table := p.shell("token", "list"); !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	create := func(role string, more ...string) []string {
		return append([]string{"token", "create", "--name", "CI", "--role", role}, more...)
	}
	for said, args := range map[string][]string{
		"neither a length":       create("auditor", "--expires", "soon"),
		"must be in the future":  create("auditor", "--expires=-1h"),
		"future":                 create("auditor", "--expires", "0001-01-01T00:00:00Z"),
		"nor a time such as":     create("auditor", "--expires", "9999-12-31T23:59:59-01:00"),
		"must be one of":         create("janitor"),
		"2 to 120 characters":    {"token", "create", "--name", "C", "--role", "auditor"},
		"there is no token":      {"token", "revoke", newID().String()},
		"agentkey token list":    {"token", "revoke", "CI"},
		"no organization":        {"token", "list", "--organization", newID().String()},
		"There is no such organ": create("auditor", "--organization", newID().String()),
	} {
		if code, _, stderr := runCommand(t, p.env, args...); code == exitOK || !strings.Contains(stderr, said) {
			t.Errorf("%v: %d %s", args, code, stderr)
		}
	}
	for _, word := range []string{"Revoked", "It was revoked before"} {
		if said := p.shell("token", "revoke", all[0].ID); !strings.HasPrefix(said, word) {
			t.Errorf("revoked, it says %s", said)
		}
	}
	p.with(ci).refused(401, "credentials_unknown", "GET", "/api/admin/me", nil)

	thief := p.shell("token", "create", "--name", "thief", "--role", "owner", "--expires", "never")
	p.stop()
	code, recovered, said := runCommand(t, p.env, "admin", "recover", "--revoke-others")
	if code != exitOK || !strings.Contains(said, "Revoked 2 other tokens.") {
		t.Fatalf("recover: %d %s", code, said)
	}
	p.run()
	for _, former := range []string{thief, p.Token} {
		p.with(former).refused(401, "credentials_unknown", "GET", "/api/admin/me", nil)
	}
	p.Token = strings.TrimSpace(recovered)
	if me := p.admin().must(200, "GET", "/api/admin/me", nil); me.Text("role") != "owner" {
		t.Errorf("recovered: %s", me.Body)
	}
	p.shell("token", "revoke", list()[0].ID) // the last one of an owner: the operator may
	p.admin().refused(401, "credentials_unknown", "GET", "/api/admin/me", nil)
	p.Token = p.shell("admin", "recover")
}

// TestEveryChannelHearsOfBreakGlass does on the server what nobody sees in the API, and looks who
// is told: every channel, whatever it chose, of the organization or of all.
func TestEveryChannelHearsOfBreakGlass(t *testing.T) {
	t.Parallel()
	p := startProcess(t, append([]string{toLoopback}, unlimited...)...)
	ours, theirs := startHook(t, nil), startHook(t, nil)
	p.admin().mustChannel("webhook", ours.URL, "grant_expiring")
	stranger := p.organization("Another", "owner")
	stranger.mustChannel("webhook", theirs.URL, "grant_expiring")
	told := func(h *hook, act string) int {
		n := 0
		for _, r := range h.all() {
			n += strings.Count(string(r.Body), act)
		}
		return n
	}
	today := time.Now().UTC().Format("2 January 2006 at ")
	for _, c := range []struct {
		args []string
		act  string
		all  bool
	}{
		{
			[]string{"token", "create", "--name", "CI", "--role", "auditor"},
			"with the role auditor, on " + today, false,
		},
		{[]string{"admin", "recover"}, "with the role owner, on " + today, false},
		{[]string{"keys", "add"}, "registered another master key, ", true},
		{[]string{"keys", "destroyed", ""}, "recorded that no copy of the master key ", true},
	} {
		if c.args[1] == "destroyed" {
			c.args[2] = p.dropLastMasterKey()
			c.act += c.args[2] + " is left"
		}
		p.shell(c.args...)
		wait.Until(t, "told that an operator "+c.act, func() bool {
			return told(ours, c.act) == 1 && (!c.all || told(theirs, c.act) == 1)
		})
		if !c.all && told(theirs, c.act) > 0 {
			t.Errorf("another organization is told that an operator %s", c.act)
		}
	}
	p.admin().newToken("Dashboard", "owner")
	p.admin().mustAgent("Onboarding")
	sent := p.admin().deliveries("")
	for _, d := range sent {
		if d["topic"] != "break_glass" {
			t.Errorf("it sent %v", d)
		}
	}
	if len(sent) != 4 {
		t.Errorf("%d are told", len(sent))
	}

	// What is done while the service is stopped is told at the next start.
	p.stop()
	token := p.shell("token", "new")
	p.env = append(p.env, "AGENTKEY_ADMIN_TOKEN="+token)
	p.run()
	p.Token = token
	wait.Until(t, "it hears of the configured token", func() bool {
		return told(ours, "configured the admin token ") == 1
	})
}

// dropLastMasterKey takes the key that was added last out of the data folder, and returns its id.
func (p *program) dropLastMasterKey() string {
	p.t.Helper()
	path := filepath.Join(p.Dir, masterKeyFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	lines := strings.Fields(string(raw))
	last := len(lines) - 1
	key, err := seal.ParseMasterKey(lines[last])
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Join(lines[:last], "\n")+"\n"), 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return key.ID()
}

// TestAnOperatorInTheWrongFolderMakesNothing runs commands where no installation is.
func TestAnOperatorInTheWrongFolderMakesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "typo")
	for _, args := range [][]string{
		{"token", "list"},
		{"admin", "recover"},
		{"organization", "create", "Another"},
		{"keys", "add"},
		{"keys", "sign"},
		{"privacy", "erase", "--month", "2026-03", "--reason", "it is over"},
		{"projections", "rebuild"},
		{"confirm-restore", "--keep-agents"},
	} {
		code, out, said := runCommand(t, []string{"AGENTKEY_DATA_DIR=" + dir}, args...)
		if code != exitFault || out != "" || !strings.Contains(said, "there is no installation in "+dir) ||
			!strings.Contains(said, "AGENTKEY_DATA_DIR") {
			t.Errorf("%v: %d %s%s", args, code, out, said)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%v made the folder", args)
		}
	}
}
