package main

import (
	"fmt"
	"time"

	"agentkey/api"
	"agentkey/projections"
)

// integrityEvery is how often the whole log is read again after the start.
const integrityEvery = 24 * time.Hour

// describeIntegrity says what reading the whole log has found, and where it is.
func describeIntegrity(s projections.IntegrityStatus) (api.ReadinessCheckStatus, string) {
	switch {
	case s.Findings > 1:
		return api.ReadinessCheckStatusDegraded, fmt.Sprintf("%v, and %d more; see the log", s.First, s.Findings-1)
	case s.Findings == 1:
		return api.ReadinessCheckStatusDegraded, s.First.Error()
	case s.Running:
		return api.ReadinessCheckStatusOk, fmt.Sprintf(
			"reads the whole log: %d events checked, up to position %d of %d", s.Events, s.Position, s.Head,
		)
	case s.Completed.IsZero():
		return api.ReadinessCheckStatusOk, "the log was not read yet"
	}
	return api.ReadinessCheckStatusOk, fmt.Sprintf(
		"%d events, up to position %d, checked until %s", s.Events, s.Position, s.Completed.UTC().Format(time.RFC3339),
	)
}
