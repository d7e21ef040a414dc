package codec

import (
	"time"

	"agentkey/domain"
	"agentkey/domain/agent"
)

// The events of streams on which no aggregate decides. Like those in domain, the structs are the
// wire format.
type (
	// RequestOpened finds the agent of a request by the request's id. It is written before
	// grant.requested; one without is an orphan and names nothing.
	RequestOpened struct {
		AgentID string `json:"agent_id"`
		ToolID  string `json:"tool_id"`
	}
	// DirectoryEntered finds what must not be in clear: the member that a person is in an
	// organization, or an organization that concerns them; and what no scan should look for: the
	// agents that an identity was bound to, the names of the claims that identities of an issuer
	// have, and the issuers of an organization's agents. It is written before the event that it
	// leads to; one without leads nowhere.
	DirectoryEntered struct {
		OrganizationID string `json:"organization_id,omitempty"`
		MemberID       string `json:"member_id,omitempty"`
		AgentID        string `json:"agent_id,omitempty"`
		Claims         string `json:"claims,omitempty"` // with commas between them
		Issuer         string `json:"issuer,omitempty"`
	}
	// CredentialRefused counts refused fetches of one tool for one reason. The first in a minute is
	// written with Count 1 before its answer; the others follow together. Fetches of tools that
	// don't exist are counted as if they were of one, and ToolID is what the last of them asked
	// for.
	CredentialRefused struct {
		AgentID string    `json:"agent_id"`
		ToolID  string    `json:"tool_id"`
		Reason  string    `json:"reason"` // the code of the answer
		Count   int       `json:"count"`
		LastAt  time.Time `json:"last_at"`
		// what a workload presented, the last of those counted; absent for keys
		Identity *agent.Presented `json:"identity,omitempty"`
	}
	// KeyRefused counts calls with a key that had ended, or with the token of a workload whose agent
	// had that identity once: somebody still has it. It is written like CredentialRefused, to the same
	// stream.
	KeyRefused struct {
		AgentID string    `json:"agent_id"`
		KeyID   string    `json:"key_id,omitempty"`
		Reason  string    `json:"reason"` // rotated, unbound, or agent_retired
		Count   int       `json:"count"`
		LastAt  time.Time `json:"last_at"`
		// what a workload presented, as above; absent for keys
		Identity *agent.Presented `json:"identity,omitempty"`
	}
	// TokenRefused counts calls with a service token that was revoked or replaced, or has expired.
	// It is written like KeyRefused, to the stream of the organization's refusals.
	TokenRefused struct {
		TokenID string    `json:"token_id"`
		Count   int       `json:"count"`
		LastAt  time.Time `json:"last_at"`
	}
	// CallRefused counts calls of a member or a service token that their role doesn't allow. It is
	// written like TokenRefused.
	CallRefused struct {
		Operation string      `json:"operation"` // as the API names it
		Role      domain.Role `json:"role"`
		Count     int         `json:"count"`
		LastAt    time.Time   `json:"last_at"`
	}
	// UseNoted says when a service token was used last, or a member called. Its time is that of its
	// metadata, and it replaces the one before it. The next use is written an hour later at the
	// earliest.
	UseNoted struct {
		ActorID string `json:"actor_id"`
	}

	// SecretSealed is one version of one secret.
	SecretSealed struct {
		SecretID       string   `json:"secret_id"`
		OrganizationID string   `json:"organization_id"`
		Purpose        string   `json:"purpose"`
		Owner          string   `json:"owner"`
		Format         string   `json:"format"`
		Sealed         string   `json:"sealed"` // IV ‖ tag ‖ ciphertext, base64url without padding
		Wrapping       Wrapping `json:"wrapping"`
	}
	// SecretRewrapped replaces the wrapping of a secret's data key; the sealed text never changes.
	SecretRewrapped struct {
		SecretID string   `json:"secret_id"`
		Wrapping Wrapping `json:"wrapping"`
	}
	// Wrapping is a data key sealed by a master key.
	Wrapping struct {
		MasterKeyID string `json:"master_key_id"`
		Key         string `json:"key"` // IV ‖ tag ‖ ciphertext, base64url without padding
	}

	// OnceReserved takes an idempotency key for one command. Request is an HMAC of what was asked.
	OnceReserved struct {
		Request   string `json:"request"`
		CommandID string `json:"command_id"`
	}
	// OnceCompleted keeps the answer, sealed, without anything that is shown once. Sealed is empty
	// if the answer is too large for the log.
	OnceCompleted struct {
		Sealed string `json:"sealed"`
	}
	// OnceReleased gives the key back after an answer that may be tried again.
	OnceReleased struct{}

	// CheckpointSigned is a checkpoint of an organization's tree: a signed note.
	CheckpointSigned struct {
		Note string `json:"note"`
	}

	// SigningKeyHeads is a part of the heads of a signing key that has ended. See Heads.
	SigningKeyHeads struct {
		Rows []byte `json:"rows"`
	}

	// CheckpointCosigned is the signature of a witness on a checkpoint over so many leaves.
	CheckpointCosigned struct {
		Size    int64  `json:"size"`
		Witness string `json:"witness"` // as it is registered
		Line    string `json:"line"`    // of the note, without its line break
	}

	// ReactionHandled is how far a reaction has come: the last event that it handled with an
	// effect.
	ReactionHandled struct {
		Stream   string `json:"stream"`
		Revision uint64 `json:"revision"`
	}
)

// Refused is an event of the stream of an agent's refusals, or of an organization's.
type Refused interface{ refused() }

func (CredentialRefused) refused() {}
func (KeyRefused) refused()        {}
func (TokenRefused) refused()      {}
func (CallRefused) refused()       {}
