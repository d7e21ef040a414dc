package limits

import (
	"context"
	"sync"
	"time"
)

// Memory counts in this process, in integer nanoseconds. All methods are safe for concurrent use.
type Memory struct {
	clock func() time.Time

	mu      sync.Mutex
	arrival map[string]time.Time // theoretical arrival time by key
	idle    []string             // keys to look at in the next sweeps
}

// NewMemory returns an empty count that reads the time from clock.
func NewMemory(clock func() time.Time) *Memory {
	return &Memory{clock: clock, arrival: map[string]time.Time{}}
}

// sweepStep bounds how many keys one call looks at to forget those that are full again.
const sweepStep = 8

// Allow takes one under a rule that is not off. The error is always nil.
func (m *Memory) Allow(_ context.Context, key string, r Rule) (Decision, error) {
	d, _ := m.take(key, r, 1)
	return d, nil
}

// Peek says how it stands and takes nothing. The error is always nil.
func (m *Memory) Peek(_ context.Context, key string, r Rule) (Decision, error) {
	d, now := m.take(key, r, 0)
	return d.peeked(r, now), nil
}

func (m *Memory) take(key string, r Rule, cost int) (Decision, time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, interval := m.clock(), r.interval()
	m.sweep(now)
	at, known := m.arrival[key]
	if !known || at.Before(now) {
		at = now
	}
	d := Decision{Limit: r.Limit, Window: r.Window}
	next := at.Add(interval * time.Duration(cost))
	room := now.Sub(next.Add(-interval * time.Duration(r.Limit)))
	if room < 0 {
		d.Reset, d.RetryAfter = at, -room
		return d, now
	}
	if next.After(now) {
		if !known {
			m.idle = append(m.idle, key)
		}
		m.arrival[key] = next
	}
	d.Allowed, d.Remaining, d.Reset = true, int(room/interval), next
	return d, now
}

// sweep forgets a few keys whose time has passed. Each call adds at most one key and looks at
// several, so the table stays as large as what is in use.
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
