package projections

import (
	"context"
	"time"

	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/installation"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// credential keeps which versions of credentials there are, when one was removed or replaced, and
// which master keys may have wrapped it.
func (r *rows) credential(ctx context.Context, e codec.Verified) error {
	_, id := codec.Split(e.Stream) // of the agent, in its own events
	position := int64(e.Position)  //nolint:gosec // positions fit
	switch b := e.Event.(type) {
	case installation.Begun:
		for _, k := range b.MasterKeys {
			if err := r.tx.InsertMasterKey(
				ctx, readmodels.InsertMasterKeyParams{ID: k.ID, Position: position},
			); err != nil {
				return err
			}
		}
	case installation.MasterKeyAdded:
		return r.tx.InsertMasterKey(ctx, readmodels.InsertMasterKeyParams{ID: b.ID, Position: position})
	case installation.MasterKeyDestroyed:
		return r.tx.DestroyMasterKey(ctx, readmodels.DestroyMasterKeyParams{ID: b.ID, Position: position})
	case catalog.ToolAdded:
		return r.give(ctx, e, b.ToolID, "", b.SecretID, 1, nil)
	case catalog.ToolCredentialRotated:
		return r.give(ctx, e, b.ToolID, "", b.SecretID, b.CredentialVersion, b.ExpiresAt)
	case catalog.ToolRemoved:
		return r.removeCredential(ctx, e, b.SecretID)
	case agent.GrantApproved:
		return r.give(ctx, e, b.ToolID, id, b.SecretID, 1, nil)
	case agent.GrantAssigned:
		return r.give(ctx, e, b.ToolID, id, b.SecretID, 1, nil)
	case agent.GrantCredentialReplaced:
		return r.give(ctx, e, b.ToolID, id, b.SecretID, b.CredentialVersion, b.ExpiresAt)
	case agent.GrantRevoked:
		return r.removeCredential(ctx, e, b.SecretID)
	case agent.GrantExpired:
		return r.removeCredential(ctx, e, b.SecretID)
	}
	return nil
}

// give replaces the credential of a tool, or that of one agent for it, by another one.
func (r *rows) give(
	ctx context.Context, e codec.Verified, toolID, agentID, secretID string, version int, expires *time.Time,
) error {
	if secretID == "" {
		return nil
	}
	at, position := readmodels.Micros(e.Signed.Time), int64(e.Position) //nolint:gosec // positions fit
	if err := r.tx.ReplaceCredentials(ctx, readmodels.ReplaceCredentialsParams{
		ToolID: toolID, AgentID: agentID, Position: position, At: at,
	}); err != nil {
		return err
	}
	return r.tx.InsertCredential(ctx, readmodels.InsertCredentialParams{
		SecretID: secretID, OrganizationID: e.Signed.Organization, ToolID: toolID, AgentID: agentID,
		Version: int64(version), ExpiresAt: readmodels.MicrosOf(expires), Position: position, At: at,
	})
}

func (r *rows) removeCredential(ctx context.Context, e codec.Verified, secretID string) error {
	if secretID == "" {
		return nil
	}
	return r.tx.RemoveCredential(ctx, readmodels.RemoveCredentialParams{
		SecretID: secretID, At: readmodels.Micros(e.Signed.Time), Position: int64(e.Position), //nolint:gosec // positions fit
	})
}
