package body_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/api/body"
)

// Other readers of YAML: each prints the texts of a document as JSON. The third writes the document
// again first, for us to read.
var (
	pyYAML    = []string{"python3", "-c", "import sys,yaml,json; print(json.dumps(yaml.safe_load(sys.stdin.buffer)))"}
	pyYAMLOut = []string{"python3", "-c", "import sys,yaml; print(yaml.safe_dump(yaml.safe_load(sys.stdin.buffer)))"}
	jsYAML    = []string{
		"node", "-e",
		`const y=require("js-yaml");process.stdout.write(JSON.stringify(y.load(require("fs").readFileSync(0,"utf8"))))`,
	}
	jsYAMLOut = []string{
		"node", "-e",
		`const y=require("js-yaml");process.stdout.write(y.dump(y.load(require("fs").readFileSync(0,"utf8"))))`,
	}
)

// texts draws what people and programs put into names and usage guides.
func texts() *rapid.Generator[string] {
	pieces := []string{
		" ", "  ", "\n", "\n\n", "\t", "a", "Tool", "- ", ": ", "#", " #", "'", `"`, "|", ">", "---", "...", `\`, "é",
		"😀", "\u2028", "\u2029", "\u0085", "\u00a0", "\ufeff", "\ufffe", "\U0001ffff", "null", "~", "yes", "n", "1",
		"0x1f", "1_0", "1:30", "1e3", "0o17", "012", "+1", ".5",
		"2001-01-01", "{", "}", "[", "]", "&", "*", "!", "%", "@", "`", ",", "?", "\r", "\u200b", "=", "<<",
		"http://a.example", "<b>",
	}
	drawn := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 12).Draw(t, "pieces"), "")
	})
	return rapid.Map(rapid.OneOf(drawn, rapid.StringN(1, 4000, -1)), func(s string) string {
		clean := strings.Map(func(c rune) rune {
			if c < ' ' && !strings.ContainsRune("\t\n\r", c) || c >= 0x7f && c < 0xa0 && c != 0x85 {
				return -1
			}
			return c
		}, strings.ToValidUTF8(s, ""))
		return strings.TrimSpace(clean)
	})
}

func document(list []string) string {
	var out strings.Builder
	out.WriteString("texts:\n")
	for _, text := range list {
		fmt.Fprintf(&out, "  - text: %s\n", body.YAML(text, 6))
	}
	return out.String()
}

func run(t *testing.T, command []string, in string) []byte {
	t.Helper()
	c := exec.CommandContext(t.Context(), command[0], command[1:]...)
	c.Stdin = strings.NewReader(in)
	c.Env = append(c.Environ(), "PYTHONIOENCODING=utf-8")
	if os.Getenv("NODE_PATH") == "" {
		c.Env = append(c.Env, "NODE_PATH=/usr/share/nodejs") // where Debian puts js-yaml
	}
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command[0], err, said.String())
	}
	return out
}

// TestEveryReaderOfYAMLReadsTheSameTexts: ours, PyYAML and js-yaml, and ours what those write.
func TestEveryReaderOfYAMLReadsTheSameTexts(t *testing.T) {
	var list []string
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfN(texts(), 1, 8).Draw(t, "texts")
		got, err := body.ReadYAML([]byte(document(drawn)))
		if err != nil {
			t.Fatalf("%v\n%s", err, document(drawn))
		}
		if diff := cmp.Diff(drawn, textsIn(got.JSON)); diff != "" {
			t.Fatalf("%s\n%s", diff, document(drawn))
		}
		if len(list) < 4000 {
			list = append(list, drawn...)
		}
	})
	text := document(list)
	for _, reader := range [][]string{pyYAML, jsYAML} {
		if diff := cmp.Diff(list, textsIn(run(t, reader, text))); diff != "" {
			t.Errorf("%s reads other texts: %s", reader[0], diff)
		}
	}
	for _, writer := range [][]string{pyYAMLOut, jsYAMLOut} {
		got, err := body.ReadYAML(run(t, writer, text))
		if err != nil {
			t.Errorf("what %s writes: %v", writer[0], err)
		}
		if diff := cmp.Diff(list, textsIn(got.JSON)); diff != "" {
			t.Errorf("what %s writes reads as other texts: %s", writer[0], diff)
		}
	}
}

func textsIn(raw []byte) []string {
	var all struct{ Texts []struct{ Text string } }
	_ = json.Unmarshal(raw, &all)
	out := make([]string, len(all.Texts))
	for i, x := range all.Texts {
		out[i] = x.Text
	}
	return out
}

func TestReadableTextsStayReadable(t *testing.T) {
	for text, want := range map[string]string{
		"Tool 1": "Tool 1", "yes": `"yes"`, "https://a.example/x": "https://a.example/x",
		"one\n\ntwo": "|-\n      one\n\n      two", "- x": `"- x"`,
	} {
		if got := body.YAML(text, 6); got != want {
			t.Errorf("%q is written %q", text, got)
		}
	}
}
