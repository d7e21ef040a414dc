package agent

import (
	"time"

	"agentkey/domain"
)

// Admit refuses a caller whose key is not live or whose agent is not active at a moment. It is
// decided on the state alone, so the same rule holds when a request begins and when a vend is
// decided again after a conflict.
func Admit(s State, keyNumber int, at time.Time) error {
	key, found := s.FindKey(keyNumber)
	if !s.Exists() || !found {
		return Unknown()
	}
	if !key.Live(at) {
		return &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_expired",
			Detail: "This agent key was rotated and no longer works.",
			Hint:   "Use the newest key; an admin makes one with {rotateKey}.", Next: []domain.Next{{Op: "rotateKey"}},
		}
	}
	if s.Status != StatusActive {
		return suspended()
	}
	return nil
}

// Unknown is the refusal of an unknown key.
func Unknown() *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnauthenticated, Code: "credentials_unknown", Detail: "No agent has this key.",
		Hint: "Check that the whole key was sent as {key}; an admin makes a new one with {rotateKey}.",
		Next: []domain.Next{{Op: "rotateKey"}},
	}
}

func suspended() *domain.Error {
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "agent_suspended", Detail: "This agent is suspended.",
		Hint: "Tell the human who runs you; an admin can let you call again with {reactivateAgent}.",
		Next: []domain.Next{{Op: "reactivateAgent"}},
	}
}

func (c Vend) admit(s State) error {
	if c.Identity != nil {
		return AdmitIdentity(s, c.Identity.Binding)
	}
	return Admit(s, c.KeyNumber, c.At)
}

func vend(s State, c Vend) ([]Event, error) {
	if err := c.admit(s); err != nil {
		return nil, err
	}
	if !c.Tool.Exists {
		return nil, domain.NotFound("tool")
	}
	if err := Uses(s, c.Tool, c.At); err != nil {
		return nil, err
	}
	g := s.Grants[c.Tool.ID]
	secret, version := c.Tool.SecretID, c.Tool.CredentialVersion
	if c.Tool.PerAgent {
		secret, version = g.SecretID, g.CredentialVersion
	}
	if secret == "" { // it was imported from a file, which holds no secret
		return nil, &domain.Error{
			Kind: domain.KindNotFound, Code: "not_found", Detail: "This tool has no credential yet.",
			Hint: "Tell the human who runs you; an admin sets it with {rotateCredential}.",
			Next: []domain.Next{{Op: "rotateCredential", IDs: []string{c.Tool.ID}}},
		}
	}
	return one(CredentialVended{
		ToolID: c.Tool.ID, SecretID: secret, CredentialVersion: version,
		InstructionsVersion: c.Tool.InstructionsVersion, KeyNumber: c.KeyNumber, Identity: c.Identity,
	}), nil
}

// Uses refuses an agent that has no approved access to a tool at a moment.
func Uses(s State, tool Tool, at time.Time) error {
	g := s.Grants[tool.ID]
	if access := g.Of(tool, at); access != Approved {
		return notApproved(g, access, tool)
	}
	return nil
}

func notApproved(g Grant, access GrantStatus, tool Tool) *domain.Error {
	refusal := &domain.Error{
		Kind: domain.KindForbidden, Code: "access_not_approved", Detail: "You have no approved access to this tool.",
		Hint:  `Ask for it with {requestTool} and a body {"reason": "…"} of 5 to 500 characters.`,
		Next:  []domain.Next{{Op: "requestTool", IDs: []string{tool.ID}}},
		Extra: map[string]any{"your_access": string(Shown(access))},
	}
	switch access {
	case Pending:
		refusal.Detail = "Your request for this tool waits for a human."
		refusal.Hint = "Wait, and look at your_access with {getMyTool} from time to time."
		refusal.Next = []domain.Next{{Op: "getMyTool", IDs: []string{tool.ID}}}
		refusal.Extra["request_id"] = g.RequestID
	case Denied:
		if g.DenialReason != "" {
			refusal.Extra["denial_reason"] = g.DenialReason
		}
	case None, Approved, Withdrawn, Revoked, Expired:
		if tool.Frozen {
			refusal.Detail = "This tool is frozen: nobody has access to it."
		}
	}
	return refusal
}

// Shown is a grant's status as agents see it: a request taken back leaves no access, like none at
// all.
func Shown(s GrantStatus) GrantStatus {
	if s == None || s == Withdrawn {
		return "none"
	}
	return s
}
