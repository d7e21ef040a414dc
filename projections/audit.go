package projections

import (
	"bytes"
	"encoding/json"
	"strings"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/delivery"
	"agentkey/domain/guide"
	"agentkey/domain/installation"
	"agentkey/domain/organization"
	"agentkey/domain/rulebook"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// auditEntry returns what the audit says of an event, and false for the streams that it leaves out.
func auditEntry(e codec.Verified) (readmodels.AuditEntry, bool) {
	category, id := codec.Split(e.Stream)
	if !category.Audited() {
		return readmodels.AuditEntry{}, false
	}
	entry := readmodels.AuditEntry{
		Organization: e.Signed.Organization, ID: e.ID.String(), Position: e.Position, Stream: e.Stream,
		Revision: e.Revision, Action: codec.Action(e.Type), Actor: e.Signed.Actor,
		OnBehalfOf: e.Signed.OnBehalfOf, RequestID: e.Signed.RequestID,
		OccurredAt: e.Signed.Time, Data: withoutSecrets(e.Data), Private: e.Signed.Private, ToolID: toolOf(e.Event),
		Retry: isRetry(e.Event), Text: written(e.Event),
	}
	switch {
	case category == codec.Agents, category == codec.Refusals && id != e.Signed.Organization:
		entry.AgentID = id
	case e.Signed.By().Type == domain.ActorAgent:
		entry.AgentID = e.Signed.By().ID
	}
	entry.Target = target(e, category, id, entry.ToolID)
	return entry, true
}

// target says what an event is about: what it is the story of, such as a suggestion; else the tool
// that it concerns, as access and fetches do, whose agent is named too; else the stream's subject.
func target(e codec.Verified, category codec.Category, id, toolID string) readmodels.Target {
	switch b := e.Event.(type) {
	case codec.KeyRefused:
		return readmodels.Target{Type: "agent", ID: b.AgentID}
	case codec.TokenRefused:
		return readmodels.Target{Type: "service_token", ID: b.TokenID}
	case codec.CallRefused:
		return readmodels.Target{Type: "operation", ID: b.Operation}
	case installation.Begun:
		return readmodels.Target{Type: "installation", ID: b.StoreID}
	case installation.MasterKeyAdded:
		return readmodels.Target{Type: "master_key", ID: b.ID}
	case installation.MasterKeyDestroyed:
		return readmodels.Target{Type: "master_key", ID: b.ID}
	case installation.SigningKeyEnded:
		return readmodels.Target{Type: "signing_key", ID: b.KeyID}
	case installation.SigningKeysRecorded:
		return readmodels.Target{Type: "signing_key", ID: b.KeyID}
	case installation.SigningKeyAdded:
		return readmodels.Target{Type: "signing_key", ID: b.SigningKey.ID}
	case installation.RestoreFound, installation.RestoreConfirmed, installation.ForeignEventFound:
		return readmodels.Target{Type: "event_log"}
	case organization.TokenCreated:
		return readmodels.Target{Type: "service_token", ID: b.TokenID}
	case organization.TokenRevoked:
		return readmodels.Target{Type: "service_token", ID: b.TokenID}
	case organization.MemberInvited:
		return readmodels.Target{Type: "invitation", ID: b.InvitationID}
	case organization.InvitationRevoked:
		return readmodels.Target{Type: "invitation", ID: b.InvitationID}
	case organization.MemberJoined:
		return readmodels.Target{Type: "member", ID: b.MemberID}
	case organization.MemberUpdated:
		return readmodels.Target{Type: "member", ID: b.MemberID}
	case organization.MemberRemoved:
		return readmodels.Target{Type: "member", ID: b.MemberID}
	case organization.SessionOffered:
		return readmodels.Target{Type: "session", ID: b.SessionID}
	case organization.SessionBegan:
		return readmodels.Target{Type: "session", ID: b.SessionID}
	case organization.SessionEnded:
		return readmodels.Target{Type: "session", ID: b.SessionID}
	case organization.SessionsEnded:
		return readmodels.Target{Type: "session", ID: b.OwnerID}
	case catalog.SuggestionMade:
		return readmodels.Target{Type: "suggestion", ID: b.SuggestionID}
	case catalog.SuggestionBacked:
		return readmodels.Target{Type: "suggestion", ID: b.SuggestionID}
	case catalog.SuggestionDismissed:
		return readmodels.Target{Type: "suggestion", ID: b.SuggestionID}
	case catalog.SuggestionAccepted:
		return readmodels.Target{Type: "suggestion", ID: b.SuggestionID}
	case catalog.SuggestionRedirected:
		return readmodels.Target{Type: "suggestion", ID: b.SuggestionID}
	case catalog.SuggestionCooldownRefused:
		return readmodels.Target{Type: "suggestion", ID: b.SuggestionID}
	case guide.NoteMade:
		return readmodels.Target{Type: "instruction_suggestion", ID: b.NoteID}
	case guide.NoteBacked:
		return readmodels.Target{Type: "instruction_suggestion", ID: b.NoteID}
	case guide.NoteAccepted:
		return readmodels.Target{Type: "instruction_suggestion", ID: b.NoteID}
	case guide.NoteDismissed:
		return readmodels.Target{Type: "instruction_suggestion", ID: b.NoteID}
	case rulebook.Added:
		return readmodels.Target{Type: "rule", ID: b.RuleID}
	case rulebook.Changed:
		return readmodels.Target{Type: "rule", ID: b.RuleID}
	case rulebook.Removed:
		return readmodels.Target{Type: "rule", ID: b.RuleID}
	case rulebook.Failed:
		return readmodels.Target{Type: "rule", ID: b.RuleID}
	case organization.ChannelAdded:
		return readmodels.Target{Type: "notification_channel", ID: b.ChannelID}
	case organization.ChannelUpdated:
		return readmodels.Target{Type: "notification_channel", ID: b.ChannelID}
	case organization.ChannelRemoved:
		return readmodels.Target{Type: "notification_channel", ID: b.ChannelID}
	}
	if toolID != "" {
		return readmodels.Target{Type: "tool", ID: toolID}
	}
	return readmodels.Target{Type: category.String(), ID: id}
}

func toolOf(body any) string {
	switch b := body.(type) {
	case agent.CredentialVended:
		return b.ToolID
	case codec.CredentialRefused:
		return b.ToolID
	case agent.GrantRequested:
		return b.ToolID
	case agent.GrantWithdrawn:
		return b.ToolID
	case agent.GrantApprovalGiven:
		return b.ToolID
	case agent.GrantApproved:
		return b.ToolID
	case agent.GrantDenied:
		return b.ToolID
	case agent.GrantAssigned:
		return b.ToolID
	case agent.GrantRevoked:
		return b.ToolID
	case agent.GrantExpired:
		return b.ToolID
	case agent.GrantCredentialReplaced:
		return b.ToolID
	case catalog.ToolAdded:
		return b.ToolID
	case catalog.ToolUpdated:
		return b.ToolID
	case catalog.ToolCredentialRotated:
		return b.ToolID
	case catalog.ToolInstructionsRevised:
		return b.ToolID
	case catalog.ToolRemoved:
		return b.ToolID
	case catalog.ToolFrozen:
		return b.ToolID
	case catalog.ToolUnfrozen:
		return b.ToolID
	case catalog.SuggestionAccepted:
		return b.ToolID
	case catalog.SuggestionRedirected:
		return b.ToolID
	case guide.NoteMade:
		return b.ToolID
	case guide.NoteBacked:
		return b.ToolID
	case guide.NoteAccepted:
		return b.ToolID
	case guide.NoteDismissed:
		return b.ToolID
	}
	return ""
}

// isRetry reports whether an event is one more attempt to deliver a notification. The first that
// fails and what ends the attempts say all that changes.
func isRetry(body any) bool {
	switch b := body.(type) {
	case delivery.Claimed:
		return true
	case delivery.Failed:
		return b.Attempt > 1
	}
	return false
}

// written is what an agent or a person wrote in an event, by which the audit is searched.
func written(body any) string {
	switch b := body.(type) {
	case agent.GrantRequested:
		return b.Reason
	case agent.GrantDenied:
		return b.Reason
	case agent.GrantAssigned:
		return b.Reason
	case catalog.SuggestionMade:
		return b.Name + "\n" + b.Reason
	case catalog.SuggestionBacked:
		return b.Name + "\n" + b.Reason
	case catalog.SuggestionDismissed:
		return b.Reason
	case guide.NoteMade:
		return b.Learned + "\n" + b.Why
	case guide.NoteBacked:
		return b.Why
	case guide.NoteDismissed:
		return b.Reason
	}
	return ""
}

// withheld lists the members that the audit doesn't show: hashes and check values of keys, and
// sealed text.
func withheld(member string) bool {
	return strings.HasSuffix(member, "hash") || member == "check" || member == "sealed"
}

// withoutSecrets returns an event's data without the members that are withheld, at any depth.
func withoutSecrets(data []byte) []byte {
	if !bytes.Contains(data, []byte(`hash"`)) && !bytes.Contains(data, []byte(`"check"`)) &&
		!bytes.Contains(data, []byte(`"sealed"`)) {
		return data
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return []byte("{}") // it was decoded before, so this does not happen; nothing is shown rather than too much
	}
	clean, err := json.Marshal(strip(v))
	if err != nil {
		return []byte("{}")
	}
	return clean
}

func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for member, value := range v {
			if withheld(member) {
				delete(v, member)
				continue
			}
			v[member] = strip(value)
		}
	case []any:
		for i := range v {
			v[i] = strip(v[i])
		}
	}
	return v
}
