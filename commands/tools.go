package commands

import (
	"context"
	"errors"
	"time"

	"agentkey/commands/loop"
	"agentkey/commands/names"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// CatalogResult is a command on a catalog carried out.
type CatalogResult = loop.Result[catalog.State, catalog.Event]

// Tools carries out what admins do to the catalog.
type Tools struct {
	Catalogs *CatalogLoop
	Agents   *AgentLoop
	Secrets  *seal.Secrets
	Log      *codec.Log
	Clock    func() time.Time
}

// Add offers a tool and returns its id. The credential is empty exactly when each agent has one of
// its own. The ids, the folded name, the site and the parts of the credential are filled in here.
func (t *Tools) Add(
	ctx context.Context, m loop.Meta, tool catalog.AddTool, credential domain.Secret,
) (string, CatalogResult, error) {
	tool.ToolID = loop.DerivedID(m.CommandID, "tool").String()
	tool.FoldedName, tool.Site = names.FoldProduct(tool.Name), names.Site(tool.URL)
	tool.CredentialFields = partsOf(credential)
	done, err := t.propose(ctx, m, tool.ToolID, credential,
		func(known standings, secretID string, _ time.Time) catalog.Command {
			add := tool
			add.SecretID, add.Standings = secretID, known
			return add
		})
	return tool.ToolID, done, err
}

// Update changes the named fields of a tool; the folded name and site are filled in here.
func (t *Tools) Update(ctx context.Context, m loop.Meta, change catalog.UpdateTool) (done CatalogResult, err error) {
	if change.Name != nil {
		folded := names.FoldProduct(*change.Name)
		change.FoldedName = &folded
	}
	if change.URL != nil {
		site := names.Site(*change.URL)
		change.Site = &site
	}
	change.IfRevision = m.IfRevision
	err = t.withStandings(ctx, m, func(known standings) error {
		update := change
		update.Standings = known
		_, done, err = t.change(
			ctx, m, func(catalog.State, time.Time) (catalog.Command, error) { return update, nil },
		)
		return err
	})
	return done, err
}

// RotateCredential replaces a shared credential. Every fetch that begins after it returned gets the
// new one. Refusals: credential_shape_differs.
func (t *Tools) RotateCredential(ctx context.Context, m loop.Meta, toolID string, n Terms) (CatalogResult, error) {
	fields := partsOf(n.Credential)
	return t.propose(ctx, m, toolID, n.Credential, func(_ standings, secretID string, at time.Time) catalog.Command {
		return catalog.RotateCredential{
			At: at, ToolID: toolID, SecretID: secretID, CredentialFields: fields, ReplaceShape: n.ReplaceShape,
			ExpiresAt: n.ExpiresAt, IfRevision: m.IfRevision,
		}
	})
}

// Restore makes an earlier version of a usage guide the newest.
func (t *Tools) Restore(ctx context.Context, m loop.Meta, toolID string, version int) (CatalogResult, error) {
	text, err := t.guide(ctx, m.Organization, toolID, version)
	if err != nil {
		return CatalogResult{}, err
	}
	return t.Catalogs.Do(ctx, m.Organization, m, func(catalog.State, time.Time) (catalog.Command, error) {
		return catalog.RestoreInstructions{
			ToolID: toolID, Version: version, Instructions: text, IfRevision: m.IfRevision,
		}, nil
	})
}

// guide finds one version of a usage guide in the catalog's stream, which is where all of them are.
func (t *Tools) guide(ctx context.Context, organization, toolID string, version int) (string, error) {
	reader := t.Log.Reader(codec.Catalogs.Stream(organization), codec.Begin)
	for more := true; more; {
		var events []codec.Verified
		var err error
		events, more, err = reader.Next(ctx, pageSize)
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			return "", domain.NotFound("tool")
		}
		if err != nil {
			return "", loop.Refusal(err)
		}
		for _, e := range events {
			if g, ok := e.Event.(catalog.ToolInstructionsRevised); ok && g.ToolID == toolID && g.Version == version {
				return g.Instructions, nil
			}
		}
	}
	return "", domain.NotFound("version of the usage guide")
}

// Remove takes a tool away for good and removes its shared credential. No fetch that begins after
// it returned succeeds.
func (t *Tools) Remove(ctx context.Context, m loop.Meta, toolID string) (CatalogResult, error) {
	done, err := t.Catalogs.Do(ctx, m.Organization, m, func(catalog.State, time.Time) (catalog.Command, error) {
		return catalog.RemoveTool{ToolID: toolID, IfRevision: m.IfRevision}, nil
	})
	if err != nil {
		return done, err
	}
	for _, e := range done.Events {
		if removed, ok := e.(catalog.ToolRemoved); ok && removed.SecretID != "" {
			err = errors.Join(err, t.Secrets.Remove(ctx, removed.SecretID))
		}
	}
	return done, loop.Refusal(err)
}

// Freeze ends every grant of a tool and every request for it, and lets none be granted. No fetch
// that begins after it returned succeeds.
func (t *Tools) Freeze(ctx context.Context, m loop.Meta, toolID string) (CatalogResult, error) {
	return t.Catalogs.Do(ctx, m.Organization, m, func(catalog.State, time.Time) (catalog.Command, error) {
		return catalog.FreezeTool{ToolID: toolID}, nil
	})
}

// Unfreeze lets a tool be granted again. What its freeze ended stays so.
func (t *Tools) Unfreeze(ctx context.Context, m loop.Meta, toolID string) (CatalogResult, error) {
	return t.Catalogs.Do(ctx, m.Organization, m, func(catalog.State, time.Time) (catalog.Command, error) {
		return catalog.UnfreezeTool{ToolID: toolID, IfRevision: m.IfRevision}, nil
	})
}

// propose carries out a command that may bring a credential and may answer suggestions.
func (t *Tools) propose(
	ctx context.Context, m loop.Meta, toolID string, credential domain.Secret,
	command func(standings, string, time.Time) catalog.Command,
) (CatalogResult, error) {
	return carryOut(ctx, vault{secrets: t.Secrets, clock: t.Clock}, m, proposal[catalog.State, catalog.Command,
		catalog.Event]{
		loop: t.Catalogs, stream: m.Organization, owner: toolOwner(toolID), secret: credential,
		do: func(
			ctx context.Context, m loop.Meta, b loop.Build[catalog.State, catalog.Command],
		) (CatalogResult, error) {
			_, done, err := t.change(ctx, m, b)
			return done, err
		},
		gather: func(ctx context.Context, try func(making[catalog.State, catalog.Command]) error) error {
			return t.withStandings(ctx, m, func(known standings) error {
				return try(func(_ catalog.State, secretID string, at time.Time) (catalog.Command, error) {
					return command(known, secretID, at), nil
				})
			})
		},
	})
}
