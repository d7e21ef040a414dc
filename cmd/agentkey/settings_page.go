package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

//go:generate go run . settings ../../docs/configuration.md

type settingsCommand struct {
	To string `arg:"" optional:"" help:"The file to write; without it they are printed."`
}

// Run writes the page that docs/configuration.md is.
func (c *settingsCommand) Run(sh *shell) error {
	if c.To == "" {
		_, err := io.WriteString(sh.stdout, settingsPage())
		return err
	}
	return os.WriteFile(c.To, []byte(settingsPage()), 0o644) //nolint:gosec // it is for everybody to read
}

// exampleFile is a configuration file that the page shows.
const exampleFile = `listen: 0.0.0.0:8443
tls_cert: /etc/agentkey/tls.crt
tls_key: /etc/agentkey/tls.key
data_dir: /var/lib/agentkey
master_keys_file: /etc/agentkey/master-keys
database_url_file: /etc/agentkey/database-url
trusted_proxies: [10.0.0.0/8, 192.168.0.0/16]
limit_reads: 600/1m
`

// exampleIssuers is a list of issuers that the page shows.
const exampleIssuers = `oidc:
  - preset: clerk
    issuer: https://clerk.example.com
    authorized_parties: [https://dashboard.example.com]
    roles: { "org:admin": admin, "org:member": approver }
  - preset: google
    issuer: https://accounts.google.com
    client_id: 1234-abcd.apps.googleusercontent.com
    client_secret_file: /etc/agentkey/google-client-secret
`

// pageHead is what the page begins with, with ~ for what a raw string can't hold.
const pageHead = `<!-- Made by make generate from cmd/agentkey/settings.go; change it there. -->
# Configuration

Everything is an environment variable, or a key of a YAML file that ~--config FILE~ or ~AGENTKEY_CONFIG=FILE~ names. The
environment wins over the file, key by key; an empty value is none. With nothing set the service needs nothing else. An
unknown name is a mistake. Every mistake is listed at once, with the variable or the file's line, before anything is
opened, and the exit code is 2. ~agentkey doctor~ looks whether what is named works.

A secret comes from the environment, or from a file of its own that the variable with ~_FILE~, or the key with ~_file~,
names. It must not be in the YAML file, which is copied, shown and kept in version control. Lists are texts with commas,
or lists of YAML. Paths count from the working directory.

| variable | YAML key | meaning | default |
|---|---|---|---|
`

func settingsPage() string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(pageHead, "~", "`"))
	for _, s := range settings {
		name, key, without := "`"+s.name+"`", "`"+s.key()+"`", s.without
		if s.secret {
			name, key = name+", `"+s.name+"_FILE`", "`"+s.key()+"_file`"
		}
		if s.value != "" {
			without = "`" + s.value + "`"
		}
		_, _ = fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, key, s.meaning, without)
	}
	b.WriteString("\nOpenTelemetry's other variables, such as `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, " +
		"`OTEL_RESOURCE_ATTRIBUTES` and\n" +
		"`OTEL_TRACES_SAMPLER`, have the meaning of its specification and are read from the environment only.\n")
	b.WriteString("\nSeveral providers are a list in the file. Its keys are those that begin with `oidc_`, " +
		"without that, and `roles` may be a\nmapping. The provider that variables name is one more:\n\n```yaml\n" +
		exampleIssuers + "```\n")
	b.WriteString("\nSuch a file:\n\n```yaml\n" + exampleFile + "```\n\n`" + strings.Join(clientVariables, "`, `") +
		"` are for agents and for [people at the command line](cli.md); they mean nothing here.\n")
	return b.String()
}
