package setupguide

import (
	"strings"
	"unicode/utf8"

	"agentkey/domain/catalog"
	"agentkey/integrations/templates"
)

// fromTemplate hands on the guide that is built in; why says so to its reader.
func fromTemplate(t templates.Template, why string, emit Emit) error {
	meta := Meta{
		Source: SourceTemplate, AuthType: catalog.AuthType(t.AuthType), Scopes: []string{}, Warnings: []string{why},
		DocsURL: t.DocsURL,
	}
	for _, scope := range t.Scopes {
		meta.Scopes = append(meta.Scopes, scope.Name)
	}
	text := templateText(t)
	for _, event := range []any{meta, Delta{Text: text}, Done{Characters: utf8.RuneCountInString(text)}} {
		if err := emit(event); err != nil {
			return err
		}
	}
	return nil
}

// templateText says in Markdown what a template knows.
func templateText(t templates.Template) string {
	var b strings.Builder
	kind := t.Kind
	if kind == "" {
		kind = "credential"
	}
	b.WriteString(
		"# " + t.Name + ": " + kind + "\n\n1. The vendor says on " + t.DocsURL + " where it is made. Log in and make " +
			"one for this tool alone.\n",
	)
	if len(t.Scopes) > 0 {
		b.WriteString("2. Choose no more than is needed. The least to begin with:\n")
		for _, scope := range t.Scopes {
			b.WriteString("   - `" + scope.Name + "`")
			if scope.Why != "" {
				b.WriteString(" " + scope.Why)
			}
			b.WriteByte('\n')
		}
	} else {
		b.WriteString("2. Choose the least that its task needs, if the vendor lets you choose.\n")
	}
	b.WriteString("3. Copy it at once; most vendors show it once only. ")
	if len(t.Fields) > 0 {
		b.WriteString("It has these parts, which are given as an object: `" + strings.Join(t.Fields, "`, `") + "`. ")
	}
	b.WriteString(
		"Give it with POST /api/admin/tools, and nowhere else.\n\n## What agents are told\n\n" + strings.TrimSpace(
			t.Guide,
		) + "\n",
	)
	return b.String()
}
