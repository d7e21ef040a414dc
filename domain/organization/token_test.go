package organization_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/organization"
)

const day = 24 * time.Hour

// made is a token of a role that works for a day.
func made(number int, role domain.Role) organization.TokenCreated {
	e := token(number, string(role))
	e.Role, e.ExpiresAt = role, new(start.Add(day))
	return e
}

// wanted is the command of made, given by a role.
func wanted(number int, role, by domain.Role) organization.CreateToken {
	c := create(number, string(role))
	c.Role, c.By, c.ExpiresAt = role, by, new(start.Add(day))
	return c
}

func TestDecideOnTokens(t *testing.T) {
	never := wanted(2, domain.RoleAuditor, domain.RoleAdmin)
	past := wanted(2, domain.RoleAuditor, domain.RoleOwner)
	unnamed := wanted(2, "janitor", domain.RoleOwner)
	never.ExpiresAt, past.ExpiresAt = nil, new(start)
	byOwner := never
	byOwner.By = domain.RoleOwner
	endless := made(2, domain.RoleAuditor)
	endless.ExpiresAt = nil
	revoke := func(e organization.TokenCreated, by domain.Role, after time.Duration) organization.Command {
		return organization.RevokeToken{TokenID: e.TokenID, By: by, At: start.Add(after)}
	}
	owner, second, admin := made(1, domain.RoleOwner), token(2, "b"), made(3, domain.RoleAdmin)
	second.Role = domain.RoleOwner
	ended := func(e organization.TokenCreated) organization.TokenRevoked {
		return organization.TokenRevoked{Number: e.Number, TokenID: e.TokenID}
	}
	full := []organization.Event{created()}
	for i := range organization.MaxTokens {
		full = append(full, token(i+10, string(rune('a'+i))))
	}
	for _, tt := range []struct {
		name  string
		given []organization.Event
		when  organization.Command
		then  []organization.Event
		code  string
	}{
		{"an admin makes an admin", nil, wanted(3, domain.RoleAdmin, domain.RoleAdmin), []organization.Event{admin}, ""},
		{"but no owner", nil, wanted(1, domain.RoleOwner, domain.RoleAdmin), nil, "role_insufficient"},
		{"an auditor makes none", nil, wanted(3, domain.RoleAdmin, domain.RoleAuditor), nil, "role_insufficient"},
		{"nor does a role that there is not", nil, wanted(3, domain.RoleAuditor, "janitor"), nil, "role_insufficient"},
		{"an owner makes one for good", nil, byOwner, []organization.Event{endless}, ""},
		{"an admin does not", nil, never, nil, "role_insufficient"},
		{"one that has expired", nil, past, nil, "validation_failed"},
		{"a role that does not exist", nil, unnamed, nil, "validation_failed"},
		{
			"one that was revoked is not revived",
			[]organization.Event{admin, ended(admin)},
			wanted(3, domain.RoleAdmin, ""), nil, "",
		},
		{
			"one that was replaced neither",
			[]organization.Event{token(0, "a"), token(0, "b")},
			create(0, "a"), nil, "",
		},
		{"one too many", full[1:], wanted(1, domain.RoleAuditor, domain.RoleOwner), nil, "validation_failed"},
		{
			"the operator may make one more", full[1:], wanted(1, domain.RoleOwner, ""), []organization.Event{owner}, "",
		},

		{
			"an admin revokes an admin",
			[]organization.Event{admin},
			revoke(admin, domain.RoleAdmin, 0),
			[]organization.Event{ended(admin)},
			"",
		},
		{"once", []organization.Event{admin, ended(admin)}, revoke(admin, domain.RoleAdmin, 0), nil, ""},
		{
			"an admin revokes no owner",
			[]organization.Event{owner, second},
			revoke(owner, domain.RoleAdmin, 0), nil, "role_insufficient",
		},
		{
			"an owner does",
			[]organization.Event{owner, second},
			revoke(owner, domain.RoleOwner, 0),
			[]organization.Event{ended(owner)},
			"",
		},
		{"the last owner stays", []organization.Event{owner, admin}, revoke(owner, domain.RoleOwner, 0), nil, "last_owner"},
		{
			"one that has expired is not counted",
			[]organization.Event{owner, second},
			revoke(second, domain.RoleOwner, day), nil, "last_owner",
		},
		{
			"but may be revoked",
			[]organization.Event{owner, second},
			revoke(owner, domain.RoleOwner, day),
			[]organization.Event{ended(owner)},
			"",
		},
		{
			"the operator may revoke the last owner",
			[]organization.Event{owner},
			revoke(owner, "", 0),
			[]organization.Event{ended(owner)},
			"",
		},
		{"what never was", nil, revoke(owner, "", 0), nil, "not_found"},
		{
			"all but one",
			[]organization.Event{owner, second, ended(second), admin, token(0, "z")},
			organization.RevokeOtherTokens{Keep: owner.TokenID},
			[]organization.Event{ended(token(0, "z")), ended(admin)},
			"",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events, err := organization.Decide(fold(append([]organization.Event{created()}, tt.given...)...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnEndedTokenStaysKnown(t *testing.T) {
	configured := token(0, "c")
	configured.Configured = true
	s := fold(
		created(), token(0, "a"), made(1, domain.RoleOwner), configured, organization.TokenRevoked{Number: 1},
		organization.TokenRevoked{Number: 7},
	)
	first := organization.Token{
		ID: "t0a", Sealed: "5ea1ed", Role: domain.RoleAdmin, Hash: "a", CreatedAt: start, CreatedBy: system,
		RevokedAt: start,
	}
	now := first
	now.ID, now.Hash, now.Configured, now.RevokedAt = "t0c", "c", true, time.Time{}
	owner := organization.Token{
		ID: "t1owner", Number: 1, Sealed: "5ea1ed", Role: domain.RoleOwner, Hash: "owner",
		CreatedAt: start, CreatedBy: system, ExpiresAt: start.Add(day), RevokedAt: start,
	}
	if diff := cmp.Diff([]organization.Token{first, now, owner}, s.AllTokens()); diff != "" {
		t.Errorf("the tokens (-want +got):\n%s", diff)
	}
	if s.NextToken != 2 {
		t.Errorf("the number of a revoked token is given out again: %d", s.NextToken)
	}
	if holds, found := s.Token(0); holds.ID != "t0c" || !found {
		t.Errorf("the configured token is %+v", holds)
	}
	if holds, found := s.Token(1); found {
		t.Errorf("a revoked token holds its number: %+v", holds)
	}
}

// tokenCommand draws what may happen to a token after its creation.
func tokenCommand(t *rapid.T, s organization.State) organization.Command {
	id := "unknown"
	if all := s.AllTokens(); len(all) > 0 {
		id = rapid.SampledFrom(all).Draw(t, "token").ID
	}
	if rapid.Bool().Draw(t, "others") {
		return organization.RevokeOtherTokens{Keep: id}
	}
	by := rapid.SampledFrom([]domain.Role{"", domain.RoleOwner, domain.RoleAdmin, domain.RoleAuditor}).Draw(t, "by")
	return organization.RevokeToken{TokenID: id, By: by, At: start}
}
