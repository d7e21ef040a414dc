package projections_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/delivery"
	"agentkey/domain/guide"
	"agentkey/domain/installation"
	"agentkey/domain/lane"
	"agentkey/domain/organization"
	"agentkey/domain/person"
	"agentkey/domain/rulebook"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// step is one event of a story.
type step struct {
	stream string
	by     domain.Actor
	event  any
}

var (
	bot     = self("bot")
	late    = domain.Actor{Type: domain.ActorHuman, ID: "late"}
	system  = domain.Actor{Type: domain.ActorSystem, ID: "agentkey"}
	tonight = start.Add(12 * time.Hour)

	registered = step{"agent-bot", admin, agent.Registered{
		OrganizationID: org, Name: "Build  BOT", Description: "builds", OwnerID: "p1",
		Key: agent.Key{Number: 1, ID: "k1", Hash: "5ec4e7"}, Labels: domain.NewLabels(map[string]string{"team": "x"}),
	}}
	another = step{"agent-bot2", admin, agent.Registered{
		OrganizationID: org, Name: "Other bot", Key: agent.Key{Number: 1, ID: "k9", Hash: "5ec4e7"},
	}}
	added = step{"catalog-" + org, admin, catalog.ToolAdded{
		ToolID: "github", Name: "GitHub", FoldedName: "github", Description: "code", URL: "https://github.com",
		Site:    "github.com",
		DocsURL: "https://docs.github.com", AuthType: "api_key", Mode: catalog.Shared, SecretID: "s1",
		MaxGrantSeconds: 3600,
	}}
	asked = step{
		"agent-bot", bot, agent.GrantRequested{ToolID: "github", RequestID: "r1", Reason: "to read issues"},
	}
	approved = step{"agent-bot", admin, agent.GrantApproved{ToolID: "github", RequestID: "r1", ExpiresAt: &tonight}}
	denied   = step{"agent-bot", admin, agent.GrantDenied{ToolID: "github", RequestID: "r1", Reason: "not now"}}
	assigned = step{"agent-bot", admin, agent.GrantAssigned{ToolID: "github", ExpiresAt: &tonight}}
	vended   = step{
		"agent-bot", bot, agent.CredentialVended{ToolID: "github", SecretID: "s1", CredentialVersion: 1, KeyNumber: 1},
	}
	suggested = step{
		"catalog-" + org, bot,
		catalog.SuggestionMade{
			SuggestionID: "g1", Name: "Linear", FoldedName: "linear", AgentID: "bot", Reason: "to plan",
		},
	}
	noted = step{
		"guide-github", bot,
		guide.NoteMade{
			NoteID: "n1", ToolID: "github", AgentID: "bot", Learned: "page by cursor", Why: "it failed",
			GuideVersion: 2,
		},
	}
	revoked = step{"agent-bot", admin, agent.GrantRevoked{ToolID: "github", RequestID: "r1", Cause: agent.CauseAdmin}}

	tokened = step{
		"organization-" + org, admin,
		organization.TokenCreated{Number: 1, TokenID: "t1", Sealed: "5ea1ed", Role: "owner", Hash: "0ff1ce"},
	}
	hurried = step{"agent-bot", bot, agent.GrantRequested{
		ToolID: "github", RequestID: "r1", Reason: "to read issues", RequestedSeconds: 60,
	}}
	byRule = domain.Actor{Type: domain.ActorSystem, ID: "u1"}
	rule   = domain.RuleVersion{ID: "u1", Version: 2, Name: "GitHub for a day"}
	ruling = step{"rules-" + org, admin, rulebook.Added{
		RuleID: "u1", Rule: rulebook.Text{Name: "GitHub for a day", When: "true"},
	}}
	opened = step{"organization-" + org, admin, organization.ChannelAdded{
		ChannelID: "c1", Kind: organization.Slack, Name: "#ops",
		Topics: []domain.Topic{domain.AccessRequested, domain.GrantExpiring}, SecretID: "s9", Host: "hooks.slack.com",
	}}
	queued = step{
		"delivery-d1",
		system,
		delivery.Queued{OrganizationID: org, ChannelID: "c1", Topic: domain.AccessRequested, About: delivery.About{
			Stream: "agent-bot", Revision: 1, AgentID: "bot", ToolID: "github", RequestID: "r1",
		}},
	}
	claimed = step{"delivery-d1", system, delivery.Claimed{Attempt: 1, Until: tonight}}
	dead    = step{"delivery-d1", system, delivery.Abandoned{Attempt: 1, Problem: "it answered 410"}}
)

// about is what the audit says of an event: its target, agent and tool. "" says that it has no
// place there.
var tellings = []struct {
	name  string
	given []step
	when  step
	want  []string
	about string
}{
	{
		"an agent is registered", nil, registered, []string{
			"+agent_keys bot/1: created_at=now id=k1",
			"+agents bot: created_at=now created_by_id=admin created_by_type=human description=builds " +
				"description_folded=builds labels={\"team\":\"x\"} name=Build  BOT name_folded=build bot organization_id=org " +
				"owner_id=p1 position=here revision=1 status=active",
		}, "agent bot, agent bot",
	},
	{
		"an agent gets another name",
		[]step{registered},
		step{"agent-bot", admin, agent.Updated{Name: new("Ops")}},
		[]string{
			"+former_names bot/here: name=Build  BOT name_folded=build bot organization_id=org",
			"agents bot: name=Ops name_folded=ops revision=2",
		},
		"agent bot, agent bot",
	},
	{
		"an agent gets another description and owner, and has no labels any more",
		[]step{registered},
		step{"agent-bot", admin, agent.Updated{
			Description: new(""), OwnerID: new("p2"), Labels: new(domain.Labels("")),
		}},
		[]string{"agents bot: description= description_folded= labels= owner_id=p2 revision=2"},
		"agent bot, agent bot",
	},
	{
		"a key is rotated",
		[]step{registered},
		step{
			"agent-bot", admin,
			agent.KeyRotated{
				Key:   agent.Key{Number: 2, ID: "k2"},
				Ended: []agent.KeyEnd{{Number: 1, At: start.Add(10 * time.Second)}},
			},
		},
		[]string{
			"+agent_keys bot/2: created_at=now id=k2", "agent_keys bot/1: expires_at=now+7", "agents bot: revision=2",
		},
		"agent bot, agent bot",
	},
	{
		"a key is rotated for the third time",
		[]step{
			registered,
			{
				"agent-bot", admin,
				agent.KeyRotated{Key: agent.Key{Number: 2, ID: "k2"}, Ended: []agent.KeyEnd{{Number: 1, At: start}}},
			},
			{
				"agent-bot", admin,
				agent.KeyRotated{Key: agent.Key{Number: 3, ID: "k3"}, Ended: []agent.KeyEnd{{Number: 2, At: start}}},
			},
		},
		step{"agent-bot", admin, agent.KeyRotated{Key: agent.Key{Number: 4, ID: "k4"}, Ended: []agent.KeyEnd{}}},
		[]string{"+agent_keys bot/4: created_at=now id=k4", "-agent_keys bot/1", "agents bot: revision=4"},
		"agent bot, agent bot",
	},
	{
		"an agent is bound to an identity",
		[]step{registered},
		step{"agent-bot", admin, agent.IdentityBound{Number: 1, Identity: agent.Identity{
			Issuer: "https://ci.example", Audience: "agentkey", Claims: map[string]string{"sub": "a"}, Keys: "{}",
		}}},
		[]string{
			`agents bot: bound_at=now identity={"issuer":"https://ci.example","audience":"agentkey",` +
				`"claims":{"sub":"a"},"keys_pasted":true} revision=2`,
		},
		"agent bot, agent bot",
	},
	{
		"an agent is unbound",
		[]step{registered, {"agent-bot", admin, agent.IdentityBound{Number: 1, Identity: agent.Identity{Issuer: "i"}}}},
		step{"agent-bot", admin, agent.IdentityUnbound{Number: 1}},
		[]string{"agents bot: bound_at=0 identity= revision=3"},
		"agent bot, agent bot",
	},
	{
		"an agent is suspended",
		[]step{registered},
		step{"agent-bot", admin, agent.Suspended{}},
		[]string{"agents bot: revision=2 status=suspended"},
		"agent bot, agent bot",
	},
	{
		"an agent is reactivated",
		[]step{registered, {"agent-bot", admin, agent.Suspended{}}},
		step{"agent-bot", admin, agent.Reactivated{}},
		[]string{"agents bot: revision=3 status=active"},
		"agent bot, agent bot",
	},
	{
		"an agent is retired",
		[]step{registered},
		step{"agent-bot", admin, agent.Retired{}},
		[]string{"-agent_keys bot/1", "agents bot: retired_at=now revision=2 status=retired"},
		"agent bot, agent bot",
	},

	{
		"an agent asks", []step{registered, added}, asked, []string{
			"+grants bot/github: organization_id=org origin=request position=here reason=to read issues " +
				"reason_folded=to read issues request_id=r1 requested_at=now status=pending",
			"+requests r1: agent_id=bot created_at=now organization_id=org position=here reason=to read issues " +
				"reason_folded=to read issues status=pending tool_id=github",
			"agents bot: last_seen_at=now",
		}, "tool github, agent bot, tool github",
	},
	{
		"an agent says for how long", []step{registered, added}, hurried, []string{
			"+grants bot/github: organization_id=org origin=request position=here reason=to read issues " +
				"reason_folded=to read issues request_id=r1 requested_at=now status=pending",
			"+requests r1: agent_id=bot created_at=now organization_id=org position=here reason=to read issues " +
				"reason_folded=to read issues requested_seconds=60 status=pending tool_id=github",
			"agents bot: last_seen_at=now",
		}, "tool github, agent bot, tool github",
	},
	{
		"an agent asks again",
		[]step{registered, added, asked, approved, vended, revoked},
		step{"agent-bot", bot, agent.GrantRequested{ToolID: "github", RequestID: "r2", Reason: "once more"}},
		[]string{
			"+requests r2: agent_id=bot created_at=now organization_id=org position=here reason=once more " +
				"reason_folded=once more status=pending tool_id=github",
			"agents bot: last_seen_at=now",
			"grants bot/github: approved_at=0 approved_by_id= approved_by_type= decided_at=0 " +
				"decided_by_id= decided_by_type= decided_position=0 ended_at=0 ended_by_id= " +
				"ended_by_type= expires_at=0 fetch_count=0 last_fetched_at=0 reason=once more " +
				"reason_folded=once more request_id=r2 requested_at=now status=pending",
		},
		"tool github, agent bot, tool github",
	},
	{
		"an agent takes its request back",
		[]step{registered, added, asked},
		step{"agent-bot", bot, agent.GrantWithdrawn{ToolID: "github", RequestID: "r1"}},
		[]string{
			"agents bot: last_seen_at=now",
			"grants bot/github: decided_at=now decided_by_id=bot decided_by_type=agent " +
				"decided_position=here ended_at=now ended_by_id=bot ended_by_type=agent " +
				"status=withdrawn",
			"requests r1: decided_at=now decided_by_id=bot decided_by_type=agent " +
				"decided_position=here status=withdrawn",
		},
		"tool github, agent bot, tool github",
	},
	{
		"a request is approved", []step{registered, added, asked}, approved, []string{
			"grants bot/github: approved_at=now approved_by_id=admin approved_by_type=human " +
				"decided_at=now decided_by_id=admin decided_by_type=human decided_position=here " +
				"expires_at=now+43195 status=approved",
			"requests r1: decided_at=now decided_by_id=admin decided_by_type=human " +
				"decided_position=here status=approved",
		}, "tool github, agent bot, tool github",
	},
	{
		"the last of several people approves a request",
		[]step{registered, added, asked},
		step{"agent-bot", admin, agent.GrantApproved{
			ToolID: "github", RequestID: "r1", RequiredApprovals: 2,
			Approvals: []agent.Approval{{By: system, At: time.UnixMicro(7), DecidedOn: "d"}},
		}},
		[]string{
			"+approvals r1/" + system.ID + ": at=7",
			"grants bot/github: approved_at=now approved_by_id=admin approved_by_type=human " +
				"decided_at=now decided_by_id=admin decided_by_type=human decided_position=here status=approved",
			"requests r1: decided_at=now decided_by_id=admin decided_by_type=human " +
				"decided_position=here status=approved",
		},
		"tool github, agent bot, tool github",
	},
	{
		"one of several people approves a request",
		[]step{registered, added, asked},
		step{"agent-bot", admin, agent.GrantApprovalGiven{ToolID: "github", RequestID: "r1", DecidedOn: "d"}},
		nil, "tool github, agent bot, tool github",
	},
	{
		"a request is denied", []step{registered, added, asked}, denied, []string{
			"grants bot/github: decided_at=now decided_by_id=admin decided_by_type=human " +
				"decided_position=here denial_reason=not now status=denied",
			"requests r1: decided_at=now decided_by_id=admin decided_by_type=human " +
				"decided_position=here denial_reason=not now status=denied",
		}, "tool github, agent bot, tool github",
	},
	{
		"access is given without a request", []step{registered, added}, assigned, []string{
			"+grants bot/github: approved_at=now approved_by_id=admin approved_by_type=human " +
				"decided_at=now decided_by_id=admin decided_by_type=human decided_position=here " +
				"expires_at=now+43196 organization_id=org origin=assignment position=here " +
				"status=approved",
		}, "tool github, agent bot, tool github",
	},
	{
		"access is given to whom it was denied", []step{registered, added, asked, denied}, step{
			"agent-bot", admin, agent.GrantAssigned{ToolID: "github"},
		}, []string{
			"grants bot/github: approved_at=now approved_by_id=admin approved_by_type=human " +
				"decided_at=now decided_position=here denial_reason= origin=assignment reason= " +
				"reason_folded= request_id= requested_at=0 status=approved",
		}, "tool github, agent bot, tool github",
	},
	{
		"access is revoked",
		[]step{registered, added, asked, approved},
		revoked,
		[]string{"grants bot/github: decided_at=now decided_position=here ended_at=now " +
			"ended_by_id=admin ended_by_type=human status=revoked"},
		"tool github, agent bot, tool github",
	},
	{
		"a request is revoked and leaves the queue", []step{registered, added, asked}, revoked, []string{
			"grants bot/github: decided_at=now decided_by_id=admin decided_by_type=human " +
				"decided_position=here ended_at=now ended_by_id=admin ended_by_type=human " +
				"status=revoked",
			"requests r1: decided_at=now decided_by_id=admin decided_by_type=human " +
				"decided_position=here status=withdrawn",
		}, "tool github, agent bot, tool github",
	},
	{
		"access expires",
		[]step{registered, added, assigned},
		step{"agent-bot", system, agent.GrantExpired{ToolID: "github"}},
		[]string{"grants bot/github: status=expired"},
		"tool github, agent bot, tool github",
	},
	{
		"an agent's own credential is replaced",
		[]step{registered, added, assigned},
		step{
			"agent-bot", admin,
			agent.GrantCredentialReplaced{ToolID: "github", SecretID: "s2", CredentialVersion: 2, ExpiresAt: &tonight},
		},
		[]string{
			"+credentials s2: agent_id=bot created_at=now expires_at=now+43195 organization_id=org position=here " +
				"removed_position=" + never + " replaced_position=" + never + " tool_id=github version=2",
			"grants bot/github: credential_at=now credential_expires_at=now+43195 credential_version=2",
		},
		"tool github, agent bot, tool github",
	},
	{
		"access is given again, with another credential",
		[]step{
			registered, added, assigned,
			{"agent-bot", admin, agent.GrantCredentialReplaced{ToolID: "github", ExpiresAt: &tonight}},
			revoked,
		},
		step{"agent-bot", admin, agent.GrantAssigned{ToolID: "github"}},
		[]string{
			"grants bot/github: approved_at=now credential_expires_at=0 decided_at=now " +
				"decided_position=here ended_at=0 ended_by_id= ended_by_type= expires_at=0 " +
				"status=approved",
		},
		"tool github, agent bot, tool github",
	},
	{
		"an agent gets another credential of its own",
		[]step{registered, added, assigned, vended, revoked},
		step{"agent-bot", admin, agent.GrantAssigned{ToolID: "github", SecretID: "s7"}},
		[]string{
			"+credentials s7: agent_id=bot created_at=now organization_id=org position=here removed_position=" + never +
				" replaced_position=" + never + " tool_id=github version=1",
			"grants bot/github: approved_at=now credential_at=now credential_version=1 decided_at=now " +
				"decided_position=here ended_at=0 ended_by_id= ended_by_type= expires_at=0 fetch_count=0 " +
				"last_fetched_at=0 status=approved",
		},
		"tool github, agent bot, tool github",
	},
	{
		"an agent's own credential ends with its access",
		[]step{registered, added, {"agent-bot", admin, agent.GrantAssigned{ToolID: "github", SecretID: "s7"}}},
		step{"agent-bot", admin, agent.GrantRevoked{ToolID: "github", SecretID: "s7", Cause: agent.CauseAdmin}},
		[]string{
			"credentials s7: removed_at=now removed_position=here",
			"grants bot/github: decided_at=now decided_position=here ended_at=now ended_by_id=admin ended_by_type=human " +
				"status=revoked",
		},
		"tool github, agent bot, tool github",
	},
	{
		"another version of a credential is fetched",
		[]step{registered, added, assigned, vended},
		step{"agent-bot", bot, agent.CredentialVended{ToolID: "github", SecretID: "s2", CredentialVersion: 2, KeyNumber: 1}},
		[]string{
			"+known_credentials bot/s2: fetch_count=1 first_fetched_at=now last_fetched_at=now organization_id=org " +
				"position=here",
			"agent_keys bot/1: last_used_at=now", "agents bot: fetch_count=2 last_fetched_at=now last_seen_at=now",
			"grants bot/github: fetch_count=2 last_fetched_at=now",
			"tools github: fetch_count=2 last_fetched_at=now",
		},
		"tool github, agent bot, tool github",
	},
	{
		"a former version of a credential is fetched by a process that is behind",
		[]step{
			registered, added, assigned,
			{"agent-bot", bot, agent.CredentialVended{ToolID: "github", SecretID: "s2", CredentialVersion: 2, KeyNumber: 1}},
		},
		vended,
		[]string{
			"+known_credentials bot/s1: fetch_count=1 first_fetched_at=now last_fetched_at=now organization_id=org " +
				"position=here",
			"agent_keys bot/1: last_used_at=now", "agents bot: fetch_count=2 last_fetched_at=now last_seen_at=now",
			"grants bot/github: fetch_count=2 last_fetched_at=now",
			"tools github: fetch_count=2 last_fetched_at=now",
		},
		"tool github, agent bot, tool github",
	},
	{
		"a credential is fetched",
		[]step{registered, added, assigned, vended},
		vended,
		[]string{
			"agent_keys bot/1: last_used_at=now", "agents bot: fetch_count=2 last_fetched_at=now last_seen_at=now",
			"grants bot/github: fetch_count=2 last_fetched_at=now",
			"known_credentials bot/s1: fetch_count=2 last_fetched_at=now",
			"tools github: fetch_count=2 last_fetched_at=now",
		},
		"tool github, agent bot, tool github",
	},
	{
		"a fetch is refused",
		[]step{registered, added},
		step{
			"refusals-bot", bot,
			codec.CredentialRefused{
				AgentID: "bot", ToolID: "github", Reason: "access_not_approved", Count: 1, LastAt: start,
			},
		},
		nil,
		"tool github, agent bot, tool github",
	},

	{
		"a key that ended is used",
		[]step{registered},
		step{
			"refusals-bot", bot,
			codec.KeyRefused{AgentID: "bot", KeyID: "k1", Reason: "rotated", Count: 1, LastAt: start},
		},
		nil,
		"agent bot, agent bot",
	},

	{
		"an identity that ended is used",
		[]step{registered},
		step{
			"refusals-bot", bot, codec.KeyRefused{
				AgentID: "bot", Reason: "unbound", Count: 1, LastAt: start, Identity: &agent.Presented{Binding: 1},
			},
		},
		nil,
		"agent bot, agent bot",
	},

	{
		"a tool with a shared credential is added", nil, added, []string{
			"+credentials s1: created_at=now organization_id=org position=here removed_position=" + never +
				" replaced_position=" + never + " tool_id=github version=1",
			"+tools github: auth_type=api_key created_at=now credential_at=now credential_by_id=admin " +
				"credential_by_type=human credential_mode=shared credential_version=1 " +
				"description=code description_folded=code docs_url=https://docs.github.com max_grant_seconds=3600 name=GitHub " +
				"name_folded=github organization_id=org position=here revision=1 skeleton=glthub updated_at=now " +
				"url=https://github.com",
		}, "tool github, tool github",
	},
	{
		"a tool with a credential for each agent is added", nil,
		step{
			"catalog-" + org, admin,
			catalog.ToolAdded{
				ToolID: "linear", Name: "Linear", FoldedName: "linear", AuthType: "other", Mode: catalog.PerAgent,
			},
		},
		[]string{
			"+tools linear: auth_type=other created_at=now credential_mode=per_agent name=Linear name_folded=linear " +
				"organization_id=org position=here revision=1 skeleton=llnear updated_at=now",
		},
		"tool linear, tool linear",
	},
	{
		"everything of a tool is changed",
		[]step{added},
		step{"catalog-" + org, admin, catalog.ToolUpdated{
			ToolID: "github", Name: new("Git Hub"), FoldedName: new("git hub"), Description: new("d"), URL: new("u"),
			Site: new("s"), DocsURL: new(""), AuthType: new(catalog.AuthType("other")), MaxGrantSeconds: new(int64(0)),
			Labels: new(domain.NewLabels(map[string]string{"team": ""})),
		}},
		[]string{
			"+former_names github/here: name=GitHub name_folded=github organization_id=org",
			"tools github: auth_type=other description=d description_folded=d docs_url= " +
				"labels={\"team\":\"\"} max_grant_seconds=0 name=Git Hub name_folded=git hub revision=2 updated_at=now url=u",
		},
		"tool github, tool github",
	},
	{
		"one thing of a tool is changed",
		[]step{added},
		step{"catalog-" + org, admin, catalog.ToolUpdated{ToolID: "github", Description: new("d")}},
		[]string{"tools github: description=d description_folded=d revision=2 updated_at=now"},
		"tool github, tool github",
	},
	{
		"a shared credential is rotated",
		[]step{added},
		step{
			"catalog-" + org, admin,
			catalog.ToolCredentialRotated{ToolID: "github", SecretID: "s2", CredentialVersion: 2, ExpiresAt: &tonight},
		},
		[]string{
			"+credentials s2: created_at=now expires_at=now+43197 organization_id=org position=here removed_position=" + never +
				" replaced_position=" + never + " tool_id=github version=2",
			"credentials s1: removed_at=now removed_position=here replaced_position=here",
			"tools github: credential_at=now credential_expires_at=now+43197 credential_version=2 revision=2 " +
				"updated_at=now",
		},
		"tool github, tool github",
	},
	{
		"instructions are revised",
		[]step{added},
		step{
			"catalog-" + org, admin,
			catalog.ToolInstructionsRevised{ToolID: "github", Version: 1, Instructions: "be kind"},
		},
		[]string{
			"+tool_instructions github/1: created_at=now created_by_id=admin created_by_type=human instructions=be " +
				"kind organization_id=org",
			"tools github: instructions=be kind instructions_version=1 revision=2 updated_at=now",
		},
		"tool github, tool github",
	},
	{
		"instructions are restored",
		[]step{
			added,
			{
				"catalog-" + org, admin,
				catalog.ToolInstructionsRevised{ToolID: "github", Version: 1, Instructions: "be kind"},
			},
		},
		step{
			"catalog-" + org, admin,
			catalog.ToolInstructionsRevised{ToolID: "github", Version: 2, Instructions: "be kind", RestoredFrom: 1},
		},
		[]string{
			"+tool_instructions github/2: created_at=now created_by_id=admin created_by_type=human instructions=be " +
				"kind organization_id=org restored_from=1",
			"tools github: instructions_version=2 revision=3 updated_at=now",
		},
		"tool github, tool github",
	},
	{
		"a tool is removed",
		[]step{added, registered, assigned},
		step{"catalog-" + org, admin, catalog.ToolRemoved{ToolID: "github", SecretID: "s1"}},
		[]string{
			"credentials s1: removed_at=now removed_position=here",
			"tools github: removed_at=now removed_by_id=admin removed_by_type=human revision=2",
		},
		"tool github, tool github",
	},
	{
		"a tool is frozen, and what agents have of it ends",
		[]step{added, registered, assigned},
		step{"catalog-" + org, admin, catalog.ToolFrozen{ToolID: "github", Freeze: 1}},
		[]string{
			"grants bot/github: decided_at=now decided_position=here ended_at=now ended_by_id=admin ended_by_type=human " +
				"status=revoked",
			"tools github: freezes=1 frozen_at=now frozen_by_id=admin frozen_by_type=human frozen_position=here " +
				"revision=2 updated_at=now",
		},
		"tool github, tool github",
	},
	{
		"a tool is frozen, and what agents have asked for ends",
		[]step{added, registered, asked},
		step{"catalog-" + org, admin, catalog.ToolFrozen{ToolID: "github", Freeze: 1}},
		[]string{
			"grants bot/github: decided_at=now decided_by_id=admin decided_by_type=human decided_position=here " +
				"ended_at=now ended_by_id=admin ended_by_type=human status=revoked",
			"requests r1: decided_at=now decided_by_id=admin decided_by_type=human decided_position=here " +
				"status=withdrawn",
			"tools github: freezes=1 frozen_at=now frozen_by_id=admin frozen_by_type=human frozen_position=here " +
				"revision=2 updated_at=now",
		},
		"tool github, tool github",
	},
	{
		"what a freeze has ended is written down for the agent",
		[]step{
			added, registered, assigned, {"catalog-" + org, admin, catalog.ToolFrozen{ToolID: "github", Freeze: 1}},
		},
		step{"agent-bot", system, agent.GrantRevoked{ToolID: "github", Cause: agent.CauseToolFrozen}},
		nil,
		"tool github, agent bot, tool github",
	},
	{
		"a decision of before a freeze comes too late",
		[]step{
			added, registered, {"catalog-" + org, admin, catalog.ToolFrozen{ToolID: "github", Freeze: 1}},
		},
		step{"agent-bot", late, agent.GrantAssigned{ToolID: "github"}},
		[]string{
			"+grants bot/github: approved_at=now approved_by_id=late approved_by_type=human decided_at=now " +
				"decided_by_id=admin decided_by_type=human decided_position=here ended_at=now ended_by_id=admin " +
				"ended_by_type=human organization_id=org origin=assignment position=here status=revoked",
		},
		"tool github, agent bot, tool github",
	},
	{
		"a freeze is lifted",
		[]step{
			added, registered, assigned, {"catalog-" + org, admin, catalog.ToolFrozen{ToolID: "github", Freeze: 1}},
		},
		step{"catalog-" + org, admin, catalog.ToolUnfrozen{ToolID: "github"}},
		[]string{"tools github: frozen_at=0 frozen_position=0 revision=3 updated_at=now"},
		"tool github, tool github",
	},

	{
		"a decision that found the tool gone is taken back",
		[]step{
			added, registered,
			{"catalog-" + org, admin, catalog.ToolRemoved{ToolID: "github"}},
			{"agent-bot", late, agent.GrantAssigned{ToolID: "github"}},
		},
		step{"agent-bot", late, agent.GrantRevoked{ToolID: "github", Cause: agent.CauseToolRemoved}},
		[]string{
			"grants bot/github: decided_at=now decided_by_id=admin decided_position=here " +
				"ended_at=now ended_by_id=admin ended_by_type=human status=revoked",
		},
		"tool github, agent bot, tool github",
	},
	{
		"a backer of a suggestion is given access",
		[]step{registered, added},
		step{"agent-bot", admin, agent.GrantAssigned{ToolID: "github", Reason: "to read issues", SuggestionID: "g1"}},
		[]string{
			"+grants bot/github: approved_at=now approved_by_id=admin approved_by_type=human " +
				"decided_at=now decided_by_id=admin decided_by_type=human decided_position=here " +
				"organization_id=org origin=suggestion position=here reason=to read issues " +
				"reason_folded=to read issues status=approved",
		},
		"tool github, agent bot, tool github",
	},
	{
		"a backer of a suggestion gets a request",
		[]step{registered, added},
		step{
			"agent-bot", admin,
			agent.GrantRequested{ToolID: "github", RequestID: "r1", Reason: "to read issues", SuggestionID: "g1"},
		},
		[]string{
			"+grants bot/github: organization_id=org origin=suggestion position=here reason=to read issues " +
				"reason_folded=to read issues request_id=r1 requested_at=now status=pending",
			"+requests r1: agent_id=bot created_at=now organization_id=org position=here reason=to read issues " +
				"reason_folded=to read issues status=pending tool_id=github",
		},
		"tool github, agent bot, tool github",
	},

	{
		"an agent suggests a tool", []step{registered}, suggested, []string{
			"+suggestion_backers g1/bot: first_at=now last_at=now latest_reason=to plan " +
				"latest_reason_folded=to plan name=Linear position=here",
			"+suggestions g1: backer_count=1 created_at=now last_activity_at=now name=Linear name_folded=linear " +
				"name_searched=linear organization_id=org status=pending",
		}, "suggestion g1, agent bot",
	},
	{
		"another backs it in its own words",
		[]step{registered, another, suggested},
		step{
			"catalog-" + org, self("bot2"),
			catalog.SuggestionBacked{
				SuggestionID: "g1", AgentID: "bot2", Name: "linear", URL: "https://linear.app", Reason: "me too",
			},
		},
		[]string{
			"+suggestion_backers g1/bot2: first_at=now last_at=now latest_reason=me too " +
				"latest_reason_folded=me too name=linear position=here " +
				"url=https://linear.app",
			"suggestions g1: backer_count=2 last_activity_at=now",
		},
		"suggestion g1, agent bot2",
	},
	{
		"the same backs it for another reason",
		[]step{registered, suggested},
		step{
			"catalog-" + org, bot,
			catalog.SuggestionBacked{
				SuggestionID: "g1", AgentID: "bot", Name: "Linear", URL: "https://linear.app", Reason: "to plan more",
			},
		},
		[]string{
			"suggestion_backers g1/bot: last_at=now latest_reason=to plan more latest_reason_folded=to plan more url=https://linear.app",
			"suggestions g1: last_activity_at=now",
		},
		"suggestion g1, agent bot",
	},
	{
		"it is dismissed",
		[]step{registered, suggested},
		step{"catalog-" + org, admin, catalog.SuggestionDismissed{SuggestionID: "g1", Reason: "we use Jira"}},
		[]string{
			"suggestions g1: decided_at=now decided_by_id=admin decided_by_type=human dismissal_reason=we use Jira " +
				"status=dismissed",
		},
		"suggestion g1",
	},
	{
		"a dismissed one comes back",
		[]step{
			registered, suggested,
			{"catalog-" + org, admin, catalog.SuggestionDismissed{SuggestionID: "g1", Reason: "we use Jira"}},
		},
		step{
			"catalog-" + org, bot,
			catalog.SuggestionBacked{SuggestionID: "g1", AgentID: "bot", Name: "Linear", Reason: "still"},
		},
		[]string{
			"suggestion_backers g1/bot: last_at=now latest_reason=still latest_reason_folded=still",
			"suggestions g1: decided_at=0 decided_by_id= decided_by_type= dismissal_reason= last_activity_at=now " +
				"status=pending",
		},
		"suggestion g1, agent bot",
	},
	{
		"a dismissed one is made again too early",
		[]step{registered, suggested, {"catalog-" + org, admin, catalog.SuggestionDismissed{SuggestionID: "g1"}}},
		step{"catalog-" + org, bot, catalog.SuggestionCooldownRefused{SuggestionID: "g1", AgentID: "bot"}},
		nil,
		"suggestion g1, agent bot",
	},
	{
		"a large change is planned", nil,
		step{"catalog-" + org, admin, catalog.ChangePlanned{
			ChangeID: "c1", Parts: []catalog.ChangePart{{SecretID: "s1", Events: 2}},
		}},
		nil, "catalog " + org,
	},
	{
		"a large change is complete", nil,
		step{"catalog-" + org, admin, catalog.ChangeCompleted{ChangeID: "c1"}},
		nil, "catalog " + org,
	},
	{
		"it is accepted",
		[]step{registered, suggested, added},
		step{
			"catalog-" + org, admin,
			catalog.SuggestionAccepted{
				SuggestionID: "g1", ToolID: "github",
				Decisions: []catalog.Decision{{AgentID: "bot", Outcome: catalog.Granted}},
			},
		},
		[]string{
			"suggestions g1: decided_at=now decided_by_id=admin decided_by_type=human status=accepted tool_id=github",
		},
		"suggestion g1, tool github",
	},
	{
		"it is answered by another tool",
		[]step{registered, suggested, added},
		step{
			"catalog-" + org, admin,
			catalog.SuggestionRedirected{
				SuggestionID: "g1", ToolID: "github",
				Decisions: []catalog.Decision{{AgentID: "bot", Outcome: catalog.Pending}},
			},
		},
		[]string{
			"suggestions g1: decided_at=now decided_by_id=admin decided_by_type=human status=redirected tool_id=github",
		},
		"suggestion g1, tool github",
	},

	{
		"an agent has learned something", []step{registered, added}, noted, []string{
			"+note_backers n1/bot: first_at=now last_at=now latest_why=it failed latest_why_folded=it failed position=here",
			"+notes n1: created_at=now guide_version=2 last_activity_at=now learned=page by cursor " +
				"learned_folded=page by cursor organization_id=org position=here status=pending tool_id=github",
		}, "instruction_suggestion n1, agent bot, tool github",
	},
	{
		"another has learned the same",
		[]step{registered, another, added, noted},
		step{
			"guide-github", self("bot2"),
			guide.NoteBacked{NoteID: "n1", ToolID: "github", AgentID: "bot2", Why: "so it is"},
		},
		[]string{
			"+note_backers n1/bot2: first_at=now last_at=now latest_why=so it is latest_why_folded=so it is position=here",
			"notes n1: last_activity_at=now",
		},
		"instruction_suggestion n1, agent bot2, tool github",
	},
	{
		"a note is taken up",
		[]step{registered, added, noted},
		step{"guide-github", admin, guide.NoteAccepted{NoteID: "n1", ToolID: "github", GuideVersion: 3}},
		[]string{"notes n1: decided_at=now decided_by_id=admin decided_by_type=human guide_version=3 status=accepted"},
		"instruction_suggestion n1, tool github",
	},
	{
		"a note is dismissed",
		[]step{registered, added, noted},
		step{"guide-github", admin, guide.NoteDismissed{NoteID: "n1", ToolID: "github", Reason: "it is wrong"}},
		[]string{
			"notes n1: decided_at=now decided_by_id=admin decided_by_type=human dismissal_reason=it is wrong " +
				"status=dismissed",
		},
		"instruction_suggestion n1, tool github",
	},
	{
		"a rule is added", nil, ruling, []string{"+rules u1: name=GitHub for a day organization_id=org"}, "rule u1",
	},
	{
		"a rule gets another name",
		[]step{ruling},
		step{"rules-" + org, admin, rulebook.Changed{
			RuleID: "u1", Version: 2, Rule: rulebook.Text{Name: "GitHub", When: "true"},
		}},
		[]string{
			"+former_names u1/here: name=GitHub for a day organization_id=org",
			"rules u1: name=GitHub",
		},
		"rule u1",
	},
	{
		"a rule fails",
		[]step{ruling},
		step{"rules-" + org, system, rulebook.Failed{RuleID: "u1", Version: 1, RequestID: "r1", Problem: "p"}},
		nil,
		"rule u1",
	},
	{
		"a rule is removed", []step{ruling}, step{"rules-" + org, admin, rulebook.Removed{RuleID: "u1"}}, nil, "rule u1",
	},
	{
		"a rule approves a request",
		[]step{registered, added, hurried},
		step{"agent-bot", byRule, agent.GrantApproved{ToolID: "github", RequestID: "r1", ExpiresAt: &tonight, Rule: &rule}},
		[]string{
			"grants bot/github: approved_at=now approved_by_id=u1 approved_by_type=system " +
				"decided_at=now decided_by_id=u1 decided_by_type=system decided_position=here " +
				`expires_at=now+43195 rule={"id":"u1","version":2,"name":"GitHub for a day"} status=approved`,
			"requests r1: decided_at=now decided_by_id=u1 decided_by_type=system " +
				`decided_position=here rule={"id":"u1","version":2,"name":"GitHub for a day"} status=approved`,
		},
		"tool github, agent bot, tool github",
	},
	{
		"a rule denies a request",
		[]step{registered, added, hurried},
		step{"agent-bot", byRule, agent.GrantDenied{ToolID: "github", RequestID: "r1", Reason: "never", Rule: &rule}},
		[]string{
			"grants bot/github: decided_at=now decided_by_id=u1 decided_by_type=system decided_position=here " +
				`denial_reason=never rule={"id":"u1","version":2,"name":"GitHub for a day"} status=denied`,
			"requests r1: decided_at=now decided_by_id=u1 decided_by_type=system decided_position=here " +
				`denial_reason=never rule={"id":"u1","version":2,"name":"GitHub for a day"} status=denied`,
		},
		"tool github, agent bot, tool github",
	},
	{
		"a notification channel is added", nil, opened, []string{
			"+notification_channels c1: created_at=now host=hooks.slack.com kind=slack name=#ops organization_id=org " +
				"position=here revision=1 topics=access_requested,grant_expiring updated_at=now",
		}, "notification_channel c1",
	},
	{
		"a notification channel gets another name",
		[]step{opened},
		step{"organization-" + org, admin, organization.ChannelUpdated{ChannelID: "c1", Name: new("Ops")}},
		[]string{
			"+former_names c1/here: name=#ops organization_id=org",
			"notification_channels c1: name=Ops revision=2 updated_at=now",
		},
		"notification_channel c1",
	},
	{
		"a notification channel leads elsewhere and gets other topics",
		[]step{opened},
		step{
			"organization-" + org, admin,
			organization.ChannelUpdated{
				ChannelID: "c1", Topics: []domain.Topic{domain.ToolSuggested}, SecretID: "s10", Recipients: 3,
			},
		},
		[]string{"notification_channels c1: host= recipients=3 revision=2 topics=tool_suggested updated_at=now"},
		"notification_channel c1",
	},
	{
		"a notification channel is removed",
		[]step{opened},
		step{"organization-" + org, admin, organization.ChannelRemoved{ChannelID: "c1", SecretID: "s9"}},
		[]string{"notification_channels c1: removed_at=now"},
		"notification_channel c1",
	},
	{
		"a notification is queued", []step{opened}, queued, []string{
			"+deliveries d1: agent_id=bot channel_id=c1 due_at=now organization_id=org place=here position=here " +
				"queued_at=now " +
				"request_id=r1 status=pending tool_id=github topic=access_requested",
		}, "delivery d1",
	},
	{
		"a notification is claimed",
		[]step{opened, queued},
		claimed,
		[]string{"deliveries d1: attempts=1 due_at=now+43196"},
		"delivery d1",
	},
	{
		"a notification is delivered",
		[]step{
			opened, queued, claimed,
			{"delivery-d1", system, delivery.Failed{Attempt: 1, Problem: "p", NextAt: tonight}},
		},
		step{"delivery-d1", system, delivery.Succeeded{Attempt: 1}},
		[]string{"deliveries d1: due_at=0 ended_at=now problem= status=delivered"},
		"delivery d1",
	},
	{
		"a notification is delivered in a digest",
		[]step{opened, queued, claimed},
		step{"delivery-d1", system, delivery.Succeeded{Attempt: 1, Digest: "g1"}},
		[]string{"deliveries d1: digest_id=g1 due_at=0 ended_at=now status=delivered"},
		"delivery d1",
	},
	{
		"a notification fails",
		[]step{opened, queued, claimed},
		step{
			"delivery-d1", system,
			delivery.Failed{Attempt: 1, Problem: "it answered 500", NextAt: tonight.Add(time.Hour)},
		},
		[]string{"deliveries d1: due_at=now+46795 problem=it answered 500 status=failed"},
		"delivery d1",
	},
	{
		"a notification is given up",
		[]step{opened, queued, claimed},
		dead,
		[]string{"deliveries d1: due_at=0 ended_at=now problem=it answered 410 status=dead"},
		"delivery d1",
	},
	{
		"a notification is sent again",
		[]step{opened, queued, claimed, dead},
		step{"delivery-d1", admin, delivery.Requeued{}},
		[]string{"deliveries d1: due_at=now ended_at=0 place=here status=pending"},
		"delivery d1",
	},
	{
		"a turn to send begins",
		[]step{opened},
		step{"lane-c1", system, lane.Claimed{OrganizationID: org, Turn: 1, Deliveries: []string{"d1"}, Until: tonight}},
		nil, "",
	},
	{
		"a turn to send ends",
		[]step{opened},
		step{"lane-c1", system, lane.Released{Turn: 1}},
		nil, "",
	},
	{
		"a channel is held",
		[]step{opened},
		step{"lane-c1", system, lane.Held{Turn: 1, Until: tonight, Asked: true}},
		[]string{"notification_channels c1: held_until=now+43197"},
		"",
	},
	{
		"a channel is resumed",
		[]step{opened, {"lane-c1", system, lane.Held{Turn: 1, Until: tonight}}},
		step{"lane-c1", admin, lane.Resumed{}},
		[]string{"notification_channels c1: held_until=0"},
		"",
	},

	{
		"an installation is begun", nil,
		step{"installation", system, installation.Begun{StoreID: "store-1", OrganizationID: org}},
		nil,
		"installation store-1",
	},
	{
		"a master key is added", nil,
		step{
			"installation", system,
			installation.MasterKeyAdded{MasterKey: installation.MasterKey{ID: "m2", Check: "c0ffee"}},
		},
		[]string{"+master_keys m2: destroyed_position=" + never + " position=here"},
		"master_key m2",
	},
	{
		"a master key is destroyed",
		[]step{{
			"installation", system,
			installation.MasterKeyAdded{MasterKey: installation.MasterKey{ID: "m2", Check: "c0ffee"}},
		}},
		step{"installation", system, installation.MasterKeyDestroyed{ID: "m2"}},
		[]string{"master_keys m2: destroyed_position=here"},
		"master_key m2",
	},
	{
		"a signing key is added", nil,
		step{"signing-keys", system, installation.SigningKeyAdded{
			Keys: installation.Keys{SigningKey: signingKey("key")},
		}},
		nil,
		"signing_key key",
	},
	{
		"a signing key ends", nil,
		step{"signing-keys", system, installation.SigningKeyEnded{KeyID: "former"}},
		nil, "signing_key former",
	},
	{
		"the end of the stream of the signing keys is named", nil,
		step{"installation", system, installation.SigningKeysRecorded{KeyID: "key", Revision: 1}},
		nil, "signing_key key",
	},
	{
		"a restore is found", nil,
		step{"installation", system, installation.RestoreFound{Evidence: installation.Evidence{BackupID: "b1"}}},
		nil,
		"event_log ",
	},
	{
		"an event of others is found", nil,
		step{"installation", system, installation.ForeignEventFound{Finding: installation.Finding{Stream: "agent-1"}}},
		nil, "event_log ",
	},
	{
		"an organization is created", nil,
		step{"organization-" + org, system, organization.Created{Name: "Acme"}},
		[]string{"+organizations " + org + ": name=Acme"},
		"organization " + org,
	},
	{
		"a token is created", nil, tokened,
		nil,
		"service_token t1",
	},
	{
		"a token is revoked",
		[]step{tokened},
		step{"organization-" + org, admin, organization.TokenRevoked{Number: 1, TokenID: "t1"}},
		nil,
		"service_token t1",
	},
	{
		"a token that ended is used",
		[]step{tokened},
		step{
			"refusals-" + org,
			domain.Actor{Type: domain.ActorService, ID: "t1"},
			codec.TokenRefused{TokenID: "t1", Count: 1, LastAt: start},
		},
		nil,
		"service_token t1",
	},
	{
		"a call is more than a role allows", nil,
		step{"refusals-" + org, admin, codec.CallRefused{Operation: "freeze", Role: "viewer", Count: 1, LastAt: start}},
		nil, "operation freeze",
	},
	{
		"an organization is renamed",
		[]step{{"organization-" + org, system, organization.Created{Name: "Acme"}}},
		step{"organization-" + org, admin, organization.Updated{
			Name: new("Apex"), External: &organization.External{ID: "org_2abc"},
		}},
		[]string{
			"+former_names " + org + "/here: name=Acme organization_id=org", "organizations " + org + ": name=Apex",
		},
		"organization " + org,
	},
	{
		"somebody is invited", nil,
		step{"organization-" + org, admin, organization.MemberInvited{InvitationID: "i1", Sealed: "5ea1ed", Role: "admin"}},
		nil, "invitation i1",
	},
	{
		"an invitation is revoked", nil,
		step{"organization-" + org, admin, organization.InvitationRevoked{InvitationID: "i1"}},
		nil, "invitation i1",
	},
	{
		"somebody joins", nil,
		step{"organization-" + org, admin, organization.MemberJoined{MemberID: "p1", InvitationID: "i1", Role: "admin"}},
		nil, "member p1",
	},
	{
		"a member gets another role", nil,
		step{"organization-" + org, admin, organization.MemberUpdated{MemberID: "p1", Role: "viewer"}},
		nil, "member p1",
	},
	{
		"a member is removed", nil,
		step{"organization-" + org, admin, organization.MemberRemoved{MemberID: "p1"}},
		nil, "member p1",
	},
	{
		"a sign-in link is made", nil,
		step{"organization-" + org, system, organization.SessionOffered{SessionID: "s1", TokenID: "t1"}},
		nil, "session s1",
	},
	{
		"a session begins", nil,
		step{"organization-" + org, admin, organization.SessionBegan{SessionID: "s1", MemberID: "p1"}},
		nil, "session s1",
	},
	{
		"a session ends", nil,
		step{"organization-" + org, admin, organization.SessionEnded{SessionID: "s1"}},
		nil, "session s1",
	},
	{
		"all sessions end", nil,
		step{"organization-" + org, admin, organization.SessionsEnded{OwnerID: "p1", Role: "owner"}},
		nil, "session p1",
	},
	{
		"a person has a place in the directory", nil,
		step{"directory-1", admin, codec.DirectoryEntered{OrganizationID: org}},
		nil, "",
	},
	{
		"a person is recorded", nil,
		step{"person-p1", admin, person.Recorded{OrganizationID: org, KeyID: "k", Sealed: "5ea1ed"}},
		nil,
		"person p1",
	},
	{
		"a person is erased", nil,
		step{"person-p1", admin, person.Erased{OrganizationID: org}},
		nil,
		"person p1",
	},
	{
		"a month is erased",
		[]step{{"organization-" + org, system, organization.Created{Name: "Acme"}}},
		step{
			"organization-" + org, admin,
			organization.MonthErased{Month: "2026-03", Through: "2026-03-31", Days: 31, Reason: "its time is over"},
		},
		nil,
		"organization " + org,
	},
	{
		"a request is opened", nil,
		step{"request-r1", bot, codec.RequestOpened{AgentID: "bot", ToolID: "github"}},
		nil,
		"",
	},
	{"a secret is sealed", nil, step{"secret-s1", admin, codec.SecretSealed{SecretID: "s1"}}, nil, ""},
	{"a secret is wrapped again", nil, step{"secret-s1", admin, codec.SecretRewrapped{SecretID: "s1"}}, nil, ""},
	{"a token is used", nil, step{"use-t1", admin, codec.UseNoted{ActorID: "t1"}}, nil, ""},
	{"an idempotency key is reserved", nil, step{"once-1", bot, codec.OnceReserved{CommandID: "c"}}, nil, ""},
	{"an idempotency key is answered", nil, step{"once-1", bot, codec.OnceCompleted{}}, nil, ""},
	{"an idempotency key is released", nil, step{"once-1", bot, codec.OnceReleased{}}, nil, ""},
	{"a key's heads are kept", nil, step{"heads-1", system, codec.SigningKeyHeads{Rows: []byte("rows")}}, nil, ""},
	{"a checkpoint is cosigned", nil, step{"checkpoint-" + org, system, codec.CheckpointCosigned{Size: 1}}, nil, ""},
	{"a checkpoint is signed", nil, step{"checkpoint-" + org, system, codec.CheckpointSigned{Note: "note"}}, nil, ""},
	{
		"a reaction has handled an event", nil,
		step{"reaction-expire", system, codec.ReactionHandled{Stream: "agent-bot"}},
		nil, "",
	},
}

func TestEachEventChangesItsRows(t *testing.T) {
	told := map[string]bool{"log.restore_confirmed.v1": true} // TestAConfirmedRestoreFillsTheRowsAgain
	for _, c := range tellings {
		name, _, err := codec.Encode(c.when.event)
		if err != nil {
			t.Fatal(err)
		}
		told[name] = true
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(codec.Names())), slices.Sorted(maps.Keys(told))); diff != "" {
		t.Errorf("every event of the log has a case here (-log +here):\n%s", diff)
	}
	everywhere(t, func(t *testing.T, w *world) {
		for _, c := range tellings {
			t.Run(c.name, func(t *testing.T) {
				w.empty(t)
				for _, s := range c.given {
					w.happened(s.stream, s.by, s.event)
				}
				w.reached(w.head())
				before := w.dump()
				here := w.then(c.when.stream, c.when.by, c.when.event)
				after := w.dump()
				if diff := cmp.Diff(c.want, changes(before, after, w.now, here)); diff != "" {
					t.Errorf("changes (-want +got):\n%s", diff)
				}
				w.audited(before, after, here, c.when, c.about)
				w.labelled(here, c.about)
			})
		}
	})
}

// never is the position from which on something is so that isn't so yet.
const never = "9223372036854775807"

// TestAConfirmedRestoreFillsTheRowsAgain: what they know may be gone from the log on purpose.
func TestAConfirmedRestoreFillsTheRowsAgain(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.story()
		want := w.dump().only("agents")
		w.sql("DELETE FROM agents", "UPDATE stream_ends SET revision = 1000")
		w.then("installation", system, installation.RestoreConfirmed{SuspendedAgents: 1})
		w.happened(
			"agent-late", admin,
			agent.Registered{OrganizationID: org, Name: "late", Key: agent.Key{Number: 1, ID: "k"}},
		)
		w.reached(w.head()) // they are filled once, not again and again
		got := w.dump()
		if diff := cmp.Diff(w.afresh().rows(), got.rows()); diff != "" {
			t.Errorf("after it (-afresh +live):\n%s", diff)
		}
		got = got.only("agents")
		delete(got, "agents late")
		if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
			t.Errorf("the agents (-before +after):\n%s", diff)
		}
	})
}

// empty takes every row away but the checkpoint, and restarts the day, so that one world serves
// many stories.
func (w *world) empty(t *testing.T) {
	w.t, w.now = t, start.Add(time.Second)
	var statements []string
	for table := range keys {
		if table != "checkpoints" {
			statements = append(statements, "DELETE FROM "+table)
		}
	}
	w.sql(statements...)
}

// labelled checks that the entry at a position names everything that it is about.
func (w *world) labelled(here uint64, about string) {
	w.t.Helper()
	page := readmodels.Page{Before: here + 1, Limit: 1}
	list, err := w.db.Audit(w.t.Context(), org, readmodels.AuditFilter{}, page)
	if err != nil {
		w.t.Fatal(err)
	}
	if about == "" {
		return
	}
	if len(list.Items) != 1 || list.Items[0].Position != here {
		w.t.Fatalf("the newest entry: %+v", list.Items)
	}
	e := list.Items[0]
	// Their names are opened for those who may see them.
	sealed := slices.Contains([]string{"service_token", "member", "invitation", "session", "operation"}, e.Target.Type)
	if (e.Target.Label == "") != sealed || (e.AgentName == "") != (e.AgentID == "") ||
		(e.ToolName == "") != (e.ToolID == "") || (e.Actor.Label == "") != (e.Actor.Type != domain.ActorAgent) {
		w.t.Errorf("something has no name: %+v", e)
	}
}

// findable checks that an entry is found by each word of what somebody wrote, and by no other.
func (w *world) findable(before, after stored, s step) {
	w.t.Helper()
	e := w.last(s.stream)
	var said struct{ Name, Reason, Learned, Why string }
	if err := json.Unmarshal(e.Data, &said); err != nil {
		w.t.Fatal(err)
	}
	about, _, _ := strings.Cut(e.Type, ".")
	switch about {
	case "grant", "instruction_suggestion":
		said.Name = ""
	case "suggestion":
	default:
		said.Name, said.Reason = "", "" // the name of something else, or a code
	}
	want, got := map[string]bool{}, map[string]bool{}
	all := strings.ToLower(strings.Join([]string{said.Name, said.Reason, said.Learned, said.Why}, " "))
	for word := range strings.FieldsSeq(all) {
		want[strings.Trim(word, ".,")] = true
	}
	for name := range after {
		if _, is := before[name]; !is {
			word, _, _ := strings.Cut(strings.TrimPrefix(name, "audit_words "), "/")
			got[word] = true
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("the words of %s (-want +got):\n%s", e.Type, diff)
	}
}

// audited holds the one audit entry that an event made, or none, against the event as it is in the
// log.
func (w *world) audited(before, after stored, here uint64, s step, about string) {
	w.t.Helper()
	w.findable(before.only("audit_words"), after.only("audit_words"), s)
	before, after = before.only("audit_entries"), after.only("audit_entries")
	for name := range before {
		delete(after, name)
	}
	if about == "" {
		if len(after) > 0 {
			w.t.Errorf("audited: %v", after)
		}
		return
	}
	e := w.last(s.stream)
	action, _, _ := strings.Cut(e.Type, ".v1")
	want := map[string]string{
		"organization_id": org, "id": e.ID.String(), "stream": s.stream, "revision": fmt.Sprint(e.Revision),
		"action": action, "actor_type": string(s.by.Type), "actor_id": s.by.ID, "request_id": "call-1",
		"occurred_at": fmt.Sprint(w.now.UnixMicro()), "private": "sealed-private", "agent_id": "", "tool_id": "",
		"on_behalf_of_type": "", "on_behalf_of_id": "", "retry": "0",
	}
	if failed, is := s.event.(delivery.Failed); action == "delivery.claimed" || is && failed.Attempt > 1 {
		want["retry"] = "1"
	}
	for i, thing := range strings.Split(about, ", ") {
		kind, id, _ := strings.Cut(thing, " ")
		if i == 0 {
			want["target_type"], want["target_id"] = kind, id
		} else {
			want[kind+"_id"] = id
		}
	}
	got := after[fmt.Sprintf("audit_entries %d", here)]
	data := got["data"]
	delete(got, "data")
	delete(got, "id_hash")
	// the lists that it is in
	maps.DeleteFunc(got, func(column, _ string) bool { return strings.HasPrefix(column, "in_") })
	if diff := cmp.Diff(want, got); diff != "" || len(after) != 1 {
		w.t.Errorf("audited %d times (-want +got):\n%s", len(after), diff)
	}
	for _, secret := range []string{"5ec4e7", "0ff1ce", "c0ffee", "5ea1ed", `hash"`, `"check"`, `"sealed"`} {
		if strings.Contains(data, secret) {
			w.t.Errorf("the audit shows %s: %s", secret, data)
		}
	}
	if !strings.Contains(string(e.Data), `hash"`) && !strings.Contains(string(e.Data), `"check"`) &&
		!strings.Contains(string(e.Data), `"sealed"`) && data != string(e.Data) {
		w.t.Errorf("the audit has %s of %s", data, e.Data)
	}
}
