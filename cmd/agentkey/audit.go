package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"agentkey/audit/formats"
	"agentkey/cmd/agentkey/people"
)

type auditCommand struct {
	List people.Audit `cmd:"" default:"withargs" help:"Show the audit of a running service, to people. This is what agentkey audit does alone."`

	Export auditExportCommand `cmd:"" help:"Download the audit from a running service."`
	Verify auditVerifyCommand `cmd:"" help:"Check a bundle, an evidence pack or a receipt. Without --live it needs no network."`

	Evidence auditEvidenceCommand `cmd:"" help:"Download the evidence for an access audit of a period: who had access to what, who decided it, what changed, and the proof."`

	Replay auditReplayCommand `cmd:"" help:"Compute from the events alone what there was at a moment, and compare it with what the service says about that moment."`

	Witness auditWitnessCommand `cmd:"" help:"Watch a service that somebody else runs, and sign that its history only grew."`
}

// remote is a running service, as an auditor reaches it.
type remote struct {
	URL       string `default:"http://127.0.0.1:8080" help:"The address of the service."`
	TokenFile string `placeholder:"FILE" type:"existingfile" help:"A file with a service token. Without it, the token in AGENTKEY_ADMIN_TOKEN is used."`
}

func (r remote) get(ctx context.Context, sh *shell, path string, query url.Values) (*http.Response, error) {
	return r.send(ctx, sh, http.MethodGet, path, query, nil)
}

// send calls the service. An answer that isn't a success is an error with what the service says.
func (r remote) send(
	ctx context.Context, sh *shell, method, path string, query url.Values, body io.Reader,
) (*http.Response, error) {
	token := lookUp(sh.environ, "AGENTKEY_ADMIN_TOKEN")
	if r.TokenFile != "" {
		text, err := os.ReadFile(r.TokenFile)
		if err != nil {
			return nil, err
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" {
		return nil, usageError{errors.New("there is no token: set AGENTKEY_ADMIN_TOKEN or name a file with --token-file")}
	}
	if !strings.HasPrefix(r.URL, "http://") && !strings.HasPrefix(r.URL, "https://") {
		return nil, usageError{fmt.Errorf("the address %q must begin with http:// or https://", r.URL)}
	}
	address := strings.TrimSuffix(r.URL, "/") + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	q, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, usageError{err}
	}
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	q.Header.Set("Authorization", "Bearer "+token)
	// the token goes to the address that was named, and to no other
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	a, err := client.Do(q)
	if err != nil {
		return nil, fmt.Errorf("%w; does the service run there?", err)
	}
	if a.StatusCode == http.StatusOK || a.StatusCode == http.StatusNoContent {
		return a, nil
	}
	defer a.Body.Close() //nolint:errcheck // nothing more is read from it
	var problem struct{ Detail, Hint string }
	if err := json.NewDecoder(io.LimitReader(a.Body, 1<<20)).Decode(&problem); err != nil || problem.Detail == "" {
		return nil, &answeredError{a.StatusCode, address + " answers " + a.Status + "; is it the address of the service?"}
	}
	return nil, &answeredError{
		a.StatusCode, "the service answers: " + printable(problem.Detail) + " " + printable(problem.Hint),
	}
}

// answeredError is an answer that isn't a success.
type answeredError struct {
	status int
	says   string
}

// Error implements error.
func (e *answeredError) Error() string { return e.says }

// passes reports whether the same call may succeed a little later.
func (e *answeredError) passes() bool {
	return e.status >= 500 || e.status == http.StatusTooManyRequests
}

// printable is a text of somebody who isn't trusted, without what a terminal would act on.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// consistency asks for the proof that one size of the ledger begins with another.
func (r remote) consistency(sh *shell, from, to int64) (proof formats.Consistency, err error) {
	err = r.getJSON(sh, "/api/admin/audit/consistency", url.Values{
		"from": {strconv.FormatInt(from, 10)}, "to": {strconv.FormatInt(to, 10)},
	}, &proof)
	return proof, err
}

// getJSON reads a small answer.
func (r remote) getJSON(sh *shell, path string, query url.Values, into any) error {
	text, err := r.getText(sh, path, query)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func (r remote) getText(sh *shell, path string, query url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(sh.ctx, time.Minute)
	defer cancel()
	a, err := r.get(ctx, sh, path, query)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close() //nolint:errcheck // it was read to its end, or the error of that counts
	return io.ReadAll(io.LimitReader(a.Body, 64<<20))
}

// lookUp returns the value of an environment variable, "" if it isn't set.
func lookUp(environ []string, name string) (value string) {
	for _, v := range environ {
		if rest, found := strings.CutPrefix(v, name+"="); found {
			value = rest
		}
	}
	return value
}

type auditExportCommand struct {
	remote

	File      string `arg:"" help:"The file to create. It must not exist yet." type:"path"`
	Format    string `enum:"bundle,jsonl,csv,ocsf" default:"bundle" help:"bundle: a ZIP archive that proves itself. jsonl: events as they are stored. csv: a table. ocsf: OCSF 1.3.0 for a SIEM, a line per event."`
	From      string `help:"Not before this time (RFC 3339)."`
	To        string `help:"Before this time (RFC 3339)."`
	ActorType string `help:"Only what this type of actor did. This and the four below don't work with a bundle."`
	ActorID   string `help:"Only what this actor did."`
	AgentID   string `help:"Only what is by or about this agent."`
	ToolID    string `help:"Only what is about this tool."`
	Action    string `help:"Only this action, such as credential.vended."`
}

// Run downloads the audit. A file that isn't whole doesn't get the name.
func (x *auditExportCommand) Run(sh *shell) (err error) {
	query := url.Values{"format": {x.Format}}
	for name, value := range map[string]string{
		"from": x.From, "to": x.To, "actor_type": x.ActorType, "actor_id": x.ActorID, "agent_id": x.AgentID,
		"tool_id": x.ToolID, "action": x.Action,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if _, err := os.Stat(x.File); err == nil {
		return usageError{fmt.Errorf("%s exists already: name another file", x.File)}
	}
	entries, err := x.download(sh, auditExportPath, query, x.File)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(sh.stdout, "Exported %d entries to %s.\n", entries, x.File)
	return err
}

const (
	auditExportPath = "/api/admin/audit/export"
	evidencePath    = "/api/admin/audit/evidence"
)

type auditEvidenceCommand struct {
	remote

	File string `arg:"" help:"The file to create. It must not exist yet." type:"path"`
	From string `required:"" help:"The start of the period (RFC 3339)."`
	To   string `required:"" help:"The end of the period (RFC 3339): what happened at this time or later isn't in it."`
}

// Run downloads an evidence pack.
func (x *auditEvidenceCommand) Run(sh *shell) error {
	if _, err := os.Stat(x.File); err == nil {
		return usageError{fmt.Errorf("%s exists already: name another file", x.File)}
	}
	entries, err := x.download(sh, evidencePath, url.Values{"from": {x.From}, "to": {x.To}}, x.File)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(
		sh.stdout, "Wrote the evidence for the period, with the proof of %d entries, to %s.\n", entries, x.File,
	)
	return err
}

// counting counts what goes through it, and shows it.
type counting struct {
	show  func(string) // nil: nobody watches
	n, of int64
	unit  string // bytes, or what else is counted
	shown time.Time
}

// Write implements io.Writer: it counts bytes.
func (c *counting) Write(text []byte) (int, error) {
	c.n += int64(len(text))
	c.tell(false)
	return len(text), nil
}

func (c *counting) tell(now bool) {
	if c.show == nil || !now && time.Since(c.shown) < 100*time.Millisecond {
		return
	}
	c.shown = time.Now()
	if c.unit == "bytes" {
		c.show(fmt.Sprintf("%d kB", c.n/1000))
		return
	}
	c.show(bar(c.n, c.of))
}

func (c *counting) done() {
	if c.show != nil {
		c.tell(true)
		c.show("\n")
	}
}

// bar is a bar of progress.
func bar(n, of int64) string {
	const width = 30
	part := 1.0
	if of > 0 {
		part = min(float64(max(n, 0))/float64(of), 1)
	}
	full := int(part * width)
	return fmt.Sprintf("[%-*s] %3.0f %%  %d of %d entries", width, strings.Repeat("=", full), part*100, max(n, 0), of)
}

// progressOn returns a function that shows progress on a terminal, nil if w isn't one.
func progressOn(w io.Writer) func(string) {
	if !isTerminal(w) {
		return nil
	}
	return func(text string) {
		if text != "\n" {
			text = "\r\x1b[K" + text
		}
		_, _ = io.WriteString(w, text) // it is only for watching
	}
}
