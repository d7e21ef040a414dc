// Package door decides whether a call may come in: who calls, whether they may, how often, and from
// which origin. It sees a plain Call, so that every face of the program, HTTP or another, stands
// behind the same door. It does not know what a call does, and renders nothing.
package door

import (
	"context"
	"net/netip"
	"slices"

	"agentkey/api/door/limits"
	"agentkey/commands"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/eventstore/spans"
)

// Operation is what the contract says about the callers of an operation.
type Operation struct {
	Caller     string // agent, admin or anyone
	Tier       string // that its calls count in
	Permission string // that an admin needs
	Own        string // the id that is called about; a caller whose own it is needs to read only
	Vends      bool   // it decides about its caller on the log, so a cached state of the caller may let it in
}

// Call is one call as the door sees it. Standing is nil until the call's own tier is known, and
// where that is off.
type Call struct {
	Operation     Operation
	Authorization []string // as the caller sent it, each value once
	Cookie        string   // of a session; it counts where there is no Authorization
	SameOrigin    bool     // nothing but a page of this origin, or no page, can have sent the cookie
	Organization  string   // that the caller chose among theirs; "": none
	Address       string   // of the client, see Door.Address
	RequestID     string
	UserAgent     string

	Caller   commands.Caller  // who it is, once Admit knows
	EndedKey bool             // the key or token was the caller's and has ended, so Admit refused it
	Standing *limits.Decision // of the limit that the answer names
}

// Counter counts calls in one place. Its only errors are those of a caller that left.
type Counter interface {
	// Allow takes one under a rule that is not off.
	Allow(ctx context.Context, key string, r limits.Rule) (limits.Decision, error)
	// Peek says how it stands and takes nothing.
	Peek(ctx context.Context, key string, r limits.Rule) (limits.Decision, error)
}

// Door lets calls in. Its fields are filled in where the program is put together.
type Door struct {
	Callers *commands.Callers
	Counter Counter
	Rules   Rules

	Proxies      []netip.Prefix // whose word about a client's address is believed
	AgentOrigins []string
	AdminOrigins []string
}

// Admit finds the caller and decides whether they may make this call. The caller of a refused call
// is filled in as soon as it is known, because what is refused is recorded and counted too. The key
// is looked at before any limit, so a valid one never waits for the failures of others.
func (d *Door) Admit(ctx context.Context, c *Call) error {
	shown, err := d.read(c)
	if err == nil {
		step, span := spans.Step(ctx, "authenticate", c.Operation.Caller)
		c.Caller, err = d.find(step, c, shown)
		spans.End(span, "")
	}
	if refusal, failed := failure(err); failed {
		c.EndedKey = c.Caller.Actor.ID != ""
		return d.countFailure(ctx, c, shown.key, refusal)
	}
	if err != nil && c.Caller.Actor.ID == "" {
		return d.Failed(ctx, c, err)
	}
	if err == nil {
		err = authorize(c)
	}
	if err != nil {
		if lerr := d.CountRefused(ctx, c); lerr != nil {
			return lerr
		}
		return err
	}
	d.announce(ctx, c)
	return nil
}

// IsAdmin reports whether a call that anyone may make comes with the token of an admin. A wrong one
// counts as a failed authentication.
func (d *Door) IsAdmin(ctx context.Context, c Call) bool {
	if len(c.Authorization) == 0 {
		return false
	}
	c.Operation = Operation{Caller: "admin", Permission: "read"}
	return d.Admit(ctx, &c) == nil
}

// permissions says what each role may do.
var permissions = map[domain.Role][]string{
	domain.RoleOwner:    {"read", "audit", "approve", "manage", "own"},
	domain.RoleAdmin:    {"read", "audit", "approve", "manage"},
	domain.RoleApprover: {"read", "audit", "approve"},
	domain.RoleAuditor:  {"read", "audit"},
	domain.RoleViewer:   {"read"},
}

// Permissions lists what a role may do, as the document names it.
func Permissions(r domain.Role) []string { return permissions[r] }

func authorize(c *Call) error {
	isAgent := c.Caller.Actor.Type == domain.ActorAgent
	if isAgent != (c.Operation.Caller == "agent") {
		hint := "Agents call /api/me and /api/tools."
		if !isAgent {
			hint = "Admins call /api/admin/…; an agent's calls need the agent's own key."
		}
		return &domain.Error{
			Kind: domain.KindForbidden, Code: "wrong_caller", Detail: "This key is not for this call.", Hint: hint,
		}
	}
	if isAgent {
		return nil
	}
	permission := c.Operation.Permission
	if c.Operation.Own != "" && c.Operation.Own == c.Caller.Actor.ID {
		permission = "read"
	}
	return Permitted(c.Caller.Role, permission)
}

// Permitted refuses what a role may not do.
func Permitted(r domain.Role, permission string) error {
	if slices.Contains(permissions[r], permission) {
		return nil
	}
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "role_insufficient",
		Detail: "The role " + string(r) + " may not do this.",
		Hint:   "See your role with GET /api/admin/me, and ask an owner.",
	}
}

// Failed counts a failed authentication, or somebody who isn't known here, and returns what its
// caller is told.
func (d *Door) Failed(ctx context.Context, c *Call, err error) error {
	refusal, failed := failure(err)
	if failed || refusal != nil && refusal.Kind == domain.KindForbidden {
		return d.countFailure(ctx, c, keys.Key{}, refusal)
	}
	return err
}
