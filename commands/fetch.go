package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
	"agentkey/eventstore/spans"
)

// Fetch hands out credentials. The order is the whole point: the vend is durable before the secret
// is opened, and what it names is checked against the log once more before the secret leaves.
type Fetch struct {
	Agents   *AgentLoop
	Catalogs *CatalogLoop
	Secrets  *seal.Secrets
	Refusals *Refusals
	Fence    *Fence
	Log      *eventstore.Client
	NewID    func() uuid.UUID
}

// VendedCredential is a credential on its way out, with the receipt of its event.
type VendedCredential struct {
	ToolID              string
	ToolName            string
	AuthType            catalog.AuthType
	Credential          domain.Secret // as it was given, the JSON text of NewCredential; the caller clears it
	CredentialVersion   int
	CredentialExpiresAt *time.Time
	Instructions        string
	InstructionsVersion int
	EventID             uuid.UUID
	Stream              string
	Revision            int64
	Position            uint64
}

// attempts bounds how often a fetch is decided again because the catalog changed meanwhile.
const attempts = 8

// Do vends the credential of one tool to the agent that called with this proof. When it
// returns without an error, credential.vended is durable and came before any revocation,
// suspension, rotation or removal acknowledged since. Refusals are recorded before they are
// returned.
func (f *Fetch) Do(
	ctx context.Context, m loop.Meta, agentID string, by Proof, toolID string,
) (VendedCredential, error) {
	for range attempts {
		v, again, err := f.once(ctx, m, agentID, by, toolID)
		if refusal := (*domain.Error)(nil); errors.As(err, &refusal) && refusal.Kind != domain.KindUnavailable {
			known, rerr := f.Catalogs.Cached(ctx, m.Organization) // it was read for this refusal
			if rerr == nil {
				rerr = f.record(ctx, m, known.State, agentID, by, toolID, refusal.Code)
			}
			if rerr != nil {
				return VendedCredential{}, rerr
			}
		}
		if err != nil || !again {
			return v, err
		}
		m.CommandID = f.NewID() // another vend, another event
	}
	return VendedCredential{}, &domain.Error{
		Kind: domain.KindUnavailable, Code: "busy", Detail: "The tool's credential is being changed right now.",
		Hint: "Send the same request again after {wait}.", RetryAfter: time.Second,
	}
}

// Refused records a fetch that was refused before Do. Its only errors are those of the log.
func (f *Fetch) Refused(
	ctx context.Context, m loop.Meta, agentID string, by Proof, toolID, reason string,
) error {
	now, err := f.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return err
	}
	return f.record(ctx, m, now.State, agentID, by, toolID, reason)
}

func (f *Fetch) record(
	ctx context.Context, m loop.Meta, s catalog.State, agentID string, by Proof, toolID, reason string,
) error {
	asked := Asked{ToolID: toolID, Identity: by.Identity}
	if _, offered := s.Tools[toolID]; !offered {
		return f.Refusals.Unknown(ctx, m, agentID, asked, reason)
	}
	return f.Refusals.Record(ctx, m, agentID, asked, reason)
}

func (f *Fetch) once(
	ctx context.Context, m loop.Meta, agentID string, by Proof, toolID string,
) (v VendedCredential, again bool, err error) {
	streams := []string{
		codec.Agents.Stream(agentID), codec.Catalogs.Stream(m.Organization), codec.Organizations.Stream(m.Organization),
	}
	if _, err := f.Fence.Admit(ctx, streams...); err != nil {
		return VendedCredential{}, false, err // before there is an event
	}
	known, err := f.Catalogs.Cached(ctx, m.Organization)
	if err != nil {
		return VendedCredential{}, false, err
	}
	done, err := f.Agents.Do(ctx, agentID, m, func(s agent.State, at time.Time) (agent.Command, error) {
		if s.OrganizationID != m.Organization {
			return nil, agent.Unknown()
		}
		return agent.Vend{At: at, Tool: ToolFacts(known.State, toolID), KeyNumber: by.KeyNumber, Identity: by.Identity}, nil
	})
	// The append, or the fresh read behind a refusal, was the barrier; this read begins after it.
	now, rerr := f.Catalogs.Fresh(ctx, m.Organization)
	if err != nil && !isRefusal(err) {
		return VendedCredential{}, false, err
	}
	if rerr != nil {
		return VendedCredential{}, false, rerr
	}
	if err != nil {
		moved := named(now.State, toolID) != named(known.State, toolID)
		return VendedCredential{}, moved, unless(moved, err)
	}
	tool, offered := now.State.Tools[toolID]
	through, err := f.Fence.Admit(ctx, streams...) // the append may have gone over another connection
	if err != nil {
		return VendedCredential{}, false, err
	}
	// The node that acknowledged the append has everything that came before it; another may not.
	if done.Connection != through || f.Log.Generation() != through || !offered ||
		named(now.State, toolID) != named(known.State, toolID) {
		return VendedCredential{}, true, nil
	}
	vend, ok := vendOf(done.Events)
	if !ok {
		return VendedCredential{}, false, fmt.Errorf("the command %s vended nothing", m.CommandID)
	}
	grant := done.State.Grants[toolID]
	owner, expires := toolOwner(toolID), tool.CredentialExpiresAt
	if tool.Mode == catalog.PerAgent {
		owner, expires = grantOwner(agentID, toolID), grant.CredentialExpiresAt
	}
	opening, span := spans.Step(ctx, "open", "credential")
	secret, err := f.Secrets.Open(opening, credentialBinding(m.Organization, owner, vend.SecretID))
	spans.End(span, "")
	if errors.Is(err, seal.ErrGone) {
		again, gerr := f.replaced(ctx, m, agentID, toolID, vend.SecretID)
		return VendedCredential{}, again, errors.Join(gerr, unless(again || gerr != nil, err))
	}
	if err != nil {
		return VendedCredential{}, false, secretRefusal(err)
	}
	return VendedCredential{
		ToolID: toolID, ToolName: tool.Name, AuthType: tool.AuthType, Credential: secret,
		CredentialVersion: vend.CredentialVersion, CredentialExpiresAt: expires,
		Instructions: tool.Instructions, InstructionsVersion: tool.InstructionsVersion,
		EventID: done.EventID, Stream: codec.Agents.Stream(agentID), Revision: done.Revision, Position: done.Position,
	}, false, nil
}

// replaced tells a secret that was rotated away after the vend, which is decided again, from one
// that is simply missing, which is a fault.
func (f *Fetch) replaced(ctx context.Context, m loop.Meta, agentID, toolID, secretID string) (bool, error) {
	now, err := f.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return false, err
	}
	head, err := f.Agents.Fresh(ctx, agentID)
	if err != nil {
		return false, err
	}
	current := now.State.Tools[toolID].SecretID
	if now.State.Tools[toolID].Mode == catalog.PerAgent {
		current = head.State.Grants[toolID].SecretID
	}
	return current != secretID, nil
}

// ToolFacts is what decisions about an agent's access read of a catalog.
func ToolFacts(s catalog.State, toolID string) agent.Tool {
	t, found := s.Tools[toolID]
	facts := toolFacts(toolID, t)
	facts.Exists = found
	return facts
}

func toolFacts(toolID string, t catalog.Tool) agent.Tool {
	return agent.Tool{
		ID: toolID, Name: t.Name, Exists: true, PerAgent: t.Mode == catalog.PerAgent, SecretID: t.SecretID,
		CredentialVersion: t.CredentialVersion, InstructionsVersion: t.InstructionsVersion,
		MaxGrant: time.Duration(t.MaxGrantSeconds) * time.Second,
		Frozen:   t.FrozenAt != nil, Freezes: t.Freezes, Rules: t.Approval,
	}
}

// named is what a vend names of a tool: if it moved, the vend is decided again.
func named(s catalog.State, toolID string) agent.Tool {
	facts := ToolFacts(s, toolID)
	facts.MaxGrant, facts.Name, facts.Rules = 0, "", domain.ApprovalRules{}
	return facts
}

func vendOf(events []agent.Event) (agent.CredentialVended, bool) {
	if len(events) != 1 {
		return agent.CredentialVended{}, false
	}
	v, ok := events[0].(agent.CredentialVended)
	return v, ok
}

func isRefusal(err error) bool {
	var refusal *domain.Error
	return errors.As(err, &refusal) && refusal.Kind != domain.KindUnavailable
}

func unless(condition bool, err error) error {
	if condition {
		return nil
	}
	return err
}

func toolOwner(toolID string) string           { return "tool/" + toolID }
func changeOwner(changeID string) string       { return "change/" + changeID }
func grantOwner(agentID, toolID string) string { return "agent/" + agentID + "/tool/" + toolID }

func credentialBinding(organization, owner, secretID string) seal.Binding {
	return seal.Binding{SecretID: secretID, Organization: organization, Purpose: seal.Credential, Owner: owner}
}

// secretRefusal tells a caller that this process lacks a master key; everything else stays a fault.
func secretRefusal(err error) error {
	if errors.Is(err, seal.ErrMasterKeyMissing) {
		return &domain.Error{
			Kind: domain.KindUnavailable, Code: "busy",
			Detail: "This process lacks the master key that opens the credential.",
			Hint: "An operator must configure the key named in {getReadiness} on every replica; then send the same " +
				"request again.",
			Next: []domain.Next{{Op: "getReadiness"}}, RetryAfter: 10 * time.Second,
		}
	}
	return loop.Refusal(err)
}
