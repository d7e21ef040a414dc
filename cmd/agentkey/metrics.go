package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"agentkey/api"
	"agentkey/commands/loop"
	"agentkey/eventstore"
	"agentkey/projections/reactions"
)

// metrics are what the process counts for Prometheus. No label says who called or what for: its
// values are few, and none is an id or a secret.
type metrics struct {
	registry *prometheus.Registry

	requests       *prometheus.CounterVec   // by method, route, status
	requestSeconds *prometheus.HistogramVec // by method, route
	fetches        *prometheus.CounterVec   // by outcome
	appendSeconds  *prometheus.HistogramVec // by category
	appendCommands prometheus.Histogram
	appendErrors   *prometheus.CounterVec // by category, reason
	reactions      *prometheus.CounterVec // by reaction
	foreign        prometheus.Counter
	connections    prometheus.Gauge
	full           *prometheus.CounterVec // by outcome
}

// newMetrics registers everything that is counted. What only the moment tells comes from h when it
// is asked for.
func newMetrics(h *health, dataDir string) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	seconds := func(name, help string, labels ...string) *prometheus.HistogramVec {
		buckets := prometheus.ExponentialBuckets(0.0005, 2, 15) // half a millisecond to eight seconds
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &metrics{
		registry:       prometheus.NewRegistry(),
		requests:       counter("agentkey_http_requests_total", "Calls answered.", "method", "route", "status"),
		requestSeconds: seconds("agentkey_http_request_duration_seconds", "Time to answer a call.", "method", "route"),
		fetches: counter(
			"agentkey_fetches_total",
			"Fetches of a credential, by what came of them: vended, or the code of the refusal or fault.", "outcome",
		),
		appendSeconds: seconds(
			"agentkey_append_duration_seconds", "Time that the event log took for an append, failed ones included.",
			"category",
		),
		appendCommands: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "agentkey_append_commands", Help: "Commands answered by one append.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		appendErrors: counter(
			"agentkey_append_errors_total", "Appends that failed: conflict (decided again), unavailable, other.",
			"category", "reason",
		),
		reactions: counter(
			"agentkey_reactions_total", "Events to which a reaction had something to do.", "reaction",
		),
		foreign: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agentkey_foreign_events_total",
			Help: "Events that this process met in our streams and that aren't ours at their place, each counted once.",
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "agentkey_http_connections", Help: "Connections to the API that are open.",
		}),
		full: counter(
			"agentkey_http_connections_full_total",
			"Connections that came when all were taken: one that waited made_room, busy was answered, or it was refused.",
			"outcome",
		),
	}
	m.registry.MustRegister(m.requests, m.requestSeconds, m.fetches, m.appendSeconds, m.appendCommands, m.appendErrors,
		m.reactions, m.foreign, m.connections, m.full,
		&vitals{health: h, dataDir: dataDir}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// answered counts a call; see api.Server.
func (m *metrics) answered(a api.Answered) {
	m.requests.WithLabelValues(a.Method, a.Route, strconv.Itoa(a.Status)).Inc()
	m.requestSeconds.WithLabelValues(a.Method, a.Route).Observe(a.Took.Seconds())
	if a.Operation != "fetchCredential" {
		return
	}
	outcome := a.Code
	if outcome == "" {
		outcome = "vended"
	}
	m.fetches.WithLabelValues(outcome).Inc()
}

// expect lets what is certain to be counted begin at 0, so that its first increase is one.
func (m *metrics) expect(categories []string, reactions []reactions.Reaction) {
	m.fetches.WithLabelValues("vended")
	for _, outcome := range []string{"made_room", "busy", "refused"} {
		m.full.WithLabelValues(outcome)
	}
	for _, category := range categories {
		for _, reason := range []string{"conflict", "unavailable", "other"} {
			m.appendErrors.WithLabelValues(category, reason)
		}
	}
	for _, re := range reactions {
		m.reactions.WithLabelValues(re.Name)
	}
}

// appended counts an append; see loop.Env.
func (m *metrics) appended(a loop.Appending) {
	m.appendSeconds.WithLabelValues(a.Category).Observe(a.Took.Seconds())
	if a.Err == nil {
		m.appendCommands.Observe(float64(a.Commands))
		return
	}
	reason := "other"
	switch {
	case errors.Is(a.Err, eventstore.ErrWrongRevision):
		reason = "conflict"
	case errors.Is(a.Err, eventstore.ErrUnavailable), errors.Is(a.Err, context.DeadlineExceeded):
		reason = "unavailable"
	}
	m.appendErrors.WithLabelValues(a.Category, reason).Inc()
}

// acted counts what a reaction did; see reactions.Reactor.
func (m *metrics) acted(reaction string) { m.reactions.WithLabelValues(reaction).Inc() }

// serve answers scrapes of /metrics until ctx ends.
func (m *metrics) serve(ctx context.Context, listener net.Listener, logger *slog.Logger) {
	errorLog := slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: errorLog, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4,
	}))
	server := &http.Server{
		Handler: mux, ErrorLog: errorLog, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 8 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	var err error
	select {
	case <-ctx.Done():
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		err = server.Shutdown(stopping)
	case err = <-failed:
	}
	if err != nil { // nothing that matters to an agent depends on it
		logger.Error("the server of the metrics ended", slog.String("error", err.Error()))
	}
}

// listenMetrics opens the address that is scraped; nil when none is configured.
func listenMetrics(ctx context.Context, c Config) (net.Listener, error) {
	if c.MetricsListen == "" {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w; set AGENTKEY_METRICS_LISTEN to another address", err)
	}
	return listener, nil
}
