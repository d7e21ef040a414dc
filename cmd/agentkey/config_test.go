package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"agentkey/api/door/limits"
	"agentkey/commands/keys"
	"agentkey/domain/organization"
	"agentkey/eventstore/seal"
	"agentkey/integrations/notify"
	"agentkey/integrations/outbound"
)

// write puts a text into a file of the test.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func masterKeyText(t *testing.T) string {
	t.Helper()
	text, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheEnvironmentWinsOverTheFile(t *testing.T) {
	t.Parallel()
	first, second := masterKeyText(t), masterKeyText(t)
	file := write(t, "agentkey.yaml", `# what this process is
listen: 127.0.0.1:1111
limit_reads: 7/1m
limit_admin: "off"
trusted_proxies:
  - 10.0.0.0/8
  - 192.168.0.0/16
agent_cors_origins: https://a.example, https://b.example
outbound_allow: 10.20.1.0/16
metrics_listen:
master_keys_file: `+write(t, "keys", first)+`
database_url_file: `+write(t, "url", "postgres://agentkey:secret@db/agentkey")+`
`)
	c, err := LoadConfig([]string{
		"AGENTKEY_CONFIG=" + file, "AGENTKEY_LISTEN=127.0.0.1:2222", "AGENTKEY_LIMIT_READS=",
		"AGENTKEY_MASTER_KEYS=" + second, "AGENTKEY_DATA_DIR=/data",
	})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := LoadConfig([]string{"AGENTKEY_DATA_DIR=/data"})
	if err != nil {
		t.Fatal(err)
	}
	want := plain // what neither sets is the default
	want.Listen, want.DatabaseURL = "127.0.0.1:2222", "postgres://agentkey:secret@db/agentkey"
	want.Limits.Reads.Limit, want.Limits.Admin, want.Limits.AdminReads = 7, limits.Rule{}, limits.Rule{}
	want.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.0.0/16")}
	want.Outbound.Allow = outbound.Rules{{Network: netip.MustParsePrefix("10.20.0.0/16")}}
	want.AgentOrigins = []string{"https://a.example", "https://b.example"}
	if diff := cmp.Diff(
		want, c, cmpopts.IgnoreFields(Config{}, "MasterKeys", "AdminToken", "AI.Key"),
		cmpopts.EquateComparable(netip.Prefix{}, notify.Dashboard{}),
	); diff != "" {
		t.Error(diff)
	}
	if parsed, err := seal.ParseMasterKey(second); err != nil || len(c.MasterKeys) != 1 ||
		c.MasterKeys[0].ID() != parsed.ID() {
		t.Errorf("the master keys are %v: %v", c.MasterKeys, err)
	}
}

func TestMistakesInTheFileAreListedWithTheirLines(t *testing.T) {
	t.Parallel()
	file := write(t, "agentkey.yaml", `listen: 8080
lissten: 127.0.0.1:8080
master_keys: canary-1
database_url: postgres://agentkey:canary-2@db/agentkey
redis_url_file: /nowhere/redis
listen: 127.0.0.1:8080
limit_reads: {a: b}
trusted_proxies: [[10.0.0.0/8]]
tls_cert_file: cert.pem
plain_http: yes
admin_token_file: `+write(t, "token", " \n")+`
eventstore_url_file: `+write(t, "url", "canary-3")+`
`)
	code, stdout, stderr := runCommand(
		t, []string{"AGENTKEY_NONSENSE=1", "AGENTKEY_DATA_DIR=" + t.TempDir()}, "serve", "--config", file,
	)
	if code != exitUsage || stdout != "" {
		t.Errorf("exit %d: %s", code, stdout)
	}
	for _, said := range []string{
		":1: listen: it must be host:port", ":2: lissten: there is no such setting",
		":3: master_keys: this file must not hold a secret", "master_keys_file, or set AGENTKEY_MASTER_KEYS",
		":4: database_url: this file must not", ":5: redis_url_file: open /nowhere/redis",
		":6: listen: line 1 already sets it", ":7: limit_reads: it must be a text", ":8: trusted_proxies: an item",
		":9: tls_cert_file: there is no such",
		":10: plain_http: the only value", ":11: admin_token_file: the file",
		":12: eventstore_url_file: it must begin with esdb://", "AGENTKEY_NONSENSE: there is",
	} {
		if !strings.Contains(stderr, said) {
			t.Errorf("%q is not said:\n%s", said, stderr)
		}
	}
	if strings.Contains(stderr, "canary") {
		t.Errorf("a secret is repeated:\n%s", stderr)
	}
}

func TestAFileThatIsNotAConfigurationIsNamed(t *testing.T) {
	t.Parallel()
	for text, said := range map[string]string{
		"listen: [":                       "line ",
		"just a text":                     "it must hold keys with values",
		"- listen":                        "it must hold keys with values",
		"listen: 127.0.0.1:1\n---\na: b":  "one document",
		"":                                "",
		"# nothing yet\n":                 "",
		"---\n":                           "",
		"listen: &here 127.0.0.1:1\n":     "",
		"a: &b x\nlisten: *b":             "it must be a text",
		"<<: {listen: 127.0.0.1:1}\n":     "<<: there is no such",
		"listen: !!binary MTI3LjAuMC4x\n": "host:port",
	} {
		path := write(t, "agentkey.yaml", text)
		_, err := LoadConfig([]string{"AGENTKEY_CONFIG=" + path})
		if (err == nil) != (said == "") ||
			err != nil && (!strings.Contains(err.Error(), said) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := LoadConfig([]string{"AGENTKEY_CONFIG=/nowhere/agentkey.yaml"}); err == nil ||
		!strings.Contains(err.Error(), "AGENTKEY_CONFIG: open /nowhere") {
		t.Errorf("of a file that is not there: %v", err)
	}
}

// TestAProcessRunsFromItsFileAlone names the file in both ways.
func TestAProcessRunsFromItsFileAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, "agentkey.yaml", "listen: 127.0.0.1:0\ndata_dir: "+dir+"\nmetrics_listen: 127.0.0.1:0\n")
	p := start(t, "AGENTKEY_CONFIG="+file, "AGENTKEY_DATA_DIR="+dir)
	p.await(p.stdout, metricsAt)
	for _, args := range [][]string{{"--config", file, "doctor"}, {"doctor", "--config", file}} {
		if code, stdout, stderr := runCommand(t, []string{"AGENTKEY_CONFIG=/nowhere"}, args...); code != exitOK ||
			!strings.Contains(stdout, dir) {
			t.Errorf("%v: exit %d: %s%s", args, code, stdout, stderr)
		}
	}
}

func TestThePageOfTheSettingsIsUpToDateAndItsExampleRight(t *testing.T) {
	t.Parallel()
	page := readFile(t, "../../docs/configuration.md")
	if diff := cmp.Diff(settingsPage(), page); diff != "" {
		t.Errorf("run make generate: %s", diff)
	}
	if code, stdout, _ := runCommand(t, nil, "settings"); code != exitOK || stdout != page {
		t.Errorf("the command prints another page: exit %d", code)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"master-keys": masterKeyText(t), "database-url": "postgres://db/agentkey",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := LoadConfig(
		[]string{"AGENTKEY_CONFIG=" + write(t, "agentkey.yaml", strings.ReplaceAll(exampleFile, "/etc/agentkey", dir))},
	)
	if err != nil || c.Listen != "0.0.0.0:8443" || len(c.Proxies) != 2 {
		t.Errorf("the example is read as %v: %v", c, err)
	}
	for _, s := range settings {
		if s.meaning == "" || (s.value == "") == (s.without == "") || s.take == nil {
			t.Errorf("%s is not described", s.name)
		}
	}
}

func TestALanguageModelIsConfiguredWhole(t *testing.T) {
	t.Parallel()
	const url, model, key = "AGENTKEY_AI_BASE_URL=", "AGENTKEY_AI_MODEL=m", "AGENTKEY_AI_API_KEY=canary"
	for _, c := range []struct {
		said    string // "" when nothing is wrong
		environ []string
	}{
		{"", []string{url + "https://models.example.com/v1", model, key}},
		{"", []string{url + "http://localhost:11434/v1", model}},
		{"", []string{url + "http://127.0.0.1:11434/v1", model, key}},
		{"", []string{url + "http://[fd00::1]/v1", model, key}},
		{"", []string{url + "http://ollama:11434/v1", model, key}},
		{"", []string{url + "http://models.example.com/v1", model}},
		{
			"AGENTKEY_AI_BASE_URL: AGENTKEY_AI_API_KEY would cross",
			[]string{url + "http://models.example.com/v1", model, key},
		},
		{"AGENTKEY_AI_BASE_URL: AGENTKEY_AI_API_KEY would cross", []string{url + "http://8.8.8.8/v1", model, key}},
		{"set AGENTKEY_AI_BASE_URL and AGENTKEY_AI_MODEL together", []string{url + "https://models.example.com/v1"}},
		{"set AGENTKEY_AI_BASE_URL and AGENTKEY_AI_MODEL together", []string{model}},
		{"AGENTKEY_AI_API_KEY: it has no effect", []string{key}},
		{
			"AGENTKEY_AI_API_KEY: it must be visible",
			[]string{url + "https://models.example.com/v1", model, key + "\r\nX: y"},
		},
		{"it must be a URL", []string{url + "models.example.com", model}},
		{"it must be a URL", []string{url + "ftp://models.example.com/", model}},
		{"it must be a URL", []string{url + "https:///v1", model}},
		{"it must be a URL", []string{url + "https://user:canary@models.example.com/v1", model}},
		{"it must be a URL", []string{url + "https://models.example.com/v1?key=canary", model}},
	} {
		_, err := LoadConfig(c.environ)
		if (err == nil) != (c.said == "") ||
			err != nil && (!strings.Contains(err.Error(), c.said) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%q: %v", c.environ, err)
		}
	}
}

// TestATokenWithANumberOfTheLogIsNoneToConfigure: it belongs to one event, which can't be replaced.
func TestATokenWithANumberOfTheLogIsNoneToConfigure(t *testing.T) {
	t.Parallel()
	token := func(id uuid.UUID, number int) string {
		text, _, err := keys.New(keys.Service, id, number)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for text, taken := range map[string]bool{
		token(uuid.Nil, organization.ConfiguredToken): true, token(uuid.Nil, 1): false, token(newID(), 0): false,
	} {
		_, err := LoadConfig([]string{"AGENTKEY_ADMIN_TOKEN=" + text, "AGENTKEY_DATA_DIR=/data"})
		if taken != (err == nil) || err != nil && (!strings.Contains(err.Error(), "make one with agentkey token new") ||
			strings.Contains(err.Error(), text)) {
			t.Errorf("%t: %v", taken, err)
		}
	}
}

func TestASettingOutsideItsRangeIsRefusedByName(t *testing.T) {
	t.Parallel()
	for name, texts := range map[string][]string{
		"AGENTKEY_DATABASE_SCHEMA": {
			"Upper", "with-dash", "with.dot", `with"quote`, "1st", "pg_x", "reporting", "x_reporting", "ümlaut",
			strings.Repeat("x", 41), "a; drop schema public",
		},
		"AGENTKEY_SECURITY_CONTACT": {
			"http://example.com/security", "https://", "example.com", "a@b, nobody", "Security <a@b.example>", "mailto:",
			"https://example.com/a b", "https://example.com/\u00fc", "javascript:alert(1)",
		},
		"AGENTKEY_MAX_CONNECTIONS": {"0", "-1", "100001", "many", "1.5", "off", "99999999999999999999"},
	} {
		for _, text := range texts {
			_, err := LoadConfig([]string{name + "=" + text, "AGENTKEY_DATA_DIR=/data"})
			if err == nil || !isUsage(err) || !strings.Contains(err.Error(), name+": it must be") {
				t.Errorf("%s=%s: %v", name, text, err)
			}
		}
	}
	for _, env := range []string{
		"AGENTKEY_DATABASE_SCHEMA=acme_2", "AGENTKEY_MAX_CONNECTIONS=1", "AGENTKEY_MAX_CONNECTIONS=100000",
	} {
		if _, err := LoadConfig([]string{env, "AGENTKEY_DATA_DIR=/data"}); err != nil {
			t.Errorf("%s: %v", env, err)
		}
	}
}
