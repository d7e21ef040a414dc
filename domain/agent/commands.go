package agent

import (
	"time"

	"agentkey/domain"
)

// Command is something to decide on an agent's stream. At is the moment of the decision; the
// command loop sets it to the later of its own clock and the stream's last event.
//
//sumtype:decl
type Command interface{ agentCommand() }

// Tool is what a decision needs to know of the catalog: read from the catalog's stream, never from
// a read model.
type Tool struct {
	ID                  string
	Name                string
	Exists              bool
	PerAgent            bool // each agent has a credential of its own
	SecretID            string
	CredentialVersion   int
	InstructionsVersion int
	MaxGrant            time.Duration // 0: no limit
	Frozen              bool          // nobody may be given access
	Freezes             int           // how often it was frozen; what is of a lower count has ended
	Rules               domain.ApprovalRules
}

// The commands of an agent.
type (
	// Register begins the agent.
	Register struct {
		OrganizationID, Name, Description, OwnerID string
		Key                                        Key
		Labels                                     domain.Labels
	}
	// Update changes the named fields; nil leaves one alone. Here and below IfRevision are the
	// revisions of the resource that the edit may be based on.
	Update struct {
		Name, Description, OwnerID *string
		Labels                     *domain.Labels
		IfRevision                 domain.Revisions
	}
	// RotateKey replaces the keys; the newest former one works on for Overlap. The key's number is the
	// state's NextKey. Force ends a key within the overlap that an earlier rotation promised.
	RotateKey struct {
		At         time.Time
		Key        Key
		Overlap    time.Duration
		Force      bool
		IfRevision domain.Revisions
	}
	// Suspend stops the agent and ends every open grant.
	Suspend struct{ IfRevision domain.Revisions }
	// Reactivate lets it call again.
	Reactivate struct{ IfRevision domain.Revisions }
	// Retire ends it for good.
	Retire struct{ IfRevision domain.Revisions }

	// Request asks for a tool.
	Request struct {
		At        time.Time
		Tool      Tool
		RequestID string
		Reason    string
		Seconds   int64 // that it wants access for; 0: it doesn't say
	}
	// Withdraw takes a pending request back.
	Withdraw struct{ ToolID string }
	// Approve says yes to one request, if it is what was Seen. SecretID names the agent's own
	// credential where the tool's mode asks for one. Where the tool needs several approvals, the terms
	// are those of the last one.
	Approve struct {
		At               time.Time
		Tool             Tool
		RequestID        string
		SecretID         string
		CredentialFields domain.Parts // of that credential
		ExpiresAt        *time.Time
		Seen             domain.Seen
		By               Approver
	}
	// Deny says no to one request.
	Deny struct {
		Tool      Tool
		RequestID string
		Reason    string
		Seen      domain.Seen
	}
	// Assign gives access without a request, or approves the pending one.
	Assign struct {
		At               time.Time
		Tool             Tool
		SecretID         string
		CredentialFields domain.Parts
		ExpiresAt        *time.Time
		By               Approver
	}
	// Seed carries out what an answered suggestion decided for the agent: access, or a request where
	// Approved is false. It gives only what the agent never had, asked for or lost: whatever happened
	// to its grant of this tool stays so. Suspensions is how often the agent had been suspended when
	// it was decided; one since then ends it too.
	Seed struct {
		At           time.Time
		Tool         Tool
		SuggestionID string
		RequestID    string
		Reason       string
		Approved     bool
		Suspensions  int
	}
	// Revoke ends access or a request. With Freeze it ends only what is from before that freeze of the
	// tool.
	Revoke struct {
		ToolID string
		Cause  Cause
		Freeze int
	}
	// RevokeApproved ends all access that one person or token gave at Since or later, and nobody has
	// given again since then.
	RevokeApproved struct {
		By    string
		Since time.Time
	}
	// Expire ends access whose time has passed. What a freeze of the tool has ended doesn't expire.
	Expire struct {
		At   time.Time
		Tool Tool
	}
	// ReplaceCredential gives the agent's access a new credential of its own; one of other parts only
	// if ReplaceShape says so.
	ReplaceCredential struct {
		At               time.Time
		Tool             Tool
		SecretID         string
		CredentialFields domain.Parts
		ReplaceShape     bool
		ExpiresAt        *time.Time
	}
	// Vend hands out a credential. KeyNumber is the key that asked, or Identity what a workload
	// presented: a key that is not live any more, or an identity that was unbound, gets nothing.
	Vend struct {
		At        time.Time
		Tool      Tool
		KeyNumber int
		Identity  *Presented
	}
)

func (Register) agentCommand()          {}
func (FollowRule) agentCommand()        {}
func (Update) agentCommand()            {}
func (RotateKey) agentCommand()         {}
func (Suspend) agentCommand()           {}
func (Reactivate) agentCommand()        {}
func (Retire) agentCommand()            {}
func (Request) agentCommand()           {}
func (Withdraw) agentCommand()          {}
func (Approve) agentCommand()           {}
func (Deny) agentCommand()              {}
func (Assign) agentCommand()            {}
func (Seed) agentCommand()              {}
func (Revoke) agentCommand()            {}
func (RevokeApproved) agentCommand()    {}
func (Expire) agentCommand()            {}
func (ReplaceCredential) agentCommand() {}
func (Vend) agentCommand()              {}
