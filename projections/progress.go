package projections

import (
	"context"
	"fmt"
	"sync"
)

// State says what a projection is doing.
type State string

// The states of a projection.
const (
	Running    State = "running"     // it has everything and follows
	CatchingUp State = "catching_up" // it is behind, or waits for the log
	Failed     State = "failed"      // it can't get past an event or can't write; it tries again and again
	Standby    State = "standby"     // another process does the work, and this one takes over when that ends
	Stopped    State = "stopped"
)

// progress is how far a projection has come. Everything up to the position was handled.
type progress struct {
	mu       sync.Mutex
	position uint64
	state    State
	detail   string
	caughtUp bool          // once, ever
	changed  chan struct{} // closed, and replaced, at every change
	waiting  int           // callers of wait whose position is ahead
	arrived  chan struct{} // closed while there are any
}

func newProgress() *progress {
	return &progress{state: Stopped, changed: make(chan struct{}), arrived: make(chan struct{})}
}

func (p *progress) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// reach moves the position on.
func (p *progress) reach(position uint64) {
	p.update(func() { p.position = max(p.position, position) })
}

// restart moves the position to where the rows are now.
func (p *progress) restart(position uint64) { p.update(func() { p.position = position }) }

func (p *progress) enter(state State, detail string) {
	p.update(func() {
		p.state, p.detail = state, detail
		// a process that stands by has seen the tables at the end
		p.caughtUp = p.caughtUp || state == Running || state == Standby
	})
}

// resume leaves a state for catching up; in any other nothing changes.
func (p *progress) resume(from State) {
	p.update(func() {
		if p.state == from {
			p.state, p.detail = CatchingUp, ""
		}
	})
}

// until waits for a condition, which is asked again at every change and holds the lock.
func (p *progress) until(ctx context.Context, met func() bool) error {
	for {
		p.mu.Lock()
		done, changed := met(), p.changed
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaited is closed while a caller waits for a position.
func (p *progress) awaited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.arrived
}

func (p *progress) wait(ctx context.Context, position uint64) error {
	p.mu.Lock()
	if p.position >= position {
		p.mu.Unlock()
		return nil
	}
	if p.waiting++; p.waiting == 1 {
		close(p.arrived)
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.waiting--; p.waiting == 0 {
			p.arrived = make(chan struct{})
		}
	}()
	err := p.until(ctx, func() bool { return p.position >= position })
	if err != nil {
		return fmt.Errorf("wait for position %d: %w", position, err)
	}
	return nil
}
