package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	_, story, found := strings.Cut(string(text), "## The story in curl")
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
	command := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(script, address, p.URL))
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
		`"instructions":"Send it as a `: 1,
	} {
		if n := strings.Count(string(out), what); n != times {
			t.Errorf("the story shows %s %d times, not %d:\n%s", what, n, times, out)
		}
	}
}

// TestTheInvariantsNameTestsThatExist looks for each test in the package that the table names.
func TestTheInvariantsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| invariant | test |")
	if !found {
		t.Fatal("the table of invariants is gone")
	}
	names := 0
	for _, place := range regexp.MustCompile("`([a-z/]+)`([^;|`]*)").FindAllStringSubmatch(table, -1) {
		files, err := filepath.Glob(filepath.Join("../..", place[1], "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s has no tests: %v", place[1], err)
		}
		var sources strings.Builder
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(source)
		}
		for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(place[2], -1) {
			names++
			if !strings.Contains(sources.String(), "func "+name+"(") {
				t.Errorf("%s has no %s", place[1], name)
			}
		}
	}
	if names < 20 {
		t.Errorf("only %d tests are named", names)
	}
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
