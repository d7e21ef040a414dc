package actions

import (
	"fmt"
	"time"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
)

var ofAgents = []row{
	told("agent.registered", Access, "An agent was registered, with its first key.",
		ada, agent.Registered{}, func(e entry, _ agent.Registered) string {
			return e.who() + " registered " + e.target("agent")
		}),
	told("agent.updated", Access, "The name, description, owner or labels of an agent changed.",
		ada, agent.Updated{Name: new("Deploy bot")}, func(e entry, d agent.Updated) string {
			var changed []string
			if d.Name != nil {
				changed = append(changed, "name")
			}
			if d.Description != nil {
				changed = append(changed, "description")
			}
			if d.OwnerID != nil {
				changed = append(changed, "owner")
			}
			if d.Labels != nil {
				changed = append(changed, "labels")
			}
			return e.who() + " changed the " + list(changed) + " of " + e.target("agent")
		}),
	told("agent.key_rotated", Access, "An agent got a new key. Former keys end at once or after an overlap.",
		ada, agent.KeyRotated{Ended: []agent.KeyEnd{{Number: 1, At: exampleTime}}},
		func(e entry, d agent.KeyRotated) string {
			sentence := e.who() + " rotated the key of " + e.target("agent")
			var last time.Time
			for _, end := range d.Ended {
				if end.At.After(last) {
					last = end.At
				}
			}
			if last.After(e.OccurredAt) {
				sentence += "; the former one works until " + moment(last)
			}
			return sentence
		}),
	told("agent.identity_bound", Access, "A workload may call as an agent with tokens of its own.",
		ada, agent.IdentityBound{Identity: agent.Identity{Issuer: "https://ci.example.com"}},
		func(e entry, d agent.IdentityBound) string {
			return e.who() + " let a workload of " + d.Issuer + " call as " + e.target("agent")
		}),
	told("agent.identity_unbound", Access, "A workload may no longer call as an agent.",
		ada, agent.IdentityUnbound{}, func(e entry, _ agent.IdentityUnbound) string {
			return e.who() + " ended the workload identity of " + e.target("agent")
		}),
	told("agent.suspended", Access, "An agent was suspended, and all of its access ended.",
		ada, agent.Suspended{}, func(e entry, _ agent.Suspended) string {
			return e.who() + " suspended " + e.target("agent")
		}),
	told("agent.reactivated", Access, "A suspended agent may call again, without any access.",
		ada, agent.Reactivated{}, func(e entry, _ agent.Reactivated) string {
			return e.who() + " reactivated " + e.target("agent")
		}),
	told("agent.retired", Access, "An agent was retired for good, and all of its access ended.",
		ada, agent.Retired{}, func(e entry, _ agent.Retired) string {
			return e.who() + " retired " + e.target("agent")
		}),
	told("agent.key_refused", Access, "Calls with a key or a workload identity that had ended were refused. The first in "+
		"a minute has an entry, and the rest are counted in a second one.",
		bot, codec.KeyRefused{Reason: "rotated", Count: 5}, func(e entry, d codec.KeyRefused) string {
			key := "a former key of " + e.target("agent")
			switch {
			case d.Reason == "agent_retired":
				key = "a key of " + e.target("agent") + ", which is retired,"
			case d.Identity != nil:
				key = "a former workload identity of " + e.target("agent")
			}
			return "A call with " + key + " was refused" + times(d.Count)
		}),
}

// causes are why access was revoked, where nobody revoked it by itself.
var causes = map[agent.Cause]string{
	agent.CauseSuspended:   " because the agent was suspended",
	agent.CauseRetired:     " because the agent was retired",
	agent.CauseToolRemoved: " because the tool was removed",
	agent.CauseToolFrozen:  " because the tool was frozen",
	agent.CauseRuleEnded:   " because the rule that approved it had ended",
}

var ofGrants = []row{
	told("grant.requested", Access, "An agent requested access to a tool, or a suggestion of it became a request.",
		bot, agent.GrantRequested{}, func(e entry, _ agent.GrantRequested) string {
			if e.Actor.Type == domain.ActorAgent {
				return e.subject() + " requested access to " + e.tool()
			}
			return e.who() + " opened a request of " + e.agent() + " for " + e.tool()
		}),
	told("grant.withdrawn", Access, "An agent withdrew its request.",
		bot, agent.GrantWithdrawn{}, func(e entry, _ agent.GrantWithdrawn) string {
			return e.subject() + " withdrew its request for " + e.tool()
		}),
	told("grant.approval_given", Decision, "A human approved a request that needs the approval of more than one.",
		ada, agent.GrantApprovalGiven{}, func(e entry, _ agent.GrantApprovalGiven) string {
			return e.who() + " gave one of the approvals that " + e.agent() + "'s request for " + e.tool() + " needs"
		}),
	told("grant.approved", Decision, "A request was approved: the agent has access.",
		ada, agent.GrantApproved{ExpiresAt: &exampleTime}, func(e entry, d agent.GrantApproved) string {
			sentence := e.who() + " approved " + e.agent() + "'s request for " + e.tool() + until(d.ExpiresAt)
			if d.Rule != nil {
				sentence += " by a rule"
			}
			if d.RequiredApprovals > 1 {
				sentence += fmt.Sprintf(", as the last of %d approvals", d.RequiredApprovals)
			}
			return sentence
		}),
	told("grant.denied", Decision, "A request was denied.",
		ada, agent.GrantDenied{}, func(e entry, d agent.GrantDenied) string {
			sentence := e.who() + " denied " + e.agent() + "'s request for " + e.tool()
			if d.Rule != nil {
				sentence += " by a rule"
			}
			return sentence
		}),
	told("grant.assigned", Decision, "An agent was given access that it had not requested, or that it had suggested.",
		ada, agent.GrantAssigned{ExpiresAt: &exampleTime}, func(e entry, d agent.GrantAssigned) string {
			return e.who() + " gave " + e.agent() + " access to " + e.tool() + until(d.ExpiresAt)
		}),
	told("grant.revoked", Access, "Access, or a request that waited, ended because an admin, or what they did to the "+
		"agent or the tool, ended it.",
		part, agent.GrantRevoked{Cause: agent.CauseToolRemoved}, func(e entry, d agent.GrantRevoked) string {
			return e.who() + " revoked " + e.agent() + "'s access to " + e.tool() + causes[d.Cause]
		}),
	told("grant.expired", Access, "The time of an access was over.",
		domain.Actor{}, agent.GrantExpired{}, func(e entry, _ agent.GrantExpired) string {
			return e.subject() + "'s access to " + e.tool() + " expired"
		}),
	told("grant.credential_replaced", Access, "The credential that one agent has of its own for a tool was replaced.",
		ada, agent.GrantCredentialReplaced{CredentialVersion: 2}, func(e entry, d agent.GrantCredentialReplaced) string {
			return e.who() + " replaced " + e.agent() + "'s own credential of " + e.tool() + version(d.CredentialVersion)
		}),
}

// refused are the reasons why no credential was given.
var refused = map[string]string{
	"access_not_approved": "its access is not approved",
	"agent_suspended":     "it is suspended",
	"tool_frozen":         "the tool is frozen",
	"not_found":           "there is no such tool, or it has no credential",
	"log_restored":        "the log was restored",
}

var ofFetches = []row{
	told("credential.vended", Fetch, "An agent fetched the credential of a tool.",
		bot, agent.CredentialVended{CredentialVersion: 3}, func(e entry, d agent.CredentialVended) string {
			return e.subject() + " fetched the credential of " + e.tool() + version(d.CredentialVersion)
		}),
	told("credential.refused", Fetch, "An agent was refused the credential of a tool. The first in a minute has an "+
		"entry, and the rest are counted in a second one.",
		bot, codec.CredentialRefused{Reason: "access_not_approved", Count: 5},
		func(e entry, d codec.CredentialRefused) string {
			sentence := e.subject() + " was refused the credential of " + e.tool()
			if why, known := refused[d.Reason]; known {
				sentence += " because " + why
			}
			return sentence + times(d.Count)
		}),
}
