package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"html/template"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui/v5/static"
)

// The pages that the program itself has for people. What they load is in the program too.
var (
	//go:embed pages
	pageFiles embed.FS
	frontPage = template.Must(template.ParseFS(pageFiles, "pages/front.html"))
)

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
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", p.policy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	_, err := w.Write(p.html)
	return err
}

// VisitGetFrontPageResponse writes the page.
func (p webPage) VisitGetFrontPageResponse(w http.ResponseWriter) error { return p.send(w) }

// VisitGetReferenceResponse writes the page.
func (p webPage) VisitGetReferenceResponse(w http.ResponseWriter) error { return p.send(w) }

// dashboardAnswer is the first page of the dashboard, which has been written.
type dashboardAnswer struct{}

// VisitGetFrontPageResponse implements GetFrontPageResponseObject.
func (dashboardAnswer) VisitGetFrontPageResponse(http.ResponseWriter) error { return nil }

// GetFrontPage answers GET /.
func (s *Server) GetFrontPage(ctx context.Context, _ GetFrontPageRequestObject) (GetFrontPageResponseObject, error) {
	call := callOf(ctx)
	call.header.Add("Vary", "Accept")
	ready := s.Ready()
	front := Front{
		Name: FrontNameAgentKey, Status: FrontStatus(ready.Status), Reference: "/docs", Document: "/openapi.json",
	}
	if call.local || s.Door.IsAdmin(call.ctx, call.Call) {
		front.Version, front.Commit = ready.Version, ready.Commit
	}
	if s.SignIns.Configured() {
		front.SignIn = "/auth/login"
	}
	accept := requestOf(ctx).Header.Get("Accept")
	browser := strings.Contains(accept, "text/html")
	if c, is := ctx.(*gin.Context); is && (browser || !strings.Contains(accept, "json")) && s.serveDashboard(c) {
		return dashboardAnswer{}, nil
	}
	if !browser {
		return GetFrontPage200JSONResponse(front), nil
	}
	var html bytes.Buffer
	err := frontPage.Execute(&html, front)
	return webPage{html.Bytes(), frontPolicy}, err
}

// GetReference answers GET /docs.
func (s *Server) GetReference(context.Context, GetReferenceRequestObject) (GetReferenceResponseObject, error) {
	html, err := pageFiles.ReadFile("pages/docs.html")
	return webPage{html, referencePolicy}, err
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
	if held, is := w.(*compressor); is && f.packed != nil {
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
