package eventstore

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is the pause between two tries of what fails. It begins at Min, doubles each time, and
// ends at Max.
type Backoff struct {
	Min, Max time.Duration
	next     time.Duration
}

// Next returns the pause before the next try.
func (b *Backoff) Next() time.Duration {
	pause := min(max(b.next, b.Min), b.Max)
	b.next = 2 * pause
	return pause
}

// Reset makes the next pause the shortest again, after a success.
func (b *Backoff) Reset() { b.next = 0 }

// Pause waits from half to one and a half of a duration, so that many that failed together don't
// return together. It reports false when the context ended meanwhile.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(max(d, 1))) //nolint:gosec // spreading retries needs no secrecy
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
