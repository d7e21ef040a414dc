package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"encoding/json"
	"html"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui/v5/static"
)

// The pages that the program itself has for people. What they load is in the program too.
//
//go:embed pages
var pageFiles embed.FS

// filled is a page with HTML in the place of each {name}. It isn't html/template because that calls
// methods by name, and a program with it keeps all methods of all its types.
func filled(page string, parts map[string]string) ([]byte, error) {
	text, err := pageFiles.ReadFile("pages/" + page)
	var pairs []string
	for name, part := range parts {
		pairs = append(pairs, "{"+name+"}", part)
	}
	return []byte(strings.NewReplacer(pairs...).Replace(string(text))), err
}

// signInItem is how a list on a page says where to sign in, nothing where nobody can.
func (s *Server) signInItem() string {
	if !s.SignIns.Configured() {
		return ""
	}
	return `<li><a href="/auth/login">Sign in</a></li>` + "\n"
}

// statusTexts are what the front page says of each status.
var statusTexts = map[ReadinessStatus]string{
	ReadinessStatusReady:    `<strong class="ready">Ready.</strong> It authenticates, vends and refuses.`,
	ReadinessStatusDegraded: `<strong class="degraded">Degraded.</strong> It vends, but a part is down or behind.`,
	ReadinessStatusNotReady: `<strong class="not_ready">Not ready.</strong> ` +
		`It is starting or stopping, or it can't reach the event log.`,
}

const (
	// frontPolicy lets a page of ours load a style sheet and nothing else (Content Security Policy
	// Level 3).
	frontPolicy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	// referencePolicy lets the reference page run its script, which styles elements one by one, and
	// call nothing but this origin.
	referencePolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
		"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// webPage is a whole page for a browser.
type webPage struct {
	html   []byte
	policy string
}

func (p webPage) send(w http.ResponseWriter) error {
	p.announce(w.Header())
	_, err := w.Write(p.html)
	return err
}

func (p webPage) announce(h http.Header) {
	h.Set("Content-Type", htmlType)
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Referrer-Policy", "no-referrer")
}

const htmlType = "text/html; charset=utf-8"

// VisitGetFrontPageResponse writes the page.
func (p webPage) VisitGetFrontPageResponse(w http.ResponseWriter) error { return p.send(w) }

// VisitGetReferenceResponse writes the page.
func (p webPage) VisitGetReferenceResponse(w http.ResponseWriter) error { return p.send(w) }

// dashboardAnswer is the first page of the dashboard, which has been written.
type dashboardAnswer struct{}

// VisitGetFrontPageResponse implements GetFrontPageResponseObject.
func (dashboardAnswer) VisitGetFrontPageResponse(http.ResponseWriter) error { return nil }

// wantsPage reports whether a request is a browser's that shows the answer to a person.
func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

// signsIn are the operations that a browser shows to a person who signs in.
var signsIn = []string{"login", "finishLogin", "followLink"}

// problemFor returns the page that shows a problem document to a person, nil where the call is none
// of a person who signs in.
func (s *Server) problemFor(c *gin.Context, call *call, document []byte) []byte {
	if call.op == nil || !slices.Contains(signsIn, call.op.ID) {
		return nil
	}
	c.Writer.Header().Add("Vary", "Accept")
	var shown struct{ Detail, Hint, Code, Instance string }
	if !wantsPage(c.Request) || json.Unmarshal(document, &shown) != nil {
		return nil
	}
	page, err := filled("problem.html", map[string]string{
		"detail": html.EscapeString(shown.Detail), "hint": html.EscapeString(shown.Hint),
		"code": html.EscapeString(shown.Code), "instance": html.EscapeString(shown.Instance), "sign_in": s.signInItem(),
	})
	if err != nil {
		return nil
	}
	return page
}

// GetFrontPage answers GET /.
func (s *Server) GetFrontPage(ctx context.Context, _ GetFrontPageRequestObject) (GetFrontPageResponseObject, error) {
	call := callOf(ctx)
	call.header.Add("Vary", "Accept")
	ready := s.Ready()
	front := Front{
		Name: FrontNameAgentKey, Status: ready.Status, Reference: "/docs", Document: "/openapi.json",
		Demo: s.Demo,
	}
	if call.local || s.Door.IsAdmin(call.ctx, call.Call) {
		front.Version, front.Commit = ready.Version, ready.Commit
	}
	if s.SignIns.Configured() {
		front.SignIn = "/auth/login"
	}
	accept := requestOf(ctx).Header.Get("Accept")
	browser := wantsPage(requestOf(ctx))
	if c, is := ctx.(*gin.Context); is && (browser || !strings.Contains(accept, "json")) && s.serveDashboard(c) {
		return dashboardAnswer{}, nil
	}
	if !browser {
		return GetFrontPage200JSONResponse(front), nil
	}
	parts := map[string]string{
		"status": statusTexts[front.Status], "sign_in": s.signInItem(), "demo": "", "version": "", "link": "",
	}
	if front.Demo {
		parts["demo"] = `<p><strong class="degraded">This is a demo.</strong> ` +
			"Its people, agents and credentials are made up.</p>\n"
	}
	if front.Version != "" {
		parts["version"] = "<p>Version <code>" + html.EscapeString(front.Version) + "</code>, commit <code>" +
			html.EscapeString(front.Commit) + "</code></p>\n"
	}
	if front.SignIn == "" {
		parts["link"] = ". For a browser's session, have the operator print a link: <code>agentkey admin login</code>"
	}
	page, err := filled("front.html", parts)
	return webPage{page, frontPolicy}, err
}

// GetReference answers GET /docs.
func (s *Server) GetReference(context.Context, GetReferenceRequestObject) (GetReferenceResponseObject, error) {
	page, err := filled("docs.html", nil)
	return webPage{page, referencePolicy}, err
}

// pageFile is a file that a page of ours loads: its text, or what gzip made of it.
type pageFile struct {
	kind          string
	plain, packed []byte
}

// GetReferenceFile answers GET /docs/{path}.
func (s *Server) GetReferenceFile(
	_ context.Context, r GetReferenceFileRequestObject,
) (GetReferenceFileResponseObject, error) {
	name := strings.TrimPrefix(r.Path, "/")
	file := pageFile{kind: mime.TypeByExtension(path.Ext(name))}
	var err error
	switch name {
	case "page.css", "reference.js":
		file.plain, err = pageFiles.ReadFile("pages/" + name)
	case "swagger-ui.css", "swagger-ui-bundle.js":
		file.packed, err = static.FS.ReadFile(name + ".gz")
	default:
		return nil, errNoSuchPath
	}
	return file, err
}

// VisitGetReferenceFileResponse writes the file. It changes only with the program.
func (f pageFile) VisitGetReferenceFileResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	if held, is := w.(*withheld); is && f.packed != nil {
		held.packed = f.packed
		return nil
	}
	if f.packed == nil {
		_, err := w.Write(f.plain)
		return err
	}
	plain, err := gzip.NewReader(bytes.NewReader(f.packed))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, plain) //nolint:gosec // the program's own file
	return err
}
