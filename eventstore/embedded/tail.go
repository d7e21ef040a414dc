package embedded

import (
	"cmp"
	"slices"
	"sync"
)

const (
	tailRecords = 4096
	tailBytes   = 8 << 20
)

// tail keeps the newest records in memory, so that live followers are sent what was just committed
// without reading it from the database again.
type tail struct {
	mu      sync.RWMutex
	records []record // every event after the position before, in the order of the log
	before  int64
	bytes   int
}

// add takes what a commit wrote after the position before.
func (t *tail) add(before int64, records []record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.records) == 0 {
		t.before = before
	}
	t.records = append(t.records, records...)
	for _, r := range records {
		t.bytes += r.size()
	}
	drop := 0
	for len(t.records)-drop > tailRecords || t.bytes > tailBytes {
		t.before, t.bytes = t.records[drop].pos, t.bytes-t.records[drop].size()
		t.records[drop] = record{} // readers keep their copy; the array must not
		drop++
	}
	t.records = t.records[drop:]
}

// clear drops everything, so that readers ask the database.
func (t *tail) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records, t.bytes = nil, 0
}

// after returns up to n records behind a position and false when it does not go back that far.
func (t *tail) after(position int64, n int) ([]record, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.records) == 0 || position < t.before {
		return nil, false
	}
	from, _ := slices.BinarySearchFunc(t.records, position+1, func(r record, at int64) int {
		return cmp.Compare(r.pos, at)
	})
	return append([]record(nil), t.records[from:min(from+n, len(t.records))]...), true
}

// size is about what an event takes in the database. Positions grow by it: like those of a server,
// which are offsets in a file, they aren't consecutive.
func (r record) size() int { return len(r.data) + len(r.meta) + 200 }
