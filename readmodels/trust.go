package readmodels

import (
	"fmt"
	"sync"
	"time"
)

// errWhose is the reason until it is known.
var errWhose = fmt.Errorf("%w: it isn't known yet whether the tables are of this installation", ErrUnavailable)

// trust says whether queries may rely on the tables. Those that may have become another
// installation's hold nobody's answers here.
type trust struct {
	clock func() time.Time

	mu     sync.Mutex
	until  time.Time // zero: for good
	reason error     // nil: until then they may
}

// give lets queries rely on the tables until a time.
func (t *trust) give(until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until, t.reason = until, nil
}

// withdraw keeps queries from the tables for a reason.
func (t *trust) withdraw(reason error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reason = reason
}

func (t *trust) check() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reason == nil && !t.until.IsZero() && t.clock().After(t.until) {
		return errWhose
	}
	return t.reason
}

// Guard lets no query pass from now on until Lead has found that the tables are of its
// installation, and not while it finds that they are another's, which is an *OccupiedError. A tool
// that never leads asks without.
func (db *Store) Guard() { db.trust.withdraw(errWhose) }

// Usable returns why no query is answered now, as far as that is known without asking the tables.
func (db *Store) Usable() error { return db.trust.check() }
