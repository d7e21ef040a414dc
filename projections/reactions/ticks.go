package reactions

import (
	"context"
	"log/slog"
	"time"
)

// onTicks calls fn at every tick until ctx ends. What fails is tried again at the next tick, and is
// logged once until it succeeds.
func onTicks(
	ctx context.Context, tick <-chan time.Time, logger *slog.Logger, failure string, fn func(context.Context) error,
) {
	failed := false
	for {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		err := fn(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			logger.WarnContext(ctx, failure, slog.String("error", err.Error())) //nolint:sloglint // each caller's message is constant
		}
		failed = err != nil
	}
}
