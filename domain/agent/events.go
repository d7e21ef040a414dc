// Package agent decides everything that happens to one agent: its identity, its keys, its status
// and all of its grants, because what must not race shares one stream. It never decides on a read
// model, holds no secret and knows of a tool only what arrives on the command.
package agent

import (
	"time"

	"agentkey/domain"
)

// Event is what happened to an agent. The structs are the wire format of the stored events.
//
//sumtype:decl
type Event interface{ agentEvent() }

// Key is an agent key as it is stored: found by its number, told apart by its hash.
type Key struct {
	Number int    `json:"number"`
	ID     string `json:"id"`
	Hash   string `json:"hash"` // SHA-256 of the whole key, hex
}

// KeyEnd says when a key stops working.
type KeyEnd struct {
	Number int       `json:"number"`
	At     time.Time `json:"at"`
}

// The events of an agent's stream. RequestID is empty where access was given without a request.
// ToolFreezes is how often the tool had been frozen when it was decided: another freeze ends it.
type (
	// Registered begins the stream.
	Registered struct {
		OrganizationID string `json:"organization_id"`
		Name           string `json:"name"`
		Description    string `json:"description,omitempty"`
		OwnerID        string `json:"owner_id,omitempty"` // a person's id, never an address
		Key            Key    `json:"key"`

		Labels domain.Labels `json:"labels,omitempty"`
	}
	// Updated holds the fields that changed.
	Updated struct {
		Name        *string `json:"name,omitempty"`
		Description *string `json:"description,omitempty"`
		OwnerID     *string `json:"owner_id,omitempty"`

		Labels *domain.Labels `json:"labels,omitempty"` // all that there are now
	}
	// KeyRotated adds a key and ends the ones before it.
	KeyRotated struct {
		Key   Key      `json:"key"`
		Ended []KeyEnd `json:"ended"`
	}
	// Suspended stops the agent; a GrantRevoked for every open grant follows in the same append.
	Suspended struct{}
	// Reactivated lets the agent call again, with no grant.
	Reactivated struct{}
	// Retired ends the agent for good.
	Retired struct{}

	// GrantRequested is an agent asking for a tool, or having suggested it: SuggestionID is the one
	// that was answered.
	GrantRequested struct {
		ToolID       string `json:"tool_id"`
		RequestID    string `json:"request_id"`
		Reason       string `json:"reason"`
		SuggestionID string `json:"suggestion_id,omitempty"`
		ToolFreezes  int    `json:"tool_freezes,omitempty"`
		// how long the agent wants it
		RequestedSeconds int64 `json:"requested_seconds,omitempty"`
	}
	// GrantWithdrawn is an agent taking its request back.
	GrantWithdrawn struct {
		ToolID    string `json:"tool_id"`
		RequestID string `json:"request_id"`
	}
	// GrantApprovalGiven is one person's yes to a request that needs more of them. DecidedOn, here and
	// below, is the digest of what it said.
	GrantApprovalGiven struct {
		ToolID    string `json:"tool_id"`
		RequestID string `json:"request_id"`
		DecidedOn string `json:"decided_on"`
	}
	// GrantApproved is the yes to a request: the only one, or the last of RequiredApprovals.
	GrantApproved struct {
		ToolID    string `json:"tool_id"`
		RequestID string `json:"request_id"`
		// the agent's own credential, where the tool's mode asks for one
		SecretID         string       `json:"secret_id,omitempty"`
		CredentialFields domain.Parts `json:"credential_fields,omitempty"`
		ExpiresAt        *time.Time   `json:"expires_at,omitempty"`
		DecidedOn        string       `json:"decided_on,omitempty"`
		ToolFreezes      int          `json:"tool_freezes,omitempty"`
		// how many people had to approve it, where the tool needed more than one, and what those before
		// the last one gave
		RequiredApprovals int        `json:"required_approvals,omitempty"`
		Approvals         []Approval `json:"approvals,omitempty"`
		// the rule that decided it, where no human did
		Rule *domain.RuleVersion `json:"rule,omitempty"`
	}
	// GrantDenied is the no to a request, of a human or of a rule.
	GrantDenied struct {
		ToolID    string `json:"tool_id"`
		RequestID string `json:"request_id"`
		Reason    string `json:"reason,omitempty"`
		DecidedOn string `json:"decided_on,omitempty"`

		Rule *domain.RuleVersion `json:"rule,omitempty"`
	}
	// GrantAssigned is access given without a request. SuggestionID and Reason are of the suggestion
	// that it answers.
	GrantAssigned struct {
		ToolID           string       `json:"tool_id"`
		SecretID         string       `json:"secret_id,omitempty"`
		CredentialFields domain.Parts `json:"credential_fields,omitempty"`
		ExpiresAt        *time.Time   `json:"expires_at,omitempty"`
		Reason           string       `json:"reason,omitempty"`
		SuggestionID     string       `json:"suggestion_id,omitempty"`
		ToolFreezes      int          `json:"tool_freezes,omitempty"`
	}
	// GrantRevoked ends access, or a request, from outside. SecretID is the agent's own credential
	// that ends with it.
	GrantRevoked struct {
		ToolID    string `json:"tool_id"`
		RequestID string `json:"request_id,omitempty"`
		SecretID  string `json:"secret_id,omitempty"`
		Cause     Cause  `json:"cause"`
	}
	// GrantExpired ends access whose time has passed. SecretID is the agent's own credential that ends
	// with it.
	GrantExpired struct {
		ToolID   string `json:"tool_id"`
		SecretID string `json:"secret_id,omitempty"`
	}
	// GrantCredentialReplaced gives one agent's access a new credential.
	GrantCredentialReplaced struct {
		ToolID            string       `json:"tool_id"`
		SecretID          string       `json:"secret_id"`
		Replaces          string       `json:"replaces,omitempty"` // the secret before it
		CredentialVersion int          `json:"credential_version"`
		CredentialFields  domain.Parts `json:"credential_fields,omitempty"`
		ExpiresAt         *time.Time   `json:"expires_at,omitempty"` // of the credential
	}
	// CredentialVended is durable before the credential leaves.
	CredentialVended struct {
		ToolID              string `json:"tool_id"`
		SecretID            string `json:"secret_id"`
		CredentialVersion   int    `json:"credential_version"`
		InstructionsVersion int    `json:"instructions_version"`
		// the key that asked, or the identity
		KeyNumber int        `json:"key_number,omitempty"`
		Identity  *Presented `json:"identity,omitempty"`
	}
)

// Cause is why a grant was revoked.
type Cause string

// The causes of a revocation.
const (
	CauseAdmin       Cause = "admin"
	CauseSuspended   Cause = "agent_suspended"
	CauseRetired     Cause = "agent_retired"
	CauseToolRemoved Cause = "tool_removed"
	CauseToolFrozen  Cause = "tool_frozen"
	CauseRuleEnded   Cause = "rule_ended" // before the request that it approved was made
)

func (Registered) agentEvent()              {}
func (Updated) agentEvent()                 {}
func (KeyRotated) agentEvent()              {}
func (Suspended) agentEvent()               {}
func (Reactivated) agentEvent()             {}
func (Retired) agentEvent()                 {}
func (GrantRequested) agentEvent()          {}
func (GrantWithdrawn) agentEvent()          {}
func (GrantApprovalGiven) agentEvent()      {}
func (GrantApproved) agentEvent()           {}
func (GrantDenied) agentEvent()             {}
func (GrantAssigned) agentEvent()           {}
func (GrantRevoked) agentEvent()            {}
func (GrantExpired) agentEvent()            {}
func (GrantCredentialReplaced) agentEvent() {}
func (CredentialVended) agentEvent()        {}
