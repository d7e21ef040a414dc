package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
)

// info is what is known of one stream. It is a value: the writer publishes a new one after each
// commit.
type info struct {
	sid        int64 // 0: not in the database yet
	head       int64 // newest revision, -1 before the first event
	tombstoned bool
	before     int64 // $tb
	maxCount   int64
	maxAge     int64 // seconds
}

// softDeleted is the $tb of a deleted stream.
const softDeleted = math.MaxInt64

func (i info) deleted() bool { return i.before == softDeleted }

func (i info) exists() bool { return i.head >= 0 && !i.deleted() }

// first is the oldest revision that may be seen, age aside.
func (i info) first() int64 {
	first := i.before
	if i.maxCount > 0 {
		first = max(first, i.head-i.maxCount+1)
	}
	return max(first, 0)
}

// maxInfos bounds the streams that are known in memory.
const maxInfos = 100_000

// infos is what is published of streams. Readers and the writer share it; only the writer changes
// it.
type infos struct {
	mu    sync.RWMutex
	known map[string]info
}

func newInfos() *infos { return &infos{known: map[string]info{}} }

// of returns what is known of a stream, reading it from the database when nothing is.
func (c *infos) of(ctx context.Context, query *sql.Stmt, name string) (info, error) {
	c.mu.RLock()
	i, hit := c.known[name]
	c.mu.RUnlock()
	if hit {
		return i, nil
	}
	var err error
	// The writer publishes under the same lock, so what is read here can't be older than what it
	// replaces.
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, hit := c.known[name]; hit {
		return i, nil
	}
	err = query.QueryRowContext(ctx, name).Scan(&i.sid, &i.head, &i.tombstoned, &i.before, &i.maxCount, &i.maxAge)
	if errors.Is(err, sql.ErrNoRows) {
		i, err = info{head: -1}, nil
	}
	if err != nil {
		return info{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	if strings.HasPrefix(name, "$$") {
		i.maxCount = 1
	}
	if i.sid != 0 { // what was never written is not worth remembering
		c.publishLocked(name, i)
	}
	return i, nil
}

func (c *infos) publish(changed map[string]info) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, i := range changed {
		c.publishLocked(name, i)
	}
}

// forget drops what is known of streams whose deletion is committed.
func (c *infos) forget(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		delete(c.known, name)
	}
}

func (c *infos) publishLocked(name string, i info) {
	for old := range c.known {
		if len(c.known) < maxInfos {
			break
		}
		delete(c.known, old)
	}
	c.known[name] = i
}

// bounds is a stream's metadata as it is stored in its $$ stream.
type bounds struct {
	Before   *int64 `json:"$tb,omitempty"`
	MaxCount *int64 `json:"$maxCount,omitempty"`
	MaxAge   *int64 `json:"$maxAge,omitempty"`
}

// bounded returns i with the bounds that a $metadata event sets. Data that isn't such JSON sets
// none.
func (i info) bounded(data []byte) info {
	var b bounds
	if err := json.Unmarshal(data, &b); err != nil {
		b = bounds{}
	}
	value := func(p *int64) int64 {
		if p == nil || *p < 0 {
			return 0
		}
		return *p
	}
	i.before, i.maxCount, i.maxAge = value(b.Before), value(b.MaxCount), value(b.MaxAge)
	return i
}
