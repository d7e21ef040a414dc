package notify

import (
	"fmt"
	"strings"
	"time"
)

// Post is what one call or one e-mail brings: a notification, or a digest of several, oldest first.
type Post struct {
	ID           string // the same for every attempt at the same messages
	Organization string
	At           time.Time // of a digest
	Messages     []Message
}

func (p Post) isDigest() bool { return len(p.Messages) > 1 }

// shortest is the least room for a line of a digest; what doesn't fit is counted.
const shortest = 40

// longest is the most room for a line of a digest.
const longest = 300

// text returns the post within a reader's limit. Links are never cut.
func (p Post) text(d Dashboard, r reader) string {
	if p.isDigest() {
		return p.digest(d, r)
	}
	m := p.Messages[0]
	next := "\n" + m.next(linked(d.Link(m), r))
	return m.line(r, r.limit-units(next)) + next
}

func linked(url string, r reader) string {
	if url == "" {
		return ""
	}
	return r.link(url)
}

// digest returns a line for each message, with its link where all have room for one.
func (p Post) digest(d Dashboard, r reader) string {
	head := p.summary() + ", oldest first:"
	tail := ""
	if all := linked(d.Link(Message{}), r); all != "" {
		tail = "\nSee them all: " + all
	}
	room := r.limit - units(head) - units(tail)
	full := strings.Join(p.lines(r, longest, func(m Message) string { return linked(d.Link(m), r) }), "")
	if units(full) <= room {
		return head + full + tail
	}
	const bullet, rest = 3, 20 // what a line begins with, and “… and 100 more.”
	lines := p.lines(r, max(shortest, room/len(p.Messages)-bullet), func(Message) string { return "" })
	body, left := "", room
	for i, line := range lines {
		if left -= units(line); left < rest && i < len(lines)-1 || left < 0 {
			body += fmt.Sprintf("\n… and %d more.", len(lines)-i)
			break
		}
		body += line
	}
	return head + body + tail
}

func (p Post) lines(r reader, room int, link func(Message) string) []string {
	lines := make([]string, len(p.Messages))
	for i, m := range p.Messages {
		lines[i] = "\n• " + m.line(r, room)
		if to := link(m); to != "" {
			lines[i] += " " + to
		}
	}
	return lines
}

// summary says that this is a digest.
func (p Post) summary() string {
	return fmt.Sprintf("%d notifications had to wait and come together", len(p.Messages))
}
