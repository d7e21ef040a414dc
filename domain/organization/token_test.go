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

var theOperator = organization.Giver{Operator: true}

// using is who acts with a token.
func using(e organization.TokenCreated) organization.Giver {
	return organization.Giver{TokenID: e.TokenID, Role: e.Role}
}

// wanted is the command of made.
func wanted(number int, role domain.Role, by organization.Giver) organization.CreateToken {
	c := create(number, string(role))
	c.Role, c.By, c.ExpiresAt = role, by, new(start.Add(day))
	return c
}

func ended(e organization.TokenCreated) organization.TokenRevoked {
	return organization.TokenRevoked{Number: e.Number, TokenID: e.TokenID}
}

// decision is one line of a table: given what happened, what follows from a command.
type decision struct {
	name  string
	given []organization.Event
	when  organization.Command
	then  []organization.Event
	code  string
}

func (d decision) check(t *testing.T, before ...organization.Event) {
	t.Run(d.name, func(t *testing.T) {
		given := append([]organization.Event{created()}, before...)
		events, err := organization.Decide(fold(append(given, d.given...)...), d.when)
		if got := codeOf(err); got != d.code {
			t.Fatalf("refused with %q, want %q (%v)", got, d.code, err)
		}
		if diff := cmp.Diff(d.then, events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestDecideOnNewTokens(t *testing.T) {
	giver := func(number int, role domain.Role) organization.TokenCreated {
		e := token(number, "giver "+string(role))
		e.Role = role
		return e
	}
	byOwner, byAdmin := giver(901, domain.RoleOwner), giver(902, domain.RoleAdmin)
	byAuditor, byJanitor := giver(903, domain.RoleAuditor), giver(904, "janitor")
	until := func(c organization.CreateToken, after time.Duration) organization.CreateToken {
		c.ExpiresAt = new(start.Add(after))
		if after == 0 {
			c.ExpiresAt = nil
		}
		return c
	}
	auditor := func(by organization.TokenCreated) organization.CreateToken {
		return wanted(2, domain.RoleAuditor, using(by))
	}
	alone := func(c organization.CreateToken) organization.CreateToken {
		c.Alone = true
		return c
	}
	is := func(c organization.CreateToken) []organization.Event {
		e := made(c.Number, c.Role)
		e.ExpiresAt = c.ExpiresAt
		return []organization.Event{e}
	}
	owner, admin := made(1, domain.RoleOwner), made(3, domain.RoleAdmin)
	over := admin
	over.ExpiresAt = new(start)
	found := token(0, "a") // as it was when the installation was begun
	configured := found
	configured.Configured = true
	configure := create(0, "a")
	configure.TokenID, configure.Sealed, configure.Configured, configure.Role = "another", "other", true, domain.RoleOwner
	replaced := configure
	replaced.Hash = "b"
	full := make([]organization.Event, 0, organization.MaxTokens)
	for i := range organization.MaxTokens {
		full = append(full, token(i+10, string(rune('a'+i))))
	}
	const longest = organization.LongestToken
	for _, d := range []decision{
		{"an admin makes an admin", nil, wanted(3, domain.RoleAdmin, using(byAdmin)), []organization.Event{admin}, ""},
		{"but no owner", nil, wanted(1, domain.RoleOwner, using(byAdmin)), nil, "role_insufficient"},
		{"an auditor makes none", nil, wanted(3, domain.RoleAdmin, using(byAuditor)), nil, "role_insufficient"},
		{"nor does a role that there is not", nil, auditor(byJanitor), nil, "role_insufficient"},
		{"nor does nobody", nil, wanted(3, domain.RoleAuditor, organization.Giver{}), nil, "credentials_unknown"},
		{
			"nor a role without a token", nil,
			wanted(3, domain.RoleAuditor, organization.Giver{Role: domain.RoleOwner}), nil, "credentials_unknown",
		},
		{"an owner makes one for good", nil, until(auditor(byOwner), 0), is(until(auditor(byOwner), 0)), ""},
		{"an admin does not", nil, until(auditor(byAdmin), 0), nil, "role_insufficient"},
		{"an admin makes one for a year", nil, until(auditor(byAdmin), longest), is(until(auditor(byAdmin), longest)), ""},
		{"but not for longer", nil, until(auditor(byAdmin), longest+time.Microsecond), nil, "role_insufficient"},
		{"an owner does", nil, until(auditor(byOwner), 10*longest), is(until(auditor(byOwner), 10*longest)), ""},
		{"one that has expired", nil, until(auditor(byOwner), -1), nil, "validation_failed"},
		{"a role that does not exist", nil, wanted(2, "janitor", using(byOwner)), nil, "validation_failed"},
		{
			"the giver's own token was revoked a moment ago",
			[]organization.Event{ended(byAdmin)},
			auditor(byAdmin), nil, "credentials_unknown",
		},
		{
			"or replaced",
			[]organization.Event{token(byAdmin.Number, "new")},
			auditor(byAdmin), nil, "credentials_unknown",
		},
		{
			"or has another role than the giver was admitted with",
			nil, wanted(2, domain.RoleAuditor, organization.Giver{TokenID: byAdmin.TokenID, Role: domain.RoleOwner}),
			nil, "credentials_unknown",
		},
		{"or has expired", []organization.Event{over}, auditor(over), nil, "credentials_expired"},
		{
			"one that was revoked is not revived",
			[]organization.Event{admin, ended(admin)},
			wanted(3, domain.RoleAdmin, theOperator), nil, "",
		},
		{
			"one that was replaced neither",
			[]organization.Event{token(0, "a"), token(0, "b")},
			create(0, "a"), nil, "",
		},
		{"one too many", full, auditor(byOwner), nil, "validation_failed"},
		{
			"the operator may make one more", full, wanted(1, domain.RoleOwner, theOperator), []organization.Event{owner}, "",
		},
		{
			"one that is alone ends the others that work",
			[]organization.Event{owner, token(0, "z"), ended(owner), over},
			alone(wanted(5, domain.RoleAuditor, theOperator)),
			append([]organization.Event{
				ended(token(0, "z")), ended(byOwner), ended(byAdmin), ended(byAuditor), ended(byJanitor),
			}, made(5, domain.RoleAuditor)),
			"",
		},
		{"once", []organization.Event{owner}, alone(wanted(1, domain.RoleOwner, theOperator)), nil, ""},
		{
			"the last one to take a number has it",
			[]organization.Event{ended(byOwner), ended(byAdmin), ended(byAuditor), ended(byJanitor), found},
			alone(replaced),
			[]organization.Event{ended(found), replacedBy(replaced)},
			"",
		},
		{"an admin ends no others", nil, alone(wanted(3, domain.RoleAdmin, using(byAdmin))), nil, "role_insufficient"},
		{
			"one that works is marked as configured, and stays what it was",
			[]organization.Event{found},
			configure,
			[]organization.Event{configured},
			"",
		},
		{"once", []organization.Event{found, configured}, configure, nil, ""},
		{"but not when it has ended", []organization.Event{found, ended(found)}, configure, nil, ""},
	} {
		d.check(t, byOwner, byAdmin, byAuditor, byJanitor)
	}
}

func replacedBy(c organization.CreateToken) organization.TokenCreated {
	return organization.TokenCreated{
		Number: c.Number, TokenID: c.TokenID, Sealed: c.Sealed, Role: c.Role, Hash: c.Hash, Configured: c.Configured,
	}
}

func TestDecideOnRevocations(t *testing.T) {
	revoke := func(e, by organization.TokenCreated, after time.Duration) organization.Command {
		return organization.RevokeToken{TokenID: e.TokenID, By: using(by), At: start.Add(after)}
	}
	owner, second, admin := made(1, domain.RoleOwner), token(2, "b"), made(3, domain.RoleAdmin)
	second.Role = domain.RoleOwner
	other := token(4, "other")
	for _, d := range []decision{
		{
			"an admin revokes an admin",
			[]organization.Event{admin, other},
			revoke(admin, other, 0),
			[]organization.Event{ended(admin)},
			"",
		},
		{"once", []organization.Event{admin, other, ended(admin)}, revoke(admin, other, 0), nil, ""},
		{
			"an admin revokes no owner",
			[]organization.Event{owner, second, admin},
			revoke(owner, admin, 0), nil, "role_insufficient",
		},
		{
			"an owner does",
			[]organization.Event{owner, second},
			revoke(owner, second, 0),
			[]organization.Event{ended(owner)},
			"",
		},
		{
			"but not when it was revoked a moment ago",
			[]organization.Event{owner, second, ended(second)},
			revoke(owner, second, 0), nil, "credentials_unknown",
		},
		{
			"nor when it has expired",
			[]organization.Event{owner, second, admin},
			revoke(admin, owner, day), nil, "credentials_expired",
		},
		{"the last owner stays", []organization.Event{owner, admin}, revoke(owner, owner, 0), nil, "last_owner"},
		{
			"one that has expired is not counted",
			[]organization.Event{owner, second},
			revoke(second, second, day), nil, "last_owner",
		},
		{
			"but may be revoked",
			[]organization.Event{owner, second},
			revoke(owner, second, day),
			[]organization.Event{ended(owner)},
			"",
		},
		{
			"the operator may revoke the last owner",
			[]organization.Event{owner},
			organization.RevokeToken{TokenID: owner.TokenID, By: theOperator, At: start},
			[]organization.Event{ended(owner)},
			"",
		},
		{"what never was", []organization.Event{other}, revoke(owner, other, 0), nil, "not_found"},
	} {
		d.check(t)
	}
}

// TestATokenThatIsMarkedStaysItsMakers: who made it, and when, doesn't depend on the configuration.
func TestATokenThatIsMarkedStaysItsMakers(t *testing.T) {
	first, again := token(0, "a"), token(0, "a")
	again.Configured = true
	at := func(e organization.Event, after time.Duration, by domain.Actor) domain.Fact[organization.Event] {
		return domain.Fact[organization.Event]{Event: e, At: start.Add(after), By: by}
	}
	maker := domain.Actor{Type: domain.ActorSystem, ID: "operator"}
	s := organization.Evolve(fold(created()), at(first, day, maker))
	s = organization.Evolve(s, at(again, 2*day, system))
	is := s.Tokens[first.TokenID]
	if !is.Configured || !is.Works(start) || !is.CreatedAt.Equal(start.Add(day)) || is.CreatedBy != maker ||
		len(s.Tokens) != 1 {
		t.Errorf("it is %+v", s.Tokens)
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
	givers := []organization.Giver{theOperator, {}}
	for _, other := range s.AllTokens() {
		givers = append(givers, organization.Giver{TokenID: other.ID, Role: other.Role})
	}
	by := rapid.SampledFrom(givers).Draw(t, "by")
	if rapid.Bool().Draw(t, "alone") {
		c := create(s.NextToken, rapid.StringN(3, 3, 3).Draw(t, "hash"))
		c.Alone, c.By = true, by
		return c
	}
	return organization.RevokeToken{TokenID: id, By: by, At: start}
}
