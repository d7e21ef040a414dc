package api

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"agentkey/api/body"
	"agentkey/domain"
	"agentkey/domain/catalog"
)

// fileVersion is the version of the format of catalog files.
const fileVersion = 1

// ExportCatalog answers GET /api/admin/catalog/export, ordered by name.
func (s *Server) ExportCatalog(ctx context.Context, r ExportCatalogRequestObject) (ExportCatalogResponseObject, error) {
	call := callOf(ctx)
	head, err := s.Tools.Catalogs.Fresh(call.ctx, call.Caller.Organization)
	if err != nil {
		return nil, err
	}
	if err := head.State.Settled(); err != nil {
		return nil, err
	}
	call.tag(head.State.Edition())
	ids := make([]string, 0, len(head.State.Tools))
	for id := range head.State.Tools {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return strings.Compare(head.State.Tools[a].FoldedName, head.State.Tools[b].FoldedName)
	})
	if r.Params.Format != nil && *r.Params.Format == ExportCatalogParamsFormatJSON {
		out := ExportCatalog200JSONResponse{AgentkeyCatalog: fileVersion, Tools: make([]CatalogFileTool, len(ids))}
		for i, id := range ids {
			t := head.State.Tools[id]
			out.Tools[i] = CatalogFileTool{
				ID: &id, Name: t.Name, Description: optional(t.Description), URL: optional(t.URL),
				DocsURL: optional(t.DocsURL), AuthType: AuthType(t.AuthType), CredentialMode: CredentialMode(t.Mode),
				MaxGrantSeconds: optional(t.MaxGrantSeconds), Approval: rulesView(t.Approval),
				Labels:       labelsView(t.Labels),
				Instructions: optional(t.Instructions),
			}
		}
		return out, nil
	}
	text := "agentkey_catalog: " + strconv.Itoa(fileVersion) + "\ntools: []\n"
	if len(ids) > 0 {
		text = strings.TrimSuffix(text, " []\n") + "\n"
	}
	var file bytes.Buffer
	file.WriteString(text)
	for _, id := range ids {
		writeTool(&file, id, head.State.Tools[id])
	}
	return ExportCatalog200ApplicationYamlResponse{Body: &file, ContentLength: int64(file.Len())}, nil
}

// writeTool writes a tool as YAML, its fields always in the same order, without the empty ones.
func writeTool(file *bytes.Buffer, id string, t catalog.Tool) {
	fmt.Fprintf(file, "  - id: %s\n", id)
	for _, field := range []struct{ name, value string }{
		{"name", t.Name},
		{"description", t.Description},
		{"url", t.URL},
		{"docs_url", t.DocsURL},
		{"auth_type", string(t.AuthType)},
		{"credential_mode", string(t.Mode)},
	} {
		if field.value != "" {
			fmt.Fprintf(file, "    %s: %s\n", field.name, body.YAML(field.value, 6))
		}
	}
	if t.MaxGrantSeconds != 0 {
		fmt.Fprintf(file, "    max_grant_seconds: %d\n", t.MaxGrantSeconds)
	}
	writeRules(file, t.Approval)
	writeLabels(file, t.Labels)
	if t.Instructions != "" {
		fmt.Fprintf(file, "    instructions: %s\n", body.YAML(t.Instructions, 6))
	}
}

// writeRules writes the rules of a tool, if it has any.
func writeRules(file *bytes.Buffer, r domain.ApprovalRules) {
	if r == (domain.ApprovalRules{}) {
		return
	}
	file.WriteString("    approval:\n")
	if r.SeparationOfDuties {
		file.WriteString("      separation_of_duties: true\n")
	}
	if r.RequiredApprovals != 0 {
		fmt.Fprintf(file, "      required_approvals: %d\n", r.RequiredApprovals)
	}
	if h := r.AllowedHours; h != (domain.AllowedHours{}) {
		fmt.Fprintf(
			file, "      allowed_hours:\n        time_zone: %s\n        days: [%s]\n        from: \"%s\"\n        to: \"%s\"\n",
			body.YAML(h.TimeZone, 10), strings.ReplaceAll(h.Days, ",", ", "), h.From, h.To,
		)
	}
}

// writeLabels writes the labels of a tool in the order of their keys, if it has any.
func writeLabels(file *bytes.Buffer, l domain.Labels) {
	of := l.Map()
	if len(of) > 0 {
		file.WriteString("    labels:\n")
	}
	for _, key := range slices.Sorted(maps.Keys(of)) {
		fmt.Fprintf(file, "      %s: %s\n", body.YAML(key, 8), body.YAML(of[key], 8))
	}
}

// ImportCatalog answers PUT /api/admin/catalog/import. A body of YAML was made JSON when it was
// read.
func (s *Server) ImportCatalog(ctx context.Context, r ImportCatalogRequestObject) (ImportCatalogResponseObject, error) {
	call := callOf(ctx)
	tools := make([]catalog.FileTool, len(r.JSONBody.Tools))
	for i, t := range r.JSONBody.Tools {
		approval, err := rules(fmt.Sprintf("tools[%d].approval", i), t.Approval)
		if err != nil {
			return nil, err
		}
		tools[i] = catalog.FileTool{
			ID: value(t.ID), Name: t.Name, Description: value(t.Description), URL: value(t.URL),
			DocsURL: value(t.DocsURL), AuthType: catalog.AuthType(t.AuthType), Mode: catalog.Mode(t.CredentialMode),
			Instructions: value(t.Instructions), MaxGrantSeconds: value(t.MaxGrantSeconds), Approval: approval,
			Labels: labelsOf(t.Labels),
		}
	}
	dryRun := value(r.Params.DryRun)
	plan, done, err := s.Tools.Import(call.ctx, call.edit(), tools, dryRun)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	call.tag(done.State.Edition())
	out := ImportCatalog200JSONResponse{
		DryRun: dryRun, Revision: done.State.Edition(), Unchanged: plan.Unchanged,
		Changes: views(plan.Changes, func(c catalog.Change) ToolImport { return toolImport(c, dryRun) }),
		Missing: views(
			plan.Missing, func(id string) KeptTool { return KeptTool{ToolID: id, Name: done.State.Tools[id].Name} },
		),
		Answers: views(plan.Answers, func(a catalog.Answer) ImportAnswer {
			return ImportAnswer{
				SuggestionID: a.SuggestionID, Name: a.Name, ToolName: a.ToolName, BackerCount: a.Backers,
			}
		}),
	}
	return out, nil
}

// toolImport is what an import does to one tool. A tool that a dry run would add has no id yet.
func toolImport(c catalog.Change, dryRun bool) ToolImport {
	out := ToolImport{
		Action: ToolImportActionChange, Name: c.Name, NeedsCredential: optional(c.NeedsCredential),
		Fields: views(c.Fields, func(f catalog.FieldChange) FieldImport { return FieldImport(f) }),
	}
	if c.Added {
		out.Action = ToolImportActionAdd
	}
	if !c.Added || !dryRun {
		out.ToolID = optional(c.ToolID)
	}
	return out
}
