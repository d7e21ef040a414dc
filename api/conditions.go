package api

import (
	"strconv"
	"strings"

	"agentkey/domain"
)

// condition is what If-Match asks for: any state, or one with a tag of its list.
type condition struct {
	any  bool
	tags []string // without quotes
}

// parseIfMatch reads all lines of If-Match as one list. A weak tag counts, because compressing
// proxies make it of a strong one, and what it names is the same however it is sent. What isn't a
// tag matches nothing and spoils nothing.
func parseIfMatch(lines []string) condition {
	rest := strings.Trim(strings.Join(lines, ","), ", \t")
	if rest == "" || rest == "*" {
		return condition{any: true}
	}
	var c condition
	for rest != "" {
		tag, quoted := strings.CutPrefix(strings.TrimPrefix(rest, "W/"), `"`)
		if end := strings.IndexByte(tag, '"'); quoted && end >= 0 {
			after := strings.TrimLeft(tag[end+1:], " \t")
			if after == "" || after[0] == ',' {
				c.tags = append(c.tags, tag[:end])
			}
			rest = after
		}
		_, rest, _ = strings.Cut(rest, ",")
		rest = strings.TrimLeft(rest, ", \t")
	}
	return c
}

// revisions reads the tags as revisions, and nil for any. Other tags match none.
func (c condition) revisions() domain.Revisions {
	if c.any {
		return nil
	}
	is := domain.Revisions{}
	for _, tag := range c.tags {
		if n, err := strconv.Atoi(tag); err == nil && n > 0 && strconv.Itoa(n) == tag {
			is = append(is, n)
		}
	}
	return is
}

// seen reads the tags as digests of what a human was shown, and nil for any.
func (c condition) seen() domain.Seen {
	if c.any {
		return nil
	}
	return append(domain.Seen{}, c.tags...)
}

func tagOf(revision int) string { return `"` + strconv.Itoa(revision) + `"` }
