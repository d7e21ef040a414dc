package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/domain/organization"
	"agentkey/eventstore/seal"
	"agentkey/integrations/oidc/oidctest"
)

// canaries are values that must stay where they belong, with the answers that may hold each.
type canaries struct {
	t       *testing.T
	values  map[string]string   // by what they are
	allowed map[string][]string // by what they are: how method and route begin
}

func (c *canaries) spread(what, value string, allowed ...string) string {
	c.values[what], c.allowed[what] = value, allowed
	return value
}

// search looks for every canary, as it is and encoded.
func (c *canaries) search(where string, text []byte) {
	c.t.Helper()
	for what, value := range c.values {
		if slices.ContainsFunc(c.allowed[what], func(here string) bool { return strings.HasPrefix(where, here) }) {
			continue
		}
		for _, form := range []string{
			value, base64.StdEncoding.EncodeToString([]byte(value)),
			base64.RawURLEncoding.EncodeToString([]byte(value)), hex.EncodeToString([]byte(value)),
		} {
			if bytes.Contains(text, []byte(form)) {
				c.t.Errorf("the %s is in %s", what, where)
			}
		}
	}
}

// watched lets a client search every answer that it gets.
type watched struct {
	client
	c *canaries
}

func (w watched) call(method, path string, body any, headers ...string) answer {
	w.t.Helper()
	a := w.client.call(method, path, body, append([]string{"User-Agent", w.c.values["user agent"]}, headers...)...)
	var text bytes.Buffer
	_ = a.Header.Write(&text)
	text.Write(a.Body)
	w.c.search(method+" "+path, text.Bytes())
	return a
}

func TestSecretsStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	c := &canaries{t: t, values: map[string]string{}, allowed: map[string][]string{}}
	master, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := keys.New(keys.Service, uuid.Nil, organization.ConfiguredToken)
	if err != nil {
		t.Fatal(err)
	}
	c.spread("master key", master)
	c.spread("admin token", token)
	c.spread("user agent", "canary-agent/7f3a", "GET /api/admin/audit")
	c.spread("credential", "canary-credential-91c2", "GET /api/tools/")
	c.spread("own credential", "canary-own-credential-5d17", "GET /api/tools/")
	c.spread("field of a credential", "canary-password-08be", "GET /api/tools/")
	c.spread("owner", "canary-owner@example.com", "GET /api/admin/agents", "POST /api/admin/agents/")

	c.spread("channel's URL", "canary-channel-77ab")
	c.spread("recipient", "canary-recipient-2e90@example.com")
	c.spread("mail password", "canary-mail-password-6b1f")

	p := start(t, append([]string{
		"AGENTKEY_MASTER_KEYS=" + master, "AGENTKEY_ADMIN_TOKEN=" + token, toLoopback,
		"AGENTKEY_SMTP_URL=smtp://agentkey:" + c.values["mail password"] + "@127.0.0.1:1?tls=off",
		"AGENTKEY_SMTP_FROM=agentkey@example.com",
	}, unlimited...)...)
	admin := watched{p.admin(), c}
	tool := admin.call("POST", "/api/admin/tools", object{
		"name": "GitHub", "auth_type": "api_key", "credential_mode": "shared", "credential": c.values["credential"],
	}, "Idempotency-Key", "one").Text("id")
	own := admin.call(
		"POST", "/api/admin/tools", object{"name": "Linear", "auth_type": "other", "credential_mode": "per_agent"},
	).Text("id")

	// The key is known only once it was made; the answer that makes it may hold it.
	made := p.admin().must(
		201, "POST", "/api/admin/agents", object{"name": "Onboarding", "owner": c.values["owner"]}, "Idempotency-Key",
		"two",
	)
	id, key := made.Text("agent.id"), c.spread("agent key", made.Text("api_key"), "POST /api/admin/agents")
	replayed := admin.client.call(
		"POST", "/api/admin/agents", object{"name": "Onboarding", "owner": c.values["owner"]}, "Idempotency-Key", "two",
	)
	if replayed.Header.Get("Idempotency-Replayed") != "true" || bytes.Contains(replayed.Body, []byte(key)) {
		t.Errorf("a repeat shows the key again: %s", replayed.Body)
	}
	agent := watched{p.with(key), c}
	issuer := oidctest.New(t)
	p.admin().must(200, "PUT", identityOf(id), binding(issuer))
	job, late := issuer.Token(runner()), issuer.Token(runner("iat", 1, "exp", 2))
	for what, token := range map[string]string{"token of a workload": job, "token that has expired": late} {
		c.spread("signature of the "+what, token[strings.LastIndex(token, ".")+1:])
	}
	hook := startHook(t, func(_ int, w http.ResponseWriter) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(c.values["channel's URL"]))
	})
	channel := p.admin().must(201, "POST", "/api/admin/notification-channels", object{
		"kind": "webhook", "name": "Ops", "url": hook.URL + "/" + c.values["channel's URL"],
		"topics": []string{"access_requested"},
	}, "Idempotency-Key", "three")
	c.spread("signing secret", channel.Text("signing_secret"), "POST /api/admin/notification-channels")
	mail := admin.call("POST", "/api/admin/notification-channels", object{
		"kind": "email", "name": "On call", "topics": []string{"access_requested"},
		"recipients": []string{c.values["recipient"]},
	}).Text("id")
	suggested := agent.call(
		"POST", "/api/tools/suggest", object{"name": "Notion", "reason": "to write things down"},
	).Text("suggestion_id")
	accept := "/api/admin/suggestions/" + suggested + "/accept"
	notion := object{
		"name": "Notion", "auth_type": "api_key", "credential_mode": "per_agent", "credential": c.values["credential"],
	}

	for _, call := range []struct {
		who          watched
		method, path string
		body         any
		status       int
	}{
		{agent, "GET", "/api/me", nil, 200},
		{agent, "GET", "/api/tools", nil, 200},
		{agent, "POST", "/api/tools/" + tool + "/request", object{"reason": "to open pull requests"}, 201},
		{admin, "POST", "/api/admin/agents/" + id + "/grants", object{"tool_id": tool}, 201},
		{
			admin, "POST", "/api/admin/agents/" + id + "/grants",
			object{"tool_id": own, "credential": object{"user": "u", "password": c.values["field of a credential"]}},
			201,
		},
		{agent, "GET", "/api/tools/" + tool + "/credentials", nil, 200},
		{agent, "GET", "/api/tools/" + own + "/credentials", nil, 200},
		{watched{p.with(job), c}, "GET", "/api/tools/" + tool + "/credentials", nil, 200},
		{watched{p.with(late), c}, "GET", "/api/me", nil, 401},
		{
			admin, "PUT", "/api/admin/agents/" + id + "/grants/" + own + "/credential",
			object{"credential": c.values["own credential"]},
			409, // of other parts
		},
		{
			admin, "PUT", "/api/admin/agents/" + id + "/grants/" + own + "/credential",
			object{"credential": c.values["own credential"], "replace_shape": true},
			200,
		},
		{admin, "PUT", "/api/admin/tools/" + tool + "/credential", object{"credential": c.values["credential"]}, 200},
		// What is wrong with a body is said without the body.
		{admin, "PUT", "/api/admin/tools/" + tool + "/credential", `{"credential": "` + c.values["credential"], 400},
		{
			admin, "PUT", "/api/admin/tools/" + tool + "/credential",
			`{"credential": ["` + c.values["credential"] + `"]}`, 400,
		},
		{
			admin, "POST", "/api/admin/tools",
			object{"name": "x", "credential": object{"password": 7, c.values["field of a credential"]: "x"}},
			400,
		},
		{admin, "POST", accept, object{"tool": notion}, 400}, // where each agent has its own, none is taken
		{admin, "POST", accept, object{"tool": object{"credential": []string{c.values["credential"]}}}, 400},
		{
			admin, "POST", accept,
			object{
				"tool": object{
					"name": "Notion", "auth_type": "api_key", "credential_mode": "shared",
					"credential": c.values["credential"],
				},
			},
			201,
		},
		// a file has no place for it
		{admin, "PUT", "/api/admin/catalog/import", object{"agentkey_catalog": 1, "tools": []object{notion}}, 400},
		{admin, "GET", "/api/admin/catalog/export", nil, 200},
		{admin, "GET", "/api/admin/suggestions", nil, 200},
		{admin, "POST", "/api/admin/tools/" + tool + "/nothing", object{"credential": c.values["credential"]}, 404},
		{watched{p.with(key + "x"), c}, "GET", "/api/me", nil, 401},
		{agent, "GET", "/api/admin/me", nil, 403},
		{admin, "GET", "/api/me", nil, 403},
		{admin, "GET", "/api/admin/agents", nil, 200},
		{admin, "GET", "/api/admin/agents/" + id, nil, 200},
		{admin, "GET", "/api/admin/tools", nil, 200},
		{admin, "GET", "/api/admin/tools/" + tool, nil, 200},
		{admin, "GET", "/api/admin/requests", nil, 200},
		{admin, "GET", "/api/admin/grants", nil, 200},
		{admin, "GET", "/api/admin/me", nil, 200},
		{admin, "GET", "/api/admin/audit?limit=200", nil, 200},
		{admin, "POST", "/api/admin/notification-channels/" + channel.Text("id") + "/test", nil, 200},
		{admin, "POST", "/api/admin/notification-channels/" + mail + "/test", nil, 200},
		{
			admin, "PATCH", "/api/admin/notification-channels/" + channel.Text("id"),
			object{"url": "ftp://" + c.values["channel's URL"]},
			400,
		},
		{
			admin, "PATCH", "/api/admin/notification-channels/" + mail,
			object{"recipients": []string{c.values["recipient"] + " x"}},
			400,
		},
		{admin, "GET", "/api/admin/notification-channels", nil, 200},
		{admin, "GET", "/api/admin/notification-deliveries?status=dead", nil, 200},
		{watched{p.anyone(), c}, "GET", "/readyz", nil, 200},
		{watched{p.anyone(), c}, "GET", "/openapi.json", nil, 200},
		{admin, "POST", "/api/admin/agents/" + id + "/rotate-key", nil, 200},
		{admin, "POST", "/api/admin/agents/" + id + "/suspend", nil, 200},
		{admin, "DELETE", "/api/admin/tools/" + own, nil, 204},
	} {
		var headers []string
		if call.path == accept { // what it was read as, because backers get access
			tag := call.who.call("GET", strings.TrimSuffix(accept, "/accept"), nil).Header.Get("ETag")
			headers = []string{"If-Match", tag}
		}
		if a := call.who.call(call.method, call.path, call.body, headers...); a.Status != call.status {
			t.Errorf("%s %s: status %d, not %d: %s", call.method, call.path, a.Status, call.status, a.Body)
		}
	}
	found := p.admin().must(http.StatusOK, "GET", "/api/admin/audit?action=credential.vended", nil).Items()
	if len(found) == 0 || !slices.ContainsFunc(found, func(e map[string]any) bool {
		r, _ := e["request"].(map[string]any)
		return r != nil && r["user_agent"] == c.values["user agent"] && r["ip"] == "127.0.0.1"
	}) {
		t.Errorf("the audit does not tell who fetched: %v", found)
	}
	messages := hook.all()
	for _, m := range messages {
		c.search("a notification", m.Body)
	}
	if len(messages) == 0 {
		t.Error("nothing was sent to the channel")
	}
	for range 2 {
		p.stop()
		c.search("what the program printed", []byte(p.stdout.String()))
		c.search("the log of the program", []byte(p.stderr.String()))
		p.run()
	}
	p.stop()
	searchFolder(t, p.Dir, c)
}

// searchFolder looks into every file of a data folder: events, read model, and what SQLite keeps
// beside them.
func searchFolder(t *testing.T, dir string, c *canaries) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		c.search(path, text)
		return err
	})
	if err != nil || files < 2 {
		t.Errorf("%d files in the data folder: %v", files, err)
	}
}
