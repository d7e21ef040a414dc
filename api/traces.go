package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"agentkey/api/contract"
	"agentkey/eventstore/spans"
)

// begin begins the span of a call that is worth one, below the span that the caller names in
// traceparent: it is only an id, so anybody may. It tells which route was called and never how it
// was filled in, nor by whom.
func (s *Server) begin(c *gin.Context, op *contract.Operation) (context.Context, trace.Span) {
	ctx := c.Request.Context()
	if s.Tracer == nil || op != nil && op.Caller == "anyone" { // who looks how we are looks often
		return ctx, nil
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": c.GetHeader("traceparent")})
	a := answered(c, &call{}, 0)
	name := a.Method
	if a.Method == "other" {
		a.Method, name = "_OTHER", "HTTP"
	}
	scheme := "http"
	if c.Request.TLS != nil {
		scheme = "https"
	}
	attributes := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(a.Method), semconv.URLScheme(scheme),
		semconv.NetworkProtocolVersion(strconv.Itoa(c.Request.ProtoMajor) + "." + strconv.Itoa(c.Request.ProtoMinor)),
	}
	if c.FullPath() != "" {
		name, attributes = name+" "+a.Route, append(attributes, semconv.HTTPRoute(a.Route))
	}
	return s.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...))
}

// end ends the span of a call with what came of it.
func (c *call) end(status int) {
	if c.span == nil {
		return
	}
	c.span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if c.code != "" {
		c.span.SetAttributes(attribute.String("agentkey.code", c.code))
	}
	if status < http.StatusInternalServerError { // the caller's fault, or none
		spans.End(c.span, "")
		return
	}
	spans.End(c.span, strconv.Itoa(status))
}
