// Package codec is the form in which events are stored: the one table of every name ever written,
// the signed metadata beside each event, and the verification of both. It decides nothing, and it
// skips nothing: a name or a signature that it does not know is an error.
package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/delivery"
	"agentkey/domain/guide"
	"agentkey/domain/installation"
	"agentkey/domain/lane"
	"agentkey/domain/organization"
	"agentkey/domain/person"
	"agentkey/domain/rulebook"
)

// ErrUnknownEvent marks a stored name, or a field in an event, that this version does not know.
// Nothing that depends on such a stream is decided.
var ErrUnknownEvent = errors.New("this event was written by a newer version of agentkey")

// Snapshot is the type of snapshot events. It isn't a domain event: the projections' filter leaves
// it out.
const Snapshot = "~snapshot.v1"

type row struct {
	name   string
	encode func(any) ([]byte, bool, error)
	decode func([]byte) (any, error)
}

func of[T any](name string) row {
	return row{
		name: name,
		encode: func(v any) ([]byte, bool, error) {
			event, ok := v.(T)
			if !ok {
				return nil, false, nil
			}
			data, err := json.Marshal(event)
			return data, true, err
		},
		decode: func(data []byte) (any, error) {
			var event T
			d := json.NewDecoder(bytes.NewReader(data))
			d.DisallowUnknownFields()
			if err := d.Decode(&event); err != nil {
				return nil, err
			}
			if d.More() {
				return nil, errors.New("it holds more than one value")
			}
			return event, nil
		},
	}
}

// table has a line for each name ever written. A line is never changed or removed; an older version
// of an event gets a line whose decode lifts it to the newest struct.
var table = []row{
	of[agent.CredentialVended]("credential.vended.v1"), // first: the most frequent by far
	of[CredentialRefused]("credential.refused.v1"),
	of[KeyRefused]("agent.key_refused.v1"),
	of[TokenRefused]("service_token.refused.v1"),
	of[CallRefused]("call.refused.v1"),

	of[installation.Begun]("installation.begun.v1"),
	of[installation.MasterKeyAdded]("master_key.added.v1"),
	of[installation.MasterKeyDestroyed]("master_key.destroyed.v1"),
	of[installation.SigningKeyAdded]("signing_key.added.v1"),
	of[installation.SigningKeyEnded]("signing_key.ended.v1"),
	of[installation.SigningKeysRecorded]("signing_key.recorded.v1"),
	of[installation.RestoreFound]("log.restore_found.v1"),
	of[installation.RestoreConfirmed]("log.restore_confirmed.v1"),
	of[installation.ForeignEventFound]("log.foreign_event_found.v1"),

	of[organization.Created]("organization.created.v1"),
	of[organization.TokenCreated]("service_token.created.v1"),
	of[organization.TokenRevoked]("service_token.revoked.v1"),
	of[organization.Updated]("organization.updated.v1"),
	of[organization.MemberInvited]("member.invited.v1"),
	of[organization.InvitationRevoked]("member.invitation_revoked.v1"),
	of[organization.MemberJoined]("member.joined.v1"),
	of[organization.MemberUpdated]("member.updated.v1"),
	of[organization.MemberRemoved]("member.removed.v1"),
	of[organization.SessionOffered]("session.offered.v1"),
	of[organization.SessionBegan]("session.began.v1"),
	of[organization.SessionEnded]("session.ended.v1"),
	of[organization.SessionsEnded]("session.all_ended.v1"),
	of[organization.MonthErased]("privacy.month_erased.v1"),
	of[organization.ChannelAdded]("notification_channel.added.v1"),
	of[organization.ChannelUpdated]("notification_channel.updated.v1"),
	of[organization.ChannelRemoved]("notification_channel.removed.v1"),

	of[agent.Registered]("agent.registered.v1"),
	of[agent.Updated]("agent.updated.v1"),
	of[agent.KeyRotated]("agent.key_rotated.v1"),
	of[agent.IdentityBound]("agent.identity_bound.v1"),
	of[agent.IdentityUnbound]("agent.identity_unbound.v1"),
	of[agent.Suspended]("agent.suspended.v1"),
	of[agent.Reactivated]("agent.reactivated.v1"),
	of[agent.Retired]("agent.retired.v1"),
	of[agent.GrantRequested]("grant.requested.v1"),
	of[agent.GrantWithdrawn]("grant.withdrawn.v1"),
	of[agent.GrantApprovalGiven]("grant.approval_given.v1"),
	of[agent.GrantApproved]("grant.approved.v1"),
	of[agent.GrantDenied]("grant.denied.v1"),
	of[agent.GrantAssigned]("grant.assigned.v1"),
	of[agent.GrantRevoked]("grant.revoked.v1"),
	of[agent.GrantExpired]("grant.expired.v1"),
	of[agent.GrantCredentialReplaced]("grant.credential_replaced.v1"),

	of[rulebook.Added]("rule.added.v1"),
	of[rulebook.Changed]("rule.changed.v1"),
	of[rulebook.Removed]("rule.removed.v1"),
	of[rulebook.Failed]("rule.failed.v1"),

	of[catalog.ToolAdded]("tool.added.v1"),
	of[catalog.ToolUpdated]("tool.updated.v1"),
	of[catalog.ToolCredentialRotated]("tool.credential_rotated.v1"),
	of[catalog.ToolInstructionsRevised]("tool.instructions_revised.v1"),
	of[catalog.ToolRemoved]("tool.removed.v1"),
	of[catalog.ToolFrozen]("tool.frozen.v1"),
	of[catalog.ToolUnfrozen]("tool.unfrozen.v1"),
	of[catalog.SuggestionMade]("suggestion.made.v1"),
	of[catalog.SuggestionBacked]("suggestion.backed.v1"),
	of[catalog.SuggestionDismissed]("suggestion.dismissed.v1"),
	of[catalog.SuggestionAccepted]("suggestion.accepted.v1"),
	of[catalog.SuggestionRedirected]("suggestion.redirected.v1"),
	of[catalog.SuggestionCooldownRefused]("suggestion.cooldown_refused.v1"),
	of[catalog.ChangePlanned]("catalog.change_planned.v1"),
	of[catalog.ChangeCompleted]("catalog.change_completed.v1"),

	of[guide.NoteMade]("instruction_suggestion.made.v1"),
	of[guide.NoteBacked]("instruction_suggestion.backed.v1"),
	of[guide.NoteAccepted]("instruction_suggestion.accepted.v1"),
	of[guide.NoteDismissed]("instruction_suggestion.dismissed.v1"),

	of[delivery.Queued]("delivery.queued.v1"),
	of[delivery.Claimed]("delivery.claimed.v1"),
	of[delivery.Succeeded]("delivery.succeeded.v1"),
	of[delivery.Failed]("delivery.failed.v1"),
	of[delivery.Abandoned]("delivery.abandoned.v1"),
	of[delivery.Requeued]("delivery.requeued.v1"),
	of[lane.Claimed]("lane.claimed.v1"),
	of[lane.Released]("lane.released.v1"),
	of[lane.Held]("lane.held.v1"),
	of[lane.Resumed]("lane.resumed.v1"),

	of[RequestOpened]("request.opened.v1"),
	of[DirectoryEntered]("directory.entered.v1"),
	of[person.Recorded]("person.recorded.v1"),
	of[person.Erased]("person.erased.v1"),
	of[SecretSealed]("secret.sealed.v1"),
	of[SecretRewrapped]("secret.rewrapped.v1"),
	of[UseNoted]("use.noted.v1"),
	of[OnceReserved]("once.reserved.v1"),
	of[OnceCompleted]("once.completed.v1"),
	of[OnceReleased]("once.released.v1"),
	of[CheckpointSigned]("checkpoint.signed.v1"),
	of[SigningKeyHeads]("heads.part.v1"),
	of[CheckpointCosigned]("checkpoint.cosigned.v1"),
	of[ReactionHandled]("reaction.handled.v1"),
}

var byName = func() map[string]row {
	m := make(map[string]row, len(table))
	for _, r := range table {
		m[r.name] = r
	}
	return m
}()

// Encode returns the stored name and the data of an event. An event that is not in the table is a
// fault.
func Encode(event any) (name string, data []byte, err error) {
	for _, r := range table {
		data, ok, err := r.encode(event)
		if err != nil {
			return "", nil, fmt.Errorf("encode %s: %w", r.name, err)
		}
		if ok {
			return r.name, data, nil
		}
	}
	return "", nil, fmt.Errorf("encode %T: not in the table of events", event)
}

// Decode returns the event of a stored name. An unknown name, or an unknown field, wraps
// ErrUnknownEvent.
func Decode(name string, data []byte) (any, error) {
	r, known := byName[name]
	if !known {
		return nil, fmt.Errorf("%w: %q", ErrUnknownEvent, name)
	}
	event, err := r.decode(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnknownEvent, name, err)
	}
	return event, nil
}

// Names lists every name of the table.
func Names() []string {
	names := make([]string, 0, len(table))
	for _, r := range table {
		names = append(names, r.name)
	}
	return names
}

// Action is a stored name without its version.
func Action(name string) string {
	if i := strings.LastIndex(name, ".v"); i > 0 {
		return name[:i]
	}
	return name
}

// Actions lists the actions of the audit. Events of streams that are not audited are named after
// their category.
func Actions() []string {
	var actions []string
	for _, r := range table {
		action := Action(r.name)
		about, _, _ := strings.Cut(action, ".")
		unaudited := slices.ContainsFunc(categories[:], func(c category) bool { return c.name == about && !c.audited })
		if !unaudited && !slices.Contains(actions, action) {
			actions = append(actions, action)
		}
	}
	slices.Sort(actions)
	return actions
}
