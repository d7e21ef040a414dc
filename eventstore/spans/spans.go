// Package spans reports the steps of a call to OpenTelemetry. A step is reported only below a span
// that is recorded, so where nothing is traced it costs one look into the context. A span holds
// what kind of thing was done and how it ended, and never whose or which one it was: no id, no text
// of an error, nothing that a caller has sent.
package spans

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Scope names our instrumentation.
const Scope = "agentkey"

// Other is the class of a fault that has no better one.
const Other = "_OTHER"

// Step begins a step below the span of ctx. End ends it.
func Step(ctx context.Context, what, of string) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, noop.Span{}
	}
	return parent.TracerProvider().Tracer(Scope).Start(ctx, what+" "+of)
}

// Call is Step for a call to the event log, of a kind of stream. Several events count as a batch.
func Call(ctx context.Context, what, category string, events int) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, noop.Span{}
	}
	attributes := []attribute.KeyValue{
		semconv.DBSystemNameKey.String("eventstoredb"), semconv.DBOperationName(what),
		semconv.DBCollectionName(category),
	}
	if events > 1 {
		attributes = append(attributes, semconv.DBOperationBatchSize(events))
	}
	return parent.TracerProvider().Tracer(Scope).Start(
		ctx, what+" "+category, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...),
	)
}

// End ends a span. class is what sort of fault ended it; empty: none did.
func End(span trace.Span, class string) {
	if class != "" && span.IsRecording() {
		span.SetStatus(codes.Error, "")
		span.SetAttributes(semconv.ErrorTypeKey.String(class))
	}
	span.End()
}

// Within returns ctx below a span that belongs to another context, if it is recorded: for work that
// several share and that ends with none of them.
func Within(ctx context.Context, span trace.Span) context.Context {
	if span == nil || !span.IsRecording() {
		return ctx
	}
	return trace.ContextWithSpan(ctx, span)
}
