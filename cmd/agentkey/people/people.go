// Package people is the command line for people who administer AgentKey: it calls a running service
// over HTTP with the Go client, as they have signed in. It reads no configuration of the service
// and opens none of its files.
package people

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	agentkey "agentkey/clients/go"
)

// Commands are those of people. The audit's are with the others about the audit.
type Commands struct {
	Login       login       `cmd:"" help:"Sign in to a service, with a token or a sign-in link from standard input or a prompt."`
	Logout      logout      `cmd:"" help:"End the session on the service, and forget it."`
	Whoami      whoami      `cmd:"" help:"Show who you are signed in as, and where."`
	Agents      agents      `cmd:"" help:"List agents, register them, and end what they may do."`
	Tools       tools       `cmd:"" help:"List tools, add them, and replace their credentials."`
	Requests    requests    `cmd:"" help:"List what agents request, approve it or deny it."`
	Suggestions suggestions `cmd:"" help:"List the tools that agents suggest, accept or dismiss them."`
	Usage       usage       `cmd:"" help:"Count fetches of credentials by the hour or the day."`
	Completion  completion  `cmd:"" help:"Print the completion script of a shell."`
	Complete    complete    `cmd:"" hidden:"" passthrough:""`
}

// Shell is what a command gets from the world around it.
type Shell struct {
	Ctx     context.Context //nolint:containedctx // a command runs for exactly as long as its shell
	Environ []string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Version string
	Now     func() time.Time

	progress *progress // nil: nothing takes long
}

// UsageError is a command that can't be carried out as it was typed.
type UsageError struct{ error }

func misused(format string, arguments ...any) error {
	return UsageError{fmt.Errorf(format, arguments...)}
}

// Unreachable reports whether a command failed because the service gave no answer.
func Unreachable(err error) bool {
	_, is := errors.AsType[unreachableError](err)
	return is
}

// unreachableError is a service that gives no answer.
type unreachableError struct{ error }

// lookUp returns the value of an environment variable, "" if it isn't set.
func (sh *Shell) lookUp(name string) (value string) {
	for _, v := range sh.Environ {
		if rest, found := strings.CutPrefix(v, name+"="); found {
			value = rest
		}
	}
	return value
}

// Variables that take precedence over what login keeps.
const (
	urlVariable   = "AGENTKEY_URL"
	tokenVariable = "AGENTKEY_TOKEN"
	usualURL      = "http://127.0.0.1:8080"
)

// client calls the service that the variables name, or the one that somebody has signed in to.
func (sh *Shell) client() (*agentkey.Client, error) {
	address, token := strings.TrimSuffix(sh.lookUp(urlVariable), "/"), sh.lookUp(tokenVariable)
	kept, err := sh.kept()
	if err != nil {
		return nil, err
	}
	if address == "" {
		address = kept.URL
	}
	switch {
	case token != "":
		if address == "" {
			address = usualURL
		}
		return sh.calling(address, token, nil)
	case kept.Cookie == nil:
		return nil, misused("you are not signed in: run agentkey login, or set %s and %s", urlVariable, tokenVariable)
	case address != kept.URL:
		return nil, misused(
			"you are signed in to %s, and %s names %s: run agentkey login %s, or set %s", kept.URL, urlVariable, address,
			address, tokenVariable,
		)
	}
	c, err := sh.calling(address, "", kept.Cookie)
	if err != nil {
		return nil, err
	}
	c.HTTP.Transport = transport{sh.Version, kept.Cookie, func(position uint64) { sh.changed(kept, position) }}
	if sh.Now().Sub(kept.ChangedAt) < catchesUp {
		c.WaitFor(kept.Position)
	}
	return c, nil
}

// calling is a client with a token, or the cookie of a session.
func (sh *Shell) calling(address, token string, cookie *http.Cookie) (*agentkey.Client, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, misused("the address %q must begin with http:// or https://", address)
	}
	c := agentkey.New(address, token)
	c.HTTP.Transport = transport{version: sh.Version, cookie: cookie}
	c.Waiting = func(err error, pause time.Duration) {
		sh.say("%s Trying again in %s.", firstSentence(explained(err)), pause.Round(time.Second/10))
	}
	return c, nil
}

// transport adds to each call what HTTP says about the caller.
type transport struct {
	version string
	cookie  *http.Cookie // nil: the call has a token
	changed func(uint64) // learns the position of what a call did; nil: nobody wants it
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", "agentkey/"+t.version)
	if t.cookie != nil {
		r.AddCookie(t.cookie)
		r.Header.Set("Sec-Fetch-Site", "same-origin") // no page has sent it
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || t.changed == nil || r.Method == http.MethodGet {
		return response, err
	}
	if position, err := strconv.ParseUint(response.Header.Get("X-Event-Position"), 10, 64); err == nil {
		t.changed(position)
	}
	return response, nil
}

// explained is an error of a call in words for a person, who can't use the hints for programs.
func explained(err error) error {
	if refused, is := errors.AsType[*agentkey.Error](err); is {
		if refused.Code == "" {
			return fmt.Errorf("the address may be wrong: %w", refused)
		}
		var text strings.Builder
		text.WriteString(clean(refused.Problem.Detail))
		if refused.Problem.Details != nil {
			for _, d := range *refused.Problem.Details {
				fmt.Fprintf(&text, "\n  %s: %s", clean(d.Field), clean(d.Message))
			}
		}
		if refused.Status == http.StatusUnauthorized {
			text.WriteString(" Sign in with: agentkey login")
		}
		return refusedError{errors.New(text.String()), refused}
	}
	if unanswered, is := errors.AsType[*url.Error](err); is {
		at, _ := url.Parse(unanswered.URL)
		where := "the service"
		if at != nil {
			where = at.Scheme + "://" + at.Host
		}
		return unreachableError{fmt.Errorf("%s doesn't answer (%w). Does the service run there?", where, unanswered.Err)}
	}
	return err
}

// refusedError says for people what the service refused.
type refusedError struct {
	error

	is *agentkey.Error
}

// Unwrap returns what the service answered.
func (e refusedError) Unwrap() error { return e.is }

func firstSentence(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

// value is what an optional member has, or nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// given is a flag that was used, nil if it wasn't.
func given[T ~string](text string) *T {
	if text == "" {
		return nil
	}
	return new(T(text))
}

// only is a flag that names one of several values, nil if it wasn't used.
func only[T ~string](text string) *[]T {
	if text == "" {
		return nil
	}
	return &[]T{T(text)}
}
