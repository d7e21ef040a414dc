// Package wait lets tests wait for what another goroutine or process does. No wait decides how fast
// something has to be: each ends when what it waits for has happened, and gives up only when that
// is plainly never going to be.
package wait

import (
	"context"
	"testing"
	"time"
)

// Patience is when a wait gives up: late enough that a busy machine never looks like a fault.
const Patience = 3 * time.Minute

// The pauses between two looks grow with the wait, so that a long one leaves the processor to what
// it waits for.
const (
	shortest = time.Millisecond
	longest  = 20 * time.Millisecond
)

// Until returns when a condition is met. It asks from the test's own goroutine.
func Until(t testing.TB, what string, met func() bool) {
	t.Helper()
	began := time.Now()
	for !met() {
		waited := time.Since(began)
		if waited > Patience {
			t.Fatalf("it never became true in %s: %s", Patience, what)
		}
		<-time.After(min(max(waited/20, shortest), longest))
	}
}

// For returns what a channel brings, or the zero value when it is closed.
func For[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(Patience):
		t.Fatalf("it never happened in %s: %s", Patience, what)
		panic("unreachable")
	}
}

// Context ends with the test, or when patience does.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}
