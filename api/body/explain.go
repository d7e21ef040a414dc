package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// explain says where a text stops being JSON and why, most likely. encoding/json finds the place;
// what is before and at it tells the cause.
func explain(raw []byte) fault {
	if at, broken := notUTF8(raw); broken {
		return fault{placeOf(raw, at), unreadable(raw)}
	}
	if bytes.HasPrefix(raw, []byte("\ufeff")) {
		return fault{place{1, 1}, "the text begins with a byte order mark (U+FEFF); save it as UTF-8 without one"}
	}
	var whole json.RawMessage
	wrong, found := errors.AsType[*json.SyntaxError](json.Unmarshal(append(bytes.Clone(raw), ' '), &whole))
	if !found {
		return fault{placeOf(raw, len(raw)), "it is not one complete object"}
	}
	at := int(wrong.Offset) - 1 // with the blank behind it, a text that only ends too early fails beyond its end
	r := reading{raw: raw, text: -1, last: -1}
	r.readTo(min(at, len(raw)))
	at, cause := r.cause(min(at, len(raw)))
	return fault{placeOf(raw, at), cause}
}

func notUTF8(raw []byte) (int, bool) {
	for at := 0; at < len(raw); {
		r, size := utf8.DecodeRune(raw[at:])
		if r == utf8.RuneError && size == 1 {
			return at, true
		}
		at += size
	}
	return 0, false
}

func unreadable(raw []byte) string {
	if bytes.HasPrefix(raw, []byte{0xff, 0xfe}) || bytes.HasPrefix(raw, []byte{0xfe, 0xff}) {
		return "the text is UTF-16; save it as UTF-8 without a byte order mark"
	}
	return "this byte is not UTF-8; the text is probably in another encoding, such as Latin-1, so save it as UTF-8"
}

// reading is what is known of a text at the place where it stops being JSON.
type reading struct {
	raw    []byte
	open   []int // the brackets that are not closed yet
	text   int   // the quote of the text that is not closed yet, -1 if none
	escape int   // the backslash of an escape that is not complete yet; only within a text
	last   int   // the first byte of the last complete token or of the word at the place, -1 if none
	before byte  // the first byte of the token before that
}

// readTo reads what is before the place. It is JSON as far as it goes.
func (r *reading) readTo(end int) {
	word := false
	for i := range end {
		c := r.raw[i]
		if r.text >= 0 {
			switch {
			case r.escape > r.text && (i-r.escape > 1 && r.raw[r.escape+1] != 'u' || i-r.escape > 5):
				r.escape = r.text
			case r.escape > r.text:
				continue
			}
			switch c {
			case '\\':
				r.escape = i
			case '"':
				r.text = -1
			}
			continue
		}
		switch {
		case isBlank(c):
			word = false
			continue
		case isWord(c) && word:
			continue
		}
		if r.last >= 0 {
			r.before = r.raw[r.last]
		}
		r.last, word = i, isWord(c)
		switch c {
		case '"':
			r.text, r.escape = i, i
		case '{', '[':
			r.open = append(r.open, i)
		case '}', ']':
			r.open = r.open[:max(len(r.open)-1, 0)]
		}
	}
	if r.text >= 0 && r.escape > r.text && (end-r.escape > 1 && r.raw[r.escape+1] != 'u' || end-r.escape > 5) {
		r.escape = r.text
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// isWord reports whether a byte may be part of a number, a literal, or a text without quotes.
func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= 0x80 ||
		strings.IndexByte("_+-.$%@", c) >= 0
}

// cause says what is probably wrong, and where to correct it.
func (r *reading) cause(at int) (int, string) {
	switch {
	case r.text >= 0:
		return r.inText(at)
	case at >= len(r.raw):
		return at, r.endsEarly()
	}
	if word, start := r.word(at); word != "" {
		return start, r.ofWord(word, start)
	}
	c, _ := utf8.DecodeRune(r.raw[at:])
	if cause, known := ofCharacter(c); known {
		return at, cause
	}
	return r.ofStructure(at, r.raw[at])
}

func (r *reading) inText(at int) (int, string) {
	begins := placeOf(r.raw, r.text)
	if at >= len(r.raw) {
		return r.text, "the text that begins here is not closed with a double quote; the body may have been cut off"
	}
	c := r.raw[at]
	switch {
	case c == '\n' || c == '\r':
		if bytes.HasPrefix(r.raw[r.text+1:], []byte("-----BEGIN")) {
			return at, fmt.Sprintf(
				`there is a raw line break in the PEM that begins at %s; write each of its line breaks as \n`, begins,
			)
		}
		return at, fmt.Sprintf(
			`there is a raw line break in the text that begins at %s; write it as \n, or close the text with a double quote`,
			begins,
		)
	case c == '\t':
		return at, fmt.Sprintf(`there is a raw tab in the text that begins at %s; write it as \t`, begins)
	case c < ' ':
		return at, fmt.Sprintf(
			`there is a control character in the text that begins at %s; remove it, or write it as \u%04x`, begins, c,
		)
	case r.escape > r.text && at-r.escape > 1:
		return r.escape, `\u needs four hexadecimal digits`
	case r.escape > r.text:
		return r.escape, `write a backslash as \\; only \" \\ \/ \b \f \n \r \t and \u with four hexadecimal digits ` +
			"have a meaning of their own"
	}
	return at, "this character can't be part of a text"
}

func (r *reading) endsEarly() string {
	if r.last < 0 {
		return "it is empty"
	}
	if len(r.open) == 0 {
		return "it ends too early"
	}
	top := r.open[len(r.open)-1]
	return fmt.Sprintf("it ends too early: the %c at %s is not closed", r.raw[top], placeOf(r.raw, top))
}

// word is the run of characters without quotes that the place is in, begins or ends, and where it
// begins. It is empty if there is none, or if it is complete.
func (r *reading) word(at int) (string, int) {
	start, end := at, at
	if at > 0 && r.last >= 0 && isWord(r.raw[at-1]) && isWord(r.raw[r.last]) {
		start = r.last
	}
	for end < len(r.raw) && isWord(r.raw[end]) {
		end++
	}
	word := r.raw[start:end]
	if c, _ := utf8.DecodeRune(word); end == at && json.Valid(word) || c >= 0x80 && !unicode.IsLetter(c) {
		return "", at
	}
	return string(word), start
}

var numeral = regexp.MustCompile(`^[-+]?\.?[0-9][0-9A-Fa-fxXoO_.+-]*$`)

// ofWord explains characters without quotes, which begin at start.
func (r *reading) ofWord(word string, start int) string {
	after := bytes.TrimLeft(r.raw[start+len(word):], " \t\r\n")
	if len(r.open) == 0 {
		return r.ofBeginning(word, start, after)
	}
	before := r.tokenBefore(start)
	switch {
	case r.wantsName(before):
		return "the name of a member must be in double quotes"
	case strings.IndexByte(":,[", before) < 0:
		return r.ofNeighbours()
	}
	switch plain := strings.ToLower(strings.TrimLeft(word, "+-")); {
	case plain == "nan" || plain == "inf" || plain == "infinity":
		return "JSON has no NaN and no Infinity; leave the field out"
	case plain == "none" || plain == "undefined" || plain == "nil" || plain == "null":
		return "a missing value is written null, or the field is left out"
	case plain == "true" || plain == "false":
		return "true and false are written in lower case"
	case numeral.MatchString(word):
		return "a number is written in decimal digits, such as 60 or 0.5: without a leading zero, a plus sign " +
			"or separators, and with a digit on each side of the point"
	case strings.HasPrefix(word, "$") || strings.HasPrefix(word, "%"):
		return "this looks like a variable that was not replaced by its value"
	}
	return "a text must be in double quotes"
}

// ofBeginning explains what is outside the object.
func (r *reading) ofBeginning(word string, start int, after []byte) string {
	switch {
	case r.last >= 0 && r.last < start:
		return "there is something after the end of the object; send one object"
	case bytes.HasPrefix(after, []byte("=")):
		return `this looks like a form; send a JSON object, which begins with {`
	case bytes.HasPrefix(after, []byte(":")) || strings.HasPrefix(word, "--"):
		return "this looks like YAML or a PEM; send a JSON object, which begins with {"
	case strings.HasPrefix(word, "@"):
		return "this looks like the name of a file; send what is in the file"
	}
	return "send a JSON object, which begins with {"
}

// tokenBefore is the first byte of the token before a place.
func (r *reading) tokenBefore(at int) byte {
	switch {
	case r.last < 0:
		return 0
	case r.last == at:
		return r.before
	}
	return r.raw[r.last]
}

func (r *reading) inObject() bool {
	return len(r.open) > 0 && r.raw[r.open[len(r.open)-1]] == '{'
}

// wantsName reports whether the name of a member must follow a token.
func (r *reading) wantsName(before byte) bool {
	return r.inObject() && (before == '{' || before == ',')
}

// ofNeighbours explains a value that follows another token than a comma or a colon.
func (r *reading) ofNeighbours() string {
	if r.inObject() && r.before != ':' && r.raw[r.last] == '"' {
		return "a colon is missing between the name and its value"
	}
	return "a comma is missing before this"
}

// ofStructure explains a quote, a bracket or a separator where it can't be.
func (r *reading) ofStructure(at int, c byte) (int, string) {
	before := r.tokenBefore(at)
	if len(r.open) == 0 {
		if before != 0 {
			return at, "there is something after the end of the object; send one object"
		}
		return at, "send a JSON object, which begins with {"
	}
	top := r.open[len(r.open)-1]
	switch {
	case (c == '}' || c == ']') && before == ',':
		return r.last, "there is a comma after the last item; remove it"
	case (c == '}' || c == ']') && (c == '}') != (r.raw[top] == '{'):
		return at, fmt.Sprintf("this bracket does not match the %c at %s", r.raw[top], placeOf(r.raw, top))
	case before == ':':
		return at, "a value is missing after the colon"
	case c == '}':
		return at, "a colon and a value are missing after the name"
	case c == ',':
		if r.inObject() && r.before != ':' && before == '"' {
			return at, "a colon and a value are missing after the name"
		}
		return at, "there is nothing before this comma; remove it"
	case c == ':':
		return at, "there is no name in double quotes before this colon"
	case r.wantsName(before):
		return at, "the name of a member in double quotes must be here"
	}
	return at, r.ofNeighbours()
}

// ofCharacter explains characters that JSON has nowhere but in a text.
func ofCharacter(c rune) (string, bool) {
	switch {
	case strings.ContainsRune("'`‘’“”„«»′″", c):
		return "names and texts must be in double quotes (\")", true
	case c == '/' || c == '#':
		return "JSON has no comments; remove it", true
	case c == '=' || c == ';':
		return fmt.Sprintf(
			"%c has no meaning here; a name and its value have a colon between them, and members a comma", c,
		), true
	case c == '<':
		return "this looks like HTML or XML; send a JSON object", true
	case c >= 0x80 && !unicode.IsLetter(c), c < ' ':
		return fmt.Sprintf("there is an invisible or special character here (U+%04X); remove it", c), true
	case strings.ContainsRune(`"{}[],:`, c):
		return "", false
	}
	return "this character has no meaning here", true
}
