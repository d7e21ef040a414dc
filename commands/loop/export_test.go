package loop

import (
	"context"
	"time"
)

// What tests see of the inside.

// MaxWaiting is how many commands wait in one queue, MaxShare how many of one actor.
const (
	MaxWaiting = maxWaiting
	MaxShare   = maxShare
)

// GiveTime bounds each batch and each snapshot.
func (l *Loop[S, C, E]) GiveTime(d time.Duration) { l.deadline = d }

// KeepAtMost bounds how many streams are kept folded in memory.
func (l *Loop[S, C, E]) KeepAtMost(n int) { l.most = n }

// Kept is how many are.
func (l *Loop[S, C, E]) Kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams)
}

// Waiting is how many commands wait for their turn on a stream.
func (l *Loop[S, C, E]) Waiting(id string) int {
	s := l.stream(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// Remembered is how many commands a stream keeps in mind.
func (l *Loop[S, C, E]) Remembered(id string) int {
	s := l.stream(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.commands)
}

// FromSnapshot is where folding a stream would begin.
func (l *Loop[S, C, E]) FromSnapshot(ctx context.Context, id string) Head[S] {
	return l.stream(id).fromSnapshot(ctx)
}

// WriteSnapshot writes a snapshot with our MAC of whatever state is said to be at a head, and waits
// for it.
func (l *Loop[S, C, E]) WriteSnapshot(id string, head Head[S]) error {
	_, err := l.stream(id).writeSnapshot(head, 0)
	return err
}
