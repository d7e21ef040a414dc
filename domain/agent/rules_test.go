package agent_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/agent"
)

// as is somebody who gives access at start.
func as(ids ...string) agent.Approver { return agent.Approver{IDs: ids, Local: start} }

// after is such a person who decides after others; those of them with no ids may not approve any
// more.
func after(others map[string][]string, ids ...string) agent.Approver {
	by := as(ids...)
	by.Others = others
	return by
}

// given is what somebody approved of, as the event that says so.
func given(s agent.State, tool agent.Tool) agent.GrantApprovalGiven {
	return agent.GrantApprovalGiven{ToolID: tool.ID, RequestID: "r1", DecidedOn: s.Digest(tool)}
}

func TestTheRulesOfAToolAreHeld(t *testing.T) {
	with := func(r domain.ApprovalRules) agent.Tool {
		tool := shared
		tool.Rules = r
		return tool
	}
	separate, two := with(domain.ApprovalRules{SeparationOfDuties: true}), with(domain.ApprovalRules{RequiredApprovals: 2})
	closed := with(domain.ApprovalRules{
		AllowedHours: domain.AllowedHours{TimeZone: "UTC", Days: "wed", From: "15:00", To: "16:00"}, // start is 14:03
	})
	open := with(domain.ApprovalRules{
		AllowedHours: domain.AllowedHours{TimeZone: "UTC", Days: "wed", From: "14:00", To: "15:00"},
	})
	ownTwo := own
	ownTwo.Rules = two.Rules
	renamed := two
	renamed.Name = "GitHub Enterprise"

	// "token" registered the agent, "ada" is its owner.
	asked := fold(registered(), agent.Updated{OwnerID: new("ada")}, requested("r1"))
	none := fold(registered(), agent.Updated{OwnerID: new("ada")})
	of := func(s agent.State, by string, events ...agent.Event) agent.State {
		for _, e := range events {
			s = agent.Evolve(s, domain.Fact[agent.Event]{
				Event: e, At: start, By: domain.Actor{Type: domain.ActorHuman, ID: by},
			})
		}
		return s
	}
	once := of(asked, "bob", given(asked, two))
	bob, left := map[string][]string{"bob": {"bob"}}, map[string][]string{"bob": nil}
	rekeyed := of(asked, "eve", agent.KeyRotated{
		Key: agent.Key{Number: 2, ID: "k2"}, Ended: []agent.KeyEnd{{Number: 1, At: start}},
	})
	bound := of(asked, "eve", agent.IdentityBound{Number: 1})
	strict := two
	strict.Rules.SeparationOfDuties = true
	approve := func(tool agent.Tool, by agent.Approver) agent.Approve {
		return agent.Approve{At: start, Tool: tool, RequestID: "r1", By: by}
	}
	for _, tt := range []struct {
		name  string
		given agent.State
		when  agent.Command
		then  string // names of the events, or the code of the refusal
	}{
		{"who registered the agent", asked, approve(separate, as("token")), "own_agent"},
		{"the member behind that token", asked, approve(separate, as("eve", "token")), "own_agent"},
		{"its owner", asked, approve(separate, as("ada")), "own_agent"},
		{"who rotated its key", rekeyed, approve(separate, as("eve")), "own_agent"},
		{"who bound its identity", bound, approve(separate, as("eve")), "own_agent"},
		{
			"whose key was replaced", of(rekeyed, "bob", agent.KeyRotated{
				Key: agent.Key{Number: 3, ID: "k3"}, Ended: []agent.KeyEnd{{Number: 2, At: start}},
			}),
			approve(separate, as("eve")), "GrantApproved",
		},
		{
			"whose identity was unbound", of(bound, "eve", agent.IdentityUnbound{Number: 1}),
			approve(separate, as("eve")), "GrantApproved",
		},
		{"somebody else", asked, approve(separate, as("bob")), "GrantApproved"},
		{"who registered it may deny", asked, agent.Deny{Tool: separate, RequestID: "r1"}, "GrantDenied"},
		{"without the rule", asked, approve(shared, as("token")), "GrantApproved"},
		{"assigning to one's own", none, agent.Assign{At: start, Tool: separate, By: as("token")}, "own_agent"},
		{"assigning to another's", none, agent.Assign{At: start, Tool: separate, By: as("bob")}, "GrantAssigned"},

		{"the first of two", asked, approve(two, as("bob")), "GrantApprovalGiven"},
		{"the same again", once, approve(two, after(bob, "bob")), "already_approved_by_you"},
		{"the same with a token", once, approve(two, after(bob, "bobs-token", "bob")), "already_approved_by_you"},
		{"the second of two", once, approve(two, after(bob, "eve")), "GrantApproved"},
		{"the second, when it isn't known who the first is", once, approve(two, as("eve")), "needs bob"},
		{"the second, when the first may not approve any more", once, approve(two, after(left, "eve")), "GrantApprovalGiven"},
		{
			"the second, when the first owns the agent since", of(once, "x", agent.Updated{OwnerID: new("bob")}),
			approve(strict, after(bob, "eve")), "GrantApprovalGiven",
		},
		{
			"the second, when the first is an owner by another id", of(once, "x", agent.Updated{OwnerID: new("b@example.com")}),
			approve(strict, after(map[string][]string{"bob": {"bob", "b@example.com"}}, "eve")), "GrantApprovalGiven",
		},
		{"the first of what it says now", once, approve(renamed, as("eve")), "GrantApprovalGiven"},
		{"the same of what it says now", once, approve(renamed, as("bob")), "GrantApprovalGiven"},
		{"when one is enough since", once, approve(shared, as("bob")), "GrantApproved"},
		{"a denial in between", once, agent.Deny{Tool: two, RequestID: "r1"}, "GrantDenied"},
		{
			"after a denial", of(once, "eve", agent.GrantDenied{ToolID: two.ID, RequestID: "r1"}), approve(two, as("eve")),
			"already_decided",
		},
		{
			"after it was taken back", of(once, "x", agent.GrantWithdrawn{ToolID: two.ID, RequestID: "r1"}),
			approve(two, as("eve")), "already_decided",
		},
		{
			"after a suspension", of(once, "x", agent.Suspended{}, agent.GrantRevoked{ToolID: two.ID, RequestID: "r1"}),
			approve(two, as("eve")), "already_decided",
		},
		{"assigning", none, agent.Assign{At: start, Tool: two, By: as("bob")}, "approvals_required"},
		{"assigning what is asked for", once, agent.Assign{At: start, Tool: two, By: as("eve")}, "approvals_required"},
		{
			"the first needs no credential", fold(registered(), agent.GrantRequested{ToolID: own.ID, RequestID: "r1"}),
			approve(ownTwo, as("bob")), "GrantApprovalGiven",
		},
		{"a suggestion's answer", none, agent.Seed{
			At: start, Tool: two, SuggestionID: "g", RequestID: "r1", Approved: true,
		}, "GrantRequested"},

		{"outside of the hours", asked, approve(closed, as("bob")), "outside_allowed_hours"},
		{"within them", asked, approve(open, as("bob")), "GrantApproved"},
		{"denying outside of them", asked, agent.Deny{Tool: closed, RequestID: "r1"}, "GrantDenied"},
		{"assigning outside of them", none, agent.Assign{At: start, Tool: closed, By: as("bob")}, "outside_allowed_hours"},
	} {
		events, err := agent.Decide(tt.given, tt.when)
		var names []string
		for _, e := range events {
			names = append(names, strings.TrimPrefix(fmt.Sprintf("%T", e), "agent."))
		}
		got := strings.Join(names, " ")
		if refusal, refused := errors.AsType[*domain.Error](err); refused {
			got = refusal.Code
		}
		if needed, missing := errors.AsType[*agent.ApproversNeededError](err); missing {
			got = "needs " + strings.Join(needed.IDs, ",")
		}
		if got != tt.then {
			t.Errorf("%s: %s, want %s (%v)", tt.name, got, tt.then, err)
		}
	}

	_, err := agent.Decide(asked, approve(closed, as("bob")))
	refusal, _ := errors.AsType[*domain.Error](err)
	if at := refusal.Extra["retry_after"]; at != "2026-03-04T15:00:00Z" || refusal.RetryAfter != 57*time.Minute {
		t.Errorf("it is possible again at %v, after %s", at, refusal.RetryAfter)
	}
}

// TestNothingIsApprovedByFewerPeopleThanItNeeds lets three people, each of them with a token too,
// decide at random about requests that change meanwhile, while they lose the right to and get it
// back.
func TestNothingIsApprovedByFewerPeopleThanItNeeds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, requests := fold(registered()), 0
		approvedBy := map[string]map[string]string{} // people by what they approved with, by what they approved
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			tool := shared
			tool.Name = rapid.SampledFrom([]string{"GitHub", "Git Hub"}).Draw(t, "name")
			tool.Rules.RequiredApprovals = rapid.IntRange(0, 3).Draw(t, "required")
			person := rapid.SampledFrom([]string{"ada", "bob", "eve"}).Draw(t, "person")
			actor := person + rapid.SampledFrom([]string{"", "s-token"}).Draw(t, "with")
			by := as(person, person+"s-token")
			may, others := map[string]bool{}, map[string][]string{}
			for _, other := range []string{"ada", "bob", "eve"} {
				for _, id := range []string{other, other + "s-token"} {
					if others[id] = nil; rapid.IntRange(0, 9).Draw(t, "may "+id) > 0 {
						others[id], may[id] = []string{other, other + "s-token"}, true
					}
				}
			}
			by.Others = others
			id, digest := s.Grants[tool.ID].RequestID, s.Digest(tool)
			var c agent.Command
			switch rapid.IntRange(0, 9).Draw(t, "command") {
			case 0:
				requests++
				c = agent.Request{At: start, Tool: tool, RequestID: fmt.Sprint("r", requests), Reason: "because"}
			case 1:
				c = agent.Withdraw{ToolID: tool.ID}
			case 2:
				c = agent.Revoke{ToolID: tool.ID, Cause: agent.CauseAdmin}
			case 3:
				c = agent.Assign{At: start, Tool: tool, By: by}
			default:
				c = agent.Approve{At: start, Tool: tool, RequestID: id, By: by}
			}
			events, _ := agent.Decide(s, c)
			for _, e := range events {
				if approvedBy[digest] == nil {
					approvedBy[digest] = map[string]string{}
				}
				switch e := e.(type) {
				case agent.GrantApprovalGiven:
					if e.DecidedOn != digest || approvedBy[digest][actor] != "" && may[actor] {
						t.Fatalf("%s approved twice, or of something else", person)
					}
					approvedBy[digest][actor] = person
				case agent.GrantApproved:
					people := map[string]bool{person: true}
					for id, is := range approvedBy[digest] {
						if may[id] {
							people[is] = true
						}
					}
					if e.DecidedOn != digest || len(people) < tool.Rules.Approvals() {
						t.Fatalf("%d people approved, of %d", len(people), tool.Rules.Approvals())
					}
				case agent.GrantAssigned:
					if tool.Rules.Approvals() > 1 {
						t.Fatal("it was assigned")
					}
				default:
				}
				s = agent.Evolve(s, domain.Fact[agent.Event]{
					Event: e, At: start, By: domain.Actor{Type: domain.ActorHuman, ID: actor},
				})
			}
		}
	})
}
