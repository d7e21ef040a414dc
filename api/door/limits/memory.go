package limits

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Memory counts in this process what redis_rate otherwise counts in Redis: it answers redis_rate's script with the
// same algorithm (GCRA, the generic cell rate algorithm), in integer nanoseconds. All methods are safe for
// concurrent use.
type Memory struct {
	clock func() time.Time

	mu      sync.Mutex
	arrival map[string]time.Time // theoretical arrival time by key
	idle    []string             // keys to look at in the next sweeps
}

// NewMemory returns an empty store that reads the time from clock.
func NewMemory(clock func() time.Time) *Memory {
	return &Memory{clock: clock, arrival: map[string]time.Time{}}
}

// sweepStep bounds how many keys one call looks at to forget those that are full again.
const sweepStep = 8

// noScript is how Redis says that it does not know a script by its hash.
type noScript struct{}

// Error begins with the code that go-redis looks for.
func (noScript) Error() string { return "NOSCRIPT No matching script. Please use EVAL." }

// RedisError marks an answer of the server, not a failure to reach it.
func (noScript) RedisError() {}

var errUnknownScript = errors.New("limits: only the script of redis_rate.AllowN is known")

// EvalSha makes go-redis send the script, by which Eval knows what is asked.
func (m *Memory) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	return failed(ctx, noScript{})
}

// EvalShaRO is EvalSha.
func (m *Memory) EvalShaRO(ctx context.Context, hash string, keys []string, args ...any) *redis.Cmd {
	return m.EvalSha(ctx, hash, keys, args...)
}

// EvalRO is Eval.
func (m *Memory) EvalRO(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return m.Eval(ctx, script, keys, args...)
}

// Eval computes redis_rate's AllowN: burst, rate, period in seconds, cost → allowed, remaining, retry, reset.
func (m *Memory) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	if len(keys) != 1 || len(args) != 4 || !strings.Contains(script, "local increment") {
		return failed(ctx, errUnknownScript)
	}
	burst, ok1 := args[0].(int)
	rate, ok2 := args[1].(int)
	period, ok3 := args[2].(float64)
	cost, ok4 := args[3].(int)
	if !ok1 || !ok2 || !ok3 || !ok4 || burst < 1 || rate < 1 || period <= 0 || cost < 0 {
		return failed(ctx, errUnknownScript)
	}
	interval := time.Duration(math.Round(period*float64(time.Second))) / time.Duration(rate)
	cmd := redis.NewCmd(ctx)
	cmd.SetVal(m.allow(keys[0], burst, interval, cost))
	return cmd
}

func (m *Memory) allow(key string, burst int, interval time.Duration, cost int) []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock()
	m.sweep(now)
	at, known := m.arrival[key]
	if !known || at.Before(now) {
		at = now
	}
	next := at.Add(interval * time.Duration(cost))
	room := now.Sub(next.Add(-interval * time.Duration(burst)))
	if room < 0 {
		return []any{int64(0), int64(0), seconds(-room), seconds(at.Sub(now))}
	}
	if next.After(now) {
		if !known {
			m.idle = append(m.idle, key)
		}
		m.arrival[key] = next
	}
	return []any{int64(cost), int64(room / interval), "-1", seconds(next.Sub(now))}
}

// sweep forgets a few keys whose time has passed. Each call adds at most one key and looks at several, so the
// table stays as large as what is in use.
func (m *Memory) sweep(now time.Time) {
	for range min(sweepStep, len(m.idle)) {
		key := m.idle[0]
		m.idle = m.idle[1:]
		if at, known := m.arrival[key]; known && at.After(now) {
			m.idle = append(m.idle, key)
			continue
		}
		delete(m.arrival, key)
	}
}

// Len returns how many keys are in use.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.arrival)
}

// ScriptExists says that no script is kept.
func (m *Memory) ScriptExists(ctx context.Context, hashes ...string) *redis.BoolSliceCmd {
	cmd := redis.NewBoolSliceCmd(ctx)
	cmd.SetVal(make([]bool, len(hashes)))
	return cmd
}

// ScriptLoad is refused: scripts are not kept.
func (m *Memory) ScriptLoad(ctx context.Context, _ string) *redis.StringCmd {
	cmd := redis.NewStringCmd(ctx)
	cmd.SetErr(errUnknownScript)
	return cmd
}

// Del forgets keys.
func (m *Memory) Del(ctx context.Context, keys ...string) *redis.IntCmd {
	m.mu.Lock()
	defer m.mu.Unlock()
	cmd := redis.NewIntCmd(ctx)
	var n int64
	for _, key := range keys {
		if _, known := m.arrival[key]; known {
			delete(m.arrival, key)
			n++
		}
	}
	cmd.SetVal(n)
	return cmd
}

func failed(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }
