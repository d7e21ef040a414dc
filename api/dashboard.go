package api

import (
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/gin-gonic/gin"
)

// dashboardPolicy lets a dashboard's pages load and call nothing but this origin, and be framed by
// nobody (Content Security Policy Level 3).
const dashboardPolicy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'"

// dashboardPage is what a path that isn't a file gets: the dashboard finds its own pages.
const dashboardPage = "index.html"

// serveDashboard answers a path that isn't a route with a file of the dashboard, and reports
// whether it did. The paths of the API stay problems, so that a mistyped call is told so.
func (s *Server) serveDashboard(c *gin.Context) bool {
	to := c.Request.URL.Path
	isAPI := strings.HasPrefix(to, "/api/") || strings.HasPrefix(to, "/auth/") || strings.HasPrefix(to, "/.well-known/")
	if s.Dashboard == nil || isAPI || c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead {
		return false
	}
	name := strings.TrimPrefix(path.Clean("/"+to), "/")
	file, info, err := s.openDashboard(name)
	if err != nil && path.Ext(name) == "" { // a page of the dashboard, or its first one
		name = dashboardPage
		file, info, err = s.openDashboard(name)
	}
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // it was only read
	c.Header("Content-Security-Policy", dashboardPolicy)
	c.Header("Referrer-Policy", "same-origin")
	c.Header("Cache-Control", "no-cache")
	if kind := mime.TypeByExtension(path.Ext(name)); kind != "" {
		c.Header("Content-Type", kind)
	}
	http.ServeContent(c.Writer, c.Request, name, info.ModTime(), file)
	return true
}

// openDashboard opens a regular file below the dashboard's folder. Hidden ones aren't shown.
func (s *Server) openDashboard(name string) (dashboardFile, fs.FileInfo, error) {
	if strings.HasPrefix(name, ".") || strings.Contains(name, "/.") || !fs.ValidPath(name) {
		return nil, nil, fs.ErrNotExist
	}
	file, err := s.Dashboard.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	seekable, is := file.(dashboardFile)
	if err == nil && !is {
		err = errors.New("the file can't be read at a place")
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return seekable, info, nil
}

type dashboardFile interface {
	fs.File
	Seek(offset int64, whence int) (int64, error)
}
