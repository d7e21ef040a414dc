package api

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"agentkey/api/door"
)

const (
	exposedHeaders = "Content-Disposition, ETag, Idempotency-Replayed, Retry-After, X-Event-Position, " +
		"X-Agentkey-Demo, X-Export-Cursor, X-Export-Entries, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-RateLimit-Policy, X-Request-Id"
	allowedHeaders = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, " +
		"X-Organization, X-Wait-For-Position"
)

// admitOrigin lets pages of allowed origins read the answer, whatever it will be. It reports false
// for a page of an origin that is not allowed.
func (s *Server) admitOrigin(c *gin.Context) bool {
	c.Header("Vary", "Origin")
	origin := c.GetHeader("Origin")
	if origin == "" {
		return true
	}
	if !s.allows(origin, c.Request.URL.Path) {
		return false
	}
	c.Header("Access-Control-Allow-Origin", origin)
	c.Header("Access-Control-Expose-Headers", exposedHeaders)
	return true
}

// allows reports whether pages of an origin may call a path. What needs no key may be read by those
// of either half, and not by all: on loopback /readyz says more than strangers should know.
func (s *Server) allows(origin, path string) bool {
	if !strings.HasPrefix(path, "/api/") {
		return s.Door.AllowsOrigin(origin, true) || s.Door.AllowsOrigin(origin, false)
	}
	return s.Door.AllowsOrigin(origin, strings.HasPrefix(path, "/api/admin/"))
}

// preflight answers a browser that asks before it calls (Fetch Standard, CORS protocol). It reports
// whether the call was one of those.
func (s *Server) preflight(c *gin.Context, allowed bool) bool {
	if c.Request.Method != http.MethodOptions || c.GetHeader("Origin") == "" ||
		c.GetHeader("Access-Control-Request-Method") == "" {
		return false
	}
	if !allowed {
		s.refuse(c, door.OriginNotAllowed())
		return true
	}
	c.Header("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	c.Header("Access-Control-Allow-Headers", allowedHeaders)
	c.Header("Access-Control-Max-Age", "600")
	c.AbortWithStatus(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return true
}
