package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"agentkey/api"
	"agentkey/api/door"
	"agentkey/api/door/limits"
	"agentkey/audit"
	"agentkey/commands"
	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/seal"
	"agentkey/projections"
)

// health says how the process is. It is ready while it can decide and vend, which needs the log
// alone; anything else that is down or behind degrades it.
type health struct {
	client       *eventstore.Client
	store        *embedded.Store // nil for a server
	logURL       string          // "" for the embedded store
	databaseURL  string          // "" for the embedded read model
	redis        *redis.Options  // nil where this process counts alone on purpose
	readModel    *projections.ReadModel
	ledger       *audit.Ledger
	integrity    *projections.Integrity
	installation *commands.InstallationLoop
	secrets      *seal.Secrets
	counter      door.Counter
	clock        *clockCheck
	fence        *commands.Fence
	stopping     atomic.Bool

	mu   sync.Mutex
	last *look
}

// look is one round of checks, which all who ask within a second share. done is closed when found
// is there.
type look struct {
	began time.Time
	done  chan struct{}
	found api.Readiness
}

// lookEvery is how long a look is shared, and how long it may take.
const lookEvery = time.Second

// behind is how old an event may be that the read model lacks before the process calls itself
// degraded.
const behind = 10 * time.Second

// notCaughtUp is what is said of a read model that lacks events from before the start.
const notCaughtUp = "it has not caught up yet since the start"

// Ready answers GET /readyz, and takes at most a second. However many ask, the checks run once a
// second, and twenty times a second until the read models have caught up after a start.
func (h *health) Ready() api.Readiness {
	h.mu.Lock()
	l := h.last
	if l == nil || time.Since(l.began) >= l.holds() {
		l = &look{began: time.Now(), done: make(chan struct{})}
		h.last = l
		go func() {
			defer close(l.done)
			ctx, cancel := context.WithTimeout(context.Background(), lookEvery)
			defer cancel()
			l.found = h.look(ctx)
		}()
	}
	h.mu.Unlock()
	<-l.done
	out := l.found
	if h.stopping.Load() { // at once: no more calls should come
		detail := "it is stopping"
		out.Status = api.ReadinessStatusNotReady
		out.Checks = append(
			[]api.ReadinessCheck{{Name: "process", Status: api.ReadinessCheckStatusDown, Detail: &detail}}, out.Checks...,
		)
	}
	return out
}

// holds says for how long after its beginning a look is the answer.
func (l *look) holds() time.Duration {
	select {
	case <-l.done:
		for _, check := range l.found.Checks {
			if check.Detail != nil && strings.HasPrefix(*check.Detail, notCaughtUp) {
				return lookEvery / 20
			}
		}
	default: // it's still under way
	}
	return lookEvery
}

func (h *health) look(ctx context.Context) api.Readiness {
	out := api.Readiness{Status: api.ReadinessStatusReady}
	out.Version, out.Commit = build()
	check := func(name string, status api.ReadinessCheckStatus, detail string) {
		c := api.ReadinessCheck{Name: name, Status: status}
		if detail != "" {
			c.Detail = &detail
		}
		out.Checks = append(out.Checks, c)
	}
	worse := func(status api.ReadinessStatus) {
		if out.Status != api.ReadinessStatusNotReady {
			out.Status = status
		}
	}
	redisFault, databaseFault := soon(func() error { return h.redisFault(ctx) }), soon(func() error {
		return h.databaseFault(ctx)
	})
	if err := h.eventLog(ctx); err != nil {
		worse(api.ReadinessStatusNotReady)
		check("event_log", api.ReadinessCheckStatusDown, err.Error())
	} else {
		check("event_log", api.ReadinessCheckStatusOk, "")
	}
	if missing, detail, err := h.masterKeys(ctx); err == nil { // otherwise the log's own check says so
		if missing {
			worse(api.ReadinessStatusNotReady)
			check("master_keys", api.ReadinessCheckStatusDown, detail)
		} else {
			check("master_keys", api.ReadinessCheckStatusOk, detail)
		}
	}
	head, err := h.installation.Recent(ctx, "")
	if err == nil && head.State.Restored {
		// Admins must get in to look after who has access, so it is not taken out of service.
		worse(api.ReadinessStatusDegraded)
		check(
			api.RestoredCheck, api.ReadinessCheckStatusDegraded,
			"no credential is vended until agentkey confirm-restore was run",
		)
	}
	var others []string
	if conflicts, err := h.ledger.Conflicts(ctx); err == nil && len(conflicts) > 0 { // otherwise its own check says so
		others = append(others, conflicts[0].Error())
	}
	if h.store != nil && h.store.ArchiveFault() != "" {
		others = append(others, h.store.ArchiveFault())
	}
	integrity, detail := describeIntegrity(head.State.Findings, h.integrity.Status(), others...)
	if integrity != api.ReadinessCheckStatusOk {
		worse(api.ReadinessStatusDegraded)
	}
	check("log_integrity", integrity, detail)
	if off, err := h.clock.Off(ctx); err == nil {
		if off.Abs() > maxClockOff {
			worse(api.ReadinessStatusNotReady)
			check("clock", api.ReadinessCheckStatusDown, describeClock(off))
		} else {
			check("clock", api.ReadinessCheckStatusOk, "")
		}
	}
	if err := redisFault(); err != nil {
		worse(api.ReadinessStatusDegraded)
		check("limits", api.ReadinessCheckStatusDegraded, err.Error()+". Until Redis counts, this process counts alone")
	} else {
		check("limits", api.ReadinessCheckStatusOk, "")
	}

	for _, status := range []projections.Status{h.readModel.Status(ctx), h.ledger.Status(ctx)} {
		if err := databaseFault(); err != nil && status.State == projections.Failed {
			status.Detail = err.Error()
		}
		detail := describeProjection(status)
		if detail == "" {
			check(status.Name, api.ReadinessCheckStatusOk, "")
		} else {
			worse(api.ReadinessStatusDegraded)
			check(status.Name, api.ReadinessCheckStatusDegraded, detail)
		}
		out.Projections = append(out.Projections, api.ReadinessProjection{
			Name: status.Name, Status: string(status.State), Position: int64(status.Position), //nolint:gosec // a log never holds 2^63
			LagSeconds: status.Lag.Seconds(), Distance: int64(status.Distance), //nolint:gosec // as above
		})
	}
	return out
}

// describeProjection says what keeps a projection from being of use; "" for nothing.
func describeProjection(s projections.Status) string {
	switch {
	case !s.EverCaughtUp && s.State == projections.Failed:
		return notCaughtUp + ": " + s.Detail
	case !s.EverCaughtUp:
		return notCaughtUp
	case s.State == projections.Failed:
		return s.Detail
	case s.Lag > behind:
		return "it is " + s.Lag.Round(time.Second).String() + " behind"
	}
	return ""
}

// soon runs fn beside its caller, and returns a function that waits for its result.
func soon(fn func() error) func() error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	return sync.OnceValue(func() error { return <-done })
}

// redisFault says why calls aren't counted in Redis; nil where they are.
func (h *health) redisFault(ctx context.Context) error {
	shared, ok := h.counter.(*limits.Shared)
	if !ok || shared.Alone() == "" {
		return nil
	}
	if err := examineRedis(ctx, h.redis); err != nil {
		return err
	}
	return errors.New(shared.Alone())
}

// databaseFault says why the database of a projection that can't be filled can't be reached; nil
// where it can, or nothing is wrong.
func (h *health) databaseFault(ctx context.Context) error {
	if h.databaseURL == "" || h.readModel.Failure() == "" && h.ledger.Failure() == "" {
		return nil
	}
	return examinePostgres(ctx, h.databaseURL)
}

// eventLog asks the log for its end. While the answer takes long, or when none came, it looks at
// what is wrong.
func (h *health) eventLog(ctx context.Context) error {
	answer := make(chan error, 1)
	go func() {
		_, err := h.client.Head(ctx)
		answer <- err
	}()
	select {
	case err := <-answer:
		if err == nil {
			return nil
		}
		answer <- err
	case <-time.After(200 * time.Millisecond):
	}
	reason := errors.New("it can't be reached")
	if h.logURL != "" {
		if err := examineLog(ctx, h.logURL); err != nil {
			reason = err
		}
	}
	select {
	case err := <-answer:
		if err == nil {
			return nil
		}
	case <-ctx.Done():
	}
	return reason
}

// masterKeys reports whether a credential could not be vended for want of a master key, and names
// it. Keys that the installation knows, this process does not have and nothing needed aren't a
// fault: such a key was retired, or is about to be.
func (h *health) masterKeys(ctx context.Context) (missing bool, detail string, err error) {
	id, err := h.secrets.Missing(ctx)
	if err != nil {
		return false, "", err
	}
	if id != "" {
		return true, "a secret needs the key " + id + ", which is not configured here", nil
	}
	head, err := h.installation.Recent(ctx, "")
	if err != nil {
		return false, "", err
	}
	configured := map[string]bool{}
	for _, k := range h.secrets.Ring().Public() {
		configured[k.ID] = true
	}
	var absent []string
	for _, k := range head.State.MasterKeys {
		if !configured[k.ID] {
			absent = append(absent, k.ID)
		}
	}
	if len(absent) > 0 {
		detail = "not configured here: " + strings.Join(absent, ", ")
	}
	return false, detail, nil
}
