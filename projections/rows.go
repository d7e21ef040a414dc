package projections

import (
	"context"
	"time"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/delivery"
	"agentkey/domain/guide"
	"agentkey/domain/lane"
	"agentkey/domain/organization"
	"agentkey/domain/rulebook"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// rows turns events into changes of the read model within one transaction. What happens often is
// gathered and written once: fetches for each agent and tool and for each stretch of time, the last
// call and the fetches of each agent, the fetches of each tool, the last fetch with each key, and
// the audit entries.
type rows struct {
	tx      *readmodels.Tx
	fetches map[access]*fetches
	counts  readmodels.FetchCounts
	seen    map[string]time.Time
	by, of  map[string]tally // by agents, and of tools
	used    map[usedKey]time.Time
	audit   []readmodels.AuditEntry
}

type access struct{ agentID, toolID string }

// tally counts fetches.
type tally struct {
	count int64
	last  time.Time
}

func (t tally) and(at time.Time) tally { return tally{t.count + 1, at} }

type usedKey struct {
	agentID string
	number  int
}

// fetches are of one version of a credential, the first at position.
type fetches struct {
	secretID, organization string
	position, count        int64
	first, last            time.Time
}

func newRows(tx *readmodels.Tx) *rows {
	return &rows{
		tx: tx, fetches: map[access]*fetches{}, counts: readmodels.FetchCounts{}, seen: map[string]time.Time{},
		used: map[usedKey]time.Time{}, by: map[string]tally{}, of: map[string]tally{},
	}
}

func (r *rows) apply(ctx context.Context, events []codec.Verified) error {
	for _, e := range events {
		if err := r.one(ctx, e); err != nil {
			return err
		}
	}
	for key := range r.fetches {
		if err := r.flush(ctx, key); err != nil {
			return err
		}
	}
	if err := r.tx.AddFetches(ctx, r.counts); err != nil {
		return err
	}
	for id, at := range r.seen {
		if err := r.tx.SeeAgent(ctx, readmodels.SeeAgentParams{
			ID: id, LastSeenAt: readmodels.Micros(at), Fetches: r.by[id].count,
			LastFetchedAt: readmodels.Micros(r.by[id].last),
		}); err != nil {
			return err
		}
	}
	for id, fetched := range r.of {
		if err := r.tx.UseTool(ctx, readmodels.UseToolParams{
			ID: id, Fetches: fetched.count, LastFetchedAt: readmodels.Micros(fetched.last),
		}); err != nil {
			return err
		}
	}
	for key, at := range r.used {
		if err := r.tx.UseKey(ctx, readmodels.UseKeyParams{
			AgentID: key.agentID, Number: int64(key.number), LastUsedAt: readmodels.Micros(at),
		}); err != nil {
			return err
		}
	}
	return r.tx.InsertAudit(ctx, r.audit)
}

func (r *rows) one(ctx context.Context, e codec.Verified) error {
	if entry, audited := auditEntry(e); audited {
		r.audit = append(r.audit, entry)
	}
	if err := r.credential(ctx, e); err != nil {
		return err
	}
	switch body := e.Event.(type) {
	case agent.Event:
		_, id := codec.Split(e.Stream)
		if e.Signed.Actor.Type == domain.ActorAgent {
			r.seen[id] = e.Signed.Time
		}
		if err := r.agent(ctx, id, e, body); err != nil {
			return err
		}
		return r.keepAgent(ctx, id, e, body)
	case catalog.Event:
		if err := r.tool(ctx, e, body); err != nil {
			return err
		}
		return r.keepTool(ctx, e, body)
	case guide.Event:
		return r.note(ctx, e, body)
	case organization.Event:
		return r.organization(ctx, e, body)
	case rulebook.Event:
		return r.rule(ctx, e, body)
	case delivery.Event:
		_, id := codec.Split(e.Stream)
		return r.delivery(ctx, id, e, body)
	case lane.Event:
		_, channelID := codec.Split(e.Stream)
		return r.lane(ctx, channelID, body)
	case codec.CredentialRefused:
		r.counts.Refused(e.Signed.Organization, body.AgentID, body.ToolID, body.LastAt, body.Count)
	}
	return nil // only in the audit
}

// flush writes the fetches of one grant that were gathered.
func (r *rows) flush(ctx context.Context, key access) error {
	f, any := r.fetches[key]
	if !any {
		return nil
	}
	delete(r.fetches, key)
	if err := r.tx.CountFetches(ctx, readmodels.CountFetchesParams{
		AgentID: key.agentID, ToolID: key.toolID, Fetches: f.count, LastFetchedAt: readmodels.Micros(f.last),
	}); err != nil {
		return err
	}
	return r.tx.KnowCredential(ctx, readmodels.KnowCredentialParams{
		AgentID: key.agentID, SecretID: f.secretID, OrganizationID: f.organization, Position: f.position,
		Fetches: f.count, FirstFetchedAt: readmodels.Micros(f.first), LastFetchedAt: readmodels.Micros(f.last),
	})
}

func (r *rows) tool(ctx context.Context, e codec.Verified, body catalog.Event) error {
	at, by := readmodels.Micros(e.Signed.Time), e.Signed.By()
	switch b := body.(type) {
	case catalog.ToolAdded:
		version, since := int64(0), int64(0)
		var giver domain.Actor
		if b.SecretID != "" {
			version, since, giver = 1, at, by
		}
		return r.tx.InsertTool(ctx, readmodels.InsertToolParams{
			ID: b.ToolID, OrganizationID: e.Signed.Organization, Position: int64(e.Position), //nolint:gosec // positions fit
			Name: b.Name, NameFolded: readmodels.Fold(b.Name), Skeleton: readmodels.Skeleton(b.Name),
			Description: b.Description, DescriptionFolded: readmodels.Fold(b.Description), Url: b.URL,
			DocsUrl: b.DocsURL, AuthType: string(b.AuthType), CredentialMode: string(b.Mode),
			CredentialVersion: version, CredentialAt: since, CredentialByType: string(giver.Type),
			CredentialByID: giver.ID, CredentialFields: readmodels.Parts(b.CredentialFields),
			MaxGrantSeconds: b.MaxGrantSeconds, Approval: readmodels.Rules(b.Approval), At: at,
			Labels: string(b.Labels),
		})
	case catalog.ToolUpdated:
		if b.Name != nil {
			if err := r.tx.KeepFormerToolName(ctx, readmodels.KeepFormerToolNameParams{
				ID: b.ToolID, Position: int64(e.Position), Name: *b.Name, //nolint:gosec // positions fit
			}); err != nil {
				return err
			}
		}
		return r.tx.UpdateTool(ctx, readmodels.UpdateToolParams{
			ID: b.ToolID, Name: readmodels.Optional(b.Name),
			NameFolded:        readmodels.Optional(inForm(b.Name, readmodels.Fold)),
			Skeleton:          readmodels.Optional(inForm(b.Name, readmodels.Skeleton)),
			Description:       readmodels.Optional(b.Description),
			DescriptionFolded: readmodels.Optional(folded(b.Description)), Url: readmodels.Optional(b.URL),
			DocsUrl: readmodels.Optional(b.DocsURL), AuthType: readmodels.Optional(b.AuthType),
			MaxGrantSeconds: readmodels.OptionalInt(b.MaxGrantSeconds), Approval: readmodels.OptionalRules(b.Approval), At: at,
			Labels: readmodels.Optional(b.Labels),
		})
	case catalog.ToolCredentialRotated:
		return r.tx.RotateToolCredential(ctx, readmodels.RotateToolCredentialParams{
			ID: b.ToolID, CredentialVersion: int64(b.CredentialVersion),
			CredentialExpiresAt: readmodels.MicrosOf(b.ExpiresAt), CredentialFields: readmodels.Parts(b.CredentialFields),
			ByType: string(by.Type), ByID: by.ID, At: at,
		})
	case catalog.ToolInstructionsRevised:
		err := r.tx.InsertInstructions(ctx, readmodels.InsertInstructionsParams{
			ToolID: b.ToolID, Version: int64(b.Version), OrganizationID: e.Signed.Organization,
			Instructions: b.Instructions, RestoredFrom: int64(b.RestoredFrom), CreatedAt: at,
			CreatedByType: string(by.Type), CreatedByID: by.ID,
		})
		if err != nil {
			return err
		}
		return r.tx.ReviseTool(
			ctx,
			readmodels.ReviseToolParams{
				ID: b.ToolID, Instructions: b.Instructions, InstructionsVersion: int64(b.Version), At: at,
			},
		)
	case catalog.ToolRemoved:
		return r.tx.RemoveTool(ctx, readmodels.RemoveToolParams{
			ID: b.ToolID, RemovedAt: at, RemovedByType: string(by.Type), RemovedByID: by.ID,
		})
	case catalog.ToolFrozen:
		return r.freeze(ctx, e, b)
	case catalog.ToolUnfrozen:
		return r.tx.UnfreezeTool(ctx, readmodels.UnfreezeToolParams{ID: b.ToolID, At: at})
	case catalog.SuggestionMade, catalog.SuggestionBacked, catalog.SuggestionDismissed, catalog.SuggestionAccepted,
		catalog.SuggestionRedirected,
		catalog.SuggestionCooldownRefused:
		return r.suggestion(ctx, e, body)
	case catalog.ChangePlanned, catalog.ChangeCompleted: // the rows follow from what is between them
	}
	return nil
}

func folded(name *string) *string { return inForm(name, readmodels.Fold) }

func inForm(name *string, form func(string) string) *string {
	if name == nil {
		return nil
	}
	f := form(*name)
	return &f
}
