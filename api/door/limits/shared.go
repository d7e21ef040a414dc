package limits

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

const (
	// Patience is how long Redis may take to count one call before it counts as slow, unless its URL
	// says otherwise.
	Patience = 50 * time.Millisecond
	// apart is how long each replica then counts for itself before Redis is asked again.
	apart = 5 * time.Second
)

// Shared counts in Redis, one count for all replicas. While Redis is slow, can't be reached or
// answers with anything but a count, it counts in this process, for five seconds at a time: nothing
// opens, and nothing stops. It comes back by itself.
type Shared struct {
	client *redis.Client
	rates  *redis_rate.Limiter
	alone  *Memory
	clock  func() time.Time
	within time.Duration          // Patience
	until  atomic.Int64           // Redis is not asked before then, in Unix nanoseconds; 0: it is asked
	reason atomic.Pointer[string] // for not asking; stored before until
}

// ParseURL reads where Redis is: redis://, rediss:// or unix://. The error does not repeat the URL,
// which may hold a password.
func ParseURL(url string) (*redis.Options, error) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("it must be like redis://user:password@host:6379/0, rediss://… or unix:///path")
	}
	return opts, nil
}

// NewShared counts in the Redis of opts. It does not connect: Redis may come later. With a slow
// Redis, an operator who would rather wait than count alone sets read_timeout in the URL.
func NewShared(opts *redis.Options, clock func() time.Time) *Shared {
	within := Patience
	if opts.ReadTimeout > 0 { // asked for in the URL
		within = opts.ReadTimeout
	}
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = within, within, within, within
	opts.MaxRetries, opts.DialerRetries, opts.ContextTimeoutEnabled = -1, 1, true
	client := redis.NewClient(opts)
	return &Shared{
		client: client, rates: redis_rate.NewLimiter(client), alone: NewMemory(clock), clock: clock, within: within,
	}
}

// Probe counts in the Redis of opts as calls do, under a key of its own, and returns how long the
// quickest of three answers took. One that takes longer than Patience is too slow to count in.
func Probe(ctx context.Context, opts *redis.Options) (quickest time.Duration, err error) {
	once := *opts
	once.MaxRetries, once.DialerRetries, once.ContextTimeoutEnabled = -1, 1, true
	client := redis.NewClient(&once)
	defer func() { err = errors.Join(err, client.Close()) }()
	rates, rule := redis_rate.NewLimiter(client), Rule{Limit: 1000, Window: time.Second}
	for i := range 3 { // the first one connects too
		began := time.Now() //nolint:forbidigo // what is measured has no other clock
		if _, err := count(ctx, rates, "probe", rule, 1); err != nil {
			return 0, err
		}
		if took := time.Since(began); i == 0 || took < quickest {
			quickest = took
		}
	}
	return quickest, nil
}

// Close ends the connections.
func (s *Shared) Close() error {
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

// Alone says why this replica counts for itself now, or "" when it counts with the others.
func (s *Shared) Alone() string {
	if s.until.Load() == 0 {
		return ""
	}
	return *s.reason.Load()
}

// Allow takes one under a rule that is not off.
func (s *Shared) Allow(ctx context.Context, key string, r Rule) (Decision, error) {
	d, together, err := s.ask(ctx, key, r, 1)
	if err != nil || together {
		return d, err
	}
	return s.alone.Allow(ctx, key, r)
}

// Peek says how it stands and takes nothing.
func (s *Shared) Peek(ctx context.Context, key string, r Rule) (Decision, error) {
	d, together, err := s.ask(ctx, key, r, 0)
	if err != nil || together {
		return d.peeked(r, s.clock()), err
	}
	return s.alone.Peek(ctx, key, r)
}

// ask counts in Redis unless it failed within the last seconds. It reports false when this process
// must count alone.
func (s *Shared) ask(ctx context.Context, key string, r Rule, cost int) (d Decision, together bool, err error) {
	now := s.clock()
	until := s.until.Load()
	if until != 0 {
		// One caller tries again when the time is over; the others count alone until it succeeds.
		if now.UnixNano() < until || !s.until.CompareAndSwap(until, now.Add(apart).UnixNano()) {
			return Decision{}, false, nil
		}
	}
	bounded, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	result, err := count(bounded, s.rates, key, r, cost)
	switch {
	case err == nil:
		s.until.Store(0)
		return Decision{
			Allowed: result.Allowed >= cost && result.RetryAfter < 0, Limit: r.Limit, Window: r.Window,
			Remaining: result.Remaining, Reset: s.clock().Add(result.ResetAfter), RetryAfter: max(result.RetryAfter, 0),
		}, true, nil
	case ctx.Err() != nil: // the caller left; that says nothing about Redis
		return Decision{}, true, err
	}
	reason := Why(err)
	s.reason.Store(&reason)
	s.until.Store(now.Add(apart).UnixNano())
	return Decision{}, false, nil
}

// count runs redis_rate's script. Anything but a proper answer of it is an error.
func count(
	ctx context.Context, rates *redis_rate.Limiter, key string, r Rule, cost int,
) (result *redis_rate.Result, err error) {
	defer func() {
		if recover() != nil { // redis_rate takes the shape of the answer for granted
			err = errOddAnswer
		}
	}()
	result, err = rates.AllowN(ctx, key, redis_rate.Limit{Rate: r.Limit, Burst: r.Limit, Period: r.Window}, cost)
	if err != nil {
		return nil, fmt.Errorf("count a call in Redis: %w", err)
	}
	const longest = 48 * time.Hour // twice the longest window: a rule may have changed
	if result.Allowed != 0 && result.Allowed != cost || result.Remaining < 0 || result.Remaining > r.Limit ||
		result.RetryAfter < -1 || result.RetryAfter > longest || result.ResetAfter < 0 || result.ResetAfter > longest {
		return nil, errOddAnswer
	}
	return result, nil
}

var errOddAnswer = errors.New("its answer isn't what the script for counting returns")

// Why says to operators what keeps Redis from counting. Of what Redis says it repeats the code
// alone.
func Why(err error) string {
	var refused redis.Error
	switch {
	case errors.As(err, &refused):
		code, _, _ := strings.Cut(refused.Error(), " ")
		return "Redis answers with the error " + code
	case errors.Is(err, errOddAnswer):
		return "Redis answers with something else than a count"
	}
	return "Redis is slow or can't be reached"
}
