package api

import (
	"context"
	"net/http"
	"strconv"

	"agentkey/readmodels"
)

type accessReview struct{ report[AccessReviewItem] }

// VisitReportAccessReviewResponse writes the table.
func (r accessReview) VisitReportAccessReviewResponse(w http.ResponseWriter) error { return r.write(w) }

// ReportAccessReview answers GET /api/admin/reports/access-review.
func (s *Server) ReportAccessReview(
	ctx context.Context, r ReportAccessReviewRequestObject,
) (ReportAccessReviewResponseObject, error) {
	call := callOf(ctx)
	table := value(r.Params.Format) == "csv"
	p, err := reportPageOf(table, r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	filter := readmodels.GrantFilter{AgentID: value(r.Params.AgentID), ToolID: value(r.Params.ToolID)}
	model, err := s.at(call, r.Params.AsOf)
	if err != nil {
		return nil, err
	}
	out := accessReview{report[AccessReviewItem]{
		server: s, call: call, name: "access-review", view: model, columns: accessReviewColumns,
		rows: s.accessReviewRows(model, call.Caller.Organization, filter),
	}}
	if err := out.begin(table); err != nil || table {
		return out, err
	}
	found, err := out.rows(call.ctx, p)
	if err != nil {
		return nil, err
	}
	return ReportAccessReview200JSONResponse{
		Position: ReportPosition(out.position), Items: found.Items, NextCursor: cursor(found.Next), //nolint:gosec // a log never holds 2^63
	}, nil
}

func (s *Server) accessReviewRows(
	model view, organization string, filter readmodels.GrantFilter,
) rows[AccessReviewItem] {
	filter.Status = "approved"
	return func(ctx context.Context, p readmodels.Page) (readmodels.List[AccessReviewItem], error) {
		found, err := model.Grants(ctx, organization, filter, model.now, p)
		if err == nil && model.position != nil {
			err = model.CountGrantFetches(ctx, organization, found.Items)
		}
		if err != nil {
			return readmodels.List[AccessReviewItem]{}, asked(err, "report")
		}
		n := s.naming(organization)
		return readmodels.List[AccessReviewItem]{Items: views(found.Items, func(g readmodels.Grant) AccessReviewItem {
			return accessReviewItem(n.grant(ctx, g))
		}), Next: found.Next}, n.err
	}
}

func accessReviewItem(view Grant) AccessReviewItem {
	return AccessReviewItem{
		AgentID: view.AgentID, AgentName: view.AgentName, CurrentAgentName: view.CurrentAgentName,
		ToolID: view.ToolID, ToolName: view.ToolName, CurrentToolName: view.CurrentToolName,
		Origin: view.Origin, GrantedAt: value(view.ApprovedAt), GrantedBy: value(view.ApprovedBy),
		RequestID: view.RequestID, Reason: view.Reason, ExpiresAt: view.ExpiresAt, FetchCount: value(view.FetchCount),
		LastFetchedAt: view.LastFetchedAt, NeverUsed: value(view.FetchCount) == 0,
	}
}

var accessReviewColumns = []column[AccessReviewItem]{
	{"agent_id", func(i AccessReviewItem) string { return i.AgentID }},
	{"agent_name", func(i AccessReviewItem) string { return i.AgentName }},
	{"current_agent_name", func(i AccessReviewItem) string { return value(i.CurrentAgentName) }},
	{"tool_id", func(i AccessReviewItem) string { return i.ToolID }},
	{"tool_name", func(i AccessReviewItem) string { return i.ToolName }},
	{"current_tool_name", func(i AccessReviewItem) string { return value(i.CurrentToolName) }},
	{"origin", func(i AccessReviewItem) string { return string(i.Origin) }},
	{"granted_at", func(i AccessReviewItem) string { return cellTime(&i.GrantedAt) }},
	{"granted_by_type", func(i AccessReviewItem) string { return string(i.GrantedBy.Type) }},
	{"granted_by_id", func(i AccessReviewItem) string { return i.GrantedBy.ID }},
	{"granted_by_label", func(i AccessReviewItem) string { return value(i.GrantedBy.Label) }},
	{"request_id", func(i AccessReviewItem) string { return value(i.RequestID) }},
	{"reason", func(i AccessReviewItem) string { return value(i.Reason) }},
	{"expires_at", func(i AccessReviewItem) string { return cellTime(i.ExpiresAt) }},
	{"fetch_count", func(i AccessReviewItem) string { return cellCount(i.FetchCount) }},
	{"last_fetched_at", func(i AccessReviewItem) string { return cellTime(i.LastFetchedAt) }},
	{"never_used", func(i AccessReviewItem) string { return strconv.FormatBool(i.NeverUsed) }},
}
