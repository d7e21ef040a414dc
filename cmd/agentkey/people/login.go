package people

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	agentkey "agentkey/clients/go"
)

// session is what login keeps in a file: no token, only a session that ends within a day and that
// logout ends on the service.
type session struct {
	URL    string       `json:"url"`
	Cookie *http.Cookie `json:"cookie"` // nil: nobody has signed in

	// What a command did, so that the next one's lists have it.
	Position  uint64    `json:"position,omitempty"`
	ChangedAt time.Time `json:"changed_at,omitzero"`
}

// catchesUp is how long lists may take to have what a command did.
const catchesUp = time.Minute

// changed notes the position of what a command did. A session that can't be written isn't worth the
// command's success: the next list may lack it for a moment.
func (sh *Shell) changed(s session, position uint64) {
	s.Position, s.ChangedAt = position, sh.Now()
	if err := sh.keep(s); err != nil {
		sh.say("The session can't be written: %v", err)
	}
}

// file is where the session is kept.
func (sh *Shell) file() (string, error) {
	folder := sh.lookUp("XDG_CONFIG_HOME")
	if folder == "" {
		home := sh.lookUp("HOME")
		if home == "" {
			return "", misused("neither HOME nor XDG_CONFIG_HOME is set: there is no place for a session; set %s", tokenVariable)
		}
		folder = filepath.Join(home, ".config")
	}
	return filepath.Join(folder, "agentkey", "session.json"), nil
}

// kept reads the session. It is empty if nobody has signed in.
func (sh *Shell) kept() (s session, err error) {
	path, err := sh.file()
	if err != nil {
		if sh.lookUp(tokenVariable) != "" {
			return session{}, nil
		}
		return session{}, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return session{}, nil
	}
	if err != nil {
		return session{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return session{}, misused(
			"others can read %s (mode %04o): run agentkey logout, and sign in again", path, info.Mode().Perm(),
		)
	}
	text, err := os.ReadFile(path) //nolint:gosec // in the user's own folder
	if err != nil {
		return session{}, err
	}
	if err := json.Unmarshal(text, &s); err != nil || s.Cookie == nil {
		return session{}, misused("%s isn't a session: remove it, and sign in again", path)
	}
	return s, nil
}

// keep writes the session, for this user alone.
func (sh *Shell) keep(s session) error {
	path, err := sh.file()
	if err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(path), "session.*.part") // mode 0600
	if err != nil {
		return err
	}
	_, err = part.Write(text)
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part.Name()))
	}
	return nil
}

type login struct {
	URL string `arg:"" optional:"" help:"The address of the service. Without it, that of the sign-in link, AGENTKEY_URL, or http://127.0.0.1:8080."`
}

// Help implements kong.HelpProvider.
func (login) Help() string {
	return "The token is a service token (sk_admin_…) or one of your identity provider. It is exchanged for a session " +
		"of 12 hours at most, and isn't kept. On the machine of the service, run: " +
		"agentkey admin login | agentkey login"
}

// linkPath is where a sign-in link leads.
const linkPath = "/auth/link?"

// Run signs in.
func (l *login) Run(sh *Shell) error {
	secret, err := sh.secret("Token or sign-in link")
	if err != nil {
		return err
	}
	address := strings.TrimSuffix(l.URL, "/")
	base, code, isLink := strings.Cut(secret, linkPath)
	if address == "" && isLink {
		address = base
	}
	if address == "" {
		address = strings.TrimSuffix(sh.lookUp(urlVariable), "/")
	}
	if address == "" {
		address = usualURL
	}
	c, err := sh.calling(address, "", nil)
	if err != nil {
		return err
	}
	if unprotected(address) {
		sh.say("%s isn't encrypted: others on the network can read what you send.", address)
	}
	var header http.Header
	if isLink {
		header, err = sh.followLink(c, code)
	} else {
		err = c.BeginSession(sh.Ctx, agentkey.SessionToken{Token: secret}, agentkey.WithHeaders(&header))
	}
	if err != nil {
		return explained(err)
	}
	cookie, err := sessionOf(header)
	if err != nil {
		return fmt.Errorf("%s doesn't answer like AgentKey: %w", address, err)
	}
	if c, err = sh.calling(address, "", cookie); err != nil {
		return err
	}
	who, err := c.GetAdmin(sh.Ctx)
	if err != nil {
		return explained(err)
	}
	if err := sh.keep(session{URL: address, Cookie: cookie}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(
		sh.Stdout, "Signed in to %s as %s, %s of %s, for %s.\n", address, named(who.Actor), who.Role,
		clean(who.Organization.Name), time.Duration(cookie.MaxAge)*time.Second,
	)
	return err
}

// followLink opens a sign-in link, which works once.
func (sh *Shell) followLink(c *agentkey.Client, code string) (http.Header, error) {
	request, err := http.NewRequestWithContext(sh.Ctx, http.MethodGet, c.URL+linkPath+code, http.NoBody)
	if err != nil {
		return nil, UsageError{errors.New("this isn't a sign-in link")}
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		if unanswered, is := errors.AsType[*url.Error](err); is {
			unanswered.URL = c.URL // the link is a secret
		}
		return nil, err
	}
	if err := response.Body.Close(); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusFound {
		return nil, errors.New("the service doesn't take this link: it works once and within five minutes; " +
			"agentkey admin login prints another one")
	}
	return response.Header, nil
}

// sessionOf finds the cookie of the session that an answer begins.
func sessionOf(header http.Header) (*http.Cookie, error) {
	for _, c := range (&http.Response{Header: header}).Cookies() {
		if strings.TrimPrefix(c.Name, "__Host-") == "agentkey" && c.Value != "" {
			return c, nil
		}
	}
	return nil, errors.New("it begins no session")
}

// unprotected reports whether anything but this machine could read what is sent to an address.
func unprotected(address string) bool {
	at, err := url.Parse(address)
	if err != nil || at.Scheme == "https" {
		return false
	}
	ip := net.ParseIP(at.Hostname())
	return at.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

type logout struct{}

// Run ends the session. Where the service can't be reached, the file is removed all the same.
func (logout) Run(sh *Shell) error {
	path, err := sh.file()
	if err != nil {
		return err
	}
	kept, broken := sh.kept()
	if broken == nil && kept.Cookie == nil {
		_, err := fmt.Fprintln(sh.Stdout, "You were not signed in.")
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	if broken != nil {
		return fmt.Errorf("removed %s, but the session may work until its time ends: %w", path, broken)
	}
	c, err := sh.calling(kept.URL, "", kept.Cookie)
	if err != nil {
		return err
	}
	if err := c.Logout(sh.Ctx); err != nil {
		return fmt.Errorf("removed %s, but the session may work until its time ends: %w", path, explained(err))
	}
	_, err = fmt.Fprintf(sh.Stdout, "Signed out of %s.\n", kept.URL)
	return err
}

type whoami struct {
	output
}

// Run shows who calls.
func (w *whoami) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	return show(sh, w.output, c, "/api/admin/me", func(who agentkey.Admin) error {
		return sh.facts(
			"service", c.URL, "you are", named(who.Actor), "role", string(who.Role), "organization",
			who.Organization.Name+" ("+who.Organization.ID+")",
		)
	})
}
