package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"agentkey/eventstore/eventstoretest/wait"
)

// person runs commands for people, in a home of their own.
type person struct {
	t   *testing.T
	env []string
}

// does runs a command that must succeed and returns what it prints.
func (p person) does(stdin string, args ...string) string {
	p.t.Helper()
	code, stdout, stderr := p.tries(stdin, args...)
	if code != exitOK {
		p.t.Fatalf("agentkey %s: exit %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func (p person) tries(stdin string, args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	var out, errs bytes.Buffer
	code = run(p.t.Context(), args, p.env, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// begins runs a command until ctx ends. Its exit code comes when it has ended.
func (p person) begins(ctx context.Context, stdin io.Reader, args ...string) (out, errs *lines, ended <-chan int) {
	p.t.Helper()
	out, errs = newLines(), newLines()
	code := make(chan int, 1)
	go func() { code <- run(ctx, args, p.env, stdin, out, errs) }()
	return out, errs, code
}

// sees waits until a command has written a text so many times.
func sees(t *testing.T, where *lines, text string, times int) {
	t.Helper()
	wait.Until(t, text, func() bool { return strings.Count(where.String(), text) >= times })
}

// TestPeopleAdministerFromTheCommandLine is the life of an agent as a person sees it who never
// sends a request of HTTP.
func TestPeopleAdministerFromTheCommandLine(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	network := startProxy(t, strings.TrimPrefix(p.URL, "http://"))
	home := t.TempDir()
	ada := person{t, []string{"HOME=" + home}}
	address := "http://" + network.address()
	session := filepath.Join(home, ".config", "agentkey", "session.json")

	if code, _, said := ada.tries("", "agents"); code != exitUsage || !strings.Contains(said, "agentkey login") {
		t.Errorf("before signing in: exit %d: %s", code, said)
	}
	if code, _, said := ada.tries("sk_admin_wrong", "login", address); code != exitFault {
		t.Errorf("with a wrong token: exit %d: %s", code, said)
	}
	if code, _, said := ada.tries(p.Token, "login", "http://127.0.0.1:1"); code != exitUnreachable {
		t.Errorf("where nothing runs: exit %d: %s", code, said)
	}
	ada.does(p.Token+"\n", "login", address)
	kept := readFile(t, session)
	if info, err := os.Stat(session); err != nil || info.Mode().Perm() != 0o600 || strings.Contains(kept, p.Token) {
		t.Errorf("%s, %v: %s", info.Mode(), err, kept)
	}
	ada.does(p.shell("admin", "login")+"\n", "login", address) // a link works too
	if said := ada.does("", "whoami"); !strings.Contains(said, "owner") || !strings.Contains(said, address) {
		t.Errorf("whoami: %s", said)
	}

	ada.does("ghp_1\n", "tools", "add", "GitHub", "--url", "https://github.com")
	key := ada.does("", "agents", "register", "Onboarding")
	agent := p.with(strings.TrimSpace(key)) // nothing but the key is printed
	tool := firstID(t, ada.does("", "tools", "--json"))
	agent.must(201, "POST", "/api/tools/"+tool+"/request", object{"reason": "to open\n\tpull requests"})
	caughtUp := func() { p.admin().must(200, "GET", "/api/admin/agents", nil) } // with what agents did
	caughtUp()
	request := firstID(t, ada.does("", "requests", "--json"))
	if said := ada.does("", "requests"); !regexp.MustCompile(
		`(?m)^` + request + `  Onboarding  GitHub  pending  \S+ \S+  to open  pull requests$`,
	).MatchString(said) {
		t.Errorf("requests: %s", said)
	}
	code, _, said := ada.tries("y\n", "requests", "approve", request)
	if code != exitUsage || !strings.Contains(said, "--yes") {
		t.Errorf("without anybody to ask: exit %d: %s", code, said)
	}

	t.Run("a decision is about what was shown", func(t *testing.T) {
		typed, keyboard := terminal(t)
		out, errs, ended := ada.begins(t.Context(), typed, "requests", "approve", request)
		sees(t, errs, "[y/N]", 1)
		if !regexp.MustCompile(`it has: +0 tools\nurl: +https://github\.com\nused by: +0 agents`).MatchString(out.String()) {
			t.Errorf("what helps to decide isn't in %s", out)
		}
		p.admin().must(200, "PATCH", "/api/admin/tools/"+tool, object{"name": "GitHub Enterprise"})
		if _, err := keyboard.WriteString("y\n"); err != nil {
			t.Fatal(err)
		}
		sees(t, errs, "[y/N]", 2)
		if !strings.Contains(errs.String(), "has changed") || !strings.Contains(out.String(), "GitHub Enterprise") ||
			agent.fetch(tool).Status != 403 {
			t.Errorf("it says %s%s", out, errs)
		}
		if _, err := keyboard.WriteString("y\n"); err != nil {
			t.Fatal(err)
		}
		if code := <-ended; code != exitOK || agent.fetch(tool).Text("credential") != "ghp_1" {
			t.Errorf("exit %d: %s%s", code, out, errs)
		}
	})

	agent.must(201, "POST", "/api/tools/suggest", object{
		"name": "Linear", "url": "https://linear.app", "reason": "to file issues",
	})
	caughtUp()
	suggestion := firstID(t, ada.does("", "suggestions", "--json"))
	if said := ada.does("lin_1\n", "suggestions", "accept", suggestion, "--yes"); !strings.Contains(said, "granted") {
		t.Errorf("accepted: %s", said)
	}
	linear := firstID(t, ada.does("", "tools", "--json", "--query", "linear"))
	if got := agent.fetch(linear).Text("credential"); got != "lin_1" {
		t.Errorf("the agent gets %q", got)
	}
	ada.does("lin_2", "tools", "rotate", linear)
	if got := agent.fetch(linear).Text("credential"); got != "lin_2" {
		t.Errorf("after the rotation the agent gets %q", got)
	}
	caughtUp()
	if said := ada.does("", "usage", "--by", "tool"); !regexp.MustCompile(`(?m)^total +3 `).MatchString(said) ||
		!strings.Contains(said, "GitHub Enterprise") {
		t.Errorf("usage: %s", said)
	}
	if said := ada.does("", "audit", "--action", "credential.*"); strings.Count(said, "\n") != 4 ||
		!strings.Contains(said, "Onboarding fetched the credential of Linear (version 2).") {
		t.Errorf("audit: %s", said)
	}

	t.Run("the audit is followed over a restart", func(t *testing.T) {
		ctx, enough := context.WithCancel(t.Context())
		defer enough()
		out, errs, ended := ada.begins(ctx, nil, "audit", "--follow")
		sees(t, out, "suggestion.accepted", 1)
		agent.fetch(linear)
		sees(t, out, "(version 2)", 2)
		network.lead("")
		p.restart()
		id := firstID(t, string(p.admin().must(200, "GET", "/api/admin/agents", nil).Body))
		p.admin().must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
		network.lead(strings.TrimPrefix(p.URL, "http://"))
		sees(t, out, "agent.suspended", 1)
		ada.does("", "agents", "retire", id, "--yes")
		sees(t, out, "agent.retired", 1)
		enough()
		if code := <-ended; code != exitOK || strings.Count(out.String(), "agent.registered") != 1 {
			t.Errorf("exit %d: %s%s", code, out, errs)
		}
	})

	kept = readFile(t, session)
	ada.does("", "logout")
	if _, err := os.Stat(session); !os.IsNotExist(err) {
		t.Errorf("the session is still there: %v", err)
	}
	if err := os.WriteFile(session, []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, said := ada.tries("", "whoami"); code != exitFault || !strings.Contains(said, "agentkey login") {
		t.Errorf("after signing out: exit %d: %s", code, said)
	}
	if err := os.Chmod(session, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, said := ada.tries("", "whoami"); code != exitUsage || !strings.Contains(said, "others can read") {
		t.Errorf("with a session that others can read: exit %d: %s", code, said)
	}
	script := person{t, []string{"AGENTKEY_URL=" + p.URL + "/", "AGENTKEY_TOKEN=" + p.Token}}
	if said := script.does("", "whoami", "--json"); !json.Valid([]byte(said)) || !strings.Contains(said, `"owner"`) {
		t.Errorf("with a token: %s", said)
	}
}

// firstID is the id of the first item of a list.
func firstID(t *testing.T, list string) string {
	t.Helper()
	var found struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	if err := json.Unmarshal([]byte(list), &found); err != nil || len(found.Items) == 0 {
		t.Fatalf("%v: %s", err, list)
	}
	return found.Items[0].ID
}
