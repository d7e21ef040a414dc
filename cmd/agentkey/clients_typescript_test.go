package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"agentkey/eventstore/eventstoretest/wait"
)

const typeScript = "../../clients/typescript"

// TestTheTypeScriptClient compiles the package in clients/typescript, installs it where a program
// would have it, and runs two programs in Node that use it: a story in which networks fail, and the
// examples of its README.
func TestTheTypeScriptClient(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_READS=1/1s")
	dir := installTypeScript(t)

	t.Run("a story", func(t *testing.T) {
		network := startProxy(t, strings.TrimPrefix(p.URL, "http://"))
		line := startProxy(t, strings.TrimPrefix(p.URL, "http://"))
		ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
		defer cancel()
		node := exec.CommandContext(ctx, "node", filepath.Join(dir, "story.js"))
		node.Env = append(
			os.Environ(), "SERVICE="+p.URL, "TOKEN="+p.Token,
			"NETWORK=http://"+network.address(), "LINE=http://"+line.address(),
		)
		var failure bytes.Buffer
		node.Stderr = &failure
		said, err := node.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := node.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		last := ""
		for wants := bufio.NewScanner(said); wants.Scan(); {
			switch last = wants.Text(); last {
			case "lose answers":
				network.loseAnswers()
			case "cut when one is lost":
				wait.Until(t, "an answer is lost", func() bool { return network.lostAnswers() > 0 })
				network.cut()
			case "cut the line":
				line.lead("")
			case "mend the line":
				line.lead(strings.TrimPrefix(p.URL, "http://"))
			}
			_, _ = fmt.Fprintln(answer)
		}
		if err := node.Wait(); err != nil || last != "the end" {
			t.Errorf("it ended after %q: %v\n%s", last, err, failure.String())
		}
	})

	t.Run("the README's examples", func(t *testing.T) {
		tool := p.admin().mustTool("Linear", "lin_1")
		_, key := p.admin().mustAgent("Reader")
		script, err := os.ReadFile(filepath.Join(dir, "readme.js"))
		if err != nil {
			t.Fatal(err)
		}
		for example, is := range map[string]string{
			"https://agentkey.example.com": p.URL, "sk_agent_…": key, "sk_admin_…": p.Token,
			"0198c0de-0000-7000-8000-00000000000b": tool,
		} {
			if !bytes.Contains(script, []byte(example)) {
				t.Errorf("the examples lack %s", example)
			}
			script = bytes.ReplaceAll(script, []byte(example), []byte(is))
		}
		if err := os.WriteFile(filepath.Join(dir, "readme.js"), script, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "readme.js")).CombinedOutput()
		if want := "Reader wants Linear to open pull requests\nLinear, version 1\n"; err != nil || string(out) != want {
			t.Errorf("%v:\n%s", err, out)
		}
	})
}

// installTypeScript returns a folder with the compiled client as a package, the story, and the
// examples of the README as one program.
func installTypeScript(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	readme, err := os.ReadFile(typeScript + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := ""
	for _, block := range regexp.MustCompile("(?s)```ts\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		examples += block[1]
	}
	story, err := os.ReadFile(typeScript + "/test/story.ts")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(typeScript + "/package.json")
	if err != nil {
		t.Fatal(err)
	}
	own, err := filepath.Abs(typeScript)
	if err != nil {
		t.Fatal(err)
	}
	installed := filepath.Join(dir, "node_modules", "agentkey")
	compileTypeScript(t, "--outDir", filepath.Join(installed, "dist"))
	for name, text := range map[string]string{
		"node_modules/agentkey/package.json": string(manifest),
		"package.json":                       `{"type": "module"}`,
		"story.ts":                           string(story),
		"readme.ts":                          examples,
		"tsconfig.json": `{"extends": "` + own + `/tsconfig.json", "include": ["*.ts"], "exclude": [], "compilerOptions":
			{"rootDir": ".", "outDir": ".", "declaration": false, "types": ["node"]}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, needed := range []string{"openapi-fetch", "@types"} {
		err := os.Symlink(filepath.Join(own, "node_modules", needed), filepath.Join(dir, "node_modules", needed))
		if err != nil {
			t.Fatal(err)
		}
	}
	compileTypeScript(t, "--project", dir)
	return dir
}

// compileTypeScript runs the compiler, which scripts/typescript installs if it must.
func compileTypeScript(t *testing.T, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "../../scripts/typescript", append([]string{"tsc"}, arguments...)...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("tsc %v: %v\n%s", arguments, err, out)
	}
}
