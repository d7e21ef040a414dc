package oidc

import (
	"crypto/sha256"
	"sync"
	"time"
)

// cache remembers answers for a while. It holds at most a number of them, so no caller makes it
// grow: the oldest give way.
type cache[K comparable, V any] struct {
	most int

	mu      sync.Mutex
	entries map[K]entry[V]
	order   []K // as they came
}

type entry[V any] struct {
	value V
	until time.Time
}

func newCache[K comparable, V any](most int) *cache[K, V] {
	return &cache[K, V]{most: most, entries: map[K]entry[V]{}}
}

// get returns what is remembered. One that is out of date is known and not fresh.
func (c *cache[K, V]) get(key K, now time.Time) (value V, fresh, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, known := c.entries[key]
	return e.value, known && now.Before(e.until), known
}

func (c *cache[K, V]) put(key K, value V, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.entries[key]; !known {
		if len(c.entries) >= c.most {
			delete(c.entries, c.order[0])
			c.order = c.order[1:]
		}
		c.order = append(c.order, key)
	}
	c.entries[key] = entry[V]{value: value, until: until}
}

// digest is what a token is remembered by: a cache must not hold tokens.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }
