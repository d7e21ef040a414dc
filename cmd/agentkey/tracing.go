package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"agentkey/eventstore/spans"
)

// flushTime is how long a stop may wait for the receiver of traces.
const flushTime = 3 * time.Second

// tracing sends spans to where the configuration says. They wait in memory for it; when there are
// too many the newest are dropped, and nothing else waits.
type tracing struct {
	tracer   trace.Tracer // nil: nothing is traced
	provider *sdktrace.TracerProvider
	logger   *slog.Logger
}

// startTracing connects nothing yet: the receiver may come later.
func startTracing(ctx context.Context, c Config, logger *slog.Logger) (*tracing, error) {
	if c.TracesURL == "" {
		return &tracing{}, nil
	}
	exporter, err := otlptracehttp.New(
		ctx, otlptracehttp.WithEndpointURL(c.TracesURL), otlptracehttp.WithProxy(c.Outbound.ProxyFor),
	)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	who, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "agentkey"), attribute.String("service.instance.id", newID().String()),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	// What fails in the background has no other way out.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		logger.Warn("traces can't be sent", slog.String("error", err.Error()))
	}))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(who))
	return &tracing{tracer: provider.Tracer(spans.Scope), provider: provider, logger: logger}, nil
}

// stop sends what still waits, until a moment at most and never longer than flushTime.
func (t *tracing) stop(ctx context.Context, until time.Time) {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	if !until.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		t.logger.Warn("the last traces are lost", slog.String("error", err.Error()))
	}
}
