package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/redis/go-redis/v9/logging"

	"agentkey/api/door/limits"
	"agentkey/audit"
	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/commands/names"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/integrations/templates"
	"agentkey/projections"
)

type serveCommand struct{}

// stopTime is how long calls under way may take to end.
const stopTime = 10 * time.Second

// Run serves until the shell's context ends.
func (serveCommand) Run(sh *shell) error {
	c, err := LoadConfig(sh.environ)
	if err != nil {
		return err
	}
	if err := vacant(sh.ctx, c); err != nil { // before anything is made
		return err
	}
	logger := newLogger(sh.stderr)
	log, err := OpenLog(sh.ctx, c, false, logger)
	if err != nil {
		return err
	}
	err = errors.Join(serve(sh, c, log, logger), log.Close())
	if err == nil {
		_, err = fmt.Fprintln(sh.stdout, "AgentKey has stopped.")
	}
	return err
}

func serve(sh *shell, c Config, log *openLog, logger *slog.Logger) (err error) {
	demo, err := readDemo(c.DataDir)
	if err != nil {
		return err
	}
	announced := false // the first admin token, to somebody who can read it
	inst, err := beginning(sh.ctx, c, log.Client, &entrance{
		announce: func(token string) {
			path := filepath.Join(c.DataDir, firstTokenFile)
			if !isTerminal(sh.stdout) { // it would end up in a log collector
				_, _ = fmt.Fprintf(sh.stdout, "The first admin token is in %s\n", path)
				return
			}
			announced = true
			_, _ = fmt.Fprintf(sh.stdout, "The first admin token, shown once (also in %s):\n%s\n", path, token)
		},
		warn: func(text string) { logger.Warn("the configured token", slog.String("problem", text)) },
	})
	if err != nil {
		return err
	}
	traces, err := startTracing(sh.ctx, c, logger)
	if err != nil {
		return err
	}
	var stopBy time.Time
	defer func() { traces.stop(sh.ctx, stopBy) }()
	models, err := openModels(sh.ctx, c, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, models.Close()) }()
	models.Guard()
	tables, err := openLedger(sh.ctx, c, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tables.Close()) }()
	tables.Guard()

	health := &health{
		client: log.Client, store: log.store, logURL: c.EventStoreURL, databaseURL: c.DatabaseURL, redis: c.Redis,
	}
	lost := func(ctx context.Context, m eventstore.Mark) error {
		_, err := health.fence.Restored(ctx, m)
		return err
	}
	readModel := projections.NewReadModel(projections.ReadModelConfig{
		Log: inst.Log, DB: models, Logger: logger, Clock: time.Now, Tracer: traces.tracer, OnLost: lost,
	})
	health.readModel = readModel
	keys, err := inst.CheckpointKeys()
	if err != nil {
		return err
	}
	health.ledger = audit.New(audit.Config{
		Log: inst.Log, Tables: tables, Logger: logger, Clock: time.Now, Tracer: traces.tracer, OnLost: lost,
		First: inst.Begun.OrganizationID, Keys: keys, Sign: inst.CheckpointKey, Owned: models.Usable,
	})
	health.integrity = &projections.Integrity{
		Log: inst.Log, Logger: logger, Clock: time.Now, Rest: projections.Leisurely,
		OnLost: func(ctx context.Context, lost *codec.LostError) error { return health.fence.Report(ctx, lost) },
	}
	for _, f := range []*projections.Follower{readModel.Follower, health.ledger.Follower} {
		health.integrity.Ends = append(
			health.integrity.Ends, func(ctx context.Context, after string) ([]projections.StreamEnd, error) {
				return f.SeenEnds(ctx, after, inst.Begun.StoreID, health.fence.ConfirmedAt())
			},
		)
	}
	if c.Redis == nil {
		health.counter = limits.NewMemory(time.Now)
	} else {
		logging.Disable() // an outage shows in readiness and metrics, not line by line
		shared := limits.NewShared(c.Redis, time.Now)
		defer func() { err = errors.Join(err, shared.Close()) }()
		health.counter = shared
	}
	counted := newMetrics(health, c.DataDir)
	parts := assemble(c, inst, models, readModel, health, counted, logger)
	parts.server.Tracer, parts.server.Demo = traces.tracer, demo != nil
	if parts.server.Templates, err = templates.Load(names.FoldProduct, names.Site); err != nil {
		return err
	}
	if parts.server.Dashboard, err = dashboardFiles(c); err != nil {
		return err
	}
	parts.server.SetupGuide = setupGuide(c, parts.server.Templates)
	stopping, stopStreams := context.WithCancel(context.WithoutCancel(sh.ctx))
	defer stopStreams()
	parts.server.Stopping = stopping
	handler, err := parts.server.Handler()
	if err != nil {
		return err
	}
	kept, err := readMark(filepath.Join(c.DataDir, markFile))
	if err != nil {
		return err
	}
	if _, err := health.fence.Restored(sh.ctx, kept); err != nil {
		return err
	}
	for _, re := range parts.reactions {
		if err := parts.reactor.Begin(sh.ctx, re); err != nil {
			return err
		}
	}
	pair, err := openKeyPair(c, logger)
	if err != nil {
		return err
	}
	listener, bounded, err := listen(sh.ctx, c, pair, counted)
	if err != nil {
		return err
	}
	scraped, err := listenMetrics(sh.ctx, c)
	if err != nil {
		return errors.Join(err, listener.Close())
	}

	// What runs beside the calls ends after the last of them.
	beside, stop := context.WithCancel(context.WithoutCancel(sh.ctx))
	var running sync.WaitGroup
	running.Go(func() {
		if err := readModel.Run(beside); err != nil {
			logger.Error("the projection of the read model ended", slog.String("error", err.Error()))
		}
	})
	running.Go(func() { _ = parts.server.Live.Run(beside) }) // it ends with beside alone
	running.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		if err := health.ledger.Run(beside, ticker.C); err != nil {
			logger.Error("the ledger ended", slog.String("error", err.Error()))
		}
	})
	running.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		parts.refusals.Run(beside, ticker.C)
	})
	running.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		parts.uses.Run(beside, ticker.C)
	})
	running.Go(func() {
		ticker := time.NewTicker(time.Second / 2)
		defer ticker.Stop()
		parts.expiry.Run(beside, ticker.C)
	})
	running.Go(func() {
		ticker := time.NewTicker(5 * time.Second)
		defer ticker.Stop()
		parts.reminders.Run(beside, ticker.C)
	})
	running.Go(func() {
		ticker := time.NewTicker(time.Second / 2)
		defer ticker.Stop()
		parts.deliverer.Run(beside, ticker.C)
	})
	if parts.issuers != nil {
		running.Go(func() { parts.issuers.Run(beside) })
	}
	running.Go(func() { health.fence.Run(beside) })
	running.Go(func() {
		ticker := time.NewTicker(commands.Replacing.Lease / 3)
		defer ticker.Stop()
		inst.SigningKeys.Run(beside, ticker.C, func(err error) {
			logger.Error("the signing keys can't be followed", slog.String("error", err.Error()))
		})
	})
	running.Go(func() {
		inst.SigningKeys.Leave(beside, health.installation, func() loop.Meta {
			return loop.Meta{Organization: inst.Begun.OrganizationID, Actor: commands.System, CommandID: newID()}
		}, func(err error) {
			logger.Error(
				"the former signing keys have not ended yet; agentkey keys sign ends them too", slog.String("error", err.Error()),
			)
		})
	})
	running.Go(func() { parts.findings.Run(beside) })
	running.Go(func() {
		ticker := time.NewTicker(integrityEvery)
		defer ticker.Stop()
		health.integrity.Run(beside, ticker.C)
	})
	running.Go(func() {
		ticker := time.NewTicker(5 * time.Second)
		defer ticker.Stop()
		keepMark(beside, c.DataDir, health.fence, ticker.C, logger)
	})
	for _, re := range parts.reactions {
		running.Go(func() { parts.reactor.Run(beside, re) })
	}
	if pair != nil {
		hangup := hangups() // before anybody learns that we listen
		running.Go(func() { pair.follow(beside, hangup) })
	}
	if scraped != nil {
		running.Go(func() { counted.serve(beside, scraped, logger) })
		_, _ = fmt.Fprintf(sh.stdout, "The metrics are on http://%s/metrics\n", scraped.Addr())
	}
	defer func() {
		stop()
		running.Wait()
	}()

	server := &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ConnState: bounded.changed, ConnContext: bounded.mark,
	}
	server.RegisterOnShutdown(stopStreams)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	_, _ = fmt.Fprintf(sh.stdout, "AgentKey listens on %s://%s\n", scheme, listener.Addr())
	if demo != nil {
		if err := showDemo(sh, c, parts, inst.Begun.OrganizationID, listener.Addr().String(), *demo); err != nil {
			logger.Warn("the demo can't be shown", slog.String("error", err.Error()))
		}
	} else if announced {
		if err := offerSignIn(sh, c, parts, inst.Begun.OrganizationID, listener.Addr().String()); err != nil {
			logger.Warn("no sign-in link could be made; use agentkey admin login", slog.String("error", err.Error()))
		}
	}

	select {
	case <-sh.ctx.Done():
		health.stopping.Store(true)
		stopBy = time.Now().Add(stopTime)
		shutdown, cancel := context.WithDeadline(context.WithoutCancel(sh.ctx), stopBy)
		defer cancel()
		err = server.Shutdown(shutdown)
	case err = <-failed:
	}
	return err
}

// newLogger writes a line of JSON for each entry. Durations have their unit, such as 1.5s.
func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}}))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
