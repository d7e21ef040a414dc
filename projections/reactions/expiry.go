package reactions

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/readmodels"
)

// Expiry writes grant.expired when the time of an access has passed. The access counts as expired
// from that instant in any case; this records it in the log. The read model says where to look, the
// decision falls on the agent's stream, so any number of processes may look and one event is
// written.
type Expiry struct {
	Models *readmodels.DB
	Grants *commands.Grants
	Clock  func() time.Time
	NewID  func() uuid.UUID
	Logger *slog.Logger
}

// perLook is how many ends one look may find; what is left is found by the next.
const perLook = 200

// Run looks at every tick until ctx ends. What fails is tried again at a later tick.
func (x *Expiry) Run(ctx context.Context, tick <-chan time.Time) {
	onTicks(ctx, tick, x.Logger, "the end of some access is not written yet", x.look)
}

func (x *Expiry) look(ctx context.Context) error {
	now := x.Clock()
	due, err := x.Models.DueGrants(ctx, now, perLook)
	if err != nil {
		return err
	}
	for _, d := range due {
		m := loop.Meta{
			Organization: d.Organization, Actor: domain.Actor{Type: domain.ActorSystem, ID: "expiry"},
			CommandID: x.NewID(),
		}
		if err := x.Grants.Expire(ctx, m, d.AgentID, d.ToolID); err != nil {
			return err
		}
	}
	return nil
}
