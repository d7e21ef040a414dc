package projections

import (
	"context"
	"encoding/json"

	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// keptKeys is how many keys an agent's state keeps: those that may be live, and the last that
// ended.
const keptKeys = 3

func (r *rows) agent(ctx context.Context, id string, e codec.Verified, body agent.Event) error {
	at, by := readmodels.Micros(e.Signed.Time), e.Signed.By()
	switch b := body.(type) {
	case agent.Registered:
		err := r.tx.InsertAgent(ctx, readmodels.InsertAgentParams{
			ID: id, OrganizationID: b.OrganizationID, Position: int64(e.Position), //nolint:gosec // positions fit
			Name: b.Name, NameFolded: readmodels.Fold(b.Name), Description: b.Description,
			DescriptionFolded: readmodels.Fold(b.Description), OwnerID: b.OwnerID, CreatedAt: at,
			CreatedByType: string(by.Type), CreatedByID: by.ID, Labels: string(b.Labels),
		})
		if err != nil {
			return err
		}
		return r.key(ctx, id, b.Key, at)
	case agent.Updated:
		if b.Name != nil {
			if err := r.tx.KeepFormerAgentName(ctx, readmodels.KeepFormerAgentNameParams{
				ID: id, Position: int64(e.Position), Name: *b.Name, //nolint:gosec // positions fit
			}); err != nil {
				return err
			}
		}
		return r.tx.UpdateAgent(ctx, readmodels.UpdateAgentParams{
			ID: id, Name: readmodels.Optional(b.Name), NameFolded: readmodels.Optional(folded(b.Name)),
			Description: readmodels.Optional(b.Description), OwnerID: readmodels.Optional(b.OwnerID),
			DescriptionFolded: readmodels.Optional(folded(b.Description)), Labels: readmodels.Optional(b.Labels),
		})
	case agent.KeyRotated:
		return r.rotate(ctx, id, b, at)
	case agent.IdentityBound:
		identity, err := json.Marshal(readmodels.Identity{
			Issuer: b.Issuer, Audience: b.Audience, Claims: b.Claims, KeysPasted: b.Keys != "",
		})
		if err != nil {
			return err
		}
		return r.tx.SetAgentIdentity(
			ctx, readmodels.SetAgentIdentityParams{ID: id, Identity: string(identity), BoundAt: at},
		)
	case agent.IdentityUnbound:
		return r.tx.SetAgentIdentity(ctx, readmodels.SetAgentIdentityParams{ID: id})
	case agent.Suspended:
		return r.tx.SetAgentStatus(
			ctx, readmodels.SetAgentStatusParams{ID: id, Status: string(agent.StatusSuspended)},
		)
	case agent.Reactivated:
		return r.tx.SetAgentStatus(ctx, readmodels.SetAgentStatusParams{ID: id, Status: string(agent.StatusActive)})
	case agent.Retired:
		if err := r.tx.ForgetKeys(ctx, readmodels.ForgetKeysParams{AgentID: id, Upto: 1 << 62}); err != nil {
			return err
		}
		return r.tx.RetireAgent(ctx, readmodels.RetireAgentParams{ID: id, RetiredAt: at})
	case agent.CredentialVended:
		key := access{agentID: id, toolID: b.ToolID}
		f, found := r.fetches[key]
		if found && f.secretID != b.SecretID {
			if err := r.flush(ctx, key); err != nil {
				return err
			}
			found = false
		}
		if !found {
			f = &fetches{
				secretID: b.SecretID, organization: e.Signed.Organization, first: e.Signed.Time,
				position: int64(e.Position), //nolint:gosec // positions fit
			}
			r.fetches[key] = f
		}
		f.count++
		f.last = e.Signed.Time
		r.by[id], r.of[b.ToolID] = r.by[id].and(e.Signed.Time), r.of[b.ToolID].and(e.Signed.Time)
		r.counts.Vended(e.Signed.Organization, id, b.ToolID, e.Signed.Time)
		if b.Identity == nil {
			r.used[usedKey{agentID: id, number: b.KeyNumber}] = e.Signed.Time
		}
		return nil
	case agent.GrantApprovalGiven: // the request is pending as before
	case agent.GrantRequested, agent.GrantWithdrawn, agent.GrantApproved, agent.GrantDenied, agent.GrantAssigned,
		agent.GrantRevoked, agent.GrantExpired, agent.GrantCredentialReplaced:
		return r.grant(ctx, id, e, body)
	}
	return nil
}

func (r *rows) key(ctx context.Context, agentID string, k agent.Key, at int64) error {
	return r.tx.InsertKey(
		ctx, readmodels.InsertKeyParams{AgentID: agentID, Number: int64(k.Number), ID: k.ID, CreatedAt: at},
	)
}

func (r *rows) rotate(ctx context.Context, id string, b agent.KeyRotated, at int64) error {
	for _, end := range b.Ended {
		err := r.tx.EndKey(
			ctx, readmodels.EndKeyParams{AgentID: id, Number: int64(end.Number), ExpiresAt: readmodels.Micros(end.At)},
		)
		if err != nil {
			return err
		}
	}
	if err := r.key(ctx, id, b.Key, at); err != nil {
		return err
	}
	if err := r.tx.ForgetKeys(
		ctx, readmodels.ForgetKeysParams{AgentID: id, Upto: int64(b.Key.Number - keptKeys)},
	); err != nil {
		return err
	}
	return r.tx.TouchAgent(ctx, id)
}

// grant applies what happens to an agent's access, and to the request that led to it.
func (r *rows) grant(ctx context.Context, id string, e codec.Verified, body agent.Event) error {
	by := e.Signed.By()
	d := decision{
		rows: r, agentID: id, at: readmodels.Micros(e.Signed.Time), byType: string(by.Type), byID: by.ID,
		position: int64(e.Position), //nolint:gosec // positions fit
	}
	switch b := body.(type) {
	case agent.GrantRequested:
		if err := r.flush(ctx, access{agentID: id, toolID: b.ToolID}); err != nil {
			return err
		}
		err := r.tx.InsertRequest(ctx, readmodels.InsertRequestParams{
			ID: b.RequestID, OrganizationID: e.Signed.Organization, Position: d.position, AgentID: id, ToolID: b.ToolID,
			Reason: b.Reason, ReasonFolded: readmodels.Fold(b.Reason), CreatedAt: d.at, RequestedSeconds: b.RequestedSeconds,
		})
		if err != nil {
			return err
		}
		err = r.tx.AskGrant(ctx, readmodels.AskGrantParams{
			AgentID: id, ToolID: b.ToolID, OrganizationID: e.Signed.Organization, Position: d.position,
			RequestID: b.RequestID, Reason: b.Reason, ReasonFolded: readmodels.Fold(b.Reason), RequestedAt: d.at,
			Origin: originOf(agent.FromRequest, b.SuggestionID),
		})
		if err != nil {
			return err
		}
		return d.frozen(ctx, b.ToolID, b.RequestID, b.ToolFreezes)
	case agent.GrantAssigned:
		if err := r.flush(ctx, access{agentID: id, toolID: b.ToolID}); err != nil {
			return err
		}
		err := r.tx.AssignGrant(ctx, readmodels.AssignGrantParams{
			AgentID: id, ToolID: b.ToolID, OrganizationID: e.Signed.Organization, Position: d.position,
			ExpiresAt: readmodels.MicrosOf(b.ExpiresAt), Origin: originOf(agent.FromAssignment, b.SuggestionID),
			Reason: b.Reason, ReasonFolded: readmodels.Fold(b.Reason), DecidedAt: d.at,
			DecidedByType: d.byType, DecidedByID: d.byID,
		})
		if err != nil {
			return err
		}
		if err := d.credential(ctx, b.ToolID, b.SecretID); err != nil {
			return err
		}
		return d.frozen(ctx, b.ToolID, "", b.ToolFreezes)
	case agent.GrantApproved:
		rule, err := readmodels.FromRule(b.Rule)
		if err != nil {
			return err
		}
		err = r.tx.ApproveGrant(ctx, readmodels.ApproveGrantParams{
			AgentID: id, ToolID: b.ToolID, ExpiresAt: readmodels.MicrosOf(b.ExpiresAt), DecidedAt: d.at,
			DecidedPosition: d.position, DecidedByType: d.byType, DecidedByID: d.byID, Rule: rule,
		})
		if err != nil {
			return err
		}
		if err := d.credential(ctx, b.ToolID, b.SecretID); err != nil {
			return err
		}
		if err := d.request(ctx, b.RequestID, "approved", "", rule); err != nil {
			return err
		}
		for _, given := range b.Approvals {
			err := r.tx.AddApproval(ctx, readmodels.AddApprovalParams{
				RequestID: b.RequestID, ByID: given.By.ID, At: readmodels.Micros(given.At),
			})
			if err != nil {
				return err
			}
		}
		return d.frozen(ctx, b.ToolID, "", b.ToolFreezes)
	case agent.GrantDenied:
		rule, err := readmodels.FromRule(b.Rule)
		if err != nil {
			return err
		}
		err = r.tx.DenyGrant(ctx, readmodels.DenyGrantParams{
			AgentID: id, ToolID: b.ToolID, DenialReason: b.Reason, DecidedAt: d.at, DecidedPosition: d.position,
			DecidedByType: d.byType, DecidedByID: d.byID, Rule: rule,
		})
		if err != nil {
			return err
		}
		return d.request(ctx, b.RequestID, "denied", b.Reason, rule)
	case agent.GrantWithdrawn:
		return d.end(ctx, b.ToolID, b.RequestID, agent.Withdrawn)
	case agent.GrantRevoked:
		if b.Cause == agent.CauseToolFrozen {
			return nil // the freeze, or the decision that came too late, has ended it
		}
		if err := d.end(ctx, b.ToolID, b.RequestID, agent.Revoked); err != nil || b.Cause != agent.CauseToolRemoved {
			return err
		}
		// A decision that found the tool gone takes itself back; who removed the tool ended the access.
		return r.tx.EndGrantWithTool(ctx, readmodels.EndGrantWithToolParams{AgentID: id, ToolID: b.ToolID})
	case agent.GrantExpired:
		return r.tx.ExpireGrant(ctx, readmodels.ExpireGrantParams{AgentID: id, ToolID: b.ToolID})
	case agent.GrantCredentialReplaced:
		return r.tx.ReplaceGrantCredential(
			ctx,
			readmodels.ReplaceGrantCredentialParams{
				AgentID: id, ToolID: b.ToolID, CredentialExpiresAt: readmodels.MicrosOf(b.ExpiresAt),
				CredentialVersion: int64(b.CredentialVersion), At: d.at,
			},
		)
	case agent.Registered, agent.Updated, agent.KeyRotated, agent.Suspended, agent.Reactivated, agent.Retired,
		agent.CredentialVended, agent.GrantApprovalGiven, agent.IdentityBound, agent.IdentityUnbound:
	}
	return nil
}

// originOf is how a grant came to be: what it looks like, or the suggestion that it answers.
func originOf(plain agent.Origin, suggestionID string) string {
	if suggestionID != "" {
		return string(agent.FromSuggestion)
	}
	return string(plain)
}

// decision is who decided about one agent's access, and when.
type decision struct {
	*rows
	agentID      string
	at, position int64
	byType, byID string
}

// request notes a decision on a request that is still pending; on a decided one it changes nothing.
func (d decision) request(ctx context.Context, id, status, denial, rule string) error {
	return d.tx.DecideRequest(ctx, readmodels.DecideRequestParams{
		ID: id, Status: status, DenialReason: denial, DecidedAt: d.at, DecidedPosition: d.position,
		DecidedByType: d.byType, DecidedByID: d.byID, Rule: rule,
	})
}

// credential notes that an agent got a credential of its own with its access, which it hasn't
// fetched yet.
func (d decision) credential(ctx context.Context, toolID, secretID string) error {
	if secretID == "" {
		return nil
	}
	return d.tx.GiveGrantCredential(
		ctx, readmodels.GiveGrantCredentialParams{AgentID: d.agentID, ToolID: toolID, At: d.at},
	)
}

// end takes access away; a request that was still pending leaves the queue with it.
func (d decision) end(ctx context.Context, toolID, requestID string, status agent.GrantStatus) error {
	err := d.tx.EndGrant(ctx, readmodels.EndGrantParams{
		AgentID: d.agentID, ToolID: toolID, Status: string(status), DecidedAt: d.at, DecidedPosition: d.position,
		DecidedByType: d.byType, DecidedByID: d.byID,
	})
	if err != nil {
		return err
	}
	return d.request(ctx, requestID, "withdrawn", "", "")
}
