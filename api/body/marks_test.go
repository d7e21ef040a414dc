package body

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestNoTextHasMoreValuesThanAreCounted makes texts of what might be taken for something else, with
// lists in between that are missed where it is.
func TestNoTextHasMoreValuesThanAreCounted(t *testing.T) {
	list := "[" + strings.Repeat("1,", 30) + "1]"
	pieces := []string{
		"a", "x", `"`, `"`, "'", ": ", ": ", ":", "\n", "\n", "\n ", "\n  ", "\n   ", " ", "- ", "- ", "[", "]", ", ", ",",
		"{", "}", "|\n", "|\n ", ">\n  ", "#", " #", "?", "\t", `\`, "''", "|", "-", "\n- ", "\n  - ", "\nk: ", "\n k: ",
		"\n  k: ", list, "\nz: " + list + "\n", "\r", "\u2028", "&a ", "!!str ", "\n---\n",
	}
	draw := rand.New(rand.NewPCG(1, 2))
	read := 0
	for range 40_000 {
		raw := []byte("k: ")
		for range 2 + draw.IntN(16) {
			raw = append(raw, pieces[draw.IntN(len(pieces))]...)
		}
		d, err := yaml.NewLoader(bytes.NewReader(raw), yaml.WithPlugin(newLimits()))
		if err != nil {
			t.Fatal(err)
		}
		var doc yaml.Node
		if d.Load(&doc) != nil {
			continue
		}
		read++
		const most = 1 << 30
		m := newMarks(raw, most)
		for m.at < len(raw) {
			m.next()
		}
		nodes := 0
		for count(doc.Content[0], nodes) != nil {
			nodes++
		}
		if counted := most - m.left; nodes > 2*counted+2 {
			t.Errorf("%q has %d values, of which %d are counted", raw, nodes, counted)
		}
	}
	if read < 1000 {
		t.Errorf("%d texts could be read", read)
	}
}
