package projections

import (
	"context"

	"agentkey/domain/rulebook"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// rule keeps what a rule is called, and was. What rules say is read from their stream alone.
func (r *rows) rule(ctx context.Context, e codec.Verified, body rulebook.Event) error {
	switch b := body.(type) {
	case rulebook.Added:
		return r.tx.InsertRule(ctx, readmodels.InsertRuleParams{
			ID: b.RuleID, OrganizationID: e.Signed.Organization, Name: b.Rule.Name,
		})
	case rulebook.Changed:
		if err := r.tx.KeepFormerRuleName(ctx, readmodels.KeepFormerRuleNameParams{
			ID: b.RuleID, Position: int64(e.Position), Name: b.Rule.Name, //nolint:gosec // positions fit
		}); err != nil {
			return err
		}
		return r.tx.RenameRule(ctx, readmodels.RenameRuleParams{ID: b.RuleID, Name: b.Rule.Name})
	case rulebook.Removed, rulebook.Failed: // its name stays for what it decided
	}
	return nil
}
