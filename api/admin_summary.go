package api

import (
	"context"
	"slices"
	"strconv"
	"time"

	"agentkey/api/door"
	"agentkey/readmodels"
)

const (
	day       = 24 * time.Hour
	quietTime = 7 * day
)

// GetSummary answers GET /api/admin/summary.
func (s *Server) GetSummary(ctx context.Context, r GetSummaryRequestObject) (GetSummaryResponseObject, error) {
	call := callOf(ctx)
	within := 7 * day
	if r.Params.ExpiringWithin != nil {
		within = durationOf(*r.Params.ExpiringWithin)
	}
	now := s.Clock()
	found, err := s.Models.Summary(call.ctx, call.Caller.Organization, readmodels.SummaryTerms{
		Now: now, Within: within, Quiet: quietTime, Tools: call.Caller.Tools,
	})
	if err != nil {
		return nil, asked(err, "summary")
	}
	return GetSummary200JSONResponse(summaryView(found, now, call.seesAudit())), nil
}

// durationOf reads a duration as the document has it, such as 36h or 7d.
func durationOf(text string) time.Duration {
	last := len(text) - 1
	n, _ := strconv.Atoi(text[:last]) // the document says that these are digits
	if text[last] == 'd' {
		return time.Duration(n) * day
	}
	return time.Duration(n) * time.Hour
}

// seesAudit reports whether a caller may know what only the audit says.
func (c *call) seesAudit() bool {
	return slices.Contains(door.Permissions(c.Caller.Role), "audit")
}

func summaryView(s readmodels.Summary, now time.Time, audit bool) Summary {
	out := Summary{
		Position: int64(s.Position), At: now.UTC(), //nolint:gosec // a log never holds 2^63
		Expiring: views(s.Soonest, func(e readmodels.Expiry) ExpiringAccess {
			return ExpiringAccess{
				AgentID: e.AgentID, AgentName: e.AgentName, ToolID: e.ToolID, ToolName: e.ToolName, ExpiresAt: e.ExpiresAt,
			}
		}),
		Demanded: views(s.Demanded, func(d readmodels.Demanded) DemandedTool {
			return DemandedTool{Type: DemandedToolType(d.Kind), ID: d.ID, Name: d.Name, Agents: d.Agents}
		}),
	}
	out.Pending.Requests, out.Pending.OldestAt = s.Requests, optionalTime(s.OldestRequest)
	out.Pending.Suggestions, out.Pending.Notes = s.Suggestions, s.Notes
	out.Agents.Total, out.Agents.Active = s.Active+s.Suspended, s.Active
	out.Agents.Suspended, out.Agents.Quiet = s.Suspended, s.Quiet
	out.Tools.Total, out.Tools.WithoutCredential = s.Tools, s.WithoutCredential
	out.Grants.Approved, out.Grants.Expiring = s.Approved, s.Expiring
	out.Fetches.Last24H, out.Fetches.Previous24H = s.Last.Vended, s.Previous.Vended
	if audit {
		out.Fetches.Refused24H = &s.Last.Refused
	}
	out.Deliveries.Failed, out.Deliveries.Dead = s.Failed, s.Dead
	return out
}
