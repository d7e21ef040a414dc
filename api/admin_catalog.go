package api

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"agentkey/domain/catalog"
)

// fileVersion is the version of the format of catalog files.
const fileVersion = 1

// fileTool is a tool in a catalog file, in the order in which its fields are written.
type fileTool struct {
	ID              string `yaml:"id"`
	Name            string `yaml:"name"`
	Description     string `yaml:"description,omitempty"`
	URL             string `yaml:"url,omitempty"`
	DocsURL         string `yaml:"docs_url,omitempty"`
	AuthType        string `yaml:"auth_type"`
	CredentialMode  string `yaml:"credential_mode"`
	MaxGrantSeconds int64  `yaml:"max_grant_seconds,omitempty"`
	Instructions    string `yaml:"instructions,omitempty"`
}

// ExportCatalog answers GET /api/admin/catalog/export, ordered by name.
func (s *Server) ExportCatalog(ctx context.Context, r ExportCatalogRequestObject) (ExportCatalogResponseObject, error) {
	call := callOf(ctx)
	head, err := s.Tools.Catalogs.Fresh(call.ctx, call.Caller.Organization)
	if err != nil {
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
	if r.Params.Format != nil && *r.Params.Format == JSON {
		out := ExportCatalog200JSONResponse{AgentkeyCatalog: fileVersion, Tools: make([]CatalogFileTool, len(ids))}
		for i, id := range ids {
			t := head.State.Tools[id]
			out.Tools[i] = CatalogFileTool{
				ID: &id, Name: t.Name, Description: optional(t.Description), URL: optional(t.URL),
				DocsURL: optional(t.DocsURL), AuthType: AuthType(t.AuthType), CredentialMode: CredentialMode(t.Mode),
				MaxGrantSeconds: optional(t.MaxGrantSeconds), Instructions: optional(t.Instructions),
			}
		}
		return out, nil
	}
	file := struct {
		Version int        `yaml:"agentkey_catalog"`
		Tools   []fileTool `yaml:"tools"`
	}{Version: fileVersion, Tools: make([]fileTool, len(ids))}
	for i, id := range ids {
		t := head.State.Tools[id]
		file.Tools[i] = fileTool{
			ID: id, Name: t.Name, Description: t.Description, URL: t.URL, DocsURL: t.DocsURL,
			AuthType: string(t.AuthType), CredentialMode: string(t.Mode), MaxGrantSeconds: t.MaxGrantSeconds,
			Instructions: t.Instructions,
		}
	}
	var text bytes.Buffer
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := e.Encode(file); err != nil {
		return nil, err
	}
	return ExportCatalog200ApplicationYamlResponse{Body: &text, ContentLength: int64(text.Len())}, nil
}

// ImportCatalog answers PUT /api/admin/catalog/import. A body of YAML was made JSON when it was
// read.
func (s *Server) ImportCatalog(ctx context.Context, r ImportCatalogRequestObject) (ImportCatalogResponseObject, error) {
	call := callOf(ctx)
	tools := make([]catalog.FileTool, len(r.JSONBody.Tools))
	for i, t := range r.JSONBody.Tools {
		tools[i] = catalog.FileTool{
			ID: value(t.ID), Name: t.Name, Description: value(t.Description), URL: value(t.URL),
			DocsURL: value(t.DocsURL), AuthType: catalog.AuthType(t.AuthType), Mode: catalog.Mode(t.CredentialMode),
			Instructions: value(t.Instructions), MaxGrantSeconds: value(t.MaxGrantSeconds),
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
		Action: Change, Name: c.Name, NeedsCredential: optional(c.NeedsCredential),
		Fields: views(c.Fields, func(f catalog.FieldChange) FieldImport { return FieldImport(f) }),
	}
	if c.Added {
		out.Action = Add
	}
	if !c.Added || !dryRun {
		out.ToolID = optional(c.ToolID)
	}
	return out
}
