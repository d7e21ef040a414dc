package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// machine is what the machine does in this run with nothing of ours on it, a second, by the number
// of connections. Only ratios to it compare between runs.
var machine = struct {
	appends, requests map[int]float64
	sync              time.Duration // at the median
}{appends: map[int]float64{}, requests: map[int]float64{}}

// connections are the loads of every table.
var connections = []int{1, 8, 32, 64}

// BenchmarkMachine measures a write of 8 KiB that is made durable, a bare durable append to the
// embedded store, and a bare gin handler.
func BenchmarkMachine(b *testing.B) {
	b.Run("fdatasync_8KiB", func(b *testing.B) {
		file, err := os.Create(filepath.Join(b.TempDir(), "synced"))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		block := make([]byte, 8<<10)
		l := load(b, 1, func(int) (func() error, error) {
			return func() error {
				if _, err := file.Write(block); err != nil {
					return err
				}
				return unix.Fdatasync(int(file.Fd()))
			}, nil
		})
		machine.sync = l.quantile(0.5)
		b.ReportMetric(milliseconds(machine.sync), "p50-ms")
	})
	for _, n := range connections {
		b.Run(fmt.Sprintf("durable_append/connections_%d", n), func(b *testing.B) {
			log := eventstoretest.Start(b).Client
			data, meta := bytes.Repeat([]byte{'x'}, 400), []byte(`{}`)
			data[0], data[len(data)-1] = '"', '"'
			l := load(b, n, func(int) (func() error, error) {
				stream, revision := "bench-"+uuid.NewString(), eventstore.NoStream
				return func() error {
					_, err := log.Append(
						b.Context(), stream, revision,
						eventstore.Event{ID: uuid.New(), Type: "bench", Data: data, Metadata: meta},
					)
					revision++
					return err
				}, nil
			})
			machine.appends[n] = l.rate
			b.ReportMetric(l.rate, "appends/s")
			if machine.sync > 0 {
				b.ReportMetric(float64(l.quantile(0.5))/float64(machine.sync), "of-fdatasync")
			}
		})
	}
	for _, n := range connections {
		b.Run(fmt.Sprintf("gin_handler/connections_%d", n), func(b *testing.B) {
			gin.SetMode(gin.ReleaseMode)
			engine := gin.New()
			engine.GET("/", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"credential": "x"}) })
			server := httptest.NewServer(engine)
			defer server.Close()
			l := load(b, n, func(int) (func() error, error) { return get(server.URL, "/", "") })
			machine.requests[n] = l.rate
			b.ReportMetric(l.rate, "requests/s")
		})
	}
}

// unlimited is a configuration in which nobody is turned away.
var unlimited = []string{
	"AGENTKEY_LIMIT_READS=off", "AGENTKEY_LIMIT_REQUESTS=off", "AGENTKEY_LIMIT_CREDENTIALS=off",
	"AGENTKEY_LIMIT_ADMIN=off",
	"AGENTKEY_LIMIT_PREAUTH=off",
}

// fleet is agents with access to tools.
type fleet struct{ keys, ids, tools []string }

func mustFleet(p *program, agents, tools int) fleet {
	var f fleet
	admin := p.admin()
	for i := range tools {
		f.tools = append(f.tools, admin.mustTool(fmt.Sprintf("Tool %d", i), "credential"))
	}
	for i := range agents {
		id, key := admin.mustAgent(fmt.Sprintf("Agent %d", i))
		f.ids, f.keys = append(f.ids, id), append(f.keys, key)
		for _, tool := range f.tools {
			admin.mustAssign(id, tool)
		}
	}
	return f
}

// BenchmarkFetch fetches credentials through HTTP, each with its durable event: once spread over 64
// agents and 10 tools, once all of one agent and one tool.
func BenchmarkFetch(b *testing.B) {
	for _, size := range []struct {
		name          string
		agents, tools int
	}{{"64_agents_10_tools", 64, 10}, {"1_agent_1_tool", 1, 1}} {
		b.Run(size.name, func(b *testing.B) {
			p := startProcess(b, unlimited...)
			benchFetches(b, []*program{p}, mustFleet(p, size.agents, size.tools))
		})
	}
}

// BenchmarkFetchOnEngines is BenchmarkFetch with the log served to one process, and to two, that
// fill one Postgres and count in one Redis. The log is the embedded store, served in the process
// that measures.
func BenchmarkFetchOnEngines(b *testing.B) {
	for n, name := range []string{"one_process", "two_processes"} {
		b.Run(name, func(b *testing.B) {
			replicas := startReplicas(b, n+1)
			benchFetches(b, replicas, mustFleet(replicas[0], 64, 10))
		})
	}
}

// BenchmarkFirstFetchAfterTheLogIsBack measures when the first fetch succeeds after an outage of
// the event log of three seconds, counted from its end.
func BenchmarkFirstFetchAfterTheLogIsBack(b *testing.B) {
	log := ownLog(b, "it stops the log")
	p := start(b, log.replicas()...)
	id, key := p.admin().mustAgent("Deploy")
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	p.admin().mustAssign(id, tool)
	agent := p.with(key)
	var took []time.Duration
	for range b.N {
		log.stop()
		back := make(chan time.Time, 1)
		time.AfterFunc(3*time.Second, func() {
			log.start()
			back <- time.Now()
		})
		wait.Until(b, "a fetch", func() bool { return agent.fetch(tool).Status == 200 })
		took = append(took, time.Since(<-back))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "median-ms")
	b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "max-ms")
}

// benchFetches shares connections among processes.
func benchFetches(b *testing.B, replicas []*program, f fleet) {
	spent := func() (all time.Duration) {
		for _, p := range replicas {
			all += p.processor()
		}
		return all
	}
	for _, n := range connections {
		b.Run(fmt.Sprintf("connections_%d", n), func(b *testing.B) {
			before := spent()
			l := load(b, n, func(worker int) (func() error, error) {
				p := replicas[worker%len(replicas)]
				return get(p.URL, "/api/tools/"+f.tools[worker%len(f.tools)]+"/credentials", f.keys[worker%len(f.keys)])
			})
			b.ReportMetric(l.rate, "fetches/s")
			b.ReportMetric(milliseconds(l.quantile(0.5)), "p50-ms")
			b.ReportMetric(milliseconds(l.quantile(0.99)), "p99-ms")
			b.ReportMetric(float64((spent()-before).Microseconds())/float64(b.N), "cpu-us/fetch")
			b.ReportMetric(float64(replicas[0].resident()>>20), "resident-MiB")
			if machine.sync > 0 {
				b.ReportMetric(float64(l.quantile(0.5))/float64(machine.sync), "of-fdatasync")
			}
			if machine.appends[n] > 0 && machine.requests[n] > 0 {
				b.ReportMetric(l.rate/machine.appends[n], "of-bare-append")
				b.ReportMetric(l.rate/machine.requests[n], "of-bare-handler")
			}
		})
	}
}

// history is the length of the log in the benchmarks of a start and of a rebuild.
const history = 200_000

// BenchmarkHistory starts on a log of 200,000 events, and fills the read model again from it.
func BenchmarkHistory(b *testing.B) {
	p := startProcess(b, unlimited...)
	f := mustFleet(p, 64, 10)
	p.stop()
	seed(b, p, f, history)
	p.run() // catches up with what was seeded
	p.stop()
	b.Run("start_to_ready", func(b *testing.B) {
		for b.Loop() {
			p.run()
			b.StopTimer()
			b.ReportMetric(float64(p.resident()>>20), "resident-MiB")
			p.stop()
			b.StartTimer()
		}
	})
	b.Run("rebuild", func(b *testing.B) {
		began := time.Now()
		n := 0
		for b.Loop() {
			p.shell("projections", "rebuild")
			n++
		}
		b.ReportMetric(float64(history*n)/time.Since(began).Seconds(), "events/s")
	})
}

// seed appends fetches to a stopped program's log as if they had been made. Each agent makes one,
// and the others are copies of it.
func seed(t testing.TB, p *program, f fleet, events int) {
	t.Helper()
	p.run()
	for _, key := range f.keys {
		if a := p.with(key).fetch(f.tools[0]); a.Status != http.StatusOK {
			t.Fatalf("a fetch: %s", a.Body)
		}
	}
	p.stop()
	p.office(func(ctx context.Context, o *office) error {
		const batch = 500
		began := time.Now().UTC().Truncate(time.Microsecond)
		for n := 0; n < events; n += batch {
			stream := "agent-" + f.ids[n/batch%len(f.ids)]
			made, end, err := o.inst.Log.Newest(ctx, stream, 1)
			if err != nil {
				return err
			}
			entries := make([]codec.Entry, batch)
			for i := range entries {
				vend := made[0].Event.(agent.CredentialVended)
				vend.ToolID = f.tools[i%len(f.tools)]
				entries[i] = again(t, made[0], began.Add(time.Duration(n+i)*apart), vend)
			}
			if _, err := o.inst.Log.Append(ctx, stream, end, entries...); err != nil {
				return err
			}
		}
		return nil
	})
}

// measured is one load.
type measured struct {
	rate  float64 // a second
	times []time.Duration
}

func (m measured) quantile(q float64) time.Duration { return m.times[int(q*float64(len(m.times)-1))] }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// load shares b.N operations among workers that each wait for one before they begin the next.
func load(b *testing.B, workers int, open func(worker int) (func() error, error)) measured {
	b.Helper()
	ops := make([]func() error, workers)
	for w := range ops {
		var err error
		if ops[w], err = open(w); err != nil {
			b.Fatal(err)
		}
		if err := ops[w](); err != nil { // connections and caches are made before the clock runs
			b.Fatal(err)
		}
	}
	times := make([][]time.Duration, workers)
	var wg sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for w := range workers {
		share := b.N / workers
		if w < b.N%workers {
			share++
		}
		wg.Go(func() {
			for range share {
				start := time.Now()
				if err := ops[w](); err != nil {
					b.Error(err)
					return
				}
				times[w] = append(times[w], time.Since(start))
			}
		})
	}
	wg.Wait()
	m := measured{rate: float64(b.N) / time.Since(began).Seconds(), times: slices.Concat(times...)}
	b.StopTimer()
	slices.Sort(m.times)
	return m
}

// get returns an operation that asks for a path on a connection of its own and reads the answer: as
// little client as there can be, because it shares the machine with the server.
func get(base, path, key string) (func() error, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		return nil, err
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: bench\r\n"
	if key != "" {
		request += "Authorization: Bearer " + key + "\r\n"
	}
	text, in := []byte(request+"\r\n"), bufio.NewReader(conn)
	return func() error {
		if _, err := conn.Write(text); err != nil {
			return err
		}
		status, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		length := 0
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return err
			}
			if line == "\r\n" {
				break
			}
			if v, found := strings.CutPrefix(line, "Content-Length: "); found {
				length, _ = strconv.Atoi(strings.TrimSpace(v))
			}
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		if !strings.HasPrefix(status, "HTTP/1.1 200") || !bytes.Contains(body, []byte(`"credential":`)) {
			return fmt.Errorf("%s%s", status, body)
		}
		return nil
	}, nil
}

// processor is the time that the program's process has spent on processors.
func (p *program) processor() time.Duration {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(raw), ") ") // the name may hold anything
	fields := strings.Fields(after)
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime of proc_pid_stat(5), in hundredths of a second
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// resident is the memory of the program's process, in bytes.
func (p *program) resident() int64 {
	p.t.Helper()
	return p.memory("VmRSS:")
}
