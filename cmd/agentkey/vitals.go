package main

import (
	"context"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"agentkey/api"
	"agentkey/projections"
)

// vitals are the metrics that only the moment tells: what GET /readyz says, and the room for data.
// A scrape takes a second at most, and what can't be found out by then is left out of it.
type vitals struct {
	health  *health
	dataDir string
}

// Describe implements prometheus.Collector. It promises nothing, because not every scrape finds
// everything out.
func (v *vitals) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (v *vitals) Collect(out chan<- prometheus.Metric) {
	gauge := func(name, help string, value float64, labels prometheus.Labels) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), prometheus.GaugeValue, value)
	}
	ready := v.health.Ready()
	gauge("agentkey_ready", "1 ready, 0.5 degraded, 0 not ready.", map[api.ReadinessStatus]float64{
		api.ReadinessStatusReady: 1, api.ReadinessStatusDegraded: 0.5,
	}[ready.Status], nil)
	for _, check := range ready.Checks {
		ok := check.Status == api.ReadinessCheckStatusOk
		switch check.Name {
		case "event_log":
			gauge("agentkey_event_log_up", "1 when the event log answers.", number(ok), nil)
		case "limits":
			gauge(
				"agentkey_limiter_alone",
				"1 while Redis is slow, can't be reached or answers with errors and this process counts calls alone.",
				number(!ok), nil,
			)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	integrity := v.health.integrity.Status()
	if head, err := v.health.installation.Recent(ctx, ""); err == nil {
		gauge(
			"agentkey_log_integrity_findings",
			"Events that don't belong to the log, and ends that streams have lost, which no operator has confirmed.",
			float64(head.State.Unconfirmed()), nil,
		)
	}
	gauge(
		"agentkey_log_integrity_checked_events",
		"Events that the present reading of the whole log, or the last one, has checked.",
		float64(integrity.Events), nil,
	)
	if !integrity.Completed.IsZero() {
		gauge(
			"agentkey_log_integrity_completed_timestamp_seconds", "When the whole log was last read to its end.",
			float64(integrity.Completed.Unix()), nil,
		)
	}
	for _, s := range []projections.Status{v.health.readModel.Status(ctx), v.health.ledger.Status(ctx)} {
		labels := prometheus.Labels{"projection": s.Name}
		if s.Head > 0 {
			gauge(
				"agentkey_projection_lag_seconds",
				"Age of the oldest event that the projection has not applied; 0 without one.", s.Lag.Seconds(), labels,
			)
		}
		gauge(
			"agentkey_projection_up",
			"1 where the projection follows the event log or catches up; 0 where it failed, waits or stands by.",
			number(moves(s)), labels,
		)
	}
	if conflicts, err := v.health.ledger.Conflicts(ctx); err == nil {
		gauge(
			"agentkey_ledger_conflicts", "Checkpoints that were signed and that the log doesn't give any more.",
			float64(len(conflicts)), nil,
		)
	}
	if disk := (syscall.Statfs_t{}); syscall.Statfs(v.dataDir, &disk) == nil {
		block := float64(disk.Bsize)
		gauge(
			"agentkey_data_folder_free_bytes", "Room that is left for us on the file system of the data folder.",
			float64(disk.Bavail)*block, nil,
		)
		gauge(
			"agentkey_data_folder_size_bytes", "Size of the file system of the data folder.",
			float64(disk.Blocks)*block, nil,
		)
	}
}

// moves reports whether a projection does its work in this process. One that catches up has
// something to say when it can't.
func moves(s projections.Status) bool {
	switch s.State {
	case projections.Running:
		return true
	case projections.CatchingUp:
		return s.Detail == ""
	case projections.Failed, projections.Standby, projections.Stopped:
	}
	return false
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
