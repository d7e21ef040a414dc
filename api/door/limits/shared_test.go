package limits_test

import (
	"context"
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
		if here.Allowed != there.Allowed || here.Remaining != there.Remaining || here.Limit != there.Limit || here.Window != there.Window ||
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

// TestASlowRedisIsLeftForFiveSeconds stalls Redis: calls are counted in the process, without waiting each, and go back
// to the shared count by themselves.
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
		if !allow() || shared.Alone() {
			t.Fatal("a call with Redis there was refused or counted alone")
		}
	}
	r.stalled.Store(true)
	if !allow() || !shared.Alone() {
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
	if !shared.Alone() || asked == 0 || r.lost.Load() != asked {
		t.Errorf("Redis was asked %d times more by calls that should not wait for it", r.lost.Load()-asked)
	}
	r.stalled.Store(false)
	c.Advance(4 * time.Second)
	if allow(); !shared.Alone() {
		t.Error("Redis was asked again too early")
	}
	c.Advance(2 * time.Second)
	if !allow() || shared.Alone() {
		t.Error("it does not come back to Redis")
	}
	if !allow() || allow() {
		t.Error("Redis has lost the count from before")
	}
}

func TestAnAbsentRedisIsCountedWithout(t *testing.T) {
	shared := openShared(t, "redis://127.0.0.1:1/0", time.Now)
	d, err := shared.Allow(t.Context(), "a", limits.Rule{Limit: 1, Window: time.Hour})
	if !must(t, d, err).Allowed || !shared.Alone() {
		t.Error("without Redis nothing is allowed")
	}
	if _, err := limits.ParseURL("http://redis"); err == nil {
		t.Error("a URL that is none of Redis's was taken")
	}
}
