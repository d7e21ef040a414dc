package api

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"agentkey/api/door/limits"
	"agentkey/domain"
)

func (s *Server) rule(tier string) limits.Rule {
	switch tier {
	case "requests":
		return s.Rules.Requests
	case "credentials":
		return s.Rules.Credentials
	case "admin":
		return s.Rules.Admin
	}
	return s.Rules.Reads
}

func tierKey(call *call, tier string) string {
	return tier + "/" + string(call.caller.Actor.Type) + "/" + call.caller.Actor.ID
}

// fallbackTier is what a call counts in that is refused before its own tier is.
func (s *Server) fallbackTier(call *call) string {
	if call.caller.Actor.Type == domain.ActorAgent {
		return "reads"
	}
	return "admin"
}

// count takes one of a tier. The headers of the answer are those of the call's own tier.
func (s *Server) count(c *gin.Context, call *call, tier string) error {
	rule := s.rule(tier)
	if rule.Off() {
		return nil
	}
	d, err := s.Limiter.Allow(call.ctx, tierKey(call, tier), rule)
	if err != nil {
		return err
	}
	if tier == call.op.Tier || !d.Allowed {
		setLimitHeaders(c, d)
	}
	if d.Allowed {
		return nil
	}
	return limited(d, "of "+tier)
}

// announce sets the headers of the call's tier without counting.
func (s *Server) announce(c *gin.Context, call *call) {
	rule := s.rule(call.op.Tier)
	if call.op.Tier == "" || rule.Off() {
		return
	}
	if d, err := s.Limiter.Peek(call.ctx, tierKey(call, call.op.Tier), rule); err == nil {
		setLimitHeaders(c, d)
	}
}

func setLimitHeaders(c *gin.Context, d limits.Decision) {
	c.Header("X-RateLimit-Limit", strconv.Itoa(d.Limit))
	c.Header("X-RateLimit-Remaining", strconv.Itoa(d.Remaining))
	c.Header("X-RateLimit-Reset", strconv.FormatInt(d.Reset.UnixMilli(), 10))
	c.Header("X-RateLimit-Policy", strconv.Itoa(d.Limit)+";w="+strconv.Itoa(int(d.Window.Seconds())))
}

func limited(d limits.Decision, what string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindLimited, Code: "rate_limited", Detail: "The limit " + what + " is used up.",
		Hint: "Wait as long as Retry-After says, then send the same request again.", RetryAfter: d.RetryAfter,
	}
}

// failureKey counts an address; a network of IPv6 is handed out as a whole, so it counts as one.
func failureKey(address string) string {
	if addr, err := netip.ParseAddr(address); err == nil && addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			address = prefix.String()
		}
	}
	return "preauth/" + address
}

// checkFailures refuses an address that failed to authenticate too often.
func (s *Server) checkFailures(call *call) error {
	if s.Rules.PreAuth.Off() {
		return nil
	}
	d, err := s.Limiter.Peek(call.ctx, failureKey(call.address), s.Rules.PreAuth)
	if err != nil || d.Remaining > 0 {
		return err
	}
	return limited(d, "of failed authentications of this address")
}

func (s *Server) countFailure(call *call) {
	if !s.Rules.PreAuth.Off() {
		_, _ = s.Limiter.Allow(call.ctx, failureKey(call.address), s.Rules.PreAuth) // the call is refused in any case
	}
}

// clientAddress is the peer, or, behind proxies of ours, the rightmost entry of X-Forwarded-For that is none of
// them. What a client writes to the left of that is never believed, and no other header is.
func (s *Server) clientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address := peer.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.isProxy(address); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap().WithZone("")
	}
	return address.String()
}

func (s *Server) isProxy(address netip.Addr) bool {
	for _, p := range s.Proxies {
		if p.Contains(address) {
			return true
		}
	}
	return false
}
