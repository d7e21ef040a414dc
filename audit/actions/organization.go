package actions

import (
	"strings"
	"unicode"

	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/domain/person"
	"agentkey/eventstore/codec"
)

var ofOrganizations = []row{
	told("organization.created", Organization, "The organization was created.",
		part, organization.Created{}, func(e entry, _ organization.Created) string {
			return e.who() + " created " + e.target("organization")
		}),
	told("organization.updated", Organization, "The name of the organization changed, or its identity provider.",
		ada, organization.Updated{Name: new("Acme")}, func(e entry, d organization.Updated) string {
			if d.External != nil && d.External.Issuer != "" {
				return e.who() + " bound " + e.target("organization") + " to the identity provider " + d.External.Issuer
			}
			if d.External != nil {
				return e.who() + " ended the binding of " + e.target("organization") + " to an identity provider"
			}
			return e.who() + " changed the name of " + e.target("organization")
		}),
	told("member.invited", Organization, "Somebody was invited to become a member.",
		ada, organization.MemberInvited{Role: domain.RoleApprover}, func(e entry, d organization.MemberInvited) string {
			return e.who() + " invited somebody to be " + role(d.Role)
		}),
	told("member.invitation_revoked", Organization, "An invitation was revoked before anyone accepted it.",
		ada, organization.InvitationRevoked{}, func(e entry, _ organization.InvitationRevoked) string {
			return e.who() + " revoked an invitation"
		}),
	told("member.joined", Organization, "Somebody became a member.",
		ada, organization.MemberJoined{Role: domain.RoleApprover}, func(e entry, d organization.MemberJoined) string {
			return e.joined() + " joined as " + role(d.Role)
		}),
	told("member.updated", Organization, "The role of a member, or the tools that they decide about, changed.",
		ada, organization.MemberUpdated{Role: domain.RoleAdmin}, func(e entry, d organization.MemberUpdated) string {
			return e.who() + " made " + e.member() + " " + role(d.Role)
		}),
	told("member.removed", Organization, "A member left or was removed.",
		ada, organization.MemberRemoved{}, func(e entry, _ organization.MemberRemoved) string {
			if e.Actor.ID == e.Target.ID {
				return e.who() + " left the organization"
			}
			return e.who() + " removed " + e.member()
		}),
	told("service_token.created", Organization, "A service token was created.",
		ada, organization.TokenCreated{Role: domain.RoleAuditor}, func(e entry, d organization.TokenCreated) string {
			return e.who() + " created " + e.target("service token") + " with the role " + string(d.Role)
		}),
	told("service_token.revoked", Organization, "A service token was revoked.",
		ada, organization.TokenRevoked{}, func(e entry, _ organization.TokenRevoked) string {
			return e.who() + " revoked " + e.target("service token")
		}),
	told("service_token.refused", Organization, "Calls with a service token that had ended were refused. The first in a "+
		"minute has an entry, and the rest are counted in a second one.",
		part, codec.TokenRefused{Count: 5}, func(e entry, d codec.TokenRefused) string {
			return "A call with " + e.target("service token") + ", which has ended, was refused" + times(d.Count)
		}),
	told("call.refused", Organization, "Calls that the role of a member or service token doesn't allow were refused. "+
		"The first in a minute has an entry, and the rest are counted in a second one.",
		ada, codec.CallRefused{Operation: "exportAudit", Role: domain.RoleViewer, Count: 3},
		func(e entry, d codec.CallRefused) string {
			return e.who() + " was refused the call “" + apart(d.Operation) + "” because the role " + string(d.Role) +
				" doesn't allow it" + times(d.Count)
		}),
	told("session.offered", Organization, "A link was made that begins a session when it is followed.",
		atTheServer, organization.SessionOffered{}, func(e entry, _ organization.SessionOffered) string {
			return e.who() + " made a sign-in link"
		}),
	told("session.began", Organization, "A browser signed in.",
		ada, organization.SessionBegan{}, func(e entry, _ organization.SessionBegan) string {
			return e.who() + " signed in with a browser"
		}),
	told("session.ended", Organization, "A session of a browser ended before its time, or a sign-in link was taken back.",
		ada, organization.SessionEnded{}, func(e entry, _ organization.SessionEnded) string {
			return e.who() + " ended a session"
		}),
	told("session.all_ended", Organization, "Every session of one member or service token, or of everybody, ended.",
		ada, organization.SessionsEnded{}, func(e entry, d organization.SessionsEnded) string {
			if d.OwnerID == "" {
				return e.who() + " ended the sessions of everybody"
			}
			return e.who() + " ended every session of one member or service token"
		}),
	told("person.recorded", Organization, "The name of a person was recorded, sealed with a key of its own.",
		part, person.Recorded{}, func(e entry, _ person.Recorded) string {
			return e.who() + " recorded the name of a person"
		}),
	told("person.erased", Organization, "The name of a person or a service token was erased.",
		ada, person.Erased{}, func(e entry, _ person.Erased) string {
			return e.who() + " erased the name of a person or a service token"
		}),
	told("privacy.month_erased", Organization, "The personal data of a month was erased.",
		ada, organization.MonthErased{Month: "2026-03"}, func(e entry, d organization.MonthErased) string {
			return e.who() + " erased the personal data of " + d.Month
		}),
	told("notification_channel.added", Organization, "A notification channel was added.",
		ada, organization.ChannelAdded{}, func(e entry, _ organization.ChannelAdded) string {
			return e.who() + " added " + e.target("notification channel")
		}),
	told("notification_channel.updated", Organization, "The name, topics or address of a notification channel changed.",
		ada, organization.ChannelUpdated{}, func(e entry, _ organization.ChannelUpdated) string {
			return e.who() + " changed " + e.target("notification channel")
		}),
	told("notification_channel.removed", Organization, "A notification channel was removed.",
		ada, organization.ChannelRemoved{}, func(e entry, _ organization.ChannelRemoved) string {
			return e.who() + " removed " + e.target("notification channel")
		}),
}

// member is the one whom an entry is about.
func (e entry) member() string {
	if text := e.target("member"); text != "a member" {
		return text
	}
	return "a member who was erased"
}

// joined is the same at the beginning of a sentence.
func (e entry) joined() string {
	if e.member() == "a member who was erased" {
		return "Someone who was erased"
	}
	return e.Target.Label
}

// apart is the name of a call of the API as words.
func apart(operation string) string {
	var b strings.Builder
	for _, r := range operation {
		if unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// role is somebody with a role.
func role(r domain.Role) string {
	switch r {
	case domain.RoleOwner, domain.RoleAdmin, domain.RoleApprover, domain.RoleAuditor:
		return "an " + string(r)
	case domain.RoleViewer:
	}
	return "a " + string(r)
}
