package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"agentkey/api"
	"agentkey/projections"
)

// vitals are the metrics that only the moment tells: what GET /readyz says, and the room for data. A scrape takes a
// second at most, and what can't be found out by then is left out of it.
type vitals struct {
	health  *health
	dataDir string
}

// Describe implements prometheus.Collector. It promises nothing, because not every scrape finds everything out.
func (v *vitals) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (v *vitals) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	gauge := func(name, help string, value float64, labels prometheus.Labels) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), prometheus.GaugeValue, value)
	}
	ready := v.health.Ready(ctx)
	gauge("agentkey_ready", "1 ready, 0.5 degraded, 0 not ready.", map[api.ReadinessStatus]float64{
		api.ReadinessStatusReady: 1, api.ReadinessStatusDegraded: 0.5,
	}[ready.Status], nil)
	for _, check := range ready.Checks {
		ok := check.Status == api.ReadinessChecksStatusOk
		switch check.Name {
		case "event_log":
			gauge("agentkey_event_log_up", "1 when the event log answers.", number(ok), nil)
		case "limits":
			gauge("agentkey_limiter_alone", "1 while Redis is slow or can't be reached and this process counts calls alone.", number(!ok), nil)
		}
	}
	s := v.health.readModel.Status(ctx)
	labels := prometheus.Labels{"projection": s.Name}
	if s.Head > 0 {
		gauge("agentkey_projection_lag_events", "How far the projection is behind the end of the event log.", float64(s.Lag), labels)
	}
	gauge("agentkey_projection_up", "1 when the projection follows the event log, catches up or stands by; 0 when it failed, waits or stopped.", number(moves(s)), labels)
	if free, err := freeBytes(v.dataDir); err == nil {
		gauge("agentkey_data_folder_free_bytes", "What may still be written to the file system of the data folder.", free, nil)
	}
	if size, err := folderBytes(v.dataDir); err == nil {
		gauge("agentkey_data_folder_size_bytes", "What the files in the data folder hold.", size, nil)
	}
}

// moves tells whether a projection does its work. One that catches up has something to say when it can't.
func moves(s projections.Status) bool {
	switch s.State {
	case projections.Running, projections.Standby:
		return true
	case projections.CatchingUp:
		return s.Detail == ""
	case projections.Failed, projections.Stopped:
	}
	return false
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func freeBytes(dir string) (float64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return float64(s.Bavail) * float64(s.Bsize), err
}

func folderBytes(dir string) (float64, error) {
	total := 0.0
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return passing(err)
		}
		info, err := entry.Info()
		if err == nil {
			total += float64(info.Size())
		}
		return passing(err)
	})
	return total, err
}

// passing drops the news that a file is gone: SQLite removes those that it keeps beside its own as it likes.
func passing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
