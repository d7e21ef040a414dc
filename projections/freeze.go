package projections

import (
	"context"

	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// freeze ends every grant of a tool and every request for it. The events that say so for each agent
// follow and change nothing more.
func (r *rows) freeze(ctx context.Context, e codec.Verified, b catalog.ToolFrozen) error {
	at, by := readmodels.Micros(e.Signed.Time), e.Signed.By()
	position := int64(e.Position) //nolint:gosec // positions fit
	err := r.tx.FreezeTool(ctx, readmodels.FreezeToolParams{
		ID: b.ToolID, At: at, Position: position, Freezes: int64(b.Freeze),
		ByType: string(by.Type), ByID: by.ID,
	})
	if err != nil {
		return err
	}
	err = r.tx.EndGrantsOfTool(ctx, readmodels.EndGrantsOfToolParams{
		ToolID: b.ToolID, At: at, Position: position, ByType: string(by.Type), ByID: by.ID,
	})
	if err != nil {
		return err
	}
	return r.tx.WithdrawRequestsOfTool(ctx, readmodels.WithdrawRequestsOfToolParams{
		ToolID: b.ToolID, At: at, Position: position, ByType: string(by.Type), ByID: by.ID,
	})
}

// frozen ends what was just written of a grant if the tool was frozen since it was decided. freezes
// is the count of then.
func (d decision) frozen(ctx context.Context, toolID, requestID string, freezes int) error {
	err := d.tx.EndFrozenGrant(ctx, readmodels.EndFrozenGrantParams{
		AgentID: d.agentID, ToolID: toolID, Freezes: int64(freezes), At: d.at, Position: d.position,
	})
	if err != nil || requestID == "" {
		return err
	}
	return d.tx.WithdrawFrozenRequest(ctx, readmodels.WithdrawFrozenRequestParams{
		ID: requestID, Freezes: int64(freezes), At: d.at, Position: d.position,
	})
}
