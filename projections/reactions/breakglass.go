package reactions

import (
	"context"
	"errors"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/delivery"
	"agentkey/eventstore/codec"
	"agentkey/projections"
)

// BreakGlass tells every channel what an operator did past the API: of one organization, or of all
// where it concerns the installation.
func BreakGlass(model *projections.ReadModel, deliveries *commands.Deliveries) Reaction {
	const types = `^(service_token\.created|master_key\.(added|destroyed)|signing_key\.added|log\.restore_confirmed)\.`
	return Reaction{Name: "break_glass", Types: types, Handle: func(ctx context.Context, cause codec.Verified) (acted bool,
		err error,
	) {
		told, everywhere := commands.BreakGlass(cause)
		if !told {
			return false, nil
		}
		organizations := []string{cause.Signed.Organization}
		if everywhere {
			if err := model.WaitFor(ctx, cause.Position); err != nil {
				return false, err
			}
			if organizations, err = model.DB.Organizations(ctx); err != nil {
				return false, err
			}
		}
		about := delivery.About{Stream: cause.Stream, Revision: cause.Revision}
		for _, id := range organizations {
			queued, err := deliveries.Queue(ctx, id, cause.ID, cause.Signed.Time, domain.BreakGlass, about)
			if refusal, refused := errors.AsType[*domain.Error](err); refused && refusal.Code == loop.Restored().Code {
				continue // its stream is broken, and the others must hear of what was done about that
			}
			if err != nil {
				return acted, err
			}
			acted = acted || queued
		}
		return acted, nil
	}}
}
