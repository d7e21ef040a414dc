package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// engine is a Postgres or a Redis of one test, which may stop and start it.
type engine struct {
	t        testing.TB
	script   string // the one that serves it
	variable string // in which that tells its command where it is
	folder   string
	env      []string // that the script reads
	URL      string   // the same after every start

	command *exec.Cmd
	hold    io.Closer // it runs until this is closed; nil: it does not
}

func startPostgres(t testing.TB) *engine { return startEngine(t, "postgres", "TEST_DATABASE_URL") }

func startRedis(t testing.TB) *engine { return startEngine(t, "redis", "TEST_REDIS_URL") }

// startEngine serves an engine until the test ends.
func startEngine(t testing.TB, script, variable string, env ...string) *engine {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "agentkey-"+script+".") //nolint:usetesting // a socket's path must be short, and Postgres's own user gets in
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, script: filepath.Join("..", "..", "scripts", script), variable: variable, folder: folder, env: env}
	t.Cleanup(func() {
		e.stop()
		_ = os.RemoveAll(folder)
	})
	e.start()
	return e
}

// start returns when the engine serves, with the data that it had.
func (e *engine) start() {
	e.t.Helper()
	var wrote bytes.Buffer
	e.command = exec.Command(e.script, "sh", "-c", `echo "$`+e.variable+`"; exec cat`)
	e.command.Env = append(append(os.Environ(), e.env...), "ENGINE_FOLDER="+e.folder)
	e.command.Stderr = &wrote
	hold, err := e.command.StdinPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	says, err := e.command.StdoutPipe()
	if err == nil {
		err = e.command.Start()
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.hold = hold
	url, err := bufio.NewReader(says).ReadString('\n')
	if err != nil {
		e.stop()
		e.t.Fatalf("%s does not start: %v\n%s", e.script, err, wrote.String())
	}
	e.URL = strings.TrimSpace(url)
}

// stop ends the engine as its operator does: it says good-bye to its clients, and keeps its data if
// it does.
func (e *engine) stop() {
	e.t.Helper()
	if e.hold == nil {
		return
	}
	_ = e.hold.Close()
	e.hold = nil
	if err := e.command.Wait(); err != nil && !e.t.Failed() {
		e.t.Errorf("%s: %v", e.script, err)
	}
}

// crash ends a Postgres at once. What it had not written yet is lost.
func (e *engine) crash() {
	e.t.Helper()
	var pid int
	text, err := os.ReadFile(filepath.Join(e.folder, "data", "postmaster.pid"))
	if err == nil {
		_, err = fmt.Sscan(string(text), &pid)
	}
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGQUIT)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.stop()
}
