package main

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

const evidenceOf = "/api/admin/audit/evidence?from=%s&to=%s"

// contents are the files of an archive.
func contents(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range r.File {
		file, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(file)
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name] = string(text)
	}
	return out
}

// packed is an archive of some files.
func packed(t *testing.T, files map[string]string, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range names {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = io.WriteString(f, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// now is the time of the newest event and a little more.
func (c client) now() string {
	c.t.Helper()
	newest := c.must(200, "GET", "/api/admin/audit?limit=1", nil).Items()[0]["occurred_at"].(string)
	at, err := time.Parse(time.RFC3339Nano, newest)
	if err != nil {
		c.t.Fatal(err)
	}
	wait.Until(c.t, "that time is over", func() bool { return time.Since(at) > 2*time.Microsecond })
	return at.Add(time.Microsecond).Format(time.RFC3339Nano)
}

// TestThePeriodsEvidenceStaysTheSame makes a story, takes the evidence for it, and takes it again
// after everything has changed, by another engine, and with another signing key.
func TestThePeriodsEvidenceStaysTheSame(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	organization := admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	github, jira := admin.mustTool("=GitHub", "ghp_1"), admin.mustTool("Jira", "j_1")
	bot, key := admin.mustAgent("Bot")
	idle, idleKey := admin.mustAgent("Idle")
	request := p.with(key).mustRequest(github)
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	p.with(key).fetch(github)
	admin.mustAssign(bot, jira)
	p.with(key).fetch(jira)
	from := admin.now()

	admin.mustAssign(idle, github)
	admin.must(200, "PATCH", "/api/admin/agents/"+idle, object{"name": "Lazy"})
	denied := p.with(idleKey).mustRequest(jira)
	admin.must(200, "POST", "/api/admin/requests/"+denied+"/deny", object{"reason": "no"})
	p.with(key).fetch(github)
	admin.must(204, "DELETE", "/api/admin/agents/"+bot+"/grants/"+jira, nil)
	own := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Mail", "auth_type": "other", "credential_mode": "per_agent",
	}).Text("id")
	grants := "/api/admin/agents/" + bot + "/grants"
	admin.must(201, "POST", grants, object{"tool_id": own, "credential": "first"})
	p.with(key).fetch(own)
	admin.must(200, "PUT", grants+"/"+own+"/credential", object{"credential": "second"})
	p.with(key).fetch(own)
	live := map[string]string{}
	for _, name := range []string{"access-review", "exposure", "decisions"} {
		path := "/api/admin/reports/" + name + "?format=csv"
		if name == "decisions" {
			path += "&from=" + from
		}
		live[name+".csv"] = string(admin.must(200, "GET", path, nil).Body)
	}
	to := admin.now()
	path := fmt.Sprintf(evidenceOf, url.QueryEscape(from), url.QueryEscape(to))
	early := admin.refused(409, "not_covered_yet", "GET", path, nil)
	if at, err := time.Parse(time.RFC3339, early.Text("retry_after")); err != nil || time.Until(at) > 2*time.Minute {
		t.Errorf("to be sent again at %s: %v", early.Text("retry_after"), err)
	}
	admin.must(200, "PATCH", "/api/admin/agents/"+bot, object{"description": "what comes after the period"})
	admin.refused(409, "not_covered_yet", "GET", path, nil)
	admin.mustBeCovered("After")

	auditor := p.with(p.shell("token", "create", "--organization", organization, "--name", "audit", "--role", "auditor"))
	first := auditor.must(200, "GET", path, nil)
	files := contents(t, first.Body)
	for name, want := range live {
		if diff := cmp.Diff(want, files[name]); diff != "" {
			t.Errorf("%s isn't what the report said then (-want +got):\n%s", name, diff)
		}
	}
	rows := func(name string, columns ...string) (lines []string) {
		t.Helper()
		all, err := csv.NewReader(strings.NewReader(files[name])).ReadAll()
		if err != nil || len(all) == 0 {
			t.Fatalf("%s: %v", name, err)
		}
		for _, row := range all[1:] {
			var cells []string
			for _, c := range columns {
				cells = append(cells, row[slices.Index(all[0], c)])
			}
			lines = append(lines, strings.Join(cells, " "))
		}
		return lines
	}
	for name, c := range map[string]struct{ columns, want []string }{
		"identities.csv": {
			[]string{"agent_name", "status", "registered_by_label", "keys", "approved_tools"},
			[]string{"Lazy active first admin token 1 1", "Bot active first admin token 1 2"},
		},
		"changes.csv": {
			[]string{"agent_name", "tool_name", "change", "before_origin", "after_origin", "after_approved_by_label"},
			[]string{
				"Bot Mail given  assignment first admin token", "Lazy '=GitHub given  assignment first admin token",
				"Bot Jira ended assignment  ",
			},
		},
	} {
		if diff := cmp.Diff(c.want, rows(name, c.columns...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, control := range []string{
		"CC6.1", "CC6.2", "CC6.3", "ISO 27001 A.5.15", "ISO 27001 A.5.16", "ISO 27001 A.5.17", "ISO 27001 A.5.18",
	} {
		if !strings.Contains(files["README.txt"], control) || !strings.Contains(files["evidence.json"], control) {
			t.Errorf("nothing answers %s", control)
		}
	}

	t.Run("verify", func(t *testing.T) {
		folder := t.TempDir()
		save := func(name string, text []byte) string {
			file := filepath.Join(folder, name)
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			return file
		}
		check := func(want int, says string, args ...string) {
			t.Helper()
			if code, out, failed := p.audit(args...); code != want || !strings.Contains(out+failed, says) {
				t.Errorf("agentkey audit %v: %d, want %d and %q: %s%s", args, code, want, says, out, failed)
			}
		}
		keys := save("keys.json", p.with("").must(200, "GET", "/.well-known/agentkey-keys.json", nil).Body)
		pack := filepath.Join(folder, "pack.zip")
		get := []string{"evidence", pack, "--url", p.URL, "--from", from, "--to", to}
		check(0, "with the proof of ", get...)
		check(2, "exists already", get...)
		if text, err := os.ReadFile(pack); err != nil || !bytes.Equal(text, first.Body) {
			t.Errorf("the command writes something else: %v", err)
		}
		check(0, "OK: the entries ", "verify", pack, "--keys", keys)
		check(0, "It claims to be the evidence of the organization ", "verify", pack, "--keys", keys, "--live", p.URL)
		check(0, "OK: the entries ", "verify", save("audit.zip", []byte(files["audit.zip"])), "--keys", keys)
		check(2, "is an evidence pack", "replay", pack, "--as-of", to, "--offline")
		check(1, "must be before", "evidence", filepath.Join(folder, "x"), "--url", p.URL, "--from", to, "--to", from)
		check(2, "--to", "evidence", filepath.Join(folder, "x"), "--url", p.URL, "--from", to)

		names := []string{"README.txt"}
		for _, f := range []string{"identities", "access-review", "decisions", "changes", "exposure"} {
			names = append(names, f+".csv")
		}
		names = append(names, "audit.zip", "evidence.json")
		check(0, "OK: ", "verify", save("same.zip", packed(t, files, names...)), "--keys", keys)
		changed := maps.Clone(files)
		changed["decisions.csv"] = strings.Replace(files["decisions.csv"], "denied", "approved", 1)
		check(1, "altered: \"decisions.csv\"", "verify", save("altered.zip", packed(t, changed, names...)), "--keys", keys)
		check(1, "dropped: the file \"identities.csv\"", "verify",
			save("dropped.zip", packed(t, files, append(names[:1:1], names[2:]...)...)), "--keys", keys)
		at := func(text string, by time.Duration) string {
			t.Helper()
			was, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				t.Fatal(err)
			}
			return was.Add(by).UTC().Format(time.RFC3339Nano)
		}
		field := func(name string) string {
			_, rest, _ := strings.Cut(files["evidence.json"], `"`+name+`": `)
			value, _, _ := strings.Cut(rest, ",\n")
			return value
		}
		for i, c := range []struct{ name, value, says string }{
			{"organization", `"` + bot + `"`, "is about the organization"},
			{"organization", `"\u001b[2J"`, `is about the organization "\x1b[2J"`},
			{"from", `"` + at(to, -time.Microsecond) + `"`, "before the period"},
			{"from", `"` + at(to, time.Hour) + `"`, "its period ends before it begins"},
			{"to", `"` + at(from, time.Microsecond) + `"`, "after the period"},
			{"to", `"` + at(to, time.Hour) + `"`, "within the period that ends before it"},
			{"begin", "0", "entries before this one"},
			{"begin", field("end"), "isn't the first event of a period"},
			{"end", field("begin"), "isn't the first event of a period"},
			{"end", "1" + field("end"), "isn't there"},
		} {
			claims := maps.Clone(files)
			claims["evidence.json"] = strings.Replace(
				files["evidence.json"], `"`+c.name+`": `+field(c.name), `"`+c.name+`": `+c.value, 1,
			)
			check(1, c.says, "verify", save(fmt.Sprintf("claims%d.zip", i), packed(t, claims, names...)), "--keys", keys)
		}
		odd := maps.Clone(files)
		odd["\x1b[2J"] = ""
		check(1, `"\x1b[2J" is there twice`, "verify",
			save("odd.zip", packed(t, odd, append(names, "\x1b[2J", "\x1b[2J")...)), "--keys", keys)
		changed["x"] = "x"
		check(1, "inserted: the file \"x\"", "verify",
			save("more.zip", packed(t, changed, append(names, "x")...)), "--keys", keys)
		check(1, "so nothing is proven", "verify",
			save("none.zip", packed(t, files, append(names[:6:6], "evidence.json")...)), "--keys", keys)
		raw := []byte(files["audit.zip"])
		raw[len(raw)/2] ^= 1
		changed["audit.zip"] = string(raw)
		check(1, "altered: \"audit.zip\"", "verify", save("broken.zip", packed(t, changed, names...)), "--keys", keys)
	})

	// everything that the tables show changes
	admin.must(200, "PATCH", "/api/admin/agents/"+idle, object{"name": "Busy"})
	admin.must(200, "PATCH", "/api/admin/tools/"+github, object{"name": "Forge"})
	p.with(key).fetch(github)
	p.with(idleKey).fetch(github)
	p.with(key).fetch(own)
	admin.must(200, "PUT", "/api/admin/tools/"+jira+"/credential", object{"credential": "j_2"})
	admin.must(204, "DELETE", "/api/admin/agents/"+idle+"/grants/"+github, nil)
	admin.must(204, "DELETE", "/api/admin/tools/"+own, nil)
	third := p.with(key).mustRequest(jira)
	admin.must(200, "POST", "/api/admin/requests/"+third+"/approve", nil)
	admin.must(200, "POST", "/api/admin/agents/"+bot+"/suspend", nil)
	admin.must(204, "DELETE", "/api/admin/agents/"+idle, nil)
	same := func(when string) {
		t.Helper()
		again := p.with(auditor.key).must(200, "GET", path, nil)
		if bytes.Equal(again.Body, first.Body) {
			return
		}
		t.Errorf("%s: the evidence has other bytes", when)
		now := contents(t, again.Body)
		for name, was := range files {
			if now[name] == was {
				continue
			}
			if strings.HasSuffix(name, ".zip") {
				t.Errorf("%s:\n%s", name, cmp.Diff(contents(t, []byte(was)), contents(t, []byte(now[name]))))
				continue
			}
			t.Errorf("%s:\n%s", name, cmp.Diff(was, now[name]))
		}
	}
	same("after changes")
	p.shell("keys", "sign")
	same("with another signing key")
	admin.mustBeCovered("Later")
	same("with more checkpoints")
	p.restart()
	same("after a restart")
	p.stop()
	p.env = append(p.env, "AGENTKEY_DATABASE_URL="+readmodelstest.Postgres(t))
	p.run()
	same("from Postgres")

	t.Run("periods", func(t *testing.T) {
		admin, ask := p.admin(), func(from, to string) string {
			return fmt.Sprintf(evidenceOf, url.QueryEscape(from), url.QueryEscape(to))
		}
		whole := contents(t, admin.must(200, "GET", ask("2020-01-01T00:00:00Z", from), nil).Body)
		if !strings.Contains(whole["changes.csv"], "given") || !strings.Contains(whole["evidence.json"], `"begin": 0`) {
			t.Errorf("from before the first event: %s", whole["evidence.json"])
		}
		at, err := time.Parse(time.RFC3339Nano, to)
		if err != nil {
			t.Fatal(err)
		}
		idle := contents(t, admin.must(200, "GET", ask(to, at.Add(time.Nanosecond).Format(time.RFC3339Nano)), nil).Body)
		if strings.Count(idle["decisions.csv"]+idle["changes.csv"], "\n") != 2 ||
			strings.Count(idle["access-review.csv"], "\n") != strings.Count(files["access-review.csv"], "\n") {
			t.Errorf("of a period without events: %v", idle)
		}
		future := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		for bad, field := range map[string]string{
			ask(to, from): "from", ask(to, to): "from", ask(from, future): "to",
			ask("2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z"): "to", ask("yesterday", to): "from", ask(from, "1"): "to",
			"/api/admin/audit/evidence?from=" + from: "to", "/api/admin/audit/evidence?to=" + to: "from",
			ask(from, to) + "&format=csv": "format",
		} {
			if a := admin.refused(400, "validation_failed", "GET", bad, nil); !namesField(a, field) {
				t.Errorf("%s: %s isn't named: %s", bad, field, a.Body)
			}
		}
		other := p.organization("Another", "owner")
		other.refused(400, "validation_failed", "GET", path, nil) // it had no event then
		_, third := admin.mustAgent("Third")
		p.with(third).refused(403, "wrong_caller", "GET", path, nil)
		if head := admin.must(200, "HEAD", path, nil); len(head.Body) > 0 {
			t.Errorf("HEAD answers %d bytes", len(head.Body))
		}
	})
}
