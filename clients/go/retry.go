package agentkey

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"
)

// The pause after the first attempt; it doubles until it is the longest.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
)

// persist attempts a call until it succeeds, is refused, or would have to wait longer than the
// client's patience allows.
func (c *Client) persist(ctx context.Context, x *exchange) ([]byte, error) {
	patience := c.Patience
	if patience == 0 {
		patience = usualPatience
	}
	for attempt := 0; ; attempt++ {
		answer, err := c.once(ctx, x)
		if err == nil || ctx.Err() != nil || !passes(err) {
			return answer, err
		}
		pause := pauseAfter(err, attempt)
		if patience -= pause; patience < 0 {
			return nil, err
		}
		if ended := c.wait(ctx, err, pause); ended != nil {
			return nil, ended
		}
	}
}

// wait pauses after an error. It returns one once the context has ended.
func (c *Client) wait(ctx context.Context, after error, pause time.Duration) error {
	if c.Waiting != nil {
		c.Waiting(after, pause)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w, after: %w", ctx.Err(), after)
	}
}

// passes reports whether what failed may succeed a little later: the service says so, or there was
// no answer.
func passes(err error) bool {
	if refused, is := errors.AsType[*Error](err); is {
		return refused.passes()
	}
	_, unanswered := errors.AsType[*url.Error](err)
	return unanswered
}

// pauseAfter is how long to wait after an attempt that failed. Clients that failed together don't
// return together.
func pauseAfter(err error, attempt int) time.Duration {
	if refused, is := errors.AsType[*Error](err); is && refused.RetryAfter > 0 {
		return refused.RetryAfter
	}
	pause := min(firstPause<<min(attempt, 10), longestPause)
	return pause/2 + rand.N(pause) //nolint:gosec // spreading retries needs no secrecy
}
