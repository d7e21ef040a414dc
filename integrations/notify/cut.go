package notify

import (
	"sort"
	"strings"
	"unicode/utf16"

	"github.com/rivo/uniseg"
)

// cut shortens a text to a size. It ends between two characters as a reader sees them, so that no
// accent leaves its letter and no family loses a child.
func cut(text string, most int, size func(string) int) string {
	if size(text) <= most {
		return text
	}
	var ends []int
	state, at := -1, 0
	for rest := text; rest != ""; {
		var character string
		character, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		at += len(character)
		ends = append(ends, at)
	}
	n := sort.Search(len(ends), func(i int) bool { return size(text[:ends[i]]+"…") > most })
	if n == 0 {
		return "…"
	}
	return strings.TrimRight(text[:ends[n-1]], " ") + "…"
}

// units is the size of a text in UTF-16 code units. Receivers document “characters” and don't say
// which; no other way to count them gives more.
func units(text string) int {
	n := 0
	for _, r := range text {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}
