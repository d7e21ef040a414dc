package api

import (
	"context"
	"strings"

	"agentkey/commands/names"
	"agentkey/domain/catalog"
	"agentkey/integrations/templates"
	"agentkey/readmodels"
)

// ListToolTemplates answers GET /api/admin/tool-templates.
func (s *Server) ListToolTemplates(
	_ context.Context, r ListToolTemplatesRequestObject,
) (ListToolTemplatesResponseObject, error) {
	wanted := readmodels.Fold(value(r.Params.Q))
	items := []ToolTemplate{}
	for _, t := range s.Templates.All() {
		if strings.Contains(readmodels.Fold(t.Name), wanted) {
			items = append(items, templateView(t))
		}
	}
	return ListToolTemplates200JSONResponse{Items: items}, nil
}

// templateView is a template, with the body that adds its tool but for the credential.
func templateView(t templates.Template) ToolTemplate {
	out := ToolTemplate{
		ID: t.ID, Name: t.Name, URL: t.URL, DocsURL: t.DocsURL, AuthType: AuthType(t.AuthType), CredentialKind: t.Kind,
		CredentialUsage: views(t.Usage, func(u templates.Usage) CredentialUsage {
			return CredentialUsage{In: CredentialUsageIn(u.In), Name: optional(u.Name), Value: u.Value}
		}),
		Tool: NewTool{
			Name: t.Name, Description: optional(t.Description), URL: optional(t.URL), DocsURL: optional(t.DocsURL),
			AuthType: AuthType(t.AuthType), CredentialMode: CredentialMode(catalog.Shared),
			Instructions: optional(t.Guide),
		},
	}
	if len(t.Fields) > 0 {
		out.CredentialFields = &t.Fields
	}
	if len(t.Scopes) > 0 {
		scopes := views(
			t.Scopes,
			func(s templates.Scope) TemplateScope { return TemplateScope{Name: s.Name, Why: optional(s.Why)} },
		)
		out.Scopes = &scopes
	}
	return out
}

// templateOf is the id of the template of a product that has this name or is at this URL.
func (s *Server) templateOf(name, url string) *string {
	found, _ := s.Templates.Match(names.FoldProduct(name), names.Site(url))
	return optional(found.ID)
}
