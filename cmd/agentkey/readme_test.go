package main

import (
	"cmp"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"agentkey/eventstore/codec"
)

// TestTheReadmeTellsTheTruth runs the story of the README as written, against its own server.
func TestTheReadmeTellsTheTruth(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, story, found := strings.Cut(string(text), "## The story\n")
	story, _, ends := strings.Cut(story, "\n## ")
	if !found || !ends {
		t.Fatal("the README has lost its story")
	}
	dir := t.TempDir()
	p := start(t, "AGENTKEY_DATA_DIR="+filepath.Join(dir, "agentkey-data"))
	script := "set -euo pipefail\n"
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(story, -1) {
		script += block[1]
	}
	const address = "http://127.0.0.1:8080"
	if !strings.Contains(script, address) {
		t.Fatalf("the story no longer begins at %s", address)
	}
	script = strings.ReplaceAll(script, address, p.URL)
	const run = "go run ./cmd/agentkey "
	if !strings.Contains(script, run) {
		t.Fatal("the story lacks the command line")
	}
	script = strings.ReplaceAll(script, run, asProgram+"=1 '"+os.Args[0]+"' ") // which was built already
	command := exec.CommandContext(t.Context(), "bash", "-c", script)
	command.Dir = dir
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("the story failed: %v\n%s", err, out)
	}
	for what, times := range map[string]int{
		`"credential":"ghp_example"`:    1, // fetched once
		`"code":"access_not_approved"`:  2, // before the approval and after the revocation
		`"action":"credential.vended"`:  1,
		`"action":"grant.approved"`:     1,
		`"outcome":"granted"`:           1, // to the agent that suggested it
		"approved Onboarding's request": 2, // the summary, as JSON and on the command line
		`"instructions":"Send it as a `: 1,
	} {
		if n := strings.Count(string(out), what); n != times {
			t.Errorf("the story shows %s %d times, not %d:\n%s", what, n, times, out)
		}
	}
}

// TestTheDocumentsNameTestsThatExist looks for each test that a document names. In a table it is in
// the package that is named before it. A name that ends in … or *, or that a command's -run has, is
// the beginning of one.
func TestTheDocumentsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	tests := declaredTests(t)
	for path, least := range map[string]int{
		"README.md": 0, "CONTRIBUTING.md": 1, "SECURITY.md": 0, "docs/*.md": 0,
		"docs/architecture.md": 100, "docs/threat-model.md": 60, "docs/eventstoredb.md": 5,
	} {
		documents, err := filepath.Glob(filepath.Join("../..", path))
		if err != nil || len(documents) == 0 {
			t.Errorf("%s is missing: %v", path, err)
		}
		names := 0
		for _, document := range documents {
			text, err := os.ReadFile(document)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				names += checkNames(t, document, line, tests)
			}
		}
		if names < least {
			t.Errorf("%s names only %d tests", path, names)
		}
	}
}

// declaredTests are the tests and benchmarks of each package, by its path in the repository.
func declaredTests(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		folder := filepath.ToSlash(filepath.Dir(strings.TrimPrefix(path, "../../")))
		for _, found := range declared.FindAllStringSubmatch(string(source), -1) {
			out[folder] = append(out[folder], found[1])
		}
		return err
	})
	if err != nil || len(out) < 20 {
		t.Fatalf("%d packages have tests: %v", len(out), err)
	}
	return out
}

// namedInDocuments finds the package that a cell of a table names, and names of tests.
var namedInDocuments = regexp.MustCompile("`([a-z]+(?:/[a-z]+)*)` |((?:Test|Benchmark)[A-Z]\\w*)([…*]?)")

// checkNames returns how many tests a line of a document names.
func checkNames(t *testing.T, document, line string, tests map[string][]string) (names int) {
	t.Helper()
	place := "" // until one is named: anywhere
	for _, found := range namedInDocuments.FindAllStringSubmatch(line, -1) {
		if found[1] != "" {
			if _, is := tests[found[1]]; is {
				place = found[1]
			} else if strings.Contains(line, "`"+found[1]+"` Test") {
				t.Errorf("%s names tests of %s, which has none", document, found[1])
			}
			continue
		}
		names++
		beginning := found[3] != "" || strings.Contains(line, "-run")
		exists := false
		for folder, declared := range tests {
			exists = exists || (place == "" || place == folder) && slices.ContainsFunc(declared, func(name string) bool {
				return name == found[2] || beginning && strings.HasPrefix(name, found[2])
			})
		}
		if !exists {
			t.Errorf("%s names %s, which %s doesn't have", document, found[2], cmp.Or(place, "the repository"))
		}
	}
	return names
}

// TestContributingNamesWhatExists finds every path in backquotes. Names of test files alone are
// relative to this folder.
func TestContributingNamesWhatExists(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	paths := 0
	for _, found := range regexp.MustCompile(
		"`([\\w*./-]*[/*_][\\w*./-]*|\\w+\\.md)`",
	).FindAllStringSubmatch(string(text), -1) {
		paths++
		path := filepath.Join("../..", found[1])
		if !strings.Contains(found[1], "/") && !strings.HasSuffix(found[1], ".md") {
			path = found[1]
		}
		matches, err := filepath.Glob(path)
		if err != nil || len(matches) == 0 {
			t.Errorf("CONTRIBUTING.md names %s, which doesn't exist: %v", found[1], err)
		}
	}
	if paths < 40 {
		t.Errorf("only %d paths are named", paths)
	}
}

func TestTheArchitectureNamesEveryCategoryOfStreams(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, lifetime := range []codec.Lifetime{codec.Lasting, codec.Removable, codec.Expiring, codec.Replaced} {
		for _, category := range codec.Categories(lifetime) {
			if !regexp.MustCompile("(?m)^\\| `" + category.String() + "(-<\\w+>)?` \\|").Match(text) {
				t.Errorf("the table of streams lacks %s", category)
			}
		}
	}
}
