package body_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"agentkey/api/body"
	"agentkey/domain"
)

// wrong is the only mistake that a refusal names.
func wrong(t *testing.T, err error) domain.Field {
	t.Helper()
	refusal, found := errors.AsType[*domain.Error](err)
	if !found || refusal.Code != "malformed_json" || len(refusal.Fields) != 1 {
		t.Fatalf("it is refused with %v", err)
	}
	return refusal.Fields[0]
}

func TestTextThatIsNotJSONIsRefusedWithItsPlaceAndCause(t *testing.T) {
	const pem = "{\"name\": \"x\",\n \"credential\": \"-----BEGIN KEY-----\nabc\n-----END KEY-----\"}"
	for _, tt := range []struct {
		text         string
		line, column int
		cause        string
	}{
		{pem, 2, 36, `raw line break in the PEM that begins at line 2, column 16; write each of its line breaks as \n`},
		{"{\"a\": \"b\n\"}", 1, 9, "raw line break in the text that begins at line 1, column 7"},
		{"{\"a\": \"b\r\n\"}", 1, 9, "raw line break"},
		{"{\"a\": \"b\tc\"}", 1, 9, "raw tab"},
		{"{\"a\": \"b\x1bc\"}", 1, 9, `\u001b`},
		{`{"a": 1,}`, 1, 8, "comma after the last item"},
		{"{\n  \"a\": [1, 2,\n  ]\n}", 2, 13, "comma after the last item"},
		{"\ufeff{\"a\": 1}", 1, 1, "byte order mark"},
		{"{'a': 1}", 1, 2, "double quotes"},
		{`{"ä": 'b'}`, 1, 7, "double quotes"},
		{`{“a”: 1}`, 1, 2, "double quotes"},
		{"{\"a\": 1 // one\n}", 1, 9, "no comments"},
		{"{# one\n\"a\": 1}", 1, 2, "no comments"},
		{"{\n/* x */ \"a\": 1}", 2, 1, "no comments"},
		{`{"a": {"b": [1`, 1, 15, "the [ at line 1, column 13 is not closed"},
		{`{"a": "b`, 1, 7, "not closed with a double quote"},
		{`{"a": "b\u00`, 1, 7, "not closed"},
		{`{"a"`, 1, 5, "ends too early"},
		{`{"a": tru`, 1, 10, "ends too early"},
		{``, 1, 1, "empty"},
		{"  \n ", 2, 2, "empty"},
		{`{"a": NaN}`, 1, 7, "no NaN"},
		{`{"a": nan}`, 1, 7, "no NaN"},
		{`{"a": -Infinity}`, 1, 7, "no NaN and no Infinity"},
		{`{"a": None}`, 1, 7, "written null"},
		{`{"a": undefined}`, 1, 7, "written null"},
		{`{"a": True}`, 1, 7, "lower case"},
		{`{"a": 01}`, 1, 7, "leading zero"},
		{`{"a": +1}`, 1, 7, "plus sign"},
		{`{"a": .5}`, 1, 7, "each side of the point"},
		{`{"a": 1.}`, 1, 7, "each side of the point"},
		{`{"a": 1_000}`, 1, 7, "separators"},
		{`{"a": 0x1f}`, 1, 7, "decimal digits"},
		{`{"a": hello}`, 1, 7, "a text must be in double quotes"},
		{`{"a": $TOKEN}`, 1, 7, "variable"},
		{`{a: 1}`, 1, 2, "name of a member must be in double quotes"},
		{`{"a": 1, true: 2}`, 1, 10, "name of a member must be in double quotes"},
		{`{1: 2}`, 1, 2, "name of a member must be in double quotes"},
		{`{"a": 1 "b": 2}`, 1, 9, "a comma is missing"},
		{"{\"a\": \"x\"\n\"b\": 2}", 2, 1, "a comma is missing"},
		{`{"a": [1 2]}`, 1, 10, "a comma is missing"},
		{`{"a" 1}`, 1, 6, "a colon is missing"},
		{`{"a" "b"}`, 1, 6, "a colon is missing"},
		{`{"a" = 1}`, 1, 6, "colon"},
		{`{"a": 1; "b": 2}`, 1, 8, "comma"},
		{`{"a"}`, 1, 5, "a colon and a value are missing"},
		{`{"a":}`, 1, 6, "a value is missing"},
		{`{"a":,"b":1}`, 1, 6, "a value is missing"},
		{`{,"a":1}`, 1, 2, "nothing before this comma"},
		{`{"a": 1,, "b": 2}`, 1, 9, "nothing before this comma"},
		{`{"a": [1}`, 1, 9, "does not match the [ at line 1, column 7"},
		{`{"a": 1}}`, 1, 9, "after its end|after the end"},
		{`{"a": 1} {"b": 2}`, 1, 10, "after its end|after the end"},
		{`{"a": "\x"}`, 1, 8, `write a backslash as \\`},
		{`{"a": "C:\Users"}`, 1, 10, `write a backslash as \\`},
		{`{"a": "\u12g4"}`, 1, 8, "four hexadecimal digits"},
		{`{"a": "\ud800"}`, 1, 8, "half a character"},
		{"{\"a\":\u00a01}", 1, 6, "U+00A0"},
		{"{\"a\": \"\xff\"}", 1, 8, "not UTF-8"},
		{"\xff\xfe{\x00}\x00", 1, 1, "UTF-16"},
		{`name=Onboarding`, 1, 1, "form"},
		{"agentkey_catalog: 1\n", 1, 1, "YAML"},
		{`@file.json`, 1, 1, "name of a file"},
		{`<html>`, 1, 1, "HTML"},
		{`[1]`, 1, 1, "one JSON object"},
		{"\n \"x\"", 2, 2, "one JSON object"},
		{"{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 2}}", 2, 16, "given twice"},
		{"{\"a\":\n 1e999}", 2, 2, "larger or finer"},
	} {
		_, err := body.ReadJSON([]byte(tt.text), nil)
		got := wrong(t, err)
		named := false
		for cause := range strings.SplitSeq(tt.cause, "|") {
			named = named || strings.Contains(got.Message, cause)
		}
		if got.Line != tt.line || got.Column != tt.column || !named {
			t.Errorf("%q: line %d, column %d: %s", tt.text, got.Line, got.Column, got.Message)
		}
	}
}

func TestJSONIsRefusedWhereItIsNestedTooDeeply(t *testing.T) {
	if _, err := body.ReadJSON([]byte(`{"a":`+strings.Repeat("[", 31)+strings.Repeat("]", 31)+`}`), nil); err != nil {
		t.Errorf("32 deep: %v", err)
	}
	for _, opening := range []string{"[", `{"a":`} {
		text := []byte(`{"a":` + strings.Repeat(opening, 262_000/len(opening)))
		_, err := body.ReadJSON(text, nil)
		got := wrong(t, err)
		if want := 6 + 31*len(opening); got.Line != 1 || got.Column != want ||
			!strings.Contains(got.Message, "32 deep") {
			t.Errorf("%q: line %d, column %d: %s", opening, got.Line, got.Column, got.Message)
		}
		cost := testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				_, _ = body.ReadJSON(text, nil)
			}
		}).AllocedBytesPerOp()
		if cost > 1<<20 {
			t.Errorf("%q: refusing it costs %d bytes", opening, cost)
		}
	}
}

func TestTextThatIsNotYAMLIsRefusedWithItsPlaceAndCause(t *testing.T) {
	for _, tt := range []struct {
		text         string
		line, column int
		cause        string
	}{
		{"a: 1\n\tb: 2\n", 2, 1, "tab"},
		{"a:\n  \t- c\n", 2, 3, "tab"},
		{"a: b: c\n", 1, 5, "colon"},
		{"tools:\n- name: X\n  auth: y\n url: z\n", 4, 2, "did not find expected key"},
		{"a: @foo\n", 1, 4, "quotes"},
		{"a: `x`\n", 1, 4, "quotes"},
		{"a: \"abc\ndef\n", 3, 1, "which begins at line 1, column 4"},
		{"tools: [1,\nb: 3\n", 3, 1, "expected ',' or ']'"},
		{"a: \x01\n", 1, 4, "control character"},
		{"a: \xff\n", 1, 4, "not UTF-8"},
		{"a: 1\n---\nb: 2\n", 2, 1, "second document"},
		{"", 1, 1, "empty"},
		{"# nothing\n", 1, 1, "empty"},
		{"- 1\n", 1, 1, "mapping"},
		{"a: 1\na: 2\n", 2, 1, "given twice"},
		{"a: 2001-01-01\n", 1, 4, "quotes"},
		{"a: [&x 1]\n", 1, 5, "anchors"},
	} {
		_, err := body.ReadYAML([]byte(tt.text))
		if got := wrong(t, err); got.Line != tt.line || got.Column != tt.column ||
			!strings.Contains(got.Message, tt.cause) {
			t.Errorf("%q: line %d, column %d: %s", tt.text, got.Line, got.Column, got.Message)
		}
	}
}

func TestAYAMLTextReadsAsTheJSONThatItCouldBe(t *testing.T) {
	got, err := body.ReadYAML(
		[]byte("a: 1\nb: [true, null, text, '2', 1e3, 0o17, 1.50, False]\nc:\n  d: |\n    x\n    y\n"),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"a": json.Number("1"), "b": []any{true, nil, "text", "2", "1e3", "0o17", "1.50", false},
		"c": map[string]any{"d": "x\ny"},
	}
	if diff := cmp.Diff(want, got.Object); diff != "" {
		t.Error(diff)
	}
}

// FuzzExplain: whatever isn't JSON has a place within the text, and a cause.
func FuzzExplain(f *testing.F) {
	for _, text := range []string{
		`{"a":"\u12`, `{"a":1,}`, "{\"a\\", `]`, `{"a":[`, "\"\\", `tru`, `-`, `{"a":-}`, "{é:1}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := body.ReadJSON(text, nil)
		if err == nil {
			return
		}
		if got := wrong(t, err); got.Line < 1 || got.Column < 1 || got.Message == "" {
			t.Errorf("%q: %+v", text, got)
		}
	})
}

// TestWhatLooksLikeManyValuesIsText reads texts with more signs than a text may have values.
func TestWhatLooksLikeManyValuesIsText(t *testing.T) {
	many := func(line string) string { return strings.Repeat(line, 600_000) }
	for name, text := range map[string]string{
		"in double quotes":    `a: "` + many(`\",[ `) + `"` + "\nb: 1\n",
		"in single quotes":    "a: '" + many(`'',{ `) + "'\nb: 1\n",
		"in a block":          "l:\n  - a: |-\n" + many("      - x: \"\n") + "    b: 1\na: 1\n",
		"in a block of lists": "a:\n- >\n" + many(" [\n") + "b: 1\n",
		"in a comment":        "a: 1 # " + many("{,") + "\nb: 1\n",
		"in lines of a text":  "a: x" + many(", -") + "\nb: 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := body.ReadYAML([]byte(text))
			if err != nil || !strings.Contains(string(got.JSON), `"a":`) {
				t.Errorf("it is refused: %v", err)
			}
		})
	}
}

// TestYAMLThatGrowsIsRefused reads texts that are made to cost much more than their size.
func TestYAMLThatGrowsIsRefused(t *testing.T) {
	const size = 1 << 20
	var laughs strings.Builder
	laughs.WriteString("a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n")
	for c := 'b'; c <= 'z'; c++ {
		fmt.Fprintf(&laughs, "%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	for name, tt := range map[string]struct {
		text  string
		says  string // empty: it is taken
		times int    // its size that reading it may cost
	}{
		"laughs":           {laughs.String(), "anchors and aliases are not allowed", 300},
		"a cycle":          {"a: &a\n  b: *a\n", "anchors and aliases are not allowed", 20_000},
		"a merge":          {"a: &a {b: c}\nd:\n  <<: *a\n", "anchors and aliases are not allowed", 20_000},
		"aliases":          {"a: &a x\nb: [" + strings.Repeat("*a,", size/8) + "]", "anchors", 200},
		"deep lists":       {"a: " + strings.Repeat("[", size), "nested 32 deep", 20},
		"deep mappings":    {"a: " + strings.Repeat("{a: ", size/4), "nested 32 deep", 20},
		"lists":            {"a: [" + strings.Repeat("[],", size/2) + "]", "more than 200000 values", 200},
		"values":           {"a: [" + strings.Repeat("1,", size/2) + "]", "more than 200000 values", 200},
		"lines":            {"a:\n" + strings.Repeat("-\n", size/2), "more than 200000 values", 200},
		"documents":        {"a: 1\n" + strings.Repeat("---\n", size/8), "a second document begins", 20},
		"16 MiB of values": {"a: [" + strings.Repeat("1,", 8*size) + "1]", "more than 200000 values", 1},
		"16 MiB of keys":   {"a: {" + strings.Repeat("x,", 8*size) + "x}", "more than 200000 values", 1},
		"16 MiB of lines":  {"a:\n" + strings.Repeat("-\n", 8*size), "more than 200000 values", 1},
		"behind quotes": {
			"a: x\n  \"\nb: [" + strings.Repeat("1,", 8*size) + "1]\nc: \"", "more than 200000 values", 1,
		},
		"behind a block": {
			"- [a]: |\n    x\n  b: [" + strings.Repeat("1,", 8*size) + "1]", "more than 200000 values", 1,
		},
		"a text":        {"a: " + strings.Repeat("x", 8*size), "", 20},
		"a quoted text": {`a: "` + strings.Repeat(`\u0041`, size) + `"`, "", 20},
		"a block":       {"a: |\n" + strings.Repeat("  - {x,: [\n", size/2), "", 30},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := body.ReadYAML([]byte(tt.text))
			runtime.ReadMemStats(&after)
			cost := int(after.TotalAlloc-before.TotalAlloc) / len(tt.text)
			if cost > tt.times {
				t.Errorf("reading it costs %d times its size", cost)
			}
			if tt.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refusal, found := errors.AsType[*domain.Error](err)
			if !found || refusal.Kind != domain.KindInvalid || len(refusal.Fields) == 0 || len(refusal.Fields) > 50 {
				t.Fatalf("it is refused with %v", err)
			}
			if got := refusal.Fields[0]; got.Line < 1 || got.Column < 1 || !strings.Contains(got.Message, tt.says) {
				t.Errorf("line %d, column %d: %s", got.Line, got.Column, got.Message)
			}
		})
	}
}
