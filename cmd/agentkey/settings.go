package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"agentkey/api/limits"
	"agentkey/domain"
	"agentkey/integrations/notify"
)

// setting is one thing that can be set.
type setting struct {
	name    string // of the variable, AGENTKEY_… but for those that OpenTelemetry has named; see key
	secret  bool   // it may come from a file that name_FILE or key_file names, and must not stand in the configuration file
	value   string // that it has when it is not set
	without string // what holds when it has none, for the documentation
	meaning string // likewise
	take    func(c *Config, text string) error
}

// key is its name in the configuration file.
func (s setting) key() string { return strings.ToLower(strings.TrimPrefix(s.name, "AGENTKEY_")) }

// settings is the only place that lists them: what reads the environment and the configuration file, and
// docs/configuration.md, come from it.
var settings = []setting{
	{
		name: "AGENTKEY_LISTEN", value: "127.0.0.1:8080",
		meaning: "`host:port` of the API. Anything but loopback needs TLS, or a proxy that does it",
		take:    func(c *Config, text string) error { c.Listen = text; return hostPort(text, "127.0.0.1:8080") },
	},
	{
		name: "AGENTKEY_TLS_CERT", without: "plain HTTP",
		meaning: "the certificate, a PEM file with its chain. It may be replaced while `serve` runs",
		take:    func(c *Config, text string) error { c.TLSCert = text; return nil },
	},
	{
		name: "AGENTKEY_TLS_KEY", without: "plain HTTP",
		meaning: "its key, a PEM file",
		take:    func(c *Config, text string) error { c.TLSKey = text; return nil },
	},
	{
		name: "AGENTKEY_PLAIN_HTTP", without: "on loopback only",
		meaning: "`behind-proxy`: plain HTTP on an address that is not loopback, because a proxy does TLS",
		take: func(c *Config, text string) error {
			c.BehindProxy = text == "behind-proxy"
			return mistakeUnless(c.BehindProxy, "the only value is behind-proxy")
		},
	},
	{
		name: "AGENTKEY_TRUSTED_PROXIES", without: "none",
		meaning: "list of CIDRs whose `X-Forwarded-For` is believed, from the right",
		take:    func(c *Config, text string) (err error) { c.Proxies, err = prefixes(text); return err },
	},
	{
		name: "AGENTKEY_AGENT_CORS_ORIGINS", without: "none",
		meaning: "list of origins whose pages may call as agents",
		take:    func(c *Config, text string) (err error) { c.AgentOrigins, err = origins(text); return err },
	},
	{
		name: "AGENTKEY_ADMIN_CORS_ORIGINS", without: "none",
		meaning: "list of origins whose pages may call as admins",
		take:    func(c *Config, text string) (err error) { c.AdminOrigins, err = origins(text); return err },
	},
	{
		name: "AGENTKEY_METRICS_LISTEN", without: "not served",
		meaning: "`host:port` where `/metrics` is served to Prometheus, without a key",
		take:    func(c *Config, text string) error { c.MetricsListen = text; return hostPort(text, "127.0.0.1:9464") },
	},
	{
		name: "AGENTKEY_DATA_DIR", value: "./agentkey-data",
		meaning: "the data folder; made with mode 0700 when absent",
		take:    func(c *Config, text string) (err error) { c.DataDir, err = filepath.Abs(text); return err },
	},
	{
		name: "AGENTKEY_MASTER_KEYS", secret: true, without: "made in the data folder when the log is empty; required with an external log",
		meaning: "list of 32-byte base64 keys, the current one first, then former ones that may still open",
		take:    func(c *Config, text string) (err error) { c.MasterKeys, err = masterKeys(text); return err },
	},
	{
		name: "AGENTKEY_ADMIN_TOKEN", secret: true, without: "made when the installation is begun, in `first-admin-token`, printed once",
		meaning: "owner token of the first organization, from `agentkey token new`. Another value replaces it at the next start, and the old one dies",
		take:    func(c *Config, text string) (err error) { c.AdminToken, err = adminToken(text); return err },
	},
	{
		name: "AGENTKEY_EVENTSTORE_URL", secret: true, without: "the embedded store",
		meaning: "`esdb://…` or `esdb+discover://…`, the event log elsewhere; see [eventstoredb.md](eventstoredb.md)",
		take: func(c *Config, text string) error {
			c.EventStoreURL = text
			return scheme(text, "esdb", "esdb+discover")
		},
	},
	{
		name: "AGENTKEY_DATABASE_URL", secret: true, without: "an SQLite file in the data folder",
		meaning: "`postgres://…`, the read model of all processes",
		take: func(c *Config, text string) error {
			c.DatabaseURL = text
			return scheme(text, "postgres", "postgresql")
		},
	},
	{
		name: "AGENTKEY_REDIS_URL", secret: true, without: "counted in the process",
		meaning: "`redis://…`, `rediss://…` or `unix://…`: one count of calls for all processes",
		take:    func(c *Config, text string) (err error) { c.Redis, err = limits.ParseURL(text); return err },
	},
	{
		name: "AGENTKEY_LIMIT_READS", value: "120/1m",
		meaning: "calls of one agent in a time, with a burst of them all, or `off`. The same goes for the limits below",
		take:    func(c *Config, text string) (err error) { c.Limits.Reads, err = limits.ParseRule(text); return err },
	},
	{
		name: "AGENTKEY_LIMIT_REQUESTS", value: "30/1h", meaning: "requests for access by one agent",
		take: func(c *Config, text string) (err error) { c.Limits.Requests, err = limits.ParseRule(text); return err },
	},
	{
		name: "AGENTKEY_LIMIT_CREDENTIALS", value: "60/1m", meaning: "fetches of credentials by one agent",
		take: func(c *Config, text string) (err error) {
			c.Limits.Credentials, err = limits.ParseRule(text)
			return err
		},
	},
	{
		name: "AGENTKEY_LIMIT_ADMIN", value: "120/1m", meaning: "calls with one service token",
		take: func(c *Config, text string) (err error) { c.Limits.Admin, err = limits.ParseRule(text); return err },
	},
	{
		name: "AGENTKEY_LIMIT_PREAUTH", value: "600/1m", meaning: "failed authentications from one address",
		take: func(c *Config, text string) (err error) { c.Limits.PreAuth, err = limits.ParseRule(text); return err },
	},
	{
		name: "AGENTKEY_OUTBOUND_ALLOW", without: "public addresses only, on ports 443 and 80",
		meaning: "list of CIDRs that URLs which people name (documentation, webhooks) may lead to besides, on any port",
		take:    func(c *Config, text string) (err error) { c.OutboundAllow, err = prefixes(text); return err },
	},
	{
		name: "AGENTKEY_SMTP_URL", secret: true, without: "no e-mail is sent",
		meaning: "`smtp://user:password@host:587` (with STARTTLS) or `smtps://user:password@host:465`, the mail server for notifications; on loopback also `smtp://127.0.0.1:1025?tls=off`",
		take: func(c *Config, text string) error {
			server, err := notify.ParseMailServer(text)
			c.Mail = &server
			return err
		},
	},
	{
		name: "AGENTKEY_SMTP_FROM", without: "no e-mail is sent",
		meaning: "the address that e-mails come from, such as `AgentKey <agentkey@example.com>`",
		take:    func(c *Config, text string) (err error) { c.MailFrom, err = notify.ParseMailFrom(text); return err },
	},
	{
		name: "AGENTKEY_AI_BASE_URL", without: "setup guides are the built-in ones only",
		meaning: "`http(s)://…/v1`, an endpoint that speaks OpenAI's protocol (a hosted gateway, Ollama, vLLM); it writes setup guides",
		take:    func(c *Config, text string) (err error) { c.AI.BaseURL = text; return endpoint(text) },
	},
	{
		name: "AGENTKEY_AI_API_KEY", secret: true, without: "none is sent",
		meaning: "its key. It crosses no public network over plain HTTP",
		take:    func(c *Config, text string) error { c.AI.Key = domain.NewSecret([]byte(text)); return headerText(text) },
	},
	{
		name: "AGENTKEY_AI_MODEL", without: "required with `AGENTKEY_AI_BASE_URL`",
		meaning: "the name of the model there",
		take:    func(c *Config, text string) error { c.AI.Model = text; return nil },
	},
	{
		name: "OTEL_EXPORTER_OTLP_ENDPOINT", without: "nothing is traced",
		meaning: "URL of an OTLP receiver, which gets traces by HTTP and protobuf below `/v1/traces`",
		take: func(c *Config, text string) error {
			c.TracesURL = strings.TrimRight(text, "/") + "/v1/traces"
			return scheme(text, "http", "https")
		},
	},
	{
		name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", without: "as above",
		meaning: "the same as the whole URL, for traces alone",
		take:    func(c *Config, text string) error { c.TracesURL = text; return scheme(text, "http", "https") },
	},
	{
		name: "OTEL_SDK_DISABLED", value: "false",
		meaning: "`true`: nothing is traced, whatever is said above",
		take: func(c *Config, text string) error {
			if strings.EqualFold(text, "true") {
				c.TracesURL = ""
			}
			return nil
		},
	},
}

// together finds what is wrong only with several settings at once.
func (l *loader) together(c Config) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		l.wrong("AGENTKEY_TLS_CERT", "set AGENTKEY_TLS_CERT and AGENTKEY_TLS_KEY together")
	}
	if l.has("AGENTKEY_SMTP_URL") != l.has("AGENTKEY_SMTP_FROM") {
		l.wrong("AGENTKEY_SMTP_URL", "set AGENTKEY_SMTP_URL and AGENTKEY_SMTP_FROM together")
	}
	if (c.AI.BaseURL == "") != (c.AI.Model == "") {
		l.wrong("AGENTKEY_AI_BASE_URL", "set AGENTKEY_AI_BASE_URL and AGENTKEY_AI_MODEL together")
	}
	if !c.AI.Key.Empty() && c.AI.BaseURL == "" {
		l.wrong("AGENTKEY_AI_API_KEY", "it is of no use without AGENTKEY_AI_BASE_URL")
	}
	if u, err := url.Parse(c.AI.BaseURL); err == nil && u.Scheme == "http" && !c.AI.Key.Empty() && !isNear(u.Hostname()) {
		l.wrong("AGENTKEY_AI_BASE_URL", "AGENTKEY_AI_API_KEY would cross the network in clear: it must begin with https://, or name a host on this machine or a private network")
	}
	if l.has("AGENTKEY_EVENTSTORE_URL") && !l.has("AGENTKEY_MASTER_KEYS") {
		l.wrong("AGENTKEY_MASTER_KEYS", "it is required with AGENTKEY_EVENTSTORE_URL; make one with: openssl rand -base64 32")
	}
	// Keys would cross the network in clear.
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && !isLoopback(host) && c.TLSCert == "" && !c.BehindProxy {
		l.wrong("AGENTKEY_LISTEN", "%s is not loopback and would serve keys over plain HTTP: set AGENTKEY_TLS_CERT and AGENTKEY_TLS_KEY, "+
			"or AGENTKEY_PLAIN_HTTP=behind-proxy when a proxy in front of it does TLS", c.Listen)
	}
}

func mistakeUnless(right bool, format string, args ...any) error {
	if right {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func hostPort(text, example string) error {
	if _, _, err := net.SplitHostPort(text); err != nil {
		return errors.New("it must be host:port, such as " + example)
	}
	return nil
}
