package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

// namesAge is how old the names of people may be in a list that a client still has.
const namesAge = time.Minute

// revalidate names in the answer what a list shows now, and answers a client that has just that
// with 304. It reports whether it did. It is weak: the same list may be written in other bytes.
func (s *Server) revalidate(c *gin.Context, call *call) (answered bool, err error) {
	now := s.Clock()
	fresh, err := s.Models.Freshness(call.ctx, call.Caller.Organization, now)
	if err != nil {
		return false, asked(err, "")
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{
		s.Version, fresh, now.Truncate(namesAge).UTC().Format(time.RFC3339), call.Caller.Organization,
		string(call.Caller.Role), strings.Join(call.Caller.Tools, ","), call.op.ID, c.Request.URL.RawQuery,
	}, "\n")))
	tag := base64.RawURLEncoding.EncodeToString(sum[:16])
	call.header.Set("ETag", `W/"`+tag+`"`)
	if !hasTag(c.Request.Header.Values("If-None-Match"), tag) {
		return false, nil
	}
	c.AbortWithStatus(http.StatusNotModified)
	return true, nil
}

// hasTag reports whether a tag is in the lines of If-None-Match, whether it is weak there or not.
func hasTag(lines []string, tag string) bool {
	if strings.Trim(strings.Join(lines, ","), ", \t") == "" {
		return false
	}
	held := parseIfMatch(lines)
	return held.any || slices.Contains(held.tags, tag)
}
