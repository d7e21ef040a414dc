package door

import (
	"strings"

	"agentkey/commands/keys"
	"agentkey/domain"
)

// presented reads the key of a call from its Authorization.
func presented(authorization []string) (keys.Key, error) {
	if len(authorization) == 0 {
		return keys.Key{}, &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_missing", Detail: "This call needs a key.",
			Hint: "Send it as Authorization: Bearer sk_agent_… (agents) or Bearer sk_admin_… (admins).",
		}
	}
	scheme, text, _ := strings.Cut(authorization[0], " ")
	key, err := keys.Parse(strings.TrimSpace(text))
	if len(authorization) > 1 || !strings.EqualFold(scheme, "Bearer") || err != nil {
		return keys.Key{}, &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_malformed",
			Detail: "This is not an AgentKey key, or it is mistyped: its checksum does not match.",
			Hint:   "Send the whole key as Authorization: Bearer sk_agent_… or Bearer sk_admin_….",
		}
	}
	return key, nil
}
