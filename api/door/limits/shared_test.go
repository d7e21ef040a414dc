package limits_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/api/door/limits"
)

// redisURL names the Redis that scripts/redis starts.
func redisURL(t *testing.T) string {
	t.Helper()
	url := os.Getenv("TEST_REDIS_URL")
	if url == "" {
		t.Fatal("TEST_REDIS_URL is not set; run the tests with: scripts/engines go test ./...")
	}
	return url
}

func openShared(t *testing.T, url string, now func() time.Time) *limits.Shared {
	t.Helper()
	opts, err := limits.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	s := limits.NewShared(opts, now)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestReplicasShareOneCount(t *testing.T) {
	key, rule := uuid.NewString(), limits.Rule{Limit: 10, Window: time.Hour}
	allowed := 0
	for range 2 {
		l := openShared(t, redisURL(t)+"?read_timeout=20s", time.Now)
		for range 8 {
			d, err := l.Allow(t.Context(), key, rule)
			if must(t, d, err).Allowed {
				allowed++
			}
		}
	}
	if allowed != 10 {
		t.Errorf("%d calls were allowed over two replicas, not 10", allowed)
	}
}

// TestMemoryAndRedisCountAlike takes and peeks the same way in both.
func TestMemoryAndRedisCountAlike(t *testing.T) {
	memory, shared := limits.NewMemory(time.Now), openShared(t, redisURL(t)+"?read_timeout=20s", time.Now)
	key, rule := uuid.NewString(), limits.Rule{Limit: 3, Window: 24 * time.Hour}
	for i, do := range []string{"peek", "allow", "allow", "peek", "allow", "peek", "allow", "peek"} {
		ask := []func(context.Context, string, limits.Rule) (limits.Decision, error){memory.Peek, shared.Peek}
		if do == "allow" {
			ask = []func(context.Context, string, limits.Rule) (limits.Decision, error){memory.Allow, shared.Allow}
		}
		here, err := ask[0](t.Context(), key, rule)
		must(t, here, err)
		there, err := ask[1](t.Context(), key, rule)
		must(t, there, err)
		near := func(a, b time.Duration) bool { return (a - b).Abs() < 10*time.Minute }
		if here.Allowed != there.Allowed || here.Remaining != there.Remaining || here.Limit != there.Limit ||
			here.Window != there.Window ||
			!near(here.Reset.Sub(there.Reset), 0) || !near(here.RetryAfter, there.RetryAfter) {
			t.Errorf("step %d, %s: %+v in memory, %+v in Redis", i+1, do, here, there)
		}
	}
}

// relay stands before Redis on a socket of its own; a stalled one swallows what it is sent.
type relay struct {
	path    string
	stalled atomic.Bool
	lost    atomic.Int64 // what was sent meanwhile, in pieces
	mu      sync.Mutex
	conns   []net.Conn
}

func startRelay(t *testing.T, target string) *relay {
	t.Helper()
	r := &relay{path: t.TempDir() + "/relay.sock"}
	listener, err := net.Listen("unix", r.path)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", target)
			if err != nil {
				_ = near.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, near, far)
			r.mu.Unlock()
			running.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
			running.Go(func() { r.pass(near, far); _ = far.Close() })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		running.Wait()
	})
	return r
}

func (r *relay) pass(near, far net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := near.Read(buffer)
		if err != nil {
			return
		}
		if r.stalled.Load() {
			r.lost.Add(1)
			continue
		}
		if _, err := far.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// TestASlowRedisIsLeftForFiveSeconds stalls Redis: calls are counted in the process, without
// waiting each, and go back to the shared count by themselves.
func TestASlowRedisIsLeftForFiveSeconds(t *testing.T) {
	c := &clock{}
	c.now.Store(time.Now().UnixNano())
	r := startRelay(t, strings.TrimPrefix(redisURL(t), "unix://"))
	shared := openShared(t, "unix://"+r.path+"?read_timeout=1s", c.Now)
	key, rule := uuid.NewString(), limits.Rule{Limit: 5, Window: time.Hour}
	allow := func() bool {
		t.Helper()
		d, err := shared.Allow(t.Context(), key, rule)
		return must(t, d, err).Allowed
	}
	for range 3 {
		if !allow() || shared.Alone() != "" {
			t.Fatal("a call with Redis there was refused or counted alone")
		}
	}
	r.stalled.Store(true)
	if !allow() || shared.Alone() == "" {
		t.Fatal("the call that Redis does not answer was refused or not counted alone")
	}
	asked := r.lost.Load()
	for i := range 4 {
		if !allow() {
			t.Fatalf("call %d counted alone was refused", i+2)
		}
	}
	if allow() {
		t.Error("alone it lets more through than the limit")
	}
	if shared.Alone() == "" || asked == 0 || r.lost.Load() != asked {
		t.Errorf("Redis was asked %d times more by calls that should not wait for it", r.lost.Load()-asked)
	}
	r.stalled.Store(false)
	c.Advance(4 * time.Second)
	if allow(); shared.Alone() == "" {
		t.Error("Redis was asked again too early")
	}
	c.Advance(2 * time.Second)
	if !allow() || shared.Alone() != "" {
		t.Error("it does not come back to Redis")
	}
	if !allow() || allow() {
		t.Error("Redis has lost the count from before")
	}
}

func TestAnAbsentRedisIsCountedWithout(t *testing.T) {
	shared := openShared(t, "redis://127.0.0.1:1/0", time.Now)
	d, err := shared.Allow(t.Context(), "a", limits.Rule{Limit: 1, Window: time.Hour})
	if !must(t, d, err).Allowed || shared.Alone() == "" {
		t.Error("without Redis nothing is allowed")
	}
	if _, err := limits.ParseURL("http://redis"); err == nil {
		t.Error("a URL that is none of Redis's was taken")
	}
}

// TestAnythingButACountFromRedisIsCountedWithout speaks Redis's protocol and answers the script
// with what it should not.
func TestAnythingButACountFromRedisIsCountedWithout(t *testing.T) {
	for name, answer := range map[string]string{
		"a replica":             "-READONLY You can't write against a read only replica.\r\n",
		"out of memory":         "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
		"loading":               "-LOADING Redis is loading the dataset in memory\r\n",
		"a lost primary":        "-MASTERDOWN Link with MASTER is down\r\n",
		"a busy script":         "-BUSY Redis is busy running a script.\r\n",
		"no permission":         "-NOPERM this user has no permissions\r\n",
		"another password":      "-NOAUTH Authentication required.\r\n",
		"a key of another type": "-WRONGTYPE Operation against a key\r\n",
		"a killed script":       "-ERR Error running script: Script killed by user with SCRIPT KILL\r\n",
		"never the script":      "-NOSCRIPT No matching script.\r\n", "another node": "-MOVED 1234 127.0.0.1:1\r\n",
		"an error without a code": "-\r\n", "a word": "+OK\r\n", "nothing": "$-1\r\n", "no array": "*-1\r\n",
		"a number": ":1\r\n", "a short array": "*1\r\n:1\r\n", "other types": "*4\r\n+1\r\n+1\r\n:1\r\n:1\r\n",
		"no number":           "*4\r\n:1\r\n:1\r\n$1\r\nx\r\n$1\r\nx\r\n",
		"more than the limit": "*4\r\n:1\r\n:9999\r\n$2\r\n-1\r\n$1\r\n1\r\n",
		"fewer than none":     "*4\r\n:1\r\n:-9\r\n$2\r\n-1\r\n$1\r\n1\r\n",
		"a time without end":  "*4\r\n:0\r\n:0\r\n$3\r\ninf\r\n$3\r\ninf\r\n",
		"no time":             "*4\r\n:1\r\n:1\r\n$3\r\nnan\r\n$3\r\nnan\r\n",
		"nonsense":            "\x00\x01\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			shared := openShared(t, "redis://"+answering(t, answer)+"?read_timeout=20s", time.Now)
			rule := limits.Rule{Limit: 2, Window: time.Hour}
			d, err := shared.Peek(t.Context(), "a", rule)
			if must(t, d, err).Remaining != 2 || shared.Alone() == "" {
				t.Errorf("a look: %+v", d)
			}
			for i := range 3 {
				d, err := shared.Allow(t.Context(), "a", rule)
				if must(t, d, err).Allowed != (i < 2) {
					t.Errorf("call %d: %+v", i+1, d)
				}
			}
			opts, err := limits.ParseURL("redis://" + answering(t, answer))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := limits.Probe(t.Context(), opts); err == nil {
				t.Error("the probe takes it for a count")
			}
		})
	}
}

// answering serves connections that get one answer to every script and OK to everything else.
func answering(t *testing.T, answer string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					command, err := readCommand(in)
					if err != nil {
						return
					}
					out := "+OK\r\n"
					switch strings.ToLower(command) {
					case "eval", "evalsha":
						out = answer
					case "hello":
						out = "-ERR unknown command\r\n"
					}
					if _, err := io.WriteString(conn, out); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

// readCommand reads one command and returns its name.
func readCommand(in *bufio.Reader) (name string, err error) {
	var parts int
	if _, err := fmt.Fscanf(in, "*%d\r\n", &parts); err != nil {
		return "", err
	}
	for i := range parts {
		var length int
		if _, err := fmt.Fscanf(in, "$%d\r\n", &length); err != nil {
			return "", err
		}
		text := make([]byte, length+2)
		if _, err := io.ReadFull(in, text); err != nil {
			return "", err
		}
		if i == 0 {
			name = string(text[:length])
		}
	}
	return name, nil
}
