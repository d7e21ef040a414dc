package eventstore_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"agentkey/eventstore"
)

func TestPausesDoubleUpToTheLongestAndBeginAgainAfterASuccess(t *testing.T) {
	b := eventstore.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	next := func(n int) (pauses []int64) {
		for range n {
			pauses = append(pauses, b.Next().Milliseconds())
		}
		return pauses
	}
	if got := next(6); !slices.Equal(got, []int64{100, 200, 400, 800, 1000, 1000}) {
		t.Errorf("pauses %v", got)
	}
	b.Max = 300 * time.Millisecond
	if got := next(2); !slices.Equal(got, []int64{300, 300}) {
		t.Errorf("with a shorter end: %v", got)
	}
	b.Max = time.Second
	if got := next(2); !slices.Equal(got, []int64{600, 1000}) {
		t.Errorf("with the longer end again: %v", got)
	}
	b.Reset()
	if got := next(2); !slices.Equal(got, []int64{100, 200}) {
		t.Errorf("after a success: %v", got)
	}
}

func TestAPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if eventstore.Pause(ctx, time.Hour) {
		t.Error("it says that an hour has passed")
	}
	if !eventstore.Pause(t.Context(), 0) {
		t.Error("no pause did not end")
	}
}
