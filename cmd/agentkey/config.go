package main

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"agentkey/api/door"
	"agentkey/audit/formats"
	"agentkey/cmd/agentkey/people"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/eventstore/seal"
	"agentkey/integrations/notify"
	"agentkey/integrations/oidc"
	"agentkey/integrations/outbound"
)

// Config is everything that can be set; see settings.
type Config struct {
	Listen         string
	MaxConnections int
	TLSCert        string // a PEM file; empty: plain HTTP
	TLSKey         string // a PEM file
	BehindProxy    bool
	Proxies        []netip.Prefix
	AgentOrigins   []string
	AdminOrigins   []string
	Witnesses      []formats.Witness
	MetricsListen  string           // empty: no metrics are served
	DataDir        string           // absolute
	DashboardDir   string           // absolute; empty: no dashboard is served
	Abandoned      []string         // installations that a new one may be begun without
	MasterKeys     []seal.MasterKey // current first; empty: the data folder's
	AdminToken     domain.Secret    // empty: one is made when the installation is begun
	EventStoreURL  string           // empty: the embedded store
	DatabaseSchema string           // of the read model in that database
	DatabaseURL    string           // empty: the read model is a file in the data folder
	Redis          *redis.Options   // nil: calls are counted in this process
	Limits         door.Rules
	Outbound       outbound.Network
	Dashboard      notify.Dashboard   // the zero one: messages have no links
	Mail           *notify.MailServer // nil: no e-mail is sent
	MailFrom       mail.Address
	AI             AI
	// SecurityContacts are URIs of those who want to know of vulnerabilities, most preferred first.
	SecurityContacts []string
	TracesURL        string // of an OTLP receiver; empty: nothing is traced
	// Issuers are the providers whose tokens are taken: that of the variables first, then the file's
	// list.
	Issuers []oidc.Issuer
}

// AI is the language model that writes setup guides.
type AI struct {
	BaseURL string // empty: there is none
	Model   string
	Key     domain.Secret // empty: none is sent
}

// usageError is a mistake in the arguments or the configuration: exit code 2, and nothing was
// opened.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func isUsage(err error) bool {
	return errors.As(err, new(usageError)) || errors.As(err, new(people.UsageError))
}

// clientVariables are those that agents' instructions and the commands for people use; the same
// shell may set them, and they mean nothing here.
var clientVariables = []string{"AGENTKEY_URL", "AGENTKEY_API_KEY", "AGENTKEY_TOKEN"}

// configVariable names the configuration file.
const configVariable = "AGENTKEY_CONFIG"

// loader collects values, and the mistakes of a configuration.
type loader struct {
	values   map[string]given // by the name of the setting
	mistakes []error
	listed   []*listed // the issuers of the file's list
}

// given is a value and where it was given, so that a mistake can be located. One that could not be
// read has no text.
type given struct{ text, where string }

// wrong notes what is wrong with a setting.
func (l *loader) wrong(name, format string, args ...any) {
	if v, found := l.values[name]; found {
		name = v.where
	}
	l.mistakes = append(l.mistakes, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

func (l *loader) has(name string) bool {
	_, found := l.values[name]
	return found
}

// LoadConfig reads the environment, and the file that AGENTKEY_CONFIG names for what the
// environment leaves out. Its error lists every mistake at once and holds no secret.
func LoadConfig(environ []string) (Config, error) {
	l := &loader{values: map[string]given{}}
	if path := l.environment(environ); path != "" {
		l.file(path)
	}
	var c Config
	l.take(&c, settings)
	if !l.has("AGENTKEY_LIMIT_ADMIN_READS") && !c.Limits.Admin.Off() {
		c.Limits.AdminReads = usualAdminReads
	}
	l.together(c)
	l.issuers(&c)
	if len(l.mistakes) > 0 {
		slices.SortFunc(l.mistakes, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return Config{}, usageError{fmt.Errorf("the configuration is not valid:\n%w", errors.Join(l.mistakes...))}
	}
	return c, nil
}

// take lets each setting take its value.
func (l *loader) take(c *Config, all []setting) {
	for _, s := range all {
		text := s.value
		if l.has(s.name) {
			text = l.values[s.name].text
		}
		if text == "" {
			continue
		}
		err := s.take(c, text)
		// Each is a mistake of its own.
		if several, joined := err.(interface{ Unwrap() []error }); joined {
			for _, err := range several.Unwrap() {
				l.wrong(s.name, "%v", err)
			}
		} else if err != nil {
			l.wrong(s.name, "%v", err)
		}
	}
}

// environment takes what the environment sets, and returns the path of the configuration file, ""
// when there is none.
func (l *loader) environment(environ []string) (path string) {
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		ours := strings.HasPrefix(name, "AGENTKEY_") && !slices.Contains(clientVariables, name)
		if text == "" || !ours && !slices.ContainsFunc(settings, func(s setting) bool { return s.name == name }) {
			continue
		}
		if name == configVariable {
			path = text
			continue
		}
		base, fromFile := strings.CutSuffix(name, "_FILE")
		i := slices.IndexFunc(
			settings, func(s setting) bool { return s.name == name || fromFile && s.secret && s.name == base },
		)
		if i < 0 {
			l.wrong(name, "there is no such setting")
			continue
		}
		s := settings[i]
		if l.has(s.name) {
			l.wrong(s.name, "set either %s or %s_FILE, not both", s.name, s.name)
		}
		l.values[s.name] = l.value(s.name, name == s.name, text, name)
	}
	return path
}

// value returns a value that was given as such, or as the path of a file of its own.
func (l *loader) value(name string, asSuch bool, text, where string) given {
	if asSuch {
		return given{text: text, where: where}
	}
	read := os.ReadFile
	if name == "AGENTKEY_MASTER_KEYS" {
		read = readMasterKeys
	}
	raw, err := read(text)
	held := strings.TrimSpace(string(raw))
	if err == nil && held == "" {
		err = fmt.Errorf("the file %s is empty", text)
	}
	if err != nil {
		l.wrong(where, "%v", err)
	}
	return given{text: held, where: where}
}

func adminToken(text string) (domain.Secret, error) {
	key, err := keys.Parse(text)
	switch {
	case err != nil || key.Kind != keys.Service:
		return domain.Secret{}, errors.New("it isn't a service token, or it is mistyped; make one with agentkey token new")
	case key.ID != uuid.Nil || key.Number != organization.ConfiguredToken:
		return domain.Secret{}, errors.New(
			"it is a token that can't be configured, because the event log gave it its number; make one with agentkey token new",
		)
	}
	return domain.NewSecret([]byte(text)), nil
}

func masterKeys(text string) (out []seal.MasterKey, err error) {
	for i, item := range list(text) {
		key, kerr := seal.ParseMasterKey(item)
		if kerr != nil {
			err = errors.Join(err, fmt.Errorf("key %d: %w", i+1, kerr))
		}
		out = append(out, key)
	}
	return out, err
}

// scheme checks a URL by how it begins. What is wrong with it is said without repeating it: it may
// hold a password.
func scheme(text string, schemes ...string) error {
	u, err := url.Parse(text)
	return mistakeUnless(
		err == nil && slices.Contains(schemes, u.Scheme), "it must begin with %s://", strings.Join(schemes, ":// or "),
	)
}

// endpoint checks a base URL, to which paths are added. A key has a setting of its own.
func endpoint(text string) error {
	u, err := url.Parse(text)
	right := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil &&
		u.RawQuery == "" && u.Fragment == ""
	return mistakeUnless(
		right, "it must be a URL such as https://api.example.com/v1, without a user, a query or a fragment",
	)
}

func headerText(text string) error {
	visible := !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
	return mistakeUnless(visible, "it must be visible ASCII characters")
}

func list(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func prefixes(text string) (out []netip.Prefix, err error) {
	for _, item := range list(text) {
		prefix, perr := netip.ParsePrefix(item)
		if perr != nil {
			err = errors.Join(err, fmt.Errorf("%q isn't a CIDR such as 10.0.0.0/8", item))
			continue
		}
		out = append(out, prefix.Masked())
	}
	return out, err
}

func origins(text string) (out []string, err error) {
	out = list(text)
	for _, item := range out {
		u, perr := url.Parse(item)
		if perr != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != item {
			err = errors.Join(err, fmt.Errorf("%q isn't an origin such as https://example.com", item))
		}
	}
	return out, err
}

// contacts reads where vulnerabilities are reported to: URIs, or e-mail addresses, which become
// URIs.
func contacts(text string) (out []string, err error) {
	for _, item := range list(text) {
		if a, aerr := mail.ParseAddress(item); aerr == nil && a.Address == item {
			item = "mailto:" + item
		}
		u, perr := url.Parse(item)
		right := perr == nil && headerText(item) == nil && (u.Scheme == "https" && u.Hostname() != "" ||
			slices.Contains([]string{"mailto", "tel"}, u.Scheme) && u.Opaque != "")
		if !right {
			err = errors.Join(err, fmt.Errorf(
				"it must be a list of e-mail addresses and https URLs, such as security@example.com, and %q is neither", item,
			))
		}
		out = append(out, item)
	}
	return out, err
}

func witnesses(text string) (out []formats.Witness, err error) {
	for _, item := range list(text) {
		w, werr := formats.ParseWitness(item)
		if werr != nil {
			err = errors.Join(err, fmt.Errorf("%q: %w", item, werr))
		}
		out = append(out, w)
	}
	return out, err
}

// isNear reports whether a host is this machine, or on a private network by its address or by a
// name without a dot.
func isNear(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return !strings.Contains(host, ".")
	}
	return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast()
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// secure reports whether browsers come over HTTPS.
func (c Config) secure() bool { return c.TLSCert != "" || c.BehindProxy }
