// Package words says which characters a name, a text and a URL may have, and what a time is, for
// everything that people read: what is there can be seen, and nothing moves, hides or recolors its
// neighbours. It changes neither case nor composition, and knows nothing of credentials, whose
// bytes are theirs alone.
package words

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Name checks a text of one line, such as a name. An empty one is right here: its length is another
// rule. The error is an *Unfit.
func Name(text string) error {
	if err := Line(text); err != nil {
		return err
	}
	return visible(text)
}

// Text checks a text that may have several lines and tabs. The error is an *Unfit.
func Text(text string) error {
	if err := characters(text, true); err != nil {
		return err
	}
	return visible(text)
}

// Line checks a text of one line that may be blank, such as what somebody searches for.
// The error is an *Unfit.
func Line(text string) error { return characters(text, false) }

var timeShape = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// Time reads a time that can be written again in UTC. RFC 3339 allows more: leap seconds, a
// lower-case t, and years that leave four digits in UTC. Package time allows other things, such as
// a comma before the fraction.
func Time(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	at = at.UTC()
	if err != nil || !timeShape.MatchString(text) || at.Year() < 1 || at.Year() > 9999 {
		return time.Time{}, errors.New("it must be a time such as 2030-01-31T12:00:00Z")
	}
	return at, nil
}

// Clean removes what Text would refuse, and leaves line breaks as \n. It is for what others wrote
// and nobody can send again in another form.
func Clean(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(text, "\uFFFD"))
	return strings.Map(func(r rune) rune {
		if unfit(r, true) != "" {
			return -1
		}
		return r
	}, text)
}

// CleanLine makes what Line takes of a text: line breaks and tabs become blanks.
func CleanLine(text string) string {
	return Clean(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, text))
}

// Hidden reports whether a character leaves no trace where it is displayed: a blank, or one that
// Unicode lets programs ignore, such as a joiner, a variation selector or a Hangul filler.
func Hidden(r rune) bool { return unicode.IsSpace(r) || unicode.In(r, unicode.Cc) || Ignorable(r) }

// Ignorable reports whether a character is displayed as nothing, or as an empty cell, wherever it
// stands (Default_Ignorable_Code_Point, and the blank pattern of Braille).
func Ignorable(r rune) bool {
	const braille = '\u2800'
	return r == braille || r >= 0xe0000 && r <= 0xe0fff ||
		unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Unfit is the first character for which a text is refused.
type Unfit struct {
	Character rune   // as a code point; that of the first one where nothing in the text can be seen
	At        int    // which character of the text it is, from 1
	Kind      string // what it is, in words
	Advice    string // what to do
}

func (u *Unfit) Error() string {
	return fmt.Sprintf("character %d is U+%04X, %s; %s", u.At, u.Character, u.Kind, u.Advice)
}

func characters(text string, lines bool) error {
	for i, at := 0, 1; i < len(text); at++ {
		r, size := utf8.DecodeRuneInString(text[i:])
		breaks := lines && strings.HasPrefix(text[i:], "\r\n")
		if r == utf8.RuneError && size == 1 {
			return &Unfit{r, at, "in place of a byte that is not UTF-8", "send the text in UTF-8"}
		}
		if kind := unfit(r, lines); kind != "" && !breaks {
			return &Unfit{r, at, kind, advice(r, lines)}
		}
		i += size
	}
	return nil
}

const zwnj, zwj = '\u200c', '\u200d' // which Persian, the scripts of India and emoji need

// unfit says what a character is that may not be in a text, "" if it may.
func unfit(r rune, lines bool) string {
	switch {
	case r == zwnj || r == zwj || lines && (r == '\n' || r == '\t'):
		return ""
	case r == '\n' || r == '\r':
		return "a line break"
	case r == '\t':
		return "a tab"
	case unicode.In(r, unicode.Cc):
		return "a control character"
	case unicode.In(r, unicode.Zl, unicode.Zp) && !lines:
		return "a line break"
	case unicode.In(r, unicode.Bidi_Control):
		return "an invisible character that changes the direction of writing"
	case unicode.In(r, unicode.Cf):
		return "an invisible format character"
	case unicode.In(r, unicode.Co):
		return "a private-use character, which has no meaning that everybody knows"
	case unicode.In(r, unicode.Cs):
		return "half a character"
	case unicode.In(r, unicode.Noncharacter_Code_Point):
		return "not a character"
	}
	return ""
}

func advice(r rune, lines bool) string {
	switch {
	case r == '\r' && lines:
		return `write \n for a line break`
	case unicode.IsSpace(r) && r != '\u0085':
		return "write it in one line"
	}
	return "remove it"
}

// visible refuses a text in which a reader sees nothing.
func visible(text string) error {
	for _, r := range text {
		if !Hidden(r) {
			return nil
		}
	}
	for _, r := range text {
		return &Unfit{r, 1, "and nothing in this text can be seen", "write something that readers see"}
	}
	return nil
}
