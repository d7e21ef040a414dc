package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"agentkey/api/door/limits"
	"agentkey/domain"
	"agentkey/integrations/notify"
	"agentkey/integrations/outbound"
	"agentkey/readmodels"
)

// setting is one thing that can be set.
type setting struct {
	name string // of the variable, AGENTKEY_… but for those that OpenTelemetry has named; see key
	// it may come from a file that name_FILE or key_file names, and must not be in the
	// configuration file
	secret  bool
	value   string // that it has when it is not set
	without string // what holds when it has none, for the documentation
	meaning string // likewise
	dials   []int  // usual ports of what it makes the program connect to, for the shipped network policy
	take    func(c *Config, text string) error
}

// key is its name in the configuration file.
func (s setting) key() string { return strings.ToLower(strings.TrimPrefix(s.name, "AGENTKEY_")) }

// usualAdminReads limits the reads of admins where their commands have a limit and reads are not
// set.
var usualAdminReads = limits.Rule{Limit: 600, Window: time.Minute}

// settings is the only place that lists them: what reads the environment and the configuration
// file, and docs/configuration.md, come from it.
var settings = slices.Concat([]setting{
	{
		name: "AGENTKEY_LISTEN", value: "127.0.0.1:8080",
		meaning: "`host:port` of the API. An address that isn't loopback needs TLS, or a proxy that terminates it",
		take:    func(c *Config, text string) error { c.Listen = text; return hostPort(text, "127.0.0.1:8080") },
	},
	{
		name: "AGENTKEY_MAX_CONNECTIONS", value: "1000",
		meaning: "connections to the API that may be open at once, from 1 to 100000. When all are, a new one takes the " +
			"place of the one that waits longest; where every one has a call under way, it gets 503 `busy`",
		take: func(c *Config, text string) (err error) {
			c.MaxConnections, err = strconv.Atoi(text)
			return mistakeUnless(
				err == nil && c.MaxConnections >= 1 && c.MaxConnections <= 100_000,
				"it must be a whole number from 1 to 100000",
			)
		},
	},
	{
		name: "AGENTKEY_TLS_CERT", without: "plain HTTP",
		meaning: "the certificate, a PEM file with its chain. You may replace it while `serve` runs",
		take:    func(c *Config, text string) error { c.TLSCert = text; return nil },
	},
	{
		name: "AGENTKEY_TLS_KEY", without: "plain HTTP",
		meaning: "the certificate's private key, a PEM file",
		take:    func(c *Config, text string) error { c.TLSKey = text; return nil },
	},
	{
		name: "AGENTKEY_PLAIN_HTTP", without: "on loopback only",
		meaning: "`behind-proxy`: allow plain HTTP on an address that isn't loopback, because a proxy terminates " +
			"TLS. Needs `AGENTKEY_TRUSTED_PROXIES`",
		take: func(c *Config, text string) error {
			c.BehindProxy = text == "behind-proxy"
			return mistakeUnless(c.BehindProxy, "the only value is behind-proxy")
		},
	},
	{
		name: "AGENTKEY_TRUSTED_PROXIES", without: "none",
		meaning: "list of CIDRs of proxies. Their `X-Forwarded-For` is trusted, read from the right",
		take:    func(c *Config, text string) (err error) { c.Proxies, err = prefixes(text); return err },
	},
	{
		name: "AGENTKEY_AGENT_CORS_ORIGINS", without: "none",
		meaning: "list of origins whose pages may call the agents' API",
		take:    func(c *Config, text string) (err error) { c.AgentOrigins, err = origins(text); return err },
	},
	{
		name: "AGENTKEY_ADMIN_CORS_ORIGINS", without: "none",
		meaning: "list of origins whose pages may call the admins' API",
		take:    func(c *Config, text string) (err error) { c.AdminOrigins, err = origins(text); return err },
	},
	{
		name: "AGENTKEY_WITNESSES", without: "none",
		meaning: "list of witnesses, as `agentkey audit witness` prints them, whose signatures on checkpoints are kept; " +
			"see [audit.md](audit.md)",
		take: func(c *Config, text string) (err error) { c.Witnesses, err = witnesses(text); return err },
	},
	{
		name: "AGENTKEY_METRICS_LISTEN", without: "not served",
		meaning: "`host:port` that serves `/metrics` to Prometheus, without a key",
		take:    func(c *Config, text string) error { c.MetricsListen = text; return hostPort(text, "127.0.0.1:9464") },
	},
	{
		name: "AGENTKEY_DASHBOARD_DIR", without: "no dashboard is served",
		meaning: "a folder with the static files of a dashboard, which are served on the origin of the API. A path that is " +
			"neither a file nor a route gets its `index.html`; see [members.md](members.md)",
		take: func(c *Config, text string) (err error) { c.DashboardDir, err = dashboardDir(text); return err },
	},
	{
		name: "AGENTKEY_DATA_DIR", value: "./agentkey-data",
		meaning: "the data folder. It is created with mode 0700 when it doesn't exist",
		take:    func(c *Config, text string) (err error) { c.DataDir, err = filepath.Abs(text); return err },
	},
	{
		name: "AGENTKEY_ABANDON", without: "none",
		meaning: "ids of installations that you give up. Where the event log is empty although the data folder or the read " +
			"model belongs to one of these, a new installation is begun; without it, `serve` refuses",
		take: func(c *Config, text string) error { c.Abandoned = strings.Fields(text); return nil },
	},
	{
		name: "AGENTKEY_MASTER_KEYS", secret: true,
		without: "created in the data folder when the log is empty; required with an external log",
		meaning: "list of 32-byte base64 keys: the current key first, then former keys that may still decrypt",
		take:    func(c *Config, text string) (err error) { c.MasterKeys, err = masterKeys(text); return err },
	},
	{
		name: "AGENTKEY_ADMIN_TOKEN", secret: true, without: "created at the first start, in `first-admin-token`",
		meaning: "owner token of the first organization, from `agentkey token new`. A new value replaces the old " +
			"token at the next start, and without one it ends",
		take: func(c *Config, text string) (err error) { c.AdminToken, err = adminToken(text); return err },
	},
	{
		name: "AGENTKEY_EVENTSTORE_URL", secret: true, without: "the embedded store",
		dials:   []int{2113},
		meaning: "`esdb://…` or `esdb+discover://…`: an external event log; see [eventstoredb.md](eventstoredb.md)",
		take: func(c *Config, text string) error {
			c.EventStoreURL = text
			return scheme(text, "esdb", "esdb+discover")
		},
	},
	{
		name: "AGENTKEY_DATABASE_URL", secret: true, without: "an SQLite file in the data folder",
		dials:   []int{5432},
		meaning: "`postgres://…`: a read model that all processes share",
		take: func(c *Config, text string) error {
			c.DatabaseURL = text
			return scheme(text, "postgres", "postgresql")
		},
	},
	{
		name: "AGENTKEY_DATABASE_SCHEMA", value: "agentkey",
		meaning: "the schema of the read model, beside which the ledger has its own; installations that share a database " +
			"each name another one",
		take: func(c *Config, text string) error {
			c.DatabaseSchema = text
			if !readmodels.ValidSchema(text) {
				return errors.New("it must be at most 38 lower-case letters, digits and _, begin with a letter, and be no name " +
					"that " +
					"Postgres or another schema needs: pg_…, reporting, …_reporting, …_ledger, or … with a fingerprint")
			}
			return nil
		},
	},
	{
		name: "AGENTKEY_REDIS_URL", secret: true, without: "each process counts for itself",
		dials:   []int{6379},
		meaning: "`redis://…`, `rediss://…` or `unix://…`: rate limits that all processes share",
		take:    func(c *Config, text string) (err error) { c.Redis, err = limits.ParseURL(text); return err },
	},
	{
		name: "AGENTKEY_LIMIT_READS", value: "120/1m",
		meaning: "read calls per agent and period, all of which may come in one burst, or `off`. The limits below " +
			"have the same form",
		take: func(c *Config, text string) (err error) { c.Limits.Reads, err = limits.ParseRule(text); return err },
	},
	{
		name: "AGENTKEY_LIMIT_REQUESTS", value: "30/1h", meaning: "access requests per agent",
		take: func(c *Config, text string) (err error) { c.Limits.Requests, err = limits.ParseRule(text); return err },
	},
	{
		name: "AGENTKEY_LIMIT_CREDENTIALS", value: "60/1m", meaning: "credential fetches per agent",
		take: func(c *Config, text string) (err error) {
			c.Limits.Credentials, err = limits.ParseRule(text)
			return err
		},
	},
	{
		name: "AGENTKEY_LIMIT_ADMIN", value: "120/1m", meaning: "commands per service token",
		take: func(c *Config, text string) (err error) { c.Limits.Admin, err = limits.ParseRule(text); return err },
	},
	{
		name: "AGENTKEY_LIMIT_ADMIN_READS", without: "`600/1m`, or `off` where `AGENTKEY_LIMIT_ADMIN` is off",
		meaning: "reads per service token. They never use up the limit of commands, which suspending an agent needs",
		take: func(c *Config, text string) (err error) {
			c.Limits.AdminReads, err = limits.ParseRule(text)
			return err
		},
	},
	{
		name: "AGENTKEY_LIMIT_PREAUTH", value: "600/1m", meaning: "failed authentications per address",
		take: func(c *Config, text string) (err error) { c.Limits.PreAuth, err = limits.ParseRule(text); return err },
	},
	{
		name: "AGENTKEY_OUTBOUND_ALLOW", without: "public addresses only, on ports 443 and 80",
		dials: []int{9093},
		meaning: "list of networks (`10.0.0.0/8`), addresses and host names (`alertmanager`, `*.corp.example` for " +
			"all below) " +
			"that user-supplied URLs (documentation, webhooks) may also reach, also over plain HTTP. Any port, or " +
			"with `:9093` only that one",
		take: func(c *Config, text string) (err error) {
			c.Outbound.Allow, err = outbound.ParseRules(list(text))
			return err
		},
	},
	{
		name: "AGENTKEY_OUTBOUND_PROXY", secret: true, without: "calls go out directly",
		dials: []int{3128},
		meaning: "`http://user:password@proxy:3128`, an HTTP proxy for notifications, documentation pages, and a " +
			"language model or " +
			"receiver of traces that isn't near. Mail, the event log, Postgres and Redis don't use it",
		take: func(c *Config, text string) (err error) {
			c.Outbound.Proxy, err = outbound.ParseProxy(text)
			return err
		},
	},
	{
		name: "AGENTKEY_OUTBOUND_DIRECT", without: "none",
		dials:   []int{9093},
		meaning: "list of networks and host names, as above, that are called without the proxy",
		take: func(c *Config, text string) (err error) {
			c.Outbound.Direct, err = outbound.ParseRules(list(text))
			return err
		},
	},
	{
		name: "AGENTKEY_DASHBOARD_URL", without: "notifications contain no links",
		meaning: "URL of the dashboard. Notifications link to its pages `/requests/…`, `/suggestions/…`, " +
			"`/instruction-suggestions/…`, `/tools/…` and `/agents/…`",
		take: func(c *Config, text string) (err error) {
			c.Dashboard, err = notify.ParseDashboard(text)
			return err
		},
	},
	{
		name: "AGENTKEY_SMTP_URL", secret: true, without: "e-mail is off",
		dials: []int{587, 465},
		meaning: "`smtp://user:password@host:587` (with STARTTLS) or `smtps://user:password@host:465`, the mail " +
			"server for notifications. On loopback, also `smtp://127.0.0.1:1025?tls=off`",
		take: func(c *Config, text string) error {
			server, err := notify.ParseMailServer(text)
			c.Mail = &server
			return err
		},
	},
	{
		name: "AGENTKEY_SMTP_FROM", without: "e-mail is off",
		meaning: "the sender address of e-mails, such as `AgentKey <agentkey@example.com>`",
		take:    func(c *Config, text string) (err error) { c.MailFrom, err = notify.ParseMailFrom(text); return err },
	},
	{
		name: "AGENTKEY_AI_BASE_URL", without: "only built-in setup guides",
		dials: []int{443, 11434},
		meaning: "`http(s)://…/v1`, an endpoint with an OpenAI-compatible API (a hosted gateway, Ollama, vLLM) that " +
			"writes setup guides",
		take: func(c *Config, text string) (err error) { c.AI.BaseURL = text; return endpoint(text) },
	},
	{
		name: "AGENTKEY_AI_API_KEY", secret: true, without: "no key is sent",
		meaning: "the endpoint's key. It is never sent over plain HTTP to a public network",
		take: func(c *Config, text string) error {
			c.AI.Key = domain.NewSecret([]byte(text))
			return headerText(text)
		},
	},
	{
		name: "AGENTKEY_AI_MODEL", without: "required with `AGENTKEY_AI_BASE_URL`",
		meaning: "the model's name at that endpoint",
		take:    func(c *Config, text string) error { c.AI.Model = text; return nil },
	},
	{
		name: "AGENTKEY_SECURITY_CONTACT", without: "`/.well-known/security.txt` is 404",
		meaning: "list of e-mail addresses and `https://…` pages that take reports of vulnerabilities of this " +
			"installation, most preferred first. Anyone can read them at `/.well-known/security.txt`",
		take: func(c *Config, text string) (err error) { c.SecurityContacts, err = contacts(text); return err },
	},
	{
		name: "OTEL_EXPORTER_OTLP_ENDPOINT", without: "tracing is off",
		dials:   []int{4318},
		meaning: "URL of an OTLP receiver. Traces are sent to `/v1/traces` as protobuf over HTTP",
		take: func(c *Config, text string) error {
			c.TracesURL = strings.TrimRight(text, "/") + "/v1/traces"
			return scheme(text, "http", "https")
		},
	},
	{
		name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", without: "as above",
		dials:   []int{4318},
		meaning: "the full URL for traces",
		take:    func(c *Config, text string) error { c.TracesURL = text; return scheme(text, "http", "https") },
	},
	{
		name: "OTEL_SDK_DISABLED", value: "false",
		meaning: "`true` turns tracing off, whatever the settings above say",
		take: func(c *Config, text string) error {
			if strings.EqualFold(text, "true") {
				c.TracesURL = ""
			}
			return nil
		},
	},
}, oidcSettings)

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
		l.wrong("AGENTKEY_AI_API_KEY", "it has no effect without AGENTKEY_AI_BASE_URL")
	}
	if u, err := url.Parse(c.AI.BaseURL); err == nil && u.Scheme == "http" && !c.AI.Key.Empty() &&
		!isNear(u.Hostname()) {
		l.wrong(
			"AGENTKEY_AI_BASE_URL",
			"AGENTKEY_AI_API_KEY would cross the network unencrypted: use https://, or a host on this machine or a "+
				"private network",
		)
	}
	if l.has("AGENTKEY_EVENTSTORE_URL") && !l.has("AGENTKEY_MASTER_KEYS") {
		l.wrong(
			"AGENTKEY_MASTER_KEYS",
			"it is required with AGENTKEY_EVENTSTORE_URL; create one with: openssl rand -base64 32",
		)
	}
	if len(c.Outbound.Direct) > 0 && c.Outbound.Proxy == nil {
		l.wrong("AGENTKEY_OUTBOUND_DIRECT", "it has no effect without AGENTKEY_OUTBOUND_PROXY")
	}
	if c.BehindProxy && len(c.Proxies) == 0 {
		l.wrong("AGENTKEY_TRUSTED_PROXIES", "it is required with AGENTKEY_PLAIN_HTTP=behind-proxy: name the addresses of "+
			"the proxy, such as 10.0.0.5/32, "+
			"or all callers count as one")
	}
	// Keys would cross the network in clear.
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && !isLoopback(host) && c.TLSCert == "" &&
		!c.BehindProxy {
		l.wrong("AGENTKEY_LISTEN", "%s isn't a loopback address, so keys would be served over plain HTTP: set "+
			"AGENTKEY_TLS_CERT and AGENTKEY_TLS_KEY, "+
			"or AGENTKEY_PLAIN_HTTP=behind-proxy if a proxy terminates TLS", c.Listen)
	}
}

func mistakeUnless(right bool, format string, args ...any) error {
	if right {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// dashboardDir checks a folder with the files of a dashboard.
func dashboardDir(text string) (string, error) {
	page := filepath.Join(text, "index.html")
	if info, err := os.Stat(page); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("there is no file %s", page)
	}
	return filepath.Abs(text)
}

func hostPort(text, example string) error {
	if _, _, err := net.SplitHostPort(text); err != nil {
		return errors.New("it must be host:port, such as " + example)
	}
	return nil
}
