package setupguide

import (
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"agentkey/commands/names"
	"agentkey/commands/words"
)

// visible is a text without what a reader does not see: controls, marks that turn the direction of
// writing, invisible tags. Lines end in \n alone.
func visible(text string) string {
	return words.Clean(strings.NewReplacer("\u2028", "\n", "\u2029", "\n").Replace(text))
}

// links makes Markdown inert: nothing in it is loaded, is HTML, or leads elsewhere than to the
// product's sites.
type links struct {
	hosts, sites []string
	removed      int
}

func newLinks(p Product) *links {
	l := &links{}
	for _, address := range []string{p.DocsURL, p.URL} {
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			l.hosts = append(l.hosts, strings.ToLower(u.Hostname()))
			if site := names.Site(address); site != "" {
				l.sites = append(l.sites, site)
			}
		}
	}
	return l
}

// instead stands where a link was that has no text of its own.
const instead = "‹link removed›"

var (
	entity   = regexp.MustCompile(`&#?[0-9A-Za-z]+;`)
	escaped  = regexp.MustCompile(`\\([/:.@])`)
	autolink = regexp.MustCompile(`<(https?://[^\s<>]+)>`)
	opening  = regexp.MustCompile(`<([A-Za-z/!?])`)
	image    = regexp.MustCompile(`!\[([^\[\]]*)\]\([^()]*\)`)
	inline   = regexp.MustCompile(`\[([^\[\]]*)\]\(([^()]*)\)`)
	target   = regexp.MustCompile(`\]\([^()\[\]\s]*\)?`)
	bare     = regexp.MustCompile(`(?i)(?:(?:https?|ftp):)?//|www\.`)
	address  = regexp.MustCompile(`(?i)^https?://([a-z0-9.-]+)(?::\d+)?`)
	whole    = regexp.MustCompile(`(?i)^https?://[a-z0-9.-]+(?::\d+)?(?:[/?#][a-z0-9._~/?#%=&+,;:@!$*'-]*)?$`)
)

// line makes one line inert. It does not ask whether the line is code: readers of Markdown differ
// in that, and a command that sends a credential elsewhere is worse than a link. So all is done by
// the characters that lie side by side.
func (l *links) line(text string) string {
	for before := "\n"; text != before; { // what an entity stands for may be part of another
		before = text
		text = strings.ReplaceAll(visible(text), "\n", " ")
		text = entity.ReplaceAllStringFunc(escaped.ReplaceAllString(text, "$1"), html.UnescapeString)
	}
	text = autolink.ReplaceAllString(text, "$1")
	text = image.ReplaceAllStringFunc(text, func(found string) string {
		l.removed++
		return image.FindStringSubmatch(found)[1]
	})
	text = inline.ReplaceAllStringFunc(text, func(found string) string {
		parts := inline.FindStringSubmatch(found)
		if to := strings.Fields(parts[2]); len(to) > 0 && l.leadsHome(to[0]) {
			return "[" + parts[1] + "](" + to[0] + ")"
		}
		l.removed++
		return parts[1]
	})
	text = target.ReplaceAllStringFunc(text, func(found string) string {
		if l.leadsHome(strings.TrimSuffix(found[2:], ")")) && strings.HasSuffix(found, ")") {
			return found
		}
		return "] " + found[1:]
	})
	text = l.addresses(text)
	// What the steps above put side by side is parted last.
	return opening.ReplaceAllString(strings.NewReplacer("]:", "] :", "![", "! [").Replace(text), "‹$1")
}

// addresses takes out those in the text itself, which many readers of Markdown turn into links.
func (l *links) addresses(text string) string {
	var out strings.Builder
	for {
		at := bare.FindStringIndex(text)
		if at == nil {
			out.WriteString(text)
			return out.String()
		}
		out.WriteString(text[:at[0]])
		text = text[at[0]:]
		marker := at[1] - at[0]
		run := text
		if end := strings.IndexFunc(text, unicode.IsSpace); end >= 0 {
			run = text[:end]
		}
		if strings.HasPrefix(run, "//") && !namesHost(run[2:]) { // a comment in code
			out.WriteString(text[:marker])
			text = text[marker:]
			continue
		}
		if head := address.FindStringSubmatch(run); head != nil && l.allows(head[1]) && endsHost(run[len(head[0]):]) {
			out.WriteString(head[0])
			text = text[len(head[0]):]
			continue
		}
		l.removed++
		out.WriteString(instead)
		cut := len(run)
		if end := strings.IndexAny(run[marker:], "`\"'<>)]}|"); end >= 0 {
			cut = marker + end
		}
		text = text[cut:]
	}
}

func namesHost(rest string) bool {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return strings.Contains(rest[:end], ".")
}

// endsHost reports whether a host name is over where rest begins, for every reader.
func endsHost(rest string) bool {
	return rest == "" || strings.ContainsRune("/?#", rune(rest[0])) || strings.Trim(rest, ".,;:!?'\"`*_~)]}>|") == ""
}

func (l *links) leadsHome(to string) bool {
	head := address.FindStringSubmatch(to)
	return head != nil && whole.MatchString(to) && l.allows(head[1])
}

func (l *links) allows(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return slices.Contains(l.hosts, host) || slices.Contains(l.sites, names.Site("https://"+host))
}
