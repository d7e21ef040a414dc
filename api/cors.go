package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"agentkey/domain"
)

const (
	exposedHeaders = "ETag, Idempotency-Replayed, Retry-After, X-Event-Position, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-RateLimit-Policy, X-Request-Id"
	allowedHeaders = "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, X-Organization, X-Wait-For-Position"
)

// allows reports whether a browser's page of an origin may call a path.
func (s *Server) allows(origin, path string) bool {
	if strings.HasPrefix(path, "/api/admin/") {
		return slices.Contains(s.AdminOrigins, origin)
	}
	return slices.Contains(s.AgentOrigins, origin)
}

func originNotAllowed() *domain.Error {
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "origin_not_allowed", Detail: "Pages of this origin may not call this.",
		Hint: "Call it from a server, or have the operator add the origin to AGENTKEY_AGENT_CORS_ORIGINS or AGENTKEY_ADMIN_CORS_ORIGINS.",
	}
}

// admitOrigin lets pages of allowed origins read the answer, whatever it will be. It reports false for a page of an
// origin that is not allowed.
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

// preflight answers a browser that asks before it calls (Fetch Standard, CORS protocol). It reports whether the
// call was one of those.
func (s *Server) preflight(c *gin.Context, allowed bool) bool {
	if c.Request.Method != http.MethodOptions || c.GetHeader("Origin") == "" || c.GetHeader("Access-Control-Request-Method") == "" {
		return false
	}
	if !allowed {
		s.refuse(c, originNotAllowed())
		return true
	}
	c.Header("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	c.Header("Access-Control-Allow-Headers", allowedHeaders)
	c.Header("Access-Control-Max-Age", "600")
	c.AbortWithStatus(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return true
}
