package commands_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNoCommandIsMadeByAClosureThatWritesOutsideItself: such a closure runs once for each round, in
// another goroutine than its caller's, and not at all where the log has the command. What a caller
// is told comes from the Result.
func TestNoCommandIsMadeByAClosureThatWritesOutsideItself(t *testing.T) {
	makers := 0
	for _, dir := range []string{".", "loop", "commandstest", "../api", "../projections/reactions", "../cmd/agentkey"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s has no Go files: %v", dir, err)
		}
		sources := map[string]string{}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sources[path] = string(text)
		}
		found, wrong := captures(t, sources)
		makers += found
		for _, w := range wrong {
			t.Error(w)
		}
	}
	if makers < 30 {
		t.Errorf("only %d closures that make commands were found", makers)
	}
}

func TestWritesOfAClosureThatMakesACommandAreFound(t *testing.T) {
	const before = `package p
import "time"
type Command interface{}
type State struct{ N int }
func do(func(State, time.Time) (Command, error)) {}
func make(func(id string) Command) {}
func outer(param State) {
	var n int; seen := map[int]string{}; list := []int{1}; p := &n
	_, _, _, _ = n, seen, list, p
	`
	for body, want := range map[string]string{
		`do(func(s State, _ time.Time) (Command, error) { n = s.N; return nil, nil })`:                          "n",
		`do(func(s State, _ time.Time) (Command, error) { n += s.N; return nil, nil })`:                         "n",
		`do(func(s State, _ time.Time) (Command, error) { n++; return nil, nil })`:                              "n",
		`do(func(s State, _ time.Time) (Command, error) { seen[s.N] = ""; return nil, nil })`:                   "seen",
		`do(func(s State, _ time.Time) (Command, error) { list[0] = s.N; return nil, nil })`:                    "list",
		`do(func(s State, _ time.Time) (Command, error) { *p = s.N; return nil, nil })`:                         "p",
		`do(func(s State, _ time.Time) (Command, error) { param.N = s.N; return param, nil })`:                  "param",
		`do(func(s State, _ time.Time) (Command, error) { for n = range 3 { }; return nil, nil })`:              "n",
		`do(func(s State, _ time.Time) (Command, error) { func() { n = s.N }(); return nil, nil })`:             "n",
		`do(func(s State, _ time.Time) (Command, error) { var err error; n, err = 1, nil; return nil, err })`:   "n",
		`do(func(s State, _ time.Time) (Command, error) { delete(seen, s.N); return nil, nil })`:                "seen",
		`make(func(id string) Command { param.N = 1; return param })`:                                           "param",
		`do(func(s State, _ time.Time) (Command, error) { n := s.N; n++; return n, nil })`:                      "",
		`do(func(s State, _ time.Time) (Command, error) { s.N++; param := param; param.N = 2; return s, nil })`: "",
		`func() { n = 1; do(func(s State, _ time.Time) (Command, error) { return n, nil }) }()`:                 "",
	} {
		t.Run(body, func(t *testing.T) {
			_, wrong := captures(t, map[string]string{"p.go": before + body + "\n}\n"})
			got := ""
			for _, w := range wrong {
				_, got, _ = strings.Cut(w, "writes ")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// captures returns how many closures of one package make commands, and what they write outside
// themselves. A closure makes a command when it returns one, or when it gets a time and returns
// something or an error.
func captures(t *testing.T, sources map[string]string) (makers int, wrong []string) {
	t.Helper()
	set := token.NewFileSet()
	var files []*ast.File
	for path, text := range sources {
		file, err := parser.ParseFile(set, path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	// What is imported stays unknown: only where a variable is declared matters.
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Error: func(error) {}, Importer: unknown{}}
	_, _ = config.Check("p", set, files, info) // it complains of what is imported
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			closure, ok := n.(*ast.FuncLit)
			if !ok || !makesCommand(closure.Type) {
				return true
			}
			makers++
			for _, name := range written(closure) {
				at := info.ObjectOf(name)
				if at != nil && (at.Pos() < closure.Pos() || at.Pos() >= closure.End()) {
					wrong = append(
						wrong, set.Position(name.Pos()).String()+": a closure that makes a command writes "+name.Name,
					)
				}
			}
			return true
		})
	}
	return makers, wrong
}

type unknown struct{}

func (unknown) Import(string) (*types.Package, error) { return nil, errors.New("it is not looked at") }

func makesCommand(f *ast.FuncType) bool {
	if f.Results == nil {
		return false
	}
	for _, r := range f.Results.List {
		switch r := r.Type.(type) {
		case *ast.Ident:
			if r.Name == "Command" || r.Name == "C" {
				return true
			}
		case *ast.SelectorExpr:
			if r.Sel.Name == "Command" {
				return true
			}
		}
	}
	if f.Results.NumFields() != 2 {
		return false
	}
	for _, p := range f.Params.List {
		if s, ok := p.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Time" {
			return true
		}
	}
	return false
}

// written returns the variables that a closure assigns to, as a whole or in part.
func written(closure *ast.FuncLit) (names []*ast.Ident) {
	write := func(e ast.Expr) {
		for e != nil {
			switch x := e.(type) {
			case *ast.Ident:
				names, e = append(names, x), nil
			case *ast.SelectorExpr:
				e = x.X
			case *ast.IndexExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			default:
				e = nil
			}
		}
	}
	ast.Inspect(closure.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				write(e)
			}
		case *ast.IncDecStmt:
			write(n.X)
		case *ast.RangeStmt:
			write(n.Key)
			write(n.Value)
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear" || f.Name == "copy") {
				write(n.Args[0])
			}
		}
		return true
	})
	return names
}
