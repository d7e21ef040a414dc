package api

import (
	"context"
	"strings"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
)

// rules are those that a body asks for; none if it doesn't. field is where they are in it.
func rules(field string, b *ApprovalRules) (domain.ApprovalRules, error) {
	if b == nil {
		return domain.ApprovalRules{}, nil
	}
	r := domain.ApprovalRules{
		SeparationOfDuties: value(b.SeparationOfDuties), RequiredApprovals: value(b.RequiredApprovals),
	}
	var days []string
	if h := b.AllowedHours; h != nil {
		r.AllowedHours = domain.AllowedHours{TimeZone: h.TimeZone, From: h.From, To: h.To}
		for _, day := range value(h.Days) {
			days = append(days, string(day))
		}
	}
	return commands.Rules(field, r, days)
}

// rulesView is absent where a tool has no rules.
func rulesView(r domain.ApprovalRules) *ApprovalRules {
	if r == (domain.ApprovalRules{}) {
		return nil
	}
	out := &ApprovalRules{
		SeparationOfDuties: optional(r.SeparationOfDuties), RequiredApprovals: optional(r.RequiredApprovals),
	}
	if h := r.AllowedHours; h != (domain.AllowedHours{}) {
		days := views(strings.Split(h.Days, ","), func(day string) Weekday { return Weekday(day) })
		out.AllowedHours = &AllowedHours{TimeZone: h.TimeZone, Days: &days, From: h.From, To: h.To}
	}
	return out
}

// approved adds to a request who has approved it, where that takes several
// people. Until the last approval those count whose givers may still approve.
func (n *naming) approved(ctx context.Context, r AccessRequest, d commands.GrantResult) AccessRequest {
	g := d.Grant()
	given, required := g.Approvals, g.RequiredApprovals
	if g.Status == agent.Pending {
		required = d.Tool.Approval.Approvals()
	}
	if required < 2 || n.err != nil || g.Status != agent.Pending && g.Status != agent.Approved {
		return r
	}
	if g.Status == agent.Pending {
		var err error
		if given, err = n.server.Grants.Given(ctx, n.organization, d); err != nil {
			n.fail(err)
			return r
		}
	}
	r.Approvals = &Approvals{Required: required, Given: views(given, func(a agent.Approval) GivenApproval {
		return GivenApproval{Actor: n.actor(ctx, a.By), At: a.At.UTC()}
	})}
	return r
}

// waiting adds to a pending request of a list who has approved it, as its stream says, if that
// takes several people.
func (n *naming) waiting(ctx context.Context, r AccessRequest) AccessRequest {
	if n.err != nil {
		return r
	}
	is, err := n.server.Grants.Waiting(ctx, n.organization, r.AgentID, r.ToolID)
	if err != nil {
		n.fail(err)
	}
	if is.Grant().RequestID != r.ID {
		return r
	}
	return n.approved(ctx, r, is)
}
