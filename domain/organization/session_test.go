package organization_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/domain/organization"
)

func began(id string, number int, member string, at time.Time) organization.SessionBegan {
	return organization.SessionBegan{
		SessionID: id, Number: number, MemberID: member, Hash: "hash of " + id, ExpiresAt: at.Add(organization.SessionTime),
	}
}

func TestDecideOnSessions(t *testing.T) {
	owner := token(1, "a")
	given := []organization.Event{created(), owner, joined("ada", domain.RoleOwner), joined("bob", domain.RoleViewer)}
	offered := organization.SessionOffered{
		SessionID: "l", Number: 0, TokenID: owner.TokenID, Hash: "link", ExpiresAt: start.Add(organization.LinkTime),
	}
	follow := func(secret string, at time.Time) organization.BeginSession {
		return organization.BeginSession{
			SessionID: "s", Number: 1, Hash: "hash of s", At: at,
			Link: organization.Link{Number: 0, Matches: func(hash string) bool { return hash == secret }},
		}
	}
	fromLink := organization.SessionBegan{
		SessionID: "s", Number: 1, TokenID: owner.TokenID, Hash: "hash of s", ExpiresAt: start.Add(organization.SessionTime),
	}
	begin := func(member, tokenID string) organization.BeginSession {
		return organization.BeginSession{SessionID: "s", MemberID: member, TokenID: tokenID, Hash: "hash of s", At: start}
	}
	expiring := owner
	expiring.ExpiresAt = new(start.Add(time.Hour))
	of := func(more ...organization.Event) []organization.Event { return append(slices.Clone(given), more...) }
	tests := []struct {
		name  string
		given []organization.Event
		when  organization.Command
		then  []organization.Event
		code  string
	}{
		{"a member signs in", given, begin("ada", ""), []organization.Event{began("s", 0, "ada", start)}, ""},
		{"once by one command", of(began("s", 0, "ada", start)), begin("ada", ""), nil, ""},
		{"a stranger doesn't", given, begin("eve", ""), nil, "not_a_member"},
		{
			"nor who was removed", of(organization.MemberRemoved{MemberID: "bob"}), begin("bob", ""), nil, "not_a_member",
		},
		{
			"a session lasts no longer than its token",
			[]organization.Event{created(), expiring},
			begin("", owner.TokenID),
			[]organization.Event{organization.SessionBegan{
				SessionID: "s", TokenID: owner.TokenID, Hash: "hash of s", ExpiresAt: start.Add(time.Hour),
			}},
			"",
		},
		{
			"a token that was revoked has none",
			of(organization.TokenRevoked{Number: 1, TokenID: owner.TokenID}), begin("", owner.TokenID), nil,
			"credentials_unknown",
		},
		{
			"a link is followed", of(offered), follow("link", start),
			[]organization.Event{organization.SessionEnded{SessionID: "l"}, fromLink},
			"",
		},
		{
			"once", of(offered, organization.SessionEnded{SessionID: "l"}, organization.SessionBegan{
				SessionID: "other", Number: 1, TokenID: owner.TokenID, ExpiresAt: later,
			}), follow("link", start), nil, "credentials_unknown",
		},
		{"not by a guess", of(offered), follow("guess", start), nil, "credentials_unknown"},
		{
			"and not after five minutes", of(offered), follow("link", start.Add(organization.LinkTime)), nil,
			"credentials_unknown",
		},
		{
			"a viewer ends their own session", of(began("s", 0, "bob", start)),
			organization.EndSession{SessionID: "s", By: as("bob", domain.RoleViewer), At: start},
			[]organization.Event{organization.SessionEnded{SessionID: "s"}},
			"",
		},
		{
			"and sees no other", of(began("s", 0, "ada", start)),
			organization.EndSession{SessionID: "s", By: as("bob", domain.RoleViewer), At: start},
			nil, "not_found",
		},
		{
			"all sessions end", of(began("a", 0, "ada", start), began("b", 1, "bob", start)),
			organization.EndSessions{By: as("ada", domain.RoleOwner), At: start},
			[]organization.Event{organization.SessionsEnded{Role: domain.RoleOwner}},
			"",
		},
		{
			"or those of one", of(began("a", 0, "ada", start), began("b", 1, "bob", start)),
			organization.EndSessions{Owner: "bob", By: as("ada", domain.RoleOwner), At: start},
			[]organization.Event{organization.SessionsEnded{OwnerID: "bob", Role: domain.RoleOwner}},
			"",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := organization.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASessionWorksAsLongAsItsOwner(t *testing.T) {
	owner := token(1, "a")
	ofToken := organization.SessionBegan{
		SessionID: "t", Number: 1, TokenID: owner.TokenID, ExpiresAt: start.Add(organization.SessionTime),
	}
	events := []organization.Event{created(), owner, joined("ada", domain.RoleOwner), began("m", 0, "ada", start), ofToken}
	s := fold(events...)
	for _, id := range []string{"m", "t"} {
		if !s.Works(s.Sessions[id], start) {
			t.Errorf("the session %s doesn't work", id)
		}
		if s.Works(s.Sessions[id], start.Add(organization.SessionTime)) {
			t.Errorf("the session %s works after its time", id)
		}
	}
	was := s.Sessions["m"]
	s = fold(append(slices.Clone(events), organization.MemberRemoved{MemberID: "ada"})...)
	if _, left := s.Session(was.Number); left || s.Works(was, start) {
		t.Error("a session outlives the membership")
	}
	s = fold(append(slices.Clone(events), organization.TokenRevoked{Number: 1, TokenID: owner.TokenID})...)
	if s.Works(s.Sessions["t"], start) {
		t.Error("a session outlives its token")
	}
}

func TestTheOldestSessionEndsWhereThereAreTooMany(t *testing.T) {
	events := []organization.Event{created(), joined("ada", domain.RoleOwner)}
	for n := range organization.MaxSessions {
		events = append(events, began(fmt.Sprint("s", n), n, "ada", start))
	}
	got, err := organization.Decide(fold(events...), organization.BeginSession{
		SessionID: "new", MemberID: "ada", Hash: "hash of new", Number: organization.MaxSessions, At: start,
	})
	want := []organization.Event{
		organization.SessionEnded{SessionID: "s0"}, began("new", organization.MaxSessions, "ada", start),
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("it answers %v, and events (-want +got):\n%s", err, diff)
	}
}
