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

// Add offers a tool and returns its id. The credential is empty exactly when each agent has one of its own. The
// ids and the folded name and site of tool are filled in here.
func (t *Tools) Add(ctx context.Context, m loop.Meta, tool catalog.AddTool, credential domain.Secret) (string, CatalogResult, error) {
	tool.ToolID = loop.DerivedID(m.CommandID, "tool").String()
	tool.FoldedName, tool.Site = names.FoldProduct(tool.Name), names.Site(tool.URL)
	done, err := t.withSecret(ctx, m, tool.ToolID, credential, func(_ catalog.State, secretID string, _ time.Time, standings standings) catalog.Command {
		tool.SecretID, tool.Standings = secretID, standings
		return tool
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
	err = t.withStandings(ctx, m, func(standings standings) error {
		change := change
		change.Standings = standings
		done, err = t.Catalogs.Do(ctx, m.Organization, m, func(catalog.State, time.Time) (catalog.Command, error) { return change, nil })
		return err
	})
	return done, err
}

// RotateCredential replaces a shared credential. Every fetch that begins after it returned gets the new one.
func (t *Tools) RotateCredential(ctx context.Context, m loop.Meta, toolID string, credential domain.Secret, expires *time.Time) (CatalogResult, error) {
	return t.withSecret(ctx, m, toolID, credential, func(_ catalog.State, secretID string, at time.Time, _ standings) catalog.Command {
		return catalog.RotateCredential{At: at, ToolID: toolID, SecretID: secretID, ExpiresAt: expires, IfRevision: m.IfRevision}
	})
}

// Restore makes an earlier version of a usage guide the newest.
func (t *Tools) Restore(ctx context.Context, m loop.Meta, toolID string, version int) (CatalogResult, error) {
	text, err := t.guide(ctx, m.Organization, toolID, version)
	if err != nil {
		return CatalogResult{}, err
	}
	return t.Catalogs.Do(ctx, m.Organization, m, func(catalog.State, time.Time) (catalog.Command, error) {
		return catalog.RestoreInstructions{ToolID: toolID, Version: version, Instructions: text, IfRevision: m.IfRevision}, nil
	})
}

// guide finds one version of a usage guide in the catalog's stream, which is where all of them are.
func (t *Tools) guide(ctx context.Context, organization, toolID string, version int) (string, error) {
	for from := uint64(0); ; {
		events, err := t.Log.ReadForward(ctx, codec.Catalogs.Stream(organization), from, pageSize)
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
		if len(events) < pageSize {
			return "", domain.NotFound("version of the usage guide")
		}
		from += uint64(len(events))
	}
}

// Remove takes a tool away for good and removes its shared credential. No fetch that begins after it returned
// succeeds.
func (t *Tools) Remove(ctx context.Context, m loop.Meta, toolID string) (CatalogResult, error) {
	secretID := ""
	done, err := t.Catalogs.Do(ctx, m.Organization, m, func(s catalog.State, _ time.Time) (catalog.Command, error) {
		secretID = s.Tools[toolID].SecretID
		return catalog.RemoveTool{ToolID: toolID, IfRevision: m.IfRevision}, nil
	})
	if err == nil && secretID != "" {
		err = loop.Refusal(t.Secrets.Remove(ctx, secretID))
	}
	return done, err
}

// withSecret carries out a command that may bring a credential.
func (t *Tools) withSecret(ctx context.Context, m loop.Meta, toolID string, credential domain.Secret, command func(catalog.State, string, time.Time, standings) catalog.Command) (done CatalogResult, err error) {
	build := func(secretID string, standings standings) loop.Build[catalog.State, catalog.Command] {
		return func(s catalog.State, at time.Time) (catalog.Command, error) {
			return command(s, secretID, at, standings), nil
		}
	}
	check := func(secretID string) error {
		return t.withStandings(ctx, m, func(standings standings) error {
			return t.Catalogs.Check(ctx, m.Organization, build(secretID, standings))
		})
	}
	do := func(secretID string) error {
		return t.withStandings(ctx, m, func(standings standings) error {
			done, err = t.Catalogs.Do(ctx, m.Organization, m, build(secretID, standings))
			return err
		})
	}
	err = vault{secrets: t.Secrets, clock: t.Clock}.between(ctx, m, toolOwner(toolID), credential, check, do)
	return done, err
}
