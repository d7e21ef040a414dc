package organization_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/organization"
)

var (
	operator = organization.Giver{Operator: true}
	later    = start.Add(time.Hour)
)

func joined(id string, role domain.Role) organization.Event {
	return organization.MemberJoined{MemberID: id, Role: role, InvitationID: "i-" + id}
}

func invited(id string, role domain.Role) organization.MemberInvited {
	return organization.MemberInvited{
		InvitationID: "i-" + id, Sealed: "5ea1ed", EmailHash: "hash of " + id, Role: role, ExpiresAt: later,
	}
}

func as(id string, role domain.Role) organization.Giver {
	return organization.Giver{MemberID: id, Role: role}
}

func TestDecideOnMembers(t *testing.T) {
	ada, bob := joined("ada", domain.RoleOwner), joined("bob", domain.RoleApprover)
	two := []organization.Event{created(), ada, bob}
	invite := func(by organization.Giver, role domain.Role) organization.Invite {
		e := invited("eve", role)
		return organization.Invite{
			InvitationID: e.InvitationID, Sealed: e.Sealed, EmailHash: e.EmailHash, Role: role, ExpiresAt: e.ExpiresAt,
			By: by, At: start,
		}
	}
	accept := func(at time.Time, hash string) organization.Join {
		return organization.Join{MemberID: "eve", EmailHash: hash, InvitationID: "i-eve", At: at}
	}
	provision := organization.Join{MemberID: "eve", Role: domain.RoleViewer, RoleAsOf: start, At: start}
	provisioned := organization.MemberJoined{
		MemberID: "eve", Role: domain.RoleViewer, Provisioned: true, RoleAsOf: &start,
	}
	admin := []organization.Event{created(), ada, joined("carl", domain.RoleAdmin)}
	limited := append(
		slices.Clip(two), organization.MemberUpdated{MemberID: "bob", Role: domain.RoleApprover, Tools: []string{"github"}},
	)
	tests := []struct {
		name  string
		given []organization.Event
		when  organization.Command
		then  []organization.Event
		code  string
	}{
		{
			"an owner invites an owner", two, invite(as("ada", domain.RoleOwner), domain.RoleOwner),
			[]organization.Event{invited("eve", domain.RoleOwner)},
			"",
		},
		{
			"an admin invites no owner", admin, invite(as("carl", domain.RoleAdmin), domain.RoleOwner), nil,
			"role_insufficient",
		},
		{
			"an admin invites an admin", admin, invite(as("carl", domain.RoleAdmin), domain.RoleAdmin),
			[]organization.Event{invited("eve", domain.RoleAdmin)},
			"",
		},
		{
			"somebody who was removed a moment ago invites nobody",
			append(slices.Clone(admin), organization.MemberRemoved{MemberID: "carl"}),
			invite(as("carl", domain.RoleAdmin), domain.RoleViewer), nil, "not_a_member",
		},
		{
			"nor somebody who has another role by now",
			append(slices.Clone(admin), organization.MemberUpdated{MemberID: "carl", Role: domain.RoleViewer}),
			invite(as("carl", domain.RoleAdmin), domain.RoleViewer), nil, "role_insufficient",
		},
		{"a role that does not exist", two, invite(operator, "janitor"), nil, "validation_failed"},
		{
			"who was invited joins with that role",
			append(slices.Clone(two), invited("eve", domain.RoleAdmin)),
			accept(start, "hash of eve"),
			[]organization.Event{joined("eve", domain.RoleAdmin)},
			"",
		},
		{
			"nobody joins by the invitation of another address",
			append(slices.Clone(two), invited("eve", domain.RoleAdmin)), accept(start, "hash of mallory"), nil, "not_a_member",
		},
		{
			"or after its time",
			append(slices.Clone(two), invited("eve", domain.RoleAdmin)), accept(later, "hash of eve"), nil, "not_a_member",
		},
		{
			"or by one that was revoked",
			append(slices.Clone(two), invited("eve", domain.RoleAdmin), organization.InvitationRevoked{InvitationID: "i-eve"}),
			accept(start, "hash of eve"), nil, "not_a_member",
		},
		{
			"a second invitation of an address ends the first",
			append(slices.Clone(two), invited("eve", domain.RoleAdmin), organization.MemberInvited{
				InvitationID: "other", EmailHash: "hash of eve", Role: domain.RoleViewer, ExpiresAt: later,
			}),
			accept(start, "hash of eve"), nil, "not_a_member",
		},
		{
			"to accept twice does nothing",
			append(slices.Clone(two), invited("eve", domain.RoleAdmin), joined("eve", domain.RoleAdmin)),
			accept(start, "hash of eve"), nil, "",
		},
		{"an issuer makes a member", two, provision, []organization.Event{provisioned}, ""},
		{
			"but not again one who was removed",
			append(slices.Clone(two), provisioned, organization.MemberRemoved{MemberID: "eve"}), provision, nil, "not_a_member",
		},
		{
			"not by an invitation that they made before",
			[]organization.Event{
				created(), ada, joined("eve", domain.RoleAdmin), invited("eve", domain.RoleAdmin),
				organization.MemberRemoved{MemberID: "eve"},
			},
			accept(start, "hash of eve"), nil, "not_a_member",
		},
		{
			"what a member offered that they can't offer any more ends with their role",
			[]organization.Event{created(), ada, joined(system.ID, domain.RoleAdmin), invited("eve", domain.RoleAdmin)},
			organization.UpdateMember{
				MemberID: system.ID, Role: domain.RoleApprover, By: as("ada", domain.RoleOwner), At: start,
			},
			[]organization.Event{
				organization.MemberUpdated{MemberID: system.ID, Role: domain.RoleApprover},
				organization.InvitationRevoked{InvitationID: "i-eve"},
			},
			"",
		},
		{
			"an admin does not replace the invitation of an owner",
			append(slices.Clone(admin), organization.MemberInvited{
				InvitationID: "other", EmailHash: "hash of eve", Role: domain.RoleOwner, ExpiresAt: later,
			}),
			invite(as("carl", domain.RoleAdmin), domain.RoleViewer), nil, "role_insufficient",
		},
		{
			"who comes back by an invitation",
			append(
				slices.Clone(two), provisioned, organization.MemberRemoved{MemberID: "eve"}, invited("eve", domain.RoleAdmin),
			),
			accept(start, "hash of eve"),
			[]organization.Event{joined("eve", domain.RoleAdmin)},
			"",
		},
		{
			"an issuer changes the role that it gave",
			append(slices.Clone(two), provisioned),
			organization.FollowRole{MemberID: "eve", Role: domain.RoleAdmin, AsOf: later},
			[]organization.Event{organization.MemberUpdated{
				MemberID: "eve", Role: domain.RoleAdmin, Provisioned: true, RoleAsOf: &later,
			}},
			"",
		},
		{
			"an older token does not change it back",
			append(slices.Clone(two), provisioned, organization.MemberUpdated{
				MemberID: "eve", Role: domain.RoleAdmin, Provisioned: true, RoleAsOf: &later,
			}),
			organization.FollowRole{MemberID: "eve", Role: domain.RoleViewer, AsOf: start},
			nil, "",
		},
		{
			"nor any token a role that was set by hand",
			append(slices.Clone(two), provisioned, organization.MemberUpdated{MemberID: "eve", Role: domain.RoleAdmin}),
			organization.FollowRole{MemberID: "eve", Role: domain.RoleViewer, AsOf: later},
			nil, "",
		},
		{
			"an approver is limited to tools", two,
			organization.UpdateMember{
				MemberID: "bob", Role: domain.RoleApprover, Tools: &[]string{"github"}, By: as("ada", domain.RoleOwner), At: start,
			},
			[]organization.Event{
				organization.MemberUpdated{MemberID: "bob", Role: domain.RoleApprover, Tools: []string{"github"}},
			},
			"",
		},
		{
			"the limit stays where nothing is said of it", limited,
			organization.UpdateMember{MemberID: "bob", Role: domain.RoleApprover, By: as("ada", domain.RoleOwner), At: start},
			nil, "",
		},
		{
			"another role clears it", limited,
			organization.UpdateMember{MemberID: "bob", Role: domain.RoleViewer, By: as("ada", domain.RoleOwner), At: start},
			[]organization.Event{organization.MemberUpdated{MemberID: "bob", Role: domain.RoleViewer}},
			"",
		},
		{
			"who manages isn't limited to tools", two,
			organization.UpdateMember{
				MemberID: "bob", Role: domain.RoleAdmin, Tools: &[]string{"github"}, By: as("ada", domain.RoleOwner), At: start,
			},
			nil, "validation_failed",
		},
		{
			"an owner changes a role", two,
			organization.UpdateMember{MemberID: "bob", Role: domain.RoleAdmin, By: as("ada", domain.RoleOwner), At: start},
			[]organization.Event{organization.MemberUpdated{MemberID: "bob", Role: domain.RoleAdmin}},
			"",
		},
		{
			"an admin does not change an owner", admin,
			organization.UpdateMember{MemberID: "ada", Role: domain.RoleViewer, By: as("carl", domain.RoleAdmin), At: start},
			nil, "role_insufficient",
		},
		{
			"the last owner stays an owner", two,
			organization.UpdateMember{MemberID: "ada", Role: domain.RoleAdmin, By: as("ada", domain.RoleOwner), At: start},
			nil, "last_owner",
		},
		{
			"and stays", two,
			organization.RemoveMember{MemberID: "ada", By: as("ada", domain.RoleOwner), At: start},
			nil, "last_owner",
		},
		{
			"also by the hand of the operator", two,
			organization.RemoveMember{MemberID: "ada", By: operator, At: start},
			nil, "last_owner",
		},
		{
			"one of two owners leaves", append(slices.Clone(two), joined("eve", domain.RoleOwner)),
			organization.RemoveMember{MemberID: "ada", By: as("ada", domain.RoleOwner), At: start},
			[]organization.Event{organization.MemberRemoved{MemberID: "ada"}},
			"",
		},
		{
			"anyone leaves", two,
			organization.RemoveMember{MemberID: "bob", By: as("bob", domain.RoleApprover), At: start},
			[]organization.Event{organization.MemberRemoved{MemberID: "bob"}},
			"",
		},
		{
			"nobody removes who may do more", admin,
			organization.RemoveMember{MemberID: "ada", By: as("carl", domain.RoleAdmin), At: start},
			nil, "last_owner",
		},
		{
			"to remove again does nothing", append(slices.Clone(two), organization.MemberRemoved{MemberID: "bob"}),
			organization.RemoveMember{MemberID: "bob", By: as("ada", domain.RoleOwner), At: start},
			nil, "",
		},
		{
			"a stranger isn't a member", two,
			organization.RemoveMember{MemberID: "eve", By: as("ada", domain.RoleOwner), At: start},
			nil, "not_found",
		},
		{
			"an admin renames the organization", admin,
			organization.Update{Name: new("Acme"), By: as("carl", domain.RoleAdmin), At: start},
			[]organization.Event{organization.Updated{Name: new("Acme")}},
			"",
		},
		{
			"only an owner says what issuers call it", admin,
			organization.Update{External: &organization.External{ID: "org_2abc"}, By: as("carl", domain.RoleAdmin), At: start},
			nil, "role_insufficient",
		},
		{
			"the same again does nothing", append(slices.Clone(admin), organization.Updated{Name: new("Acme")}),
			organization.Update{Name: new("Acme"), By: as("carl", domain.RoleAdmin), At: start},
			nil, "",
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

// TestLawsOfMembers draws commands of members and sessions: a repeat does nothing, an organization
// that had an owner has one, and nobody who is removed has a session that works.
func TestLawsOfMembers(t *testing.T) {
	names := []string{"ada", "bob", "carl"}
	rapid.Check(t, func(t *rapid.T) {
		s, at := fold(created(), joined("ada", domain.RoleOwner)), start
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			at = at.Add(time.Duration(rapid.IntRange(0, 5*60).Draw(t, "minutes")) * time.Minute)
			c := memberCommand(t, s, names, at)
			events, err := organization.Decide(s, c)
			if err != nil && len(events) > 0 {
				t.Fatalf("%T was refused and made events", c)
			}
			if err != nil {
				continue
			}
			before := s
			for _, e := range events {
				s = organization.Evolve(s, domain.Fact[organization.Event]{Event: e, At: at, By: system})
			}
			if again, err := organization.Decide(s, c); err == nil && len(again) > 0 {
				t.Fatalf("%#v again makes %v", c, again)
			}
			if len(events) > 0 && cmp.Equal(before, s) {
				t.Fatalf("%v changes nothing", events)
			}
			if !slices.ContainsFunc(s.AllMembers(), func(m organization.Member) bool { return m.Role == domain.RoleOwner }) {
				t.Fatalf("no owner is left after %v", events)
			}
			for _, n := range s.Sessions {
				if s.Works(n, at) && !s.Members[n.MemberID].Active() {
					t.Fatalf("a session of %s works, who isn't a member", n.MemberID)
				}
			}
		}
	})
}

func memberCommand(t *rapid.T, s organization.State, names []string, at time.Time) organization.Command {
	id := rapid.SampledFrom(names).Draw(t, "who")
	role := rapid.SampledFrom(domain.Roles).Draw(t, "role")
	by := operator
	if m := s.Members[rapid.SampledFrom(names).Draw(t, "by")]; m.Active() {
		by = as(m.ID, m.Role)
	}
	switch rapid.IntRange(0, 7).Draw(t, "command") {
	case 0:
		return organization.Invite{
			InvitationID: "i-" + id + at.String(), EmailHash: "hash of " + id, Role: role, ExpiresAt: at.Add(24 * time.Hour),
			By: by, At: at,
		}
	case 1:
		i, _ := s.InvitationFor("hash of "+id, at)
		return organization.Join{
			MemberID: id, EmailHash: "hash of " + id, InvitationID: i.ID, Role: role, RoleAsOf: at, At: at,
		}
	case 2:
		return organization.UpdateMember{MemberID: id, Role: role, By: by, At: at}
	case 3:
		return organization.RemoveMember{MemberID: id, By: by, At: at}
	case 4:
		return organization.FollowRole{MemberID: id, Role: role, AsOf: at, At: at}
	case 5:
		return organization.BeginSession{
			SessionID: "s-" + id + at.String(), MemberID: id, Hash: "h", Number: s.NextSession, At: at,
		}
	case 6:
		return organization.EndSessions{Owner: id, By: by, At: at}
	}
	return organization.EndSession{SessionID: "s-" + id + at.String(), By: by, At: at}
}
