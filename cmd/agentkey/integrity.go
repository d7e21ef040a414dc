package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"agentkey/api"
	"agentkey/domain/installation"
	"agentkey/projections"
)

// integrityEvery is how often the whole log is read again after the start.
const integrityEvery = 24 * time.Hour

// Integrity answers GET /api/admin/audit/integrity: what was found in the streams of an
// organization, newest first, and how far the log was checked.
func (h *health) Integrity(ctx context.Context, organization string) (api.AuditIntegrity, error) {
	head, err := h.installation.Recent(ctx, "")
	if err != nil {
		return api.AuditIntegrity{}, err
	}
	s, at := head.State, h.integrity.Status()
	out := api.AuditIntegrity{
		Status: api.AuditIntegrityStatusOk, VerifiedPosition: int64(at.Position), Findings: []api.AuditFinding{}, //nolint:gosec // a log never holds 2^63
	}
	if !at.Completed.IsZero() {
		out.CompletedAt = &at.Completed
	}
	if s.Restored {
		out.Status = api.AuditIntegrityStatusBroken
	}
	for _, f := range slices.Backward(s.Findings) {
		if f.OrganizationID != organization {
			continue
		}
		out.Findings = append(out.Findings, api.AuditFinding{
			Stream: f.Stream, Revision: f.Revision, Reason: api.AuditFindingReason(f.Reason), FoundAt: f.At,
			Confirmed: f.Confirmed,
		})
		if f.Holds() {
			out.Status = api.AuditIntegrityStatusBroken
		}
	}
	return out, nil
}

// describeIntegrity says what was found in the log and not confirmed, and what else is wrong with
// it; else where its reading is.
func describeIntegrity(
	found []installation.Found, s projections.IntegrityStatus, others ...string,
) (api.ReadinessCheckStatus, string) {
	var last installation.Found
	open := 0
	for _, f := range found {
		if !f.Confirmed {
			open, last = open+1, f
		}
	}
	if open > 0 {
		detail := fmt.Sprintf("%d@%s is %s", last.Revision, last.Stream, last.Reason)
		if open > 1 {
			detail += fmt.Sprintf(", and %d more", open-1)
		}
		others = append([]string{detail + "; see docs/runbook.md"}, others...)
	}
	switch {
	case len(others) > 0:
		return api.ReadinessCheckStatusDegraded, strings.Join(others, ". Also: ")
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
