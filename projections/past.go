package projections

import (
	"context"

	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// keepAgent adds to the past what an event made of an agent, its keys, and its access.
func (r *rows) keepAgent(ctx context.Context, id string, e codec.Verified, body agent.Event) error {
	since := int64(e.Position) //nolint:gosec // positions fit
	if b, is := body.(agent.GrantRevoked); is && b.Cause == agent.CauseToolFrozen {
		return nil // the freeze has changed the row
	}
	switch body.(type) {
	case agent.CredentialVended, agent.GrantApprovalGiven: // they change no access
		return nil
	case agent.Registered, agent.KeyRotated, agent.Retired:
		if err := r.tx.ClosePastAgentKeys(
			ctx, readmodels.ClosePastAgentKeysParams{AgentID: id, Since: since},
		); err != nil {
			return err
		}
		if err := r.tx.KeepPastAgentKeys(
			ctx, readmodels.KeepPastAgentKeysParams{AgentID: id, Since: since},
		); err != nil {
			return err
		}
	case agent.GrantRequested, agent.GrantWithdrawn, agent.GrantApproved, agent.GrantDenied, agent.GrantAssigned,
		agent.GrantRevoked, agent.GrantExpired, agent.GrantCredentialReplaced:
		return r.keepGrant(ctx, id, toolOf(body), requestOf(body), since)
	case agent.Updated, agent.Suspended, agent.Reactivated, agent.IdentityBound, agent.IdentityUnbound:
	}
	if err := r.tx.ClosePastAgent(ctx, readmodels.ClosePastAgentParams{ID: id, Since: since}); err != nil {
		return err
	}
	return r.tx.KeepPastAgent(ctx, readmodels.KeepPastAgentParams{ID: id, Since: since})
}

func (r *rows) keepGrant(ctx context.Context, agentID, toolID, requestID string, since int64) error {
	if err := r.tx.ClosePastGrant(
		ctx, readmodels.ClosePastGrantParams{AgentID: agentID, ToolID: toolID, Since: since},
	); err != nil {
		return err
	}
	if err := r.tx.KeepPastGrant(
		ctx, readmodels.KeepPastGrantParams{AgentID: agentID, ToolID: toolID, Since: since},
	); err != nil || requestID == "" {
		return err
	}
	if err := r.tx.ClosePastRequest(
		ctx, readmodels.ClosePastRequestParams{ID: requestID, Since: since},
	); err != nil {
		return err
	}
	return r.tx.KeepPastRequest(ctx, readmodels.KeepPastRequestParams{ID: requestID, Since: since})
}

// requestOf is the request that an event asks or ends; "" for none.
func requestOf(body agent.Event) string {
	switch b := body.(type) {
	case agent.GrantRequested:
		return b.RequestID
	case agent.GrantApproved:
		return b.RequestID
	case agent.GrantDenied:
		return b.RequestID
	case agent.GrantWithdrawn:
		return b.RequestID
	case agent.GrantRevoked:
		return b.RequestID
	default:
		return ""
	}
}

// keepTool adds to the past what an event made of a tool, or of a suggestion.
func (r *rows) keepTool(ctx context.Context, e codec.Verified, body catalog.Event) error {
	since := int64(e.Position) //nolint:gosec // positions fit
	switch b := body.(type) {
	case catalog.SuggestionMade:
		return r.keepSuggestion(ctx, b.SuggestionID, b.AgentID, since)
	case catalog.SuggestionBacked:
		return r.keepSuggestion(ctx, b.SuggestionID, b.AgentID, since)
	case catalog.SuggestionDismissed:
		return r.keepSuggestion(ctx, b.SuggestionID, "", since)
	case catalog.SuggestionAccepted:
		return r.keepSuggestion(ctx, b.SuggestionID, "", since)
	case catalog.SuggestionRedirected:
		return r.keepSuggestion(ctx, b.SuggestionID, "", since)
	case catalog.SuggestionCooldownRefused, catalog.ChangePlanned, catalog.ChangeCompleted:
		return nil
	case catalog.ToolAdded, catalog.ToolUpdated, catalog.ToolCredentialRotated, catalog.ToolInstructionsRevised,
		catalog.ToolRemoved, catalog.ToolUnfrozen:
	case catalog.ToolFrozen:
		if err := r.keepFrozen(ctx, b.ToolID, since); err != nil {
			return err
		}
	}
	id := toolOf(body)
	if err := r.tx.ClosePastTool(ctx, readmodels.ClosePastToolParams{ID: id, Since: since}); err != nil {
		return err
	}
	return r.tx.KeepPastTool(ctx, readmodels.KeepPastToolParams{ID: id, Since: since})
}

// keepFrozen adds to the past what a freeze made of the access to a tool and of the requests for
// it.
func (r *rows) keepFrozen(ctx context.Context, toolID string, since int64) error {
	if err := r.tx.ClosePastGrantsOfTool(
		ctx, readmodels.ClosePastGrantsOfToolParams{ToolID: toolID, Since: since},
	); err != nil {
		return err
	}
	if err := r.tx.KeepPastGrantsOfTool(
		ctx, readmodels.KeepPastGrantsOfToolParams{ToolID: toolID, Since: since},
	); err != nil {
		return err
	}
	if err := r.tx.ClosePastRequestsOfTool(
		ctx, readmodels.ClosePastRequestsOfToolParams{ToolID: toolID, Since: since},
	); err != nil {
		return err
	}
	return r.tx.KeepPastRequestsOfTool(ctx, readmodels.KeepPastRequestsOfToolParams{ToolID: toolID, Since: since})
}

func (r *rows) keepSuggestion(ctx context.Context, id, backerID string, since int64) error {
	if err := r.tx.ClosePastSuggestion(ctx, readmodels.ClosePastSuggestionParams{ID: id, Since: since}); err != nil {
		return err
	}
	if err := r.tx.KeepPastSuggestion(
		ctx, readmodels.KeepPastSuggestionParams{ID: id, Since: since},
	); err != nil || backerID == "" {
		return err
	}
	if err := r.tx.ClosePastBacker(
		ctx, readmodels.ClosePastBackerParams{SuggestionID: id, AgentID: backerID, Since: since},
	); err != nil {
		return err
	}
	return r.tx.KeepPastBacker(
		ctx, readmodels.KeepPastBackerParams{SuggestionID: id, AgentID: backerID, Since: since},
	)
}
