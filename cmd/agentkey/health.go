package main

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"agentkey/api"
	"agentkey/api/limits"
	"agentkey/commands"
	"agentkey/eventstore"
	"agentkey/eventstore/seal"
	"agentkey/projections"
)

// health says how the process is. Being behind or counting alone degrades it; without the log it is not ready.
type health struct {
	client       *eventstore.Client
	readModel    *projections.ReadModel
	installation *commands.InstallationLoop
	ring         seal.Ring
	counts       limits.Store
	clock        func() time.Time
	stopping     atomic.Bool
}

// behind is how many events the read model may lack before the process calls itself degraded.
const behind = 1000

// Ready answers GET /readyz. It takes at most a second.
func (h *health) Ready(ctx context.Context) api.Readiness {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	out := api.Readiness{Status: api.ReadinessStatusReady}
	check := func(name string, status api.ReadinessChecksStatus, detail string) {
		c := struct {
			Detail *string                   `json:"detail,omitempty"`
			Name   string                    `json:"name"`
			Status api.ReadinessChecksStatus `json:"status"`
		}{Name: name, Status: status}
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
	if h.stopping.Load() {
		worse(api.ReadinessStatusNotReady)
		check("process", api.ReadinessChecksStatusDown, "it is stopping")
	}
	if _, err := h.client.Head(ctx); err != nil {
		worse(api.ReadinessStatusNotReady)
		check("event_log", api.ReadinessChecksStatusDown, "it can't be reached")
	} else {
		check("event_log", api.ReadinessChecksStatusOk, "")
	}
	h.masterKeys(ctx, check)
	if shared, ok := h.counts.(*limits.Shared); ok && shared.Alone() {
		worse(api.ReadinessStatusDegraded)
		check("limits", api.ReadinessChecksStatusDegraded, "Redis is slow or can't be reached, so this process counts alone")
	} else {
		check("limits", api.ReadinessChecksStatusOk, "")
	}

	status := h.readModel.Status(ctx)
	switch {
	case !status.CaughtUpOnce:
		worse(api.ReadinessStatusNotReady)
		check("read_model", api.ReadinessChecksStatusDown, "it has not caught up yet since the start")
	case status.State == projections.Failed || status.Lag > behind:
		worse(api.ReadinessStatusDegraded)
		check("read_model", api.ReadinessChecksStatusDegraded, status.Detail)
	default:
		check("read_model", api.ReadinessChecksStatusOk, "")
	}
	out.Projections = append(out.Projections, struct {
		LagEvents int64  `json:"lag_events"`
		Name      string `json:"name"`
		Position  int64  `json:"position"`
		Status    string `json:"status"`
	}{LagEvents: int64(status.Lag), Name: status.Name, Position: int64(status.Position), Status: string(status.State)}) //nolint:gosec // a log never holds 2^63
	return out
}

// masterKeys names the keys that the installation knows and this process does not have. That is no fault once
// such a key was retired; it explains an answer that says a key is missing.
func (h *health) masterKeys(ctx context.Context, check func(string, api.ReadinessChecksStatus, string)) {
	head, err := h.installation.Recent(ctx, "")
	if err != nil {
		return // the log's own check says so
	}
	configured := map[string]bool{}
	for _, k := range h.ring.Public() {
		configured[k.ID] = true
	}
	var missing []string
	for _, k := range head.State.MasterKeys {
		if !configured[k.ID] {
			missing = append(missing, k.ID)
		}
	}
	detail := ""
	if len(missing) > 0 {
		detail = "not configured here: " + strings.Join(missing, ", ")
	}
	check("master_keys", api.ReadinessChecksStatusOk, detail)
}
