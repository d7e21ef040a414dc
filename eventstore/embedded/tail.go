package embedded

import "sync"

const (
	tailRecords = 4096
	tailBytes   = 8 << 20
)

// tail keeps the newest records in memory, so that live followers are sent what was just committed
// without reading it from the database again.
type tail struct {
	mu      sync.RWMutex
	records []record // without a gap, in the order of the log
	bytes   int
}

// add takes what a commit wrote. The records must follow the last ones.
func (t *tail) add(records []record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records = append(t.records, records...)
	for _, r := range records {
		t.bytes += r.size()
	}
	drop := 0
	for len(t.records)-drop > tailRecords || t.bytes > tailBytes {
		t.bytes -= t.records[drop].size()
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
	if len(t.records) == 0 || t.records[0].pos > position+1 {
		return nil, false
	}
	from := min(int(position+1-t.records[0].pos), len(t.records))
	return append([]record(nil), t.records[from:min(from+n, len(t.records))]...), true
}

func (r record) size() int { return len(r.data) + len(r.meta) + 200 }
