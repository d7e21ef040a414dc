package people

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// hostile is a name as somebody may choose it who wants a terminal to lie: colours, the title of
// the window, C1 controls, the order of characters reversed, a line of its own.
const hostile = "Ada\x1b[31m\x1b]0;pwned\x07\u009b2J\u202etxt.exe\u2066\r\nfake  approved\tline\U000e0041"

func TestWhatAnAgentIsCalledMovesNoTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	sh := &Shell{Stdout: &out, Stderr: &out}
	if err := sh.table([]string{"NAME", "STATUS"}, [][]string{{hostile, "active"}, {"日本", "active"}}); err != nil {
		t.Fatal(err)
	}
	if err := sh.facts("agent", hostile); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 4 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
	raw, err := json.Marshal(map[string]string{"name": hostile})
	if err != nil {
		t.Fatal(err)
	}
	unescaped := bytes.NewBuffer(nil) // as another program may have encoded it
	encoder := json.NewEncoder(unescaped)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(map[string]string{"name": hostile}); err != nil {
		t.Fatal(err)
	}
	printed := out.Len()
	for _, text := range [][]byte{raw, unescaped.Bytes()} {
		if err := sh.printJSON(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range out.String() {
		if r != '\n' && clean(string(r)) != string(r) {
			t.Errorf("%U is printed", r)
		}
	}
	var back map[string]string
	decoder := json.NewDecoder(bytes.NewReader(out.Bytes()[printed:]))
	for range 2 {
		if err := decoder.Decode(&back); err != nil || back["name"] != hostile {
			t.Errorf("the JSON says %q: %v", back["name"], err)
		}
	}
}

func TestCompletionKnowsCommandsFlagsAndValues(t *testing.T) {
	t.Parallel()
	var line struct {
		Commands
	}
	parser, err := kong.New(&line)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words string
		want  []string
	}{
		{"requ", []string{"requests"}},
		{"requests a", []string{"approve"}},
		{"requests --st", []string{"--status"}},
		{"requests --status=de", []string{"--status=denied"}},
		{"requests list --status de", []string{"denied"}},
		{"requests approve --ye", []string{"--yes"}},
		{"completion z", []string{"zsh"}},
		{"comp", []string{"completion"}},
	} {
		got := candidates(parser.Model.Node, strings.Split(c.words, " "))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, not %v", c.words, got, c.want)
		}
	}
}
