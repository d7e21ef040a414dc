package domain_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// how finds what only a caller over HTTP understands.
var how = regexp.MustCompile(`/api/|/readyz|/healthz|/openapi|\b(GET|POST|PUT|PATCH|DELETE)\b|` +
	`\b(Authorization|Bearer|Content-Type|ETag|Idempotency-Key|If-Match|Retry-After)\b|\bX-[A-Z]|WWW-Auth`)

// TestRefusalsSayWhatToDoAndNotHow reads every string in the code that decides: a chat message or a
// tool protocol must be able to show it.
func TestRefusalsSayWhatToDoAndNotHow(t *testing.T) {
	read := 0
	for _, root := range []string{".", "../commands"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				lit, is := n.(*ast.BasicLit)
				if !is || lit.Kind != token.STRING {
					return true
				}
				read++
				text, err := strconv.Unquote(lit.Value)
				if found := how.FindString(text); err != nil || found != "" {
					t.Errorf("%s: %q says how to do it over HTTP (%q)", files.Position(lit.Pos()), text, found)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 500 {
		t.Errorf("only %d strings were read", read)
	}
}
