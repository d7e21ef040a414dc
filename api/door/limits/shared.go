package limits

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// Patience is how long Redis may take to count one call before it counts as slow, unless its URL says otherwise.
	Patience = 50 * time.Millisecond
	// apart is how long each replica then counts for itself before Redis is asked again.
	apart = 5 * time.Second
)

// Shared counts in Redis, one count for all replicas. While Redis can't be reached or is slow it counts in this
// process, for five seconds at a time: nothing opens, and nothing stops. It comes back by itself.
type Shared struct {
	client *redis.Client
	alone  *Memory
	clock  func() time.Time
	within time.Duration // Patience
	until  atomic.Int64  // Redis is not asked before then, in Unix nanoseconds; 0: it is asked
}

// ParseURL reads where Redis is: redis://, rediss:// or unix://. The error does not repeat the URL, which may hold a
// password.
func ParseURL(url string) (*redis.Options, error) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("it must be like redis://user:password@host:6379/0, rediss://… or unix:///path")
	}
	return opts, nil
}

// NewShared counts in the Redis of opts. It does not connect: Redis may come later. Whoever has a slow Redis and would
// rather wait than count alone sets read_timeout in the URL.
func NewShared(opts *redis.Options, clock func() time.Time) *Shared {
	within := Patience
	if opts.ReadTimeout > 0 { // asked for in the URL
		within = opts.ReadTimeout
	}
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = within, within, within, within
	opts.MaxRetries, opts.DialerRetries, opts.ContextTimeoutEnabled = -1, 1, true
	return &Shared{client: redis.NewClient(opts), alone: NewMemory(clock), clock: clock, within: opts.ReadTimeout}
}

// Ping asks the Redis of opts for a sign of life and returns how long the quickest of three answers took. One that
// takes longer than Patience is too slow to count in.
func Ping(ctx context.Context, opts *redis.Options) (time.Duration, error) {
	once := *opts
	once.MaxRetries, once.DialerRetries, once.ContextTimeoutEnabled = -1, 1, true
	client := redis.NewClient(&once)
	quickest := time.Duration(0)
	for i := range 3 { // the first one connects too
		began := time.Now() //nolint:forbidigo // what is measured has no other clock
		if err := client.Ping(ctx).Err(); err != nil {
			return 0, errors.Join(err, client.Close())
		}
		if took := time.Since(began); i == 0 || took < quickest {
			quickest = took
		}
	}
	return quickest, client.Close()
}

// Close ends the connections.
func (s *Shared) Close() error {
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

// Alone reports whether this replica counts for itself now.
func (s *Shared) Alone() bool { return s.until.Load() != 0 }

// Eval implements Store.
func (s *Shared) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	cmd := s.ask(ctx, func(ctx context.Context) *redis.Cmd { return s.client.Eval(ctx, script, keys, args...) })
	if cmd == nil {
		return s.alone.Eval(ctx, script, keys, args...)
	}
	return cmd
}

// EvalSha implements Store.
func (s *Shared) EvalSha(ctx context.Context, hash string, keys []string, args ...any) *redis.Cmd {
	cmd := s.ask(ctx, func(ctx context.Context) *redis.Cmd { return s.client.EvalSha(ctx, hash, keys, args...) })
	if cmd == nil {
		return s.alone.EvalSha(ctx, hash, keys, args...) // it makes the caller send the script
	}
	return cmd
}

// ask asks Redis unless it failed within the last seconds, and returns nil when this process must count alone.
func (s *Shared) ask(ctx context.Context, do func(context.Context) *redis.Cmd) *redis.Cmd {
	now := s.clock()
	until := s.until.Load()
	if until != 0 {
		// One caller tries again when the time is over; the others go on alone until he has succeeded.
		if now.UnixNano() < until || !s.until.CompareAndSwap(until, now.Add(apart).UnixNano()) {
			return nil
		}
	}
	bounded, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	cmd := do(bounded)
	var answered redis.Error
	switch err := cmd.Err(); {
	case err == nil, errors.As(err, &answered): // NOSCRIPT is an answer too
		s.until.Store(0)
		return cmd
	case ctx.Err() != nil: // the caller left; that says nothing about Redis
		return cmd
	}
	s.until.Store(now.Add(apart).UnixNano())
	return nil
}

// EvalRO implements Store.
func (s *Shared) EvalRO(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return s.Eval(ctx, script, keys, args...)
}

// EvalShaRO implements Store.
func (s *Shared) EvalShaRO(ctx context.Context, hash string, keys []string, args ...any) *redis.Cmd {
	return s.EvalSha(ctx, hash, keys, args...)
}

// ScriptExists implements Store.
func (s *Shared) ScriptExists(ctx context.Context, hashes ...string) *redis.BoolSliceCmd {
	return s.client.ScriptExists(ctx, hashes...)
}

// ScriptLoad implements Store.
func (s *Shared) ScriptLoad(ctx context.Context, script string) *redis.StringCmd {
	return s.client.ScriptLoad(ctx, script)
}

// Del implements Store.
func (s *Shared) Del(ctx context.Context, keys ...string) *redis.IntCmd {
	return s.client.Del(ctx, keys...)
}
