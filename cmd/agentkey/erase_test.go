package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

const (
	holder  = "Ada Lovelace's laptop"
	browser = "canary-browser/19.3"
	address = "192.0.2.77"
	owned   = "owner@example.com"
)

// inMarch lets the holder of a token register an agent, and seals what is known of the call under
// the key of a day in March 2026, as a server of that time would have.
func (p *program) inMarch(organization, token string) {
	p.t.Helper()
	p.office(func(ctx context.Context, o *office) error {
		privacy := seal.NewPrivacy(
			o.inst.Secrets, func() time.Time { return time.Date(2026, 3, 5, 14, 3, 0, 0, time.UTC) },
		)
		agents := commands.Agents{
			Loop: commands.NewAgentLoop(o.inst.Env(time.Now, sealer(privacy), nil)), Privacy: o.privacy, Log: o.inst.Log,
			MACKey: o.inst.MACKey, Clock: time.Now,
		}
		_, err := agents.Register(ctx, loop.Meta{
			Organization: organization, Actor: domain.Actor{Type: domain.ActorService, ID: token}, CommandID: newID(),
			RequestID: "call-in-march", Address: address, UserAgent: browser,
		}, commands.NewAgent{Name: "Old bot", Owner: owned})
		return err
	})
}

// stored is everything that the log holds: the types, data and metadata of its events.
func (p *program) stored() []byte {
	p.t.Helper()
	var all bytes.Buffer
	p.office(func(ctx context.Context, o *office) error {
		return walk(ctx, o.client, func(e eventstore.Recorded) error {
			for _, part := range [][]byte{[]byte(e.Stream), []byte(e.Type), e.Data, e.Metadata} {
				all.Write(append(part, '\n'))
			}
			return nil
		})
	})
	return all.Bytes()
}

// shown is everything that an auditor gets: the audit as a list and in each form of an export, and
// the reports.
func (p *program) shown() []byte {
	p.t.Helper()
	var all bytes.Buffer
	for _, path := range []string{
		"/api/admin/audit?action=agent.registered", "/api/admin/audit?action=service_token.created",
		auditExport + "jsonl", auditExport + "csv", auditExport + "ocsf", auditExport + "bundle", "/api/admin/agents",
		"/api/admin/grants", "/api/admin/reports/access-review", "/api/admin/reports/decisions",
	} {
		all.Write(p.admin().must(200, "GET", path, nil).Body)
	}
	return all.Bytes()
}

func (p *program) bundle(file string) string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), file)
	if code, out, failed := p.audit("export", path, "--url", p.URL); code != 0 {
		p.t.Fatal(out, failed)
	}
	return path
}

// TestErasureKeepsTheProof erases a month and the name of a token while two replicas serve, one
// with its rows in SQLite and one in Postgres.
func TestErasureKeepsTheProof(t *testing.T) {
	t.Parallel()
	server := ownLog(t, "it searches the files of the log")
	master, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	shared := append([]string{"AGENTKEY_EVENTSTORE_URL=" + server.url(), "AGENTKEY_MASTER_KEYS=" + master}, unlimited...)
	p := start(t, shared...)
	other := start(t, append(shared, "AGENTKEY_DATABASE_URL="+startPostgres(t).URL)...)
	other.Token = p.Token
	both := []*program{p, other}
	admin := p.admin()
	here := admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	ada := p.with(p.shell("token", "create", "--organization", here, "--name", holder, "--role", "admin"))
	me := ada.must(200, "GET", "/api/admin/me", nil)
	if me.Text("actor.label") != holder {
		t.Fatalf("the token is called %s", me.Body)
	}
	token := me.Text("actor.id")
	tool := ada.mustTool("GitHub", "ghp_secret")
	agent, key := ada.mustAgent("Release bot")
	ada.must(200, "POST", "/api/admin/requests/"+p.with(key).mustRequest(tool)+"/approve", nil)
	p.inMarch(here, token)
	var old string
	for _, p := range both {
		wait.Until(t, "both know of March", func() bool {
			entries := p.admin().must(200, "GET", "/api/admin/audit?action=agent.registered&limit=1", nil).Items()
			if len(entries) == 1 {
				old, _ = entries[0]["agent_id"].(string)
			}
			return len(entries) == 1 && old != agent
		})
	}
	owner := ""
	p.office(func(ctx context.Context, o *office) error {
		head, err := commands.NewAgentLoop(o.env).Fresh(ctx, old)
		owner = head.State.OwnerID
		return err
	})

	admin.mustBeCovered("Before")
	for _, p := range both {
		for _, canary := range []string{holder, browser, address, owned} {
			if !bytes.Contains(p.shown(), []byte(canary)) {
				t.Errorf("nobody is shown %s", canary)
			}
		}
		if found := p.admin().must(200, "GET", "/api/admin/agents?q=Wner@ex", nil); len(found.Items()) != 1 {
			t.Errorf("by its owner is found: %s", found.Body)
		}
	}
	erased := []string{
		p.keyOf(here, seal.PrivateKey, "2026-03-05"), p.keyOf(here, seal.PersonKey, token),
		p.keyOf(here, seal.PersonKey, owner),
	}
	for _, canary := range erased {
		if !holdsText(t, server.dir, canary) {
			t.Fatalf("the key %s isn't in the files", canary)
		}
	}
	lines := admin.must(200, "GET", auditExport+"jsonl", nil).Body
	before := p.bundle("before.zip")

	people := "/api/admin/people/"
	ada.refused(403, "role_insufficient", "DELETE", people+token, nil)
	p.with(key).refused(403, "wrong_caller", "DELETE", people+token, nil)
	for _, nobody := range []string{newID().String(), agent, "x", here} {
		admin.refused(404, "not_found", "DELETE", people+nobody, nil)
	}
	p.organization("Another", "owner").refused(404, "not_found", "DELETE", people+token, nil)
	p.misuses(map[string][]string{
		"such as 2026-03":             {"--month", "2026-13", "--reason", "it is over"},
		"The field month":             {"--month", "march", "--reason", "it is over"},
		"a year and a month":          {"--month", "2026-03-05", "--reason", "it is over"},
		"has not begun":               {"--month", "2999-01", "--reason", "it is over"},
		"2 to 500 characters":         {"--month", "2026-03", "--reason", " "},
		"missing flags: --reason":     {"--month", "2026-03"},
		"There is no such organizati": {"--month", "2026-03", "--reason", "it is over", "--organization", newID().String()},
	})

	first := admin.must(204, "DELETE", people+token, nil)
	again := admin.must(204, "DELETE", people+token, nil)
	if first.Header.Get("X-Event-Position") != again.Header.Get("X-Event-Position") {
		t.Errorf("a repeat is recorded: %v %v", first.Header, again.Header)
	}
	if me := ada.must(200, "GET", "/api/admin/me", nil); me.At("actor.label") != nil {
		t.Errorf("the token works and is called %s", me.Body)
	}
	admin.must(204, "DELETE", people+owner, nil)
	month := []string{"privacy", "erase", "--month", "2026-03", "--reason", "its time is over"}
	if said := p.shell(month...); !strings.Contains(said, "through 2026-03-31 for the organization "+here+": 1 days") {
		t.Errorf("the command says %s", said)
	}
	if said := p.shell(append(month, "--organization", here)...); !strings.Contains(said, "erased before") {
		t.Errorf("a repeat says %s", said)
	}
	for _, p := range both {
		wait.Until(t, "blank", func() bool { // within the minute in which a key is trusted
			text := p.admin().must(200, "GET", "/api/admin/audit?action=agent.registered", nil).Body
			agents := p.admin().must(200, "GET", "/api/admin/agents", nil).Body
			return !bytes.Contains(text, []byte(holder)) && !bytes.Contains(text, []byte(browser)) &&
				!bytes.Contains(agents, []byte(owned))
		})
		if found := p.admin().must(200, "GET", "/api/admin/agents?q="+owned, nil); len(found.Items()) != 0 {
			t.Errorf("an owner who was erased is found: %s", found.Body)
		}
		if is := p.admin().must(200, "GET", "/api/admin/agents/"+old, nil); is.Text("owner.id") != owner {
			t.Errorf("the owner is nobody: %s", is.Body)
		}
		for _, canary := range []string{holder, browser, address, owned} {
			if bytes.Contains(p.shown(), []byte(canary)) {
				t.Errorf("somebody is shown %s", canary)
			}
		}
		for action, n := range map[string]int{"person.erased": 2, "privacy.month_erased": 1} {
			entries := p.admin().must(200, "GET", "/api/admin/audit?action="+action, nil)
			if len(entries.Items()) != n || bytes.Contains(entries.Body, []byte("Unknown")) {
				t.Errorf("%s: %s", action, entries.Body)
			}
		}
	}
	entry := answer{JSON: admin.must(200, "GET", "/api/admin/audit?action=privacy.month_erased", nil).Items()[0]}
	if entry.At("data.days_removed") != 1.0 || entry.Text("data.reason") != "its time is over" ||
		entry.Text("actor.label") != whoRuns() || entry.Text("target.label") != "Default" {
		t.Errorf("the audit says %v", entry.JSON)
	}

	// What was, is: a token that is named no more is still a token, and history is the same.
	ada.must(200, "POST", "/api/admin/agents/"+agent+"/suspend", nil)
	admin.mustBeCovered("After")
	if after := admin.must(200, "GET", auditExport+"jsonl", nil).Body; !bytes.HasPrefix(after, lines) {
		t.Error("the lines of before are other lines now")
	}
	after := p.bundle("after.zip")
	wait.Until(t, "the other's ledger has come as far", func() bool {
		own := admin.must(200, "GET", checkpointPath, nil).Body
		return bytes.Equal(other.admin().call("GET", checkpointPath, nil).Body, own)
	})
	for _, bundle := range []string{before, after} {
		for _, replica := range both {
			if code, out, failed := p.audit("verify", bundle, "--live", replica.URL); code != 0 {
				t.Errorf("%s: %s%s", bundle, out, failed)
			}
		}
	}
	text := p.stored()
	for _, canary := range []string{holder, browser, address, owned} {
		if bytes.Contains(text, []byte(canary)) {
			t.Errorf("an event holds %s in clear", canary)
		}
	}
	for _, replica := range both {
		replica.settled()
		replica.stop()
		replica.compareWithRebuild()
		for table, rows := range replica.tables() {
			for _, row := range rows {
				for _, canary := range []string{holder, browser, address, owned} {
					if strings.Contains(row, canary) {
						t.Errorf("a row of %s: %s", table, row)
					}
				}
			}
		}
	}
	server.stop()
	for _, canary := range erased {
		if holdsText(t, server.dir, canary) {
			t.Errorf("the key %s is still in the files", canary)
		}
	}
}

// misuses are erasures that the command refuses, by what it says.
func (p *program) misuses(cases map[string][]string) {
	p.t.Helper()
	for says, args := range cases {
		code, out, failed := runCommand(p.t, p.env, append([]string{"privacy", "erase"}, args...)...)
		if code == exitOK || out != "" || !strings.Contains(failed, says) {
			p.t.Errorf("%v: %d, want %q: %s%s", args, code, says, out, failed)
		}
	}
}

// keyOf is the sealed text of the key that seals personal data of a day or a person.
func (p *program) keyOf(organization string, purpose seal.Purpose, owner string) (text string) {
	p.t.Helper()
	p.office(func(ctx context.Context, o *office) error {
		return walk(ctx, o.client, func(e eventstore.Recorded) error {
			if category, _ := codec.Split(e.Stream); category != codec.Secrets {
				return nil
			}
			event, err := codec.Decode(e.Type, e.Data)
			if s, ok := event.(codec.SecretSealed); ok && s.OrganizationID == organization &&
				s.Purpose == string(purpose) && s.Owner == owner {
				text = s.Sealed
			}
			return err
		})
	})
	if text == "" {
		p.t.Fatalf("there is no key of %s", owner)
	}
	return text
}

// holdsText reports whether a file below a folder holds a text.
func holdsText(t testing.TB, dir, text string) (found bool) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(dir, path))
		found = found || bytes.Contains(raw, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
