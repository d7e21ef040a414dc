package setupguide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"codeberg.org/readeck/go-readability/v2"
	"github.com/JohannesKaufmann/html-to-markdown/v2/converter"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/base"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/commonmark"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/table"
	"golang.org/x/net/html"
	"golang.org/x/net/html/charset"

	"agentkey/domain"
	"agentkey/integrations/outbound"
)

// What is read of a page at most.
const (
	maxPage       = 2 << 20 // bytes
	maxCharacters = 20_000  // of its text
	maxElements   = 50_000
	maxRedirects  = 5
)

// Documents reads pages of documentation, through the guarded client.
type Documents struct{ client *outbound.Client }

// NewDocuments returns what reads pages. Those that the network allows may be on the operator's
// own; within is the time for a page, its redirects included.
func NewDocuments(network outbound.Network, within time.Duration) Documents {
	return Documents{client: outbound.New(outbound.Options{Network: network, Timeout: within, Redirects: maxRedirects})}
}

// unread is the refusal when a page can't be read.
func unread(why string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindInvalid, Code: "docs_unavailable", Detail: "The documentation can't be read: " + why + ".",
		Next: []domain.Next{{Op: "streamSetupGuide"}},
		Hint: "Send {streamSetupGuide} with another docs_url: a public page of text or HTML, that needs no login " +
			"and no script.",
		Fields: []domain.Field{{Field: "docs_url", Message: why}},
	}
}

// Page returns the text of a page as Markdown, of at most maxCharacters. Treat it as hostile.
func (d Documents) Page(ctx context.Context, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", unread("it is not a URL")
	}
	request.Header.Set("Accept", "text/markdown, text/plain;q=0.9, text/html;q=0.8")
	answer, err := d.client.Do(request)
	if err != nil {
		return "", notFetched(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return "", unread(fmt.Sprintf("it is answered with status %d", answer.StatusCode))
	}
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	isHTML := kind == "text/html" || kind == "application/xhtml+xml"
	if err != nil || !isHTML && !slices.Contains([]string{"text/plain", "text/markdown", "text/x-markdown"}, kind) {
		return "", unread("it is neither text nor HTML")
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxPage+1))
	if err != nil {
		return "", notFetched(ctx, err)
	}
	if len(raw) > maxPage {
		return "", unread("it is larger than 2 MiB")
	}
	text, err := decoded(raw, answer.Header.Get("Content-Type"))
	if err == nil && isHTML {
		text, err = markdown(ctx, text, answer.Request.URL)
	}
	if err != nil {
		return "", notFetched(ctx, err)
	}
	if text = strings.TrimSpace(visible(text)); text == "" {
		return "", unread("there is no text on it; perhaps a script writes it")
	}
	return trimmed(text, maxCharacters), nil
}

// notFetched is why there is no page: the caller left, or something that the caller may know.
func notFetched(ctx context.Context, err error) error {
	var refusal *domain.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refusal):
		return refusal
	}
	return unread(err.Error())
}

// decoded is a text in UTF-8, whatever encoding it says it has.
func decoded(raw []byte, contentType string) (string, error) {
	if utf8.Valid(raw) {
		return string(raw), nil
	}
	r, err := charset.NewReader(strings.NewReader(string(raw)), contentType)
	if err != nil {
		return "", unread("its encoding is unknown")
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return "", unread("it is not in the encoding that it names")
	}
	return strings.ToValidUTF8(string(text), "\uFFFD"), nil
}

// markdown is the main content of a page, or all of it where none stands out. The parsers are
// others' and the page is a stranger's, so what they make of it may be a panic.
func markdown(ctx context.Context, page string, at *url.URL) (text string, err error) {
	defer func() {
		if recover() != nil {
			text, err = "", unread("its HTML is malformed")
		}
	}()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return "", unread("its HTML is malformed")
	}
	elements := 0
	for range doc.Descendants() {
		elements++
	}
	if elements > maxElements {
		return "", unread("its HTML has too many elements")
	}
	content, title := doc, ""
	parser := readability.NewParser()
	if article, err := parser.ParseDocument(doc, at); err == nil && article.Node != nil {
		content, title = article.Node, article.Title()
	}
	shorten(content)
	conv := converter.NewConverter(
		converter.WithPlugins(base.NewBasePlugin(), commonmark.NewCommonmarkPlugin(), table.NewTablePlugin()),
		// A model reads the text, so nothing is escaped. What decides on escapes takes seconds for 64 KiB
		// of "[".
		converter.WithEscapeMode(converter.EscapeModeDisabled),
	)
	out, err := conv.ConvertNode(content, converter.WithContext(ctx), converter.WithDomain(at.Scheme+"://"+at.Host))
	if err != nil {
		return "", unread("its HTML is malformed")
	}
	if text = string(out); title != "" {
		text = "# " + title + "\n\n" + text
	}
	return text, nil
}

// shorten leaves of a page's text what can come to be among the characters that are kept.
// Converters take long for long texts of signs that mean something in Markdown.
func shorten(content *html.Node) {
	left := 3 * maxCharacters
	for n := range content.Descendants() {
		if n.Type == html.TextNode {
			n.Data = trimmed(n.Data, left)
			left -= utf8.RuneCountInString(n.Data)
		}
	}
}

// trimmed is the first so many characters of a text.
func trimmed(text string, most int) string {
	for i := range text {
		if most == 0 {
			return text[:i]
		}
		most--
	}
	return text
}
