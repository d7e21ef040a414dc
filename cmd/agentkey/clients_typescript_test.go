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
// examples of its README. A page in a browser uses it too.
func TestTheTypeScriptClient(t *testing.T) {
	t.Parallel()
	dir := installTypeScript(t)
	p := start(t, "AGENTKEY_LIMIT_READS=1/1s", "AGENTKEY_DASHBOARD_DIR="+typeScriptPage(t, dir))

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
		script := readFile(t, filepath.Join(dir, "readme.js"))
		for example, is := range map[string]string{
			"https://agentkey.example.com": p.URL, "sk_agent_…": key, "sk_admin_…": p.Token,
			"0198c0de-0000-7000-8000-00000000000b": tool,
		} {
			if !strings.Contains(script, example) {
				t.Errorf("the examples lack %s", example)
			}
			script = strings.ReplaceAll(script, example, is)
		}
		put(t, dir, "readme.js", script)
		out, err := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "readme.js")).CombinedOutput()
		if want := "Reader wants Linear to open pull requests\nLinear, version 1\n"; err != nil || string(out) != want {
			t.Errorf("%v:\n%s", err, out)
		}
	})

	t.Run("a page", func(t *testing.T) {
		b := openTab(t, 800, 600)
		b.goTo(p.URL + "/")
		b.until("the page", "document.title === 'A page'")
		role := b.eval(`import("/client/index.js").then(async ({ ApiError, Client }) => {
			const client = new Client({ url: location.origin });
			const strange = await client.GET("/api/admin/me").catch((error) => error);
			if (!(strange instanceof ApiError && strange.code === "credentials_missing")) throw strange;
			await client.POST("/auth/session", { body: { token: "` + p.Token + `" } });
			for await (const event of client.events()) {
				if (event.kind === "current") return (await client.GET("/api/admin/me")).data.role;
			}
		})`)
		if role != "owner" {
			t.Errorf("the page's role is %v", role)
		}
	})
}

// installTypeScript returns a folder with the compiled client as a package, the story, and the
// examples of the README as one program.
func installTypeScript(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	own, err := filepath.Abs(typeScript)
	if err != nil {
		t.Fatal(err)
	}
	examples := ""
	readme := readFile(t, filepath.Join(own, "README.md"))
	for _, block := range regexp.MustCompile("(?s)```ts\n(.*?)```").FindAllStringSubmatch(readme, -1) {
		examples += block[1]
	}
	compileTypeScript(t, "--outDir", filepath.Join(dir, "node_modules", "agentkey", "dist"))
	for name, text := range map[string]string{
		"node_modules/agentkey/package.json": readFile(t, filepath.Join(own, "package.json")),
		"package.json":                       `{"type": "module"}`,
		"story.ts":                           readFile(t, filepath.Join(own, "test", "story.ts")),
		"readme.ts":                          examples,
		"tsconfig.json": `{"extends": "` + own + `/tsconfig.json", "include": ["*.ts"], "exclude": [], "compilerOptions":
			{"rootDir": ".", "outDir": ".", "declaration": false, "types": ["node"]}}`,
	} {
		put(t, dir, name, text)
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

// typeScriptPage returns a folder with a page and the compiled client. A page imports paths, so the
// client's import of a package becomes one, as bundlers do it.
func typeScriptPage(t *testing.T, dir string) string {
	t.Helper()
	page, modules := t.TempDir(), filepath.Join(dir, "node_modules")
	put(t, page, "index.html", "<!doctype html><title>A page</title>")
	err := os.CopyFS(filepath.Join(page, "client"), os.DirFS(filepath.Join(modules, "agentkey", "dist")))
	if err != nil {
		t.Fatal(err)
	}
	put(t, page, "client/openapi-fetch.js", readFile(t, filepath.Join(modules, "openapi-fetch", "dist", "index.mjs")))
	client := readFile(t, filepath.Join(page, "client", "client.js"))
	put(t, page, "client/client.js", strings.Replace(client, `"openapi-fetch"`, `"./openapi-fetch.js"`, 1))
	return page
}

// compileTypeScript runs the compiler, which scripts/typescript installs if it must.
func compileTypeScript(t *testing.T, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "../../scripts/typescript", append([]string{"tsc"}, arguments...)...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("tsc %v: %v\n%s", arguments, err, out)
	}
}
