package reactions

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestWhatFailsAtATickIsLoggedOnceAndTriedAgain runs a function that fails at some ticks, and ends
// the loop.
func TestWhatFailsAtATickIsLoggedOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ticks, ended := make(chan time.Time), make(chan struct{})
	outcomes := []error{nil, errors.New("first"), errors.New("second"), nil, errors.New("third"), nil}
	calls := 0
	go func() {
		defer close(ended)
		onTicks(ctx, ticks, logger, "it did not work", func(context.Context) error {
			calls++
			return outcomes[calls-1]
		})
	}()
	for range outcomes {
		ticks <- time.Time{}
	}
	cancel()
	<-ended
	if calls != len(outcomes) {
		t.Errorf("%d calls in %d ticks", calls, len(outcomes))
	}
	if got := log.String(); strings.Count(got, "it did not work") != 2 ||
		!strings.Contains(got, "first") || !strings.Contains(got, "third") {
		t.Errorf("the log: %s", got)
	}
}

// TestWhatEndsWithTheLoopIsNotLogged cancels a function while it works.
func TestWhatEndsWithTheLoopIsNotLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	ticks := make(chan time.Time, 1)
	ticks <- time.Time{}
	onTicks(ctx, ticks, slog.New(slog.NewTextHandler(&log, nil)), "it did not work", func(ctx context.Context) error {
		cancel()
		return ctx.Err()
	})
	if log.Len() > 0 {
		t.Errorf("the log: %s", log.String())
	}
}
