package body

import "bytes"

// marks counts the values of a YAML text before anything is built of it, because the library makes
// some hundred bytes of a value of one byte and asks nobody in between. It passes over quoted
// texts, block texts and comments as YAML does. Where only a parser could tell, it is blind: it
// takes all that follows for values. So it may count too many, and hardly too few.
type marks struct {
	raw   []byte
	at    int // the next byte
	left  int // values, and signs between them, that may still come
	depth int // of lists and mappings in brackets
	blind bool
	odd   bool // and a line may end with something else than a line feed

	line   int  // where the line begins
	key    int  // column of the last value
	parent int  // column of the key or dash on this line, that decides how far a text reaches; -1: none
	plain  bool // the last value has no quotes, so the next line may continue it
	own    bool // and had its line for itself
	named  bool // a value came last, which is a key if a colon follows
}

// tooCostly refuses a text that has more than so many values; signs count too, as half of one.
func tooCostly(raw []byte, most int) error {
	m := newMarks(raw, 2*most)
	if bytes.HasPrefix(raw, []byte("\ufeff")) {
		m.at, m.line = 3, 3
	}
	for deep := -1; m.at < len(raw); {
		if m.next(); m.depth > deepest && deep < 0 {
			deep = m.at - 1
		}
		switch {
		case m.left < 0 && deep >= 0:
			return malformed("YAML", fault{placeOf(raw, deep), tooDeep})
		case m.left < 0:
			return malformed("YAML", fault{placeOf(raw, m.at-1), tooMany})
		}
	}
	return nil
}

func newMarks(raw []byte, most int) *marks {
	m := &marks{raw: raw, left: most, parent: -1}
	for i, c := range raw {
		if c == '\r' && !bytes.HasPrefix(raw[i:], []byte("\r\n")) {
			m.odd = true
			break
		}
	}
	for _, end := range []string{"\u0085", "\u2028", "\u2029"} {
		m.odd = m.odd || bytes.Contains(raw, []byte(end))
	}
	m.blind = m.odd
	return m
}

// next passes over one value or sign.
func (m *marks) next() {
	c := m.raw[m.at]
	if m.blind {
		if bytes.IndexByte([]byte(",[{\n"), c) >= 0 || bytes.IndexByte([]byte(":-?"), c) >= 0 && m.ends(m.at+1) ||
			m.odd && bytes.IndexByte([]byte(":-?\r\x85\xa8\xa9"), c) >= 0 {
			m.left--
		}
		m.at++
		return
	}
	first := m.at == m.line+m.indent()
	switch {
	case c == '\n':
		m.at++
		m.line, m.named = m.at, false
		if !m.plain {
			m.parent = -1
		}
	case c == ' ' || c == '\r':
		m.at++
	case c == '#' && (first || m.raw[m.at-1] == ' '):
		m.plain = false
		m.to('\n')
	case first && m.plain && m.depth == 0 && m.continues(c):
		m.left--
		from := m.at
		if m.scan(); m.at == from {
			m.blind = true
		}
	case m.blind || bytes.IndexByte([]byte("&*!%?#\t@`"), c) >= 0, first && m.depth == 0 && (c == '|' || c == '>'),
		m.at == m.line && (m.word("---") || m.word("...")):
		m.blind = true
	case c == '"' || c == '\'':
		if m.blind = m.plain && m.depth > 0; !m.blind { // otherwise it may be within a text that began before
			m.quoted(c)
		}
	case (c == '|' || c == '>') && m.depth == 0:
		m.block()
	case c == '[' || c == '{':
		m.sign()
		m.depth++
	case c == ']' || c == '}':
		m.sign()
		m.depth = max(m.depth-1, 0)
	case c == ':' && m.depth == 0 && m.ends(m.at+1) && !m.named:
		m.blind = true // its key is empty, or a list: the column isn't known
	case c == ',' && m.depth > 0, c == ':' && m.depth > 0:
		m.sign()
	case c == ':' && m.ends(m.at+1):
		m.parent = m.key
		m.sign()
	case c == '-' && m.ends(m.at+1):
		m.parent = m.at - m.line
		m.sign()
	default:
		m.own = first
		m.begins()
		m.plain = true
		m.scan()
	}
}

// continues reports whether a line continues the text of the one before.
func (m *marks) continues(c byte) bool {
	n := m.indent()
	switch {
	case !m.own && n > m.parent:
		return true
	case m.own && n > 0: // it depends on lines before
		m.blind = bytes.IndexByte([]byte(`-"'[]{},|>:`), c) >= 0
		return false
	}
	m.plain, m.parent = false, -1
	return false
}

func (m *marks) sign() {
	m.left--
	m.plain, m.named = false, false
	m.at++
}

// begins counts a value.
func (m *marks) begins() {
	m.left--
	m.key, m.named = m.at-m.line, true
}

// to goes to the next such byte, or the end.
func (m *marks) to(c byte) {
	if n := bytes.IndexByte(m.raw[m.at:], c); n >= 0 {
		m.at += n
		return
	}
	m.at = len(m.raw)
}

// ends reports whether nothing follows a sign, which makes it one.
func (m *marks) ends(at int) bool {
	return at >= len(m.raw) || bytes.IndexByte([]byte(" \t\r\n"), m.raw[at]) >= 0
}

func (m *marks) word(w string) bool { return bytes.HasPrefix(m.raw[m.at:], []byte(w)) }

func (m *marks) indent() (n int) {
	for m.line+n < len(m.raw) && m.raw[m.line+n] == ' ' {
		n++
	}
	return n
}

func (m *marks) quoted(quote byte) {
	m.begins()
	m.plain = false
	for m.at++; m.at < len(m.raw); m.at++ {
		switch c := m.raw[m.at]; {
		case c == '\n':
			m.line = m.at + 1
		case c == '\\' && quote == '"':
			if m.at++; m.at < len(m.raw) && m.raw[m.at] == '\n' {
				m.line = m.at + 1
			}
		case c == quote && quote == '\'' && m.at+1 < len(m.raw) && m.raw[m.at+1] == quote:
			m.at++
		case c == quote:
			m.at++
			return
		}
	}
}

// scan passes over a text without quotes, as far as its line has it.
func (m *marks) scan() {
	for ; m.at < len(m.raw); m.at++ {
		switch c := m.raw[m.at]; {
		case c == '\t', c == '?' && m.depth > 0:
			m.blind = true
			return
		case c == '\n', c == ':' && m.ends(m.at+1), c == '#' && m.raw[m.at-1] == ' ':
			return
		case m.depth > 0 && bytes.IndexByte([]byte(",[]{}"), c) >= 0:
			return
		}
	}
}

// block passes over a text that its indentation ends.
func (m *marks) block() {
	m.left--
	m.plain = false
	if m.parent < 0 {
		m.blind = true
		return
	}
	for m.to('\n'); m.at < len(m.raw); m.to('\n') {
		m.at++
		m.line = m.at
		n := m.indent()
		at := m.line + n
		if at < len(m.raw) && m.raw[at] != '\n' && m.raw[at] != '\r' && n <= m.parent {
			m.parent = -1
			return
		}
		m.at = at
	}
}
