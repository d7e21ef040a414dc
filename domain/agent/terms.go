package agent

import (
	"fmt"
	"time"

	"agentkey/domain"
)

// terms checks what approving and assigning share and returns when the grant ends.
func terms(s State, tool Tool, secretID string, at time.Time, expires *time.Time) (*time.Time, error) {
	if err := givable(s, tool); err != nil {
		return nil, err
	}
	if err := ownCredential(tool, secretID); err != nil {
		return nil, err
	}
	if expires != nil && !at.Before(*expires) {
		return nil, domain.Invalid("expires_at", "it must lie in the future")
	}
	if tool.MaxGrant > 0 {
		latest := at.Add(tool.MaxGrant)
		if expires == nil {
			return &latest, nil
		}
		if expires.After(latest) {
			return nil, domain.Invalid(
				"expires_at",
				fmt.Sprintf("this tool is granted for at most %d seconds", int64(tool.MaxGrant/time.Second)),
			)
		}
	}
	return expires, nil
}

// givable refuses access that nobody can be given now.
func givable(s State, tool Tool) error {
	if s.Status != StatusActive {
		return &domain.Error{
			Kind: domain.KindConflict, Code: "agent_not_active",
			Detail: "The agent is suspended; it can't be given access.",
			Hint:   "Reactivate it first with {reactivateAgent}.", Next: []domain.Next{{Op: "reactivateAgent"}},
		}
	}
	if !tool.Exists {
		return domain.NotFound("tool")
	}
	if tool.Frozen {
		return Frozen(tool.ID)
	}
	return nil
}

// ownCredential checks the tool's mode and what was sent: exactly the tools with a credential for
// each agent take one with the grant.
func ownCredential(tool Tool, secretID string) error {
	switch {
	case tool.PerAgent && secretID == "":
		return domain.Invalid("credential", "this tool needs a credential of the agent's own")
	case !tool.PerAgent && secretID != "":
		return domain.Invalid("credential", "this tool has one shared credential; rotate it with {rotateCredential}",
			domain.Next{Op: "rotateCredential", IDs: []string{tool.ID}})
	}
	return nil
}

func replaceCredential(s State, c ReplaceCredential) ([]Event, error) {
	g := s.Grants[c.Tool.ID]
	if !c.Tool.Exists || g.Of(c.Tool, c.At) != Approved {
		return nil, domain.NotFound("grant")
	}
	if err := ownCredential(c.Tool, c.SecretID); err != nil {
		return nil, err
	}
	if c.SecretID == g.SecretID {
		return nil, nil
	}
	if c.ExpiresAt != nil && !c.At.Before(*c.ExpiresAt) {
		return nil, domain.Invalid("expires_at", "it must lie in the future")
	}
	if !c.ReplaceShape {
		next := domain.Next{Op: "replaceGrantCredential", IDs: []string{"", c.Tool.ID}}
		if err := g.CredentialFields.Become(c.CredentialFields, "{replaceGrantCredential}", next); err != nil {
			return nil, err
		}
	}
	return one(GrantCredentialReplaced{
		ToolID: c.Tool.ID, SecretID: c.SecretID, Replaces: g.SecretID, CredentialVersion: g.CredentialVersion + 1,
		CredentialFields: c.CredentialFields, ExpiresAt: c.ExpiresAt,
	}), nil
}
