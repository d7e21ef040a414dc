package door

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"agentkey/api/door/limits"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/integrations/oidc"
)

// Rules are the limits of the tiers. PreAuth counts failed authentications, by address and by
// owner.
type Rules struct{ Reads, Requests, Credentials, Admin, AdminReads, PreAuth limits.Rule }

// adminReads is the tier of what admins only look at. It is one of its own so that a dashboard
// never uses up what suspending and revoking need.
const adminReads = "admin_reads"

// Of is the rule of a tier, as the document names it.
func (r Rules) Of(tier string) limits.Rule {
	switch tier {
	case "requests":
		return r.Requests
	case "credentials":
		return r.Credentials
	case "admin":
		return r.Admin
	case adminReads:
		return r.AdminReads
	}
	return r.Reads
}

func tierKey(c *Call, tier string) string {
	return tier + "/" + string(c.Caller.Actor.Type) + "/" + c.Caller.Actor.ID
}

// Count takes one of the call's tier.
func (d *Door) Count(ctx context.Context, c *Call) error { return d.count(ctx, c, c.Operation.Tier) }

// CountRefused counts a call that is refused before its own tier is counted. The answer names that
// tier as it stands.
func (d *Door) CountRefused(ctx context.Context, c *Call) error {
	tier := "admin"
	switch {
	case c.Caller.Actor.Type == domain.ActorAgent:
		tier = "reads"
	case c.Operation.Tier == adminReads:
		tier = adminReads
	}
	if err := d.count(ctx, c, tier); err != nil {
		return err
	}
	d.announce(ctx, c)
	return nil
}

func (d *Door) count(ctx context.Context, c *Call, tier string) error {
	rule := d.Rules.Of(tier)
	if rule.Off() {
		return nil
	}
	standing, err := d.Counter.Allow(ctx, tierKey(c, tier), rule)
	if err != nil {
		return err
	}
	if tier == c.Operation.Tier || !standing.Allowed {
		c.Standing = &standing
	}
	if standing.Allowed {
		return nil
	}
	return limited(standing, "of "+strings.ReplaceAll(tier, "_", " "))
}

// announce looks how the call's tier stands, without counting.
func (d *Door) announce(ctx context.Context, c *Call) {
	rule := d.Rules.Of(c.Operation.Tier)
	if c.Operation.Tier == "" || rule.Off() {
		return
	}
	if standing, err := d.Counter.Peek(ctx, tierKey(c, c.Operation.Tier), rule); err == nil {
		c.Standing = &standing
	}
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

// questions limits what one address has identity providers asked, which is a part of what all may
// ask: package oidc lets 300 a minute through.
var questions = limits.Rule{Limit: 60, Window: time.Minute}

// MayAsk refuses a call for which an identity provider would be asked about something that a
// stranger can make up, when its address has used up the failed authentications or its part of the
// questions. One question is taken.
func (d *Door) MayAsk(ctx context.Context, c *Call) error {
	if d.Rules.PreAuth.Off() {
		return nil
	}
	key := failureKey(c.Address)
	standing, err := d.Counter.Peek(ctx, key, d.Rules.PreAuth)
	if err == nil && !standing.Allowed {
		return limited(standing, "of failed authentications of this address")
	}
	if err == nil {
		standing, err = d.Counter.Allow(ctx, "questions/"+key, questions)
	}
	if err == nil && !standing.Allowed {
		return limited(standing, "of sign-ins and new tokens of this address")
	}
	return err
}

// failure is the refusal for which a call counts as a failed authentication of its address. One
// that the provider isn't asked about, because too many are, may be garbage and counts as such.
func failure(err error) (*domain.Error, bool) {
	refusal, is := errors.AsType[*domain.Error](err)
	return refusal, is && (refusal.Kind == domain.KindUnauthenticated || errors.Is(err, oidc.ErrTooMany))
}

// countFailure counts a failed authentication, and returns what the caller is told: why it failed,
// or that there were too many. A well-formed key of a known owner counts for that owner: an agent
// that still calls with its former key hides from nobody else at its address why their calls fail.
func (d *Door) countFailure(ctx context.Context, c *Call, key keys.Key, refusal *domain.Error) error {
	if d.Rules.PreAuth.Off() {
		return refusal
	}
	what, of := failureKey(c.Address), "of failed authentications of this address"
	if c.Caller.Organization != "" {
		what, of = "preauth/"+string(key.Kind)+key.ID.String(), "of failed authentications for the owner of this key"
	}
	standing, err := d.Counter.Allow(ctx, what, d.Rules.PreAuth)
	switch {
	case err != nil:
		return err
	case !standing.Allowed:
		return limited(standing, of)
	}
	return refusal
}
