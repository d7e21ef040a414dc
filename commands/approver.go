package commands

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/commands/names"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/organization"
)

// Rules returns rules of approval in the form in which they are stored, where equal ones are the
// same. field is where they are in the input. Refusal: validation_failed, if there is no such time
// zone.
func Rules(field string, r domain.ApprovalRules, days []string) (domain.ApprovalRules, error) {
	if r.RequiredApprovals == 1 {
		r.RequiredApprovals = 0
	}
	if r.AllowedHours == (domain.AllowedHours{}) {
		return r, nil
	}
	zone := r.AllowedHours.TimeZone
	if _, err := time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
		return r, domain.Invalid(
			field+".allowed_hours.time_zone", "it must be a name of the IANA time zone database such as Europe/Berlin",
		)
	}
	for _, day := range domain.Weekdays {
		if len(days) == 0 || slices.Contains(days, day) {
			if r.AllowedHours.Days != "" {
				r.AllowedHours.Days += ","
			}
			r.AllowedHours.Days += day
		}
	}
	return r, nil
}

// withApprover tries a decision about a tool with who gives the command, as the rules of the tool
// count people, until it came with everybody who approved before.
//
// Who those are is read when the command has come in. So somebody whose removal, or whose loss of
// the role, was answered by then doesn't count, and of what happens at the same time either order
// is right.
func (g *Grants) withApprover(
	ctx context.Context, m loop.Meta, tool agent.Tool, try func(agent.Approver) error,
) error {
	by := agent.Approver{IDs: []string{m.Actor.ID}}
	if !tool.Rules.SeparationOfDuties && tool.Rules.Approvals() == 1 {
		return try(by)
	}
	head, err := g.Organizations.Fresh(ctx, m.Organization)
	if err != nil {
		return err
	}
	if by.IDs, err = g.idsOf(ctx, m.Organization, head.State, m.Actor.ID); err != nil {
		return err
	}
	return g.withOthers(ctx, m.Organization, head.State, tool.ID, func(others map[string][]string) error {
		by := by
		by.Others = others
		return try(by)
	})
}

// withOthers tries something about a tool until it came with the ids of everybody who approved
// before.
func (g *Grants) withOthers(
	ctx context.Context, organization string, s organization.State, toolID string,
	try func(others map[string][]string) error,
) error {
	var others map[string][]string
	for {
		err := try(others)
		needed, missing := errors.AsType[*agent.ApproversNeededError](err)
		if !missing {
			return err
		}
		if others, err = g.others(ctx, organization, s, toolID, needed.IDs, others); err != nil {
			return err
		}
	}
}

// others adds to the ids of those who approved before the ids of some more of them.
func (g *Grants) others(
	ctx context.Context, organization string, s organization.State, toolID string, ids []string,
	known map[string][]string,
) (_ map[string][]string, err error) {
	out := maps.Clone(known) // the former may still be looked at by a command whose caller has left
	if out == nil {
		out = map[string][]string{}
	}
	for _, id := range ids {
		out[id] = nil
		if !approves(s, id, toolID, g.Clock()) {
			continue
		}
		if out[id], err = g.idsOf(ctx, organization, s, id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// approves reports whether a member or a service token may decide about a tool.
func approves(s organization.State, id, toolID string, now time.Time) bool {
	if token, is := s.Tokens[id]; is {
		return token.Works(now) && token.Role.Covers(domain.RoleApprover)
	}
	m := s.Members[id]
	return m.Active() && m.Role.Covers(domain.RoleApprover) && (len(m.Tools) == 0 || slices.Contains(m.Tools, toolID))
}

// idsOf are the ids that the log knows the person behind a member or a service token by.
func (g *Grants) idsOf(
	ctx context.Context, organization string, s organization.State, actor string,
) ([]string, error) {
	person := personBehind(s, actor)
	ids := []string{actor, person}
	for id := range s.Tokens {
		if personBehind(s, id) == person {
			ids = append(ids, id)
		}
	}
	if _, member := s.Members[person]; !member || g.People == nil {
		return ids, nil
	}
	known, err := g.People.Known(ctx, organization, person)
	for _, text := range []string{known.Email, known.Name} { // an owner is named by either
		if text != "" {
			ids = append(ids, personID(g.People.Directory.MACKey, organization, text))
		}
	}
	return ids, err
}

// Given returns the approvals that a pending request has so far and that count, where its tool
// needs several.
func (g *Grants) Given(ctx context.Context, organization string, d GrantResult) (given []agent.Approval, err error) {
	tool := toolFacts(d.ToolID, d.Tool)
	if tool.Rules.Approvals() == 1 || len(d.State.Approvals(tool)) == 0 {
		return nil, nil
	}
	head, err := g.Organizations.Cached(ctx, organization) // as new as the caller, who was found in it
	if err != nil {
		return nil, err
	}
	now := loop.Later(g.Clock(), time.Time{})
	err = g.withOthers(ctx, organization, head.State, tool.ID, func(others map[string][]string) (err error) {
		given, err = d.State.Counting(tool, agent.Approver{Local: now, Others: others})
		return err
	})
	return given, err
}

// within refuses a decision about a tool by an approver of others.
func (g *Grants) within(ctx context.Context, m loop.Meta, toolID string) error {
	if len(m.Tools) == 0 || slices.Contains(m.Tools, toolID) {
		return nil
	}
	head, err := g.Catalogs.Cached(ctx, m.Organization)
	if err != nil {
		return err
	}
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "role_insufficient",
		Detail: "You decide about some tools only, and " +
			domain.Verbatim(cmp.Or(head.State.Tools[toolID].Name, toolID)) + " isn't one of them.",
		Hint: "Ask another approver, or ask an admin to add the tool to yours with {updateMember}.",
		Next: []domain.Next{{Op: "updateMember"}},
	}
}

// personBehind is the member who made a service token, or who made the token that made it, and so
// on; somebody else is themselves. A token that no member is behind is nobody else's.
func personBehind(s organization.State, id string) string {
	for at := id; ; {
		token, is := s.Tokens[at]
		switch {
		case !is && s.Members[at].ID != "":
			return at
		case !is || token.CreatedBy.ID == at:
			return id
		}
		at = token.CreatedBy.ID
	}
}

// local is a moment in the time zone of a tool's hours. A zone that this program doesn't know any
// more is a fault: it was checked when it was set.
func local(rules domain.ApprovalRules, at time.Time) (time.Time, error) {
	zone, err := time.LoadLocation(rules.AllowedHours.TimeZone)
	if err != nil {
		return at, err
	}
	return at.In(zone), nil
}

// personID is the id under which events may name a person.
func personID(macKey domain.Secret, organization, text string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, hmacOf(macKey, "person", organization, names.Fold(text))).String()
}
