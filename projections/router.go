package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

// Run hands the batches of a feed to a handler through a Watermill router until ctx ends. The
// handler must store its effects and the position Batch.To together, or neither: after an error it
// gets the same events again.
func Run(ctx context.Context, f *Feed, handle func(context.Context, Batch) error) error {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Second}, logAdapter{f.Logger})
	if err != nil {
		return fmt.Errorf("start the projection %s: %w", f.Name, err)
	}
	router.AddMiddleware(middleware.Recoverer, tellFeed)
	router.AddConsumerHandler(f.Name, f.Name, f, func(msg *message.Message) error {
		batch, ok := BatchOf(msg)
		if !ok {
			return errors.New("the message carries no batch")
		}
		return handle(msg.Context(), batch)
	})
	if err := router.Run(ctx); err != nil {
		return fmt.Errorf("run the projection %s: %w", f.Name, err)
	}
	return f.Close()
}

// tellFeed keeps the reason of a failure where the feed finds it.
func tellFeed(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) (produced []*message.Message, err error) {
		d, ok := msg.Context().Value(handoverKey{}).(*handover)
		if !ok {
			return next(msg)
		}
		d.err = errors.New("the handler panicked")
		produced, err = next(msg)
		d.err = err
		return produced, err
	}
}

// panicked turns a recovered value into an error, without the text of values that may hold
// anything.
func panicked(r any) error {
	var fault runtime.Error
	if err, ok := r.(error); ok && errors.As(err, &fault) {
		return fmt.Errorf("panic: %w", fault)
	}
	return fmt.Errorf("panic with a %T", r)
}

// logAdapter lets Watermill speak through slog. Why a batch failed is logged once, by its feed, so
// Watermill's own errors, whose long form is a stack trace of many lines, are kept to one line at
// debug level.
type logAdapter struct{ logger *slog.Logger }

func (l logAdapter) Error(msg string, err error, fields watermill.LogFields) {
	text := ""
	if err != nil {
		text, _, _ = strings.Cut(err.Error(), "\n")
	}
	if p, ok := errors.AsType[middleware.RecoveredPanicError](err); ok {
		text = panicked(p.V).Error()
	}
	l.logger.Debug("watermill", append(attrsOf(msg, fields), slog.String("error", text))...)
}

func (l logAdapter) Info(msg string, fields watermill.LogFields)  { l.Debug(msg, fields) }
func (l logAdapter) Trace(msg string, fields watermill.LogFields) {}
func (l logAdapter) Debug(msg string, fields watermill.LogFields) {
	l.logger.Debug("watermill", attrsOf(msg, fields)...)
}

func (l logAdapter) With(fields watermill.LogFields) watermill.LoggerAdapter {
	attrs := make([]any, 0, len(fields))
	for k, v := range fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	return logAdapter{l.logger.With(attrs...)}
}

func attrsOf(msg string, fields watermill.LogFields) []any {
	text, _, _ := strings.Cut(msg, "\n") // with a panic comes its stack
	attrs := []any{slog.String("text", text)}
	for k, v := range fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	return attrs
}
