package commands

import (
	"context"
	"strconv"
	"time"

	"agentkey/commands/loop"
	"agentkey/commands/names"
	"agentkey/domain/catalog"
)

// Import makes the catalog what a file says, all or nothing, and returns what it did. New tools get
// ids derived from the command. A dry run says the same and appends nothing. m.IfRevision are
// the revisions of the catalog that an earlier plan was made on.
func (t *Tools) Import(
	ctx context.Context, m loop.Meta, tools []catalog.FileTool, dryRun bool,
) (plan catalog.Plan, done CatalogResult, err error) {
	for i := range tools {
		tools[i].NewID = loop.DerivedID(m.CommandID, "tool "+strconv.Itoa(i)).String()
		tools[i].FoldedName, tools[i].Site = names.FoldProduct(tools[i].Name), names.Site(tools[i].URL)
	}
	c := catalog.ImportCatalog{Tools: tools, IfRevision: m.IfRevision}
	var head loop.Head[catalog.State]
	var begun CatalogResult
	err = t.withStandings(ctx, m, func(known standings) error {
		decided := c
		decided.Standings = known
		build := func(catalog.State, time.Time) (catalog.Command, error) { return decided, nil }
		if dryRun {
			head, _, err = t.Catalogs.Rehearse(ctx, m.Organization, build)
			return err
		}
		begun, done, err = t.change(ctx, m, build)
		return err
	})
	if err != nil {
		return plan, done, err
	}
	if dryRun {
		plan, err = catalog.PlanImport(head.State, c)
		return plan, CatalogResult{State: head.State, Revision: head.Revision, Position: head.Position}, err
	}
	before, err := t.Catalogs.Before(ctx, m.Organization, begun)
	if err != nil {
		return plan, done, err
	}
	plan, err = catalog.PlanImport(before, c)
	return plan, done, err
}
