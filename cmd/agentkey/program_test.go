package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest/wait"
)

// asProgram makes the test binary be the program itself, so that tests can kill it.
const asProgram = "TEST_RUN_AS_PROGRAM"

func TestMain(m *testing.M) {
	commands.Replacing = commands.Replacement{Lease: 2 * time.Second, Patience: 6 * time.Second}
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// lines collects what a program writes; waiting for a text ends when it is there.
type lines struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.text.Write(b)
}

// String is everything written so far.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) find(pattern *regexp.Regexp) (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := pattern.FindStringSubmatch(l.text.String()); m != nil {
		return m[1], l.changed
	}
	return "", l.changed
}

// program is a serve process: the real wiring over a real socket, in this process or in one of its
// own.
type program struct {
	t      testing.TB
	Dir    string
	URL    string
	Token  string // of the admin; kept over restarts
	stdout *lines
	stderr *lines
	seen   atomic.Uint64 // see client

	unverified bool // the log that it leaves is not verified: a test forges events, or another program has the same

	env     []string
	args    []string  // none: serve
	command *exec.Cmd // nil: it runs in this process
	binary  string    // of the command; empty: the one of the tests
	cancel  context.CancelFunc
	ended   chan int
}

// start runs the program in this process, in a data folder of its own unless env names one, until
// the test ends. Unless env names a server, the folder has the log too: the test begins with an
// installation that has nothing, and may look into the files. The log that it leaves is verified
// from its bytes.
func start(t testing.TB, env ...string) *program {
	t.Helper()
	p := newProgram(t, env)
	p.run()
	return p
}

// startProcess is start in a process of its own, which can be killed.
func startProcess(t testing.TB, env ...string) *program {
	t.Helper()
	p := newProgram(t, env)
	p.command = &exec.Cmd{}
	p.run()
	return p
}

func newProgram(t testing.TB, env []string) *program {
	t.Helper()
	p := &program{t: t, env: append([]string{"AGENTKEY_LISTEN=127.0.0.1:0"}, env...)}
	onServer := false
	for _, e := range p.env {
		if dir, found := strings.CutPrefix(e, "AGENTKEY_DATA_DIR="); found {
			p.Dir = dir
		}
		onServer = onServer || strings.HasPrefix(e, "AGENTKEY_EVENTSTORE_URL=")
	}
	if !onServer {
		alone(t, "it begins in a data folder, with an installation that has nothing")
	}
	if p.Dir == "" {
		p.Dir = t.TempDir()
		p.env = append(p.env, "AGENTKEY_DATA_DIR="+p.Dir)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the program wrote:\n%s", tail(p.stderr.String()))
		}
	})
	return p
}

func tail(text string) string { return text[max(0, len(text)-8000):] }

var listens = regexp.MustCompile(`AgentKey listens on (\S+)`)

// run starts the program and returns when it listens and is ready.
func (p *program) run() {
	p.t.Helper()
	p.launch()
	p.begun()
	c := p.anyone()
	wait.Until(p.t, "ready", func() bool {
		a := c.call("GET", "/readyz", nil)
		return a.Status == 200 && !strings.Contains(string(a.Body), notCaughtUp) // queries answer too
	})
}

// begun waits until the program listens.
func (p *program) begun() {
	p.t.Helper()
	p.URL = p.await(p.stdout, listens)
	if token, err := os.ReadFile(filepath.Join(p.Dir, firstTokenFile)); err == nil && p.Token == "" {
		p.Token = strings.TrimSpace(string(token))
	}
	for _, e := range p.env {
		if token, found := strings.CutPrefix(e, "AGENTKEY_ADMIN_TOKEN="); found {
			p.Token = token
		}
	}
}

func (p *program) launch() {
	p.t.Helper()
	p.stdout, p.stderr, p.ended = newLines(), newLines(), make(chan int, 1)
	args := p.args
	if len(args) == 0 {
		args = []string{"serve"}
	}
	if p.command == nil {
		ctx, cancel := context.WithCancel(context.Background())
		p.cancel = cancel
		ended, stdout, stderr := p.ended, p.stdout, p.stderr
		go func() { ended <- run(ctx, args, p.env, strings.NewReader(""), stdout, stderr) }()
		return
	}
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	p.command = exec.Command(cmp.Or(p.binary, self), args...)
	p.command.Env = append(append(os.Environ(), p.env...), asProgram+"=1")
	p.command.Stdout, p.command.Stderr = p.stdout, p.stderr
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
	command, ended := p.command, p.ended
	p.cancel = func() { _ = command.Process.Signal(syscall.SIGTERM) }
	go func() {
		err := command.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			ended <- exit.ExitCode()
			return
		}
		ended <- 0
	}()
}

// await waits for a text that the program writes.
func (p *program) await(out *lines, pattern *regexp.Regexp) string {
	p.t.Helper()
	deadline := time.After(wait.Patience)
	for {
		text, more := out.find(pattern)
		if text != "" {
			return text
		}
		select {
		case <-more:
		case code := <-p.ended:
			p.ended <- code
			p.t.Fatalf("the program ended with %d:\n%s", code, p.stderr)
		case <-deadline:
			p.t.Fatalf("the program never wrote %s:\n%s", pattern, p.stderr)
		}
	}
}

// stop ends the program gracefully and verifies the log that it leaves.
func (p *program) stop() {
	p.t.Helper()
	if p.cancel == nil {
		return
	}
	p.cancel()
	p.cancel = nil
	if code := <-p.ended; code != exitOK {
		p.t.Errorf("the program ended with %d:\n%s", code, tail(p.stderr.String()))
	}
	if !p.unverified {
		p.verify()
	}
}

// kill ends a process at once, as a power cut would.
func (p *program) kill() {
	p.t.Helper()
	p.cancel = nil
	if err := p.command.Process.Kill(); err != nil {
		p.t.Error(err)
	}
	<-p.ended
}

// restart stops the program and starts it again on the same data.
func (p *program) restart() {
	p.t.Helper()
	p.stop()
	p.run()
}

// shell runs another command of the program on the same configuration and returns what it printed.
func (p *program) shell(args ...string) string {
	p.t.Helper()
	code, stdout, stderr := runCommand(p.t, p.env, args...)
	if code != exitOK {
		p.t.Fatalf("agentkey %s: exit %d: %s", strings.Join(args, " "), code, stderr)
	}
	return strings.TrimSpace(stdout)
}

// runCommand runs the program to its end.
func runCommand(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(context.Background(), args, env, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

// office joins the installation on the program's configuration.
func (p *program) office(do func(context.Context, *office) error) {
	p.t.Helper()
	sh := &shell{ctx: context.Background(), environ: p.env, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	if err := inOffice(sh, do); err != nil {
		p.t.Errorf("%v\n%s", err, sh.stderr)
	}
}

// verify reads the whole log, whatever serves it, and checks its signatures, its chains and its
// order.
func (p *program) verify() {
	p.t.Helper()
	p.office(func(ctx context.Context, o *office) error {
		next := map[string]uint64{}
		position, chain := uint64(0), o.inst.Log.NewWholeChain()
		return walk(ctx, o.client, func(e eventstore.Recorded) error {
			if _, err := chain.Next(ctx, e); err != nil {
				return err
			}
			category, _, _ := strings.Cut(e.Stream, "-")
			if e.Revision != next[e.Stream] && category != "once" { // expired once- streams begin again
				return fmt.Errorf("%s has revision %d after %d", e.Stream, e.Revision, next[e.Stream])
			}
			if e.Position <= position {
				return fmt.Errorf("position %d follows %d", e.Position, position)
			}
			next[e.Stream], position = e.Revision+1, e.Position
			return nil
		})
	})
}

// walk hands every event of ours to fn, in the order of the log. On a server that tests share, the
// contract suite writes streams too.
func walk(ctx context.Context, client *eventstore.Client, fn func(eventstore.Recorded) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, err := client.SubscribeAll(ctx, 0, eventstore.Filter{Types: "^[^$~]"})
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		item, err := sub.Next()
		switch {
		case err != nil:
			return err
		case item.CaughtUp:
			return nil
		case item.Event != nil && !strings.HasPrefix(item.Event.Stream, "test-"):
			if err := fn(*item.Event); err != nil {
				return err
			}
		}
	}
}
