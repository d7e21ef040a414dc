package codec_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"agentkey/eventstore/codec"
)

func TestAStreamsNameSaysItsCategoryAndWhatItIsAbout(t *testing.T) {
	for c := codec.Installation; c <= codec.Snapshots; c++ {
		for _, id := range []string{"", "1", "agent-1", "-", "018f0d4e-0000-7000-8000-000000000000"} {
			name := c.Stream(id)
			category, about := codec.Split(name)
			if single := name == c.String(); category != c || (about != id && !single) || (single && about != "") {
				t.Errorf("%q is %v about %q, not %v about %q", name, category, about, c, id)
			}
		}
	}
	for _, other := range []string{
		"", "agent", "agents-1", "installation-1", "signing", "signing-keys-1", "backup", "$streams", "$$agent-1",
		"Agent-1", "order-agent-1",
	} {
		if c, about := codec.Split(other); c != codec.Unknown || about != other {
			t.Errorf("%q is %v about %q", other, c, about)
		}
	}
}

func TestOnlyPermanentStreamsAreAuditedOrDecidedOn(t *testing.T) {
	for c := codec.Installation; c <= codec.Snapshots; c++ {
		if (c.Audited() || c.Deciding()) && c.Lifetime() != codec.Lasting {
			t.Errorf("events of %v are audited or decided on, and don't last", c)
		}
	}
}

func TestActionsAreTheNamesOfAuditedEvents(t *testing.T) {
	actions := codec.Actions()
	for _, want := range []string{
		"credential.vended", "credential.refused", "agent.registered", "grant.approved", "log.restore_found",
		"person.recorded", "delivery.queued",
	} {
		if !slices.Contains(actions, want) {
			t.Errorf("%s is not an action", want)
		}
	}
	for _, a := range actions {
		for _, other := range []string{"secret.", "once.", "reaction.", "request.", ".v1"} {
			if strings.HasPrefix(a, other) || strings.HasSuffix(a, other) {
				t.Errorf("%s is an action", a)
			}
		}
	}
	if !slices.IsSorted(actions) || len(slices.Compact(slices.Clone(actions))) != len(actions) {
		t.Errorf("not a sorted set: %v", actions)
	}
}

// inProgram are names of categories as a program would build names of streams from them.
var inProgram = regexp.MustCompile(`^(` + names() + `)-$|'(` + names() + `)-'`)

func names() string {
	var all []string
	for c := codec.Installation; c <= codec.Snapshots; c++ {
		all = append(all, c.String())
	}
	return strings.Join(all, "|")
}

func TestNamesOfCategoriesStandInOneTable(t *testing.T) {
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			for _, literal := range streamLiterals(n) {
				t.Errorf("%s: %s; take codec's table instead", files.Position(n.Pos()), literal)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// streamLiterals returns what names a stream in a node: a category with its dash, or a literal
// where a stream is meant.
func streamLiterals(n ast.Node) (found []string) {
	text := func(e ast.Node) string {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil {
				return s
			}
		}
		return ""
	}
	if s := text(n); inProgram.MatchString(s) {
		found = append(found, s)
	}
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) < 2 {
		return found
	}
	switch f, _ := call.Fun.(*ast.SelectorExpr); {
	case f == nil:
	case f.Sel.Name == "ReadForward", f.Sel.Name == "ReadBackward", f.Sel.Name == "Newest", f.Sel.Name == "First",
		f.Sel.Name == "ReadBack", f.Sel.Name == "Write", f.Sel.Name == "Append":
		if s := text(call.Args[1]); regexp.MustCompile(`^(` + names() + `)(-|$)`).MatchString(s) {
			found = append(found, s)
		}
	}
	return found
}
