package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"agentkey/readmodels"
)

type decisionReport struct{ report[DecisionReportItem] }

// VisitReportDecisionsResponse writes the table.
func (r decisionReport) VisitReportDecisionsResponse(w http.ResponseWriter) error { return r.write(w) }

// ReportDecisions answers GET /api/admin/reports/decisions.
func (s *Server) ReportDecisions(
	ctx context.Context, r ReportDecisionsRequestObject,
) (ReportDecisionsResponseObject, error) {
	call := callOf(ctx)
	q := r.Params
	table := value(q.Format) == "csv"
	p, err := reportPageOf(table, q.Limit, q.Cursor)
	if err != nil {
		return nil, err
	}
	wanted := auditQuery{AgentID: q.AgentID, ToolID: q.ToolID, Retries: true, From: q.From, To: q.To}
	filter, err := wanted.filter()
	if err != nil {
		return nil, err
	}
	out := decisionReport{report[DecisionReportItem]{
		server: s, call: call, name: "decisions", columns: decisionColumns,
		rows: s.decisionRows(s.Models, call.Caller.Organization, filter, 0),
	}}
	if err := out.begin(table); err != nil || table {
		return out, err
	}
	found, err := out.rows(call.ctx, p)
	if err != nil {
		return nil, err
	}
	return ReportDecisions200JSONResponse{
		From: q.From, To: q.To, Position: ReportPosition(out.position), Items: found.Items, //nolint:gosec // a log never holds 2^63
		NextCursor: cursor(found.Next),
	}, nil
}

func (s *Server) decisionRows(
	model *readmodels.DB, organization string, filter readmodels.AuditFilter, after uint64,
) rows[DecisionReportItem] {
	return func(ctx context.Context, p readmodels.Page) (readmodels.List[DecisionReportItem], error) {
		found, err := model.Decisions(ctx, organization, filter, after, p)
		if err != nil {
			return readmodels.List[DecisionReportItem]{}, asked(err, "report")
		}
		items := make([]DecisionReportItem, len(found.Items))
		for i := 0; i < len(items) && err == nil; i++ {
			items[i], err = s.decisionItem(ctx, found.Items[i])
		}
		return readmodels.List[DecisionReportItem]{Items: items, Next: found.Next}, err
	}
}

func (s *Server) decisionItem(ctx context.Context, d readmodels.Decision) (DecisionReportItem, error) {
	n := s.naming(d.Organization)
	e, _, err := n.opened(ctx, d.AuditEntry)
	if err != nil {
		return DecisionReportItem{}, err
	}
	out := DecisionReportItem{
		EventID: d.ID, Decision: DecisionReportItemDecision(strings.TrimPrefix(d.Action, "grant.")),
		DecidedAt: e.OccurredAt.UTC(), DecidedBy: n.actor(ctx, e.Actor),
		AgentID: d.AgentID, AgentName: d.AgentName, CurrentAgentName: optional(e.Current.Agent),
		ToolID: d.ToolID, ToolName: d.ToolName, CurrentToolName: optional(e.Current.Tool),
		RequestID: optional(d.RequestID), SuggestionID: optional(d.SuggestionID), Reason: optional(d.Reason),
		RequestedAt: optionalTime(d.RequestedAt), DenialReason: optional(d.DenialReason), OwnRegistration: d.OwnRegistration,
	}
	out.DecidedBy.CurrentLabel = optional(e.Current.Actor)
	if by := n.somebody(ctx, e.OnBehalfOf); by != nil {
		out.DecidedBy = *by
		out.DecidedBy.CurrentLabel = optional(e.Current.OnBehalfOf)
	}
	if !d.RequestedAt.IsZero() {
		waited := int64(d.OccurredAt.Sub(d.RequestedAt).Seconds())
		out.WaitedSeconds = &waited
	}
	return out, nil
}

var decisionColumns = []column[DecisionReportItem]{
	{"event_id", func(i DecisionReportItem) string { return i.EventID }},
	{"decision", func(i DecisionReportItem) string { return string(i.Decision) }},
	{"decided_at", func(i DecisionReportItem) string { return cellTime(&i.DecidedAt) }},
	{"decided_by_type", func(i DecisionReportItem) string { return string(i.DecidedBy.Type) }},
	{"decided_by_id", func(i DecisionReportItem) string { return i.DecidedBy.ID }},
	{"decided_by_label", func(i DecisionReportItem) string { return value(i.DecidedBy.Label) }},
	{"agent_id", func(i DecisionReportItem) string { return i.AgentID }},
	{"agent_name", func(i DecisionReportItem) string { return i.AgentName }},
	{"current_agent_name", func(i DecisionReportItem) string { return value(i.CurrentAgentName) }},
	{"tool_id", func(i DecisionReportItem) string { return i.ToolID }},
	{"tool_name", func(i DecisionReportItem) string { return i.ToolName }},
	{"current_tool_name", func(i DecisionReportItem) string { return value(i.CurrentToolName) }},
	{"request_id", func(i DecisionReportItem) string { return value(i.RequestID) }},
	{"suggestion_id", func(i DecisionReportItem) string { return value(i.SuggestionID) }},
	{"reason", func(i DecisionReportItem) string { return value(i.Reason) }},
	{"requested_at", func(i DecisionReportItem) string { return cellTime(i.RequestedAt) }},
	{"waited_seconds", func(i DecisionReportItem) string {
		if i.WaitedSeconds == nil {
			return ""
		}
		return cellCount(*i.WaitedSeconds)
	}},
	{"denial_reason", func(i DecisionReportItem) string { return value(i.DenialReason) }},
	{"own_registration", func(i DecisionReportItem) string { return strconv.FormatBool(i.OwnRegistration) }},
}
