package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"agentkey/api/limits"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/eventstore/seal"
)

// Config is everything that can be set. The zero value of a field is its documented default, filled in by
// LoadConfig.
type Config struct {
	Listen        string           // AGENTKEY_LISTEN
	DataDir       string           // AGENTKEY_DATA_DIR
	MasterKeys    []seal.MasterKey // AGENTKEY_MASTER_KEYS, current first; empty: the data folder's
	AdminToken    domain.Secret    // AGENTKEY_ADMIN_TOKEN; empty: one is made when the installation is begun
	EventStoreURL string           // AGENTKEY_EVENTSTORE_URL; empty: the embedded store
	DatabaseURL   string           // AGENTKEY_DATABASE_URL; empty: the read model is a file in the data folder
	Redis         *redis.Options   // AGENTKEY_REDIS_URL; nil: calls are counted in this process
	Limits        Limits
	Proxies       []netip.Prefix // AGENTKEY_TRUSTED_PROXIES
	AgentOrigins  []string       // AGENTKEY_AGENT_CORS_ORIGINS
	AdminOrigins  []string       // AGENTKEY_ADMIN_CORS_ORIGINS
	TLSCert       string         // AGENTKEY_TLS_CERT, a PEM file
	TLSKey        string         // AGENTKEY_TLS_KEY, a PEM file
	BehindProxy   bool           // AGENTKEY_PLAIN_HTTP=behind-proxy
	MetricsListen string         // AGENTKEY_METRICS_LISTEN; empty: no metrics are served
}

// Limits are the rules of the tiers.
type Limits struct{ Reads, Requests, Credentials, Admin, PreAuth limits.Rule }

// usageError is a mistake of whoever started us: exit code 2, and nothing was opened.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func isUsage(err error) bool { return errors.As(err, new(usageError)) }

// variables lists every name that is known. The value says whether it holds a secret and so may come from a file
// named by the same variable with the suffix _FILE.
var variables = map[string]bool{
	"AGENTKEY_LISTEN": false, "AGENTKEY_DATA_DIR": false, "AGENTKEY_MASTER_KEYS": true, "AGENTKEY_ADMIN_TOKEN": true,
	"AGENTKEY_EVENTSTORE_URL": true, "AGENTKEY_DATABASE_URL": true, "AGENTKEY_REDIS_URL": true, "AGENTKEY_LIMIT_READS": false, "AGENTKEY_LIMIT_REQUESTS": false,
	"AGENTKEY_LIMIT_CREDENTIALS": false, "AGENTKEY_LIMIT_ADMIN": false, "AGENTKEY_LIMIT_PREAUTH": false,
	"AGENTKEY_TRUSTED_PROXIES": false, "AGENTKEY_AGENT_CORS_ORIGINS": false, "AGENTKEY_ADMIN_CORS_ORIGINS": false,
	"AGENTKEY_TLS_CERT": false, "AGENTKEY_TLS_KEY": false, "AGENTKEY_PLAIN_HTTP": false,
	"AGENTKEY_METRICS_LISTEN": false,
}

// clientVariables are what agents' instructions tell agents to set; they may stand in the same shell and mean nothing here.
var clientVariables = []string{"AGENTKEY_URL", "AGENTKEY_API_KEY"}

// loader collects the mistakes of a configuration.
type loader struct {
	values   map[string]string
	mistakes []error
}

func (l *loader) wrong(name, format string, args ...any) {
	l.mistakes = append(l.mistakes, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

// LoadConfig reads the environment. Its error lists every mistake at once and holds no secret.
func LoadConfig(environ []string) (Config, error) {
	l := &loader{values: map[string]string{}}
	l.collect(environ)
	c := Config{
		Listen:        l.get("AGENTKEY_LISTEN", "127.0.0.1:8080"),
		DataDir:       l.get("AGENTKEY_DATA_DIR", "agentkey-data"),
		AdminToken:    l.token(),
		MasterKeys:    l.masterKeys(),
		EventStoreURL: l.url("AGENTKEY_EVENTSTORE_URL", "esdb", "esdb+discover"),
		DatabaseURL:   l.url("AGENTKEY_DATABASE_URL", "postgres", "postgresql"),
		Redis:         l.redis(),
		Limits: Limits{
			Reads:       l.rule("AGENTKEY_LIMIT_READS", "120/1m"),
			Requests:    l.rule("AGENTKEY_LIMIT_REQUESTS", "30/1h"),
			Credentials: l.rule("AGENTKEY_LIMIT_CREDENTIALS", "60/1m"),
			Admin:       l.rule("AGENTKEY_LIMIT_ADMIN", "120/1m"),
			PreAuth:     l.rule("AGENTKEY_LIMIT_PREAUTH", "600/1m"),
		},
		Proxies:      l.prefixes("AGENTKEY_TRUSTED_PROXIES"),
		AgentOrigins: l.origins("AGENTKEY_AGENT_CORS_ORIGINS"),
		AdminOrigins: l.origins("AGENTKEY_ADMIN_CORS_ORIGINS"),
		TLSCert:      l.get("AGENTKEY_TLS_CERT", ""),
		TLSKey:       l.get("AGENTKEY_TLS_KEY", ""),

		MetricsListen: l.get("AGENTKEY_METRICS_LISTEN", ""),
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		l.wrong("AGENTKEY_DATA_DIR", "%v", err)
	}
	c.DataDir = dir
	if (c.TLSCert == "") != (c.TLSKey == "") {
		l.wrong("AGENTKEY_TLS_CERT", "set AGENTKEY_TLS_CERT and AGENTKEY_TLS_KEY together")
	}
	switch plain := l.get("AGENTKEY_PLAIN_HTTP", ""); plain {
	case "":
	case "behind-proxy":
		c.BehindProxy = true
	default:
		l.wrong("AGENTKEY_PLAIN_HTTP", "the only value is behind-proxy")
	}
	l.address(c)
	if _, _, err := net.SplitHostPort(c.MetricsListen); err != nil && c.MetricsListen != "" {
		l.wrong("AGENTKEY_METRICS_LISTEN", "it must be host:port, such as 127.0.0.1:9090")
	}
	if len(l.mistakes) > 0 {
		slices.SortFunc(l.mistakes, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return Config{}, usageError{fmt.Errorf("the configuration is not valid:\n%w", errors.Join(l.mistakes...))}
	}
	return c, nil
}

func (l *loader) collect(environ []string) {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "AGENTKEY_") || value == "" || slices.Contains(clientVariables, name) {
			continue
		}
		if _, known := variables[name]; known {
			if _, twice := l.values[name]; twice {
				l.wrong(name, "set either it or %s_FILE, not both", name)
			}
			l.values[name] = value
			continue
		}
		base, isFile := strings.CutSuffix(name, "_FILE")
		if secret := variables[base]; !isFile || !secret {
			l.wrong(name, "there is no such setting")
			continue
		}
		raw, err := os.ReadFile(value) //nolint:gosec // the operator names the file
		if err != nil {
			l.wrong(name, "%v", err)
			continue
		}
		if _, twice := l.values[base]; twice {
			l.wrong(base, "set either it or %s, not both", name)
		}
		l.values[base] = strings.TrimSpace(string(raw))
	}
}

func (l *loader) get(name, fallback string) string {
	if v, set := l.values[name]; set {
		return v
	}
	return fallback
}

func (l *loader) rule(name, fallback string) limits.Rule {
	r, err := limits.ParseRule(l.get(name, fallback))
	if err != nil {
		l.wrong(name, "%v", err)
	}
	return r
}

func (l *loader) token() domain.Secret {
	text := l.get("AGENTKEY_ADMIN_TOKEN", "")
	if text == "" {
		return domain.Secret{}
	}
	if key, err := keys.Parse(text); err != nil || key.Kind != keys.Service {
		l.wrong("AGENTKEY_ADMIN_TOKEN", "it is no service token, or mistyped; make one with: agentkey token new")
	}
	return domain.NewSecret([]byte(text))
}

func (l *loader) masterKeys() []seal.MasterKey {
	var out []seal.MasterKey
	for i, text := range l.list("AGENTKEY_MASTER_KEYS") {
		key, err := seal.ParseMasterKey(text)
		if err != nil {
			l.wrong("AGENTKEY_MASTER_KEYS", "key %d: %v", i+1, err)
			continue
		}
		out = append(out, key)
	}
	if l.get("AGENTKEY_EVENTSTORE_URL", "") != "" && l.get("AGENTKEY_MASTER_KEYS", "") == "" {
		l.wrong("AGENTKEY_MASTER_KEYS", "it is required with AGENTKEY_EVENTSTORE_URL; make one with: openssl rand -base64 32")
	}
	return out
}

// url reads a URL of one of some schemes. What is wrong with it is said without repeating it: it may hold a password.
func (l *loader) url(name string, schemes ...string) string {
	raw := l.get(name, "")
	if raw == "" {
		return ""
	}
	if u, err := url.Parse(raw); err != nil || !slices.Contains(schemes, u.Scheme) {
		l.wrong(name, "it must begin with %s://", strings.Join(schemes, ":// or "))
	}
	return raw
}

func (l *loader) redis() *redis.Options {
	raw := l.get("AGENTKEY_REDIS_URL", "")
	if raw == "" {
		return nil
	}
	opts, err := limits.ParseURL(raw)
	if err != nil {
		l.wrong("AGENTKEY_REDIS_URL", "%v", err)
	}
	return opts
}

func (l *loader) list(name string) []string {
	var out []string
	for item := range strings.SplitSeq(l.get(name, ""), ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func (l *loader) prefixes(name string) []netip.Prefix {
	var out []netip.Prefix
	for _, item := range l.list(name) {
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			l.wrong(name, "%q is no CIDR such as 10.0.0.0/8", item)
			continue
		}
		out = append(out, prefix.Masked())
	}
	return out
}

func (l *loader) origins(name string) []string {
	out := l.list(name)
	for _, item := range out {
		u, err := url.Parse(item)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != item {
			l.wrong(name, "%q is no origin such as https://example.com", item)
		}
	}
	return out
}

// address refuses plain HTTP on anything but loopback: keys would cross the network in clear.
func (l *loader) address(c Config) {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		l.wrong("AGENTKEY_LISTEN", "it must be host:port, such as 127.0.0.1:8080")
		return
	}
	if !isLoopback(host) && c.TLSCert == "" && !c.BehindProxy {
		l.wrong("AGENTKEY_LISTEN", "%s is not loopback and would serve keys over plain HTTP: set AGENTKEY_TLS_CERT and AGENTKEY_TLS_KEY, "+
			"or AGENTKEY_PLAIN_HTTP=behind-proxy when a proxy in front of it does TLS", c.Listen)
	}
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
