package api

import (
	"context"
	"net/http"
	"strconv"

	"agentkey/readmodels"
)

type exposureReport struct{ report[ExposureReportItem] }

// VisitReportExposureResponse writes the table.
func (r exposureReport) VisitReportExposureResponse(w http.ResponseWriter) error { return r.write(w) }

// ReportExposure answers GET /api/admin/reports/exposure.
func (s *Server) ReportExposure(
	ctx context.Context, r ReportExposureRequestObject,
) (ReportExposureResponseObject, error) {
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
	out := exposureReport{report[ExposureReportItem]{
		server: s, call: call, name: "exposure", view: model, columns: exposureColumns,
		rows: exposureRows(model, call.Caller.Organization, filter),
	}}
	if err := out.begin(table); err != nil || table {
		return out, err
	}
	found, err := out.rows(call.ctx, p)
	if err != nil {
		return nil, err
	}
	return ReportExposure200JSONResponse{
		Position: ReportPosition(out.position), Items: found.Items, NextCursor: cursor(found.Next), //nolint:gosec // a log never holds 2^63
	}, nil
}

func exposureRows(model view, organization string, filter readmodels.GrantFilter) rows[ExposureReportItem] {
	return func(ctx context.Context, p readmodels.Page) (readmodels.List[ExposureReportItem], error) {
		found, err := model.Exposures(ctx, organization, filter, model.now, p)
		items := views(found.Items, exposureItem)
		return readmodels.List[ExposureReportItem]{Items: items, Next: found.Next}, asked(err, "report")
	}
}

func exposureItem(e readmodels.Exposure) ExposureReportItem {
	return ExposureReportItem{
		ToolID: e.ToolID, ToolName: e.ToolName, CredentialMode: CredentialMode(e.CredentialMode),
		CredentialVersion: e.CredentialVersion, CredentialSince: e.CredentialSince.UTC(),
		CredentialExpiresAt: optionalTime(e.CredentialExpiresAt), AgentID: e.AgentID, AgentName: e.AgentName,
		FetchCount: e.FetchCount, FirstFetchedAt: e.FirstFetchedAt.UTC(), LastFetchedAt: e.LastFetchedAt.UTC(),
		CredentialStatus: CredentialStatus(e.CredentialStatus), CredentialReplaced: e.Replaced,
		CredentialRemovedAt: optionalTime(e.CredentialRemovedAt), RotateFirst: e.Ended,
	}
}

var exposureColumns = []column[ExposureReportItem]{
	{"tool_id", func(i ExposureReportItem) string { return i.ToolID }},
	{"tool_name", func(i ExposureReportItem) string { return i.ToolName }},
	{"credential_mode", func(i ExposureReportItem) string { return string(i.CredentialMode) }},
	{"credential_version", func(i ExposureReportItem) string { return strconv.Itoa(i.CredentialVersion) }},
	{"credential_since", func(i ExposureReportItem) string { return cellTime(&i.CredentialSince) }},
	{"credential_expires_at", func(i ExposureReportItem) string { return cellTime(i.CredentialExpiresAt) }},
	{"credential_status", func(i ExposureReportItem) string { return string(i.CredentialStatus) }},
	{"credential_removed_at", func(i ExposureReportItem) string { return cellTime(i.CredentialRemovedAt) }},
	{"credential_replaced", func(i ExposureReportItem) string { return strconv.FormatBool(i.CredentialReplaced) }},
	{"agent_id", func(i ExposureReportItem) string { return i.AgentID }},
	{"agent_name", func(i ExposureReportItem) string { return i.AgentName }},
	{"fetch_count", func(i ExposureReportItem) string { return cellCount(i.FetchCount) }},
	{"first_fetched_at", func(i ExposureReportItem) string { return cellTime(&i.FirstFetchedAt) }},
	{"last_fetched_at", func(i ExposureReportItem) string { return cellTime(&i.LastFetchedAt) }},
	{"rotate_first", func(i ExposureReportItem) string { return strconv.FormatBool(i.RotateFirst) }},
}
