package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"agentkey/api/contract"
	"agentkey/domain"
)

func allRoutes(t *testing.T) routes {
	t.Helper()
	c, err := contract.Load()
	if err != nil {
		t.Fatal(err)
	}
	return newRoutes(c.Operations)
}

func TestAHintNamesMethodPathAndHeader(t *testing.T) {
	r := allRoutes(t)
	tests := []struct {
		text string
		next []domain.Next
		want string
	}{
		{
			"Ask with {requestTool}.",
			[]domain.Next{{Op: "requestTool", IDs: []string{"t1"}}},
			"Ask with POST /api/tools/t1/request.",
		},
		{
			"End it with {revokeGrant}.",
			[]domain.Next{{Op: "revokeGrant", IDs: []string{"", "t1"}}},
			"End it with DELETE /api/admin/agents/{id}/grants/t1.",
		},
		{
			"{listMyTools} or {listTools}",
			[]domain.Next{{Op: "listTools"}, {Op: "listMyTools"}},
			"GET /api/tools or GET /api/admin/tools",
		},
		{"Send the {tag} in {condition} after {wait}.", nil, "Send the ETag in If-Match after Retry-After."},
		{
			"“" + domain.Verbatim("{wait} {{tag}} {{{requestTool}} {a:{b}}") + "” after {wait}.",
			[]domain.Next{{Op: "requestTool"}},
			"“{wait} {{tag}} {{{requestTool}} {a:{b}}” after Retry-After.",
		},
		{
			`A body {"reason": "…"}, {requestTool} and {id} stay.`, nil,
			`A body {"reason": "…"}, {requestTool} and {id} stay.`,
		},
	}
	for _, tt := range tests {
		if got := r.say(tt.text, tt.next); got != tt.want {
			t.Errorf("%q became %q, want %q", tt.text, got, tt.want)
		}
	}
}

// TestEverySlotOfARefusalIsKnown reads the code that refuses: an operation that a text names is in
// the contract and among the refusal's Next in the same function or table; any other slot is a
// term.
func TestEverySlotOfARefusalIsKnown(t *testing.T) {
	r := allRoutes(t)
	named := 0
	for _, root := range []string{"../domain", "../commands", "../integrations"} {
		for path, file := range sources(t, root) {
			for _, decl := range file.Decls {
				next, used := map[string]bool{}, map[string]bool{}
				ast.Inspect(decl, func(n ast.Node) bool {
					if op, ids, is := nextOf(n); is {
						next[op] = true
						if known := r.byID[op]; known == nil || len(parameters.FindAllString(known.Path, -1)) < ids {
							t.Errorf("%s: Next names %s with %d ids, which the contract does not have", path, op, ids)
						}
					}
					if text, is := literal(n); is {
						for _, slot := range slots.FindAllString(text, -1) {
							used[strings.Trim(slot, "{}")] = true
						}
					}
					return true
				})
				for slot := range used {
					if _, term := terms[slot]; !term && !next[slot] && slot != "" { // a brace of a caller's
						t.Errorf("%s: the slot {%s} is neither a term nor in Next", path, slot)
					}
					named++
				}
				for op := range next {
					if !used[op] {
						t.Errorf("%s: Next names %s, which no text uses", path, op)
					}
				}
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d slots were found", named)
	}
}

func sources(t *testing.T, root string) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// nextOf returns the operation and the number of ids of a literal of domain.Next.
func nextOf(n ast.Node) (op string, ids int, is bool) {
	lit, ok := n.(*ast.CompositeLit)
	if !ok {
		return "", 0, false
	}
	for _, e := range lit.Elts {
		field, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return "", 0, false
		}
		key, _ := field.Key.(*ast.Ident)
		switch {
		case key != nil && key.Name == "Op":
			op, is = literal(field.Value)
		case key != nil && key.Name == "IDs":
			if list, ok := field.Value.(*ast.CompositeLit); ok {
				ids = len(list.Elts)
			}
		}
	}
	return op, ids, is
}

func literal(n ast.Node) (string, bool) {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}
