package main

import (
	"strings"
	"testing"
)

// TestTheDocumentExplainsTheHeaders looks in the document's description for every header that a
// client sends or reads.
func TestTheDocumentExplainsTheHeaders(t *testing.T) {
	t.Parallel()
	about := start(t).anyone().must(200, "GET", "/openapi.json", nil).Text("info.description")
	for _, chapter := range []string{
		"## Read your own writes", "## Repeat a call safely", "## Change what you have seen", "## Texts", "## Limits",
		"## Problems",
	} {
		if !strings.Contains(about, chapter+"\n") {
			t.Errorf("there is no chapter %q", chapter)
		}
	}
	for _, header := range []string{
		"ETag", "If-Match", "Idempotency-Key", "Idempotency-Replayed", "Retry-After", "X-Event-Position",
		"X-RateLimit-Limit", "X-RateLimit-Policy", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Request-Id",
		"X-Wait-For-Position",
	} {
		if !strings.Contains(about, "`"+header) {
			t.Errorf("nothing explains %s", header)
		}
	}
}
