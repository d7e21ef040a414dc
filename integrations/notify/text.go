package notify

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// flat makes one line of a text that others wrote: whatever breaks lines, turns the direction of
// writing or can't be seen becomes a space, and so does every run of them. Joiners stay where they
// belong: within emoji and words of other scripts. At most a number of characters, as a reader sees
// them, are left.
func flat(text string, most int) string {
	before := ' '
	text = strings.Map(func(r rune) rune {
		joins := (r == zwj || r == zwnj) && before > unicode.MaxASCII
		if !joins && (unicode.In(r, unseen...) || unicode.IsSpace(r)) {
			r = ' '
		}
		before = r
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return cut(strings.Join(strings.Fields(text), " "), most, uniseg.GraphemeClusterCount)
}

const zwnj, zwj = '\u200c', '\u200d'

var unseen = []*unicode.RangeTable{
	unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs, unicode.Noncharacter_Code_Point,
}

// colons are those before a slash, as in a URL.
var colons = regexp.MustCompile(`([:：])([/\\]+)`)

// unlinked writes addresses as people do who warn of them, so that no program makes links of them.
func unlinked(text string) string {
	runes := []rune(colons.ReplaceAllString(text, "[$1]$2"))
	var out strings.Builder
	for i, r := range runes {
		if strings.ContainsRune(".。．｡", r) && i > 0 && inName(runes[i-1]) && beginsName(runes[i+1:]) {
			out.WriteString("[" + string(r) + "]")
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

func inName(r rune) bool {
	return r == '-' || r == '_' || r == zwj || r == zwnj || unicode.In(r, unicode.L, unicode.N, unicode.M)
}

// beginsName reports whether what follows a dot may be part of a host name, as no part of a number
// or of “e.g.” is.
func beginsName(after []rune) bool {
	n, letter := 0, false
	for n < len(after) && inName(after[n]) {
		letter = letter || unicode.IsLetter(after[n])
		n++
	}
	return n > 1 && letter
}

// plain is a text for readers that only make links.
func plain(text string) string { return unlinked(text) }

// slackText is a text that Slack shows as it is: no mention, link or channel begins without one of
// the three characters.
func slackText(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(unlinked(text))
}

// markdown are the characters that mean something to Discord, in a line that does not begin with
// them.
const markdown = "\\*_~`|<>[]()#-+:"

// discordText is a text that Discord shows as it is. A zero width space follows each @, because a
// backslash doesn't keep it from looking like a mention.
func discordText(text string) string {
	var out strings.Builder
	for _, r := range unlinked(text) {
		if strings.ContainsRune(markdown, r) {
			out.WriteByte('\\')
		}
		out.WriteRune(r)
		if r == '@' {
			out.WriteRune('\u200B')
		}
	}
	return out.String()
}
