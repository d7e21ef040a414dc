// Package limits says how often a caller may call. It speaks redis_rate's one algorithm, GCRA with a burst equal to
// the limit, wherever the counts are kept. It does not know who calls or why.
package limits

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

// Rule is how much is allowed within a window. The zero value allows everything.
type Rule struct {
	Limit  int
	Window time.Duration
}

// Off reports whether the rule limits nothing.
func (r Rule) Off() bool { return r.Limit == 0 }

// ParseRule reads "120/1m" or "off".
func ParseRule(text string) (Rule, error) {
	if text == "off" {
		return Rule{}, nil
	}
	count, window, found := strings.Cut(text, "/")
	limit, err := strconv.Atoi(count)
	length, werr := time.ParseDuration(window)
	if !found || err != nil || werr != nil || limit < 1 || limit > 1_000_000 || length < time.Second || length > 24*time.Hour {
		return Rule{}, errors.New("it must be like 120/1m, at most 1000000 in 1s to 24h, or off")
	}
	return Rule{Limit: limit, Window: length}, nil
}

// Store is where the counts are: a Memory, or a client of Redis.
type Store interface {
	Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd
	EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd
	EvalRO(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd
	EvalShaRO(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd
	ScriptExists(ctx context.Context, hashes ...string) *redis.BoolSliceCmd
	ScriptLoad(ctx context.Context, script string) *redis.StringCmd
	Del(ctx context.Context, keys ...string) *redis.IntCmd
}

// Limiter decides whether a caller may call now.
type Limiter struct {
	rates *redis_rate.Limiter
	clock func() time.Time
}

// New returns a limiter on a store; clock is only used to turn durations into times.
func New(store Store, clock func() time.Time) *Limiter {
	return &Limiter{rates: redis_rate.NewLimiter(store), clock: clock}
}

// Decision is the answer to one call.
type Decision struct {
	Allowed    bool
	Limit      int
	Window     time.Duration
	Remaining  int           // that could be taken at once
	Reset      time.Time     // when everything could be taken at once again
	RetryAfter time.Duration // until the next one is allowed; 0 when one is
}

// Allow takes one under a rule that is not off.
func (l *Limiter) Allow(ctx context.Context, key string, r Rule) (Decision, error) {
	return l.take(ctx, key, r, 1)
}

// Peek says how it stands and takes nothing.
func (l *Limiter) Peek(ctx context.Context, key string, r Rule) (Decision, error) {
	d, err := l.take(ctx, key, r, 0)
	if err == nil && d.Remaining == 0 {
		// The store was asked for nothing, so it did not say when one is allowed.
		d.Allowed = false
		full := d.Reset.Sub(l.clock()) - r.Window
		d.RetryAfter = max(full+r.Window/time.Duration(r.Limit), time.Nanosecond)
	}
	return d, err
}

func (l *Limiter) take(ctx context.Context, key string, r Rule, n int) (Decision, error) {
	result, err := l.rates.AllowN(ctx, key, redis_rate.Limit{Rate: r.Limit, Burst: r.Limit, Period: r.Window}, n)
	if err != nil {
		return Decision{}, fmt.Errorf("count calls: %w", err)
	}
	return Decision{
		Allowed: result.Allowed >= n && result.RetryAfter < 0, Limit: r.Limit, Window: r.Window, Remaining: result.Remaining,
		Reset: l.clock().Add(result.ResetAfter), RetryAfter: max(result.RetryAfter, 0),
	}, nil
}
