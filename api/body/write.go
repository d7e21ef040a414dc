package body

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// plainText is what every reader of YAML, of version 1.1 too, takes for text without quotes: it
// can't be a number, a time, a date or a word such as yes, and holds no sign of the language.
var (
	plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./()+-]*( [A-Za-z0-9_./()+-]+)*$`)
	web       = regexp.MustCompile(`^https?://[A-Za-z0-9_./-]+$`)
	words     = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)
)

// YAML writes a text as a value of YAML that every reader reads as the same text. What people write
// in several lines stays so, each line indented; everything doubtful is in double quotes, as in
// JSON.
func YAML(text string, indent int) string {
	switch {
	case (plainText.MatchString(text) || web.MatchString(text)) && !words.MatchString(text):
		return text
	case strings.Contains(text, "\n") && literal(text):
		margin := "\n" + strings.Repeat(" ", indent)
		return strings.ReplaceAll("|-"+margin+strings.ReplaceAll(text, "\n", margin), margin+"\n", "\n\n")
	}
	return quoted(text)
}

// literal reports whether a text may be in a literal block: it neither begins nor ends with white
// space, no line ends with any, and readers agree on every character and every line break.
func literal(text string) bool {
	if text != strings.TrimSpace(text) || strings.ContainsFunc(text, doubtful) {
		return false
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != strings.TrimRight(line, " \t") {
			return false
		}
	}
	return true
}

// doubtful characters are line breaks to some readers only, invisible, or refused.
func doubtful(c rune) bool {
	return c != '\n' && c != '\t' && c < ' ' || c >= 0x7f && c <= 0xa0 || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
		c&0xfffe == 0xfffe
}

// quoted writes a text as JSON does, which is YAML too, with every doubtful character as an escape.
func quoted(text string) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // of a string: it can't fail
	var safe strings.Builder
	for _, c := range strings.TrimSuffix(out.String(), "\n") {
		switch {
		case doubtful(c) && c > 0xffff:
			fmt.Fprintf(&safe, `\U%08x`, c)
		case doubtful(c):
			fmt.Fprintf(&safe, `\u%04x`, c)
		default:
			safe.WriteRune(c)
		}
	}
	return safe.String()
}
