package commands

import (
	"cmp"
	"context"
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

// approver is who gives a command, as the rules of a tool count people.
func (g *Grants) approver(ctx context.Context, m loop.Meta, rules domain.ApprovalRules) (agent.Approver, error) {
	by := agent.Approver{IDs: []string{m.Actor.ID}}
	if !rules.SeparationOfDuties && rules.Approvals() == 1 {
		return by, nil
	}
	head, err := g.Organizations.Fresh(ctx, m.Organization)
	if err != nil {
		return by, err
	}
	person := personBehind(head.State, m.Actor.ID)
	by.IDs = append(by.IDs, person)
	for id := range head.State.Tokens {
		if personBehind(head.State, id) == person {
			by.IDs = append(by.IDs, id)
		}
	}
	if _, member := head.State.Members[person]; !member || g.People == nil {
		return by, nil
	}
	known, err := g.People.Known(ctx, m.Organization, person)
	for _, text := range []string{known.Email, known.Name} { // an owner is named by either
		if text != "" {
			by.IDs = append(by.IDs, personID(g.People.Directory.MACKey, m.Organization, text))
		}
	}
	return by, err
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
