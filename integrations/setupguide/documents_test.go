package setupguide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"agentkey/domain"
	"agentkey/integrations/outbound"
)

var thisMachine = outbound.Network{Allow: outbound.Rules{{Network: netip.MustParsePrefix("127.0.0.1/32")}}}

// pages serves documentation by a function.
func pages(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

func serves(kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, text)
	}
}

const article = `<!doctype html><html><head><title>API keys</title><script>steal()</script><style>p{}</style></head><body>
<nav><a href="/">Home</a></nav><main><h1>API keys</h1>
<p>Open <a href="/settings">the settings</a>, choose <b>API keys</b> and press the button
that makes a new one; the key is shown once, so copy it at once.</p>
<p>Every key has scopes, which say what may be done with it, and an end,
after which nothing may be done with it at all.</p>
<pre><code>curl -H "Authorization: Bearer KEY" https://api.example.com/v1</code></pre>
<table><tr><th>Scope</th><th>Meaning</th></tr><tr><td>read</td><td>reads, and nothing else</td></tr></table>
<img src="https://evil.test/pixel.png"></main></body></html>`

func TestAPageBecomesMarkdown(t *testing.T) {
	latin1 := strings.ReplaceAll(
		strings.ReplaceAll(article, "once", "f\xfcr einmal"), "<title>", `<meta charset="iso-8859-1"><title>`,
	)
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		holds   []string
	}{
		"HTML": {
			serves("text/html; charset=utf-8", article),
			[]string{"# API keys", "the settings](http", "shown once", "Bearer KEY", "| read"},
		},
		"HTML by kind":  {serves("application/xhtml+xml", article), []string{"shown once"}},
		"HTML, little":  {serves("text/html", "<p>Ask support.</p>"), []string{"Ask support."}},
		"HTML in Latin": {serves("text/html", latin1), []string{"für einmal"}},
		"text": {serves("text/plain; charset=utf-8", "Make a key.\r\n<b>Copy</b> "+
			"it.\x00\x1b[31m\u202e"), []string{"Make a key.\n<b>Copy</b> it.[31m"}},
		"text in Latin": {serves("text/plain; charset=iso-8859-1", "Schl\xfcssel"), []string{"Schlüssel"}},
		"Markdown":      {serves("text/markdown", "# Keys\n\nMake one."), []string{"# Keys\n\nMake one."}},
		"broken UTF-8":  {serves("text/plain; charset=utf-8", "Make \xff a key."), []string{"Make \uFFFD a key."}},
		"unclosed": {serves("text/html", strings.Repeat("<div>", 400)+"<p>Deep within stands how a key is "+
			"made."), []string{"Deep within"}},
		"at most 20,000": {
			serves("text/plain; charset=utf-8", strings.Repeat("äö", 15_000)), []string{strings.Repeat("äö", 10_000)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := NewDocuments(thisMachine, 10*time.Second).Page(t.Context(), pages(t, c.handler)+"/docs/keys")
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range c.holds {
				if !strings.Contains(text, part) {
					t.Errorf("%q is not in\n%.2000s", part, text)
				}
			}
			if strings.Contains(text, "steal()") || strings.Contains(text, "\x00") ||
				utf8.RuneCountInString(text) > maxCharacters || !utf8.ValidString(text) {
				t.Errorf("it is\n%.2000s", text)
			}
		})
	}
}

func TestAPageThatCantBeReadIsToldWhy(t *testing.T) {
	inside, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	for name, c := range map[string]struct {
		why     string
		handler http.HandlerFunc
	}{
		"not found":  {"status 404", http.NotFound},
		"a login":    {"status 401", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }},
		"no content": {"status 204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		"a loop": {
			"more than 5",
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		},
		"a redirect inside": {"not public", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+inside.Addr().String(), http.StatusFound)
		}},
		"a redirect to file": {"neither https nor http", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}},
		"3 MiB": {"larger than 2 MiB", serves("text/plain", strings.Repeat("x", 3<<20))},
		"without an end": {"larger than 2 MiB", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
					return
				}
			}
		}},
		"a picture": {"neither text nor HTML", serves("image/png", "\x89PNG")},
		"JSON":      {"neither text nor HTML", serves("application/json", "{}")},
		"a PDF":     {"neither text nor HTML", serves("application/pdf", "%PDF")},
		"no type": {"neither text nor HTML", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "x")
		}},
		"only a script": {"no text", serves("text/html", "<html><body><div "+
			"id=root></div><script>render()</script></body></html>")},
		"nothing":          {"no text", serves("text/plain", " \n\u200b\x00")},
		"a flood of tags":  {"too many elements", serves("text/html", strings.Repeat("<p>x", 100_000))},
		"a slow drip":      {"in time", drips},
		"no answer at all": {"in time", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"a lost connection": {"connection failed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "half")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := pages(t, c.handler)
			within := 20 * time.Second
			if c.why == "in time" {
				within = 300 * time.Millisecond
			}
			text, err := NewDocuments(thisMachine, within).Page(t.Context(), base+"/docs?token=canary")
			refusal, is := errors.AsType[*domain.Error](err)
			if !is || refusal.Code != "docs_unavailable" || !strings.Contains(refusal.Detail, c.why) ||
				len(refusal.Fields) != 1 {
				t.Fatalf("%.100q: %v", text, err)
			}
			if all := fmt.Sprintf("%+v", refusal); strings.Contains(all, "127.0.0") || strings.Contains(all, "canary") {
				t.Errorf("it tells %s", all)
			}
		})
	}
	for address, why := range map[string]string{
		pages(t, serves("text/plain", "x")): "not public", "http://localhost:1/": "not public",
		"http://[fe80::1%25lo]/":          "not public",
		"http://user:canary@example.com/": "password", "http://%zz/": "not a URL",
	} {
		if _, err := NewDocuments(outbound.Network{}, 5*time.Second).Page(t.Context(), address); err == nil ||
			!strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// drips writes a little again and again, so that only the time of the whole call ends it.
func drips(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _ = io.WriteString(w, "x")
		w.(http.Flusher).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

func TestAPageIsLeftWhenItsReaderLeaves(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	base := pages(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		close(left)
	})
	if _, err := NewDocuments(thisMachine, 10*time.Second).Page(ctx, base); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	<-left
}

// TestAHostilePageCostsLittle converts what makes parsers slow, and compares the time with that of
// an ordinary page of the same size before and after it.
func TestAHostilePageCostsLittle(t *testing.T) {
	const size = maxPage / 8
	convert := func(page string) time.Duration {
		from := pages(t, serves("text/html", page[:min(len(page), size)]))
		start := time.Now()
		if _, err := NewDocuments(thisMachine, time.Hour).Page(t.Context(), from); errors.Is(
			err, context.DeadlineExceeded,
		) {
			t.Fatalf("%.40q: %v", page, err)
		}
		return time.Since(start)
	}
	ordinary := strings.Repeat("<p>Open the settings, and create a key with the scope read.</p>\n", size/60)
	before := convert(ordinary)
	for _, page := range []string{
		strings.Repeat("<b>", 40_000) + strings.Repeat("x", 1_000_000), strings.Repeat("<table><tr><td>", 15_000),
		strings.Repeat("<a href=x>", 40_000), strings.Repeat("&amp;", maxPage/5), strings.Repeat("<!--", maxPage/4),
		strings.Repeat("<ul><li>x", 20_000), strings.Repeat("<div ", maxPage/5),
		"<p " + strings.Repeat("a=b ", maxPage/5) + ">x", strings.Repeat("[", maxPage),
		strings.Repeat("*_`\n# ~![](1.<\\", maxPage/14), strings.Repeat("*", maxPage), strings.Repeat("<", maxPage),
		strings.Repeat("!", maxPage), strings.Repeat("a_", maxPage/2), strings.Repeat("-\n", maxPage/2),
		strings.Repeat("<svg><math>", 20_000), strings.Repeat("<p>a, b, c</p>", 15_000),
	} {
		cost := convert(page)
		after := convert(ordinary)
		if cost > 200*max(before, after) {
			t.Errorf("%.40q took %v, an ordinary page %v", page, cost, max(before, after))
		}
		before = after
	}
}
