package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"agentkey/eventstore/eventstoretest/wait"
)

// exportMiB is how much memory an export of any length may take of the server's process, and of the
// command's.
const exportMiB = 100

// BenchmarkExport exports a million events from a server in a process of its own: over HTTP, to a
// reader that keeps nothing, and with the command, which writes a file. Both are the released
// binary: in the one of the tests the tests take memory too.
func BenchmarkExport(b *testing.B) {
	const events = 1_000_000
	if out, err := exec.CommandContext(b.Context(), "make", "-C", "../..", "build").CombinedOutput(); err != nil {
		b.Fatalf("build the program: %v: %s", err, out)
	}
	p := newProgram(b, unlimited)
	p.unverified = true // it is large
	p.command, p.binary = &exec.Cmd{}, "../../bin/agentkey"
	p.run()
	f := mustFleet(p, 64, 10)
	p.stop()
	seed(b, p, f, events)
	p.shell("projections", "rebuild")
	p.run()
	wait.Until(b, "covered", func() bool {
		note := strings.Split(string(p.admin().call("GET", checkpointPath, nil).Body), "\n")
		if len(note) < 2 {
			return false
		}
		size, _ := strconv.Atoi(note[1])
		return size > events
	})
	p.restart() // so that nothing is left of what filled the tables
	p.followed()
	for _, format := range []string{"jsonl", "csv", "ocsf", "bundle"} {
		b.Run(format+"/http", func(b *testing.B) {
			for b.Loop() {
				p.forgetPeak()
				began := time.Now()
				r, err := http.NewRequestWithContext(b.Context(), "GET", p.URL+auditExport+format, nil)
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+p.Token)
				a, err := http.DefaultClient.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				_, err = io.Copy(io.Discard, a.Body)
				if err := a.Body.Close(); err != nil {
					b.Error(err)
				}
				entries, _ := strconv.Atoi(a.Header.Get("X-Export-Entries"))
				if err != nil || entries < events {
					b.Fatalf("%d %d: %v", a.StatusCode, entries, err)
				}
				p.reportExport(b, entries, began)
			}
		})
		b.Run(format+"/command", func(b *testing.B) {
			for b.Loop() {
				p.forgetPeak()
				began := time.Now()
				file := filepath.Join(b.TempDir(), "audit")
				command := exec.CommandContext(
					b.Context(), p.binary, "audit", "export", file, "--url", p.URL, "--format", format,
				)
				command.Env = append(os.Environ(), "AGENTKEY_ADMIN_TOKEN="+p.Token)
				var out bytes.Buffer
				command.Stdout, command.Stderr = &out, &out
				took, err := runWatched(command)
				var entries int
				if _, serr := fmt.Sscanf(out.String(), "Exported %d entries", &entries); err != nil || serr != nil {
					b.Fatalf("%v: %s", err, &out)
				}
				p.reportExport(b, entries, began)
				took >>= 20
				b.ReportMetric(float64(took), "command-MiB")
				if took > exportMiB {
					b.Errorf("the command takes %d MiB", took)
				}
				if err := os.Remove(file); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

func (p *program) reportExport(b *testing.B, entries int, began time.Time) {
	b.ReportMetric(float64(entries)/time.Since(began).Seconds(), "events/s")
	took := p.memory("VmHWM:") >> 20
	b.ReportMetric(float64(took), "server-MiB")
	b.ReportMetric(0, "ns/op")
	if took > exportMiB {
		b.Errorf("the server takes %d MiB", took)
	}
}

// forgetPeak begins the peak of the process's memory again; see proc_pid_clear_refs(5).
func (p *program) forgetPeak() {
	p.t.Helper()
	name := fmt.Sprintf("/proc/%d/clear_refs", p.command.Process.Pid)
	if err := os.WriteFile(name, []byte("5"), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// runWatched runs a command and returns the peak of its memory, in bytes, as it was last seen.
func runWatched(command *exec.Cmd) (peak int64, err error) {
	if err := command.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case err := <-ended:
			return peak, err
		case <-time.After(20 * time.Millisecond):
			if now, err := memoryOf(command.Process.Pid, "VmHWM:"); err == nil { // else it has just ended
				peak = max(peak, now)
			}
		}
	}
}

// memory is a figure of the program's process, in bytes.
func (p *program) memory(figure string) int64 {
	p.t.Helper()
	n, err := memoryOf(p.command.Process.Pid, figure)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// memoryOf is a figure of proc_pid_status(5), in bytes.
func memoryOf(pid int, figure string) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := bytes.Cut(raw, []byte(figure))
	kib, err := strconv.ParseInt(strings.TrimSpace(strings.SplitN(string(after), "kB", 2)[0]), 10, 64)
	return kib << 10, err
}
